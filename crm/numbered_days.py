"""Dates with a number in them: "the third", "December third", "12/3", "the second Tuesday of December"."""

import calendar
import datetime as dt
import re
from dataclasses import dataclass

from crm import saying
from crm.heard import MONTHS, WEEKDAYS

_LEAP_YEAR = 2028
_FAR_DAYS = 180  # a day of next year that is further off is told with its year


@dataclass(frozen=True)
class Named:
    """Days that were named at `start:end` of the text; one day unless `kind` is "range" or "soon".

    `kind` "weekday": only a weekday was said. `late`: of the range the last open weekday is meant. `other`: the
    day that some would have meant.
    """

    first: dt.date
    last: dt.date
    kind: str = "date"
    other: dt.date | None = None
    note: str = ""
    late: bool = False
    start: int = 0
    end: int = 0


class NoSuchDay(Exception):
    """A day was named that can't be taken; the message is for the model. `candidates`: what may be meant."""

    def __init__(self, why: str, *candidates: dt.date) -> None:
        super().__init__(why)
        self.candidates = candidates


def one_day(date: dt.date, note: str = "", other: dt.date | None = None, kind: str = "date") -> Named:
    return Named(date, date, kind, other, note)


def date_of(year: int, month: int, day: int) -> dt.date:
    if not 1 <= month <= 12:
        raise NoSuchDay(f"There is no month {saying.number(month)}: ask which day is meant.")
    if not 1 <= year <= 9999:
        raise NoSuchDay("There is no such year: ask which day is meant.")
    days = calendar.monthrange(year, month)[1]
    if not 1 <= day <= days:
        name = f"{calendar.month_name[month]} {saying.year(year)}"
        raise NoSuchDay(
            f"{name} has {saying.number(days)} days and no {saying.ordinal(day)}: ask which day is meant."
        )
    return dt.date(year, month, day)


def _month_day(month: int, day: int, year: str | None, today: dt.date) -> Named:
    """That day of the year that was said, or else the first from today on."""
    if year:
        return one_day(date_of(int(year.replace(" ", "")), month, day))
    if not 1 <= day <= calendar.monthrange(_LEAP_YEAR, month)[1]:
        raise NoSuchDay(f"{calendar.month_name[month]} has no {saying.ordinal(day)}: ask which day is meant.")
    at = today.year
    while day > calendar.monthrange(at, month)[1] or dt.date(at, month, day) < today:
        at += 1
    date = dt.date(at, month, day)
    far = at != today.year and (date - today).days > _FAR_DAYS
    return one_day(date, f"It is taken for {saying.day(date, today)}: say the year." if far else "")


def iso(found: re.Match[str], today: dt.date) -> Named:
    return one_day(date_of(int(found[1]), int(found[2]), int(found[3])))


def slashed(found: re.Match[str], today: dt.date) -> Named:
    """12/3 and 12/3/2026: the month first, as Americans write."""
    month, day, year = int(found[1]), int(found[2]), found[3]
    if year and len(year) == 3:
        raise NoSuchDay("A year has two or four digits: ask which day is meant.")
    if year:
        return one_day(date_of(int(year) + (2000 if len(year) == 2 else 0), month, day))
    if not 1 <= month <= 12:
        swapped = [_month_day(day, month, None, today).first] if 1 <= day <= 12 and 1 <= month <= 31 else []
        raise NoSuchDay(f"There is no month {saying.number(month)}: ask which day is meant.", *swapped)
    return _month_day(month, day, None, today)


def with_month(found: re.Match[str], today: dt.date) -> Named:
    return _month_day(MONTHS.index(found["month"]) + 1, int(found["day"]), found["year"], today)


def ordinal(found: re.Match[str], today: dt.date) -> Named | None:
    """ "the fifteenth": the first from today on. Without "the" only behind a weekday, or alone."""
    before = found.string[: found.start()].rstrip()
    if not found["the"] and before and before.split()[-1] not in (*WEEKDAYS, "on", "for", "of"):
        return None
    number, month = int(found["day"]), found["month"]
    if not 1 <= number <= 31:
        raise NoSuchDay(f"No month has a {saying.ordinal(number)}: ask which day is meant.")
    start = today.replace(day=1)
    if month:
        start = month_after(start, 1 if month == "next" else 0)
        return one_day(date_of(start.year, start.month, number))
    while calendar.monthrange(start.year, start.month)[1] < number or start.replace(day=number) < today:
        start = month_after(start, 1)
    return one_day(start.replace(day=number))


def month_after(first: dt.date, months: int) -> dt.date:
    """The first of the month so many later. Raises `OverflowError` beyond year 9999."""
    year, month = divmod(first.year * 12 + first.month - 1 + months, 12)
    if year > dt.MAXYEAR:
        raise OverflowError("date value out of range")
    return dt.date(year, month + 1, 1)


def nth_weekday(found: re.Match[str], today: dt.date) -> Named | None:
    """ "the second Tuesday of December", "the last Friday of the month"."""
    which, weekday = found["nth"], WEEKDAYS.index(found["weekday"])
    if found["month"] in MONTHS:
        month = MONTHS.index(found["month"]) + 1
        start = dt.date(today.year + (month < today.month), month, 1)
    else:
        start = month_after(today.replace(day=1), 1 if found["month"] == "next month" else 0)
    days = [start.replace(day=n) for n in range(1, calendar.monthrange(start.year, start.month)[1] + 1)]
    fits = [date for date in days if date.weekday() == weekday]
    at = -1 if which == "last" else int(which.removesuffix("th")) - 1
    if at >= len(fits):
        raise NoSuchDay(
            f"There is no {saying.ordinal(at + 1)} {fits[0]:%A} in {start:%B}: ask which day is meant."
        )
    return one_day(fits[at])
