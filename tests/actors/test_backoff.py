"""Pauses before a vendor is tried again."""

import pytest

from actors.backoff import back_off_s

STEPS_S = (0.1, 1.0)


@pytest.mark.parametrize(("attempt", "step_s"), [(0, 0.1), (1, 1.0), (2, 1.0), (1000, 1.0)])
def test_pauses_grow_to_the_last_step_and_stay_there(attempt: int, step_s: float) -> None:
    pauses_s = [back_off_s(STEPS_S, attempt) for _ in range(100)]
    assert all(0.8 * step_s <= pause_s <= 1.2 * step_s for pause_s in pauses_s)


def test_calls_that_lost_the_vendor_together_come_back_one_by_one() -> None:
    pauses_s = [back_off_s(STEPS_S, 1) for _ in range(100)]
    assert max(pauses_s) - min(pauses_s) > 0.2
