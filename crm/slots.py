"""When the workshop can take a car: pure rules. A workshop, what is taken and a time in; slots and reasons out.

All times are aware. Inside, they are instants (UTC): lengths are added to them and they are compared, never wall
clocks, so that an hour is an hour on the days on which clocks change. In an hour that comes twice nothing is offered,
for its times can't be told apart when they are said; an hour that does not exist has no slots.
"""

import datetime as dt
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from crm import saying
from crm.workshop import Bay, ServiceType, Span, Technician, Workshop

ALTERNATIVES = 3
LOOK_AHEAD_DAYS = 14  # for the next day that has a free time

Window = tuple[dt.datetime, dt.datetime]  # from, to (exclusive); UTC


@dataclass(frozen=True)
class Taken:
    """A bay, and a technician where one is known, busy from `start` to `end` (exclusive)."""

    start: dt.datetime
    end: dt.datetime
    bay: int
    technician: int | None


@dataclass(frozen=True)
class Place:
    """A time (UTC), a bay and a technician that are free together."""

    start: dt.datetime
    end: dt.datetime
    bay: int
    technician: int


@dataclass(frozen=True)
class Refusal:
    """Why a time can't be had, in a sentence for the caller, and the nearest times of that day that can."""

    why: str
    alternatives: tuple[dt.datetime, ...] = ()


def instant(day: dt.date, time: dt.time, workshop: Workshop) -> dt.datetime:
    """That time of the dealership's clock, as UTC. One that does not exist is moved on by the change of the clocks;
    of two of one name it is the first."""
    return dt.datetime.combine(day, time.replace(fold=0), workshop.zone).astimezone(dt.UTC)


def open_windows(workshop: Workshop, day: dt.date) -> tuple[Window, ...]:
    """From when to when the dealership is open that day, in order. Closures are not taken out."""
    return tuple(_windows(workshop, workshop.spans(day), day))


def place(
    workshop: Workshop, service: ServiceType, start: dt.datetime, taken: Iterable[Taken]
) -> Place | None:
    """A bay and a technician that are free for the whole service from `start` on, or None.

    Looks at hours, closures and what is taken, not at the step, at notice or at the horizon. Of those who could do it
    the one who can do least else is taken, so that the others stay free for what only they can.
    """
    start = start.astimezone(dt.UTC)
    end = start + dt.timedelta(minutes=service.minutes)
    busy = [t for t in taken if t.start < end and start < t.end]
    shut = [c for c in workshop.closures if c.start < end and start < c.end]
    if any(c.bay is None and c.technician is None for c in shut) or not _open(workshop, None, start, end):
        return None
    no_bays = {t.bay for t in busy} | {c.bay for c in shut}
    no_people = {t.technician for t in busy} | {c.technician for c in shut}
    bays = (b for b in workshop.bays if b.id not in no_bays and _open(workshop, b, start, end))
    people = (
        t
        for t in workshop.technicians
        if t.id not in no_people and service.skills <= t.skills and _open(workshop, t, start, end)
    )
    bay = next(bays, None)
    who = min(people, key=lambda t: (len(t.skills), t.id), default=None)
    return Place(start, end, bay.id, who.id) if bay and who else None


def open_slots(
    workshop: Workshop, service: ServiceType, day: dt.date, taken: Sequence[Taken], now: dt.datetime
) -> tuple[dt.datetime, ...]:
    """All times of a day at which the service can start, in order, on the dealership's clock."""
    if why_no_day(workshop, day, now):
        return ()
    soonest = now.astimezone(dt.UTC) + dt.timedelta(minutes=workshop.notice_minutes)
    return tuple(
        start.astimezone(workshop.zone)
        for start in _starts(workshop, day)
        if start >= soonest and place(workshop, service, start, taken) is not None
    )


def why_no_day(workshop: Workshop, day: dt.date, now: dt.datetime) -> str | None:
    """Why nothing can be booked on this day at all, or None."""
    today = now.astimezone(workshop.zone).date()
    named = saying.day(day, today)
    if day < today:
        return f"{named} is in the past; today is {saying.day(today, today)}."
    # Compared without adding to `day`: the calendar ends at year 9999.
    if (day - today).days > workshop.horizon_days:
        months = round(workshop.horizon_days / 30)
        return (
            f"{named} is too far off: appointments can be booked up to {saying.number(months)} months ahead."
        )
    if _opens(workshop, day):
        return None
    opens = next_open_day(workshop, day)
    then = f" The next open day is {saying.day(opens, today)}." if opens else ""
    holiday = workshop.holiday(day)
    if holiday:
        return f"We are closed on {named}: it is {holiday.name}.{then}"
    if not workshop.spans(day):
        return f"We are closed on {day:%A}s.{then}"
    return f"We are closed on {named}.{then}"


def next_open_day(workshop: Workshop, day: dt.date) -> dt.date | None:
    """The first day after `day` on which the dealership is open; None if there is none in the booking horizon."""
    last = dt.date.max.toordinal()
    first = day.toordinal() + 1
    following = map(dt.date.fromordinal, range(first, min(first + workshop.horizon_days, last)))
    return next((one for one in following if _opens(workshop, one)), None)


def refuse(
    workshop: Workshop, service: ServiceType, start: dt.datetime, taken: Sequence[Taken], now: dt.datetime
) -> Refusal | None:
    """Why the service can't start at `start`, or None when it can."""
    day = start.astimezone(workshop.zone).date()
    why = why_no_day(workshop, day, now)
    if why:
        return Refusal(why)
    why = _why_no_time(workshop, service, day, start.astimezone(dt.UTC), taken, now.astimezone(dt.UTC))
    if why is None:
        return None
    return Refusal(why, nearest(start, open_slots(workshop, service, day, taken, now)))


def nearest(wanted: dt.datetime, slots: Iterable[dt.datetime]) -> tuple[dt.datetime, ...]:
    """The few slots closest to the wanted time, in the order of the day."""
    utc = wanted.astimezone(dt.UTC)
    away = {slot: abs(slot.astimezone(dt.UTC) - utc) for slot in slots}
    return tuple(sorted(sorted(away, key=lambda slot: (away[slot], slot))[:ALTERNATIVES]))


def _why_no_time(
    workshop: Workshop,
    service: ServiceType,
    day: dt.date,
    start: dt.datetime,
    taken: Sequence[Taken],
    now: dt.datetime,
) -> str | None:
    """`start` and `now` are UTC."""

    def clock(time: dt.datetime) -> str:
        return saying.clock(time.astimezone(workshop.zone).time())

    windows = open_windows(workshop, day)
    inside = next(((opens, closes) for opens, closes in windows if opens <= start < closes), None)
    if inside is None:
        spans = saying.listing([f"from {clock(opens)} to {clock(closes)}" for opens, closes in windows])
        return f"{clock(start)} is outside our hours: that day we are open {spans}."
    if start + dt.timedelta(minutes=service.minutes) > inside[1]:
        length = saying.duration(service.minutes)
        return f"{clock(start)} is too late: it takes {length} and we close at {clock(inside[1])}."
    starts = tuple(_starts(workshop, day))
    if start not in starts:
        around = saying.listing([clock(one) for one in nearest(start, starts)], "or")
        return f"{clock(start)} is between our starting times; near it are {around}."
    if start < now:
        return f"{clock(start)} is already past; it is {clock(now)} now."
    if start - now < dt.timedelta(minutes=workshop.notice_minutes):
        return f"{clock(start)} is too soon; we need notice of {saying.duration(workshop.notice_minutes)}."
    if place(workshop, service, start, ()) is None:
        return f"{clock(start)} is not possible: nobody is there for it then."
    if place(workshop, service, start, taken) is None:
        return f"{clock(start)} is already taken."
    return None


def _starts(workshop: Workshop, day: dt.date) -> Iterator[dt.datetime]:
    """The times of a day at which an appointment may start, taken or not; UTC."""
    for opens, closes in open_windows(workshop, day):
        start = opens
        while start < closes:
            local = start.astimezone(workshop.zone)
            if local.replace(fold=0).utcoffset() == local.replace(fold=1).utcoffset():
                yield start
            start += dt.timedelta(minutes=workshop.step_minutes)


def _open(workshop: Workshop, who: Bay | Technician | None, start: dt.datetime, end: dt.datetime) -> bool:
    """Whether the span lies in the hours of the dealership (None), a bay or a technician."""
    day = start.astimezone(workshop.zone).date()
    spans = workshop.spans(day)
    if who is not None and who.week is not None:
        spans = who.week.get(day.weekday(), ())
    return any(opens <= start and end <= closes for opens, closes in _windows(workshop, spans, day))


def _windows(workshop: Workshop, spans: Iterable[Span], day: dt.date) -> Iterator[Window]:
    together: list[Span] = []
    for opens, closes in sorted(spans):
        if together and opens <= together[-1][1]:  # no break between them
            opens, closes = together[-1][0], max(together.pop()[1], closes)
        together.append((opens, closes))
    for opens, closes in together:
        yield instant(day, opens, workshop), instant(day, closes, workshop)


def _opens(workshop: Workshop, day: dt.date) -> bool:
    """Whether there are hours that day which no closure of the whole dealership covers."""
    shut = [c for c in workshop.closures if c.bay is None and c.technician is None]
    return any(
        not any(c.start <= opens and closes <= c.end for c in shut)
        for opens, closes in open_windows(workshop, day)
    )
