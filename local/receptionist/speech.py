"""Times, dates, prices and lists as a voice says them: words, no digits."""

import datetime as dt
import re
from collections.abc import Sequence

from local.receptionist.dates import MONTHS, WEEKDAYS
from local.receptionist.words import ORDINALS, TENS, UNITS

_UNIT_WORDS = {value: word for word, value in UNITS.items()}
_TEN_WORDS = {value: word for word, value in TENS.items()}
_ORDINAL_WORDS = {value: word for word, value in ORDINALS.items()}


def number(value: int) -> str:
    """0 to 999,999 in words: "fifty-nine", "one hundred nineteen"."""
    if value < 20:
        return _UNIT_WORDS[value]
    if value < 100:
        tens, unit = value - value % 10, value % 10
        return _TEN_WORDS[tens] + (f"-{_UNIT_WORDS[unit]}" if unit else "")
    size, name = (1000, "thousand") if value >= 1000 else (100, "hundred")
    whole, rest = divmod(value, size)
    return f"{number(whole)} {name}" + (f" {number(rest)}" if rest else "")


def ordinal(value: int) -> str:
    """1 to 99: "twenty-seventh"."""
    if value in _ORDINAL_WORDS:
        return _ORDINAL_WORDS[value]
    return f"{_TEN_WORDS[value - value % 10]}-{_ORDINAL_WORDS[value % 10]}"


def year(value: int) -> str:
    """ "twenty twenty-one", "two thousand nine", "nineteen ninety-eight"."""
    century, rest = divmod(value, 100)
    if century == 20 and rest < 10:
        return number(value)
    if not 1100 <= value <= 9999:
        return number(value) if 0 <= value <= 999_999 else str(value)
    return f"{number(century)} {number(rest) if rest >= 10 else 'oh ' + number(rest) if rest else 'hundred'}"


def clock(minutes: int, alone: bool = True) -> str:
    """Minutes after midnight: "nine o'clock" (in a list only "nine"), "nine thirty", "noon"."""
    hour, minute = divmod(minutes, 60)
    if (hour, minute) == (12, 0):
        return "noon"
    if (hour, minute) == (0, 0):
        return "midnight"
    spoken = number(hour % 12 or 12)
    if minute:
        return f"{spoken} {'oh ' if minute < 10 else ''}{number(minute)}"
    return f"{spoken} o'clock" if alone else spoken


def day(date: dt.date) -> str:
    """ "Friday, November twenty-seventh"."""
    return f"{WEEKDAYS[date.weekday()].title()}, {MONTHS[date.month - 1].title()} {ordinal(date.day)}"


def past_day(date: dt.date) -> str:
    """ "March fifteenth, twenty twenty-six": long ago, where the weekday says nothing."""
    return f"{MONTHS[date.month - 1].title()} {ordinal(date.day)}, {year(date.year)}"


def either(items: Sequence[str], word: str = "or") -> str:
    """ "nine, nine thirty or ten"."""
    if len(items) < 2:
        return "".join(items)
    return f"{', '.join(items[:-1])} {word} {items[-1]}"


def one_of(noun: str) -> str:
    """The noun with its article: "an oil change"."""
    return f"{'an' if noun[:1].lower() in 'aeiou' and noun else 'a'} {noun}"


def money(text: str) -> str:
    """ "$59" and "$59.50" within a text become words."""

    def spoken(match: re.Match[str]) -> str:
        dollars, cents = int(match[1].replace(",", "")), int(match[2] or 0)
        if dollars > 999_999:
            return match[0]
        unit = "dollar" if dollars == 1 else "dollars"
        return f"{number(dollars)} {unit}" + (f" and {number(cents)} cents" if cents else "")

    return re.sub(r"\$\s?(\d[\d,]{0,8})(?:\.(\d\d))?", spoken, text)


def spoken(text: str) -> str:
    """A text made for reading, made for hearing: dates, times, prices and small numbers in words."""
    text = re.sub(r"\b(\d{4})-(\d\d)-(\d\d)\b", _spoken_date, text, flags=re.ASCII)
    text = re.sub(rf"\b({'|'.join(WEEKDAYS)}),? (?=\1)", "", text, flags=re.IGNORECASE)
    text = re.sub(r"\b([01]?\d|2[0-3]):([0-5]\d)\b", _spoken_time, text, flags=re.ASCII)
    text = re.sub(r"\bmin\b\.?", "minutes", money(text))
    return re.sub(r"(?<![\w.-])\d{1,5}(?![\w.]*\w)", lambda m: number(int(m[0])), text, flags=re.ASCII)


def _spoken_date(match: re.Match[str]) -> str:
    try:
        return day(dt.date(int(match[1]), int(match[2]), int(match[3])))
    except ValueError:
        return match[0]


def _spoken_time(match: re.Match[str]) -> str:
    return clock(int(match[1]) * 60 + int(match[2]))
