"""What the caller says to what was heard, misheard words included."""

import datetime as dt
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from demo.answers import LISTEN, Answers, Task, lists_times
from demo.scenario import Scenario

CHICAGO = ZoneInfo("America/Chicago")
TODAY = dt.date(2026, 11, 24)
WISH = Scenario(
    seed=0,
    service="tire rotation",
    minutes=30,
    starts_at=dt.datetime(2026, 12, 5, 9, 30, tzinfo=CHICAGO),
    day="December fifth",
    time="nine thirty",
    ask="What times do you have on December fifth for a tire rotation?",
    choose="Can I come at nine thirty, please?",
    restate=("Please book it.", "I would like it.", "I need it."),
    moves_to=dt.datetime(2026, 12, 4, 11, 0, tzinfo=CHICAGO),
    new_day="Friday",
    new_time="eleven a.m.",
    move="Could you move it to Friday at eleven a.m., please?",
    move_again=("Please move my appointment.", "I would like to move it."),
    cancel="Actually, please cancel it.",
    cancel_again=("Please cancel my appointment.", "I want to cancel it."),
    bye="That's all, thank you. Goodbye.",
)
ELSE = "Is there anything else I can do for you?"
BOOKED = "You're booked for a tire rotation on Saturday, December fifth at nine thirty."
MOVED = "Done. Your tire rotation is now on Friday, December fourth at eleven o'clock."
CANCELLED = "Your tire rotation on Friday, December fourth at eleven o'clock is cancelled."


def _answers(*heard: str, chosen: bool = True) -> Answers:
    """After these turns of the agent's."""
    answers = Answers(WISH, TODAY)
    if chosen:
        answers.choose()
    for text in heard:
        answers.to(f"{text} {ELSE}")
    return answers


def test_what_was_booked_is_moved_and_then_cancelled_and_then_the_caller_says_goodbye() -> None:
    answers = _answers()
    assert answers.to(f"Let me book that for you. {BOOKED} {ELSE}").text == WISH.move
    assert answers.to(f"Let me move it. {MOVED} {ELSE}").text == WISH.cancel
    asked = "You have a tire rotation on Friday, December fourth at eleven o'clock. Shall I cancel it?"
    assert answers.to(asked).text == "Yes, please."
    move = answers.to(f"One moment. {CANCELLED} {ELSE}")
    assert (move.text, move.last) == (WISH.bye, True)
    assert answers.done == [Task.BOOK, Task.MOVE, Task.CANCEL]


@pytest.mark.parametrize(
    "confirmed",
    [
        "Let me book that for you. You're booked for a tire rotation on Saturday. December fifth at nine thirty.",
        "You're both for a tire rotation on Saturday, December 5th at 9:30,",
        "your book for a tire rotation on Saturday, December fifth at nine thirty is.",
    ],
)
def test_the_caller_goes_on_when_the_booking_is_confirmed_even_if_a_word_was_misheard(confirmed: str) -> None:
    answers = _answers()
    assert answers.to(f"{confirmed} {ELSE}").text == WISH.move
    assert answers.done == [Task.BOOK]


def test_the_caller_waits_for_the_question_after_a_confirmation_in_two_parts() -> None:
    answers = _answers()
    assert answers.to(BOOKED) is LISTEN
    assert answers.to(f"{BOOKED} {ELSE}").text == WISH.move
    assert answers.to(MOVED) is LISTEN
    assert answers.to(f"{MOVED} {ELSE}").text == WISH.cancel


def test_after_a_confirmation_and_silence_the_caller_goes_on() -> None:
    answers = _answers()
    answers.to(BOOKED)
    assert answers.to_silence().text == WISH.move
    assert answers.to("Sorry, I didn't get that.").text == WISH.move_again[0]


@pytest.mark.parametrize(
    "wrong",
    [
        "You're booked for a tire rotation on Saturday, December fifth at ten thirty.",
        "You're booked for a tire rotation on Friday, December fourth at nine thirty.",
        "You're booked for an oil change on Saturday, December fifth at nine thirty.",
    ],
)
def test_the_caller_objects_to_another_service_day_or_time(wrong: str) -> None:
    answers = _answers()
    move = answers.to(f"{wrong} {ELSE}")
    assert move.text.startswith("No, please change it to December fifth at nine thirty")
    assert answers.done == []


@pytest.mark.parametrize(
    "wrong",
    [
        "Done. Your tire rotation is now on Friday, December fourth at ten o'clock.",
        "You have a tire rotation on Saturday, December fifth at nine thirty.",
    ],
)
def test_the_caller_objects_to_another_time_than_was_asked_for(wrong: str) -> None:
    answers = _answers(BOOKED)
    assert answers.to(f"{wrong} {ELSE}").text == "No, please change it to Friday at eleven a.m."
    assert answers.done == [Task.BOOK]


def test_a_move_that_was_not_caught_is_asked_for_and_not_made_twice() -> None:
    answers = _answers(BOOKED)
    assert answers.to(f"Letting mover. {ELSE}").text == "When is my appointment?"
    had = "You have a tire rotation on Friday, December fourth at eleven o'clock."
    assert answers.to(f"{had} {ELSE}").text == WISH.cancel


def test_a_cancellation_that_was_not_caught_is_asked_for_and_made_only_if_it_was_not() -> None:
    answers = _answers(BOOKED, MOVED)
    assert answers.to(f"Mumble. {ELSE}").text == "When is my appointment?"
    had = "You have a tire rotation on Friday, December fourth at eleven o'clock."
    assert answers.to(f"{had} {ELSE}").text == WISH.cancel_again[0]
    gone = "I don't see it in upcoming appointment for you. Would you like to book one?"
    assert answers.to(gone).last


def test_the_caller_asks_instead_of_booking_twice_when_the_confirmation_was_not_caught() -> None:
    move = _answers().to(f"Letting for a tower. {ELSE}")
    assert move.text == "When is my appointment?"


def test_the_caller_who_is_told_of_the_appointment_on_asking_goes_on() -> None:
    answers = _answers("Mumble.")
    had = "You have a tire rotation on Saturday, December fifth at nine thirty."
    assert answers.to(f"{had} {ELSE}").text == WISH.move


def test_a_goodbye_that_was_not_understood_is_said_again_and_a_silent_agent_hears_one_too() -> None:
    answers = _answers(BOOKED, MOVED, CANCELLED)
    assert answers.to(f"You're welcome. {ELSE}").last
    assert answers.to("Are you still there?").last
    assert answers.to_silence().last
    assert answers.to("Thank you for calling. Goodbye.") is LISTEN


def test_the_caller_says_their_name_when_asked() -> None:
    assert _answers().to("What name shall I put it under?").text == "Sarah Mitchell."


def test_a_right_summary_gets_a_yes_and_a_wrong_one_a_no_with_the_wish() -> None:
    right = "That's a tire rotation on Saturday, December fifth at nine thirty. Shall I book it?"
    assert _answers().to(right).text == "Yes, please."
    assert _answers().to(right.replace("nine", "eleven")).text == "No. Please book it."


def test_each_repetition_has_other_words() -> None:
    answers = _answers(chosen=False)
    said = [answers.to("Sorry, I didn't get that.").text for _ in range(4)]
    assert said == [*WISH.restate, WISH.restate[0]]


@pytest.mark.parametrize(
    ("question", "answer"),
    [
        ("What day would suit you for the tire rotation?", "December fifth, please."),
        ("What would you like to have done?", "Tire rotation, please."),
        ("I have nine, nine thirty or ten. Which would you like?", WISH.choose),
    ],
)
def test_a_question_gets_its_answer(question: str, answer: str) -> None:
    assert _answers(chosen=False).to(question).text == answer


def test_what_asks_nothing_is_not_answered() -> None:
    assert _answers().to("Let me check.") is LISTEN
    assert _answers().to("Let me book that for you.") is LISTEN


def test_times_are_being_listed_from_the_day_and_have_on_but_not_in_a_question_for_the_day() -> None:
    assert lists_times("Let me check on Saturday. December fifth. I have", TODAY)
    assert not lists_times("Let me check.", TODAY)
    assert not lists_times("What day would suit you?", TODAY)


_SCRAPS = st.sampled_from(
    [
        BOOKED,
        MOVED,
        CANCELLED,
        ELSE,
        "Sorry, I didn't get that.",
        "Shall I cancel it?",
        "Are you still there?",
        "Let me",
        "?",
    ]
)


@given(st.lists(st.text(max_size=80) | _SCRAPS, max_size=8))
def test_whatever_is_heard_the_caller_only_leaves_when_all_is_heard_to_be_done(heard: list[str]) -> None:
    answers = _answers(chosen=False)
    for text in heard:
        move = answers.to(text)
        assert move.last <= (answers.task is None)
    assert answers.done == list(Task)[: len(answers.done)]
