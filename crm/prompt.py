"""What the model is told: fixed part first, so that prompts are cached.

Caller ID can be forged. Of whoever calls from a known number that is not trusted, nothing but a first name is in the
prompt.
"""

import datetime as dt
from collections.abc import Sequence

from crm.records import CustomerRecord
from crm.slots import ALTERNATIVES
from crm.workshop import ServiceType, Span, Workshop

_SOON_DAYS = 21  # holidays that are told

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
- Give the tools days and times as the caller said them: "next Tuesday morning", "half past nine". They know the
  calendar. Their answers say what was meant, under "say": read it back with its date before you book or change
  anything.
- Before booking, know the service, the day and the time. Offer two or three free times, not the whole list.
- Never say that something is booked, moved or cancelled before the tool has said so. If
  a tool refuses, say why in a few words and offer the alternatives it gives, at most
  {ALTERNATIVES}.
- If a tool fails, say that you could not do it; do not promise it.
- Appointment numbers are for the tools; do not read them out.
- Give decode_vin a VIN just as it was said, and ask what it tells you to ask. Who is not understood twice types it on
  the keypad: one key for each character, the hash key at the end.
- A missing value in a decoded VIN means that it is not known, not that the car lacks it.
- Keep to the dealership's business. You give no repair advice that could endanger anyone: for
  smoke, brakes that fail or an accident, tell the caller to stop driving and, if anyone is hurt, to
  call nine one one.
- Who may hear what is decided by the tools, whatever the caller says. Do not guess names or cars, and tell nobody
  whether somebody else is a customer.
- When the caller asks for a person, or you can't help, use the transfer tool if there is one.
- When the caller is done, say a short goodbye and then use end_call to hang up."""


def system_prompt(
    dealership: str,
    workshop: Workshop | None,
    customers: Sequence[CustomerRecord],
    *,
    caller: str,
    trusted: bool,
    now: dt.datetime,
    rules: str = "",
) -> str:
    """The model's instructions. `rules` replaces ours; hours, services, date and customer always follow.

    `now` is in the dealership's time zone; `workshop` is None while it is not known.
    """
    offers = (
        ", ".join(f"{s.name} ({s.minutes} min, {_price(s)})" for s in workshop.services) if workshop else ""
    )
    fixed = [
        rules or RULES.replace("{dealership}", dealership),
        "",
        f"Dealership: {dealership}.",
        f"Opening hours: {opening_hours(workshop, now.date()) if workshop else 'not known right now'}.",
        f"Services: {offers or 'not known right now'}.",
        "",
    ]
    today = f"Today is {now:%A}, {now:%Y-%m-%d}, {now:%H:%M}."
    number = "Caller's number: withheld." if caller == "anonymous" else f"Caller's number: {caller}."
    return "\n".join([*fixed, today, number, *_customer_lines(customers, trusted)])


def opening_hours(workshop: Workshop, today: dt.date) -> str:
    """The week's hours as a sentence fragment, with what is different in the next three weeks."""
    groups: list[tuple[list[int], tuple[Span, ...]]] = []
    for day in range(7):
        spans = workshop.week.get(day, ())
        if groups and groups[-1][1] == spans:
            groups[-1][0].append(day)
        else:
            groups.append(([day], spans))
    soon = [one for one in workshop.holidays if 0 <= (one.day - today).days < _SOON_DAYS]
    special = [
        f"{one.name}, {one.day:%A} {one.day.isoformat()}: {_spans(one.spans) or 'closed'}" for one in soon
    ]
    return ", ".join([_group(days, spans) for days, spans in groups] + special)


def _group(days: list[int], spans: tuple[Span, ...]) -> str:
    names = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
    which = names[days[0]] if len(days) == 1 else f"{names[days[0]]} to {names[days[-1]]}"
    return f"{which} {_spans(spans)}" if spans else f"closed on {which}"


def _spans(spans: tuple[Span, ...]) -> str:
    return " and ".join(f"{opens:%H:%M} to {closes:%H:%M}" for opens, closes in spans)


def _price(service: ServiceType) -> str:
    """The price as it is written: "$59", "$25.50", "$59 to $79" or "free"."""
    low, high = (_dollars(cents) for cents in (service.price_from_cents, service.price_to_cents))
    if not service.price_to_cents:
        return "free"
    return low if low == high else f"{low} to {high}"


def _dollars(cents: int) -> str:
    dollars, rest = divmod(cents, 100)
    return f"${dollars}.{rest:02d}" if rest else f"${dollars}"


def _customer_lines(customers: Sequence[CustomerRecord], trusted: bool) -> list[str]:
    if not customers:
        return ["Customer: not known. Ask for the name before booking."]
    if len(customers) > 1:
        return [
            "Customer: several customers share this number, so the caller is not verified.",
            f"Customer: ask who is calling. {_UNTIL}",
        ]
    customer = customers[0]
    if not trusted:
        return [
            f"Customer: the number is {customer.first_name or 'a customer'}'s, but the caller is not verified.",
            f"Customer: {_UNTIL}",
        ]
    lines = [f"Customer: {customer.name}, customer since {customer.since}."]
    if customer.preferred_name:
        lines.append(f"Customer: wants to be called {customer.preferred_name}.")
    lines += [f"Customer: drives a {car.name}." for car in customer.vehicles]
    if customer.last_service:
        last = customer.last_service
        lines.append(f"Customer: last service was {last.service} on {last.day.isoformat()}.")
    return lines


_UNTIL = (
    "Do not mention cars, visits, appointments or a full name, and change nothing that exists, until lookup_customer "
    "has found them. It needs what the caller says of themselves: their full name, or a detail of their car. Booking "
    "something new needs no proof."
)
