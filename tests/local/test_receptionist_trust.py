"""Callers whose number is not enough, and changes of which it was not known whether they were made."""

import datetime as dt
from typing import Any

import pytest

from actors import toolport
from crm import once, tools
from crm.demo_data import workshop
from crm.prompt import system_prompt
from crm.records import CustomerRecord
from local.receptionist.facts import read_prompt
from tests.local.dealership import KNOWN, NOT_VERIFIED, SHARED, TRANSFER, UNKNOWN, Calendar, Conversation

FRIDAY = ("oil change", "2026-11-27", "09:00")
# In the words of crm/tools.py and crm/once.py.
UNSURE = {
    "error": "It is not known whether this was done: the dealership's records went away at that moment."
}
VOID = {
    "error": "This was not done: there was no answer in time. It may be tried again, if the caller still wants it."
}
EARLIER = {
    "error": "Not done, because it has turned out what became of what was asked before: see `earlier`."
}


def unverified(prompt: str = NOT_VERIFIED, *more: dict[str, Any], booked: bool = True) -> Conversation:
    """A caller whose number does not show who they are; Sarah Mitchell has an appointment on Friday."""
    calendar = Calendar(trusted=False)
    if booked:
        calendar.book_appointment(*FRIDAY, None, None)
    return Conversation(calendar, prompt, *more)


def rows(call: Conversation) -> list[tuple[str, str, str]]:
    return [(a["service"], a["date"], a["time"]) for a in call.calendar.appointments.values()]


# ---------------------------------------------------------------- who is calling


@pytest.mark.parametrize(
    ("fact", "arguments"),
    [
        ("Sarah Mitchell", {"name": "Sarah Mitchell", "car": None}),
        ("It's Sarah Mitchell", {"name": "Sarah Mitchell", "car": None}),
        ("My name is Sarah Mitchell", {"name": "Sarah Mitchell", "car": None}),
        ("Mitchell", {"name": "Mitchell", "car": "Mitchell"}),  # may be a name or a car
        ("a 2022 Honda Civic", {"name": None, "car": "a 2022 Honda Civic"}),
        ("I drive a 2022 Civic", {"name": None, "car": "I drive a 2022 Civic"}),
    ],
)
def test_who_is_not_verified_hears_of_appointments_after_a_fact_about_them(
    fact: str, arguments: dict[str, str | None]
) -> None:
    call = unverified()
    asked = call.say("When is my appointment?")
    assert asked == "May I have your full name, or the year and model of your car?"
    assert "Friday, November twenty-seventh at nine" in call.say(fact)
    assert call.calendar.ran == [("lookup_customer", arguments), ("get_upcoming_appointments", {})]


def test_the_year_of_a_car_is_understood_as_it_is_spoken() -> None:
    call = unverified()
    call.say("When is my appointment?")
    call.say("twenty twenty two Civic")
    assert call.calendar.ran == [("lookup_customer", {"name": None, "car": "twenty twenty two Civic"})]


@pytest.mark.parametrize(
    "wish", ["I want to cancel my appointment", "I need to move my appointment to Monday at ten"]
)
def test_nothing_that_exists_is_changed_before_the_caller_has_shown_who_they_are(wish: str) -> None:
    call = unverified()
    assert "full name" in call.say(wish)
    assert call.ran == []
    call.say("Sarah Mitchell")
    call.say("yes please")
    assert rows(call) in ([], [("oil change", "2026-11-30", "10:00")])
    assert call.ran[:2] == ["lookup_customer", "get_upcoming_appointments"]


def test_a_fact_that_was_told_with_the_wish_is_not_asked_for() -> None:
    call = unverified()
    heard = call.say("My name is Sarah Mitchell and I want to cancel my appointment")
    assert "Shall I cancel it?" in heard


def test_a_wrong_fact_may_be_followed_by_one_more_and_then_something_else_is_offered() -> None:
    call = unverified(NOT_VERIFIED, TRANSFER)
    call.say("When is my appointment?")
    again = call.say("John Smith")
    assert "doesn't match" in again
    assert "May I have your full name" in again
    offered = call.say("Jane Miller")
    assert "book something new for you, or put you through to a person" in offered
    assert "can't look at your appointments" in call.say("When is my appointment?")
    assert call.ran == ["lookup_customer", "lookup_customer"]
    assert "put you through" in call.say("a person please")


def test_without_a_fact_a_new_booking_is_still_to_be_had() -> None:
    call = unverified(booked=False)
    call.say("I want to move my appointment")
    assert "book something new?" in call.say("no, I'd rather not say")
    assert "What would you like to have done?" in call.say("yes")
    call.say("an oil change on Friday at nine")
    assert "You're booked" in call.say("Jane Miller")
    assert rows(call) == [FRIDAY]


def test_booking_something_new_needs_no_proof_but_a_full_name_is_tried() -> None:
    call = unverified(booked=False)
    assert call.say("an oil change on Friday at nine") == "What name shall I put it under?"
    assert "You're booked" in call.say("Jane Miller")
    assert rows(call) == [FRIDAY]
    assert call.ran == ["lookup_customer", "book_appointment"]


def test_a_name_that_shows_who_it_is_books_for_their_car() -> None:
    call = unverified(booked=False)
    call.say("an oil change on Friday at nine")
    call.say("Sarah Mitchell")
    assert call.calendar.appointments[1]["vehicle"] == "2022 Honda Civic"


def test_what_was_booked_in_this_call_may_be_moved_and_cancelled_without_proof() -> None:
    call = unverified(booked=False)
    call.say("an oil change on Friday at nine")
    call.say("Jane Miller")
    assert "now on Friday" in call.say("could you move it to ten?")
    call.say("please cancel it")
    assert "is cancelled" in call.say("yes")
    assert call.ran == ["lookup_customer", "book_appointment", "reschedule_appointment", "cancel_appointment"]


def test_what_was_booked_in_this_call_may_be_heard_without_proof() -> None:
    call = unverified(booked=False)
    call.say("an oil change on Friday at nine")
    call.say("Jane Miller")
    assert "You have an oil change on Friday" in call.say("When is my appointment?")


def test_a_question_is_no_name() -> None:
    call = unverified(booked=False)
    call.say("an oil change on Friday at nine")
    heard = call.say("what are your hours")
    assert "We're open" in heard
    assert heard.endswith("What name shall I put it under?")
    assert rows(call) == []


def test_a_yes_is_no_name() -> None:
    call = unverified(booked=False)
    call.say("an oil change on Friday at nine")
    assert "What name shall I put it under?" in call.say("Yes, please.")
    assert call.ran == []


def test_of_a_shared_number_it_is_asked_who_calls() -> None:
    call = unverified(SHARED)
    assert "Who am I speaking with?" in call.say("When is my appointment?")
    assert "nine o'clock" in call.say("Sarah Mitchell")


@pytest.mark.parametrize("name", ["Sarah Mitchell", "Hi, it's Sarah Mitchell.", "This is Sarah Mitchell"])
def test_a_name_that_answers_the_greeting_of_a_shared_number_is_looked_up(name: str) -> None:
    call = unverified(SHARED)
    assert call.say(name) == "Let me see. Thank you. How can I help you?"
    assert "nine o'clock" in call.say("When is my appointment?")


def test_a_wish_that_answers_the_greeting_of_a_shared_number_is_no_name() -> None:
    call = unverified(SHARED, booked=False)
    assert call.say("an oil change on Friday at nine") == "Who am I speaking with?"
    assert call.ran == []


def test_an_unknown_caller_who_asks_for_appointments_is_told_that_there_is_none() -> None:
    call = unverified(UNKNOWN, booked=False)
    assert "I don't see an upcoming appointment for you." in call.say("When is my appointment?")


def test_the_file_is_told_after_a_fact_and_without_a_second_look() -> None:
    call = unverified()
    assert "full name" in call.say("Which car do you have on file for me?")
    assert "with a twenty twenty-two Honda Civic." in call.say("Sarah Mitchell")
    assert call.ran == ["lookup_customer"]


# ---------------------------------------------------------------- what is not known


class Doubtful(Calendar):
    """Answers the first change with `answer`; `lost`: it was made all the same."""

    def __init__(self, answer: dict[str, Any], *, lost: bool = False, blind: bool = False) -> None:
        super().__init__()
        self.answer: dict[str, Any] | None = answer
        self.lost, self.blind = lost, blind

    def run(self, name: str, arguments: dict[str, Any]) -> dict[str, Any]:
        if self.blind and name == "get_upcoming_appointments":
            self.ran.append((name, arguments))
            return {"error": "The dealership's records can't be reached right now."}
        changes = name in ("book_appointment", "reschedule_appointment", "cancel_appointment")
        if not changes or self.answer is None:
            return super().run(name, arguments)
        answer, self.answer = self.answer, None
        if self.lost:
            super().run(name, arguments)
        else:
            self.ran.append((name, arguments))
        return answer


def test_a_booking_in_doubt_is_looked_up_and_told_when_it_is_there() -> None:
    call = Conversation(Doubtful(UNSURE, lost=True), KNOWN)
    heard = call.say("an oil change on Friday at nine")
    assert "I'm not certain whether that was booked. Let me look. You're booked for an oil change" in heard
    assert call.ran == ["book_appointment", "get_upcoming_appointments"]


def test_a_booking_in_doubt_that_is_not_there_is_tried_again_only_when_the_caller_wants_it() -> None:
    call = Conversation(Doubtful(UNSURE), KNOWN)
    heard = call.say("an oil change on Friday at nine")
    assert "You're booked" not in heard
    assert "I don't see it in the calendar. Shall I try again?" in heard
    assert "You're booked" in call.say("yes please")
    assert rows(call) == [FRIDAY]


def test_who_does_not_want_it_tried_again_has_nothing_booked() -> None:
    call = Conversation(Doubtful(UNSURE), KNOWN)
    call.say("an oil change on Friday at nine")
    assert "left it" in call.say("no")
    assert rows(call) == []


def test_a_booking_that_stays_in_doubt_is_neither_promised_nor_denied() -> None:
    call = Conversation(Doubtful(UNSURE, lost=True, blind=True), KNOWN)
    heard = call.say("an oil change on Friday at nine")
    assert "I can't tell whether that was booked." in heard
    assert "You're booked" not in heard
    assert "not booked" not in heard


@pytest.mark.parametrize(
    ("lost", "told"), [(True, "is now on Monday, November thirtieth"), (False, "Shall I try again?")]
)
def test_a_move_in_doubt_is_looked_up(lost: bool, told: str) -> None:
    calendar = Doubtful(UNSURE, lost=lost)
    Calendar.book_appointment(calendar, *FRIDAY, None, None)
    assert told in Conversation(calendar, KNOWN).say("move my appointment to Monday at ten")


@pytest.mark.parametrize(("lost", "told"), [(True, "is cancelled."), (False, "It is still there.")])
def test_a_cancellation_in_doubt_is_looked_up(lost: bool, told: str) -> None:
    calendar = Doubtful(UNSURE, lost=lost)
    Calendar.book_appointment(calendar, *FRIDAY, None, None)
    call = Conversation(calendar, KNOWN)
    call.say("cancel my appointment")
    assert told in call.say("yes")


def test_what_was_given_up_is_said_not_to_be_done_and_may_be_tried_again() -> None:
    call = Conversation(Doubtful(VOID), KNOWN)
    heard = call.say("an oil change on Friday at nine")
    assert "that was not booked" in heard
    assert "You're booked" in call.say("yes")


def test_what_was_done_before_after_all_is_told_instead_of_done_twice() -> None:
    made = {"id": 1, "service": "oil change", "date": "2026-11-27", "time": "09:00", "weekday": "Friday"}
    call = Conversation(Doubtful(EARLIER | {"earlier": [{"booked": True, "appointment": made}]}), KNOWN)
    heard = call.say("an oil change on Friday at nine")
    assert "You're booked for an oil change on Friday" in heard
    assert heard.endswith("Is there anything else I can do for you?")
    assert call.ran == ["book_appointment"]


def test_what_was_done_before_is_told_and_whether_the_new_wish_stands_is_asked() -> None:
    made = {"id": 1, "service": "oil change", "date": "2026-11-27", "time": "09:00", "weekday": "Friday"}
    call = Conversation(Doubtful(EARLIER | {"earlier": [{"booked": True, "appointment": made}]}), KNOWN)
    heard = call.say("an oil change on Monday at ten")
    assert "You're booked for an oil change on Friday" in heard
    assert "Shall I also book an oil change on Monday, November thirtieth at ten o'clock?" in heard
    assert "left it" in call.say("no thanks")
    assert call.ran == ["book_appointment"]


@pytest.mark.parametrize(
    ("rest", "answer"), [("Thank you, the bite.", "Goodbye."), ("What are your hours?", "open")]
)
def test_what_follows_a_goodbye_that_was_cut_in_two_is_part_of_it_unless_it_asks_for_more(
    rest: str, answer: str
) -> None:
    call = Conversation(Calendar(), KNOWN)
    call.say("an oil change on Friday at nine")
    call.say("Nothing else.")
    assert answer in call.say(rest)


@pytest.mark.parametrize("aside", ["what are your hours?", "uh"])
def test_a_question_on_the_side_does_not_try_a_change_again(aside: str) -> None:
    call = Conversation(Doubtful(VOID), KNOWN)
    call.say("an oil change on Friday at nine")
    assert call.say(aside).endswith("?")
    assert rows(call) == []
    call.say("yes")
    assert rows(call) == [FRIDAY]


def interrupted_before_the_answer(calendar: Calendar, *said: str) -> Conversation:
    """The caller spoke when the tool had answered the last of these, and nothing had been said of it."""
    call = Conversation(calendar, KNOWN)
    for text in said:
        call.say(text)
    call.messages.pop()
    return call


@pytest.mark.parametrize(
    ("noise", "answer"),
    [
        ("yes please", "Is there anything else I can do for you?"),
        ("what are your hours", "We're open"),
        ("that's all, goodbye", "Thank you for calling. Goodbye."),
    ],
)
def test_a_change_of_which_nothing_was_said_yet_is_told_whatever_the_caller_says(
    noise: str, answer: str
) -> None:
    call = interrupted_before_the_answer(Calendar(), "an oil change on Friday at nine")
    heard = call.say(noise)
    assert heard.startswith(
        "You're booked for an oil change on Friday, November twenty-seventh at nine o'clock."
    )
    assert answer in heard
    assert rows(call) == [FRIDAY]


def test_a_yes_to_a_question_that_was_not_heard_tries_nothing_again() -> None:
    call = interrupted_before_the_answer(Doubtful(VOID), "an oil change on Friday at nine")
    assert "Shall I try again?" in call.say("yes please")
    assert rows(call) == []
    call.say("yes")
    assert rows(call) == [FRIDAY]


# ---------------------------------------------------------------- where nothing is free


def test_a_full_day_leads_to_the_next_one_that_has_free_times() -> None:
    class Full(Calendar):
        def get_available_slots(self, service: str, date: str) -> dict[str, Any]:
            if date != "2026-11-27":
                return super().get_available_slots(service, date)
            following = {
                "date": "2026-11-30",
                "times": ["08:00", "08:30"],
                "say": "Monday the thirtieth at eight",
            }
            return {"service": service, "date": date, "slots": [], "alternatives": [], "next_free": following}

    call = Conversation(Full(), KNOWN)
    heard = call.say("an oil change on Friday")
    assert (
        "There's nothing free on Friday, November twenty-seventh. On Monday, November thirtieth, I have"
        in heard
    )
    call.say("the second one")
    assert rows(call) == [("oil change", "2026-11-30", "08:30")]


@pytest.mark.parametrize(
    "why",
    [
        "The caller has no appointment with this id: see get_upcoming_appointments.",
        "It is already cancelled: tell the caller so.",
    ],
)
def test_what_a_tool_says_to_the_model_is_not_read_out(why: str) -> None:
    class Strict(Calendar):
        def cancel_appointment(self, appointment_id: int) -> dict[str, Any]:
            return {"cancelled": False, "error": why}

    calendar = Strict()
    calendar.book_appointment(*FRIDAY, None, None)
    call = Conversation(calendar, KNOWN)
    call.say("cancel my appointment")
    heard = call.say("yes")
    assert "could not cancel" in heard
    assert "caller" not in heard


# ---------------------------------------------------------------- the product's own words


def customer(number: int, name: str) -> CustomerRecord:
    return CustomerRecord(id=number, name=name, since=2020)


@pytest.mark.parametrize(
    ("names", "trusted", "expected"),
    [
        ((), False, (True, True, False)),
        (("Sarah Mitchell",), True, (False, True, False)),
        (("Sarah Mitchell",), False, (False, False, False)),
        (("Priya Raman", "Arjun Raman"), True, (False, False, True)),
    ],
)
def test_the_prompt_of_the_product_is_understood(
    names: tuple[str, ...], trusted: bool, expected: tuple[bool, bool, bool]
) -> None:
    now = dt.datetime(2026, 11, 24, 10, 15, tzinfo=dt.UTC)
    people = [customer(number, name) for number, name in enumerate(names)]
    prompt = system_prompt("Trunkline", workshop(), people, caller="+13125550142", trusted=trusted, now=now)
    facts = read_prompt(prompt, dt.date(2000, 1, 1))
    assert (facts.asks_name, facts.verified, facts.shared) == expected
    assert facts.today == now.date()
    assert [service.name for service in facts.services] == [service.name for service in workshop().services]


@pytest.mark.parametrize("text", [tools.UNKNOWN, toolport.UNKNOWN])
def test_what_the_product_says_of_an_unknown_change_is_understood(text: str) -> None:
    call = Conversation(Doubtful({"error": text}), KNOWN)
    assert "not certain whether that was booked" in call.say("an oil change on Friday at nine")


def test_what_the_product_says_of_a_change_that_was_given_up_is_understood() -> None:
    call = Conversation(Doubtful({"error": once.VOID}), KNOWN)
    assert "that was not booked" in call.say("an oil change on Friday at nine")
