"""What the caller says to what was heard, misheard words included."""

import datetime as dt
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from demo.answers import LISTEN, Answers, lists_times
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
    bye="That's all, thank you. Goodbye.",
)
ELSE = "Is there anything else I can do for you?"


def _answers(*, chosen: bool = True) -> Answers:
    answers = Answers(WISH, TODAY)
    if chosen:
        answers.choose()
    return answers


@pytest.mark.parametrize(
    "confirmed",
    [
        "Let me book that for you. You're booked for a tire rotation on Saturday. December fifth at nine thirty.",
        "You're both for a tire rotation on Saturday, December 5th at 9:30,",
        "your book for a tire rotation on Saturday, December fifth at nine thirty is.",
    ],
)
def test_the_caller_says_goodbye_when_the_wish_is_confirmed_even_if_a_word_was_misheard(
    confirmed: str,
) -> None:
    answers = _answers()
    move = answers.to(f"{confirmed} {ELSE}")
    assert (move.text, move.last) == (WISH.bye, True)
    assert answers.booked


def test_the_caller_waits_for_the_question_after_a_confirmation_in_two_parts() -> None:
    answers = _answers()
    assert (
        answers.to("You're booked for a tire rotation on Saturday, December fifth at nine thirty.") is LISTEN
    )
    assert answers.to(ELSE).last


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
    assert not answers.booked


def test_the_caller_asks_instead_of_booking_twice_when_the_confirmation_was_not_caught() -> None:
    move = _answers().to(f"Letting for a tower. {ELSE}")
    assert move.text == "When is my appointment?"


def test_the_caller_who_is_told_of_the_appointment_on_asking_says_goodbye() -> None:
    answers = _answers()
    answers.to(ELSE)
    move = answers.to(f"You have a tire rotation on Saturday, December fifth at nine thirty. {ELSE}")
    assert move.last


def test_a_goodbye_that_was_not_understood_is_said_again_and_a_silent_agent_hears_one_too() -> None:
    answers = _answers()
    answers.to(f"You're booked for a tire rotation on Saturday, December fifth at nine thirty. {ELSE}")
    assert answers.to(f"You're welcome. {ELSE}").last
    assert answers.to("Are you still there?").last
    assert answers.to_silence().last
    assert answers.to("Thank you for calling. Goodbye.") is LISTEN


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


@given(st.text(max_size=200))
def test_whatever_is_heard_the_caller_only_leaves_after_a_confirmation(heard: str) -> None:
    answers = _answers(chosen=False)
    move = answers.to(heard)
    assert move.last <= answers.booked
