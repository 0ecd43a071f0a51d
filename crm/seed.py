"""Demo data: services and a few fictional customers. Running it again changes nothing."""

import asyncio
import datetime as dt

from sqlalchemy import select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncConnection

from crm.database import connect
from crm.models import Customer, Service, ServiceVisit, Vehicle
from engine.settings import load_settings

SERVICES = (
    ("oil change", 30, 5900),
    ("tire rotation", 30, 3900),
    ("brake inspection", 60, 8900),
    ("battery check", 30, 0),
    ("wheel alignment", 60, 11900),
    ("state inspection", 30, 2500),
)

# phone, name, since, cars: (year, make, model, VIN, visits: (service, date))
CUSTOMERS = (
    (
        "+13125550142", "Sarah Mitchell", 2020,
        ((2022, "Honda", "Civic", "2HGFE2F58NH512345",
          (("tire rotation", dt.date(2025, 9, 22)), ("oil change", dt.date(2026, 3, 15)))),),
    ),
    (
        "+13125550117", "James Okafor", 2018,
        ((2021, "Ford", "F-150", "1FTFW1E55MFA10142", (("brake inspection", dt.date(2026, 1, 9)),)),
         (2020, "Toyota", "Camry", "4T1G11AK0LU310143", (("state inspection", dt.date(2025, 6, 3)),))),
    ),
    ("+13125550163", "Maria Delgado", 2024, ((2019, "Toyota", "RAV4", "JTMRWRFV8KD014401", ()),)),
    ("+13125550188", "Tom Brandt", 2026, ()),
)  # fmt: skip


async def seed(database_url: str) -> None:
    """Enters the demo data where it is missing; never overwrites. Tables must exist."""
    engine = connect(database_url, pool_size=1)
    try:
        async with engine.begin() as connection:
            for name, minutes, price_cents in SERVICES:
                row = {"name": name, "minutes": minutes, "price_cents": price_cents}
                await connection.execute(insert(Service).values(row).on_conflict_do_nothing())
            for phone, name, since, cars in CUSTOMERS:
                await _customer(connection, {"phone": phone, "name": name, "since": since}, cars)
    finally:
        await engine.dispose()


_Visits = tuple[tuple[str, dt.date], ...]
_Cars = tuple[tuple[int, str, str, str, _Visits], ...]


async def _customer(connection: AsyncConnection, row: dict[str, str | int], cars: _Cars) -> None:
    await connection.execute(insert(Customer).values(row).on_conflict_do_nothing())
    owner = await connection.scalar(select(Customer.id).where(Customer.phone == row["phone"]))
    for year, make, model, vin, visits in cars:
        car = {"customer_id": owner, "year": year, "make": make, "model": model, "vin": vin}
        await connection.execute(insert(Vehicle).values(car).on_conflict_do_nothing())
        vehicle = await connection.scalar(select(Vehicle.id).where(Vehicle.vin == vin))
        for service, day in visits:
            visit = {"vehicle_id": vehicle, "service": service, "visited_on": day}
            await connection.execute(insert(ServiceVisit).values(visit).on_conflict_do_nothing())


if __name__ == "__main__":
    asyncio.run(seed(load_settings().database_url))
