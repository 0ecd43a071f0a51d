"""Where a tool stands: who calls, by which call, and what may be said to them. Decided from the call, never from the
model."""

import datetime as dt
from dataclasses import dataclass
from zoneinfo import ZoneInfo

from crm.ports import Work
from crm.records import CustomerRecord, Owner
from crm.toolspec import Toolset

TOOLS = Toolset()  # `crm.tools` has them all


@dataclass(frozen=True)
class Desk:
    """What one run of a tool has. `now` is aware. `phone` is the caller's number in E.164, None if withheld.

    `trusted`: the number is enough to know who calls (`TRUST_CALLER_ID`). `spoken`: what the caller has heard of us.
    """

    work: Work
    now: dt.datetime
    call: str
    key: str
    phone: str | None
    trusted: bool
    spoken: tuple[str, ...] = ()

    def today(self, zone: ZoneInfo) -> dt.date:
        """The day on the dealership's clock."""
        return self.now.astimezone(zone).date()


@dataclass(frozen=True)
class Caller:
    """Who calls. `customers` have the number, but for the one that this call has made; `known` is the one of them that
    it is, as far as was shown."""

    customers: tuple[CustomerRecord, ...]
    known: CustomerRecord | None
    owner: Owner


async def caller(desk: Desk) -> Caller:
    """Who calls: the one customer of a trusted number, or whom the caller has shown to be in this call, or nobody.

    Who becomes a customer in a call that is not trusted is not known by that: whoever forges a customer's number can't
    become one, and must not learn it from the difference.
    """
    customers = await desk.work.customers_by_phone(desk.phone) if desk.phone else ()
    vouched = [one for one in customers if one.vouched]
    known = vouched[0] if desk.trusted and len(vouched) == 1 else None
    if known is None:
        proof = await desk.work.proof(desk.call)
        customers = tuple(one for one in customers if one.id != proof.made)
        if proof.customer is not None:
            known = next((one for one in customers if one.id == proof.customer), None)
            known = known or await desk.work.customer(proof.customer)
    # What was booked from a number by who could not show who they are: another customer's of that number, perhaps.
    alone = known is not None and known.vouched and customers == (known,)
    booked_by = desk.phone if desk.trusted or alone else None
    return Caller(customers, known, Owner(desk.call, known.id if known else None, booked_by))
