"""The steps to a booking: service, day, time, name, certainty; then the calendar decides."""

import datetime as dt
from collections.abc import Collection

from local.receptionist import speech
from local.receptionist.facts import Facts
from local.receptionist.phrases import ANYTHING_ELSE, WHICH_SERVICE, unable
from local.receptionist.proving import is_known, proof_step
from local.receptionist.results import alternatives, appointment_of, refused, wants_name
from local.receptionist.talk import Ask, Goal, Reply, Talk
from local.receptionist.times import Window
from local.receptionist.uncertain import settled

MOST_SPOKEN = 3
SOONEST_DAYS = 7


def book_step(talk: Talk, facts: Facts, tools: Collection[str]) -> Reply:
    """The next thing to ask or do for a booking."""
    missing = _missing(talk, facts)
    if missing:
        return missing
    if talk.date is None:
        talk.date = facts.today  # the soonest: the search starts today
    if talk.minutes is None:
        return times_step(talk, facts, tools)
    unknown = _name_step(talk, facts, tools)
    if unknown:
        return unknown
    if not talk.sure:
        question = f"That's {_what(talk)} at {speech.clock(talk.minutes)}. Shall I book it?"
        return talk.ask(Ask.CONFIRM, question)
    if "book_appointment" not in tools:
        return unable(talk, "I can't book anything just now.")
    arguments = {
        "service": talk.service,
        "date": talk.date.isoformat(),
        "time": f"{talk.minutes // 60:02}:{talk.minutes % 60:02}",
        "vehicle": talk.vehicle or _only(talk.cars or facts.cars),
        "name": talk.name or None,
    }
    return Reply("Let me book that for you.", "book_appointment", arguments)


def _only(cars: tuple[str, ...]) -> str | None:
    return cars[0] if len(cars) == 1 else None


def _name_step(talk: Talk, facts: Facts, tools: Collection[str]) -> Reply | None:
    """Asks an unknown caller for a name. A full one may also show whose the booking is; it need not."""
    if is_known(talk, facts) and not (facts.asks_name and not talk.proved):
        return None
    if not talk.name and not talk.proved:
        return talk.ask(
            Ask.NAME, "Who am I speaking with?" if facts.shared else "What name shall I put it under?"
        )
    may_tell = talk.claim is not None and (" " in talk.claim.name or bool(talk.claim.car))
    return proof_step(talk, facts, tools) if may_tell and not is_known(talk, facts) else None


def _missing(talk: Talk, facts: Facts) -> Reply | None:
    """The question for the service or the day, if one is not known."""
    if not talk.service and talk.could_be:
        return talk.ask(Ask.SERVICE, f"Do you mean {speech.either([f'the {n}' for n in talk.could_be])}?")
    if not talk.service:
        return _ask_service(talk, facts)
    if talk.date is None and not talk.soonest:
        return talk.ask(Ask.DAY, f"What day would suit you for the {talk.service}?")
    return None


def _ask_service(talk: Talk, facts: Facts) -> Reply:
    """Asks for the service; the second time it says which there are."""
    if talk.question == WHICH_SERVICE and facts.services:
        offered = speech.either([f"{speech.one_of(service.name)}" for service in facts.services])
        return talk.ask(Ask.SERVICE, f"I can book {offered}. Which would you like?")
    return talk.ask(Ask.SERVICE, WHICH_SERVICE)


def _what(talk: Talk) -> str:
    day = f" on {speech.day(talk.date)}" if talk.date else ""
    return f"{speech.one_of(talk.service)}{day}"


def times_step(talk: Talk, facts: Facts, tools: Collection[str]) -> Reply:
    """Offers free times of the wanted day; looks them up first."""
    if talk.date is None:
        return talk.ask(Ask.DAY, "What day would suit you?")
    free = talk.slots.get((talk.service, talk.date))
    if free is None:
        if "get_available_slots" not in tools:
            return unable(talk, "I can't see the calendar just now.")
        arguments = {"service": talk.service, "date": talk.date.isoformat()}
        return Reply("Let me check.", "get_available_slots", arguments)
    if not free and talk.soonest and (talk.date - facts.today).days < SOONEST_DAYS:
        talk.date += dt.timedelta(days=1)
        return times_step(talk, facts, tools)
    if not free and talk.next_free:
        none_on = talk.date
        talk.date, times = talk.next_free
        lead = f"There's nothing free on {speech.day(none_on)}. On {speech.day(talk.date)},"
        return offer_times(talk, times).after(lead)
    if not free:
        day, talk.date, talk.soonest = talk.date, None, False
        return talk.ask(Ask.DAY, "What other day would suit you?").after(
            f"There's nothing free on {speech.day(day)}."
        )
    return _offer(talk, free, talk.date)


def _offer(talk: Talk, free: list[int], date: dt.date) -> Reply:
    window = talk.window or Window(0, 24 * 60)
    fitting = [m for m in free if window.earliest <= m < window.latest and m not in talk.skipped]
    lead = ""
    if not fitting:
        fitting = [m for m in free if m not in talk.skipped and m not in talk.offered]
        lead = "There's nothing else at that time." if fitting else ""
    if not fitting:
        talk.window, talk.skipped, talk.date = None, set(), None
        question = "What other day would suit you?"
        return talk.ask(Ask.DAY, question).after(f"That's all I have on {speech.day(date)}.")
    return offer_times(talk, fitting).after(f"{lead} On {speech.day(date)},".strip())


def offer_times(talk: Talk, times: list[int]) -> Reply:
    """Says at most three times and asks which; begins in mid-sentence ("I have nine or ten.")."""
    talk.offered = times[:MOST_SPOKEN]
    if len(talk.offered) == 1:
        return talk.ask(Ask.TIME, f"I have {speech.clock(talk.offered[0])}. Would that suit you?")
    spoken = speech.either([speech.clock(minutes, alone=False) for minutes in talk.offered])
    return talk.ask(Ask.TIME, f"I have {spoken}. Which would you like?")


def slots_told(talk: Talk, facts: Facts, tools: Collection[str]) -> Reply:
    """Speaks of free times, or of why there are none."""
    why = _why(talk)
    if not talk.fresh or isinstance(talk.fresh.result.get("slots"), list):
        return times_step(talk, facts, tools)
    if not why:
        return unable(talk)
    if "no service" in why:
        talk.service = ""
        return talk.ask(Ask.SERVICE, WHICH_SERVICE).after(why)
    if talk.soonest and talk.date and (talk.date - facts.today).days < SOONEST_DAYS:
        talk.date += dt.timedelta(days=1)
        return times_step(talk, facts, tools)
    talk.date, talk.soonest = None, False
    return talk.ask(Ask.DAY, "What other day would suit you?").after(why)


def _why(talk: Talk) -> str:
    """The calendar's refusal, made for hearing."""
    why = speech.spoken(refused(talk.fresh.result)) if talk.fresh else ""
    return why[:1].upper() + why[1:]


def booked_told(talk: Talk, facts: Facts, tools: Collection[str]) -> Reply:
    """Says what the calendar answered to a booking."""
    open_question = settled(talk, tools)
    if open_question:
        return open_question
    result = talk.fresh.result if talk.fresh else {}
    made = appointment_of(result.get("appointment"))
    if not result.get("booked") or made is None:
        return not_possible(talk, "I could not book that.")
    also = talk.also[:]
    talk.finish()
    done = f"You're booked for {made.spoken()}."
    if also:
        talk.also = also[1:]
        talk.begin(Goal.BOOK)
        talk.service = also[0]
        return book_step(talk, facts, tools).after(done)
    return talk.ask(Ask.ELSE, ANYTHING_ELSE).after(done)


def not_possible(talk: Talk, otherwise: str) -> Reply:
    """The wanted time can't be had: says why, and what else there is."""
    why, result = _why(talk), talk.fresh.result if talk.fresh else {}
    if wants_name(result):
        return talk.ask(Ask.NAME, "What name shall I put it under?")
    others = alternatives(result)
    if not why and not others:
        return unable(talk, otherwise)
    talk.minutes, talk.confirmed = None, False
    lead = f"I'm sorry. {why or otherwise}"
    if others:
        return offer_times(talk, others).after(lead)
    if "no service" in why:
        talk.service = ""
        return talk.ask(Ask.SERVICE, WHICH_SERVICE).after(lead)
    if talk.next_free:
        talk.date, times = talk.next_free
        return offer_times(talk, times).after(f"{lead} On {speech.day(talk.date)},")
    talk.date = None
    return talk.ask(Ask.DAY, "What other day would suit you?").after(lead)
