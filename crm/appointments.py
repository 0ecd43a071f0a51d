"""The four tools about appointments. A time that can't be had is an answer, not an error.

Who calls is the desk's to know. Whatever a caller may not see does not exist for them: the answer is the same.
"""

import datetime as dt
from collections.abc import Sequence
from typing import Any

from crm import dates, saying, slots
from crm.desk import Caller, Desk, caller
from crm.ports import SlotTaken
from crm.records import AppointmentRecord, CustomerRecord, NewAppointment
from crm.slots import Place, Taken
from crm.toolspec import tool
from crm.workshop import ServiceType, Workshop

Answer = dict[str, Any]

_NOT_YOURS = "The caller has no appointment with this id: see get_upcoming_appointments."
_ONLY_THIS_CALL = (
    "Only what was booked in this call can be seen. If the caller is a customer, ask for their full name or a detail of their car, "
    "and try lookup_customer with it."
)


class _Refused(Exception):
    """The change can't be made; `answer` says why and what else there is."""

    def __init__(self, why: str, **more: Any) -> None:
        super().__init__(why)
        self.answer = {"error": why, "alternatives": [], **more}


@tool()
async def get_available_slots(desk: Desk, service: str, date: str) -> Answer:
    """Free times for a service on one day, or in one part of a day.

    Args:
        service: Name of the service, one of those listed in the instructions
        date: Day as the caller said it ("next Tuesday morning"), or YYYY-MM-DD
    """
    workshop = await desk.work.workshop()
    try:
        wanted = _service(workshop, service)
        when = _day(desk, workshop, date)
    except _Refused as refused:
        return {"error": refused.answer["error"]}
    now = desk.now
    why = slots.why_no_day(workshop, when.date, now)
    if why:
        return {"error": why}
    taken = await _taken(desk, workshop, when.date)
    free = slots.open_slots(workshop, wanted, when.date, taken, now)
    fitting = [slot for slot in free if when.fits(slot.time())]
    answer = {
        "service": wanted.name,
        "date": when.date.isoformat(),
        "weekday": f"{when.date:%A}",
        "slots": [f"{slot:%H:%M}" for slot in fitting],
        "say": _offer(desk, workshop, when, fitting),
    }
    if not fitting:
        answer |= await _elsewhere(desk, workshop, wanted, when.date, free)
    return answer
