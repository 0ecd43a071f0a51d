"""As many calls as hold: more of them, step by step, until frames are late or a gap is heard."""

from collections.abc import Iterator

from bench.load import Load
from bench.results import FRAME_P99_MS, Climb, Step, percentile

OWN_LAG_MS, OWN_CORE = 50.0, 0.95
"""From here on, what is seen may be the callers' and vendors' own doing."""
MOST_STEPS = 16


def steps_from(first: int, by: int) -> Iterator[int]:
    """Numbers of calls to try."""
    return iter(range(first, first + by * MOST_STEPS, by))


async def climb(load: Load, steps: Iterator[int], window_s: float) -> Climb:
    """Tries each step until one does not hold, twice in a row: one late frame may be somebody else's doing."""
    done: list[Step] = []
    for calls in steps:
        await load.grow(calls)
        step = await _look(load, calls, window_s)
        if step.broken:
            step = await _look(load, calls, window_s)
        done.append(step)
        if step.broken:
            own_fault = (step.own_lag_p99_ms or 0.0) > OWN_LAG_MS or step.own_core > OWN_CORE
            return Climb(done, own_fault)
    return Climb(done, own_fault=False)


async def _look(load: Load, calls: int, window_s: float) -> Step:
    """Whether so many calls hold."""
    seen = load.seen(await load.watch(window_s))
    late = percentile(seen.legs["frame to recogniser"], 0.99)
    lag = percentile(seen.own_lag_ms, 0.99)
    reasons = [
        "" if late <= FRAME_P99_MS else f"p99 of frame delay {late:.0f} ms",  # also where none arrived
        f"{len(seen.gaps)} gaps: {seen.gaps[0]}" if seen.gaps else "",
        f"{len(seen.wrong)} wrong: {seen.wrong[0][:200]}" if seen.wrong else "",
    ]
    broken = "; ".join(reason for reason in reasons if reason)
    return Step(calls, round(late, 1), round(lag, 1), round(seen.own_core, 2), broken)
