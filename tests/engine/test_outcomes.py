"""What came of a call: the precedence that `engine.outcomes` tells of, as a table."""

import pytest

from engine import phrases
from engine.history import NOT_THE_MODEL, AnyItem, Called, Cause, Returned, Said, TurnBegan
from engine.messages import Playback, ToolCall
from engine.outcomes import End, Facts, facts_of, outcome_of

TALKED = Facts(End.COMPLETED, answers=2)


@pytest.mark.parametrize(
    ("facts", "outcome"),
    [
        # a change is what came of it, however the call ended
        (TALKED._replace(made=("booked",)), "booked"),
        (Facts(End.TRANSFERRED, ("booked",), 2), "booked"),
        (Facts(End.FAILED, ("moved",), 2), "moved"),
        (Facts(End.DROPPED, ("cancelled",), 2), "cancelled"),
        (Facts(End.LOST, ("booked",)), "booked"),
        (Facts(End.CALLER_HUNG_UP, ("booked",), 0), "booked"),
        (Facts(End.COMPLETED, ("booked",), 1, apologies=3), "booked"),
        # of several, the last
        (TALKED._replace(made=("booked", "cancelled")), "cancelled"),
        (TALKED._replace(made=("cancelled", "booked")), "booked"),
        (TALKED._replace(made=("booked", "moved")), "moved"),
        (TALKED._replace(made=("booked", "cancelled", "booked")), "booked"),
        # endings that say it all
        (Facts(End.TRANSFERRED, answers=2), "transferred"),
        (Facts(End.TRANSFERRED), "transferred"),
        (Facts(End.ABANDONED, connected=False), "abandoned"),
        (Facts(End.REFUSED, connected=False), "failed"),
        (Facts(End.LOST, connected=False), "abandoned"),
        (Facts(End.DROPPED, connected=False), "abandoned"),
        (Facts(End.LOST, answers=2), "failed"),
        (Facts(End.DROPPED, answers=2), "failed"),
        (Facts(End.FAILED, answers=2), "failed"),
        # conversations
        (TALKED, "answered"),
        (Facts(End.CALLER_HUNG_UP, answers=1), "answered"),
        (Facts(End.CALLER_HUNG_UP, answers=1, apologies=2), "answered"),
        (Facts(End.SILENT, answers=1), "answered"),
        (Facts(End.CALLER_HUNG_UP, apologies=1), "failed"),
        (Facts(End.SILENT), "abandoned"),
        (Facts(End.CALLER_HUNG_UP), "abandoned"),
        (Facts(End.COMPLETED), "abandoned"),
    ],
)
def test_what_came_of_it(facts: Facts, outcome: str) -> None:
    assert outcome_of(facts) == outcome


OUTCOMES = {"book": "booked", "move": "moved", "look": ""}


def asked(turn: int, *names: str) -> Called:
    return Called(turn, turn, tuple(ToolCall(f"call_{turn}_{n}", name, "{}") for n, name in enumerate(names)))


def said(turn: int, text: str, state: Playback = Playback.PLAYED, at: float = 1.0, request: int = 1) -> Said:
    return Said(turn, 0, text, request, state, 400.0 if at else 0.0, 900.0, at)


def made(*items: AnyItem) -> tuple[str, ...]:
    return facts_of(items, End.COMPLETED, OUTCOMES).made


def test_only_what_succeeded_counts_and_in_the_order_of_asking() -> None:
    assert made(asked(2, "look", "book", "move"), Returned(2, "call_2_2", "{}", ok=True)) == ("moved",)
    both = (Returned(2, "call_2_1", "{}", ok=True), Returned(2, "call_2_0", "{}", ok=True))
    assert made(asked(2, "book", "move"), *both) == ("booked", "moved")
    assert made(asked(2, "book"), Returned(2, "call_2_0", '{"error": "full"}', ok=False)) == ()
    assert made(asked(2, "book")) == ()
    assert made(asked(2, "look", "end_call"), Returned(2, "call_2_1", "{}", ok=True)) == ()


@pytest.mark.parametrize(
    ("item", "facts"),
    [
        (said(2, "We open at eight."), (1, 0)),
        (said(2, "We open at eight.", Playback.DROPPED), (1, 0)),  # interrupted, and some of it was heard
        (said(2, "We open at eight.", Playback.DROPPED, at=0.0), (0, 0)),
        (said(2, "One moment, please.", request=NOT_THE_MODEL), (0, 0)),
        (said(2, phrases.APOLOGY), (0, 1)),
        (said(1, "Welcome!"), (0, 0)),
    ],
)
def test_an_answer_is_words_of_the_models_that_were_heard(item: Said, facts: tuple[int, int]) -> None:
    turns = [TurnBegan(1, Cause.GREETING, "", 1.0), TurnBegan(2, Cause.SPEECH, "when do you open", 2.0)]
    found = facts_of([*turns, item], End.CALLER_HUNG_UP, {})
    assert (found.answers, found.apologies) == facts
