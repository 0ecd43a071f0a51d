"""ToolPort: a call's way to the pooled ToolActor, with a deadline.

Told:  by Call   ToolRequest
Tells: Call      ToolResult

A lost answer means unknown, not failed: the same request is sent again with its key, and the pool answers with the
stored result or does it now. A change that has no answer by the deadline is settled before anybody is told: its result
is read back, or its key is void from then on, so that it is known that nothing was done.
"""

import asyncio
import json
from collections.abc import Awaitable, Callable, Collection
from typing import Any, Protocol

import msgspec

from engine.actor import Actor, Ref
from engine.clock import now
from engine.messages import Down, ToolRequest, ToolResult
from engine.supervision import TOOL_AGAIN_S
from engine.telemetry import count

UNKNOWN = (
    "it is not known whether it was done, and that could not be found out: promise nothing, say that it is not "
    "certain, and look it up before it is tried again"
)


class Unanswered(Exception):
    """A request has no outcome: its process is gone, or the way to it. Asked again, it may have one."""


class Broke(Exception):
    """A tool broke off by a fault of its own, which says nothing about whether it did what was asked."""


class Pool(Protocol):
    """Runs tools somewhere else. Both ways raise `Unanswered` and `Broke`."""

    async def run(self, request: ToolRequest) -> ToolResult:
        """Runs one tool."""

    async def settle(self, request: ToolRequest) -> ToolResult:
        """What became of a change, see `engine.tools.Toolbox`."""


class ToolPort(Actor):
    """Runs the tools of one call, several at once, each for `limit_s`; one of `changing` is then settled within
    `settle_s`.
    """

    def __init__(
        self, pool: Pool, changing: Collection[str], limit_s: float, settle_s: float, call: Ref
    ) -> None:
        super().__init__()
        self._pool = pool
        self._changing = changing
        self._limit_s = limit_s
        self._settle_s = settle_s
        self._call = call

    async def receive(self, message: Any) -> None:
        match message:
            case ToolRequest():
                self.work(self._ask(message), message.key)
            case Down(key, reason):  # a fault of this class's
                self._call.tell(_failure(key, f"the tool failed: {reason}; {UNKNOWN}", unknown=True))

    async def _ask(self, request: ToolRequest) -> None:
        began_s = now()
        result = await self._answer(self._pool.run, request, self._limit_s)
        if request.tool not in self._changing:  # there is nothing that it could have done
            result = msgspec.structs.replace(result, unknown=False)
        elif result.unknown:
            count("changes_settled")
            settled = await self._answer(self._pool.settle, request, self._settle_s)
            if settled.unknown:
                count("changes_unknown")  # and what the first answer told of why, still holds
            else:
                result = settled
        self._call.tell(msgspec.structs.replace(result, took_ms=(now() - began_s) * 1000))

    async def _answer(
        self, ask: Callable[[ToolRequest], Awaitable[ToolResult]], request: ToolRequest, limit_s: float
    ) -> ToolResult:
        """Of a change without an answer it is unknown whether it was made."""
        try:
            async with asyncio.timeout(limit_s):
                return await _until_answered(ask, request)
        except TimeoutError:
            why = f"no answer within {limit_s:g} s"
        except Broke as broke:
            why = f"the tool failed: {broke}"
        if request.tool in self._changing:
            return _failure(request.key, f"{why}: {UNKNOWN}", unknown=True)
        return _failure(request.key, f"{why}: say so, or try once more")


async def _until_answered(
    ask: Callable[[ToolRequest], Awaitable[ToolResult]], request: ToolRequest
) -> ToolResult:
    while True:
        try:
            return await ask(request)
        except Unanswered:
            await asyncio.sleep(TOOL_AGAIN_S)


def _failure(key: str, why: str, *, unknown: bool = False) -> ToolResult:
    return ToolResult(key, False, json.dumps({"error": why}), unknown=unknown)
