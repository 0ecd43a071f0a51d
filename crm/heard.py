"""What was said or written, as plain words with its numbers in digits: one spelling for those who look for meaning.

"Twenty-first of Dec. at 9 a.m." is "21th of december at 9 am". Pure, and linear in the text.
"""

import re
from collections.abc import Iterator

from crm.saying import number, ordinal

MAX_SAID = 400  # characters that are looked at: nobody names a day or a time in more

WEEKDAYS = ("monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday")
_MONTH_NAMES = "january february march april may june july august september october november december"
MONTHS = tuple(_MONTH_NAMES.split())

_SHORT_DAYS = "mon:0 tue:1 tues:1 wed:2 weds:2 thu:3 thur:3 thurs:3 fri:4 sat:5 sun:6"
_SPELLINGS = {
    **{f"{name}s": name for name in WEEKDAYS},
    **{short: WEEKDAYS[int(at)] for short, at in (pair.split(":") for pair in _SHORT_DAYS.split())},
    **{name[:3]: name for name in MONTHS},
    "sept": "september",
    "couple": "2",
    "til": "until",
    "till": "until",
    **dict.fromkeys(("tmrw", "tommorow", "tomorow", "tommorrow"), "tomorrow"),
}
_UNITS = {number(n): n for n in range(20)}
_TENS = {number(n): n for n in range(20, 100, 10)}
_ORDINALS = {ordinal(n): n for n in (*range(1, 20), *range(20, 100, 10))}

_HALF_OF_DAY = re.compile(r"(?<![a-z])([ap])\s?\.?\s?m(?![a-z])\.?")
_OCLOCK = re.compile(r"\bo\s?['’]?\s?clock\b")
_MILLENNIUM = re.compile(r"\b2 thousand(?: and)?(?: ([0-9]{1,2})\b)?")
_TOKEN = re.compile(
    r"""
    (?P<date>[0-9]{4}[-/][0-9]{1,2}[-/][0-9]{1,2}(?![0-9]) | [0-9]{1,2}/[0-9]{1,2}(?:/[0-9]{2,4})?(?![0-9])
        | [0-9]{1,2}([-.])[0-9]{1,2}\2[0-9]{4}(?![0-9]))
    | (?P<time>[0-9]{1,2}[:.][0-9]{2}(?![0-9]))(?::[0-9]{2}(?![0-9]))?
    | (?P<ordinal>[0-9]{1,3})(?:st|nd|rd|th)(?![a-z])
    | (?P<word>[0-9]+|[a-z]+)
    | (?<=[0-9])(?P<to>\s?[-–]\s?)(?=[0-9])
    """,
    re.VERBOSE,
)


def plain(said: str) -> str:
    """Lower-case words, one space between them. Numbers are digits, ordinals end in "th", times are h:mm, dates
    y-m-d or m/d/y; weekdays and months are in full.
    """
    text = _HALF_OF_DAY.sub(r" \1m ", said.lower())
    text = _OCLOCK.sub(" oclock ", text).replace("'", "").replace("’", "")
    text = " ".join(_numbers([_spelling(token) for token in _TOKEN.finditer(text)]))
    return _MILLENNIUM.sub(lambda found: str(2000 + int(found[1] or 0)), text)


def _spelling(token: re.Match[str]) -> str:
    if token["date"]:
        parts = re.split("[-/.]", token["date"])
        return ("-" if len(parts[0]) == 4 else "/").join(parts)
    if token["time"]:
        return token["time"].replace(".", ":")
    if token["ordinal"]:
        return f"{int(token['ordinal'])}th"
    return "to" if token["to"] else _SPELLINGS.get(token["word"], token["word"])


def _numbers(words: list[str]) -> Iterator[str]:
    """Number words as digits; "twenty one" is one number, "nine thirty" two."""
    rest = iter([*words, ""])
    word = next(rest)
    for following in rest:
        tens = _TENS.get(word)
        if tens and 1 <= _UNITS.get(following, 0) <= 9:
            yield str(tens + _UNITS[following])
            word = next(rest, "")
        elif tens and 1 <= _ORDINALS.get(following, 0) <= 9:
            yield f"{tens + _ORDINALS[following]}th"
            word = next(rest, "")
        else:
            if word:
                yield _one(word)
            word = following


def _one(word: str) -> str:
    if word in _ORDINALS:
        return f"{_ORDINALS[word]}th"
    value = _UNITS.get(word, _TENS.get(word))
    return word if value is None else str(value)
