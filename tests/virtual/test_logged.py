"""What the call log is told of a call: what came of it, its tool runs, and what it used."""

import asyncio
import json

import pytest

from actors import stream
from engine import audio
from engine.callrows import FinalizeCall, LogTool, LogUsage, Part
from engine.messages import CallerAudio, ToolRequest, ToolResult
from tests.virtual.rig import GREETING, Rig, Tools, new_settings
from tests.virtual.test_conversation import BYE, OFFER, SLOTS, play

FRAMES = int(stream.USAGE_S * 1000) // audio.FRAME_MS
ARGUMENTS = json.dumps({"day": "Friday", "name": "Sarah", "car": {"vin": "1HGB"}})
BOOK = {
    "user": "nine",
    "answer": {"say": "I'll book it.", "calls": [{"name": "book", "arguments": json.loads(ARGUMENTS)}]},
}
BOOKED = {"after_tool": "book", "answer": {"say": "You are booked. Anything else?"}}


class Refusing(Tools):
    """The tools refuse."""

    async def run(self, request: ToolRequest) -> ToolResult:
        await super().run(request)
        return ToolResult(request.key, False, '{"error": "that is taken"}')


class Silent(Tools):
    """The first answer is lost on its way."""

    async def run(self, request: ToolRequest) -> ToolResult:
        first = not self.asked
        result = await super().run(request)
        if first:
            await asyncio.Event().wait()
        return result


async def book(rig: Rig) -> None:
    await rig.hears("How can I help?")
    await rig.mouth.say("Nine please")


def came_of(rig: Rig) -> tuple[str, str]:
    [end] = rig.log.of(FinalizeCall)
    return str(end.ending), end.outcome


@pytest.mark.parametrize("crashes", [False, True], ids=["whole", "resumed"])
@pytest.mark.parametrize("packed", [False, True], ids=["split", "packed"])
def test_a_booking_is_what_came_of_the_call_whoever_ends_it(
    redis_url: str, packed: bool, crashes: bool
) -> None:
    async def story(rig: Rig) -> None:
        await book(rig)
        await rig.hears("Anything else?")
        if crashes:  # the one that saw the booking is gone; its successor has the session
            await rig.crash()
            await rig.until(lambda: len(rig.actors) == 2)
            await rig.quiet()
        await rig.hang_up()
        assert came_of(rig) == ("caller_hung_up", "booked")

    play(story, redis_url, BOOK, BOOKED, packed=packed)


def test_a_booking_that_was_refused_is_an_answer(redis_url: str) -> None:
    async def story(rig: Rig) -> None:
        await book(rig)
        await rig.hears("Anything else?")
        await rig.hang_up()
        assert came_of(rig) == ("caller_hung_up", "answered")
        *_, run = rig.log.of(LogTool)
        assert (run.ok, run.unknown, run.made) == (False, False, "")

    play(story, redis_url, BOOK, BOOKED, tools=Refusing())


def test_who_hangs_up_in_the_greeting_has_abandoned_the_call(redis_url: str) -> None:
    async def story(rig: Rig) -> None:
        await rig.hears("How can I help?")
        await rig.hang_up()
        assert came_of(rig) == ("caller_hung_up", "abandoned")

    play(story, redis_url)


def test_who_was_answered_and_says_goodbye_was_answered(redis_url: str) -> None:
    async def story(rig: Rig) -> None:
        await rig.hears("How can I help?")
        await rig.mouth.say("What times are free on Friday")
        await rig.hears("Which one would you like?")
        await rig.mouth.say("I'll call again thanks")
        await rig.until(rig.closed.is_set)
        assert rig.stream is not None
        await rig.stream.ended()
        assert came_of(rig) == ("completed", "answered")

    play(story, redis_url, SLOTS, OFFER, BYE)


def test_a_run_is_logged_when_it_begins_and_when_it_ends_without_what_the_caller_told_of_themselves(
    redis_url: str,
) -> None:
    async def story(rig: Rig) -> None:
        await book(rig)
        await rig.until(lambda: bool(rig.tools.asked))
        [asked] = rig.log.of(LogTool)
        assert (asked.tool, asked.arguments) == ("book", {"day": "Friday"})
        assert (asked.ok, asked.unknown, asked.took_ms) == (False, True, None)
        await rig.hears("Anything else?")
        _, done = rig.log.of(LogTool)
        assert (done.id, done.turn, done.at) == (asked.id, asked.turn, asked.at)
        assert (done.ok, done.unknown, done.replayed, done.made) == (True, False, False, "booked")
        assert done.took_ms == pytest.approx(500, abs=50)

    play(story, redis_url, BOOK, BOOKED)


def test_a_run_whose_answer_never_came_is_unknown_and_makes_nothing_of_the_call(redis_url: str) -> None:
    async def story(rig: Rig) -> None:
        await book(rig)
        await rig.hears("Anything else?")
        await rig.hang_up()
        assert came_of(rig) == ("caller_hung_up", "answered")
        *_, run = rig.log.of(LogTool)
        assert (run.ok, run.unknown, run.made) == (False, True, "")
        assert run.took_ms >= 2000

    lost = Tools(took_s=60.0, settle_s=60.0)
    play(story, redis_url, BOOK, BOOKED, tools=lost, settings=new_settings(tool_timeout_s=2.0))


def test_a_run_whose_answer_was_lost_and_read_back_made_the_booking(redis_url: str) -> None:
    async def story(rig: Rig) -> None:
        await book(rig)
        await rig.hears("Anything else?")
        await rig.hang_up()
        assert came_of(rig) == ("caller_hung_up", "booked")
        *_, run = rig.log.of(LogTool)
        assert (run.ok, run.unknown, run.replayed, run.made) == (True, False, True, "booked")

    settings = new_settings(tool_timeout_s=2.0)
    play(story, redis_url, BOOK, BOOKED, tools=Tools(reply_s=60.0), settings=settings)


def test_a_run_that_was_repeated_after_a_crash_says_so(redis_url: str) -> None:
    async def story(rig: Rig) -> None:
        await book(rig)
        await rig.until(lambda: bool(rig.tools.asked))
        await rig.crash()
        await rig.hears("Anything else?")
        runs = rig.log.of(LogTool)
        assert len({run.id for run in runs}) == 1
        assert (runs[-1].replayed, runs[-1].made) == (True, "booked")

    play(story, redis_url, BOOK, BOOKED, tools=Silent(took_s=0.0))


def test_each_request_to_the_model_is_logged_with_what_it_used(redis_url: str) -> None:
    async def story(rig: Rig) -> None:
        await book(rig)
        await rig.hears("Anything else?")
        await rig.hang_up()
        used = [entry for entry in rig.log.of(LogUsage) if entry.part is Part.MODEL]
        assert [(entry.source, entry.usage.prompt) for entry in used] == [("scripted", 100)] * 2
        assert len({entry.id for entry in used}) == 2
        [end] = rig.log.of(FinalizeCall)
        assert end.usage.prompt == 200

    play(story, redis_url, BOOK, BOOKED)


def test_a_stream_tells_what_recognition_and_the_voice_were_given_now_and_then_and_at_its_end(
    redis_url: str,
) -> None:
    def told(rig: Rig) -> list[LogUsage]:
        return [entry for entry in rig.log.of(LogUsage) if entry.part is Part.SPEECH]

    async def story(rig: Rig) -> None:
        await rig.hears("How can I help?")
        assert rig.stream is not None
        for _ in range(FRAMES):
            rig.stream.audio.tell(CallerAudio(audio.silence(audio.FRAME_MS)))
            await asyncio.sleep(audio.FRAME_MS / 1000)
        assert [entry.id for entry in told(rig)] == ["MZ1"]
        await rig.hang_up()
        [first, last] = told(rig)
        assert last.spoken_chars >= first.spoken_chars >= len(GREETING)
        assert last.heard_ms == pytest.approx(FRAMES * audio.FRAME_MS, abs=500)
        assert first.heard_ms < last.heard_ms

    play(story, redis_url, settings=new_settings(silence_prompt_s=8.0, silence_prompts=5))
