"""Times of day as people say them: "nine thirty", "half past nine", "quarter to ten", "at three", "09:30", "noon".

People seldom say which half of the day they mean. In order: what they did say decides ("p.m.", "in the afternoon", a
part of the day that is known already), then that we are open then: "three" is 15:00 where the workshop is open from
8 to 17. Where both halves are left, or neither, it is not guessed. "09:30" and hours over 12 are a clock of 24 hours.
"""

import datetime as dt
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from crm.heard import MAX_SAID, plain
from crm.saying import clock as say
from crm.saying import clocks as say_all

Hours = Sequence[tuple[dt.time, dt.time]]
# From the first time that is meant to the first that is not.
Part = tuple[dt.time, dt.time]

_ANY_DAY: Hours = ((dt.time(8), dt.time(18)),)  # for days of which no hours are known
_PARTS: dict[str, Part] = {
    "after lunch": (dt.time(13), dt.time(18)),
    "early morning": (dt.time(0), dt.time(10)),
    "late morning": (dt.time(10), dt.time(12)),
    "morning": (dt.time(0), dt.time(12)),
    "lunchtime": (dt.time(11), dt.time(14)),
    "lunch time": (dt.time(11), dt.time(14)),
    "lunch": (dt.time(11), dt.time(14)),
    "early afternoon": (dt.time(12), dt.time(15)),
    "late afternoon": (dt.time(15), dt.time(18)),
    "afternoon": (dt.time(12), dt.time(18)),
    "evening": (dt.time(17), dt.time.max),
    "tonight": (dt.time(17), dt.time.max),
    "night": (dt.time(18), dt.time.max),
}
_PART = re.compile(rf"\b(?:{'|'.join(_PARTS)})\b")
_FIRST_THING = re.compile(r"\b(?:1th thing|opening time|when you open|as soon as you open)\b")
_LAST_THING = re.compile(r"\b(?:last thing|(?:the )?end of (?:the |that )?day|close of business)\b")

# One way of saying a time each, the most telling first. h: hours, m: minutes, off: minutes past or to an hour.
_AT = (
    re.compile(r"(?P<noon>(?:12 )?(?:noon|midday))|(?P<midnight>(?:12 )?midnight)"),
    re.compile(r"(?P<h>\d{1,2}):(?P<m>\d\d)"),
    re.compile(
        r"(?:a )?(?P<off>half|quarter|\d{1,2})(?P<unit> minutes?)? "
        r"(?P<way>past|after|to|until|of) (?P<h>\d{1,2})(?![\w:])"
    ),
    re.compile(r"(?P<off>half) (?P<h>\d{1,2})(?![\w:])"),  # British
    re.compile(r"(?P<h>\d{1,2}) (?:(?:oh|o|0) (?P<m>[1-9])|(?P<mm>[1-5]\d))(?![\w:])"),
    re.compile(r"(?P<compact>\d{3,4})(?![\w:])"),
    re.compile(r"(?P<h>\d{1,2})(?![\w:])"),
)  # fmt: skip
_AFTER_IT = re.compile(
    r"(?P<oclock> oclock)?(?: (?P<half>am|pm))?(?: (?:in the |at )?(?P<part>morning|afternoon|evening|night)\b)?"
)
_NAMES = (
    "weeks? days? months? years? hours? people cars? vehicles? tires? miles dollars thousand hundred of more"
)
_COUNTS = re.compile(rf" (?:{_NAMES.replace(' ', '|')})\b")
_LEADS = re.compile(
    r"(?:\b(?:at|around|about|by|for|say|maybe|from|to|or|and|between|after|before|until|than)|\|)(?: the)? $|^$"
)
_EARLIEST = re.compile(r"\b(?:after|from|later than|past|between|starting at|starting) $")
_LATEST = re.compile(r"\b(?:before|by|until|earlier than|no later than) $")
_JOINS = re.compile(r"^ (?:to|and|until) $")


@dataclass(frozen=True)
class Unclear:
    """What was said can't be taken as one day or one time. `why` is for the model, which is to act on it."""

    why: str
    candidates: tuple[dt.date | dt.time, ...] = ()


@dataclass(frozen=True)
class Heard:
    """A time, or a part of the day, or neither, that a text holds."""

    time: dt.time | None = None
    part: Part | None = None


@dataclass(frozen=True)
class _Clock:
    """A time at `start:end` of the text, before the halves of the day are told apart. `half`: am, pm, 24 or ""."""

    hour: int
    minute: int
    start: int
    end: int
    half: str = ""
    part: str = ""


def clock(said: str, hours: Hours, part: Part | None = None) -> dt.time | Unclear:
    """The time of day that was said. `hours`: when we are open that day; `part`: what part of it was asked for."""
    if len(said) > MAX_SAID:
        return Unclear("The time is far too long: give only the time, e.g. 09:30.")
    text = plain(said)
    heard = hear(text, hours, part, only=True)
    if isinstance(heard, Unclear):
        return heard
    if heard.time is not None:
        return heard.time
    if heard.part is not None:
        return Unclear(
            f"{_quoted(text)} is a part of the day and not a time: offer the free times then, and ask which."
        )
    return Unclear(f"{_quoted(text)} is not understood as a time: ask for it, and give it as HH:MM.")


def hear(text: str, hours: Hours, part: Part | None = None, only: bool = False) -> Heard | Unclear:
    """What a text (as `crm.heard.plain` makes it) says of the time of day. `only`: it is about nothing else."""
    part = _part_of(text, hours) or part
    found = list(_clocks(text, only))
    exact: list[dt.time] = []
    earliest, latest = None, None
    for at, one in enumerate(found):
        time = _settled(one, hours, part)
        if isinstance(time, Unclear):
            return time
        before = text[found[at - 1].end if at else 0 : one.start]
        if _LATEST.search(before) or (at and _JOINS.search(before)):
            latest = time
            earliest = exact.pop() if at and _JOINS.search(before) and exact else earliest
        elif _EARLIEST.search(before):
            earliest = time
        else:
            exact.append(time)
    times = tuple(dict.fromkeys(exact))
    if len(times) > 1:
        return Unclear(f"Several times were said, {say_all(times, 'and')}: ask which.", times)
    if times:
        return Heard(times[0], part)
    if earliest is None and latest is None:
        return Heard(None, part)
    return _window(earliest or dt.time(), latest or dt.time.max)


def _window(earliest: dt.time, latest: dt.time) -> Heard | Unclear:
    if earliest < latest:
        return Heard(None, (earliest, latest))
    return Unclear(f"Between {say(earliest)} and {say(latest)} is no time: ask what was meant.")


def _part_of(text: str, hours: Hours) -> Part | None:
    opens, closes = _span(hours)
    if _FIRST_THING.search(text):
        return opens, _shifted(opens, 60)
    if _LAST_THING.search(text):
        return _shifted(closes, -120), closes
    found = _PART.search(text)
    return _PARTS[found[0]] if found else None


def _clocks(text: str, only: bool) -> Iterator[_Clock]:
    at = 0
    for word in re.finditer(r"\S+", text):
        if word.start() < at:
            continue
        one = _clock_at(text, word.start(), only)
        if one:
            at = one.end
            yield one


def _clock_at(text: str, at: int, only: bool) -> _Clock | None:
    for pattern in _AT:
        found = pattern.match(text, at)
        read = _read(found, only) if found else None
        if found is None or read is None:
            continue
        hour, minute, half = read
        rest = _AFTER_IT.match(text, found.end())
        assert rest is not None  # it may be empty
        end, groups = rest.end(), found.groupdict()
        vague = "compact" in groups or not {"noon", "off", "m"} & groups.keys()
        certain = only or not vague or rest[0] or _LEADS.search(text[max(0, at - 12) : at])
        if not certain or (vague and _COUNTS.match(text, end)):
            return None
        return _Clock(hour, minute, at, end, rest["half"] or half, rest["part"] or "")
    return None


def _read(found: re.Match[str], only: bool) -> tuple[int, int, str] | None:
    """Hours, minutes and which half of the day that is, or None if it is said differently."""
    said = found.groupdict()
    if said.get("noon") or said.get("midnight"):
        return 12, 0, "pm" if said["noon"] else "am"
    if said.get("off"):
        return _off(said)
    if compact := said.get("compact"):
        hour, minute = int(compact[:-2]), int(compact[-2:])
        # 2022 is a year more often than a time.
        plausible = minute < 60 and (only or (hour <= 12 and minute % 5 == 0))
        return (hour, minute, "24" if compact[0] == "0" else "") if plausible else None
    if said["h"] == "0" and "m" not in said:
        return None
    hour, minute = int(said["h"] or 0), int(said.get("m") or said.get("mm") or 0)
    if said.get("mm") and hour > 12 and not only:  # "twenty twenty-two" is a year
        return None
    return hour, minute, "24" if len(said["h"]) == 2 and said["h"][0] == "0" else ""


def _off(said: dict[str, str | None]) -> tuple[int, int, str] | None:
    """ "half past nine", "quarter to ten", "twenty past four"; not "nine to ten", which is a span."""
    hour, off, way = int(said["h"] or 0), said["off"] or "", said.get("way") or "past"
    named = {"half": 30, "quarter": 15}.get(off)
    minutes = int(off) if named is None else named
    if named is None and not said.get("unit") and (minutes % 5 or way in ("of", "until", "after")):
        return None
    if way == "to" and off == "10" and hour not in (8, 9, 10) and not said.get("unit"):
        return None
    if not 1 <= hour <= 12 or not 1 <= minutes <= 59:
        return None
    if way in ("past", "after"):
        return hour, minutes, ""
    return hour - 1 or 12, 60 - minutes, ""


def _settled(one: _Clock, hours: Hours, part: Part | None) -> dt.time | Unclear:
    if one.hour > 23 or one.minute > 59:
        return Unclear(f"There is no time {one.hour}:{one.minute:02}: ask again for the time.")
    literal = dt.time(one.hour, one.minute)
    if one.hour > 12 or one.hour == 0 or one.half == "24":
        if one.half == "am" and one.hour > 12:
            return Unclear(f"{say(literal)} is not in the morning: ask for the time again.", (literal,))
        return literal
    both = (dt.time(one.hour % 12, one.minute), dt.time(one.hour % 12 + 12, one.minute))
    if one.half:
        return both[one.half == "pm"]
    window = _PARTS[one.part] if one.part else part
    for meant in (window, _span(hours)):
        left = [time for time in both if meant and meant[0] <= time <= meant[1]]
        if len(left) == 1:
            return left[0]
    opened = " to ".join(say(time) for time in _span(hours))
    return Unclear(f"It could be {say_all(both)}; we are open from {opened}: ask which.", both)


def _span(hours: Hours) -> tuple[dt.time, dt.time]:
    hours = hours or _ANY_DAY
    return min(opens for opens, _ in hours), max(closes for _, closes in hours)


def _shifted(time: dt.time, minutes: int) -> dt.time:
    """The time so much later or earlier, within the day."""
    at = min(max(time.hour * 60 + time.minute + minutes, 0), 24 * 60 - 1)
    return dt.time(at // 60, at % 60)


def _quoted(text: str) -> str:
    """What was said, for a message: in plain words, so that nothing odd is sent on."""
    return f'"{text[:60]}"' if text else "Nothing"
