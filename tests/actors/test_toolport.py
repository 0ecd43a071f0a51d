"""A call's way to the tools: deadlines, lost answers, and changes of which it is unknown whether they were made."""

import asyncio
import json
from collections.abc import Awaitable, Callable, Sequence

import pytest

from actors.toolport import Broke, ToolPort, Unanswered
from engine.actor import spawn
from engine.clock import now, run_virtual
from engine.messages import ToolRequest, ToolResult
from tests.actors.told import Told

LIMIT_S, SETTLE_S = 8.0, 4.0
BOOKED, VOID = '{"booked":true}', '{"error":"not done, and will not be"}'
Step = Callable[[ToolRequest], Awaitable[ToolResult]]


async def hangs(_: ToolRequest) -> ToolResult:
    await asyncio.Event().wait()
    raise AssertionError


async def lost(_: ToolRequest) -> ToolResult:
    raise Unanswered("the process is gone")


async def broken(_: ToolRequest) -> ToolResult:
    raise Broke("ZeroDivisionError")


async def faulty(_: ToolRequest) -> ToolResult:
    raise ZeroDivisionError("a fault of the port's own process")


async def unsure(asked: ToolRequest) -> ToolResult:
    return ToolResult(asked.key, False, '{"error":"the records went away"}', unknown=True)


async def booked(asked: ToolRequest) -> ToolResult:
    return ToolResult(asked.key, True, BOOKED, pid=7)


async def void(asked: ToolRequest) -> ToolResult:
    return ToolResult(asked.key, False, VOID)


class Steps:
    """A pool that answers by a script: the last step of each kind is for all further requests."""

    def __init__(self, run: Sequence[Step], settle: Sequence[Step] = ()) -> None:
        self._steps = {"run": list(run), "settle": list(settle)}
        self.asked: list[tuple[str, str, float]] = []

    async def run(self, request: ToolRequest) -> ToolResult:
        return await self._step("run", request)

    async def settle(self, request: ToolRequest) -> ToolResult:
        return await self._step("settle", request)

    async def _step(self, kind: str, request: ToolRequest) -> ToolResult:
        self.asked.append((kind, request.key, now()))
        steps = self._steps[kind]
        return await (steps.pop(0) if len(steps) > 1 else steps[0])(request)

    def of(self, kind: str) -> list[float]:
        return [at for asked, _, at in self.asked if asked == kind]


def ask(pool: Steps, tool: str = "book") -> tuple[ToolResult, float]:
    """What the call is told of one request, and after how many seconds."""

    async def run() -> tuple[ToolResult, float]:
        call = Told()
        port = ToolPort(pool, {"book"}, LIMIT_S, SETTLE_S, call)
        spawn(port, "tools")
        began_s = now()
        port.tell(ToolRequest("CA1", 1, tool, "{}", "+13125550142", "CA1:k"))
        try:
            return await call.next(ToolResult), now() - began_s
        finally:
            await port.kill()

    return run_virtual(run())


@pytest.mark.parametrize("run", [[hangs], [lost], [lost, hangs], [broken], [unsure]])
@pytest.mark.parametrize("found", [booked, void])
def test_a_change_without_an_answer_is_settled_before_anybody_is_told(run: list[Step], found: Step) -> None:
    pool = Steps(run, [found])
    result, _ = ask(pool)
    assert (result.key, result.ok, result.unknown) == ("CA1:k", found is booked, False)
    assert result.result == (BOOKED if found is booked else VOID)
    assert len(pool.of("settle")) == 1
    assert max(pool.of("run")) <= pool.of("settle")[0]


def test_a_change_has_its_whole_time_before_it_is_settled() -> None:
    pool = Steps([hangs], [void])
    _, took_s = ask(pool)
    assert took_s == pytest.approx(LIMIT_S, abs=0.01)


def test_a_change_whose_answer_is_lost_is_sent_again_and_not_settled() -> None:
    pool = Steps([lost, lost, booked], [void])
    result, _ = ask(pool)
    assert (result.ok, result.result, result.pid) == (True, BOOKED, 7)
    assert pool.of("settle") == []


def test_an_answer_that_settles_is_asked_for_again_when_it_is_lost() -> None:
    result, took_s = ask(Steps([hangs], [lost, lost, booked]))
    assert result.ok
    assert took_s < LIMIT_S + SETTLE_S


@pytest.mark.parametrize("settle", [hangs, lost, broken, unsure])
def test_only_a_change_that_can_not_be_settled_is_unknown(settle: Step) -> None:
    result, took_s = ask(Steps([hangs], [settle]))
    assert (result.ok, result.unknown) == (False, True)
    assert "error" in json.loads(result.result)
    assert took_s <= LIMIT_S + SETTLE_S + 0.01


@pytest.mark.parametrize("run", [hangs, lost, broken])
def test_what_only_reads_is_not_settled(run: Step) -> None:
    pool = Steps([run], [booked])
    result, took_s = ask(pool, "get_slots")
    assert (result.ok, result.unknown) == (False, False)
    assert pool.of("settle") == []
    assert took_s <= LIMIT_S + 0.01


def test_what_the_tools_said_of_why_is_told_if_it_can_not_be_settled() -> None:
    result, _ = ask(Steps([unsure], [hangs]))
    assert (result.unknown, json.loads(result.result)) == (True, {"error": "the records went away"})


def test_nothing_that_only_reads_is_unknown() -> None:
    pool = Steps([unsure], [booked])
    result, _ = ask(pool, "get_slots")
    assert (result.ok, result.unknown, pool.of("settle")) == (False, False, [])


def test_a_fault_of_the_ports_own_leaves_it_unknown() -> None:
    result, _ = ask(Steps([faulty], [booked]))
    assert (result.ok, result.unknown) == (False, True)


def test_the_time_that_is_told_has_both_in_it() -> None:
    async def later(asked: ToolRequest) -> ToolResult:
        await asyncio.sleep(1.5)
        return await booked(asked)

    result, _ = ask(Steps([hangs], [later]))
    assert result.took_ms == pytest.approx((LIMIT_S + 1.5) * 1000, abs=10)
