"""Time as an input: the running event loop's clock, real or virtual.

Actors ask `now` and `wall` and set timers on the loop, so the same code runs in real time and under a
`VirtualLoop`, where a minute of conversation passes in milliseconds and always the same way.
"""

import asyncio
import selectors
import time
from collections.abc import Awaitable, Coroutine, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

T = TypeVar("T")

EARLY_S = 0.005  # a timer may ring this much before its time: loops count in milliseconds, or round
VIRTUAL_START_AT = 1_700_000_000.0  # any fixed wall time: a run must not depend on the day


def now() -> float:
    """Seconds on the loop's monotonic clock."""
    return asyncio.get_running_loop().time()


def wall() -> float:
    """Seconds since the Unix epoch."""
    loop = asyncio.get_running_loop()
    return loop.wall() if isinstance(loop, VirtualLoop) else time.time()


async def outside(work: Awaitable[T]) -> T:
    """Awaits something that a virtual clock can't drive (a socket): virtual time stands still meanwhile."""
    loop = asyncio.get_running_loop()
    if not isinstance(loop, VirtualLoop):
        return await work
    with loop.held():
        return await work


class _JumpingSelector(selectors.DefaultSelector):
    """Where the loop would sleep until its next timer, time jumps there instead."""

    loop: "VirtualLoop"

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        ready = super().select(0)
        if ready or timeout == 0:
            return ready
        if self.loop.holding:
            return super().select(5.0)
        if timeout is None:
            raise RuntimeError(
                "virtual time stands still: every task waits for something that no timer will bring"
            )
        self.loop.jump(timeout)
        return ready


class VirtualLoop(asyncio.SelectorEventLoop):
    """An event loop whose time passes only when nothing can run."""

    def __init__(self, wall_start: float = VIRTUAL_START_AT) -> None:
        self._virtual_s = 0.0
        self._wall_start = wall_start
        self.holding = 0
        selector = _JumpingSelector()
        selector.loop = self
        super().__init__(selector)

    def time(self) -> float:
        return self._virtual_s

    def wall(self) -> float:
        return self._wall_start + self._virtual_s

    def jump(self, seconds: float) -> None:
        """Moves time on by `seconds`."""
        self._virtual_s += max(seconds, 1e-9)

    async def shutdown_default_executor(self, timeout: float | None = None) -> None:
        with self.held():  # its threads are real
            await super().shutdown_default_executor()

    @contextmanager
    def held(self) -> Iterator[None]:
        """Time stands still inside: for real input and output."""
        self.holding += 1
        try:
            yield
        finally:
            self.holding -= 1


def run_virtual(work: Coroutine[Any, Any, T], wall_start: float = VIRTUAL_START_AT) -> T:
    """Runs `work` on a virtual clock and returns its result. Raises RuntimeError when all tasks wait for ever."""
    with asyncio.Runner(loop_factory=lambda: VirtualLoop(wall_start)) as runner:
        return runner.run(work)
