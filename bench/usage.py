"""What the processes of one tree use: CPU time and memory, by what they are.

A process belongs to the tree if its environment has the tree's mark, which children inherit even when they are
daemons. Linux: /proc.
"""

import os
import re
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

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
    ("ray", re.compile(r"gcs_server|raylet|ray/|ray::|ray-")),
)
NOT_COUNTED = {"postgres", "valkey", "launcher"}
"""Services that a deployment has anyway, and the command that started it all."""


@dataclass(frozen=True)
class Usage:
    """A moment of the tree: CPU seconds so far and memory now (PSS, MB), by role; `pids` by role."""

    at: float
    cpu_s: dict[str, float]
    pss_mb: dict[str, float]
    pids: dict[str, list[int]]


def usage_of(mark: str, at: float, *, memory: bool = False) -> Usage:
    """Reads /proc for the tree with this mark. PSS takes some milliseconds a process, so only when asked."""
    cpu: Counter[str] = Counter()
    pss: Counter[str] = Counter()
    pids: dict[str, list[int]] = {}
    wanted = f"{MARK}={mark}".encode()
    for directory in Path("/proc").glob("[0-9]*"):
        try:
            if wanted not in (directory / "environ").read_bytes().split(b"\0"):
                continue
            command = (directory / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
            role = _role_of(command)
            cpu[role] += _cpu_s(directory)
            pids.setdefault(role, []).append(int(directory.name))
            if memory:
                pss[role] += _pss_mb(directory)
        except OSError:
            continue  # it ended meanwhile
    return Usage(at, dict(cpu), dict(pss), pids)


def _role_of(command: str) -> str:
    return next((role for role, pattern in _ROLES if pattern.search(command)), "other")


def _cpu_s(directory: Path) -> float:
    fields = (directory / "stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / _TICKS_PER_S


def _pss_mb(directory: Path) -> float:
    for line in (directory / "smaps_rollup").read_text().splitlines():
        if line.startswith("Pss:"):
            return int(line.split()[1]) / 1024
    return 0.0
