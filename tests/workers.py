"""The order of the tests, and who runs which with `pytest -n 2 --dist loadscope --no-loadscope-reorder`; a plugin.

Calls through the app that tests share go one after the other in one worker. The other one begins with what starts apps
of its own, and then has all that is light. So both cores are busy at first, and what watches a clock comes later.
"""

from typing import Any

import pytest
from xdist.scheduler import LoadScopeScheduling

_OWN_APPS = (
    "tests/demo/test_demo_whole.py",
    "tests/launcher/test_app.py",
    "tests/chaos/test_deploys.py",
)
_WATCH_A_CLOCK = (
    "tests/whole/test_added_delay.py",
    "tests/whole/test_fifty.py",
    "tests/whole/test_flood.py",
)
# Faults come last: a broken app mends itself, but slowly, and nothing else is to wait for that.
_PLACES = (
    _OWN_APPS,
    ("tests/whole/test_placements.py",),
    ("tests/whole/",),
    _WATCH_A_CLOCK,
    ("tests/chaos/",),
)
_NAMED = {path: place for place, paths in enumerate(_PLACES) for path in paths}


def _place(node_id: str) -> int:
    """Where a test stands in `_PLACES`, by the longest path that it begins with; what is light stands behind that."""
    paths = [path for path in _NAMED if node_id.startswith(path)]
    return _NAMED[max(paths, key=len)] if paths else len(_PLACES)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Puts them in order."""
    items.sort(key=lambda item: _place(item.nodeid))


class _WholeCallsTogether(LoadScopeScheduling):
    """Apps of their own are one piece of work, calls through the shared one another, and so is each other file."""

    def _split_scope(self, nodeid: str) -> str:
        place = _place(nodeid)
        if place == len(_PLACES):
            return nodeid.partition("::")[0]
        return "whole calls" if place else "own apps"


def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> LoadScopeScheduling:
    """Ours."""
    return _WholeCallsTogether(config, log)
