"""The slots of a replica that is killed are free soon after, and no others are."""

import asyncio

import pytest

from engine.session import LEASE_S
from simulators.caller import Caller
from simulators.model import says
from tests.chaos.victims import Moments, busiest, spares
from tests.whole.bench import Bench, eventually

pytestmark = [pytest.mark.whole, pytest.mark.asyncio(loop_scope="session")]

CALLS = 4
STORY = (
    "It was cold. The car stood still on the side of a long road through the hills. Nobody came by for many hours. "
    "Then a man with a horse stopped and asked what was wrong. He took it to the next town, where they mended it. "
    "It drove for twenty years more, and was never sold."
)


async def test_slots_of_calls_that_died_with_their_replica_are_free_when_their_leases_end(
    bench: Bench,
) -> None:
    await spares(bench)
    moments = Moments()

    async def person(c: Caller) -> None:
        await c.hears("help you today?")
        await c.quiet(0.2)
        await c.say("Tell me a story")
        await c.hears("was cold.")
        moments.reached("story")
        await c.ended()

    rules = says(STORY, user="tell me")
    talks = list(await asyncio.gather(*(bench.dial(person, rules) for _ in range(CALLS))))
    await moments.all(CALLS, "story")
    victim = await busiest(bench, talks, lambda one: one.ingress_pid)
    assert victim.others, "all calls are on one replica"

    victim.strike()
    for talk in victim.talks:
        await talk.call.hang_up()  # nobody asks for a new stream

    assert {talk.sid for talk in victim.talks} <= set(await bench.slots())

    async def left() -> bool:
        return set(await bench.slots()) == {talk.sid for talk in victim.others}

    await eventually(left, "the end of the dead calls' leases", 3 * LEASE_S)
    for talk in victim.others:
        assert talk.call.status == "in-progress"
        await talk.call.hang_up()
    for talk in talks:
        await talk.ended()
