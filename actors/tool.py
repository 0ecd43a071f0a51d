"""ToolActor: the pool that runs tools. It knows a `Toolbox` and no dealership.

Told, over a Serve handle: `run(ToolRequest as JSON)` and `settle(ToolRequest as JSON)`, answered with a `ToolResult` as
JSON; `context(phone, called, attested)`, answered with a `CallerContext` as JSON; and `check_health`.
"""

import asyncio
import os
from collections.abc import Callable

import msgspec
import structlog

from engine.gauges import gauges
from engine.messages import ToolRequest, ToolResult
from engine.tools import Toolbox

_log = structlog.get_logger(__name__)

_BEAT_S = 0.25
_LAG_LIMIT_S = 1.0
_AWAY = '{"error":"The tools can\'t be reached right now. Promise nothing; say so, or try once more."}'


class Unhealthy(Exception):
    """This replica should be replaced; the message says why."""


class ToolActor:
    """The body of the Serve deployment: one toolbox, opened by `warm` or at the first use.

    Health is this process's own event loop and nothing outside it: were Postgres part of it, an outage
    would have Serve kill every replica, and nothing would be left to answer.
    """

    def __init__(self, make_toolbox: Callable[[], Toolbox], open_s: float = 10.0) -> None:
        self._make_toolbox = make_toolbox
        self._open_s = open_s
        self._toolbox: Toolbox | None = None
        self._opening: asyncio.Task[Toolbox] | None = None
        self._lag = _LagMeter()
        self._broken = False

    def warm(self) -> None:
        """Begins to open the toolbox, so that the first caller need not wait for it; if that fails, they do."""
        if self._toolbox is None and self._opening is None:
            self._opening = asyncio.create_task(self._open(), name="open toolbox")
            self._opening.add_done_callback(self._attempted)

    async def run(self, request: bytes) -> bytes:
        """Runs one tool. If the toolbox can't be opened, the result says so; the next call tries again."""
        asked = msgspec.json.decode(request, type=ToolRequest)
        try:
            toolbox = await self._opened()
        except _OpenFailed as failed:
            return _not_open(asked, failed)
        return msgspec.json.encode(await toolbox.run(asked))

    async def settle(self, request: bytes) -> bytes:
        """Finds out what became of a change, see `engine.tools.Toolbox`; one that can't be opened knows nothing."""
        asked = msgspec.json.decode(request, type=ToolRequest)
        try:
            toolbox = await self._opened()
        except _OpenFailed as failed:
            return _not_open(asked, failed)
        return msgspec.json.encode(await toolbox.settle(asked))

    async def context(self, phone: str, called: str, attested: bool) -> bytes:
        """What is known of a caller. Raises what opening the toolbox raised: a greeting is needed anyway."""
        try:
            toolbox = await self._opened()
        except _OpenFailed as failed:
            raise failed.cause from None
        return msgspec.json.encode(await toolbox.context(phone, called, attested))

    async def check_health(self) -> None:
        """Raises `Unhealthy` if the event loop was held up for a second since the last check."""
        if self._broken:
            raise Unhealthy("health was broken on purpose")
        lag_s = self._lag.worst_since_last()
        if lag_s > _LAG_LIMIT_S:
            raise Unhealthy(f"the event loop was held up for {lag_s:.1f} s")

    async def break_health(self) -> None:
        """Makes `check_health` fail from now on: the way to see a replica replaced."""
        self._broken = True

    async def pid(self) -> int:
        """The process that this replica runs in."""
        return os.getpid()

    async def gauges(self) -> bytes:
        """What this replica's process holds, see `engine.gauges`, as JSON."""
        return msgspec.json.encode(gauges("tools"))

    async def close(self) -> None:
        """Closes the toolbox, and an attempt to open it; safe to run twice."""
        self._lag.stop()
        opening, self._opening = self._opening, None
        if opening is not None:
            opening.cancel()
            await asyncio.wait([opening])
        toolbox, self._toolbox = self._toolbox, None
        if toolbox is not None:
            await toolbox.close()

    async def _opened(self) -> Toolbox:
        """The open toolbox; all who wait share one attempt. Raises `_OpenFailed`."""
        if self._toolbox is not None:
            return self._toolbox
        self.warm()
        assert self._opening is not None
        # A caller that gives up must not take the attempt of the others with it.
        return await asyncio.shield(self._opening)

    async def _open(self) -> Toolbox:
        toolbox = self._make_toolbox()
        try:
            async with asyncio.timeout(self._open_s):
                await toolbox.open()
        except Exception as error:
            await toolbox.close()
            raise _OpenFailed(error) from error
        return toolbox

    def _attempted(self, attempt: asyncio.Task[Toolbox]) -> None:
        if self._opening is attempt:
            self._opening = None
        if not attempt.cancelled() and attempt.exception() is None:
            self._toolbox = attempt.result()


class _OpenFailed(Exception):
    """One attempt to open the toolbox failed."""

    def __init__(self, cause: Exception) -> None:
        super().__init__(f"{type(cause).__name__}: {cause}")
        self.cause = cause


def _not_open(asked: ToolRequest, failed: _OpenFailed) -> bytes:
    """Nothing is known here: another replica may have made the change, under the same key."""
    _log.error("toolbox_not_open", why=str(failed), call=asked.call, tool=asked.tool)
    return msgspec.json.encode(ToolResult(asked.key, ok=False, result=_AWAY, pid=os.getpid(), unknown=True))


class _LagMeter:
    """How late the event loop runs what is due: a beat of its own, measured against the clock."""

    def __init__(self) -> None:
        self._beat: asyncio.TimerHandle | None = None
        self._due = 0.0
        self._worst = 0.0

    def worst_since_last(self) -> float:
        """The worst lag in seconds since this was asked last. The first time starts the beat, and is 0."""
        loop = asyncio.get_running_loop()
        if self._beat is None:
            self._schedule(loop)
        worst = max(self._worst, loop.time() - self._due)
        self._worst = 0.0
        return worst

    def stop(self) -> None:
        """Ends the beat."""
        if self._beat is not None:
            self._beat.cancel()
            self._beat = None

    def _schedule(self, loop: asyncio.AbstractEventLoop) -> None:
        self._due = loop.time() + _BEAT_S
        self._beat = loop.call_later(_BEAT_S, self._beaten, loop)

    def _beaten(self, loop: asyncio.AbstractEventLoop) -> None:
        self._worst = max(self._worst, loop.time() - self._due)
        self._schedule(loop)
