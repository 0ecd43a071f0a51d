"""Which days a text names: a table of forms and what each means, tried from the most telling to the least.

Reads what `crm.heard.plain` makes of a text. `crm.dates` tells how weekdays are meant, and makes one day of what is
found here.
"""

import calendar
import datetime as dt
import functools
import re
from collections.abc import Callable
from dataclasses import replace

from crm import saying
from crm.heard import MONTHS, WEEKDAYS
from crm.holidays import HOLIDAYS
from crm.numbered_days import (
    Named,
    NoSuchDay,
    date_of,
    iso,
    month_after,
    nth_weekday,
    one_day,
    ordinal,
    slashed,
    with_month,
)

_W = "|".join(WEEKDAYS)
_M = "|".join(MONTHS)
_YEAR = r"(?: (?P<year>20\d\d|20 \d\d))?(?![\w:])"
_COUNT = r"(?:about )?(?:a )?(?P<n>\d{1,4}|a|an)(?: of)? (?P<unit>day|week|month)s?"
_THINGS = "one|slot|option|time|appointment|available|opening|open|thing|week|weekend|day|days|part|half|car|visit|call"
_WINDOW = dt.timedelta(days=13)  # after a day that was named "after": two weeks, the day included
_NEAR = dt.timedelta(days=2)


def named_days(text: str, today: dt.date) -> list[Named]:
    """All days in the text, in order. Raises `NoSuchDay`, and `OverflowError` for days beyond the calendar."""
    found: list[Named] = []
    for word in re.finditer(r"\S+", text):
        if found and word.start() < found[-1].end:
            continue
        one = _named_at(text, word.start(), today)
        if one is None:
            continue
        one = _bounded(text, one, today)
        if found and (span := _span(text, found[-1], one)):
            found[-1] = span
        else:
            found.append(one)
    return found


@functools.lru_cache(
    maxsize=512
)  # so that "the day after the day after ..." is read once, not once from each word
def _named_at(text: str, at: int, today: dt.date) -> Named | None:
    for form, meaning in _FORMS:
        found = form.match(text, at)
        one = meaning(found, today) if found else None
        if found and one:
            return replace(one, start=at, end=max(found.end(), one.end))
    return None


# ------------------------------------------------------------ before and behind a day

_NOT = re.compile(
    r"\b(?:not|no|except|but|besides|without|never|cant|cannot|wont|isnt|every|each|other than|instead of)"
    r"(?: (?:on|for|do|make|come|a|any|the|this|next))* $"
)
_AFTER = re.compile(r"\b(?:after|later than|past)(?: the)? $")
_BEFORE = re.compile(r"\b(?:before|earlier than) $")
_BY = re.compile(r"\b(?:by|until|no later than)(?: the)? $")
_FROM = re.compile(r"\b(?:from|starting|between)(?: the)? $")
_ONWARD = re.compile(r" (?:on\b(?! the)|onwards?|or later|or after)")


def _bounded(text: str, one: Named, today: dt.date) -> Named:
    """ "after Tuesday", "by the tenth" and "from Monday on" are ranges; "not Tuesday" is no day at all."""
    before = text[max(0, one.start - 40) : one.start]
    onward = _ONWARD.match(text, one.end)
    if _BY.search(before):
        return replace(one, first=min(today, one.first), kind="range", other=None)
    if _NOT.search(before):
        raise NoSuchDay(f"{text[one.start : one.end]} was said as a day that is not meant: ask which day is.")
    if _AFTER.search(before):
        first = one.last + dt.timedelta(days=1)
        return replace(one, first=first, last=first + _WINDOW, kind="range", other=None)
    if _BEFORE.search(before):
        last = one.first - dt.timedelta(days=1)
        return replace(one, first=min(today, last), last=last, kind="range", other=None)
    if onward and (_FROM.search(before) or onward[0] != " on"):
        return replace(one, last=one.first + _WINDOW, kind="range", other=None, end=onward.end())
    return one


def _span(text: str, one: Named, two: Named) -> Named | None:
    """ "from Monday to Wednesday", "between the third and the fifth"."""
    between = text[one.end : two.start].strip()
    spans = between in ("to", "through", "thru", "until") or (
        between == "and" and re.search(r"\bbetween(?: the)? $", text[max(0, one.start - 12) : one.start])
    )
    if not spans:
        return None
    last = two.last
    if last < one.first and "weekday" in (one.kind, two.kind):
        last += dt.timedelta(days=7)
    if last < one.first:
        return None
    return Named(one.first, last, "range", start=one.start, end=two.end)


# ------------------------------------------------------------ days told from today or from another day


def _relative(found: re.Match[str], today: dt.date) -> Named:
    return one_day(today + dt.timedelta(days={"yesterday": -1, "today": 0, "tomorrow": 1}[found[0]]))


def _beside(found: re.Match[str], today: dt.date) -> Named | None:
    """ "the day after tomorrow", "the Monday after Thanksgiving"."""
    anchor = _named_at(found.string, found.end(), today)
    if anchor is None:
        return None
    way = 1 if found["way"] == "after" else -1
    date = (anchor.last if way > 0 else anchor.first) + dt.timedelta(days=way)
    while found["what"] != "day" and date.weekday() != WEEKDAYS.index(found["what"]):
        date += dt.timedelta(days=way)
    return replace(one_day(date), end=anchor.end)


def _later(date: dt.date, count: str, unit: str) -> dt.date:
    n = 1 if count in ("a", "an") else int(count)
    if unit != "month":
        return date + dt.timedelta(days=n * (7 if unit == "week" else 1))
    start = month_after(date.replace(day=1), n)
    return start.replace(day=min(date.day, calendar.monthrange(start.year, start.month)[1]))


def _in_so_long(found: re.Match[str], today: dt.date) -> Named:
    """ "in two weeks", "three days from now"."""
    return one_day(_later(today, found["n"], found["unit"]))


def _so_long_from(found: re.Match[str], today: dt.date) -> Named | None:
    """ "a week from Thursday", "two weeks after Christmas"."""
    anchor = _named_at(found.string, found.end(), today)
    if anchor is None or anchor.kind in ("range", "soon"):
        return None
    return replace(one_day(_later(anchor.first, found["n"], found["unit"])), end=anchor.end)


def _within(found: re.Match[str], today: dt.date) -> Named:
    """ "in the next two weeks", "within ten days"."""
    return Named(today, _later(today, found["n"], found["unit"]), "range")


def _past(found: re.Match[str], today: dt.date) -> Named:
    raise NoSuchDay(
        f"{found[0]} is in the past; today is {saying.day(today, today)}. Ask which day is meant."
    )


def _holiday(found: re.Match[str], today: dt.date) -> Named:
    holiday = HOLIDAYS[found[0]]
    date = holiday(today.year)
    return one_day(date if date >= today else holiday(today.year + 1))


def _weekday(found: re.Match[str], today: dt.date) -> Named:
    weekday = WEEKDAYS.index(found["weekday"])
    ahead = (weekday - today.weekday()) % 7
    coming = today + dt.timedelta(days=ahead or 7)
    of_next_week = today + dt.timedelta(days=7 - today.weekday() + weekday)
    other: dt.date | None = None
    match found["which"], found["tail"]:
        case _, " week":
            meant = coming + dt.timedelta(days=7)
        case _, " after next":
            meant, other = of_next_week + dt.timedelta(days=7), of_next_week
        case "next", _:
            meant, other = of_next_week, coming
            if meant == coming:
                other = meant + dt.timedelta(days=7) if coming - today <= _NEAR else None
        case "this", _:
            meant = today + dt.timedelta(days=ahead)
        case "this coming" | "coming" | "upcoming", _:
            meant = coming
        case _:
            meant, other = coming, None if ahead else today
    note = ""
    if other:
        note = (
            f'"{found[0]}" is taken for {saying.day(meant, today)}, not for {saying.day(other, today)}: '
            "say so when you read it back."
        )
    return one_day(meant, note, other, "weekday")


def _nth_from_now(found: re.Match[str], today: dt.date) -> Named:
    """ "two Mondays from now"."""
    ahead = (WEEKDAYS.index(found["weekday"]) - today.weekday()) % 7 or 7
    return one_day(today + dt.timedelta(days=ahead + 7 * (int(found["n"]) - 1)))


# ------------------------------------------------------------ ranges


def _nth_week(found: re.Match[str], today: dt.date) -> Named:
    """ "the second week of December": its eighth to fourteenth."""
    month, nth = MONTHS.index(found["month"]) + 1, int(found["nth"])
    start = dt.date(today.year + (month < today.month), month, 7 * nth - 6)
    return Named(start, start + dt.timedelta(days=6), "range")


def _week(found: re.Match[str], today: dt.date) -> Named | None:
    which, after_next, edge = found["which"], found["after"], found["edge"] or ""
    if not (which or after_next or edge):
        return None
    weeks = 2 if after_next else 1 if which in ("next", "following") else 0
    monday = today + dt.timedelta(days=7 * weeks - today.weekday())
    first, last = {"early": (0, 1), "middle": (2, 3), "late": (3, 6)}.get(_edge(edge), (0, 6))
    one = Named(monday + dt.timedelta(days=first), monday + dt.timedelta(days=last), "range", late=first == 3)
    if edge == "later" and weeks == 0:
        return replace(
            one,
            first=today + dt.timedelta(days=1),
            last=max(one.last, today + dt.timedelta(days=1)),
            late=False,
        )
    return one


def _edge(edge: str) -> str:
    if edge in ("end", "late", "later"):
        return "late"
    if edge in ("beginning", "start", "early", "earlier"):
        return "early"
    return "middle" if edge in ("middle", "mid") else ""


def _month(found: re.Match[str], today: dt.date) -> Named | None:
    """ "next month", "the end of the month", "early December", "in May"."""
    name, edge = found["month"], found["edge"] or ""
    if name == "may" and not (edge or found["in"]):
        return None
    start = today.replace(day=1)
    if name in MONTHS:
        month = MONTHS.index(name) + 1
        year = found["year"]
        at = int(year.replace(" ", "")) if year else today.year + (month < today.month)
        start = date_of(at, month, 1)
    elif name == "next month":
        start = month_after(start, 1)
    elif not edge and name == "the month":
        return None
    days = calendar.monthrange(start.year, start.month)[1]
    first, last = {"early": (1, 10), "middle": (11, 20), "late": (days - 6, days)}.get(_edge(edge), (1, days))
    return Named(start.replace(day=first), start.replace(day=last), "range", late=_edge(edge) == "late")


def _week_of(found: re.Match[str], today: dt.date) -> Named | None:
    """ "the week of the seventh"."""
    anchor = _named_at(found.string, found.end(), today)
    if anchor is None or anchor.kind in ("range", "soon"):
        return None
    monday = anchor.first - dt.timedelta(days=anchor.first.weekday())
    return Named(monday, monday + dt.timedelta(days=6), "range", end=anchor.end)


def _weekend(found: re.Match[str], today: dt.date) -> Named:
    saturday = today + dt.timedelta(days=5 - today.weekday())
    if found["which"] == "next":
        saturday += dt.timedelta(days=7)
    return Named(saturday, saturday + dt.timedelta(days=1), "range")


def _soon(found: re.Match[str], today: dt.date) -> Named:
    return Named(today, today + dt.timedelta(days=59), "soon")


_EDGES = "end|beginning|start|middle|mid|early|earlier|late|later"
_EDGE = rf"(?:(?:the )?(?P<edge>{_EDGES})(?: of| in)? )?"
_SOON = (
    "as soon as possible|as soon as you can|asap|(?:the )?(?:soonest|earliest|1th available|next available|next open"
    "|next opening)|any ?day|any ?time|whenever|right away|in the next few days|in a few days|soon"
)

_Meaning = Callable[[re.Match[str], dt.date], Named | None]
_FORMS: tuple[tuple[re.Pattern[str], _Meaning], ...] = tuple(
    (re.compile(form), meaning)
    for form, meaning in (
        (r"(\d{4})-(\d{1,2})-(\d{1,2})(?![\w:])", iso),
        (r"(\d{1,2})/(\d{1,2})(?:/(\d{2,4}))?(?![\w:])", slashed),
        (
            rf"(?:the )?(?P<nth>[1-5]th|last) (?P<weekday>{_W}) (?:of|in) "
            rf"(?:the )?(?P<month>{_M}|(?:next |this )?month)\b",
            nth_weekday,
        ),
        (rf"(?:the )?(?P<what>day|{_W}) (?P<way>after|before) ", _beside),
        (r"(?:today|tomorrow|yesterday)\b", _relative),
        (rf"(?:{'|'.join(sorted(HOLIDAYS, key=len, reverse=True))})\b", _holiday),
        (rf"(?:the )?(?P<day>\d{{1,3}})th (?:day )?(?:of )?(?P<month>{_M}){_YEAR}", with_month),
        (rf"(?:the )?(?P<day>\d{{1,2}}) of (?P<month>{_M}){_YEAR}", with_month),
        (rf"(?P<day>\d{{1,2}}) (?!may)(?P<month>{_M}){_YEAR}", with_month),
        (rf"(?P<month>{_M}) (?:the )?(?P<day>\d{{1,3}})(?:th)?(?![\w:]){_YEAR}", with_month),
        (
            rf"(?P<the>the )?(?P<day>\d{{1,3}})th(?! (?:{_THINGS})\b)(?: of (?P<month>this|next|the) month)?(?![\w:])",
            ordinal,
        ),
        (rf"(?:in the (?:next|coming)|within(?: the (?:next|coming))?) {_COUNT}\b", _within),
        (rf"in {_COUNT}\b(?: time)?", _in_so_long),
        (rf"{_COUNT} (?:ago|back)\b", _past),
        (rf"{_COUNT} (?:from now|out|later)\b", _in_so_long),
        (rf"{_COUNT} (?:(?:from|after|on) )?", _so_long_from),
        (rf"last (?:{_W}|week|month|night)\b", _past),
        (
            rf"(?:(?P<which>this coming|this|next|coming|upcoming) )?"
            rf"(?P<weekday>{_W})(?P<tail> week\b(?! of)| after next\b)?(?!\w)",
            _weekday,
        ),
        (rf"(?P<n>[1-9]) (?P<weekday>{_W}) from (?:now|today)\b", _nth_from_now),
        (rf"(?:the )?(?P<nth>[1-4])th (?:full )?week (?:of|in) (?P<month>{_M})\b", _nth_week),
        (r"(?:the )?week (?:of|starting|beginning) (?:on )?", _week_of),
        (rf"{_EDGE}(?:the )?(?:(?P<which>this|next|coming|following) )?week(?P<after> after next)?\b", _week),
        (r"(?:(?P<which>this coming|this|next|the) )?weekend\b", _weekend),
        (rf"{_EDGE}(?P<in>in )?(?P<month>{_M}|next month|this month|the month){_YEAR}", _month),
        (rf"(?:{_SOON})\b", _soon),
    )
)
