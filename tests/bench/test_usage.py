"""Whose CPU and memory is counted."""

import os
import subprocess
import sys
from collections.abc import Iterator

import pytest

from bench.usage import MARK, pin, usage_of

CHILD = "import sys; print('up', flush=True); sys.stdin.read()"
# A process whose child has an environment of its own, as Postgres makes itself one.
PARENT = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {CHILD!r}], env={{}})"


@pytest.fixture
def mark() -> Iterator[str]:
    """A marked process with a child that has lost the mark, both running."""
    name = f"test-{os.getpid()}"
    with subprocess.Popen(
        [sys.executable, "-c", PARENT],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env={**os.environ, MARK: name},
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"up\n"
        yield name
        assert process.stdin is not None
        process.stdin.close()


def test_a_child_that_has_lost_its_mark_is_counted_with_its_parent(mark: str) -> None:
    used = usage_of(mark, memory=True)
    assert len(used.processes) == 2
    assert used.mb()["other"] > 1


def test_a_pinned_tree_stays_on_its_cpu(mark: str) -> None:
    cpu = min(os.sched_getaffinity(0))
    assert pin(mark, cpu) >= 2
    assert {frozenset(os.sched_getaffinity(pid)) for pid in usage_of(mark).processes} == {frozenset({cpu})}
