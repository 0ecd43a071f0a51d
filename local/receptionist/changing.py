"""The steps to find, move or cancel an appointment that the caller has."""

from collections.abc import Collection

from local.receptionist import speech
from local.receptionist.booking import booked_told, not_possible, times_step
from local.receptionist.facts import Facts
from local.receptionist.phrases import ANYTHING_ELSE, unable
from local.receptionist.proving import is_known, proof_step
from local.receptionist.results import appointment_of, refused
from local.receptionist.talk import Appointment, Ask, Goal, Reply, Talk
from local.receptionist.uncertain import looked_up, settled

MOST_SPOKEN = 3


def change_step(talk: Talk, facts: Facts, tools: Collection[str]) -> Reply:
    """The next thing to ask or do for moving or cancelling."""
    found = _choose(talk, facts, tools)
    if isinstance(found, Reply):
        return found
    talk.chosen = found
    return _cancel(talk, found, tools) if talk.goal is Goal.CANCEL else _move(talk, found, facts, tools)


def look_up(talk: Talk, facts: Facts, tools: Collection[str]) -> Reply:
    """Fetches the caller's appointments. What they booked in this call they may hear whoever they are."""
    if not (is_known(talk, facts) or talk.last):
        return proof_step(talk, facts, tools)
    if "get_upcoming_appointments" not in tools:
        return unable(talk, "I can't see the appointments just now.")
    return Reply("Let me look that up.", "get_upcoming_appointments")


def _choose(talk: Talk, facts: Facts, tools: Collection[str]) -> Appointment | Reply:
    if talk.chosen:
        return talk.chosen
    if talk.appointments is None:
        return look_up(talk, facts, tools)
    fitting = [
        item
        for item in talk.appointments
        if talk.about_service in ("", item.service) and talk.about_date in (None, item.date)
    ]
    if not talk.appointments:
        talk.finish()
        question = "Would you like to book one?"
        return talk.ask(Ask.BOOKING, question).after("I don't see an upcoming appointment for you.")
    if len(fitting) == 1:
        return fitting[0]
    lead = "" if fitting or not (talk.about_service or talk.about_date) else "I don't see that one."
    talk.choices = (fitting or talk.appointments)[:MOST_SPOKEN]
    talk.about_service, talk.about_date = "", None
    if len(talk.choices) == 1:
        only = talk.choices[0]
        question = f"Do you mean your {only.spoken().removeprefix('an ').removeprefix('a ')}?"
        return talk.ask(Ask.WHICH, question).after(lead)
    names = [item.spoken("the") for item in talk.choices]
    return talk.ask(Ask.WHICH, f"Which one do you mean: {speech.either(names)}?").after(lead)


def _cancel(talk: Talk, item: Appointment, tools: Collection[str]) -> Reply:
    if not talk.confirmed:
        return talk.ask(Ask.CONFIRM, f"You have {item.spoken()}. Shall I cancel it?")
    if "cancel_appointment" not in tools:
        return unable(talk, "I can't cancel anything just now.")
    return Reply("One moment.", "cancel_appointment", {"appointment_id": item.id})


def _move(talk: Talk, item: Appointment, facts: Facts, tools: Collection[str]) -> Reply:
    if talk.date is None and talk.minutes is None and not talk.window and not talk.soonest:
        question = "What day would suit you instead?"
        return talk.ask(Ask.DAY, question).after(f"You have {item.spoken()}.")
    if talk.date is None:
        talk.date = facts.today if talk.soonest else item.date
    talk.service = item.service
    if talk.minutes is None:
        return times_step(talk, facts, tools)
    if not talk.sure:
        when = f"{speech.day(talk.date)} at {speech.clock(talk.minutes)}"
        return talk.ask(Ask.CONFIRM, f"I'd move your {item.service} to {when}. Is that right?")
    if "reschedule_appointment" not in tools:
        return unable(talk, "I can't move anything just now.")
    time = f"{talk.minutes // 60:02}:{talk.minutes % 60:02}"
    arguments = {"appointment_id": item.id, "date": talk.date.isoformat(), "time": time}
    return Reply("Let me move it.", "reschedule_appointment", arguments)


def upcoming_told(talk: Talk, facts: Facts, tools: Collection[str]) -> Reply:
    """Goes on with the appointments that were looked up."""
    if talk.doubt:
        doubt = talk.doubt.tool
        return looked_up(talk) or change_told(talk, facts, tools, doubt)
    if talk.appointments is None:
        why = refused(talk.fresh.result) if talk.fresh else ""
        return unable(talk, speech.spoken(why)) if why else unable(talk)
    if talk.goal in (Goal.MOVE, Goal.CANCEL):
        return change_step(talk, facts, tools)
    return tell_appointments(talk)


def tell_appointments(talk: Talk) -> Reply:
    """Says what appointments the caller has."""
    items = talk.appointments or []
    if not items:
        question = "Would you like to book one?"
        return talk.ask(Ask.BOOKING, question).after("I don't see an upcoming appointment for you.")
    told = speech.either([item.spoken() for item in items[:MOST_SPOKEN]], "and")
    if len(items) > MOST_SPOKEN:
        told = (
            f"{speech.number(len(items)) if len(items) < 100 else 'many'} appointments. The first are {told}"
        )
    return talk.ask(Ask.ELSE, ANYTHING_ELSE).after(f"You have {told}.")


def change_told(talk: Talk, facts: Facts, tools: Collection[str], tool: str) -> Reply:
    """Says what the calendar answered to a change."""
    if tool == "book_appointment":
        return booked_told(talk, facts, tools)
    return moved_told(talk, tools) if tool == "reschedule_appointment" else cancelled_told(talk, tools)


def moved_told(talk: Talk, tools: Collection[str]) -> Reply:
    """Says what the calendar answered to a move."""
    open_question = settled(talk, tools)
    if open_question:
        return open_question
    result = talk.fresh.result if talk.fresh else {}
    made = appointment_of(result.get("appointment"))
    if not result.get("rescheduled") or made is None:
        return not_possible(talk, "I could not move that.")
    talk.finish()
    when = f"{speech.day(made.date)} at {speech.clock(made.minutes)}"
    return talk.ask(Ask.ELSE, ANYTHING_ELSE).after(f"Done. Your {made.service} is now on {when}.")


def cancelled_told(talk: Talk, tools: Collection[str]) -> Reply:
    """Says what the calendar answered to a cancellation."""
    open_question = settled(talk, tools)
    if open_question:
        return open_question
    result = talk.fresh.result if talk.fresh else {}
    made = appointment_of(result.get("appointment"))
    why = refused(result)
    item = talk.chosen
    talk.finish()
    if result.get("cancelled"):
        what = (made or item).spoken("Your") if made or item else "Your appointment"  # type: ignore[union-attr]
        return talk.ask(Ask.ELSE, ANYTHING_ELSE).after(f"{what} is cancelled.")
    if why:
        return talk.ask(Ask.ELSE, ANYTHING_ELSE).after(
            f"I'm sorry, I could not cancel it. {speech.spoken(why)}"
        )
    return unable(talk, "I could not cancel that.")
