"""What the tools that know people and cars do."""

from typing import Any

import msgspec
from sqlalchemy.ext.asyncio import AsyncSession

from crm import repository, vin
from crm.nhtsa import Nhtsa, NhtsaAway
from crm.records import e164
from crm.schemas import DecodeVin, LookupCustomer


async def lookup_customer(session: AsyncSession, phone: str | None, wanted: LookupCustomer) -> dict[str, Any]:
    """A customer by number, else by full name, else by the caller's own `phone` (None if withheld)."""
    if wanted.phone:
        number = e164(wanted.phone)
        if number is None:
            return {
                "found": False,
                "note": f"{wanted.phone!r} is no telephone number: ask for all ten digits.",
            }
        customer = await repository.customer_by_phone(session, number)
    elif wanted.name:
        people = await repository.customers_by_name(session, wanted.name)
        if len(people) > 1:
            return {"found": False, "note": "Several customers have this name: ask for the telephone number."}
        customer = people[0] if people else None
    else:
        customer = await repository.customer_by_phone(session, phone) if phone else None
    if customer is None:
        return {"found": False}
    record = await repository.record_of(session, customer)
    return {"found": True, "customer": msgspec.to_builtins(record)}


async def decode_vin(nhtsa: Nhtsa, wanted: DecodeVin) -> dict[str, Any]:
    """Year, make and model of a VIN as it was heard. When NHTSA is away, the year alone."""
    number = vin.normalise(wanted.vin)
    wrong = vin.problem(number)
    if wrong:
        return _decoded(number, usable=False, note=wrong)
    try:
        found = await nhtsa.decode(number)
    except NhtsaAway:
        note = "The VIN service does not answer: go on with the year, make and model that the caller says."
        return _decoded(number, usable=False, note=note, year=vin.model_year(number))
    note = found.note
    if found.usable and not note and not vin.has_right_check_digit(number):
        note = "The check digit does not match: read the VIN back and confirm it with the caller."
    return _decoded(
        number,
        usable=found.usable,
        note=note,
        year=found.year,
        make=found.make,
        model=found.model,
        trim=found.trim,
    )


def _decoded(
    number: str,
    *,
    usable: bool,
    note: str,
    year: int | None = None,
    make: str | None = None,
    model: str | None = None,
    trim: str | None = None,
) -> dict[str, Any]:
    return {
        "usable": usable,
        "vin": number,
        "year": year,
        "make": make,
        "model": model,
        "trim": trim,
        "note": note,
    }
