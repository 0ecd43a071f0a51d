"""Days as people say them: "tomorrow", "next Tuesday", "the third", "a week from Thursday", "2026-12-01".

Weeks begin on Monday. What a weekday means:

- "Tuesday", "this coming Tuesday": the first after today. Said on a Tuesday it may be today: doubtful.
- "this Tuesday": the first from today on.
- "next Tuesday": the Tuesday of the next week. People differ here: to some it is the first to come. From Wednesday on
  both are the same day. On a Monday they are not, and most who mean tomorrow say "tomorrow" or "this Tuesday", so that
  the later is the better guess. It is never only a guess: where a coming Tuesday is in this week, or within two days
  (said on a Sunday, "next Tuesday" means either), the answer is `doubtful` and has the `other`, to be told from it.

Whatever has no year is the first from today on. Of a range ("next week", "after the tenth") the first open day is
taken, and `note` says so. Explicit days are taken as they are, whether we are open or not: whoever looks for slots
says so.
"""

import datetime as dt
import re
from collections.abc import Callable
from dataclasses import dataclass, replace

from crm import saying
from crm.heard import MAX_SAID, plain
from crm.named_days import named_days
from crm.numbered_days import Named, NoSuchDay
from crm.times import Hours, Part, Unclear, clock, hear

__all__ = ["Day", "Unclear", "clock", "day", "moment"]

IsOpen = Callable[[dt.date], bool]

_SOON_DAYS = 60  # as far as an open day is looked for
_SATURDAY = 5


@dataclass(frozen=True)
class Day:
    """A day that was named, with the part of it or the time, if said.

    `through`: the last day of the range that was named, of which `date` is the first open one. `other`: the day
    that some would have meant. `note`: what the model should say or ask, "" if nothing was assumed.
    """

    date: dt.date
    part: Part | None = None
    time: dt.time | None = None
    through: dt.date | None = None
    other: dt.date | None = None
    note: str = ""

    @property
    def doubtful(self) -> bool:
        """Whether it must be told from the other day that it could have been."""
        return self.other is not None


def day(said: str, now: dt.datetime, is_open: IsOpen, hours: Callable[[dt.date], Hours]) -> Day | Unclear:
    """The day that was said. `now` is aware and in the dealership's zone; nothing before it is ever returned."""
    if now.tzinfo is None:
        raise ValueError("now must be aware, in the dealership's zone")
    if len(said) > MAX_SAID:
        return Unclear("The date is far too long: give only the day, e.g. 2026-12-01 or next Tuesday.")
    stamp = _stamp(said, now)
    text = stamp or re.sub(r"\btonight\b", "today evening", plain(said))
    text = re.sub(r"\bthis (?=(?:early |late )?(?:morning|afternoon|evening)\b)", "today ", text)
    try:
        named = named_days(text, now.date())
        chosen = _chosen(named, now, is_open, hours)
        rest = text
        for one in reversed(named):
            rest = f"{rest[: one.start]}|{rest[one.end :]}"
        heard = hear(rest, hours(chosen.date))
        if isinstance(heard, Unclear):
            return heard
        return _in_time(replace(chosen, part=heard.part, time=heard.time), now)
    except NoSuchDay as no:
        return Unclear(str(no), no.candidates)
    except OverflowError:
        return Unclear("That day is beyond any calendar: ask which day is meant.")


def moment(date: dt.date, time: dt.time, zone: dt.tzinfo) -> dt.datetime | Unclear:
    """A day and a time on the dealership's clock as one aware time, or why there is none or there are two."""
    start = dt.datetime.combine(date, time, zone)
    said = f"{saying.clock(time)} on {date:%A}, {date:%B} {saying.ordinal(date.day)}"
    try:
        back = start.astimezone(dt.UTC).astimezone(zone)
    except OverflowError:
        return Unclear("That day is beyond any calendar: ask which day is meant.")
    if back.replace(tzinfo=None) != start.replace(tzinfo=None):
        return Unclear(f"There is no {said}: clocks are put forward then. Ask for another time.")
    if start.utcoffset() != start.replace(fold=1).utcoffset():
        return Unclear(f"There are two of {said}: clocks are put back then. Ask for another time.")
    return start


def _stamp(said: str, now: dt.datetime) -> str:
    """A time stamp ("2026-12-01T09:30", perhaps with a zone) as a day and a time on the dealership's clock, or ""."""
    if not re.match(r"\s*[0-9]{4}-[0-9]{2}-[0-9]{2}[Tt ][0-9]{2}:[0-9]{2}", said):
        return ""
    try:
        at = dt.datetime.fromisoformat(said.strip())
        at = at.astimezone(now.tzinfo) if at.tzinfo else at
    except (ValueError, OverflowError):
        return ""
    return f"{at.year:04}-{at.month:02}-{at.day:02} {at:%H:%M}"


# ------------------------------------------------------------ which day of those that were named


def _chosen(named: list[Named], now: dt.datetime, is_open: IsOpen, hours: Callable[[dt.date], Hours]) -> Day:
    today = now.date()
    one = _one_of(named, today)
    if one.last < today:
        raise NoSuchDay(
            f"{_told(one.last, today)} is in the past; today is {_told(today, today)}. Ask which day is meant."
        )
    if one.first == one.last and one.kind != "range":
        return Day(one.first, other=one.other, note=one.note)
    first = max(one.first, today)
    days = [first + dt.timedelta(n) for n in range(min((one.last - first).days + 1, _SOON_DAYS))]
    if one.late:
        days = [d for d in reversed(days) if d.weekday() < _SATURDAY] + [
            d for d in days if d.weekday() >= _SATURDAY
        ]
    for date in days:
        if is_open(date) and not (date == today and _closed_by(now.time(), hours(date))):
            which = "the last weekday" if one.late else "the first of those days"
            note = f"It is taken for {_told(date, today)}, {which} that we are open: say so, and ask if that suits."
            return Day(date, through=one.last, note=note)
    after = (one.last + dt.timedelta(n) for n in range(1, _SOON_DAYS))
    candidates = [date for date in after if is_open(date)][:1]
    opens = f" The next open day is {_told(candidates[0], today)}." if candidates else ""
    raise NoSuchDay(f"We are closed on all days that were said.{opens}", *candidates)


def _one_of(named: list[Named], today: dt.date) -> Named:
    """What several names of days mean together: "next week", "Thursday"; "Friday", "the fourth"."""
    if not named:
        raise NoSuchDay("No day is understood in what was said: ask which day, or give it as YYYY-MM-DD.")
    wide = [one for one in named if one.kind == "range"] or [one for one in named if one.kind == "soon"]
    weekdays = [one for one in named if one.kind == "weekday"]
    dates = [one for one in named if one.kind == "date"]
    if dates:
        chosen = dates[0]
        differ = {one.first for one in dates} | {
            one.first for one in weekdays if one.first.weekday() != chosen.first.weekday()
        }
        if len(differ) > 1:
            raise _several(differ, today)
        _within(chosen.first, [one for one in wide if one.kind == "range"], today)
        return chosen
    if wide and wide[0].kind == "range":
        weekdays = [_in_range(one, wide[0], today) for one in weekdays]
    if len({one.first for one in weekdays}) > 1:
        raise _several({one.first for one in weekdays}, today)
    if weekdays:
        return weekdays[0]
    first, last = max(one.first for one in wide), min(one.last for one in wide)
    if first > last:
        raise _several({one.first for one in wide}, today)
    return replace(wide[0], first=first, last=last)


def _in_range(weekday: Named, wide: Named, today: dt.date) -> Named:
    """ "Thursday", "next week": the first such day in the range that is not past."""
    days = [wide.first + dt.timedelta(n) for n in range(min((wide.last - wide.first).days + 1, _SOON_DAYS))]
    fits = [date for date in days if date.weekday() == weekday.first.weekday()]
    if not fits:
        raise NoSuchDay(
            f"There is no {weekday.first:%A} among the days that were said: ask which day is meant."
        )
    date = next((date for date in fits if date >= today), fits[-1])
    return replace(weekday, first=date, last=date, other=None, note="")


def _nearest(weekday: dt.date, date: dt.date) -> dt.date:
    """The day with the weekday of the one, nearest to the other."""
    return date + dt.timedelta(days=(weekday.weekday() - date.weekday() + 3) % 7 - 3)


def _within(date: dt.date, wide: list[Named], today: dt.date) -> None:
    for one in wide:
        if not one.first <= date <= one.last:
            raise _several({date, max(one.first, today)}, today)


def _several(dates: set[dt.date], today: dt.date) -> NoSuchDay:
    coming = sorted(date for date in dates if date >= today)
    names = saying.listing([_told(date, today) for date in sorted(dates)], "and")
    return NoSuchDay(f"What was said fits different days, {names}: ask which one is meant.", *coming)


def _closed_by(time: dt.time, hours: Hours) -> bool:
    return bool(hours) and time >= max(closes for _, closes in hours)


def _in_time(chosen: Day, now: dt.datetime) -> Day | Unclear:
    """Unless its time is past, or is none on the dealership's clock."""
    past = "is already past today: ask for another time or day."
    is_today = chosen.date == now.date()
    if chosen.time is not None:
        start = moment(chosen.date, chosen.time, now.tzinfo or dt.UTC)
        if isinstance(start, Unclear):
            return start
        return (
            Unclear(f"{saying.clock(chosen.time)} {past}") if start.timestamp() < now.timestamp() else chosen
        )
    if is_today and chosen.part and chosen.part[1] <= now.time():
        return Unclear(f"That part of the day {past}")
    return chosen


def _told(date: dt.date, today: dt.date) -> str:
    return saying.day(date, today)
