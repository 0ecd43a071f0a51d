"""What a tool's result adds to what is known."""

import datetime as dt
import json
import re
from typing import Any

from local.receptionist.talk import Appointment, Fresh, Talk

# What the calendar refuses is told to the caller; anything else that went wrong is not theirs to hear.
_REFUSAL = re.compile(
    r"closed|past|too far|hours|taken|too soon|half hour|would not be done|no service|withheld|already|"
    r"no appointment|begun",
    re.IGNORECASE,
)


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
    elif tool in ("book_appointment", "reschedule_appointment", "cancel_appointment"):
        talk.appointments = None
        talk.slots.clear()
        made = appointment_of(result.get("appointment"))
        if result.get("booked") or result.get("rescheduled"):
            talk.last = made
        elif result.get("cancelled"):
            talk.last = None


def refused(result: dict[str, Any]) -> str:
    """Why the calendar said no, in its own words; "" if it wasn't the calendar."""
    error = str(result.get("error") or "")
    return error if _REFUSAL.search(error) and len(error) < 200 else ""


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
