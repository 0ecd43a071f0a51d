"""The tools that know people and cars. Who calls is the desk's to know: no argument names another customer."""

from typing import Any

import msgspec

from crm import saying
from crm.access import proven
from crm.desk import TOOLS, Desk, caller
from crm.records import CustomerRecord

TRIES = 3  # of proving in one call
_NO_MATCH = (
    "This does not show who is calling. Ask for the full name on the account, or for model and year of the car, and "
    "try again; or book something new with their name, or put them through."
)


@TOOLS.tool(wants_spoken=True)
async def lookup_customer(desk: Desk, name: str | None, car: str | None) -> dict[str, Any]:
    """The caller's own file. Where the caller is not verified it is found by what they say of themselves.

    Args:
        name: The caller's full name as they said it, or null
        car: A detail of their car as they said it: model and year, or the last characters of its VIN; or null
    """
    who = await caller(desk)
    known = who.known
    if known is None and (name or car):
        # Counted whether or not the number is anybody's, and answered alike: nothing tells who is a customer here.
        proof = await desk.work.proof(desk.call)
        if proof.tries < TRIES:
            known = proven(who.customers, name, car, desk.spoken)
        if known and desk.trusted and not known.vouched:
            await desk.work.vouch(known.id)
        found = known.id if known else None
        await desk.work.prove(
            desk.call, msgspec.structs.replace(proof, customer=found, tries=proof.tries + 1)
        )
    if known is None:
        return {"found": False, "note": _NO_MATCH}
    known = known.plainly()
    return {"found": True, "customer": _file(known), "say": _said(known)}


def _file(customer: CustomerRecord) -> dict[str, Any]:
    """What the model is told. Numbers of the records stay with us."""
    last = customer.last_service
    return {
        "name": customer.name,
        "call_them": customer.first_name,
        "since": customer.since,
        "vehicles": [
            {"year": car.year, "make": car.make, "model": car.model, "mileage": car.mileage}
            for car in customer.vehicles
        ],
        "last_service": {"service": last.service, "date": last.day.isoformat()} if last else None,
    }


def _said(customer: CustomerRecord) -> str:
    cars = saying.listing([saying.car(car.name) for car in customer.vehicles])
    return f"{customer.name}, {cars}" if cars else customer.name
