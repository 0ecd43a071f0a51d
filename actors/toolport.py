"""ToolPort: a call's way to the pooled ToolActor, with a deadline.

Told:  by Call   ToolRequest
Tells: Call      ToolResult

A lost answer means unknown, not failed: the same request is sent again with its key, and the pool answers with the
stored result or does it now.
"""

import asyncio
import json
from collections.abc import Awaitable, Callable
from typing import Any

import msgspec

from engine.actor import Actor, Ref
from engine.clock import now
from engine.messages import Down, ToolRequest, ToolResult
from engine.supervision import TOOL_AGAIN_S


class Unanswered(Exception):
    """A tool run has no outcome: its process is gone, or the way to it."""


RunTool = Callable[[ToolRequest], Awaitable[ToolResult]]


class ToolPort(Actor):
    """Runs the tools of one call, several at once. `run` raises `Unanswered` when the outcome is unknown."""

    def __init__(self, run: RunTool, limit_s: float, call: Ref) -> None:
        super().__init__()
        self._run_tool = run
        self._limit_s = limit_s
        self._call = call

    async def receive(self, message: Any) -> None:
        match message:
            case ToolRequest():
                self.work(self._ask(message), message.key)
            case Down(key, reason):
                self._call.tell(_failure(key, f"the tool failed: {reason}"))

    async def _ask(self, request: ToolRequest) -> None:
        began_s = now()
        try:
            async with asyncio.timeout(self._limit_s):
                result = await self._until_answered(request)
        except TimeoutError:
            result = _failure(
                request.key,
                f"no answer within {self._limit_s:g} s: it is not known whether it was done; "
                "look it up before you promise anything",
                unknown=True,
            )
        took_ms = (now() - began_s) * 1000
        self._call.tell(msgspec.structs.replace(result, took_ms=took_ms))

    async def _until_answered(self, request: ToolRequest) -> ToolResult:
        while True:
            try:
                return await self._run_tool(request)
            except Unanswered:
                await asyncio.sleep(TOOL_AGAIN_S)


def _failure(key: str, why: str, *, unknown: bool = False) -> ToolResult:
    return ToolResult(key, False, json.dumps({"error": why}), unknown=unknown)
