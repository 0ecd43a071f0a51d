"""The call that has everything in it; more than one test looks at it."""

import datetime as dt
from zoneinfo import ZoneInfo

from crm.demo_data import workshop
from simulators.caller import Caller
from simulators.model import says, tool
from tests.whole.bench import SARAH, Bench, Talk

ZONE = ZoneInfo("America/Chicago")
SLOTS = "On Tuesday we have nine, nine thirty and ten in the morning and many times later in the day."


def next_tuesday() -> dt.date:
    """A Tuesday, no holiday, that is at least a week away."""
    shop = workshop(ZONE.key)
    days = (dt.datetime.now(ZONE).date() + dt.timedelta(days=ahead) for ahead in range(7, 28))
    return next(day for day in days if day.weekday() == 1 and shop.spans(day) == shop.week[1])


def quiet_days() -> list[dt.date]:
    """Full days after that Tuesday on which nobody else books."""
    shop = workshop(ZONE.key)
    days = [next_tuesday() + dt.timedelta(days=ahead) for ahead in range(1, 29)]
    return [day for day in days if shop.spans(day) == shop.week[1]]


async def books(c: Caller) -> None:
    await c.hears("help you today")
    await c.quiet(0.3)
    await c.say("I need an oil change on Tuesday")
    await c.hears("nine thirty")
    await c.say("Sorry, nine thirty please")
    await c.hears("anything else")
    await c.quiet(0.3)
    await c.say("No, that was all")
    await c.ended()


async def sarah_books(bench: Bench) -> Talk:
    """Sarah books an oil change and interrupts the agent once."""
    day = next_tuesday().isoformat()
    return await bench.dial(
        books,
        says("Let me look.", tool("get_available_slots", service="oil change", date=day), user="oil change"),
        says(SLOTS, after="get_available_slots"),
        says("", tool("book_appointment", service="oil change", date=day, time="09:30", vehicle=None, name=None),
             user="nine thirty"),
        says("You are booked. Is there anything else?", after="book_appointment"),
        says("Thanks for calling. Goodbye.", tool("end_call"), user="that was all"),
        caller=SARAH,
    )  # fmt: skip
