"""Whether a server can be reached: told by those who ask it, and while it is away found out by one look at a time.

Without, each write of a call would wait for its whole deadline as long as Redis hangs, several times in each turn. So
the first one that is not answered in time makes the server `away`, and from then on nobody waits: writes fail at once,
and looks go out until one is answered in time.

A server that answers, but later than a write may wait, is away for writes and not `silent`: webhooks, which can wait
longer, are answered by it.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable

from engine.clock import now
from engine.telemetry import count

log = logging.getLogger("engine.reach")


class Reach:
    """What a process knows of one server. `look` asks it, and raises one of `errors` if it is away."""

    def __init__(
        self,
        name: str,
        look: Callable[[], Awaitable[None]],
        errors: tuple[type[Exception], ...],
        *,
        in_time_s: float,
        silent_s: float,
        pause_s: float,
    ) -> None:
        """A look that took longer than `in_time_s` finds it still away; a pause of `pause_s` follows each one.
        After `silent_s` without any answer it is `silent`.
        """
        self._name = name
        self._look = look
        self._errors = errors
        self._in_time_s = in_time_s
        self._silent_s = silent_s
        self._pause_s = pause_s
        self._away_s: float | None = None  # since when
        self._answered_s = 0.0  # when it last did, or when it went away
        self._looked_s = -pause_s  # when it was asked last by a look
        self._looking: asyncio.Task[None] | None = None
        self._when_back: list[Callable[[], None]] = []

    @property
    def away(self) -> bool:
        """Whether it did not answer in time when it was asked last."""
        return self._away_s is not None

    @property
    def silent(self) -> bool:
        """Whether it is away, and has not answered for so long that asking it is in vain."""
        return self.away and now() - self._answered_s >= self._silent_s

    def when_back(self, call: Callable[[], None]) -> None:
        """Calls `call` each time that it is back."""
        self._when_back.append(call)

    def missed(self, why: str) -> None:
        """It did not answer in time."""
        if self.away:
            return
        count(f"{self._name}_away")
        log.warning("%s is away: %s", self._name, why)
        self._away_s = self._answered_s = now()
        self._looking = asyncio.get_running_loop().create_task(
            self._look_out(), name=f"look for {self._name}"
        )

    async def close(self) -> None:
        """Looks no more. Safe to call twice."""
        looking, self._looking = self._looking, None
        if looking is not None:
            looking.cancel()
            await asyncio.wait([looking])

    async def _look_out(self) -> None:
        # The first look at once, but not if a look found it back just now, and it refused what it was asked then.
        await asyncio.sleep(max(0.0, self._looked_s + self._pause_s - now()))
        while not await self._answers():  # noqa: ASYNC110 - nobody else could tell
            await asyncio.sleep(self._pause_s)
        assert self._away_s is not None
        log.warning("%s is back after %.1f s", self._name, now() - self._away_s)
        self._away_s = None
        for call in self._when_back:
            call()

    async def _answers(self) -> bool:
        began = self._looked_s = now()
        try:
            await self._look()
        except self._errors:
            return False
        self._answered_s = now()
        return self._answered_s - began <= self._in_time_s
