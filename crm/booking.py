"""When the workshop can take a car: pure rules. Times in, decisions out; no clock, no database.

All `datetime`s are aware. A day's slots are worked out in the dealership's time zone; opening hours
never touch the small hours in which clocks change, so wall-clock arithmetic within a day is exact.
"""

import datetime as dt
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from zoneinfo import ZoneInfo

BAYS = (1, 2)
GRID_MINUTES = 30
LEAD = dt.timedelta(hours=1)
HORIZON_DAYS = 180
ALTERNATIVES = 3

_WEEKDAY = (dt.time(8), dt.time(17))
_SATURDAY = (dt.time(9), dt.time(13))
# Monday is 0, as in `date.weekday`. A missing day is closed.
HOURS: dict[int, tuple[dt.time, dt.time]] = {**dict.fromkeys(range(5), _WEEKDAY), 5: _SATURDAY}


@dataclass(frozen=True)
class Taken:
    """One bay, taken from `start` to `end` (exclusive)."""

    start: dt.datetime
    end: dt.datetime
    bay: int


@dataclass(frozen=True)
class Refusal:
    """Why a time can't be had, in a sentence for the caller, and the nearest times of that day that can."""

    why: str
    alternatives: tuple[dt.datetime, ...] = ()


def hours_of(day: dt.date, zone: ZoneInfo) -> tuple[dt.datetime, dt.datetime] | None:
    """Opening and closing time of a day; None when closed."""
    hours = HOURS.get(day.weekday())
    if hours is None:
        return None
    return dt.datetime.combine(day, hours[0], zone), dt.datetime.combine(day, hours[1], zone)


def free_bay(start: dt.datetime, minutes: int, taken: Iterable[Taken]) -> int | None:
    """The first bay that is free for the whole service, or None."""
    end = start + dt.timedelta(minutes=minutes)
    busy = {t.bay for t in taken if t.start < end and start < t.end}
    return next((bay for bay in BAYS if bay not in busy), None)


def why_no_day(day: dt.date, now: dt.datetime) -> str | None:
    """Why nothing can be booked on this day at all, or None. `now` is in the dealership's zone."""
    today = now.date()
    if day < today:
        return f"{day.isoformat()} is in the past; today is {today:%A}, {today.isoformat()}."
    # Compared without adding to `day`: the calendar ends at year 9999.
    if (day - today).days > HORIZON_DAYS:
        return (
            f"{day.isoformat()} is too far off: appointments can be booked up to {HORIZON_DAYS} days ahead."
        )
    if day.weekday() not in HOURS:
        opens = next_open_day(day)
        return f"We are closed on {day:%A}s. The next open day is {opens:%A}, {opens.isoformat()}."
    return None


def next_open_day(day: dt.date) -> dt.date:
    """The first open day after `day`."""
    day += dt.timedelta(days=1)
    while day.weekday() not in HOURS:
        day += dt.timedelta(days=1)
    return day


def open_slots(
    day: dt.date, minutes: int, taken: Sequence[Taken], now: dt.datetime, zone: ZoneInfo
) -> tuple[dt.datetime, ...]:
    """All times of a day at which a service of `minutes` can start, in order."""
    now = now.astimezone(zone)
    hours = hours_of(day, zone)
    if hours is None or why_no_day(day, now):
        return ()
    start, closes = hours
    slots = []
    while start + dt.timedelta(minutes=minutes) <= closes:
        if start - now >= LEAD and free_bay(start, minutes, taken) is not None:
            slots.append(start)
        start += dt.timedelta(minutes=GRID_MINUTES)
    return tuple(slots)


def refuse(
    start: dt.datetime, minutes: int, taken: Sequence[Taken], now: dt.datetime, zone: ZoneInfo
) -> Refusal | None:
    """Why a service of `minutes` can't start at `start`, or None when it can."""
    now = now.astimezone(zone)
    why = why_no_day(start.date(), now) or _why_no_time(start, minutes, taken, now, zone)
    if why is None:
        return None
    return Refusal(why, nearest(start, open_slots(start.date(), minutes, taken, now, zone)))


def nearest(wanted: dt.datetime, slots: Sequence[dt.datetime]) -> tuple[dt.datetime, ...]:
    """The few slots closest to the wanted time, in the order of the day."""
    return tuple(sorted(sorted(slots, key=lambda slot: (abs(slot - wanted), slot))[:ALTERNATIVES]))


def _why_no_time(
    start: dt.datetime, minutes: int, taken: Sequence[Taken], now: dt.datetime, zone: ZoneInfo
) -> str | None:
    hours = hours_of(start.date(), zone)
    if hours is None:
        raise ValueError("a closed day was let through")
    opens, closes = hours
    end = start + dt.timedelta(minutes=minutes)
    span = f"{opens:%A}s from {opens:%H:%M} to {closes:%H:%M}"
    if start < opens or start >= closes:
        return f"{start:%H:%M} is outside our hours: we are open on {span}."
    if end > closes:
        return f"{start:%H:%M} is too late: it takes {minutes} minutes and we close at {closes:%H:%M}."
    if (start - opens) % dt.timedelta(minutes=GRID_MINUTES):
        return "Appointments start on the hour or the half hour."
    if start < now:
        return f"{start:%H:%M} is already past; it is {now:%H:%M} now."
    if start - now < LEAD:
        return f"{start:%H:%M} is too soon; we need an hour's notice."
    if free_bay(start, minutes, taken) is None:
        return f"{start:%H:%M} is already taken."
    return None
