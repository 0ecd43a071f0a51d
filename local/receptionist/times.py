"""Times of day that a caller named: "nine thirty", "half past nine", "2 p.m.", "noon", "after two".

The workshop's hours, 8 to 17, tell morning from afternoon where the caller doesn't.
"""

from dataclasses import dataclass

from local.receptionist.words import cardinal

OPENS, CLOSES = 8, 17
DAY_END = 24 * 60

# Between these and a number, the number is a time; elsewhere "nine" alone is not one.
_BEFORE = frozenset(
    {"at", "around", "about", "by", "say", "maybe", "make", "til", "until", "till"} | {"approximately"}
)
_WEAK_BEFORE = frozenset({"for", "to", "past", "it", "after", "before", "between", "and", "from", "or"})
_VAGUE = frozenset({"around", "about", "approximately", "ish", "roughly", "maybe", "or"})
_COUNTED_NAMES = (
    "car cars vehicle vehicles people hour hours minute minutes day days week weeks month months year years "
    "tire tires thousand hundred miles dollars of more times st nd rd th"
)
_COUNTED = frozenset(_COUNTED_NAMES.split())
# "that one" is no time.
_ONE_AFTER = "that this first the which another last second third earlier later next any no other"
_THE_ONE = frozenset(_ONE_AFTER.split())
_PARTS = {
    "morning": (0, 720),
    "afternoon": (720, 1080),
    "evening": (1020, DAY_END),
    "tonight": (1020, DAY_END),
}


@dataclass(frozen=True)
class Clock:
    """A time of day, in minutes after midnight, named in `words[start:end]`. Not `sure`: it was a guess."""

    minutes: int
    start: int
    end: int
    sure: bool = True


@dataclass(frozen=True)
class Window:
    """Part of a day, in minutes after midnight: times at or after `earliest` and before `latest`."""

    earliest: int
    latest: int


@dataclass(frozen=True)
class _Raw:
    """A time before morning and afternoon are told apart. `half`: "am", "pm" or ""."""

    hour: int
    minute: int
    end: int
    half: str = ""
    strong: bool = True  # can't be anything but a time


def find_times(words: list[str], taken: set[int], expected: bool) -> tuple[list[Clock], Window | None]:
    """The times in the words, and the part of the day that was asked for.

    `taken` are indexes of words that mean something else (a date). `expected`: a time was asked for, so
    that a bare number is one.
    """
    clocks: list[Clock] = []
    window: Window | None = None
    part = next((w for w in words if w in _PARTS), "")
    at = 0
    while at < len(words):
        raw = None if at in taken else _raw_at(words, at)
        if raw is None or (not raw.strong and not _is_time(words, at, raw.end, taken, expected)):
            at += 1
            continue
        clock = _settled(raw, words, at, part)
        bound = _bound(words, at, clock.minutes)
        if bound:
            window = _narrowed(window, bound)
        else:
            clocks.append(clock)
        at = raw.end
    if window is None and part and not clocks:
        window = Window(*_PARTS[part])
    return clocks, window


def _raw_at(words: list[str], at: int) -> _Raw | None:
    word = words[at]
    following = words[at + 1] if at + 1 < len(words) else ""
    if word in ("noon", "midday"):
        return _Raw(12, 0, at + 1, "pm")
    if word == "midnight":
        return _Raw(0, 0, at + 1, "am")
    raw = _relative(words, at) or _written(word, at) or _spoken(words, at)
    if raw is None:
        return None
    end = raw.end
    if end < len(words) and words[end] == "oclock":
        raw, end = _Raw(raw.hour, raw.minute, end + 1), end + 1
    if end < len(words) and words[end] in ("am", "pm"):
        return _Raw(raw.hour, raw.minute, end + 1, words[end])
    if words[end : end + 2] in (["a", "m"], ["p", "m"]):
        return _Raw(raw.hour, raw.minute, end + 2, words[end] + "m")
    in_part = words[end : end + 2] in (["in", "the"], ["at", "night"])
    strong = raw.strong or (in_part and bool(following))
    return _Raw(raw.hour, raw.minute, end, raw.half, strong)


def _relative(words: list[str], at: int) -> _Raw | None:
    """ "half past nine", "quarter to ten", "ten past nine"."""
    start = at + 1 if words[at] == "a" else at
    if start >= len(words):
        return None
    fixed = {"half": 30, "quarter": 15}.get(words[start])
    number = (fixed, start + 1) if fixed else cardinal(words, start)
    if not number or not 1 <= number[0] <= 30:
        return None
    middle = number[1]
    if middle < len(words) and words[middle] == "minutes":
        middle += 1
    if middle >= len(words):
        return None
    if words[middle] not in ("past", "after", "to", "of", "til", "before"):
        # "half nine", as the British say
        hour = cardinal(words, middle) if words[start] == "half" else None
        return _Raw(hour[0], 30, hour[1]) if hour and 1 <= hour[0] <= 12 else None
    # "ten to eleven" is rather a span, and "two after nine" no time: only round minutes are one.
    if not fixed and (number[0] % 5 or words[middle] not in ("past", "to")):
        return None
    if words[middle] == "of" and not fixed:
        return None
    hour = cardinal(words, middle + 1)
    if not hour or not 1 <= hour[0] <= 12:
        return None
    if words[middle] in ("past", "after"):
        return _Raw(hour[0], number[0], hour[1])
    return _Raw(hour[0] - 1 or 12, 60 - number[0], hour[1])


def _written(word: str, at: int) -> _Raw | None:
    """9:30, 9.30, 14:00, 930."""
    for mark in ":.":
        hour, found, minute = word.partition(mark)
        if (
            found
            and hour.isdigit()
            and minute.isdigit()
            and word.isascii()
            and len(minute) == 2
            and len(hour) < 3
        ):
            good = int(hour) < 24 and int(minute) < 60
            return (
                _Raw(int(hour), int(minute), at + 1, "24" if len(hour) == 2 and hour[0] == "0" else "")
                if good
                else None
            )
    if word.isascii() and word.isdigit() and len(word) in (3, 4):
        hours, minutes = divmod(int(word), 100)
        if 1 <= hours <= 12 and minutes in range(0, 60, 5):
            return _Raw(hours, minutes, at + 1, strong=False)
    return None


def _spoken(words: list[str], at: int) -> _Raw | None:
    """ "nine thirty", "nine oh five", "nine", "9 30"."""
    hour = cardinal(words, at)
    if not hour or not 1 <= hour[0] <= 12:
        return None
    end = hour[1]
    if words[end : end + 1] in (["oh"], ["o"], ["zero"]):
        unit = cardinal(words, end + 1)
        if unit and 1 <= unit[0] <= 9:
            return _Raw(hour[0], unit[0], unit[1])
    minute = cardinal(words, end)
    if minute and 10 <= minute[0] <= 59 and (minute[0] > 12 or minute[0] == 10) and minute[0] % 5 == 0:
        return _Raw(hour[0], minute[0], minute[1])
    return _Raw(hour[0], 0, end, strong=False)


def _is_time(words: list[str], at: int, end: int, taken: set[int], expected: bool) -> bool:
    """Whether a bare number is a time here."""
    before = words[at - 1] if at else ""
    after = words[end] if end < len(words) else ""
    if after in _COUNTED or (words[at] in ("one", "1") and before in _THE_ONE):
        return False
    if (
        words[max(0, at - 2) : at] in (["make", "it"], ["make", "that"])
        or before in _BEFORE
        or at - 1 in taken
        or after == "ish"
        or (before == "and" and "between" in words[:at])
    ):
        return True
    if words[at] in ("one", "1") and not (expected and len(words) <= 2):
        return before in ("after", "before") and expected
    return expected or (before in _WEAK_BEFORE and before not in ("it", "and", "or"))


def _settled(raw: _Raw, words: list[str], at: int, part: str) -> Clock:
    """Tells morning from afternoon, by what was said or by the hours."""
    hour, sure = raw.hour, True
    if raw.half in ("am", "pm"):
        hour = raw.hour % 12 + (12 if raw.half == "pm" else 0) if raw.hour <= 12 else raw.hour
    elif raw.half == "24" or raw.hour > 12 or raw.hour == 0:
        pass
    elif part == "morning":
        hour = raw.hour % 12 if raw.hour != 12 else 12
    elif part:
        hour = raw.hour % 12 + 12
    else:
        hour = raw.hour if raw.hour >= OPENS else raw.hour + 12
        sure = raw.hour not in (6, 7)
    near = words[max(0, at - 1) : at] + words[raw.end : raw.end + 1]
    if words[max(0, at - 2) : at] in (["how", "about"], ["what", "about"]):
        near = near[1:]
    return Clock(hour * 60 + raw.minute, at, raw.end, sure and not _VAGUE.intersection(near))


def _bound(words: list[str], at: int, minutes: int) -> Window | None:
    before = words[at - 1] if at else ""
    if before == "after" or words[max(0, at - 2) : at] == ["later", "than"]:
        return Window(minutes, DAY_END)
    if before in ("before", "until", "till", "til", "by") or words[max(0, at - 2) : at] == [
        "earlier",
        "than",
    ]:
        return Window(0, minutes + (1 if before == "by" else 0))
    if before == "between":
        return Window(minutes, DAY_END)
    if before == "and" and "between" in words[:at]:
        return Window(0, minutes)
    return None


def _narrowed(window: Window | None, other: Window) -> Window:
    if window is None:
        return other
    return Window(max(window.earliest, other.earliest), min(window.latest, other.latest))
