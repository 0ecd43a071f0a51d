"""What the caller hears first: how the number's owner is greeted, where it may be said who they are.

Caller ID can be forged. Whoever calls from a known number that is not trusted is greeted by first name at most.
"""

import datetime as dt
import string
from collections.abc import Sequence

from crm.records import CustomerRecord

FIELDS = frozenset({"name", "dealership", "car", "service"})

_STALE_DAYS = 330  # beyond this, a month's name alone would mean the wrong year


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
    opted_out: bool = False,
) -> str:
    """What the caller hears first; `customers` are those who have the number.

    A template is used when all of its fields are known for this caller and may be said to them; otherwise the
    dealership's own greeting is. Of a number that several share, nobody is greeted; who has opted out is greeted like
    a stranger.
    """
    customer = customers[0] if len(customers) == 1 and not opted_out else None
    values = _sayable(dealership, customer, trusted)
    if template and _fields(template) <= values.keys():
        return template.format(**values)
    thanks = f"thanks for calling {dealership}."
    if len(customers) > 1 and not opted_out:
        return f"Hi, {thanks} Who am I speaking with?"
    if customer is None or "name" not in values:
        return f"T{thanks[1:]} How can I help you today?"
    return " ".join(
        filter(
            None,
            [f"Hi {values['name']}, {thanks}", _about(customer, values, today), "How can I help you today?"],
        )
    )


def _about(customer: CustomerRecord, values: dict[str, str], today: dt.date) -> str:
    """A word about the car that was here last; about the only car, if none was; of several cars none is guessed."""
    last = customer.last_service
    if last is not None and "service" in values:
        return f"How is the {values['car']} since its {last.service} in {_month(last.day, today)}?"
    return f"How is the {values['car']} doing?" if "car" in values else ""


def _fields(template: str) -> set[str]:
    return {field for _, field, _, _ in string.Formatter().parse(template) if field is not None}


def _sayable(dealership: str, customer: CustomerRecord | None, trusted: bool) -> dict[str, str]:
    """What may be said to this caller, by template field."""
    values = {"dealership": dealership}
    if customer is None:
        return values
    if customer.first_name:
        values["name"] = customer.first_name
    if trusted and customer.last_service:
        values["service"] = customer.last_service.service
    if trusted and customer.vehicles and (customer.last_service or len(customer.vehicles) == 1):
        values["car"] = customer.vehicles[0].model  # the one that was here last comes first
    return values


def _month(day: dt.date, today: dt.date) -> str:
    return f"{day:%B}" if (today - day).days < _STALE_DAYS else f"{day:%B %Y}"
