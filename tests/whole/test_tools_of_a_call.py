"""Tools on a call: side by side in two replicas, replaced when they break, and not without end."""

import asyncio
import json
import time

import pytest
from ray import serve

from local.chat import Exchange
from serve_app import TOOL_ACTOR
from simulators.caller import Caller
from simulators.model import says, tool
from simulators.nhtsa import vin
from tests.whole.bench import LIMIT_S, Bench, Talk, eventually

pytestmark = [pytest.mark.whole, pytest.mark.asyncio(loop_scope="session")]


def asks(question: str, answer: str):
    """A person who waits for the greeting, asks, and hangs up after the answer."""

    async def person(c: Caller) -> None:
        await c.hears("help you today")
        await c.quiet(0.2)
        await c.say(question)
        await c.hears(answer)

    return person


def results(exchange: Exchange) -> list[dict]:
    """What tools answered, as the model was told."""
    return [json.loads(m["content"]) for m in exchange.request["messages"] if m["role"] == "tool"]


async def test_tools_that_a_model_calls_together_run_in_two_replicas_at_once(bench: Bench) -> None:
    bench.cars.most_at_once = 0
    await bench.slow_cars(1.0, times=2)
    cars = [tool("decode_vin", vin=vin(serial)) for serial in (21, 22)]

    talk = await bench.dial(
        asks("Decode both", "two Accords"),
        says("", *cars, user="decode both"),
        says("You have two Accords.", after="decode_vin"),
    )
    await talk.ended()
    await bench.logged(talk.sid, "caller_hung_up")

    returned = await bench.events(talk.sid, "tool_returned")
    assert [event["ok"] for event in returned] == [True, True]
    assert len({event["pid"] for event in returned}) == 2, returned
    assert bench.cars.most_at_once == 2
    assert [result["model"] for result in results(talk.exchanges()[-1])] == ["Accord", "Accord"]


async def decodes_too_many(bench: Bench) -> Talk:
    """A model that asks for two tools too many at once, and then for another."""
    limit = bench.app.settings.tool_calls_per_turn
    cars = [tool("decode_vin", vin=vin(30 + serial)) for serial in range(limit + 2)]
    return await bench.dial(
        asks("Decode them all", "enough for now"),
        says("", *cars, user="decode them all"),
        says("", tool("decode_vin", vin=vin(39)), after="decode_vin", times=1),
        says("That is enough for now.", after="decode_vin"),
    )


@pytest.mark.call(made_by=decodes_too_many)
async def test_a_turn_has_no_more_tools_than_are_allowed(bench: Bench, talk: Talk) -> None:
    await talk.ended()

    limit = bench.app.settings.tool_calls_per_turn
    assert len(await bench.events(talk.sid, "tool_called")) == limit
    told = results(talk.exchanges()[-1])
    assert len(told) == limit + 2, "a call without an answer is an error to the model's API"
    assert sum("too many tools" in result.get("error", "") for result in told) == 2
    assert "tools" not in talk.exchanges()[-1].request, "it was told to answer with what is known"
    assert vin(39) not in bench.cars.asked


async def test_a_replica_that_breaks_is_replaced_and_calls_go_on(bench: Bench) -> None:
    pool = serve.get_deployment_handle(TOOL_ACTOR, app_name="default")

    async def pids() -> set[int]:
        async with asyncio.timeout(LIMIT_S):
            return {await pool.pid.remote() for _ in range(12)}

    async def both() -> set[int] | None:
        found = await pids()
        return found if len(found) == 2 else None

    async def tool_call(serial: int) -> Talk:
        car = tool("decode_vin", vin=vin(serial))
        talk = await bench.dial(
            asks("Decode it", "an Accord"),
            says("", car, user="decode it"),
            says("It is an Accord.", after="decode_vin", result="Accord"),
        )
        await talk.ended()
        return talk

    before = await eventually(both, "two replicas")
    began = time.monotonic()
    await pool.break_health.remote()

    async def replaced() -> set[int] | None:
        found = await pids()
        return found if len(found) == 2 and found != before else None

    waiting = asyncio.create_task(eventually(replaced, "a new replica", timeout_s=90.0))
    serial = 50
    while not waiting.done():  # calls go on all the time
        await tool_call(serial)
        serial += 1
    after = await waiting
    talk = await tool_call(serial)

    print(f"replaced within {time.monotonic() - began:.1f} s")
    assert len(before & after) == 1
    [event] = await bench.events(talk.sid, "tool_returned")
    assert event["ok"] is True
    assert event["pid"] in after
