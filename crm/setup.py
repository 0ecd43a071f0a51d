"""Enters a workshop into the database: what `python -m crm setup` and the demo data do."""

from collections.abc import Iterable

from sqlalchemy import delete, func, select, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncConnection

from crm import models as m
from crm.workshop import Bay, ServiceType, Span, Technician, Workshop


async def enter(connection: AsyncConnection, workshop: Workshop) -> None:
    """Makes the database say what `workshop` says, inside a transaction that the caller owns.

    Bays, technicians and services are known by their names; those that are not in it any more take no
    appointments from now on, and keep those that they have. Closures and appointments are left as they are.
    """
    rules = {
        "time_zone": workshop.time_zone,
        "step_minutes": workshop.step_minutes,
        "notice_minutes": workshop.notice_minutes,
        "horizon_days": workshop.horizon_days,
    }
    statement = insert(m.Dealership).values(id=1, **rules)
    await connection.execute(statement.on_conflict_do_update(index_elements=["id"], set_=rules))
    await connection.execute(delete(m.WorkingHours))
    await _hours(connection, workshop.week)
    await _holidays(connection, workshop)
    await _skills(connection, workshop)
    await _bays(connection, workshop.bays)
    await _technicians(connection, workshop.technicians)
    await _services(connection, workshop.services)


async def is_set_up(connection: AsyncConnection) -> bool:
    """Whether a workshop has been entered."""
    return bool(await connection.scalar(select(func.count()).select_from(m.Dealership)))


async def _hours(
    connection: AsyncConnection,
    week: dict[int, tuple[Span, ...]] | None,
    *,
    bay: int | None = None,
    technician: int | None = None,
) -> None:
    rows = [
        {"weekday": day, "starts": starts, "ends": ends, "bay_id": bay, "technician_id": technician}
        for day, spans in (week or {}).items()
        for starts, ends in spans
    ]
    if rows:
        await connection.execute(insert(m.WorkingHours), rows)


async def _holidays(connection: AsyncConnection, workshop: Workshop) -> None:
    await connection.execute(delete(m.Holiday))
    rows = [
        {
            "day": one.day,
            "name": one.name,
            "opens": span[0] if span else None,
            "closes": span[1] if span else None,
        }
        for one in workshop.holidays
        for span in (one.spans or (None,))
    ]
    if rows:
        await connection.execute(insert(m.Holiday), rows)


async def _skills(connection: AsyncConnection, workshop: Workshop) -> None:
    needed = [one.skills for one in workshop.services]
    names = frozenset[str]().union(*needed, *(one.skills for one in workshop.technicians))
    if names:
        rows = [{"name": name} for name in sorted(names)]
        await connection.execute(insert(m.Skill).on_conflict_do_nothing(), rows)


async def _named(
    connection: AsyncConnection,
    table: type[m.Bay] | type[m.Technician] | type[m.ServiceType],
    rows: Iterable[dict[str, object]],
) -> dict[str, int]:
    """Writes the rows by name, retires all others, and returns the ids."""
    rows = [row | {"active": True} for row in rows]
    for row in rows:
        statement = insert(table).values(row)
        await connection.execute(statement.on_conflict_do_update(index_elements=["name"], set_=row))
    names = [row["name"] for row in rows]
    await connection.execute(update(table).where(table.name.not_in(names)).values(active=False))
    found = await connection.execute(select(table.name, table.id).where(table.active))
    return dict(found.tuples().all())


async def _bays(connection: AsyncConnection, bays: Iterable[Bay]) -> None:
    bays = list(bays)
    ids = await _named(connection, m.Bay, [{"name": one.name} for one in bays])
    for one in bays:
        await _hours(connection, one.week, bay=ids[one.name])


async def _technicians(connection: AsyncConnection, technicians: Iterable[Technician]) -> None:
    technicians = list(technicians)
    ids = await _named(connection, m.Technician, [{"name": one.name} for one in technicians])
    await connection.execute(delete(m.TechnicianSkill))
    for one in technicians:
        await _hours(connection, one.week, technician=ids[one.name])
    rows = [{"technician_id": ids[one.name], "skill": s} for one in technicians for s in sorted(one.skills)]
    if rows:
        await connection.execute(insert(m.TechnicianSkill), rows)


async def _services(connection: AsyncConnection, services: Iterable[ServiceType]) -> None:
    services = list(services)
    rows: list[dict[str, object]] = [
        {
            "name": one.name,
            "minutes": one.minutes,
            "price_from_cents": one.price_from_cents,
            "price_to_cents": one.price_to_cents,
        }
        for one in services
    ]
    ids = await _named(connection, m.ServiceType, rows)
    await connection.execute(delete(m.ServiceSkill))
    needs = [{"service_type_id": ids[one.name], "skill": s} for one in services for s in sorted(one.skills)]
    if needs:
        await connection.execute(insert(m.ServiceSkill), needs)
