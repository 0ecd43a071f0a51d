"""Fictional customers, for the demo and the tests. Their workshop is in `crm/demo_workshop.toml`."""

import datetime as dt
from typing import NamedTuple

from crm.workshop import Workshop
from crm.workshop_file import DEMO, read_workshop


class Visit(NamedTuple):
    """Work that was done."""

    service: str
    day: dt.date
    mileage: int | None = None


class Car(NamedTuple):
    """A customer's car."""

    year: int
    make: str
    model: str
    vin: str
    mileage: int | None = None
    visits: tuple[Visit, ...] = ()


class Person(NamedTuple):
    """A customer, with the numbers that they call from."""

    name: str
    since: int
    phones: tuple[str, ...]
    cars: tuple[Car, ...] = ()
    preferred_name: str | None = None


CUSTOMERS = (
    Person(
        "Sarah Mitchell", 2020, ("+13125550142", "+13125550143"),
        (Car(2022, "Honda", "Civic", "2HGFE2F58NH512345", 41200,
             (Visit("tire rotation", dt.date(2025, 9, 22), 35010),
              Visit("oil change", dt.date(2026, 3, 15), 41200))),),
    ),
    Person(
        "James Okafor", 2018, ("+13125550117",),
        (Car(2021, "Ford", "F-150", "1FTFW1E55MFA10142", 62800,
             (Visit("brake inspection", dt.date(2026, 1, 9), 62800),)),
         Car(2020, "Toyota", "Camry", "4T1G11AK0LU310143", 51300,
             (Visit("state inspection", dt.date(2025, 6, 3), 51300),))),
    ),
    Person(
        "Maria Delgado", 2024, ("+13125550163",),
        (Car(2019, "Toyota", "RAV4", "JTMRWRFV8KD014401", 70150),),
    ),
    Person("Thomas Brandt", 2026, ("+13125550188",), preferred_name="Tom"),
    # One number for two people.
    Person(
        "Priya Raman", 2021, ("+13125550175",),
        (Car(2023, "Subaru", "Outback", "4S4BTACC0P3123457", 18900,
             (Visit("oil change", dt.date(2026, 8, 4), 18900),)),),
    ),
    Person("Arjun Raman", 2021, ("+13125550175",)),
)  # fmt: skip


def workshop(time_zone: str = "America/Chicago") -> Workshop:
    """The demo's workshop, with bays, technicians and services numbered as they are written."""
    return read_workshop(DEMO, time_zone)
