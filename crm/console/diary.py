"""Appointments, and when the workshop is closed."""

import datetime as dt
from collections.abc import Sequence
from typing import Any

from sqlalchemy import delete, func, select
from sqlalchemy.ext.asyncio import AsyncSession

from crm.console.days import Span
from crm.console.reach import ConsoleError
from crm.models import BOOKED, Appointment, Bay, Closure, Customer, ServiceType, Technician, Vehicle

CLOSURE = ("from", "to", "bay", "technician", "reason")
APPOINTMENT = ("time", "customer", "number", "car", "service", "bay", "technician", "status")


async def appointments(
    session: AsyncSession, span: Span, *, booked_only: bool = False, **of: int
) -> Sequence[Sequence[Any]]:
    """Rows of `APPOINTMENT` that overlap the span, soonest first; the first column is an instant.

    `of`: a `bay_id` or `technician_id`.
    """
    begins, ends = span
    car = func.coalesce(Appointment.vehicle, func.concat_ws(" ", Vehicle.year, Vehicle.make, Vehicle.model))
    statement = (
        select(
            Appointment.starts_at,
            func.coalesce(Customer.name, Appointment.name),
            Appointment.phone,
            car,
            ServiceType.name,
            Bay.name,
            Technician.name,
            Appointment.status,
        )
        .join(ServiceType, ServiceType.id == Appointment.service_type_id)
        .join(Bay, Bay.id == Appointment.bay_id)
        .outerjoin(Technician, Technician.id == Appointment.technician_id)
        .outerjoin(Customer, Customer.id == Appointment.customer_id)
        .outerjoin(Vehicle, Vehicle.id == Appointment.vehicle_id)
        .where(Appointment.starts_at < ends, Appointment.ends_at > begins)
        .where(*(getattr(Appointment, column) == id_ for column, id_ in of.items()))
        .order_by(Appointment.starts_at, Bay.name, Appointment.id)
    )
    if booked_only:
        statement = statement.where(Appointment.status == BOOKED)
    return (await session.execute(statement)).all()


async def close(
    session: AsyncSession, span: Span, bay: str | None, technician: str | None, reason: str, *, undo: bool
) -> tuple[str, dict[str, int]]:
    """Enters a closure, or removes it; returns what is closed, and its bay or technician as `appointments` takes it."""
    if bay and technician:
        raise ConsoleError("A closure is of a bay or of a technician: enter two.")
    of: dict[str, int] = {}
    what = "the workshop"
    if bay:
        of, what = {"bay_id": await _id_of(session, Bay, bay)}, f"bay {bay}"
    if technician:
        of, what = {"technician_id": await _id_of(session, Technician, technician)}, technician
    whose = {"bay_id": None, "technician_id": None} | of
    row: dict[str, Any] = {"starts_at": span[0], "ends_at": span[1], **whose}
    there = (await session.scalars(select(Closure).filter_by(**row))).first()
    if undo:
        if there is None:
            raise ConsoleError(f"There is no such closure of {what}: write its times as it was entered.")
        await session.execute(delete(Closure).filter_by(**row))
    elif there is None:
        session.add(Closure(**row, reason=reason))
    else:
        there.reason = reason or there.reason
    return what, of


async def closures(session: AsyncSession, now: dt.datetime) -> Sequence[Sequence[Any]]:
    """Rows of `CLOSURE` that are not over, soonest first; the first two columns are instants."""
    statement = (
        select(Closure.starts_at, Closure.ends_at, Bay.name, Technician.name, Closure.reason)
        .outerjoin(Bay, Bay.id == Closure.bay_id)
        .outerjoin(Technician, Technician.id == Closure.technician_id)
        .where(Closure.ends_at > now)
        .order_by(Closure.starts_at, Closure.id)
    )
    return (await session.execute(statement)).all()


async def _id_of(session: AsyncSession, table: type[Bay] | type[Technician], name: str) -> int:
    wanted = " ".join(name.split()).casefold()
    rows = (
        (await session.execute(select(table.name, table.id, table.active).order_by(table.id))).tuples().all()
    )
    found = next((id_ for called, id_, _ in rows if called.casefold() == wanted), None)
    if found is None:
        there = ", ".join(called for called, _, active in rows if active) or "none"
        raise ConsoleError(f"There is no {table.__tablename__} {name!r}: there are {there}.")
    return found
