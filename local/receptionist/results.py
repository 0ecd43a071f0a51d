"""What a tool's result adds to what is known."""

import datetime as dt
import json
import re
from typing import Any

from local.receptionist.talk import Appointment, Fresh, Talk

# What the calendar refuses is told to the caller. Anything else that went wrong is not theirs to hear; nor is what
# speaks of them, for that is meant for us.
_REFUSAL = re.compile(
    r"closed|past|too far|hours|taken|too soon|too late|starting times|nobody is there|no service|already|begun",
    re.IGNORECASE,
)
CHANGES = ("book_appointment", "reschedule_appointment", "cancel_appointment")
_FOR_US = re.compile(r"\bcaller\b|_", re.IGNORECASE)


def learn(talk: Talk, tool: str, arguments: str, content: str) -> None:
    """Takes in one tool message. A result that is no JSON object counts as an error."""
    result = _object(content) or {"error": content[:200]}
    fresh = Fresh(tool, _object(arguments) or {}, result)
    talk.fresh = fresh
    if tool == "get_available_slots" and isinstance(result.get("slots"), list):
        date = date_of(fresh.arguments.get("date"))
        if date:
            found = [minutes_of(slot) for slot in result["slots"]]
            talk.slots[str(fresh.arguments.get("service")), date] = [m for m in found if m is not None]
    elif tool == "get_upcoming_appointments" and isinstance(result.get("appointments"), list):
        found_all = [appointment_of(item) for item in result["appointments"]]
        talk.appointments = [item for item in found_all if item]
    elif tool == "lookup_customer":
        _learn_who(talk, fresh)
    elif tool in CHANGES:
        talk.appointments = None
        talk.slots.clear()
        made = appointment_of(result.get("appointment"))
        if result.get("booked") or result.get("rescheduled"):
            talk.last = made
        elif result.get("cancelled"):
            talk.last = None
        elif isinstance(result.get("earlier"), list):
            _learn_earlier(talk, result["earlier"])
    if "next_free" in result or "slots" in result:
        talk.next_free = _next_free(result.get("next_free"))


def _learn_who(talk: Talk, fresh: Fresh) -> None:
    """Whether the caller has shown who they are."""
    customer = fresh.result.get("customer")
    talk.claim = None
    if fresh.result.get("found") and isinstance(customer, dict):
        talk.proved = True
        cars = [car for car in customer.get("vehicles") or () if isinstance(car, dict)]
        names = [[str(car[key]) for key in ("year", "make", "model") if car.get(key)] for car in cars]
        talk.cars = tuple(" ".join(words) for words in names)
    elif "error" not in fresh.result and any(fresh.arguments.values()):
        talk.tries += 1


def _learn_earlier(talk: Talk, earlier: list[Any]) -> None:
    """What was asked for before has turned out to be done."""
    for item in earlier:
        if isinstance(item, dict) and (
            item.get("booked") or item.get("rescheduled") or item.get("cancelled")
        ):
            talk.last = None if item.get("cancelled") else appointment_of(item.get("appointment"))


def _next_free(told: Any) -> tuple[dt.date, list[int]] | None:
    """The next day with free times, where the wanted one has none."""
    if not isinstance(told, dict) or not isinstance(told.get("times"), list):
        return None
    date, times = date_of(told.get("date")), [minutes_of(time) for time in told["times"]]
    known = [minutes for minutes in times if minutes is not None]
    return (date, known) if date and known else None


def refused(result: dict[str, Any]) -> str:
    """Why the calendar said no, in its own words; "" if it wasn't the calendar."""
    error = str(result.get("error") or "")
    ours = _FOR_US.search(error) or len(error) >= 200
    return error if _REFUSAL.search(error) and not ours else ""


def wants_name(result: dict[str, Any]) -> bool:
    """Whether a booking was refused for want of the caller's name."""
    error = str(result.get("error") or "")
    return "name" in error and ("withheld" in error or "not known" in error)


def minutes_of(text: Any) -> int | None:
    """ "09:30" as minutes after midnight; None if it is no time."""
    found = re.fullmatch(r"([01]?\d|2[0-3]):([0-5]\d)(?::\d\d)?", str(text), re.ASCII)
    return int(found[1]) * 60 + int(found[2]) if found else None


def alternatives(result: dict[str, Any]) -> list[int]:
    """The other times that a refusal offers."""
    offered = result.get("alternatives")
    found = [minutes_of(item) for item in offered] if isinstance(offered, list) else []
    return [minutes for minutes in found if minutes is not None]


def appointment_of(item: Any) -> Appointment | None:
    """An appointment from a result; None if it lacks something."""
    if not isinstance(item, dict):
        return None
    date, minutes = date_of(item.get("date")), minutes_of(item.get("time"))
    if not isinstance(item.get("id"), int) or date is None or minutes is None:
        return None
    return Appointment(item["id"], str(item.get("service") or "visit"), date, minutes)


def _object(text: str) -> dict[str, Any] | None:
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) else None


def date_of(text: Any) -> dt.date | None:
    """ "2026-11-27" as a date; None if it is none."""
    try:
        return dt.date.fromisoformat(str(text))
    except ValueError:
        return None
