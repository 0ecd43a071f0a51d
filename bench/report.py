"""What a run found, as tables for a terminal and for Markdown, and as a picture."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.table import Table

from bench.budgets import FEW, verdicts
from bench.call import LEGS
from bench.plot import Series, chart
from bench.results import SLOPE_FROM, Climb, Run, Spread, Stage, Target, load, store
from bench.ringing import LEGS as RINGING

ROOT = Path(__file__).resolve().parent.parent
README, KEPT = ROOT / "bench" / "README.md", ROOT / "bench" / "results"
BEGIN, END = "<!-- measured -->\n", "<!-- /measured -->"
NOTICED = ("added to a turn", "interim to clear")
BUDGETED = ("split", "packed")


@dataclass(frozen=True)
class Sheet:
    """A table: a title, headings, and rows of text."""

    title: str
    head: Sequence[str]
    rows: list[list[str]]

    def markdown(self) -> str:
        """As it stands in a README."""
        lines = [f"**{self.title}**", "", f"| {' | '.join(self.head)} |", "|" + "---|" * len(self.head)]
        return "\n".join([*lines, *(f"| {' | '.join(row)} |" for row in self.rows)])

    def show(self, console: Console) -> None:
        """As it stands in a terminal."""
        table = Table(title=self.title, title_justify="left")
        for place, title in enumerate(self.head):
            table.add_column(title, justify="left" if place == 0 else "right")
        for row in self.rows:
            table.add_row(*row)
        console.print(table)


def sheets(targets: Sequence[Target]) -> list[Sheet]:
    """All tables of these targets."""
    return [
        cost_sheet(targets),
        *budget_sheets(targets),
        *ringing_sheets(targets),
        delay_sheet(targets),
        cpu_sheet(targets),
    ]


def cost_sheet(targets: Sequence[Target]) -> Sheet:
    """A line for each target: what it costs, and how many calls it holds."""
    head = (
        "",
        "idle, % of a core",
        "one more call, ms CPU / call-s",
        "idle, MB",
        "one more call, MB",
        "calls on one core",
        "calls on all cores",
    )
    rows = []
    for target in targets:
        idle = target.stage(0)
        rows.append(
            [
                target.name,
                _figure(target.idle_percent),
                _figure(target.slope_ms),
                _figure(None if idle is None else target.mb(idle), 0),
                _figure(target.mb_a_call, 2),
                _held(target.one_core),
                _held(target.shared),
            ]
        )
    return Sheet("Cost, and calls at once", head, rows)


def budget_sheets(targets: Sequence[Target]) -> list[Sheet]:
    """The engine's budgets, if it was measured: a column for each placement."""
    mine = [target for target in targets if target.name in BUDGETED]
    lines: dict[str, list[str]] = {}
    for place, target in enumerate(mine):
        for verdict in verdicts(target):
            value = f"{_figure(verdict.value)} {verdict.unit}".strip()
            cells = lines.setdefault(verdict.what, [""] * len(mine))
            cells[place] = (
                "not measured"
                if verdict.value is None
                else f"{value}, at most {verdict.budget:g}: {verdict.word}"
            )
    rows = [[what, *cells] for what, cells in lines.items()]
    return [Sheet("Budgets", ("", *(target.name for target in mine)), rows)] if rows else []


def ringing_sheets(targets: Sequence[Target]) -> list[Sheet]:
    """What is waited for while it rings, if it was measured; one call at a time."""
    idle = [(target.name, stage.legs) for target in targets if (stage := target.stage(0)) and stage.legs]
    rows = [[name, *(_spread(legs[leg]) for leg in RINGING)] for name, legs in idle]
    return [Sheet("While it rings", ("ms: p50 / p95 / p99", *RINGING), rows)] if rows else []


def delay_sheet(targets: Sequence[Target]) -> Sheet:
    """A line for each target and number of calls: what callers waited for."""
    head = (
        "added, ms: p50 / p95 / p99",
        "calls at once",
        "watched, s",
        "gaps heard",
        "calls gone wrong",
        *LEGS,
    )
    rows = [
        [
            target.name,
            str(stage.calls),
            f"{stage.window_s:.0f}",
            str(stage.gaps),
            str(stage.wrong),
            *(_spread(stage.legs[leg]) for leg in LEGS),
        ]
        for target, stage in _busy(targets)
    ]
    return Sheet("What callers waited for", head, rows)


def cpu_sheet(targets: Sequence[Target]) -> Sheet:
    """Where the CPU went."""
    head = ("% of a core", "calls at once", "counted", "callers and vendors", "by process")
    rows = [
        [
            target.name,
            str(stage.calls),
            f"{100 * target.core(stage):.1f}",
            f"{100 * stage.own_core:.0f}" if stage.calls else "",
            ", ".join(
                f"{role} {100 * share:.1f}{'*' if role in target.apart else ''}"
                for role, share in sorted(stage.cores.items(), key=lambda item: -item[1])
                if share >= 0.001
            ),
        ]
        for target in targets
        for stage in target.stages
    ]
    return Sheet("CPU (*: not counted)", head, rows)


def _busy(targets: Iterable[Target]) -> Iterable[tuple[Target, Stage]]:
    return ((target, stage) for target in targets for stage in target.stages if stage.calls)


def _figure(value: float | None, places: int = 1) -> str:
    return "" if value is None else f"{value:.{places}f}"


def _held(climb: Climb | None) -> str:
    return "" if climb is None else climb.at_least


def _ends(spread: Spread) -> str:
    return f"{_figure(spread.p50)} / {_figure(spread.p99)}{_few(spread)}" if spread.count else ""


def _spread(spread: Spread) -> str:
    if not spread.count:
        return ""
    return " / ".join(_figure(value) for value in (spread.p50, spread.p95, spread.p99)) + _few(spread)


def _few(spread: Spread) -> str:
    return f" (of {spread.count})" if spread.count < FEW else ""


def show(console: Console, targets: Sequence[Target]) -> None:
    """Prints all that was found."""
    for sheet in sheets(targets):
        sheet.show(console)
    for target in targets:
        for where, climb in (("all cores", target.shared), ("one core", target.one_core)):
            if climb is not None:
                _show_climb(console, f"{target.name}, {where}", climb)
        for stage in target.stages:
            for wrong in stage.examples:
                console.print(f"{target.name}, {stage.calls} calls: {wrong[:300]}", style="red", markup=False)


def _show_climb(console: Console, title: str, climb: Climb) -> None:
    for step in climb.steps:
        console.print(
            f"{title}: {step.calls} calls: p99 of frame delay {step.frame_p99_ms} ms; callers' own lag "
            f"{step.own_lag_p99_ms} ms, {100 * step.own_core:.0f} % of a core. {step.broken or 'Holds.'}",
            markup=False,
            highlight=False,
        )


def picture(targets: Sequence[Target]) -> str:
    """CPU against calls at once, as SVG."""
    lines = [
        Series(target.name, [(stage.calls, 100 * target.core(stage)) for stage in target.stages])
        for target in targets
        if len(target.stages) > 2
    ]
    return chart("What calls cost, all processes counted", "calls at once", "% of a core", lines)


def markdown(runs: Sequence[Run]) -> str:
    """All runs in one text: when and where, tables, the picture."""
    if not runs:
        return "\nNothing is kept: `make bench WRITE=1`.\n\n"
    parts = [
        "\n".join(f"- {run.target.name}: {run.target.version}; {run.date}, {run.machine}" for run in runs)
    ]
    parts += [sheet.markdown() for sheet in sheets([run.target for run in runs])]
    parts.append("![CPU against calls at once](results/cpu.svg)")
    return "\n" + "\n\n".join(parts) + "\n\n"


def summary(runs: Sequence[Run]) -> str:
    """What the project's README says: the first table, and what callers waited for in the engine."""
    targets = [run.target for run in runs]
    where = dict.fromkeys(f"{run.machine}, {run.date}" for run in runs)
    versions = dict.fromkeys(f"{run.target.name} {run.target.version}" for run in runs)
    parts = [
        f"{'; '.join(where)} ({'; '.join(versions)}):",
        cost_sheet(targets).markdown(),
        wait_sheet(targets).markdown(),
    ]
    return "\n" + "\n\n".join(parts) + "\n\n"


def wait_sheet(targets: Sequence[Target]) -> Sheet:
    """What a caller notices, in few figures."""
    head = ("ms: p50 / p99", "calls at once", "added to a turn", "interruption to clear", "gaps heard")
    rows = [
        [target.name, str(stage.calls), *(_ends(stage.legs[leg]) for leg in NOTICED), str(stage.gaps)]
        for target, stage in _busy(targets)
        if stage.calls >= SLOPE_FROM
    ]
    return Sheet("What callers notice", head, rows)


def with_results(text: str, results: str) -> str:
    """A file's text with what was measured between its marks. Raises ValueError without marks."""
    head, _, rest = text.partition(BEGIN)
    _, found, tail = rest.partition(END)
    if not found:
        raise ValueError("there are no <!-- measured --> marks: put them where the results belong")
    return f"{head}{BEGIN}{results}{END}{tail}"


def written(runs: Sequence[Run]) -> dict[Path, str]:
    """The files that say what was measured, and what they have to say."""
    return {
        KEPT / "cpu.svg": picture([run.target for run in runs]),
        README: with_results(README.read_text(), markdown(runs)),
        ROOT / "README.md": with_results((ROOT / "README.md").read_text(), summary(runs)),
    }


def keep(runs: Sequence[Run]) -> None:
    """Puts these runs in the place of earlier ones: figures, picture, both READMEs."""
    for run in runs:
        store(run, KEPT)
    for path, text in written(load(KEPT)).items():
        path.write_text(text)


if __name__ == "__main__":
    keep([])
