"""What each process of one tree holds, seen from outside: memory, descriptors, sockets. Linux: /proc.

A process belongs to the tree if its environment, as it was started with, has the tree's mark in it.
"""

import contextlib
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from bench.usage import _role_of as role_of


@dataclass(frozen=True)
class Process:
    """One process now. `memory_kb` is what it alone has written to: no file's pages, no shared ones."""

    pid: int
    role: str
    memory_kb: int
    descriptors: int
    sockets: int


def processes_of(mark: str) -> dict[int, Process]:
    """The processes of the tree that can be looked into, by pid."""
    return {process.pid: process for process in _processes(mark.encode())}


def _processes(mark: bytes) -> Iterator[Process]:
    for directory in Path("/proc").glob("[0-9]*"):
        try:
            if mark not in (directory / "environ").read_bytes():
                continue
            command = (directory / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
            status = dict(line.split(":", 1) for line in (directory / "status").read_text().splitlines())
            links = _links(directory / "fd")
            yield Process(
                int(directory.name),
                role_of(command),
                int(status["RssAnon"].split()[0]),
                len(links),
                sum(link.startswith("socket:") for link in links),
            )
        except (OSError, KeyError):  # it ended meanwhile: a zombie has no memory
            continue


def _links(descriptors: Path) -> list[str]:
    links = []
    for one in descriptors.iterdir():
        with contextlib.suppress(FileNotFoundError):  # closed meanwhile
            links.append(os.readlink(one))
    return links
