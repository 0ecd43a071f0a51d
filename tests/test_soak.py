"""What `make soak` calls a leak."""

from bench.held import Process
from bench.soak import histories, went


def rounds(*memory_mb: dict[int, float]) -> list[dict[int, Process]]:
    """What processes were in each round, by pid."""
    return [
        {pid: Process(pid, "hosts", int(mb * 1024), 0, 0) for pid, mb in one.items()} for one in memory_mb
    ]


def test_a_process_leaks_that_ends_more_than_two_percent_above_its_first_round() -> None:
    grows, breathes, is_small = histories(
        rounds({1: 100, 2: 100, 3: 10}, {1: 101, 2: 104, 3: 10.5}, {1: 102.1, 2: 101.9, 3: 10.9})
    )
    assert grows.leaks
    assert not breathes.leaks
    assert not is_small.leaks, "less than what an allocator may keep at any time"


def test_a_small_process_leaks_too() -> None:
    [one] = histories(rounds({1: 10}, {1: 11.1}))
    assert one.leaks


def test_a_process_that_came_later_is_held_to_its_own_first_round_and_one_that_went_is_named() -> None:
    seen = rounds({1: 100}, {1: 150, 2: 80}, {2: 80.5})
    [came] = histories(seen)
    assert went(seen) == ["hosts"]
    assert came.pid == 2
    assert came.memory_kb == (80 * 1024, int(80.5 * 1024))
    assert not came.leaks
