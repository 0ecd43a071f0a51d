"""What callers are told of their bookings is true in every world that a seed makes (`tests.crm.world`)."""

import logging
import os
from collections import Counter
from collections.abc import Iterator

import pytest
import structlog

from tests.crm.spoken import (
    BOOKED,
    CANCELLED,
    MAYBE_BOOKED,
    MAYBE_CANCELLED,
    NOT_BOOKED,
    NOT_CANCELLED,
    lies,
)
from tests.crm.world import outcome_of

SEEDS = int(os.environ.get("ONCE_SEEDS", "250"))  # `make once` tries 10,000


@pytest.fixture
def silent() -> Iterator[None]:
    """Worlds full of faults log them, and nobody reads that."""
    before = structlog.get_config()
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    logging.disable(logging.ERROR)
    yield
    logging.disable(logging.NOTSET)
    structlog.configure(**before)


def test_callers_are_told_the_truth_in_every_world(silent: None, capsys: pytest.CaptureFixture[str]) -> None:
    told: Counter[str] = Counter()
    happened: Counter[str] = Counter()
    for seed in range(SEEDS):
        try:
            outcome = outcome_of(seed)
        except Exception as error:
            pytest.fail(f"seed {seed}: {error!r}; see python -m tests.crm.world {seed}")
        assert not outcome.lies, f"{outcome}; see python -m tests.crm.world {seed}"
        told.update(text for text, _ in outcome.told)
        happened.update(outcome.faults)
    with capsys.disabled():
        if "ONCE_SEEDS" in os.environ:
            print(f"\n{SEEDS} of {SEEDS} simulated calls were told the truth, in {told.total()} answers:")
            for text, count in (told + happened).most_common():
                print(f"  {count:6}  {text}")
    # Were these not in it, it would show nothing.
    assert {BOOKED, NOT_BOOKED, MAYBE_BOOKED, CANCELLED} <= set(told)
    assert len(happened) == 5
    assert told[MAYBE_BOOKED] + told[MAYBE_CANCELLED] < 0.25 * told.total()


def test_a_world_is_the_same_each_time(silent: None) -> None:
    first, second = ([outcome_of(seed) for seed in range(5)] for _ in range(2))
    assert first == second


B, N, MB = (BOOKED, 7), (NOT_BOOKED, 0), (MAYBE_BOOKED, 0)
C, NC, MC = (CANCELLED, 7), (NOT_CANCELLED, 0), (MAYBE_CANCELLED, 0)


@pytest.mark.parametrize(
    ("told", "rows", "true"),
    [
        ([B], {7: True}, True),
        ([B], {}, False),
        ([B], {8: True}, False),
        ([B], {7: False}, False),
        ([B], {7: True, 8: True}, False),
        ([N], {}, True),
        ([N], {7: True}, False),
        ([], {7: True}, False),
        ([MB], {7: True}, True),
        ([MB], {}, True),
        ([MB, N], {7: True}, False),  # a clear word is of all before it
        ([N, MB], {7: True}, True),
        ([MB, B], {7: True, 8: True}, False),
        ([B, C], {7: False}, True),
        ([B, C], {7: True}, False),
        ([B, NC], {7: False}, False),
        ([B, MC], {7: False}, True),
        ([B, MC], {7: True}, True),
        ([B, MC, NC], {7: False}, False),
    ],
)
def test_the_checker_finds_every_lie(told: list[tuple[str, int]], rows: dict[int, bool], true: bool) -> None:
    assert (lies(told, rows) == []) is true
