"""The dealership's toolbox: seven tools for the model, and what is known of a caller.

What changes something goes through `crm.once`, so that it happens once, is refused to a superseded CallActor, and
answers the same when it is sent again.
"""

import asyncio
import datetime as dt
import os
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

import msgspec
import structlog

from crm import appointments, lookups, once, vins
from crm.cache import RedisCache
from crm.callers import CallerCache
from crm.context import House, Known
from crm.desk import TOOLS, Desk
from crm.fresh import FreshCallers
from crm.nhtsa import Nhtsa
from crm.ports import Records, RecordsAway, Work
from crm.records import e164
from crm.toolspec import BadArguments, Tool
from engine.messages import CallerContext, ToolRequest, ToolResult
from engine.tools import ToolSpec

_log = structlog.get_logger(__name__)

Answer = dict[str, Any]

AGAIN_S = 0.2  # between looks whether a change was made
AWAY = "The dealership's records can't be reached right now. Promise nothing; say so, or try once more."
UNKNOWN = (
    "It is not known whether this was done: the dealership's records went away at that moment. Promise nothing; "
    "look it up before it is tried again, and if that fails, say that it is not certain."
)


@dataclass
class _Attempts:
    """What is known of a change: `open` from its end on until that is answered, or its stored result was read;
    `kept`: the unit of work that made or refused it was, and with it what it found out of earlier keys."""

    open: bool = False
    kept: bool = False


@dataclass(frozen=True)
class Limits:
    """How long things may take, in seconds. `run`: a tool; less than the engine waits, so that the model is told what
    is known. `settle`: finding out what became of one, again less than is waited for. `context`: a caller's look-up.
    `nhtsa`: one try.
    """

    run: float = 7.0
    settle: float = 3.5
    context: float = 2.0
    nhtsa: float = 2.0


# Their modules put them into it.
_MODULES = (lookups, appointments, vins)


class DealershipTools:
    """Implements `engine.tools.Toolbox` on a dealership's records and NHTSA. `now` gives an aware time."""

    specs: tuple[ToolSpec, ...] = TOOLS.specs

    def __init__(
        self,
        records: Records,
        nhtsa: Nhtsa,
        house: House,
        now: Callable[[], dt.datetime],
        limits: Limits = Limits(),
        cache: RedisCache | None = None,
        callers: CallerCache | None = None,
    ) -> None:
        """`cache` is what others here keep things in, `callers` too; it is opened and closed with the rest."""
        self._records = records
        self._callers = FreshCallers(records, callers)
        self._nhtsa = nhtsa
        self._cache = cache
        self._house = house
        self._now = now
        self._limits = limits
        self._known = Known()  # the workshop as it was last, for callers who come while the records are away

    async def open(self) -> None:
        """Connects. Raises a sentence that says what to do."""
        await self._records.open()
        if self._cache is not None:
            await self._cache.open()
        await self._callers.open()
        # The first look-up compiles and prepares what all others need.
        await self.context("anonymous", "", attested=False)
        workshop = self._known.workshop
        if workshop is None:
            _log.error(
                "no_workshop",
                what_to_do="run `python -m crm setup FILE`, or `python -m crm seed` for the demo's",
            )
        elif workshop.time_zone != self._house.timezone:
            _log.warning("other_time_zone", counts=workshop.time_zone, TIMEZONE=self._house.timezone)

    async def close(self) -> None:
        """Closes connections; safe to run twice."""
        await self._callers.close()
        await self._nhtsa.close()
        if self._cache is not None:
            await self._cache.close()
        await self._records.close()

    # ------------------------------------------------------------ tools

    async def run(self, request: ToolRequest) -> ToolResult:
        """Runs one tool; bad arguments and records that are away are results with `ok` false.

        Takes at most `Limits.run`. When a change's outcome is unknown (the connection broke at the commit), it is sent
        again until there is an answer: the stored result comes back if it had happened. If none comes in time, the
        result is `unknown`, and the engine settles it.
        """
        started = time.perf_counter()
        replayed = unknown = False
        attempts = _Attempts()
        try:
            tool = TOOLS.named(request.tool)
            async with asyncio.timeout(self._limits.run):
                if tool.function is vins.decode_vin:
                    cars = vins.Cars(self._nhtsa, self._now().year)
                    answer = await tool.function(cars, **tool.parse(request.arguments))
                else:
                    answer, replayed = await self._until_known(request, tool, attempts)
        except BadArguments as error:
            answer = {"error": str(error)}
        except (RecordsAway, TimeoutError) as error:
            _log.warning(
                "tool_failed", call=request.call, tool=request.tool, why=f"{type(error).__name__}: {error}"
            )
            # Of a change that is all that is known here: another process may have made it under the same key.
            unknown = tool.spec.changes
            answer = {"error": UNKNOWN if attempts.open else AWAY}
        settled = request.unsettled if attempts.kept else ()
        return self._result(request, answer, started, replayed, unknown, settled)

    async def settle(self, request: ToolRequest) -> ToolResult:
        """What became of a change that nobody answered; if nothing did, it never will (`crm.once.settle`). The result
        is `unknown` if the records can't be reached in `Limits.settle`."""
        started = time.perf_counter()
        unknown = replayed = True
        try:
            async with asyncio.timeout(self._limits.settle):
                answer, replayed = await self._again(lambda: self._settled(request))
            unknown = False
        except (RecordsAway, TimeoutError) as error:
            _log.warning(
                "unsettled", call=request.call, tool=request.tool, why=f"{type(error).__name__}: {error}"
            )
            answer = {"error": UNKNOWN}
        settled = () if replayed else request.unsettled
        return self._result(request, answer, started, True, unknown, settled)

    def _result(
        self,
        request: ToolRequest,
        answer: Answer,
        started: float,
        replayed: bool,
        unknown: bool,
        settled: tuple[str, ...] = (),
    ) -> ToolResult:
        return ToolResult(
            key=request.key,
            ok="error" not in answer,
            # Sorted, because jsonb keeps no order and a stored result must come back the same.
            result=msgspec.json.encode(answer, order="sorted").decode(),
            took_ms=(time.perf_counter() - started) * 1000,
            pid=os.getpid(),
            replayed=replayed,
            unknown=unknown,
            settled=settled,
        )

    async def _until_known(
        self, request: ToolRequest, tool: Tool, attempts: _Attempts
    ) -> tuple[Answer, bool]:
        """Runs it, once more if that may help, and as long as it is unknown whether it was done."""
        retried = False
        while True:
            try:
                if tool.spec.changes:
                    return await self._change(request, tool, attempts)
                arguments = tool.parse(request.arguments)
                async with self._records.work() as work:
                    return await tool.function(self._desk(request, work), **arguments), False
            except RecordsAway as away:
                if not attempts.open and (retried or not away.again):
                    raise
                if not retried:
                    _log.warning("tool_retried", call=request.call, tool=request.tool, why=str(away))
            if retried:
                await asyncio.sleep(AGAIN_S)
            retried = True

    async def _change(self, request: ToolRequest, tool: Tool, attempts: _Attempts) -> tuple[Answer, bool]:
        async def run(work: Work) -> Answer:
            attempts.open = False  # an earlier attempt was not kept: its end has been waited for
            # Only now: an earlier version may have taken arguments that this one does not, and be done.
            try:
                arguments = tool.parse(request.arguments)
            except BadArguments as error:
                return {"error": str(error)}
            return await tool.function(self._desk(request, work), **arguments)

        async with self._records.work() as work:
            known = await once.change(work, request, run)
            attempts.open = True  # the end of the unit of work follows
        attempts.open = False
        attempts.kept = not known[1] and known[0].get("error") != once.REFUSED
        return known

    async def _again(self, run: Callable[[], Awaitable[tuple[Answer, bool]]]) -> tuple[Answer, bool]:
        """Asks until there is an answer."""
        while True:
            try:
                return await run()
            except RecordsAway:
                await asyncio.sleep(AGAIN_S)

    async def _settled(self, request: ToolRequest) -> tuple[Answer, bool]:
        async with self._records.work() as work:
            return await once.settle(work, request)

    # ------------------------------------------------------------ callers

    async def context(self, phone: str, called: str, attested: bool = False) -> CallerContext:
        """Greeting, prompt and what may be said of a caller; see `crm.greeting` for what trust allows.

        When the records are away for `Limits.context` the caller is greeted as unknown, so that the call is answered.
        """
        known, trusts = await self.known(phone), self._house.trusts(phone, attested)
        return self._house.context(known, phone, trusted=trusts, now=self._now())

    async def known(self, phone: str) -> Known:
        """What the records have of a caller's number (E.164 or "anonymous"); the workshop alone, as it was last,
        while they are away."""
        try:
            async with asyncio.timeout(self._limits.context):
                known = await self._callers.look_up(e164(phone))
        except (RecordsAway, TimeoutError) as error:
            _log.warning("context_failed", why=f"{type(error).__name__}: {error}")
            return self._known
        self._known = Known(workshop=known.workshop)
        return known

    # ------------------------------------------------------------ parts

    def _desk(self, request: ToolRequest, work: Work) -> Desk:
        return Desk(
            work,
            self._now(),
            request.call,
            request.key,
            e164(request.caller),
            self._house.trusts(request.caller, request.attested),
            request.spoken,
        )
