"""What is known of a caller before they speak: looked up while it rings, made into greeting and prompt."""

import datetime as dt
from dataclasses import dataclass
from typing import Any
from zoneinfo import ZoneInfo

import msgspec

from crm.access import trusted
from crm.greeting import check_template, greeting
from crm.ports import Work
from crm.prompt import system_prompt
from crm.records import CustomerRecord, e164
from crm.workshop import Workshop
from engine.messages import CallerContext


class Known(msgspec.Struct, frozen=True):
    """Those who have the number, what it has opted out of, and the workshop; None is unknown."""

    customers: tuple[CustomerRecord, ...] = ()
    opted_out: frozenset[str] = frozenset()
    workshop: Workshop | None = None


async def look_up(work: Work, phone: str | None, workshop: Workshop | None = None) -> Known:
    """What the records have of a number (E.164; None if withheld). `workshop`: if it is known already."""
    workshop = workshop or await work.workshop()
    if phone is None:
        return Known(workshop=workshop)
    return Known(await work.customers_by_phone(phone), await work.opted_out(phone), workshop)


@dataclass(frozen=True)
class House:
    """How the dealership wants to be spoken for. Empty `greeting` and `rules` mean our own.

    `timezone` counts only while the workshop is not known. `trust_caller_id` is `attested`, `always` or `never`.
    Raises `PromptError` for a bad template and `ZoneInfoNotFoundError` for an unknown zone.
    """

    name: str
    timezone: str
    greeting: str = ""
    rules: str = ""
    trust_caller_id: str = "attested"

    def __post_init__(self) -> None:
        check_template(self.greeting)
        ZoneInfo(self.timezone)

    def trusts(self, caller: str, attested: bool) -> bool:
        """Whether the number is enough to know who calls. `caller` is as the webhook has it; `attested` is STIR level
        A."""
        return trusted(self.trust_caller_id, attested, e164(caller))

    def context(self, known: Known, caller: str, *, trusted: bool, now: dt.datetime) -> CallerContext:
        """Greeting, prompt and what may be said of a caller. `now` is aware.

        `customer` is None where it is not known who calls; of a number that is not trusted it has no more than first
        name and number.
        """
        # A number that nobody vouches for may have been forged: its owner hears no other's name.
        customers = tuple(one.plainly() for one in known.customers if one.vouched)
        if "greeting" in known.opted_out:
            customers = ()  # like a stranger: by nothing that is known
        zone = known.workshop.zone if known.workshop else ZoneInfo(self.timezone)
        now = now.astimezone(zone)
        return CallerContext(
            greeting=greeting(self.name, customers, trusted, now.date(), self.greeting),
            prompt=system_prompt(
                self.name,
                known.workshop,
                customers,
                caller=caller,
                trusted=trusted,
                now=now,
                rules=self.rules,
            ),
            customer=_shown(customers, caller, trusted),
        )


def _shown(customers: tuple[CustomerRecord, ...], caller: str, trusted: bool) -> dict[str, Any] | None:
    if len(customers) != 1:
        return None
    if not trusted:
        return {"name": customers[0].first_name, "phone": caller, "attested": False}
    return {**msgspec.to_builtins(customers[0]), "phone": caller, "attested": True}
