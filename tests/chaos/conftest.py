"""Faults on the app that tests/whole uses: these tests come last, after all others have had it whole.

`CHAOS_TRIALS` (`make chaos` sets it) is how often each fault is tried. What came of it is told in a table at the end,
which `make chaos` also leaves in .trunkline/chaos.md.
"""

import os
from pathlib import Path

import pytest
from rich.console import Console

from tests.chaos.trials import Trials

_HERE = Path(__file__).parent
_KEPT = _HERE.parents[1] / ".trunkline" / "chaos.md"
_WIDTH = 100
_trials = Trials(int(os.environ.get("CHAOS_TRIALS", "1")))


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """A broken app mends itself, but slowly: nothing else is to wait for that."""
    items.sort(key=lambda item: _HERE in item.path.parents)


@pytest.fixture
def trials() -> Trials:
    """How often to try, and where to note what came of it."""
    return _trials


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
