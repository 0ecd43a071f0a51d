"""What a chat server saw of its clients: for test benches, which look at the server's side of a call."""

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any


class Outcome(StrEnum):
    """How an exchange ended."""

    RUNNING = "running"
    DONE = "done"
    LEFT = "left"  # the client closed the connection before the end
    REFUSED = "refused"
    CUT = "cut"


@dataclass
class Exchange:
    """One request and what became of it. `arrived_at` is Unix time; `first_s`, `ended_s` count from then."""

    request: dict[str, Any]
    arrived_at: float
    outcome: Outcome = Outcome.RUNNING
    first_s: float | None = None
    ended_s: float | None = None
    text: str = ""
    calls: list[str] = field(default_factory=list)
    started: float = field(default_factory=time.monotonic, repr=False)


class Record:
    """Remembers requests, for a test bench. Keeps what callers said, so the product runs without one."""

    def __init__(self) -> None:
        self.exchanges: list[Exchange] = []
        self._changed = asyncio.Event()

    def changed(self) -> None:
        """Wakes everyone in `until`."""
        self._changed.set()
        self._changed = asyncio.Event()

    async def until(self, condition: Callable[[list[Exchange]], bool], timeout_s: float = 10.0) -> None:
        """Waits for exchanges that satisfy `condition`. Raises `TimeoutError`."""
        async with asyncio.timeout(timeout_s):
            while not condition(self.exchanges):
                await self._changed.wait()

    def as_json(self) -> list[dict[str, Any]]:
        """The exchanges as plain data."""
        names = ("request", "arrived_at", "outcome", "first_s", "ended_s", "text", "calls")
        return [{name: getattr(exchange, name) for name in names} for exchange in self.exchanges]
