"""What a process holds at this moment, told by itself: for whoever looks for something that is left behind."""

import asyncio
import os
from collections import Counter
from pathlib import Path

import msgspec

from engine.actor import running

_OPEN_FILES = Path("/dev/fd")


class Gauges(msgspec.Struct, frozen=True):
    """Numbers that are the same before a call and after it, once the process's pools of connections are full.

    `tasks` are all of the event loop's, by the name of what runs in them; also Ray's and the server's own.
    """

    role: str
    pid: int
    actors: int
    tasks: dict[str, int]
    descriptors: int


def gauges(role: str) -> Gauges:
    """This process's, from inside its event loop."""
    descriptors = len(os.listdir(_OPEN_FILES)) - 1  # one is the look itself
    tasks = Counter(getattr(task.get_coro(), "__qualname__", "?") for task in asyncio.all_tasks())
    return Gauges(role, os.getpid(), len(running()), dict(tasks), descriptors)
