"""Days that a caller named: "tomorrow", "next Tuesday", "December first", "the twenty-seventh", "12/1"."""

import datetime as dt
import difflib
import re
from dataclasses import dataclass

from local.receptionist.words import cardinal, ordinal

WEEKDAYS = ("monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday")
_MONTH_NAMES = "january february march april may june july august september october november december"
MONTHS = tuple(_MONTH_NAMES.split())
_SHORT_DAYS = {"mon": 0, "tue": 1, "tues": 1, "wed": 2, "thu": 3, "thurs": 3, "fri": 4}
_SHORT_MONTHS = {name[:3]: number for number, name in enumerate(MONTHS, 1)} | {"sept": 9}
_SHORT_MONTHS.pop("may")
# After these a bare "second" is one of several things, not a day of the month.
_THINGS = frozenset({"one", "slot", "option", "time", "appointment", "two", "three", "of", "car", "thing"})
_MISHEARD = 0.8  # likeness from which a word ending in "day" is taken for a weekday


@dataclass(frozen=True)
class Day:
    """A day that was named in `words[start:end]`. Not `sure`: it could be meant otherwise.

    `bare`: only an ordinal was said ("the second"), which may also choose among things.
    """

    date: dt.date
    start: int
    end: int
    sure: bool = True
    bare: bool = False


def find_days(words: list[str], today: dt.date) -> list[Day]:
    """All days in the words, in order; what names one day together ("Friday the 27th") is one."""
    found: list[Day] = []
    at = 0
    while at < len(words):
        day = _day_at(words, at, today)
        if day is None:
            at += 1
            continue
        at = day.end
        if found and _joined(words, found[-1], day):
            found[-1] = _merged(words, found[-1], day)
        else:
            found.append(day)
    return found


def _joined(words: list[str], first: Day, second: Day) -> bool:
    between = words[first.end : second.start]
    named = _weekday(words[first.end - 1]) is not None or _weekday(words[second.end - 1]) is not None
    return named and all(word in ("the", "on", "of", "comma") for word in between)


def _merged(words: list[str], first: Day, second: Day) -> Day:
    """The one with a number says which day it is; the weekday only confirms it."""
    numbered = first if _weekday(words[second.end - 1]) is not None else second
    agree = first.date.weekday() == second.date.weekday()
    return Day(numbered.date, first.start, second.end, sure=agree)


def _day_at(words: list[str], at: int, today: dt.date) -> Day | None:
    for parser in (_relative, _written, _month_day, _weekday_day, _ordinal_day):
        day = parser(words, at, today)
        if day:
            return day
    return None


def _word(words: list[str], at: int) -> str:
    return words[at] if 0 <= at < len(words) else ""


def _plus(day: dt.date, days: int) -> dt.date | None:
    try:
        return day + dt.timedelta(days=days)
    except OverflowError:
        return None


def _relative(words: list[str], at: int, today: dt.date) -> Day | None:
    phrases = (
        ("the day after tomorrow", 2),
        ("day after tomorrow", 2),
        ("today", 0),
        ("tonight", 0),
        ("tomorrow", 1),
    )
    for phrase, days in phrases:
        parts = phrase.split()
        if words[at : at + len(parts)] == parts:
            date = _plus(today, days)
            return Day(date, at, at + len(parts)) if date else None
    if words[at : at + 2] == ["next", "week"] and not any(
        _weekday(w) is not None for w in words[at + 2 : at + 4]
    ):
        date = _plus(today, 7 - today.weekday())
        return Day(date, at, at + 2, sure=False) if date else None
    if words[at] != "in":
        return None
    count = (1, at + 2) if _word(words, at + 1) in ("a", "an") else cardinal(words, at + 1)
    unit = {"day": 1, "days": 1, "week": 7, "weeks": 7}.get(_word(words, count[1]), 0) if count else 0
    date = _plus(today, count[0] * unit) if count and unit else None
    return Day(date, at, count[1] + 1) if count and date else None


def _written(words: list[str], at: int, today: dt.date) -> Day | None:
    """2026-12-01, 12/1 and 12/1/2026 (month first, as Americans write)."""
    iso = re.fullmatch(r"(\d{4})-(\d\d?)-(\d\d?)", words[at], re.ASCII)
    if iso:
        date = _date(int(iso[1]), int(iso[2]), int(iso[3]))
        return Day(date, at, at + 1) if date else None
    slashed = re.fullmatch(r"(\d\d?)/(\d\d?)(?:/(\d{2}|\d{4}))?", words[at], re.ASCII)
    if not slashed:
        return None
    month, day = int(slashed[1]), int(slashed[2])
    if slashed[3]:
        year = int(slashed[3]) % 100 + 2000
        date = _date(year, month, day)
        return Day(date, at, at + 1) if date else None
    return _next_month_day(today, month, day, at, at + 1)


def _month_day(words: list[str], at: int, today: dt.date) -> Day | None:
    """ "November twenty-seventh", "Dec 1", "the first of December"."""
    month = _month(words[at])
    if month:
        skip = at + 2 if _word(words, at + 1) == "the" else at + 1
        number = ordinal(words, skip) or cardinal(words, skip)
        return _next_month_day(today, month, number[0], at, number[1]) if number else None
    start = at + 1 if words[at] == "the" else at
    number = ordinal(words, start) or cardinal(words, start)
    if not number:
        return None
    of = number[1] + 1 if _word(words, number[1]) == "of" else number[1]
    month = _month(_word(words, of))
    # "nine may" could be "nine, may I": only "of" makes it a date there.
    if not month or (month == 5 and of == number[1]):
        return None
    return _next_month_day(today, month, number[0], at, of + 1)


def _month(word: str) -> int:
    if word in MONTHS:
        return MONTHS.index(word) + 1
    return _SHORT_MONTHS.get(word, 0)


def _date(year: int, month: int, day: int) -> dt.date | None:
    try:
        return dt.date(year, month, day)
    except ValueError:
        return None


def _next_month_day(today: dt.date, month: int, day: int, start: int, end: int) -> Day | None:
    """This year's day, or next year's when it has passed: then it is worth asking."""
    for year in range(today.year, min(today.year + 9, dt.MAXYEAR + 1)):  # 29 February comes every few years
        date = _date(year, month, day)
        if date and date >= today:
            return Day(date, start, end, sure=year == today.year or (date - today).days < 180)
    return None


def _weekday(word: str) -> int | None:
    for name, number in _SHORT_DAYS.items():
        if word == name:
            return number
    singular = word.removesuffix("s") if word.endswith("days") else word
    if singular in WEEKDAYS:
        return WEEKDAYS.index(singular)
    if not singular.endswith("day") or len(singular) < 6:
        return None
    likest = max(WEEKDAYS, key=lambda name: difflib.SequenceMatcher(None, singular, name).ratio())
    ratio = difflib.SequenceMatcher(None, singular, likest).ratio()
    return WEEKDAYS.index(likest) if ratio >= _MISHEARD else None


def _weekday_day(words: list[str], at: int, today: dt.date) -> Day | None:
    number = _weekday(words[at])
    if number is None:
        return None
    exact = words[at].removesuffix("s") in WEEKDAYS or words[at] in _SHORT_DAYS
    before, end = _word(words, at - 1), at + 1
    ahead = (number - today.weekday()) % 7
    sure = exact and (ahead > 0 or before == "this")
    in_next_week = ["next", "week"] in (
        words[end : end + 2],
        words[max(0, at - 2) : at],
        words[max(0, at - 3) : at - 1],
    )
    if in_next_week or before == "next":
        # In the next calendar week. Said of a day still to come this week, people mean either.
        days = 7 - today.weekday() + number
        sure = exact and ((ahead or 7) == days or in_next_week)
        end += 2 if words[end : end + 2] == ["next", "week"] else 0
    elif words[max(0, at - 3) : at] == ["a", "week", "from"]:
        days = ahead + 7
    else:
        days = ahead or 7
        if before == "this" and not ahead:
            days = 0
    date = _plus(today, days)
    return Day(date, at, end, sure) if date else None


def _ordinal_day(words: list[str], at: int, today: dt.date) -> Day | None:
    """ "the twenty-seventh", "27th": this month's, or the next month's when it has passed."""
    number = ordinal(words, at)
    if not number or number[0] > 31 or _word(words, number[1]) in _THINGS:
        return None
    if _month(_word(words, at - 1)):
        return None  # a day that this month doesn't have
    year, month = today.year, today.month
    for _ in range(3):  # a 31st is at most two months away
        date = _date(year, month, number[0])
        if date and date >= today:
            return Day(date, at, number[1], bare=number[0] <= 5)
        year, month = (year + 1, 1) if month == 12 else (year, month + 1)
    return None
