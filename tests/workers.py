"""The order of the tests, and who runs which with `pytest -n 2 --dist loadscope --no-loadscope-reorder`; a plugin.

Whole calls go one after the other in one worker, and the other has all that is light, which takes a third of the time.
So those that start apps of their own come first: they watch no clock, and both cores are busy then.
"""

from typing import Any

import pytest
from xdist.scheduler import LoadScopeScheduling

_OWN_APPS = (
    "tests/demo/test_demo_whole.py",
    "tests/launcher/test_app.py",
    "tests/chaos/test_deploys.py",
    "tests/whole/test_placements.py",
)
# Faults come last: a broken app mends itself, but slowly, and nothing else is to wait for that.
_ORDER = (*_OWN_APPS, "tests/whole/", "tests/chaos/")


def _turn(node_id: str) -> int:
    """Where a test stands in `_ORDER`; what is light stands behind that."""
    return next((turn for turn, path in enumerate(_ORDER) if node_id.startswith(path)), len(_ORDER))


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Puts them in order."""
    items.sort(key=lambda item: _turn(item.nodeid))


class _WholeCallsTogether(LoadScopeScheduling):
    """All whole calls are one piece of work, and so is each other file."""

    def _split_scope(self, nodeid: str) -> str:
        return "whole calls" if _turn(nodeid) < len(_ORDER) else nodeid.partition("::")[0]


def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> LoadScopeScheduling:
    """Ours."""
    return _WholeCallsTogether(config, log)
