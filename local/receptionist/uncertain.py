"""What is said of a change of which it is not known whether it was made, or was not known until now."""

import re
from collections.abc import Collection
from typing import Any

from local.receptionist import speech
from local.receptionist.phrases import unable
from local.receptionist.results import appointment_of
from local.receptionist.talk import Appointment, Ask, Fresh, Goal, Reply, Talk

_UNKNOWN = re.compile(r"not (known|certain|sure) whether", re.IGNORECASE)
_NOT_DONE = re.compile(r"\bnot done\b.*\b(tried )?again\b", re.IGNORECASE)
_DONE = {
    "book_appointment": "booked",
    "reschedule_appointment": "rescheduled",
    "cancel_appointment": "cancelled",
}
_SAID = {"book_appointment": "booked", "reschedule_appointment": "moved", "cancel_appointment": "cancelled"}


def settled(talk: Talk, tools: Collection[str]) -> Reply | None:
    """What is said of a change's answer that says neither yes nor no; None if it does.

    Where an earlier change has turned out to be what is wanted, that becomes the answer.
    """
    fresh = talk.fresh
    error = str(fresh.result.get("error") or "") if fresh else ""
    if not fresh or not error:
        return None
    earlier = [item for item in fresh.result.get("earlier") or () if isinstance(item, dict)]
    wanted = next((item for item in earlier if _is(fresh, item)), None)
    if wanted:
        talk.fresh = Fresh(fresh.tool, fresh.arguments, wanted)
        return None
    if earlier:
        done = " ".join(filter(None, map(_told, earlier))) or "What you asked for before was done after all."
        return _ask(talk, _still(talk)).after(f"I know it now. {done}")
    if _NOT_DONE.search(error):
        return _ask(talk, "Shall I try again?").after(
            f"I'm sorry, that was not {_SAID[fresh.tool]}: there was no answer in time."
        )
    if not _UNKNOWN.search(error):
        return None
    if "get_upcoming_appointments" not in tools:
        return _open(talk, fresh)
    talk.doubt = fresh
    unsure = f"I'm not certain whether that was {_SAID[fresh.tool]}."
    return Reply(f"{unsure} Let me look.", "get_upcoming_appointments")


def looked_up(talk: Talk) -> Reply | None:
    """What the caller's appointments say of a change that was in doubt; None if they show that it was made.

    That becomes the answer: `talk.fresh` is then what the change would have answered.
    """
    doubt, talk.doubt = talk.doubt, None
    if doubt is None:
        raise AssertionError("nothing is in doubt")
    if talk.appointments is None:
        return _open(talk, doubt)
    wanted = doubt.arguments
    if doubt.tool == "cancel_appointment":
        made = (
            talk.chosen
            if all(item.id != wanted.get("appointment_id") for item in talk.appointments)
            else None
        )
    else:
        made = next((item for item in talk.appointments if _matches(item, doubt)), None)
    if made:
        talk.fresh = Fresh(doubt.tool, wanted, {_DONE[doubt.tool]: True, "appointment": _told_as(made)})
        talk.last = None if doubt.tool == "cancel_appointment" else made
        return None
    seen = "It is still there." if doubt.tool == "cancel_appointment" else "I don't see it in the calendar."
    return _ask(talk, "Shall I try again?").after(seen)


def _ask(talk: Talk, question: str) -> Reply:
    """Asks whether to make the change, whatever was confirmed before."""
    talk.again, talk.confirmed = True, False
    return talk.ask(Ask.AGAIN, question)


def _open(talk: Talk, doubt: Fresh) -> Reply:
    """It stays unknown, and the caller is told so."""
    talk.finish()
    return unable(talk, f"I can't tell whether that was {_SAID[doubt.tool]}.")


def _is(fresh: Fresh, item: dict[str, Any]) -> bool:
    """Whether an earlier result is what is asked for now."""
    made = appointment_of(item.get("appointment"))
    return bool(item.get(_DONE[fresh.tool]) and made and _matches(made, fresh))


def _matches(item: Appointment, change: Fresh) -> bool:
    wanted = change.arguments
    if "appointment_id" in wanted and item.id != wanted["appointment_id"]:
        return False
    if change.tool == "cancel_appointment":
        return True
    at = (item.date.isoformat(), f"{item.minutes // 60:02}:{item.minutes % 60:02}")
    return at == (wanted.get("date"), wanted.get("time")) and wanted.get("service") in (None, item.service)


def _told(item: dict[str, Any]) -> str:
    """An earlier result in a sentence."""
    made = appointment_of(item.get("appointment"))
    if made is None:
        return ""
    if item.get("booked"):
        return f"You're booked for {made.spoken()}."
    return f"{made.spoken('Your')} is {'now in the calendar' if item.get('rescheduled') else 'cancelled'}."


def _still(talk: Talk) -> str:
    """Asks whether what was wanted now is wanted still."""
    at = f"{speech.day(talk.date)} at {speech.clock(talk.minutes)}" if talk.date and talk.minutes else ""
    if talk.goal is Goal.BOOK and at:
        return f"Shall I also book {speech.one_of(talk.service)} on {at}?"
    if talk.goal is Goal.MOVE and at:
        return f"Shall I still move it to {at}?"
    return "Shall I still cancel it?" if talk.goal is Goal.CANCEL else "Shall I still do it?"


def _told_as(item: Appointment) -> dict[str, Any]:
    time = f"{item.minutes // 60:02}:{item.minutes % 60:02}"
    return {"id": item.id, "service": item.service, "date": item.date.isoformat(), "time": time}
