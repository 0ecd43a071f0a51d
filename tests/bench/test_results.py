"""What is said of a target follows from its stages."""

from pathlib import Path

import msgspec

from bench.budgets import verdicts
from bench.results import Climb, Run, Spread, Stage, Step, Target, load, spread_of, store

APART = ["postgres"]


def stage(calls: int, core: float, mb: float) -> Stage:
    """A stage of one ingress; Postgres, which is apart, takes three times as much."""
    return Stage(calls, {"ingress": core, "postgres": 3 * core}, {"ingress": mb, "postgres": 3 * mb})


def target(*stages: Stage) -> Target:
    return Target("split", "1", APART, list(stages))


def step(calls: int, broken: str = "") -> Step:
    return Step(calls, 20.0, 1.0, 0.5, broken)


def test_one_more_call_is_the_slope_from_ten_to_fifty_whatever_the_node_costs() -> None:
    found = target(stage(0, 0.15, 1000), stage(1, 0.2, 1001), stage(10, 0.25, 1010), stage(50, 0.61, 1050))
    assert found.slope_ms is not None
    assert round(found.slope_ms, 6) == 9.0
    assert found.mb_a_call == 1.0
    assert found.idle_percent == 15.0
    assert found.calls_of_a_core == 94


def test_without_ten_and_fifty_calls_nothing_is_said_of_one_more() -> None:
    assert target(stage(0, 0.15, 1000), stage(10, 0.25, 1010)).slope_ms is None


def test_calls_that_could_not_be_kept_up_with_say_nothing_of_the_cost_of_one() -> None:
    late = {"frame to recogniser": Spread(80.0, 90.0, 101.0, 1000)}
    swamped = msgspec.structs.replace(stage(50, 1.0, 1090), legs=late)
    found = target(stage(0, 0.0, 1000), stage(10, 0.2, 1010), stage(25, 0.5, 1055), swamped)
    assert found.slope_ms is not None
    assert round(found.slope_ms, 6) == 20.0
    assert found.mb_a_call == 3.0


def test_a_stage_with_a_gap_and_all_after_it_are_not_clean() -> None:
    holed = msgspec.structs.replace(stage(25, 0.5, 1055), gaps=1)
    assert target(stage(0, 0.0, 1000), stage(10, 0.2, 1010), holed, stage(50, 1.0, 1090)).most_clean == 10
    assert target(stage(0, 0.0, 1000)).most_clean == 0


def test_who_holds_not_even_the_first_step_holds_fewer() -> None:
    assert Climb([step(20, "a gap")], own_fault=False).at_least == "fewer than 20"


def test_what_was_not_measured_is_neither_ok_nor_missed() -> None:
    words = {verdict.what: verdict.word for verdict in verdicts(target(stage(0, 0.2, 1000)))}
    assert words["idle node"] == "missed"
    assert words["one more call, CPU"] == "not measured"
    assert "ok" not in words.values()


def test_the_most_calls_that_held_are_at_least_so_many_if_the_callers_gave_out() -> None:
    steps = [step(20), step(24), step(28, "p99 of frame delay 300 ms")]
    assert Climb(steps, own_fault=False).at_least == "24"
    assert Climb(steps, own_fault=True).at_least == "at least 24"
    assert Climb(steps[:2], own_fault=False).at_least == "at least 24"


def test_percentiles_of_nothing_are_nothing() -> None:
    assert spread_of([]) == Spread(None, None, None, 0)
    assert spread_of([float(n) for n in range(100)]) == Spread(50.0, 95.0, 99.0, 100)


def test_a_run_is_read_as_it_was_written(tmp_path: Path) -> None:
    run = Run("25 November 2026", "2 CPUs", target(stage(0, 0.1, 100), stage(10, 0.2, 101)))
    store(run, tmp_path)
    assert load(tmp_path) == [run]
