"""What the caller hears first: how the number's owner is greeted, where it may be said who they are.

Caller ID can be forged. Whoever calls from a known number that is not trusted is greeted by first name at most. How
names, cars, work and days are said is in `crm.naming` and `crm.wording`.
"""

import datetime as dt
import string
from collections.abc import Sequence
from dataclasses import dataclass

from crm import wording
from crm.records import CustomerRecord

FIELDS = frozenset({"name", "dealership", "car", "service"})


class PromptError(Exception):
    """A greeting template can't be used; the message says why."""


def check_template(template: str) -> None:
    """Raises `PromptError` if a greeting template is malformed or has fields that don't exist."""
    try:
        fields = _fields(template)
        formatted = [part for part in string.Formatter().parse(template) if part[2] or part[3]]
    except ValueError as error:
        raise PromptError(
            f"GREETING is not a valid template ({error}): write {{{{ and }}}} for braces"
        ) from None
    unknown = sorted(fields - FIELDS)
    if unknown:
        known = ", ".join(f"{{{name}}}" for name in sorted(FIELDS))
        raise PromptError(f"GREETING has the unknown field {{{unknown[0]}}}: use only {known}")
    if formatted:
        name = formatted[0][1]
        raise PromptError(
            f"GREETING formats the field {name}: write {{{name}}} with nothing else in the braces"
        )


def greeting(
    dealership: str,
    customers: Sequence[CustomerRecord],
    trusted: bool,
    today: dt.date,
    template: str = "",
) -> str:
    """What the caller hears first; `customers` are those who have the number, as far as they want to be greeted.

    A template is used when all of its fields are known for this caller and may be said to them; otherwise the
    dealership's own greeting is. Of a number that several share, nobody is greeted.
    """
    customer = customers[0] if len(customers) == 1 else None
    last = _Last.of(customer, today) if customer and trusted else _Last()
    values = _sayable(dealership, customer, last)
    if template and _fields(template) <= values.keys():
        return template.format(**values)
    if len(customers) > 1:
        return f"Hi, thanks for calling {dealership}. Who am I speaking with?"
    hello = f"Hi {values['name']}, thanks" if "name" in values else "Thanks"
    return " ".join(
        filter(None, [f"{hello} for calling {dealership}.", last.question, "How can I help you today?"])
    )


@dataclass(frozen=True)
class _Last:
    """The car that was here last, or the only one if that is not known, and what was done; "" is not said."""

    car: str = ""
    service: str = ""
    since: str = ""

    @classmethod
    def of(cls, customer: CustomerRecord, today: dt.date) -> "_Last":
        """Of several cars none is guessed."""
        visit, cars = customer.last_service, customer.vehicles
        since = wording.since(wording.work(visit.service), visit.day, today) if visit else ""
        here = [one for one in cars if visit and since and one.id == visit.vehicle]
        about = here[0] if here else cars[0] if len(cars) == 1 else None
        if about is None:
            return cls()
        car = wording.car(about, [one for one in cars if one is not about])
        return cls(car, wording.work(visit.service), since) if here and visit else cls(car)

    @property
    def question(self) -> str:
        if not self.car:
            return ""
        return f"How is the {self.car} {self.since or 'doing'}?"


def _fields(template: str) -> set[str]:
    return {field for _, field, _, _ in string.Formatter().parse(template) if field is not None}


def _sayable(dealership: str, customer: CustomerRecord | None, last: _Last) -> dict[str, str]:
    """What may be said to this caller, by template field."""
    name = customer.first_name if customer else ""
    values = {"dealership": dealership, "name": name, "car": last.car, "service": last.service}
    return {field: value for field, value in values.items() if value or field == "dealership"}
