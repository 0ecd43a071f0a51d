"""STUB of base: replaced by h-who's."""

from collections.abc import Sequence

from crm.records import CustomerRecord


def trusted(policy: str, attested: bool, phone: str | None) -> bool:
    return phone is not None and (policy == "always" or (policy == "attested" and attested))


def proven(
    customers: Sequence[CustomerRecord], name: str | None, car: str | None, spoken: Sequence[str]
) -> CustomerRecord | None:
    fits = [
        one
        for one in customers
        if (name and name.lower().split()[-1] == one.name.lower().split()[-1])
        or (car and any(v.model.lower() in car.lower() and str(v.year) in car for v in one.vehicles))
    ]
    return fits[0] if len(fits) == 1 else None
