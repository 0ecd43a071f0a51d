"""What the four appointment tools do, inside a transaction that their caller owns.

Answers are dicts for the model. A time that can't be had is an answer, not an error.
"""

import datetime as dt
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from zoneinfo import ZoneInfo

from sqlalchemy.dialects.postgresql.asyncpg import AsyncAdapt_asyncpg_dbapi
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncSession

from crm import booking, repository
from crm.models import BOOKED, CANCELLED, Appointment
from crm.records import ServiceRecord
from crm.schemas import (
    BookAppointment,
    CancelAppointment,
    GetAvailableSlots,
    RescheduleAppointment,
    parse_time,
)

_NOT_YOURS = "The caller has no appointment with this id: see get_upcoming_appointments."
_JUST_TAKEN = "{time} was taken a moment ago."


@dataclass(frozen=True)
class Desk:
    """Where and when a tool runs: `phone` is the caller's E.164 number, None if withheld."""

    zone: ZoneInfo
    now: dt.datetime
    phone: str | None
    call: str


@dataclass(frozen=True)
class _Place:
    """A time and bay that are free."""

    start: dt.datetime
    end: dt.datetime
    bay: int


class _Refused(Exception):
    """The change can't be made; `answer` says why and what else there is."""

    def __init__(self, why: str, alternatives: Sequence[dt.datetime] = ()) -> None:
        super().__init__(why)
        self.answer = {"error": why, "alternatives": [f"{slot:%H:%M}" for slot in alternatives]}


async def available(session: AsyncSession, desk: Desk, wanted: GetAvailableSlots) -> dict[str, Any]:
    """Free times of one day for one service."""
    service, offered = await _service(session, wanted.service)
    if service is None:
        return {"error": offered}
    why = booking.why_no_day(wanted.date, desk.now)
    if why:
        return {"error": why}
    taken = await _taken(session, desk, wanted.date)
    slots = booking.open_slots(wanted.date, service.minutes, taken, desk.now, desk.zone)
    return {
        "service": service.name,
        "date": wanted.date.isoformat(),
        "weekday": f"{wanted.date:%A}",
        "slots": [f"{slot:%H:%M}" for slot in slots],
    }


async def upcoming(session: AsyncSession, desk: Desk) -> dict[str, Any]:
    """The caller's appointments that are still to come."""
    rows = await repository.upcoming(session, desk.phone, desk.call, desk.now)
    return {"appointments": [_told(row, desk.zone) for row in rows]}


async def book(session: AsyncSession, desk: Desk, wanted: BookAppointment) -> dict[str, Any]:
    """Books; what is told is read from the row."""
    clock_time = parse_time(wanted.time)
    customer = await repository.customer_by_phone(session, desk.phone) if desk.phone else None
    if desk.phone is None and not wanted.name:
        why = "The caller's number is withheld: ask for their name, then book with it."
        return {"booked": False, "error": why, "alternatives": []}
    service, offered = await _service(session, wanted.service)
    if service is None:
        return {"booked": False, "error": offered, "alternatives": []}
    vehicle = wanted.vehicle
    if not vehicle and customer:
        cars = (await repository.record_of(session, customer)).vehicles
        vehicle = f"{cars[0].year} {cars[0].make} {cars[0].model}" if len(cars) == 1 else None
    row = Appointment(
        customer_id=customer.id if customer else None,
        phone=desk.phone,
        name=wanted.name or (customer.name if customer else None),
        call=desk.call,
        service=service.name,
        vehicle=vehicle or None,
        status=BOOKED,
    )
    try:
        await _put(session, desk, row, wanted.date, clock_time, service.minutes)
    except _Refused as refused:
        return {"booked": False, **refused.answer}
    return {"booked": True, "appointment": _told(row, desk.zone)}


async def cancel(session: AsyncSession, desk: Desk, wanted: CancelAppointment) -> dict[str, Any]:
    """Cancels one of the caller's own appointments."""
    row = await repository.own_appointment(session, wanted.appointment_id, desk.phone, desk.call)
    why = _why_fixed(row, desk)
    if row is None or why:
        return {"cancelled": False, "error": why}
    row.status = CANCELLED
    await session.flush()
    return {"cancelled": True, "appointment": _told(row, desk.zone)}


async def reschedule(session: AsyncSession, desk: Desk, wanted: RescheduleAppointment) -> dict[str, Any]:
    """Moves one of the caller's own appointments; where it stands now counts as free."""
    clock_time = parse_time(wanted.time)
    # The day before the row, as in `book`: one order of locks, no deadlock.
    await repository.lock_day(session, wanted.date)
    row = await repository.own_appointment(session, wanted.appointment_id, desk.phone, desk.call)
    why = _why_fixed(row, desk)
    if row is None or why:
        return {"rescheduled": False, "error": why, "alternatives": []}
    minutes = int((row.ends_at - row.starts_at).total_seconds() // 60)
    try:
        await _put(session, desk, row, wanted.date, clock_time, minutes)
    except _Refused as refused:
        return {"rescheduled": False, **refused.answer}
    return {"rescheduled": True, "appointment": _told(row, desk.zone)}


async def _put(
    session: AsyncSession, desk: Desk, row: Appointment, day: dt.date, clock_time: dt.time, minutes: int
) -> None:
    """Gives the row its time and bay, writes it and reads it back. Raises `_Refused`."""
    why = booking.why_no_day(day, desk.now)
    if why:
        raise _Refused(why)
    await repository.lock_day(session, day)
    start = dt.datetime.combine(day, clock_time, desk.zone)
    place = await _place(session, desk, start, minutes, row.id)
    try:
        async with session.begin_nested():
            row.starts_at, row.ends_at, row.bay = place.start, place.end, place.bay
            session.add(row)
            await session.flush()
    except IntegrityError as error:
        if not isinstance(error.orig, AsyncAdapt_asyncpg_dbapi.ExclusionViolationError):
            raise
        # Somebody wrote without our lock: the constraint held.
        taken = await _taken(session, desk, day, row.id)
        slots = booking.open_slots(day, minutes, taken, desk.now, desk.zone)
        raise _Refused(_JUST_TAKEN.format(time=f"{start:%H:%M}"), booking.nearest(start, slots)) from None
    await session.refresh(row)


async def _place(
    session: AsyncSession, desk: Desk, start: dt.datetime, minutes: int, but_not: int | None
) -> _Place:
    taken = await _taken(session, desk, start.date(), but_not)
    refusal = booking.refuse(start, minutes, taken, desk.now, desk.zone)
    if refusal:
        raise _Refused(refusal.why, refusal.alternatives)
    bay = booking.free_bay(start, minutes, taken)
    if bay is None:
        raise AssertionError("a slot that was not refused has a free bay")
    return _Place(start, start + dt.timedelta(minutes=minutes), bay)


async def _taken(
    session: AsyncSession, desk: Desk, day: dt.date, but_not: int | None = None
) -> list[booking.Taken]:
    midnight = dt.datetime.combine(day, dt.time(), desk.zone)
    return await repository.taken_between(session, midnight, midnight + dt.timedelta(days=1), but_not)


async def _service(session: AsyncSession, said: str) -> tuple[ServiceRecord | None, str]:
    """The service that was meant, or None and a sentence with what there is."""
    known = await repository.services(session)
    words = " ".join(said.lower().replace("-", " ").split())
    meant = [s for s in known if s.name == words] or [s for s in known if words and s.name in words]
    meant = meant or [s for s in known if words and words.rstrip("s") in s.name]
    if len(meant) == 1:
        return meant[0], ""
    return None, f"There is no service {said!r}. We offer: {', '.join(s.name for s in known)}."


def _why_fixed(row: Appointment | None, desk: Desk) -> str:
    """Why this appointment can't be changed, or ""."""
    if row is None:
        return _NOT_YOURS
    if row.status == CANCELLED:
        return "This appointment is already cancelled."
    return "This appointment has already begun or passed." if row.starts_at <= desk.now else ""


def _told(row: Appointment, zone: ZoneInfo) -> dict[str, Any]:
    """An appointment for the model, on the dealership's clock."""
    local = row.starts_at.astimezone(zone)
    return {
        "id": row.id,
        "service": row.service,
        "date": f"{local:%Y-%m-%d}",
        "time": f"{local:%H:%M}",
        "weekday": f"{local:%A}",
        "vehicle": row.vehicle,
    }
