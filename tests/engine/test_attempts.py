"""How often the model is asked for one reply, and how long its caller waits."""

import random

import pytest

from engine.attempts import Again, Attempts, Patience
from engine.messages import Failure, Others, Trouble

PATIENCE = Patience(budget_s=5.0, reply_s=30.0, first_token_s=2.0, pause_s=0.4, most=4)


class _Highest(random.Random):
    def uniform(self, a: float, b: float) -> float:
        return b


def begun(patience: Patience = PATIENCE) -> Attempts:
    return Attempts(patience, 0.0, _Highest())


def after(
    trouble: Trouble, others: Others, *, at_s: float = 0.0, broke: bool = False, **more: object
) -> Again | None:
    failure = Failure(trouble, "first", others=others, **more)  # type: ignore[arg-type]
    return begun().failed(at_s, failure, broke=broke)


HERE, THERE, LATER_THERE = Again(0.4, False), Again(0.0, True), Again(0.4, True)
TABLE = [
    (Trouble.PASSING, HERE, HERE, HERE),
    (Trouble.SLOW, THERE, LATER_THERE, LATER_THERE),
    (Trouble.FOR_GOOD, THERE, LATER_THERE, None),
    (Trouble.UNFIT, THERE, LATER_THERE, None),
]


@pytest.mark.parametrize(("trouble", "well", "resting", "none"), TABLE)
def test_what_went_wrong_and_who_else_is_there_decide_what_comes_next(
    trouble: Trouble, well: Again, resting: Again, none: Again | None
) -> None:
    assert after(trouble, Others.WELL) == well
    assert after(trouble, Others.RESTING) == resting
    assert after(trouble, Others.NONE) == none


@pytest.mark.parametrize("why", [{"broke": True}, {"given_up": True}, {"wait_s": 30.0}])
def test_a_passing_trouble_is_left_when_it_broke_a_reply_off_or_will_not_pass_soon(
    why: dict[str, float],
) -> None:
    assert after(Trouble.PASSING, Others.WELL, **why) == THERE  # type: ignore[arg-type]


def test_a_vendor_that_wants_to_be_left_alone_is_until_then_if_there_is_time() -> None:
    assert after(Trouble.PASSING, Others.NONE, wait_s=1.5) == Again(1.5, False)
    assert after(Trouble.PASSING, Others.NONE, wait_s=4.1) is None


def test_pauses_double() -> None:
    attempts = begun()
    pauses = [attempts.failed(0.0, Failure(), broke=False) for _ in range(4)]
    assert pauses == [Again(0.4, False), Again(0.8, False), Again(1.6, False), None]


def test_pauses_are_spread_by_chance_but_never_under_half() -> None:
    pauses = {
        again.pause_s
        for seed in range(200)
        if (again := Attempts(PATIENCE, 0.0, random.Random(seed)).failed(0.0, Failure(), broke=False))
    }
    assert 0.2 <= min(pauses) < 0.25
    assert 0.35 < max(pauses) <= 0.4


def test_no_attempt_begins_that_could_bring_nothing_in_time() -> None:
    assert after(Trouble.SLOW, Others.WELL, at_s=4.0) == THERE
    assert after(Trouble.SLOW, Others.WELL, at_s=4.01) is None
    assert after(Trouble.PASSING, Others.NONE, at_s=3.61) is None  # but for its pause


def test_each_sentence_gives_the_next_one_its_time() -> None:
    attempts = begun()
    assert attempts.due_s == 5.0
    attempts.told(3.0)
    assert attempts.due_s == 8.0


def test_a_reply_that_breaks_off_has_its_time_from_then_and_once() -> None:
    attempts = begun()
    attempts.told(1.0)
    attempts.failed(4.0, Failure(), broke=True)
    assert attempts.due_s == 9.0
    attempts.failed(7.0, Failure(), broke=False)
    assert attempts.due_s == 9.0


def test_a_reply_is_over_at_its_limit_whatever_it_still_says() -> None:
    attempts = begun()
    attempts.told(29.0)
    assert attempts.due_s == 30.0
    assert attempts.failed(29.5, Failure(others=Others.WELL), broke=True) is None
