"""The order of the tests, and who runs which with `pytest -n 2 --dist loadscope --no-loadscope-reorder`; a plugin.

Whole calls go one after the other in one worker; the other has the demos, which wait for most of their time, and then
all that is light, together two thirds of the time. So in the first one those come first that watch no clock.
"""

from typing import Any

import pytest
from xdist.scheduler import LoadScopeScheduling

_BESIDE = (
    "tests/demo/test_demo_whole.py",
    "tests/launcher/test_app.py",
)  # apps of their own, alone in one call
_WHOLE = (
    # Apps of their own.
    "tests/chaos/test_deploys.py",
    "tests/whole/test_placements.py",
    # These watch no clock that a busy machine would put back.
    "tests/whole/test_ends.py",
    "tests/whole/test_doors.py",
    "tests/whole/test_tools_of_a_call.py",
    "tests/whole/test_doctor_whole.py",
    "tests/chaos/test_stores_away.py",
    "tests/chaos/test_slots.py",
    # Faults come last: a broken app mends itself, but slowly, and nothing else is to wait for that.
    "tests/whole/",
    "tests/chaos/",
)
_ORDER = (*_WHOLE, *_BESIDE)


def _turn(node_id: str) -> int:
    """Where a test stands in `_ORDER`; what is light stands behind that."""
    return next((turn for turn, path in enumerate(_ORDER) if node_id.startswith(path)), len(_ORDER))


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Puts them in order."""
    items.sort(key=lambda item: _turn(item.nodeid))


class _WholeCallsTogether(LoadScopeScheduling):
    """All whole calls are one piece of work, and so is each other file."""

    def _split_scope(self, nodeid: str) -> str:
        return "whole calls" if _turn(nodeid) < len(_WHOLE) else nodeid.partition("::")[0]


def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> LoadScopeScheduling:
    """Ours."""
    return _WholeCallsTogether(config, log)
