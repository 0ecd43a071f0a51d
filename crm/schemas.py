"""The seven tools as the model sees them, and their arguments as we take them.

The schemas keep to what OpenAI's strict mode allows: every property is required, what may be missing is
null, nothing else is accepted, and no formats or bounds are stated. The structs are more lenient where a
model that is not strict could be (a missing null, a number in quotes), and hold the bounds.
"""

import datetime as dt
import re
from typing import Annotated, Any

import msgspec
from msgspec import Meta

from engine.tools import ToolSpec

Text = Annotated[str, Meta(max_length=200)]
Id = Annotated[int, Meta(ge=1, le=2**31 - 1)]


class BadArguments(Exception):
    """The model's arguments can't be used; the message tells it what to correct."""


class LookupCustomer(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Both null: the caller's own number."""

    phone: Text | None = None
    name: Text | None = None


class GetAvailableSlots(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A service and a day."""

    service: Text
    date: dt.date


class BookAppointment(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A service, a day and a time on the dealership's clock."""

    service: Text
    date: dt.date
    time: Text
    vehicle: Text | None = None
    name: Text | None = None


class GetUpcomingAppointments(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Nothing: it is about the caller."""


class CancelAppointment(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One of the caller's own."""

    appointment_id: Id


class RescheduleAppointment(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One of the caller's own, and where to move it."""

    appointment_id: Id
    date: dt.date
    time: Text


class DecodeVin(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A VIN as heard."""

    vin: Text


Arguments = (
    LookupCustomer
    | GetAvailableSlots
    | BookAppointment
    | GetUpcomingAppointments
    | CancelAppointment
    | RescheduleAppointment
    | DecodeVin
)


def _text(description: str, null: bool = False) -> dict[str, Any]:
    return {"type": ["string", "null"] if null else "string", "description": description}


def _spec(
    name: str,
    description: str,
    properties: dict[str, Any],
    changes: bool = False,
    outcome: str = "",
    logged: tuple[str, ...] = (),
) -> ToolSpec:
    parameters = {
        "type": "object",
        "properties": properties,
        "required": list(properties),
        "additionalProperties": False,
    }
    return ToolSpec(name, description, parameters, changes, outcome, logged)


_SERVICE = _text("Name of the service, one of those listed in the instructions")
_DATE = _text("Day as YYYY-MM-DD")
_TIME = _text("Time of day on the dealership's clock as HH:MM, 24 hours")
_APPOINTMENT = {"type": "integer", "description": "The appointment's id, from get_upcoming_appointments"}

SPECS: tuple[ToolSpec, ...] = (
    _spec(
        "lookup_customer",
        "Looks a customer up by telephone number or full name. Both null: the person who is calling.",
        {
            "phone": _text("Telephone number, or null", null=True),
            "name": _text("Full name, or null", null=True),
        },
    ),
    _spec(
        "get_available_slots",
        "Free times for a service on one day.",
        {"service": _SERVICE, "date": _DATE},
        logged=("service", "date"),
    ),
    _spec(
        "book_appointment",
        "Books a service for the caller. Only when this has answered booked: true is it booked.",
        {
            "service": _SERVICE,
            "date": _DATE,
            "time": _TIME,
            "vehicle": _text("Year, make and model, or null for the customer's only car", null=True),
            "name": _text("The caller's name if they are not a known customer, else null", null=True),
        },
        changes=True,
        outcome="booked",
        logged=("service", "date", "time"),
    ),
    _spec(
        "get_upcoming_appointments",
        "The caller's own appointments that are still to come.",
        {},
    ),
    _spec(
        "cancel_appointment",
        "Cancels one of the caller's own appointments, after the caller has confirmed which one.",
        {"appointment_id": _APPOINTMENT},
        changes=True,
        outcome="cancelled",
        logged=("appointment_id",),
    ),
    _spec(
        "reschedule_appointment",
        "Moves one of the caller's own appointments to another day or time.",
        {"appointment_id": _APPOINTMENT, "date": _DATE, "time": _TIME},
        changes=True,
        outcome="moved",
        logged=("appointment_id", "date", "time"),
    ),
    _spec(
        "decode_vin",
        "Finds out year, make and model from a vehicle identification number.",
        {"vin": _text("The 17 characters as the caller said them")},
    ),
)

_BY_NAME = {spec.name: spec for spec in SPECS}
_STRUCTS: dict[str, type[Arguments]] = {
    "lookup_customer": LookupCustomer,
    "get_available_slots": GetAvailableSlots,
    "book_appointment": BookAppointment,
    "get_upcoming_appointments": GetUpcomingAppointments,
    "cancel_appointment": CancelAppointment,
    "reschedule_appointment": RescheduleAppointment,
    "decode_vin": DecodeVin,
}


def parse(tool: str, arguments: str) -> Arguments:
    """A model's arguments (JSON text, unchecked) for one of our tools. Raises `BadArguments`."""
    struct = _STRUCTS.get(tool)
    if struct is None:
        raise BadArguments(f"there is no tool {tool!r}; there are: {', '.join(_STRUCTS)}")
    try:
        parsed = msgspec.json.decode(arguments.strip() or "{}", type=struct, strict=False)
    except (msgspec.MsgspecError, UnicodeError, RecursionError) as error:
        raise BadArguments(f"wrong arguments for {tool}: {error}. Expected: {_expected(tool)}") from None
    # Postgres has no place for it in a text.
    if any("\x00" in value for value in msgspec.structs.astuple(parsed) if isinstance(value, str)):
        raise BadArguments(f"wrong arguments for {tool}: a text holds a zero character")
    return parsed


def parse_time(text: str) -> dt.time:
    """A time of day as "HH:MM" (or "H:MM"). Raises `BadArguments`."""
    match = re.fullmatch(r"([0-9]{1,2}):([0-9]{2})(?::00)?", text.strip())
    if match is None or int(match[1]) > 23 or int(match[2]) > 59:
        raise BadArguments(f"time must be HH:MM in 24 hours, e.g. 09:30, got {text!r}")
    return dt.time(int(match[1]), int(match[2]))


def changes(tool: str) -> bool:
    """Whether this tool writes."""
    return _BY_NAME[tool].changes


def _expected(tool: str) -> str:
    properties = _BY_NAME[tool].parameters["properties"]
    return "; ".join(f"{name}: {value['description']}" for name, value in properties.items()) or "{}"
