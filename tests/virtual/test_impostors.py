"""What is not taken: orders and the end of a CallActor that was replaced, an epoch that was had, a turn told twice."""

import asyncio
from collections.abc import Callable
from typing import Any

from engine.clock import run_virtual
from engine.messages import Attach, Clear, HangUp, Start, TurnEnded
from tests.virtual.rig import LocalPlacement, Rig
from tests.virtual.test_conversation import LONG
from tests.virtual.test_resume import PATIENT

Receive = Callable[[str, Any], None]


class Overheard(Rig):
    """A rig that keeps the ways by which CallActors tell their stream."""

    def __post_init__(self) -> None:
        super().__post_init__()
        self.ways: list[Receive] = []

    async def place(self, start: Start, receive: Receive, lost: Callable[[str], None]) -> LocalPlacement:
        self.ways.append(receive)
        return await super().place(start, receive, lost)


def test_a_call_actor_that_was_replaced_ends_nothing_and_silences_nobody(redis_url: str) -> None:
    async def run() -> None:
        rig = Overheard(redis_url, [LONG], PATIENT)
        await rig.open()
        try:
            await rig.hears("How can I help?")
            await rig.crash()
            await rig.mouth.say("Tell me a story")
            await rig.hears("Once there")
            rig.ways[0]("media", Clear())
            rig.ways[0]("media", HangUp())
            await rig.hears("The end.")
            await rig.quiet()
            assert len(rig.ways) == 2
            assert rig.ear.clears == []
            assert not rig.closed.is_set()
        finally:
            await rig.close()

    run_virtual(run())


def test_an_epoch_that_the_stream_has_had_is_refused(redis_url: str) -> None:
    async def run() -> None:
        rig = Overheard(redis_url, [LONG], PATIENT)
        await rig.open()
        try:
            await rig.hears("How can I help?")
            rig.ways[0]("stream", Attach(1, 1, 0))
            await rig.until(lambda: rig.actors[0].over)
        finally:
            await rig.close()

    run_virtual(run())


def test_the_late_end_of_a_host_that_was_replaced_ends_no_successor(redis_url: str) -> None:
    async def run() -> None:
        rig = Overheard(redis_url, [LONG], PATIENT)
        await rig.open()
        try:
            await rig.hears("How can I help?")
            await rig.crash()
            await rig.mouth.say("Tell me a story")
            await rig.hears("Once there")
            rig.spots[0].lost("told late")
            await rig.hears("The end.")
            await rig.quiet()
            assert len(rig.ways) == 2
        finally:
            await rig.close()

    run_virtual(run())


def test_a_turn_that_is_told_again_is_not_answered_again(redis_url: str) -> None:
    async def run() -> None:
        rig = Rig(redis_url, [LONG], PATIENT)
        await rig.open()
        try:
            await rig.hears("How can I help?")
            await rig.mouth.say("Tell me a story")
            await rig.hears("The end.")
            await rig.quiet()
            rig.actors[0].tell(TurnEnded(1, "Tell me a story"))
            await asyncio.sleep(3.0)
            assert rig.heard.count("Once there") == 1
        finally:
            await rig.close()

    run_virtual(run())
