"""A dealership for the receptionist to talk to: prompts, and tools that answer as the product's do, from a dict."""

import datetime as dt
import json
from typing import Any

from local.receptionist.dialogue import answer

RULES = """You are the telephone receptionist of Trunkline Motors.
Dealership: Trunkline Motors.
Opening hours: Monday to Friday 08:00 to 17:00, Saturday 09:00 to 13:00, closed on Sunday.
Services: oil change (30 min, $59), tire rotation (30 min, $39), brake inspection (60 min, $89), \
battery check (30 min, free), wheel alignment (60 min, $119), state inspection (30 min, $25).

Today is Tuesday, 2026-11-24, 10:15.
"""
KNOWN = RULES + "Customer: Sarah Mitchell, customer since 2020.\nCustomer: drives a 2022 Honda Civic.\n"
UNKNOWN = RULES + "Customer: not known. Ask for the name before booking.\n"


def tool(name: str, *properties: str) -> dict[str, Any]:
    schema = {
        "type": "object",
        "properties": {key: {"type": ["string", "null"]} for key in properties},
        "required": list(properties),
        "additionalProperties": False,
    }
    return {"type": "function", "function": {"name": name, "strict": True, "parameters": schema}}


TOOLS = [
    tool("lookup_customer", "name", "car"),
    tool("get_available_slots", "service", "date"),
    tool("book_appointment", "service", "date", "time", "vehicle", "name"),
    tool("get_upcoming_appointments"),
    tool("cancel_appointment", "appointment_id"),
    tool("reschedule_appointment", "appointment_id", "date", "time"),
    tool("decode_vin", "vin"),
    tool("end_call"),
]
TRANSFER = tool("transfer_call", "reason")


NOT_VERIFIED = RULES + (
    "Customer: the number is Sarah's, but the caller is not verified.\n"
    "Customer: Do not mention cars, visits, appointments or a full name, until lookup_customer has found them.\n"
)
SHARED = RULES + (
    "Customer: several customers share this number, so the caller is not verified.\nCustomer: ask who is calling.\n"
)


class Calendar:
    """Half-hour slots from 8 to 17, closed on Sundays; `taken` are (date, time). `trusted`: the number is enough."""

    def __init__(self, *taken: tuple[str, str], trusted: bool = True) -> None:
        self.taken = set(taken)
        self.trusted = trusted
        self.appointments: dict[int, dict[str, Any]] = {}
        self.ran: list[tuple[str, dict[str, Any]]] = []

    def run(self, name: str, arguments: dict[str, Any]) -> dict[str, Any]:
        self.ran.append((name, arguments))
        result: dict[str, Any] = getattr(self, name)(**arguments)
        return result

    def free(self, date: str) -> list[str]:
        if dt.date.fromisoformat(date).weekday() == 6:
            return []
        used = self.taken | {(a["date"], a["time"]) for a in self.appointments.values()}
        times = [f"{hour:02}:{minute}" for hour in range(8, 17) for minute in ("00", "30")]
        return [time for time in times if (date, time) not in used]

    def refusal(self, date: str, time: str) -> dict[str, Any] | None:
        if dt.date.fromisoformat(date).weekday() == 6:
            why = "We are closed on Sundays. The next open day is Monday, 2026-11-30."
            return {"error": why, "alternatives": []}
        if time in self.free(date):
            return None
        wanted = int(time[:2]) * 60 + int(time[3:])
        near = sorted(self.free(date), key=lambda t: abs(int(t[:2]) * 60 + int(t[3:]) - wanted))[:3]
        return {"error": f"{time} is already taken.", "alternatives": sorted(near)}

    def get_available_slots(self, service: str, date: str) -> dict[str, Any]:
        refusal = self.refusal(date, "") if dt.date.fromisoformat(date).weekday() == 6 else None
        weekday = f"{dt.date.fromisoformat(date):%A}"
        return refusal or {"service": service, "date": date, "weekday": weekday, "slots": self.free(date)}

    def book_appointment(
        self, service: str, date: str, time: str, vehicle: str | None, name: str | None
    ) -> dict[str, Any]:
        refusal = self.refusal(date, time)
        if refusal:
            return {"booked": False, **refusal}
        number = len(self.appointments) + 1
        weekday = f"{dt.date.fromisoformat(date):%A}"
        made = {"id": number, "service": service, "date": date, "time": time, "weekday": weekday}
        self.appointments[number] = made | {"vehicle": vehicle, "name": name}
        return {"booked": True, "appointment": self.appointments[number]}

    def get_upcoming_appointments(self) -> dict[str, Any]:
        return {"appointments": list(self.appointments.values())}

    def cancel_appointment(self, appointment_id: int) -> dict[str, Any]:
        return {"cancelled": True, "appointment": self.appointments.pop(appointment_id)}

    def reschedule_appointment(self, appointment_id: int, date: str, time: str) -> dict[str, Any]:
        refusal = self.refusal(date, time)
        if refusal:
            return {"rescheduled": False, **refusal}
        self.appointments[appointment_id] |= {"date": date, "time": time}
        return {"rescheduled": True, "appointment": self.appointments[appointment_id]}

    def decode_vin(self, vin: str) -> dict[str, Any]:
        good = vin in (
            "2HGFE2F58NH512345",
            "two H G F E two, F five eight, N as in Nancy, H, five one two, three four five",
        )
        car = {"year": 2022, "make": "Honda", "model": "Civic"} if good else {}
        return {"usable": good, "vin": vin, "year": None, "make": None, "model": None, "trim": None} | car

    def lookup_customer(self, name: str | None, car: str | None) -> dict[str, Any]:
        told = f"{name} {car}".lower()
        if not self.trusted and "mitchell" not in told and "2022" not in told:
            return {"found": False, "note": "This does not show who is calling."}
        drives = {"year": 2022, "make": "Honda", "model": "Civic", "mileage": 41200}
        last = {"service": "oil change", "date": "2026-03-15"}
        person = {
            "name": "Sarah Mitchell",
            "call_them": "Sarah",
            "since": 2020,
            "vehicles": [drives],
            "last_service": last,
        }
        return {"found": True, "customer": person, "say": "Sarah Mitchell, twenty twenty-two Honda Civic"}

    def end_call(self) -> dict[str, Any]:
        return {"ended": True}

    def transfer_call(self, reason: str | None) -> dict[str, Any]:
        return {"transferred": True}


class Conversation:
    """A call without a socket: says things, runs the tools that are called, and keeps what was said."""

    def __init__(self, calendar: Calendar, prompt: str, *more: dict[str, Any]) -> None:
        self.calendar, self.tools = calendar, [*TOOLS, *more]
        self.messages: list[dict[str, Any]] = [{"role": "system", "content": prompt}]

    @property
    def ran(self) -> list[str]:
        """The names of the tools that ran."""
        return [name for name, _ in self.calendar.ran]

    def say(self, text: str) -> str:
        """Everything that is answered, tools run, until it is the caller's turn again."""
        self.messages.append({"role": "user", "content": text})
        heard = []
        for _ in range(10):
            reply = answer(self.messages, self.tools, dt.date(2026, 11, 24))
            heard.append(reply.text)
            if not reply.tool:
                self.messages.append({"role": "assistant", "content": reply.text})
                return " ".join(heard)
            call_id = f"call_{len(self.messages)}"
            function = {"name": reply.tool, "arguments": json.dumps(reply.arguments)}
            calls = [{"id": call_id, "type": "function", "function": function}]
            self.messages.append({"role": "assistant", "content": reply.text, "tool_calls": calls})
            result = json.dumps(self.calendar.run(reply.tool, reply.arguments))
            self.messages.append({"role": "tool", "tool_call_id": call_id, "content": result})
            if reply.tool in ("end_call", "transfer_call"):
                return " ".join(heard)
        raise AssertionError(f"it calls tools without end: {self.calendar.ran}")
