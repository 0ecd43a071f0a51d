"""Days and times as the office writes them, on the dealership's clock."""

import datetime as dt
from zoneinfo import ZoneInfo

from crm.console.reach import ConsoleError

_NEAR = {"yesterday": -1, "today": 0, "tomorrow": 1}
Span = tuple[dt.datetime, dt.datetime]


def now() -> dt.datetime:
    """The present."""
    return dt.datetime.now(dt.UTC)


def read_day(text: str, zone: ZoneInfo) -> dt.date:
    """today, tomorrow, yesterday, or a date. Raises `ConsoleError`."""
    near = _NEAR.get(text.strip().lower())
    if near is not None:
        return now().astimezone(zone).date() + dt.timedelta(days=near)
    try:
        day = dt.date.fromisoformat(text.strip())
        if 1900 <= day.year <= 2999:
            return day
        raise ValueError
    except ValueError:
        raise ConsoleError(
            f"{text!r} is no day: write today, tomorrow, yesterday, or a date such as 2026-12-01."
        ) from None


def bounds(day: dt.date, zone: ZoneInfo) -> Span:
    """A day from midnight to midnight, which may be 23 or 25 hours."""
    return _midnight(day, zone), _midnight(day + dt.timedelta(days=1), zone)


def read_span(start: str, end: str, zone: ZoneInfo) -> Span:
    """From and to, each a day or a time ("2026-12-24 12:00"); a day at the end is meant with all its hours."""
    begins, _ = _read(start, zone)
    ends, is_day = _read(end, zone)
    if is_day:
        ends = bounds(ends.date(), zone)[1]
    if ends.astimezone(dt.UTC) <= begins.astimezone(dt.UTC):
        raise ConsoleError(f"{end!r} is not after {start!r}: write the earlier one first.")
    return begins, ends


def shown(at: dt.datetime, zone: ZoneInfo) -> str:
    """A time as it is read: 2026-12-01 09:30."""
    return at.astimezone(zone).strftime("%Y-%m-%d %H:%M")


def clock(at: dt.datetime | None, zone: ZoneInfo, *, seconds: bool = False) -> str:
    """A time of day, or nothing."""
    return "" if at is None else at.astimezone(zone).strftime("%H:%M:%S" if seconds else "%H:%M")


def _read(text: str, zone: ZoneInfo) -> tuple[dt.datetime, bool]:
    try:
        if len(text.strip()) > len("2026-12-01"):
            at = dt.datetime.fromisoformat(text.strip())
            if not 1900 <= at.year <= 2999:
                raise ValueError
            return (at if at.tzinfo else at.replace(tzinfo=zone)), False
    except ValueError:
        raise ConsoleError(f"{text!r} is no time: write it as 2026-12-24 or '2026-12-24 12:00'.") from None
    return _midnight(read_day(text, zone), zone), True


def _midnight(day: dt.date, zone: ZoneInfo) -> dt.datetime:
    return dt.datetime.combine(day, dt.time(), zone)
