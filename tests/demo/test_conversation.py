"""The caller and the receptionist, both hearing each other right: rules against rules, without a sound."""

import datetime as dt
from zoneinfo import ZoneInfo

from hypothesis import example, given, settings
from hypothesis import strategies as st

from demo.answers import LISTEN, Answers
from demo.caller import ENOUGH
from demo.scenario import Scenario, scenario
from tests.local.dealership import KNOWN, NOT_VERIFIED, Calendar, Conversation

NOW = dt.datetime(2026, 11, 24, 10, 15, tzinfo=ZoneInfo("America/Chicago"))  # as the prompts say


def _held(wish: Scenario, prompt: str, *, trusted: bool, interrupts: bool) -> Calendar:
    """The calendar after the whole call; raises if the caller gives up."""
    calendar = Calendar(trusted=trusted)
    answers, call = Answers(wish, NOW.date()), Conversation(calendar, prompt)
    heard = call.say(wish.ask)
    if interrupts:
        heard = call.say(answers.choose().text)
    for _ in range(ENOUGH):
        move = answers.to(heard)
        if move is LISTEN:
            move = answers.to_silence()
        heard = call.say(move.text)
        if move.last:
            assert "Goodbye." in heard
            return calendar
    raise AssertionError(f"{wish}: {call.messages}")


@settings(max_examples=30)
@given(st.integers(0, 100_000), st.booleans())
@example(2, True)
def test_every_seed_books_moves_and_cancels_and_says_goodbye(seed: int, interrupts: bool) -> None:
    wish = scenario(seed, NOW, NOW.tzinfo)
    calendar = _held(wish, KNOWN, trusted=True, interrupts=interrupts)
    changes = [(name, told) for name, told in calendar.ran if name not in ("get_available_slots", "end_call")]
    assert [name for name, _ in changes] == [
        "book_appointment",
        "reschedule_appointment",
        "cancel_appointment",
    ]
    for (_, told), at in zip(changes, (wish.starts_at, wish.moves_to), strict=False):
        assert (told["date"], told["time"]) == (f"{at:%Y-%m-%d}", f"{at:%H:%M}")
    assert changes[0][1]["service"] == wish.service
    assert calendar.appointments == {}


@settings(max_examples=10)
@given(st.integers(0, 100_000))
def test_a_caller_whose_number_is_not_enough_says_their_name_and_gets_it_all_too(seed: int) -> None:
    wish = scenario(seed, NOW, NOW.tzinfo)
    calendar = _held(wish, NOT_VERIFIED, trusted=False, interrupts=True)
    assert ("lookup_customer", {"name": "Sarah Mitchell", "car": None}) in calendar.ran
    assert calendar.appointments == {}
