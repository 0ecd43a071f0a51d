"""A crowd at the door: whoever has no place is told so at once, and who is on the telephone notices nothing."""

import asyncio

import pytest

from bench.crowd import CALLERS, HALF_OPEN, LET_IN, REFUSED, SOCKETS, UNSIGNED, crowd
from bench.results import percentile
from bench.vendors import Spoken
from simulators.caller import Caller
from simulators.model import says
from tests.whole.bench import ACCOUNT, AUTH_TOKEN, LIMIT_S, Bench, Talk, audible, eventually

pytestmark = [pytest.mark.whole, pytest.mark.asyncio(loop_scope="session")]

CALLS = 10
WEBHOOKS, UNKNOWN, STRANGERS = 300, 200, 500
ADDED_P99_MS = 400.0  # ten times what `make flood` allows
CLOSED_S = 20.0  # 4 s are given; the rest is what a busy machine may take
FREED_S = 3.0  # a lease ends after ten
QUIET_FRAMES = 300
STORY = (
    "Once upon a time there was a car that nobody wanted to drive. It stood in a garage for many years. "
    "Then one morning in the spring a young man came by and bought it for his mother. The end."
)
COMPLAINT = (
    "I have been waiting for my car since last Tuesday and nobody has told me anything at all about when it is "
    "going to be ready so I would like to know what you are doing with it all this time"
)


class Crowded:
    """Calls that go on while a crowd comes: every second caller speaks, and the others listen."""

    def __init__(self, bench: Bench) -> None:
        self.frames = Spoken()
        self._bench = bench
        self._listening = 0
        bench.speech.on_frame = self.frames.hear

    async def dials(self, talks: bool) -> Talk:
        rules = says(STORY, user="tell me a story"), says("I see.", user="all this time")
        return await self._bench.dial(self._complains if talks else self._listens, *rules, keep_audio=False)

    async def _listens(self, c: Caller) -> None:
        await c.hears("help you today?")
        await c.quiet(0.2)
        await c.say("Tell me a story")
        await c.hears("upon a time")
        self._listening += 1
        await c.hears("The end.")

    async def _complains(self, c: Caller) -> None:
        await c.hears("help you today?")
        await c.quiet(0.2)
        c.line.on_spoken(lambda at: self.frames.say(c.source, at))
        await c.say(COMPLAINT)
        await c.hears("I see.")

    async def amidst(self) -> bool:
        """Whether all stories are being told, and frames enough have been heard to compare with."""
        return self._listening == CALLS // 2 and len(self.frames.arrived) > QUIET_FRAMES

    def p99_ms(self, began: float, ended: float) -> float:
        """Of the time from a caller's mouth to the recogniser."""
        return percentile((ms for at, ms in self.frames.arrived if began <= at < ended), 0.99)


async def test_a_flood_of_webhooks_and_sockets_is_turned_away_and_running_calls_go_on(bench: Bench) -> None:
    calls = Crowded(bench)
    async with crowd(bench.app.url, AUTH_TOKEN, ACCOUNT) as visitors:
        talks = list(await asyncio.gather(*(calls.dials(talks=n % 2 == 0) for n in range(CALLS))))
        await eventually(calls.amidst, "the midst of all calls")
        opened, asked = bench.speech.watch.opened, len(bench.model.record.exchanges)

        blow = await visitors.comes(callers=WEBHOOKS, unsigned=UNKNOWN, sockets=STRANGERS)

        assert bench.speech.watch.opened == opened
        for talk in talks:
            await talk.ended()

    quiet, flooded = calls.p99_ms(0.0, blow.began), calls.p99_ms(blow.began, blow.ended)
    print(f"p99 of frame delay {quiet:.1f} ms, in the flood {flooded:.1f} ms; {blow.outcomes}")
    print(f"over in {blow.ended - blow.began:.1f} s, webhooks in {max(blow.answered_ms):.0f} ms at most")
    for talk in talks:
        assert [gap for gap in talk.gaps() if audible(gap)] == []
        assert talk.call.errors == []
        assert all(sentence.whole for sentence in talk.person.heard.sentences[:-1])  # then they hang up
    assert flooded - quiet < ADDED_P99_MS
    assert len(bench.model.record.exchanges) == asked + CALLS // 2, "somebody else was answered"
    assert set(blow.of(CALLERS)) == {LET_IN, REFUSED}
    assert blow.of(UNSIGNED) == {"403": UNKNOWN}
    for kind in SOCKETS:
        count = STRANGERS // len(SOCKETS)
        assert blow.of(kind) == {"HTTP 408" if kind == HALF_OPEN else "closed, 1008": count}
    assert max(blow.closed_s) < CLOSED_S


async def test_of_a_crowd_of_callers_as_many_as_there_are_slots_get_in_and_a_slot_is_free_at_the_end_of_its_call(
    bench: Bench,
) -> None:
    capacity = bench.app.settings.capacity

    listens = asyncio.Event()

    async def person(c: Caller) -> None:
        await c.hears("help you today?")
        await c.quiet(0.2)
        await c.say("Tell me a story")
        await c.hears("upon a time")
        listens.set()
        await c.ended()

    async def none() -> bool:
        return await bench.slots() == []

    await eventually(none, "the end of all earlier calls")
    async with crowd(bench.app.url, AUTH_TOKEN, ACCOUNT) as visitors:
        talk = await bench.dial(person, says(STORY, user="tell me a story"))
        await asyncio.wait_for(listens.wait(), LIMIT_S)
        blow = await visitors.comes(callers=capacity + 30)

    print(f"{capacity + 30} webhooks answered in {max(blow.answered_ms):.0f} ms at most")
    assert blow.of(CALLERS) == {LET_IN: capacity - 1, REFUSED: 31}
    assert await bench.slots() == [talk.sid], "of callers who hung up while it rang"
    await talk.call.hang_up()
    await eventually(none, "the slot of a call that is over", FREED_S)
