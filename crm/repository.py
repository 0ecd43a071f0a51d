"""The queries. Each takes a session whose transaction its caller owns."""

import datetime as dt
from collections.abc import Sequence
from typing import Any

from sqlalchemy import and_, func, or_, select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession

from crm.booking import Taken
from crm.models import (
    BOOKED,
    Appointment,
    CallEpoch,
    Customer,
    Service,
    ServiceVisit,
    StoredResult,
    Vehicle,
)
from crm.records import CustomerRecord, LastService, ServiceRecord, VehicleRecord

# First half of the two-part advisory lock that serialises bookings of one day.
_DAY_LOCK = 0x7472756E


async def take_epoch(session: AsyncSession, call: str, epoch: int) -> int:
    """Raises the call's epoch to `epoch` and returns the highest; holds the row until the transaction ends.

    Holding it makes the changes of one call happen one after the other.
    """
    statement = insert(CallEpoch).values(call=call, epoch=epoch)
    highest = func.greatest(CallEpoch.epoch, statement.excluded.epoch)
    statement = statement.on_conflict_do_update(index_elements=[CallEpoch.call], set_={"epoch": highest})
    return int((await session.execute(statement.returning(CallEpoch.epoch))).scalar_one())


async def stored_result(session: AsyncSession, key: str) -> dict[str, Any] | None:
    """What the tool with this key answered before, or None."""
    return await session.scalar(select(StoredResult.result).where(StoredResult.key == key))


async def services(session: AsyncSession) -> tuple[ServiceRecord, ...]:
    """All services, in the order in which they were entered."""
    rows = await session.execute(
        select(Service.name, Service.minutes, Service.price_cents).order_by(Service.id)
    )
    return tuple(ServiceRecord(name, minutes, cents) for name, minutes, cents in rows.tuples())


async def customer_by_phone(session: AsyncSession, phone: str) -> Customer | None:
    """The customer with this E.164 number."""
    return await session.scalar(select(Customer).where(Customer.phone == phone))


async def customers_by_name(session: AsyncSession, name: str) -> Sequence[Customer]:
    """Customers of this full name, whatever its case and spacing; two at most, so that one is certain."""
    wanted = " ".join(name.lower().split())
    statement = select(Customer).where(func.lower(Customer.name) == wanted).order_by(Customer.id).limit(2)
    return (await session.scalars(statement)).all()


async def record_of(session: AsyncSession, customer: Customer) -> CustomerRecord:
    """A customer with cars and newest visit, in one query."""
    statement = (
        select(Vehicle, ServiceVisit.service, ServiceVisit.visited_on)
        .outerjoin(ServiceVisit, ServiceVisit.vehicle_id == Vehicle.id)
        .where(Vehicle.customer_id == customer.id)
        .order_by(ServiceVisit.visited_on.desc().nulls_last(), ServiceVisit.id.desc(), Vehicle.id)
    )
    rows = (await session.execute(statement)).tuples().all()
    cars = {car.id: VehicleRecord(car.year, car.make, car.model, car.vin) for car, _, _ in rows}
    last = None
    if rows and rows[0][1] is not None:
        last = LastService(rows[0][1], rows[0][2].isoformat())
    return CustomerRecord(customer.name, customer.phone, customer.since, tuple(cars.values()), last)


async def lock_day(session: AsyncSession, day: dt.date) -> None:
    """Makes other bookings of this day wait until this transaction ends.

    Two inserts that run into each other on an exclusion constraint can deadlock: this orders them.
    """
    await session.execute(select(func.pg_advisory_xact_lock(_DAY_LOCK, day.toordinal())))


async def taken_between(
    session: AsyncSession, start: dt.datetime, end: dt.datetime, but_not: int | None = None
) -> list[Taken]:
    """Bays that are booked between two times, leaving out the appointment `but_not`."""
    statement = select(Appointment.starts_at, Appointment.ends_at, Appointment.bay).where(
        Appointment.status == BOOKED, Appointment.starts_at < end, Appointment.ends_at > start
    )
    if but_not is not None:
        statement = statement.where(Appointment.id != but_not)
    return [Taken(starts, ends, bay) for starts, ends, bay in (await session.execute(statement)).tuples()]


def _of_caller(phone: str | None, call: str) -> Any:
    """Whose an appointment is: the number's that booked it, or, number withheld, the call's."""
    in_this_call = and_(Appointment.phone.is_(None), Appointment.call == call)
    return in_this_call if phone is None else or_(Appointment.phone == phone, in_this_call)


async def upcoming(
    session: AsyncSession, phone: str | None, call: str, now: dt.datetime
) -> Sequence[Appointment]:
    """The caller's booked appointments that have not begun, soonest first; at most ten."""
    statement = (
        select(Appointment)
        .where(_of_caller(phone, call), Appointment.status == BOOKED, Appointment.starts_at > now)
        .order_by(Appointment.starts_at)
        .limit(10)
    )
    return (await session.scalars(statement)).all()


async def own_appointment(
    session: AsyncSession, appointment_id: int, phone: str | None, call: str
) -> Appointment | None:
    """The caller's own appointment, locked until the transaction ends; None if it is not theirs."""
    statement = (
        select(Appointment)
        .where(Appointment.id == appointment_id, _of_caller(phone, call))
        .with_for_update()
        .execution_options(populate_existing=True)
    )
    return await session.scalar(statement)
