"""What the agent says first, and what the model is told: fixed part first, so that prompts are cached.

Caller ID can be forged. Whoever calls from a known number whose call is not attested (STIR level A) is
greeted by first name at most, and nothing of their file is in the prompt.
"""

import datetime as dt
import string
from collections.abc import Sequence

from crm.booking import ALTERNATIVES, HOURS
from crm.records import CustomerRecord, ServiceRecord

FIELDS = frozenset({"name", "dealership", "car", "service"})

_STALE_DAYS = 330  # beyond this, a month's name alone would mean the wrong year

RULES = f"""You are the telephone receptionist of {{dealership}}, a car dealership with a service workshop.
You are on a live phone call. What you write is spoken aloud, word for word.

How to speak:
- Short sentences, at most two or three a turn, then let the caller speak. One question at a time.
- Plain spoken English. No markdown, no lists, no emoji, no headings, no abbreviations.
- Say times and dates in words: "nine thirty in the morning on Tuesday, November twenty-fourth", never
  "09:30" or "2026-11-24".
- Say prices in words: "fifty-nine dollars". Read a VIN back in groups of three or four characters.
- Speech recognition makes mistakes: if something makes no sense, ask; if a name or time matters, say it back.
- If you are asked, say that you are an automated assistant.

What to do:
- Use the tools for everything that depends on the calendar or on the customer's file. Never
  invent a time, a price, an appointment or a fact about a car.
- Work out dates such as "next Tuesday" from today's date below.
- Before booking, know the service, the day and the time. Offer two or three free times, not the whole list.
- Never say that something is booked, moved or cancelled before the tool has said so. If
  a tool refuses, say why in a few words and offer the alternatives it gives, at most
  {ALTERNATIVES}.
- If a tool fails, say that you could not do it; do not promise it.
- Appointment numbers are for the tools; do not read them out.
- A missing value in a decoded VIN means that it is not known, not that the car lacks it.
- Keep to the dealership's business. You give no repair advice that could endanger anyone: for
  smoke, brakes that fail or an accident, tell the caller to stop driving and, if anyone is hurt, to
  call nine one one.
- Tell nobody what is in another customer's file.
- When the caller asks for a person, or you can't help, use the transfer tool if there is one.
- When the caller is done, say a short goodbye and then use end_call to hang up."""


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
    dealership: str, customer: CustomerRecord | None, attested: bool, today: dt.date, template: str = ""
) -> str:
    """What the caller hears first.

    A template is used when all of its fields are known for this caller and may be said to them;
    otherwise the dealership's own greeting is.
    """
    values = _sayable(dealership, customer, attested)
    if template and _fields(template) <= values.keys():
        return template.format(**values)
    if "name" not in values:
        return f"Thanks for calling {dealership}. How can I help you today?"
    opening = f"Hi {values['name']}, thanks for calling {dealership}."
    if customer is not None and customer.last_service is not None and "service" in values:
        when = _month(dt.date.fromisoformat(customer.last_service.date), today)
        since = f"How is the {values['car']} since its {values['service']} in {when}?"
        return f"{opening} {since} How can I help you today?"
    if "car" in values:
        return f"{opening} How is the {values['car']} doing? How can I help you today?"
    return f"{opening} How can I help you today?"


def system_prompt(
    dealership: str,
    services: Sequence[ServiceRecord],
    customer: CustomerRecord | None,
    *,
    caller: str,
    attested: bool,
    now: dt.datetime,
    rules: str = "",
) -> str:
    """The model's instructions. `rules` replaces ours; hours, services, date and customer always follow.

    `now` is in the dealership's time zone.
    """
    offers = ", ".join(f"{s.name} ({s.minutes} min, {s.price})" for s in services)
    fixed = [
        rules or RULES.replace("{dealership}", dealership),
        "",
        f"Dealership: {dealership}.",
        f"Opening hours: {opening_hours()}.",
        f"Services: {offers or 'not known right now'}.",
        "",
    ]
    today = f"Today is {now:%A}, {now:%Y-%m-%d}, {now:%H:%M}."
    number = "Caller's number: withheld." if caller == "anonymous" else f"Caller's number: {caller}."
    return "\n".join([*fixed, today, number, *_customer_lines(customer, attested)])


def opening_hours() -> str:
    """The hours as a sentence fragment, from the booking rules."""
    groups: list[tuple[list[int], tuple[dt.time, dt.time] | None]] = []
    for day in range(7):
        hours = HOURS.get(day)
        if groups and groups[-1][1] == hours:
            groups[-1][0].append(day)
        else:
            groups.append(([day], hours))
    return ", ".join(_group(days, hours) for days, hours in groups)


def _group(days: list[int], hours: tuple[dt.time, dt.time] | None) -> str:
    names = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
    span = names[days[0]] if len(days) == 1 else f"{names[days[0]]} to {names[days[-1]]}"
    return f"{span} {hours[0]:%H:%M} to {hours[1]:%H:%M}" if hours else f"closed on {span}"


def _customer_lines(customer: CustomerRecord | None, attested: bool) -> list[str]:
    if customer is None:
        return ["Customer: not known. Ask for the name before booking."]
    if not attested:
        return [
            f"Customer: the number is {customer.first_name}'s, but the caller is not verified.",
            "Customer: do not mention cars, visits, appointments or the full name until the caller has said "
            "their own full name and it matches the file.",
        ]
    lines = [f"Customer: {customer.name}, customer since {customer.since}."]
    lines += [f"Customer: drives a {car.year} {car.make} {car.model}." for car in customer.vehicles]
    if customer.last_service:
        lines.append(
            f"Customer: last service was {customer.last_service.service} on {customer.last_service.date}."
        )
    return lines


def _fields(template: str) -> set[str]:
    return {field for _, field, _, _ in string.Formatter().parse(template) if field is not None}


def _sayable(dealership: str, customer: CustomerRecord | None, attested: bool) -> dict[str, str]:
    """What may be said to this caller, by template field."""
    values = {"dealership": dealership}
    if customer is None:
        return values
    if customer.first_name:
        values["name"] = customer.first_name
    if attested and customer.vehicles:
        values["car"] = customer.vehicles[0].model
        if customer.last_service:
            values["service"] = customer.last_service.service
    return values


def _month(day: dt.date, today: dt.date) -> str:
    return f"{day:%B}" if (today - day).days < _STALE_DAYS else f"{day:%B %Y}"
