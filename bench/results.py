"""What a run found, as it is kept in `bench/results/`, a file for each target."""

import itertools
import math
from collections.abc import Iterable
from pathlib import Path

import msgspec

NAMES = ("floor", "split", "packed", "host-per-call", "pipecat")
"""Of targets: the bare relay, the engine in its placements, a peer."""
SLOPE_FROM, SLOPE_TO = 10, 50  # calls; below ten, what a node does anyway hides the cost of one more

FRAME_P99_MS = 100.0
"""From a caller's mouth to the recogniser; who takes longer can't keep up."""

Number = float | None
"""None where there was nothing to measure."""


class Spread(msgspec.Struct, frozen=True):
    """Percentiles of `count` values, in milliseconds."""

    p50: Number
    p95: Number
    p99: Number
    count: int


def percentile(values: Iterable[float], share: float) -> float:
    """The value that this share of values lies below; NaN of none."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))] if ordered else math.nan


def spread_of(values: list[float]) -> Spread:
    """The percentiles of these values."""
    if not values:
        return Spread(None, None, None, 0)
    p50, p95, p99 = (round(percentile(values, share), 2) for share in (0.5, 0.95, 0.99))
    return Spread(p50, p95, p99, len(values))


class Stage(msgspec.Struct, frozen=True):
    """So many calls at once; 0 is the idle node. `cores` and `mb` by role of process; `own_*` are the callers'.

    `examples`: some of the gaps and of what went wrong, in words.
    """

    calls: int
    cores: dict[str, float]
    mb: dict[str, float]
    legs: dict[str, Spread] = {}
    whole_calls: int = 0
    gaps: int = 0
    wrong: int = 0
    examples: list[str] = []
    own_core: float = 0.0
    own_lag: Spread = Spread(None, None, None, 0)
    window_s: float = 0.0

    @property
    def keeps_up(self) -> bool:
        """Whether callers' frames arrived, and in time."""
        frames = self.legs.get("frame to recogniser")
        return frames is None or (frames.p99 is not None and frames.p99 <= FRAME_P99_MS)


class Step(msgspec.Struct, frozen=True):
    """One try at more calls: whether it held, and if not, why."""

    calls: int
    frame_p99_ms: Number
    own_lag_p99_ms: Number
    own_core: float
    broken: str


class Climb(msgspec.Struct, frozen=True):
    """Steps to as many calls as hold. `own_fault`: it ended because callers or vendors could not follow."""

    steps: list[Step]
    own_fault: bool

    @property
    def held(self) -> int:
        """The most calls that held, 0 if not even the first step did."""
        return max((step.calls for step in self.steps if not step.broken), default=0)

    @property
    def at_least(self) -> str:
        """`held` in words: the target may hold more than was tried."""
        last = self.steps[-1] if self.steps else None
        if last is not None and not self.held:
            return f"fewer than {self.steps[0].calls}"
        more = self.own_fault or (last is not None and not last.broken)
        return f"at least {self.held}" if more else str(self.held)


class Target(msgspec.Struct, frozen=True):
    """All that was measured of one target. `apart`: roles whose CPU and memory are not counted as its own."""

    name: str
    version: str
    apart: list[str]
    stages: list[Stage] = []
    shared: Climb | None = None
    one_core: Climb | None = None

    def core(self, stage: Stage) -> float:
        """Cores used by all that is the target's own."""
        return sum(share for role, share in stage.cores.items() if role not in self.apart)

    def mb(self, stage: Stage) -> float:
        """PSS of all that is the target's own."""
        return sum(mb for role, mb in stage.mb.items() if role not in self.apart)

    def stage(self, calls: int) -> Stage | None:
        """The stage with so many calls."""
        return next((stage for stage in self.stages if stage.calls == calls), None)

    def _most(self) -> Stage | None:
        """Where the slope ends: who can't keep up costs no more, however many calls come."""
        kept_up = [one for one in self.stages if SLOPE_FROM < one.calls <= SLOPE_TO and one.keeps_up]
        return kept_up[-1] if kept_up else None

    @property
    def most_clean(self) -> int:
        """The most calls of a stage after which, as in all before it, nothing was to be complained of."""
        clean = itertools.takewhile(lambda one: one.keeps_up and not one.gaps and not one.wrong, self.stages)
        return max((one.calls for one in clean), default=0)

    @property
    def slope_ms(self) -> float | None:
        """CPU of one more call: milliseconds for each second of it."""
        few, many = self.stage(SLOPE_FROM), self._most()
        if few is None or many is None:
            return None
        return 1000 * (self.core(many) - self.core(few)) / (many.calls - few.calls)

    @property
    def mb_a_call(self) -> float | None:
        """PSS of one more call."""
        few, many = self.stage(SLOPE_FROM), self._most()
        return (
            None if few is None or many is None else (self.mb(many) - self.mb(few)) / (many.calls - few.calls)
        )

    @property
    def idle_percent(self) -> float | None:
        """What the node costs with no call, in percent of a core."""
        idle = self.stage(0)
        return None if idle is None else 100 * self.core(idle)

    @property
    def calls_of_a_core(self) -> int | None:
        """How many calls would use up a core, by idle cost and slope."""
        if self.idle_percent is None or not self.slope_ms:
            return None
        return int((1 - self.idle_percent / 100) / (self.slope_ms / 1000))


class Run(msgspec.Struct, frozen=True):
    """One target, when and where it was measured."""

    date: str
    machine: str
    target: Target


def load(directory: Path) -> list[Run]:
    """The runs that are kept there, in the order in which targets are shown."""
    runs = [msgspec.json.decode(path.read_bytes(), type=Run) for path in directory.glob("*.json")]
    return sorted(runs, key=lambda run: NAMES.index(run.target.name))


def store(run: Run, directory: Path) -> None:
    """Writes one run in place of the last of this target, in a form that diffs well."""
    directory.mkdir(parents=True, exist_ok=True)
    text = msgspec.json.format(msgspec.json.encode(run), indent=1) + b"\n"
    (directory / f"{run.target.name}.json").write_bytes(text)
