"""Figures of stages, as tables that people read and as JSON."""

from dataclasses import dataclass, field
from typing import Any

from rich.console import Console
from rich.table import Table

from bench.load import LEGS, Measured
from bench.usage import NOT_COUNTED, Usage

SLOPE_FROM = 10  # calls; below, what a node does anyway hides the cost of one more


@dataclass
class Stage:
    """One target with one number of calls; `calls` 0 is the idle node."""

    target: str
    calls: int
    first: Usage
    last: Usage
    measured: Measured = field(default_factory=Measured)

    @property
    def cores(self) -> dict[str, float]:
        """Cores used, by role."""
        seconds = self.last.at - self.first.at
        return {
            role: (spent - self.first.cpu_s.get(role, 0.0)) / seconds
            for role, spent in self.last.cpu_s.items()
        }

    @property
    def counted_cores(self) -> float:
        """Cores used by all that is the target's own."""
        return sum(share for role, share in self.cores.items() if role not in NOT_COUNTED)

    @property
    def counted_mb(self) -> float:
        """PSS of all that is the target's own."""
        return sum(mb for role, mb in self.last.pss_mb.items() if role not in NOT_COUNTED)


def percentile(values: list[float], share: float) -> float:
    """The value that this share of values lies below; NaN of none."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))] if ordered else float("nan")


def slope_ms(stages: list[Stage]) -> float | None:
    """CPU of one more call, in milliseconds for each second of it, between the smallest stage of at least ten
    calls and the largest."""
    found = sorted((s for s in stages if s.calls >= SLOPE_FROM), key=lambda s: s.calls)
    if len(found) < 2:
        return None
    few, many = found[0], found[-1]
    return 1000 * (many.counted_cores - few.counted_cores) / (many.calls - few.calls)


def show(console: Console, stages: list[Stage]) -> None:
    """All stages of one target."""
    name = stages[0].target
    costs = Table(title=f"{name}: cost", title_justify="left")
    for title in (
        "calls",
        "% of a core",
        "ms / call-s",
        "MB (PSS)",
        "gaps",
        "whole calls",
        "where the CPU went, %",
    ):
        costs.add_column(title, justify="right" if title != "where the CPU went, %" else "left")
    for stage in stages:
        cores = sorted(stage.cores.items(), key=lambda item: -item[1])
        costs.add_row(
            str(stage.calls) if stage.calls else "idle",
            f"{100 * stage.counted_cores:.1f}",
            f"{1000 * stage.counted_cores / stage.calls:.1f}" if stage.calls else "",
            f"{stage.counted_mb:.0f}",
            str(stage.measured.gaps) if stage.calls else "",
            str(stage.measured.calls) if stage.calls else "",
            ", ".join(f"{role} {100 * share:.1f}" for role, share in cores if share >= 0.005),
        )
    console.print(costs)
    slope = slope_ms(stages)
    if slope is not None:
        console.print(f"{name}: one more call costs {slope:.1f} ms of CPU a call-second.\n")
    times = Table(title=f"{name}: added, ms, p50 / p95 / p99", title_justify="left")
    times.add_column("calls", justify="right")
    for leg in LEGS:
        times.add_column(leg, justify="right")
    for stage in stages:
        if stage.calls:
            times.add_row(str(stage.calls), *(_of(stage.measured.legs[leg]) for leg in LEGS))
    console.print(times)
    for stage in stages:
        for wrong in stage.measured.wrong[:5]:
            console.print(f"[red]{stage.calls} calls: {wrong[:300]}[/red]", highlight=False)
        if stage.measured.stalls:
            console.print(
                f"{stage.calls} calls: the callers themselves were late {stage.measured.stalls} times"
            )


def _of(values: list[float]) -> str:
    return " / ".join(f"{percentile(values, share):.1f}" for share in (0.5, 0.95, 0.99))


def as_json(stages: list[Stage]) -> list[dict[str, Any]]:
    """The same as plain data."""
    return [
        {
            "target": stage.target,
            "calls": stage.calls,
            "cores": stage.counted_cores,
            "cores_by_role": stage.cores,
            "pss_mb": stage.last.pss_mb,
            "gaps": stage.measured.gaps,
            "whole_calls": stage.measured.calls,
            "wrong": stage.measured.wrong,
            "legs_ms": {
                leg: {f"p{100 * share:g}": percentile(values, share) for share in (0.5, 0.95, 0.99)}
                for leg, values in stage.measured.legs.items()
                if values
            },
        }
        for stage in stages
    ]
