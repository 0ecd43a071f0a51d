"""What the engine may cost and take, and whether it did."""

from collections.abc import Iterator
from dataclasses import dataclass

from bench.results import Stage, Target
from bench.ringing import KEPT, LOOKED_UP

LEG_BUDGETS = {
    "frame to recogniser": (1.0, 10.0),
    "final to request": (5.0, 15.0),
    "sentence to voice": (5.0, 15.0),
    "voice to caller": (1.0, 10.0),
    "interim to clear": (5.0, 15.0),
    "set-up": (50.0, 150.0),
}
"""p50 and p99 in milliseconds, at ten calls at once."""
RINGING_P50 = {KEPT: 2.0, LOOKED_UP: 30.0}
TURN_AT_25 = (15.0, 40.0)
CLEAR_AT_25 = {"split": 8.0, "packed": 3.0}
SLOPE_MS = {"split": 9.0, "packed": 6.0}
FEW = 10
"""Of what is seen less often, nothing is said."""
IDLE_PERCENT, MB_A_CALL = 15.0, 1.5


@dataclass(frozen=True)
class Verdict:
    """One line of the table of budgets."""

    what: str
    unit: str
    value: float | None
    budget: float
    count: int | None = None  # of what was seen; None where the value is no percentile

    @property
    def word(self) -> str:
        """ok, missed, or not measured."""
        if self.value is None:
            return "not measured"
        if self.count is not None and self.count < FEW:
            return f"{self.count} seen, too few"
        return "ok" if self.value <= self.budget else "missed"


def verdicts(target: Target) -> list[Verdict]:
    """What is demanded of this placement of the engine."""
    return [*_costs(target), *_delays(target)]


def _costs(target: Target) -> Iterator[Verdict]:
    if target.name in SLOPE_MS:
        yield Verdict("one more call, CPU", "ms / call-s", target.slope_ms, SLOPE_MS[target.name])
    yield Verdict("idle node", "% of a core", target.idle_percent, IDLE_PERCENT)
    yield Verdict("one more call, memory", "MB", target.mb_a_call, MB_A_CALL)
    fifty = target.stage(50)
    yield Verdict("gaps at 50 calls", "", None if fifty is None else float(fifty.gaps), 0.0)


def _delays(target: Target) -> Iterator[Verdict]:
    idle, ten, many = target.stage(0), target.stage(10), target.stage(25)
    for leg, budget in RINGING_P50.items():
        if idle is not None and leg in idle.legs:
            yield Verdict(f"{leg}, p50", "ms", idle.legs[leg].p50, budget, idle.legs[leg].count)
    for leg, (p50, p99) in LEG_BUDGETS.items():
        yield from _both(ten, leg, f"{leg}, 10 calls", p50, p99)
    yield from _both(many, "added to a turn", "added to a turn, 25 calls", *TURN_AT_25)
    if target.name in CLEAR_AT_25:
        clear = None if many is None else many.legs["interim to clear"]
        p50, count = (None, None) if clear is None else (clear.p50, clear.count)
        yield Verdict("interim to clear, 25 calls, p50", "ms", p50, CLEAR_AT_25[target.name], count)


def _both(stage: Stage | None, leg: str, what: str, p50: float, p99: float) -> Iterator[Verdict]:
    spread = None if stage is None else stage.legs[leg]
    count = None if spread is None else spread.count
    yield Verdict(f"{what}, p50", "ms", None if spread is None else spread.p50, p50, count)
    yield Verdict(f"{what}, p99", "ms", None if spread is None else spread.p99, p99, count)
