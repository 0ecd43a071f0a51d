"""The four tools about appointments. A time that can't be had is an answer, not an error.

Who calls is the desk's to know. Whatever a caller may not see does not exist for them: the answer is the same.
"""

import datetime as dt
from collections.abc import Sequence
from typing import Any

import msgspec

from crm import dates, saying, slots
from crm.desk import TOOLS, Caller, Desk, caller
from crm.likeness import words
from crm.plain import CAR_MOST, NAME_MOST, plain
from crm.ports import SlotTaken
from crm.records import AppointmentRecord, CustomerRecord, NewAppointment, Owner, VehicleRecord
from crm.slots import Place, Taken
from crm.workshop import ServiceType, Workshop

Answer = dict[str, Any]

_NOT_YOURS = "The caller has no appointment with this id: see get_upcoming_appointments."
_ONLY_THIS_CALL = (
    "Only what was booked in this call can be seen. If the caller is a customer, ask for their full name or a detail "
    "of their car, and try lookup_customer with it."
)


class _Refused(Exception):
    """The change can't be made; `answer` says why and what else there is."""

    def __init__(self, why: str, **more: Any) -> None:
        super().__init__(why)
        self.answer = {"error": why, "alternatives": [], **more}


@TOOLS.tool(logged=("service", "date"))
async def get_available_slots(desk: Desk, service: str, date: str) -> Answer:
    """Free times for a service on one day, or in one part of a day.

    Args:
        service: Name of the service, one of those listed in the instructions
        date: Day as the caller said it, such as "next Tuesday morning", or YYYY-MM-DD
    """
    workshop = await desk.work.workshop()
    try:
        wanted = _service(workshop, service)
        when = _day(desk, workshop, date)
    except _Refused as refused:
        return {"error": str(refused)}
    why = slots.why_no_day(workshop, when.date, desk.now)
    if why:
        return {"error": why}
    taken = await _taken(desk, workshop, when.date)
    free = slots.open_slots(workshop, wanted, when.date, taken, desk.now)
    fitting = _fitting(workshop, when, free)
    answer: Answer = {
        "service": wanted.name,
        "date": when.date.isoformat(),
        "weekday": f"{when.date:%A}",
        "slots": [f"{slot:%H:%M}" for slot in fitting],
        "say": _offered(fitting, saying.day(when.date, desk.today(workshop.zone))),
    }
    if when.note:
        answer["note"] = when.note
    if not fitting:
        answer["alternatives"] = [f"{slot:%H:%M}" for slot in free[: slots.ALTERNATIVES]]
        answer |= await _next_free(desk, workshop, wanted, when.date) if not free else {}
    return answer


@TOOLS.tool()
async def get_upcoming_appointments(desk: Desk) -> Answer:
    """The caller's own appointments that are still to come."""
    workshop = await desk.work.workshop()
    who = await caller(desk)
    rows = await desk.work.upcoming(who.owner, desk.now)
    answer: Answer = {"appointments": [_told(desk, workshop, row) for row in rows]}
    return answer if who.known else answer | {"note": _ONLY_THIS_CALL}


@TOOLS.tool(changes=True, outcome="booked", logged=("service", "date", "time"))
async def book_appointment(
    desk: Desk, service: str, date: str, time: str, vehicle: str | None, name: str | None
) -> Answer:
    """Books a service for the caller. Only when this has answered booked: true is it booked.

    Args:
        service: Name of the service, one of those listed in the instructions
        date: Day as the caller said it, such as "next Tuesday", or YYYY-MM-DD
        time: Time of day as the caller said it, such as "half past nine", or HH:MM
        vehicle: Year, make and model as the caller said it, or null for the customer's only car
        name: The caller's name if they are not a known customer, else null
    """
    workshop = await desk.work.workshop()
    who = await caller(desk)
    try:
        wanted = _service(workshop, service)
        start = _start(desk, workshop, date, time)
        name, vehicle = plain(name or "", NAME_MOST) or None, plain(vehicle or "", CAR_MOST) or None
        if who.known is None and not name:
            name = await _name_before(desk)
        if who.known is None and not name:
            raise _Refused(
                "The caller is not known, or their number is withheld: ask for their name, then book with it."
            )
        car = _car(who.known.vehicles if who.known else (), vehicle)
        vehicle = car.name if car else vehicle
        twice = await _same(desk, wanted.name, start, vehicle)
        if twice:
            return {
                "booked": True,
                "appointment": _told(desk, workshop, twice),
                "note": "It was booked already.",
            }
        found = await _place(desk, workshop, wanted, start)
        customer = await _customer(desk, who, name)
        row = await desk.work.book(
            NewAppointment(
                service=wanted.id,
                start=found.start,
                end=found.end,
                bay=found.bay,
                technician=found.technician,
                call=desk.call,
                key=desk.key,
                customer=customer.id if customer else None,
                phone=desk.phone,
                name=name or (customer.name if customer else None),
                vehicle=vehicle,
                vehicle_id=car.id if car else None,
            )
        )
    except _Refused as refused:
        return {"booked": False, **refused.answer}
    except SlotTaken:
        return {"booked": False, **(await _just_taken(desk, workshop, wanted, start))}
    return {"booked": True, "appointment": _told(desk, workshop, row)}


@TOOLS.tool(changes=True, outcome="cancelled", logged=("appointment_id",))
async def cancel_appointment(desk: Desk, appointment_id: int) -> Answer:
    """Cancels one of the caller's own appointments, after the caller has confirmed which one.

    Args:
        appointment_id: The appointment's id, from get_upcoming_appointments
    """
    workshop = await desk.work.workshop()
    try:
        row = await _changeable(desk, appointment_id)
    except _Refused as refused:
        return {"cancelled": False, "error": str(refused)}
    row = await desk.work.cancel(row.id)
    return {"cancelled": True, "appointment": _told(desk, workshop, row)}


@TOOLS.tool(changes=True, outcome="moved", logged=("appointment_id", "date", "time"))
async def reschedule_appointment(desk: Desk, appointment_id: int, date: str, time: str) -> Answer:
    """Moves one of the caller's own appointments to another day or time.

    Args:
        appointment_id: The appointment's id, from get_upcoming_appointments
        date: Day as the caller said it, such as "next Tuesday", or YYYY-MM-DD
        time: Time of day as the caller said it, such as "half past nine", or HH:MM
    """
    workshop = await desk.work.workshop()
    try:
        start = _start(desk, workshop, date, time)
        # The day before the row, as in booking: one order of locks, no deadlock.
        await desk.work.lock_day(start.date())
        row = await _changeable(desk, appointment_id)
        wanted = workshop.service(row.service) or _as_it_was(row)
        found = await _place(desk, workshop, wanted, start, row.id)
        row = await desk.work.move(row.id, found)
    except _Refused as refused:
        return {"rescheduled": False, **refused.answer}
    except SlotTaken:
        return {"rescheduled": False, **(await _just_taken(desk, workshop, wanted, start))}
    return {"rescheduled": True, "appointment": _told(desk, workshop, row)}


# ---------------------------------------------------------------- what was meant


def _service(workshop: Workshop, said: str) -> ServiceType:
    found = workshop.service(said)
    if found is None:
        offered = ", ".join(one.name for one in workshop.services)
        raise _Refused(f"There is no service {said[:60]!r}. We offer: {offered}.")
    return found


def _day(desk: Desk, workshop: Workshop, said: str) -> dates.Day:
    now = desk.now.astimezone(workshop.zone)
    found = dates.day(said, now, lambda day: slots.why_no_day(workshop, day, now) is None, workshop.spans)
    if isinstance(found, dates.Unclear):
        raise _Refused(found.why)
    return found


def _start(desk: Desk, workshop: Workshop, date: str, time: str) -> dt.datetime:
    """The instant that was meant, on the dealership's clock. What could be another day or time is asked for first: a
    change is made of what the caller has agreed to."""
    day = _day(desk, workshop, date)
    if day.through is not None or day.doubtful:
        agreed = f"When the caller has agreed to it, give the date as {day.date.isoformat()}."
        raise _Refused(f"{day.note} {agreed}".strip())
    found = dates.clock(time, workshop.spans(day.date), day.part)
    if isinstance(found, dates.Unclear) and day.time is not None:
        found = day.time  # said with the day
    if isinstance(found, dates.Unclear):
        raise _Refused(found.why)
    if day.time is not None and day.time != found:
        both = saying.listing([saying.clock(day.time), saying.clock(found)])
        raise _Refused(f"Two times were named, {both}: ask which, and give that one.")
    start = dates.moment(day.date, found, workshop.zone)
    if isinstance(start, dates.Unclear):
        raise _Refused(start.why)
    return start


def _fitting(workshop: Workshop, when: dates.Day, free: Sequence[dt.datetime]) -> Sequence[dt.datetime]:
    """Of the free times those in the part of the day that was named; those nearest to a time that was."""
    if when.time is not None:
        return slots.nearest(slots.instant(when.date, when.time, workshop), free)
    if when.part is None:
        return free
    begins, ends = when.part
    return [slot for slot in free if begins <= slot.time() < ends]


# ---------------------------------------------------------------- places


async def _place(
    desk: Desk, workshop: Workshop, service: ServiceType, start: dt.datetime, but_not: int | None = None
) -> Place:
    """A free place at that time. Raises `_Refused` with what there is instead.

    Looks before it waits for the day: a time that is taken already need not wait for those who book others.
    """
    for locked in (False, True):
        if locked:
            await desk.work.lock_day(start.date())
        taken = await _taken(desk, workshop, start.date(), but_not)
        refusal = slots.refuse(workshop, service, start, taken, desk.now)
        if refusal:
            raise _Refused(
                refusal.why, **(await _instead(desk, workshop, service, start, refusal.alternatives))
            )
    found = slots.place(workshop, service, start, taken)
    if found is None:
        raise AssertionError("a time that was not refused has a free place")
    return found


async def _just_taken(desk: Desk, workshop: Workshop, service: ServiceType, start: dt.datetime) -> Answer:
    """Somebody wrote without our lock, and the constraint held."""
    taken = await _taken(desk, workshop, start.date())
    free = slots.open_slots(workshop, service, start.date(), taken, desk.now)
    why = f"{saying.clock(start.time())} was taken a moment ago."
    near = slots.nearest(start, (slot for slot in free if slot != start))
    return {"error": why, **(await _instead(desk, workshop, service, start, near))}


async def _instead(
    desk: Desk, workshop: Workshop, service: ServiceType, start: dt.datetime, near: Sequence[dt.datetime]
) -> Answer:
    """Other times of that day, else of the next day that has any."""
    answer: Answer = {"alternatives": [f"{slot:%H:%M}" for slot in near]}
    if near:
        return answer | {"say": _offered(near, "")}
    return answer | await _next_free(desk, workshop, service, start.date())


async def _next_free(desk: Desk, workshop: Workshop, service: ServiceType, day: dt.date) -> Answer:
    """The first free times of the next day that has any, within two weeks."""
    first = max(day, desk.today(workshop.zone) - dt.timedelta(days=1)).toordinal() + 1
    last = min(first + slots.LOOK_AHEAD_DAYS, dt.date.max.toordinal())
    begin, end = (
        slots.instant(dt.date.fromordinal(n), dt.time(), workshop) for n in (min(first, last), last)
    )
    taken = await desk.work.taken(begin, end)
    for one in map(dt.date.fromordinal, range(first, last)):
        free = slots.open_slots(workshop, service, one, taken, desk.now)[: slots.ALTERNATIVES]
        if free:
            said = saying.day(one, desk.today(workshop.zone))
            times = [f"{slot:%H:%M}" for slot in free]
            return {"next_free": {"date": one.isoformat(), "times": times, "say": _offered(free, said)}}
    return {}


async def _taken(desk: Desk, workshop: Workshop, day: dt.date, but_not: int | None = None) -> list[Taken]:
    """What is booked on that day; a day may have 23 or 25 hours."""
    begin = slots.instant(day, dt.time(), workshop)
    return await desk.work.taken(begin, begin + dt.timedelta(hours=26), but_not)


# ---------------------------------------------------------------- rows


async def _customer(desk: Desk, who: Caller, name: str | None) -> CustomerRecord | None:
    """Whose a booking is: the known caller's; else a new customer's. A number that is somebody else's gets no new
    customer: whoever forges it could make it look shared, and its owner would not be greeted any more."""
    if who.known or not name:
        return who.known
    proof = await desk.work.proof(desk.call)
    if proof.made is not None:
        return await desk.work.customer(proof.made)
    if who.customers:
        return None
    made = await desk.work.add_customer(name, desk.phone, desk.now.year, vouched=desk.trusted)
    await desk.work.prove(desk.call, msgspec.structs.replace(proof, made=made.id))
    return made


async def _name_before(desk: Desk) -> str | None:
    """The name with which this call has booked before, whoever's number it is."""
    rows = await desk.work.upcoming(Owner(desk.call), desk.now)
    return next((row.name for row in rows if row.name), None)


def _car(cars: Sequence[VehicleRecord], said: str | None) -> VehicleRecord | None:
    """The customer's car that was named, by model or make, of two alike by the year; unnamed, the only one."""
    if not said:
        return cars[0] if len(cars) == 1 else None
    heard = [word.text for word in words(said)]
    rows = {"".join(heard[a:b]) for a in range(len(heard)) for b in range(a + 1, min(a + 5, len(heard)) + 1)}
    for names in ([car.model for car in cars], [car.make for car in cars]):
        joined = ["".join(word.text for word in words(name)) for name in names]
        named = [car for car, name in zip(cars, joined, strict=True) if name in rows]
        if len(named) > 1:
            named = [car for car in named if str(car.year) in heard]
        if len(named) == 1:
            return named[0]
    return None


async def _same(
    desk: Desk, service: str, start: dt.datetime, vehicle: str | None
) -> AppointmentRecord | None:
    """The same appointment, booked in this call: a model that asks twice means it once."""
    rows = await desk.work.upcoming(Owner(desk.call), desk.now)
    wanted = (service, start, vehicle)
    return next((row for row in rows if (row.service, row.start, row.vehicle) == wanted), None)


async def _changeable(desk: Desk, appointment: int) -> AppointmentRecord:
    """The caller's own appointment, if it can still be changed. Raises `_Refused`."""
    who = await caller(desk)
    row = await desk.work.appointment(appointment, who.owner)
    if row is None:
        raise _Refused(_NOT_YOURS)
    if not row.booked:
        raise _Refused("This appointment is already cancelled.")
    if row.start <= desk.now:
        raise _Refused("This appointment has already begun or passed.")
    return row


def _as_it_was(row: AppointmentRecord) -> ServiceType:
    """A service that is not sold any more is moved with the length that it has; anybody may do it."""
    minutes = int((row.end - row.start).total_seconds() // 60)
    return ServiceType(0, row.service, minutes, 0, 0)


# ---------------------------------------------------------------- words


def _offered(free: Sequence[dt.datetime], day: str) -> str:
    """Some of the free times, as they are said: the first, the last, and one between where there are many."""
    if not free:
        return f"{day}: nothing free" if day else ""
    few = free if len(free) <= slots.ALTERNATIVES else (free[0], free[len(free) // 2], free[-1])
    times = saying.clocks([slot.time() for slot in few])
    more = ", among others" if len(free) > len(few) else ""
    return f"{day} at {times}{more}" if day else f"{times}{more}"


def _told(desk: Desk, workshop: Workshop, row: AppointmentRecord) -> Answer:
    """An appointment for the model, on the dealership's clock."""
    local = row.start.astimezone(workshop.zone)
    return {
        "id": row.id,
        "service": row.service,
        "date": f"{local:%Y-%m-%d}",
        "time": f"{local:%H:%M}",
        "weekday": f"{local:%A}",
        "vehicle": plain(row.vehicle or "", CAR_MOST) or None,
        "say": f"{row.service} on {saying.slot(local, desk.today(workshop.zone))}",
    }
