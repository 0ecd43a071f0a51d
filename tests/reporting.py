"""What the tests of faults measured, told in tables when all tests are over; a pytest plugin.

`make chaos` and `make faults` set CHAOS_TRIALS and FAULT_TRIALS, how often each fault is tried; the table is then also
left in .trunkline/. With several workers (pytest-xdist), each sends what it noted to the one that tells.
"""

import os
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from tests.chaos.trials import Row, Trials
from tests.faults.figures import Figure, Figures

_KEPT = Path(__file__).parents[1] / ".trunkline"
_WIDTH = 110
_trials = Trials(int(os.environ.get("CHAOS_TRIALS", "1")))
_figures = Figures(int(os.environ.get("FAULT_TRIALS", "1")))


@pytest.fixture
def trials() -> Trials:
    """How often to kill, and where to note what came of it."""
    return _trials


@pytest.fixture
def figures() -> Figures:
    """How often to try a fault of a vendor's, and where to note what was measured."""
    return _figures


def pytest_sessionfinish(session: pytest.Session) -> None:
    """A worker sends what it has."""
    output: dict[str, Any] | None = getattr(session.config, "workeroutput", None)
    if output is not None:
        output["trials"] = {fault: asdict(row) for fault, row in _trials.rows.items()}
        output["figures"] = {fault: asdict(row) for fault, row in _figures.rows.items()}


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any) -> None:
    """What a worker has sent; one that crashed sends nothing."""
    sent: dict[str, Any] = getattr(node, "workeroutput", {})
    _trials.rows.update({fault: Row(**row) for fault, row in sent.get("trials", {}).items()})
    _figures.rows.update({fault: Figure(**row) for fault, row in sent.get("figures", {}).items()})


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """The tables, of what was measured and nothing else."""
    for told, name, asked in ((_trials, "chaos.md", "CHAOS_TRIALS"), (_figures, "faults.md", "FAULT_TRIALS")):
        if not told.rows:
            continue
        console = Console(width=_WIDTH)
        with console.capture() as capture:
            console.print(told.table())
        terminalreporter.write(f"\n{capture.get()}")
        if asked in os.environ:
            _KEPT.mkdir(exist_ok=True)
            (_KEPT / name).write_text(told.markdown())
            terminalreporter.write(f"The same is in {_KEPT / name}.\n")
