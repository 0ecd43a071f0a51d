"""What is known of a caller before they have said anything: looked up while it rings, and made into greeting and prompt."""

import datetime as dt
from typing import Any

import msgspec

from crm.greeting import greeting
from crm.ports import Work
from crm.prompt import system_prompt
from crm.records import CustomerRecord
from crm.workshop import Workshop
from engine.messages import CallerContext


class Known(msgspec.Struct, frozen=True):
    """Those who have the number, what it has opted out of, and the workshop; None is unknown."""

    customers: tuple[CustomerRecord, ...] = ()
    opted_out: frozenset[str] = frozenset()
    workshop: Workshop | None = None


async def look_up(work: Work, phone: str | None) -> Known:
    """What the records have of a number (E.164; None if withheld)."""
    workshop = await work.workshop()
    if phone is None:
        return Known(workshop=workshop)
    return Known(await work.customers_by_phone(phone), await work.opted_out(phone), workshop)


def caller_context(
    known: Known,
    *,
    dealership: str,
    caller: str,
    trusted: bool,
    now: dt.datetime,
    template: str = "",
    rules: str = "",
) -> CallerContext:
    """Greeting, prompt and what may be said of a caller. `now` is in the dealership's zone.

    `customer` is None where it is not known who calls; of a number that is not trusted it has no more than first name and number.
    """
    opted_out = "greeting" in known.opted_out
    return CallerContext(
        greeting=greeting(dealership, known.customers, trusted, now.date(), template, opted_out),
        prompt=system_prompt(
            dealership, known.workshop, known.customers, caller=caller, trusted=trusted, now=now, rules=rules
        ),
        customer=_shown(known.customers, caller, trusted),
    )


def _shown(customers: tuple[CustomerRecord, ...], caller: str, trusted: bool) -> dict[str, Any] | None:
    if len(customers) != 1:
        return None
    if not trusted:
        return {"name": customers[0].first_name, "phone": caller, "attested": False}
    return {**msgspec.to_builtins(customers[0]), "phone": caller, "attested": True}
