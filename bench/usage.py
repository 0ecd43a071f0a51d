"""What the processes of one tree use: CPU time and memory, by what they are.

A process belongs to the tree if its environment has the tree's mark, which children inherit even when they are
daemons, or if its parent belongs. Linux: /proc.
"""

import contextlib
import os
import re
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from time import monotonic

MARK = "TRUNKLINE_BENCH_TREE"
_TICKS_PER_S = os.sysconf("SC_CLK_TCK")
_ROLES = (
    ("ingress", re.compile(r"ray::ServeReplica:.*Ingress|bench\.floor")),
    ("tools", re.compile(r"ray::ServeReplica:.*ToolActor")),
    ("hosts", re.compile(r"ray::(CallHost|RayHost)")),
    ("haproxy", re.compile(r"haproxy -|/haproxy ")),
    ("serve controller", re.compile(r"ray::ServeController")),
    ("serve proxy", re.compile(r"ray::.*(Proxy)")),
    ("postgres", re.compile(r"postgres")),
    ("valkey", re.compile(r"valkey")),
    ("launcher", re.compile(r"bench\.node")),
    ("peer", re.compile(r"bench/peers/")),
    ("ray", re.compile(r"gcs_server|raylet|ray/|ray::|ray-")),
)
APART = ["postgres", "valkey", "launcher"]
"""Not counted as the engine's: services that a deployment has anyway, and the command that started it all."""


@dataclass(frozen=True)
class Usage:
    """A moment of the tree: by process, its role, its CPU seconds so far and, if asked for, its memory (PSS, MB)."""

    at: float
    processes: dict[int, tuple[str, float, float]]

    def mb(self) -> dict[str, float]:
        """Memory by role."""
        found: defaultdict[str, float] = defaultdict(float)
        for role, _, mb in self.processes.values():
            found[role] += mb
        return {role: round(mb, 1) for role, mb in found.items()}

    def cores_since(self, before: "Usage") -> dict[str, float]:
        """Cores used between two moments, by role; of a process that ended in between, nothing is known."""
        found: defaultdict[str, float] = defaultdict(float)
        for pid, (role, cpu_s, _) in self.processes.items():
            found[role] += cpu_s - before.processes.get(pid, ("", 0.0, 0.0))[1]
        return {role: round(cpu_s / (self.at - before.at), 4) for role, cpu_s in found.items()}


def usage_of(mark: str, *, memory: bool = False) -> Usage:
    """Reads /proc for the tree with this mark. PSS takes some milliseconds a process, so only when asked."""
    at = monotonic()
    processes = {}
    for directory in _tree(mark):
        with contextlib.suppress(OSError):  # it ended meanwhile
            command = (directory / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
            mb = _pss_mb(directory) if memory else 0.0
            processes[int(directory.name)] = (_role_of(command), _cpu_s(directory), mb)
    return Usage(at, processes)


def pin(mark: str, cpu: int) -> int:
    """Keeps every thread of the tree on one CPU; what they start inherits it. Returns how many threads."""
    return sum(_pin(directory, {cpu}) for directory in _tree(mark))


@contextlib.contextmanager
def pinned_here(cpu: int) -> Iterator[None]:
    """Keeps this process on one CPU."""
    everywhere = os.sched_getaffinity(0)
    here = Path("/proc/self")
    _pin(here, {cpu})
    try:
        yield
    finally:
        _pin(here, everywhere)


def _pin(directory: Path, cpus: set[int]) -> int:
    count = 0
    for task in (directory / "task").glob("[0-9]*"):
        with contextlib.suppress(OSError):  # the thread ended meanwhile
            os.sched_setaffinity(int(task.name), cpus)
            count += 1
    return count


def _tree(mark: str) -> list[Path]:
    """The processes that carry the mark, and what descends from them: Postgres and Valkey write over theirs."""
    wanted = f"{MARK}={mark}".encode()
    parents: dict[int, int] = {}
    mine: set[int] = set()
    for directory in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):  # it ended meanwhile
            parents[int(directory.name)] = int(_stat(directory)[1])
            if wanted in (directory / "environ").read_bytes().split(b"\0"):
                mine.add(int(directory.name))
    for pid in parents:
        line = [pid]
        while line[-1] in parents and line[-1] not in mine:
            line.append(parents[line[-1]])
        if line[-1] in mine:
            mine.update(line)
    return [Path("/proc") / str(pid) for pid in sorted(mine)]


def _stat(directory: Path) -> list[str]:
    """The fields of /proc/PID/stat from the third on: the name before them may hold anything."""
    return (directory / "stat").read_text().rpartition(")")[2].split()


def _role_of(command: str) -> str:
    return next((role for role, pattern in _ROLES if pattern.search(command)), "other")


def _cpu_s(directory: Path) -> float:
    fields = _stat(directory)
    return (int(fields[11]) + int(fields[12])) / _TICKS_PER_S


def _pss_mb(directory: Path) -> float:
    for line in (directory / "smaps_rollup").read_text().splitlines():
        if line.startswith("Pss:"):
            return int(line.split()[1]) / 1024
    return 0.0
