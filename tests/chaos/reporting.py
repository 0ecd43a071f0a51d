"""What came of the faults, told in a table when all tests are over; a pytest plugin.

`CHAOS_TRIALS` (`make chaos` sets it) is how often each fault is tried; the table is then also left in
.trunkline/chaos.md. With several workers (pytest-xdist), each sends what it noted to the one that tells.
"""

import os
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from tests.chaos.trials import Row, Trials

_KEPT = Path(__file__).parents[2] / ".trunkline" / "chaos.md"
_WIDTH = 100
_SENT = "trials"
_trials = Trials(int(os.environ.get("CHAOS_TRIALS", "1")))


@pytest.fixture
def trials() -> Trials:
    """How often to try, and where to note what came of it."""
    return _trials


def pytest_sessionfinish(session: pytest.Session) -> None:
    """A worker sends what it has."""
    output: dict[str, Any] | None = getattr(session.config, "workeroutput", None)
    if output is not None:
        output[_SENT] = {fault: asdict(row) for fault, row in _trials.rows.items()}


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any) -> None:
    """What a worker has sent; one that crashed sends nothing."""
    sent: dict[str, dict[str, Any]] = getattr(node, "workeroutput", {}).get(_SENT, {})
    _trials.rows.update({fault: Row(**row) for fault, row in sent.items()})


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """The table, of what was measured and nothing else."""
    if not _trials.rows:
        return
    console = Console(width=_WIDTH)
    with console.capture() as capture:
        console.print(_trials.table())
    terminalreporter.write(f"\n{capture.get()}")
    if "CHAOS_TRIALS" in os.environ:
        _KEPT.parent.mkdir(exist_ok=True)
        _KEPT.write_text(_trials.markdown())
        terminalreporter.write(f"The same is in {_KEPT}.\n")
