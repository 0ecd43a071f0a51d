"""Demo data: a workshop and a few fictional customers. Running it again changes nothing."""

from sqlalchemy import func, select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncConnection

from crm import demo_data
from crm.database import connect
from crm.demo_data import CUSTOMERS, Person
from crm.models import Customer, CustomerPhone, ServiceVisit, Vehicle
from crm.setup import enter, is_set_up

_LOCK = 0x736565646564


async def seed(database_url: str, time_zone: str = "America/Chicago") -> None:
    """Enters the demo data where it is missing; never overwrites. Tables must exist.

    A database that has a workshop keeps it; a number that is somebody's gets no demo customer.
    """
    engine = connect(database_url, pool_size=1)
    try:
        async with engine.begin() as connection:
            await connection.execute(select(func.pg_advisory_xact_lock(_LOCK)))
            if not await is_set_up(connection):
                await enter(connection, demo_data.workshop(time_zone))
            used = set((await connection.scalars(select(CustomerPhone.phone))).all())
            for person in CUSTOMERS:
                if used.isdisjoint(person.phones):
                    await _customer(connection, person)
    finally:
        await engine.dispose()


async def _customer(connection: AsyncConnection, person: Person) -> None:
    row = {"name": person.name, "preferred_name": person.preferred_name, "since": person.since}
    customer = await connection.scalar(insert(Customer).values(row).returning(Customer.id))
    phones = [{"phone": phone, "customer_id": customer} for phone in person.phones]
    await connection.execute(insert(CustomerPhone), phones)
    for car in person.cars:
        values = car._asdict() | {"customer_id": customer}
        visits = values.pop("visits")
        statement = insert(Vehicle).values(values).on_conflict_do_nothing().returning(Vehicle.id)
        vehicle = await connection.scalar(statement)
        if vehicle is not None:
            rows = [
                {"vehicle_id": vehicle, "service": v.service, "visited_on": v.day, "mileage": v.mileage}
                for v in visits
            ]
            if rows:
                await connection.execute(insert(ServiceVisit), rows)
