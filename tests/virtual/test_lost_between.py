"""A call is lost between two acts that belong together, and its successor does the second, in virtual time."""

import asyncio
from dataclasses import replace
from typing import Any

from actors.parts import CallPorts
from actors.toolruns import TOO_LATE
from engine.actor import Ref
from engine.clock import wall
from engine.history import Said
from engine.messages import DtmfPressed, Speak, Start
from engine.record import Store
from engine.session import Order, Stored, Written
from tests.virtual.rig import CALL, GREETING, Rig
from tests.virtual.test_conversation import LONG, play
from tests.virtual.test_resume import PATIENT, SLOW, STORY, words


def test_a_sentence_that_was_written_and_not_spoken_is_spoken_by_the_successor(redis_url: str) -> None:
    class Losing:
        """Media, which the first CallActor's sentences from the second on do not reach."""

        def __init__(self, media: Ref) -> None:
            self._media = media

        def tell(self, message: Any) -> None:
            if not isinstance(message, Speak) or message.turn == 1 or message.index == 0:
                self._media.tell(message)

    def observe(start: Start, ports: CallPorts) -> CallPorts:
        return ports if start.last_epoch else replace(ports, media=Losing(ports.media))

    async def story(rig: Rig) -> None:
        await rig.hears("How can I help?")
        await rig.mouth.say("Tell me a story")
        await rig.hears("would not start.")
        items = (await rig.sessions.read(CALL)).items.values()
        assert any(isinstance(item, Said) and item.text == "The end." for item in items)
        await rig.crash()
        await rig.hears("The end.")
        assert words(rig.heard) == words(GREETING + STORY)

    play(story, redis_url, LONG, observe=observe)


def test_a_key_that_nobody_read_is_read_by_the_successor(redis_url: str) -> None:
    async def story(rig: Rig) -> None:
        await rig.hears("Hello, this")
        rig.stream.tell(DtmfPressed(0, "1"))
        await rig.until(lambda: bool(rig.ear.clears))
        await asyncio.sleep(0.5)  # what was heard of the greeting is told and noted
        await rig.crash()
        await rig.hears("One.")

    play(story, redis_url, {"user": "pressed 1", "answer": {"say": "One."}})


def test_a_goodbye_that_came_with_other_tools_and_was_not_refused_yet_is_told_to_the_model_as_too_late(
    redis_url: str,
) -> None:
    class Dying:
        """A store whose user dies right after it wrote down that the model ends the call and looks something up."""

        def __init__(self, store: Store) -> None:
            self._store = store

        async def take(self, call: str, last_epoch: int) -> Stored:
            return await self._store.take(call, last_epoch)

        async def write(self, call: str, order: Order, fields: dict[str, bytes]) -> Written:
            written = await self._store.write(call, order, fields)
            if any(b"end_call" in value for value in fields.values()):
                raise RuntimeError("died")
            return written

    def observe(start: Start, ports: CallPorts) -> CallPorts:
        return ports if start.last_epoch else replace(ports, store=Dying(ports.store))

    async def story(rig: Rig) -> None:
        await rig.hears("How can I help?")
        await rig.mouth.say("That is all thanks")
        await rig.hears("I am still here.")
        told = [str(one["content"]) for one in rig.brain.asked[-1].messages if one["role"] == "tool"]
        assert [TOO_LATE in one for one in told] == [True, False]
        assert [one.tool for one in rig.tools.asked] == ["get_slots"]

    both = {"user": "thanks", "answer": {"calls": [{"name": "end_call"}, {"name": "get_slots"}]}}
    after = {"after_tool": "*", "answer": {"say": "I am still here."}}
    play(story, redis_url, both, after, observe=observe)


def test_lost_with_its_stream_a_call_knows_by_the_clock_what_was_heard(redis_url: str) -> None:
    async def story(rig: Rig) -> None:
        await rig.hears("How can I help?")
        await rig.mouth.say("Tell me a story")
        await rig.hears("Once there was")
        heard = rig.heard
        await rig.actors[-1].kill()
        await rig.stream.kill()
        rig.ear.hang_up()
        assert await rig.sessions.broke(CALL, wall(), 0) == 1
        rig.stream_sid = "MZ2"
        await rig.open()
        await rig.hears("Could you say that again?")
        await rig.mouth.say("No stop it now")
        await rig.hears("All right.")
        told = [m["content"] for m in rig.brain.asked[-1].messages if m["role"] == "assistant"]
        assert abs(len(told[1].split()) - len(heard.partition("help?")[2].split())) <= 1

    play(story, redis_url, SLOW, {"user": "stop", "answer": {"say": "All right."}}, settings=PATIENT)
