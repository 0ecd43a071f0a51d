"""The tool pool's actor, with the real toolbox on a real Postgres."""

import asyncio
import threading
from collections.abc import AsyncIterator, Callable
from typing import Any

import msgspec
import pytest

from actors.tool import ToolActor, Unhealthy
from crm.database import DatabaseAway
from crm.tools import DealershipTools
from engine.messages import CallerContext, ToolRequest, ToolResult

SARAH = "+13125550142"
LOOKUP = msgspec.json.encode(ToolRequest("CA1", 1, "lookup_customer", "{}", SARAH, "K", attested=True))
NOWHERE = "postgresql://desk@127.0.0.1:9/motors"


@pytest.fixture
async def actor(make_tools: Callable[..., DealershipTools]) -> AsyncIterator[ToolActor]:
    actor = ToolActor(make_tools)
    try:
        yield actor
    finally:
        await actor.close()


async def test_a_request_in_bytes_is_a_result_in_bytes(actor: ToolActor) -> None:
    result = msgspec.json.decode(await actor.run(LOOKUP), type=ToolResult)
    assert (result.key, result.ok, result.pid) == ("K", True, await actor.pid())
    assert msgspec.json.decode(result.result)["customer"]["name"] == "Sarah Mitchell"


async def test_a_context_comes_in_bytes(actor: ToolActor) -> None:
    context = msgspec.json.decode(await actor.context(SARAH, "+13125550101", True), type=CallerContext)
    assert context.greeting.startswith("Hi Sarah")


async def test_calls_at_once_share_one_attempt_to_open(make_tools: Callable[..., DealershipTools]) -> None:
    made = []

    def make() -> DealershipTools:
        made.append(make_tools())
        return made[-1]

    actor = ToolActor(make)
    try:
        results = await asyncio.gather(*(actor.run(LOOKUP) for _ in range(8)))
    finally:
        await actor.close()
    assert len(made) == 1
    assert all(msgspec.json.decode(result, type=ToolResult).ok for result in results)


async def test_one_that_was_warmed_has_looked_up_somebody_before_the_first_caller(
    make_tools: Callable[..., DealershipTools],
) -> None:
    tools = make_tools()
    actor = ToolActor(lambda: tools)
    try:
        actor.warm()
        assert actor._opening is not None
        await actor._opening
        assert tools._known.workshop is not None
    finally:
        await actor.close()


async def test_one_that_could_not_be_warmed_is_opened_for_the_first_caller(
    make_tools: Callable[..., DealershipTools],
) -> None:
    urls: list[dict[str, Any]] = [{"database_url": NOWHERE}, {}]
    actor = ToolActor(lambda: make_tools(**urls.pop(0)))
    try:
        actor.warm()
        assert actor._opening is not None
        await asyncio.wait([actor._opening])
        assert msgspec.json.decode(await actor.run(LOOKUP), type=ToolResult).ok
    finally:
        await actor.close()


async def test_a_failed_opening_is_a_result_and_the_next_call_tries_again(
    make_tools: Callable[..., DealershipTools],
) -> None:
    urls: list[dict[str, Any]] = [{"database_url": NOWHERE}, {"database_url": NOWHERE}, {}]
    actor = ToolActor(lambda: make_tools(**urls.pop(0)))
    try:
        failed = msgspec.json.decode(await actor.run(LOOKUP), type=ToolResult)
        assert (failed.key, failed.ok, failed.unknown) == ("K", False, True)  # another may have done it
        assert "error" in msgspec.json.decode(failed.result)
        with pytest.raises(DatabaseAway):
            await actor.context(SARAH, "+13125550101", True)
        assert msgspec.json.decode(await actor.run(LOOKUP), type=ToolResult).ok
    finally:
        await actor.close()


async def test_a_caller_that_gives_up_does_not_take_the_opening_with_it(actor: ToolActor) -> None:
    hasty = asyncio.create_task(actor.run(LOOKUP))
    patient = asyncio.create_task(actor.run(LOOKUP))
    await asyncio.sleep(0)
    hasty.cancel()
    with pytest.raises(asyncio.CancelledError):
        await hasty
    assert msgspec.json.decode(await patient, type=ToolResult).ok


async def test_health_does_not_depend_on_postgres(make_tools: Callable[..., DealershipTools]) -> None:
    actor = ToolActor(lambda: make_tools(database_url=NOWHERE))
    try:
        await actor.check_health()
        await actor.run(LOOKUP)
        await actor.check_health()
    finally:
        await actor.close()


async def test_a_loop_that_was_held_up_is_unhealthy(
    actor: ToolActor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("actors.tool._BEAT_S", 0.01)
    monkeypatch.setattr("actors.tool._LAG_LIMIT_S", 0.03)
    await actor.check_health()
    threading.Event().wait(0.09)  # holds this loop up, as blocking code in a tool would
    with pytest.raises(Unhealthy, match="held up"):
        await actor.check_health()


async def test_health_can_be_broken_on_purpose(actor: ToolActor) -> None:
    await actor.check_health()
    await actor.break_health()
    with pytest.raises(Unhealthy, match="on purpose"):
        await actor.check_health()


async def test_closing_twice_or_before_opening_is_harmless(
    make_tools: Callable[..., DealershipTools],
) -> None:
    actor = ToolActor(make_tools)
    await actor.close()
    await actor.run(LOOKUP)
    await actor.close()
    await actor.close()
