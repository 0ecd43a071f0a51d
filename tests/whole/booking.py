"""The call that has everything in it; more than one test looks at it."""

import datetime as dt
from zoneinfo import ZoneInfo

from simulators.caller import Caller
from simulators.model import says, tool
from tests.whole.bench import SARAH, Bench, Talk

ZONE = ZoneInfo("America/Chicago")
SLOTS = "On Tuesday we have nine, nine thirty and ten in the morning and many times later in the day."


def next_tuesday() -> dt.date:
    """A Tuesday that is at least a week away."""
    day = dt.datetime.now(ZONE).date() + dt.timedelta(days=7)
    return day + dt.timedelta(days=(1 - day.weekday()) % 7)


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
