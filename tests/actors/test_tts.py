"""TtsActor with deepgram-sdk over real sockets: marks, voices that misbehave, and a server played by hand."""

import asyncio
import json
import time
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route as HttpRoute
from starlette.routing import WebSocketRoute
from starlette.websockets import WebSocket, WebSocketDisconnect

from actors import tts
from actors.tts import TtsActor
from engine import supervision, telemetry
from engine.actor import spawn
from engine.messages import Adopt, Down, Hush, Speak, SpeechAudio, SpeechWhole, TtsHeld
from engine.settings import Settings
from engine.supervision import BackOff
from engine.vendors import ways
from local.serving import serving
from local.speech.app import speech_app
from local.speech.params import Refusal
from local.speech.ports import Voice
from local.speech.watch import Limits, Watch
from simulators.marks import MarkReader, MarksDelays, MarksVoice, marks_app, text_of
from tests.actors.told import LIMIT_S, Told

FAST = MarksDelays(final_s=0.02, first_audio_s=0.01, voice_speed=50.0)
SLOW = MarksDelays(final_s=0.02, first_audio_s=0.01, voice_speed=2.0)
LONG = "This is a sentence that takes a while to say, so that somebody can interrupt it in the middle."


class Line:
    """A TtsActor on a socket, and everybody that it knows."""

    def __init__(self, http_url: str, watch: Watch | None = None, **chosen: Any) -> None:
        self.media, self.stream = Told(), Told()
        self._watch = watch
        settings = Settings(_env_file=None, deepgram_base_url=http_url, **chosen)  # type: ignore[call-arg]
        self.routes = ways.speak_routes(settings)
        self.actor = TtsActor(self.routes, self.media, self.stream, settings)

    @property
    def watch(self) -> Watch:
        assert self._watch is not None
        return self._watch

    def speak(self, turn: int, index: int, text: str) -> None:
        self.actor.tell(Speak(1, turn, index, text))

    async def whole(self, turn: int, index: int) -> None:
        await self.media.until(lambda told: SpeechWhole(1, turn, index) in told.all)

    def audio_of(self, turn: int, index: int) -> bytes:
        return b"".join(a.payload for a in self.media.of(SpeechAudio) if (a.turn, a.index) == (turn, index))

    def said(self, turn: int, index: int) -> str:
        """What the audio told under this sentence says."""
        return text_of(MarkReader().feed(self.audio_of(turn, index))).strip()


@asynccontextmanager
async def running(line: Line) -> AsyncIterator[Line]:
    spawn(line.actor, "tts")
    try:
        yield line
    finally:
        await line.actor.kill()


@asynccontextmanager
async def line(app: Any = None, **chosen: Any) -> AsyncIterator[Line]:
    """`chosen` are settings."""
    app = app or marks_app(FAST)
    async with serving(app) as server, running(Line(server.http_url, app.state.watch, **chosen)) as it:
        yield it


class _NobodyListens:
    async def open(self, tell: Any) -> None:
        raise AssertionError("nobody listens here")


def with_voice(voice: Voice) -> Starlette:
    return speech_app(lambda _: _NobodyListens(), lambda _: voice)  # type: ignore[arg-type, return-value]


# ---------------------------------------------------------------- sentences


async def test_sentences_come_in_order_and_each_is_whole_after_all_its_audio() -> None:
    texts = ["Sure.", "I can book that for you.", "Is nine o'clock fine?"]
    async with line() as agent:
        for index, text in enumerate(texts):
            agent.speak(1, index, text)
        await agent.whole(1, 2)
        assert [agent.said(1, index) for index in range(3)] == texts
        order = [
            (m.index, isinstance(m, SpeechWhole))
            for m in agent.media.all
            if isinstance(m, SpeechAudio | SpeechWhole)
        ]
        assert order == sorted(order)
        assert [index for index, whole in order if whole] == [0, 1, 2]
        assert agent.watch.types("speak") == ["Speak", "Flush"] * 3


async def test_audio_carries_when_it_was_asked_for_and_when_it_first_came() -> None:
    async with line() as agent:
        agent.speak(1, 0, LONG)
        await agent.whole(1, 0)
        audio = agent.media.of(SpeechAudio)
        assert len(audio) > 1
        assert len({(a.asked_at, a.audio_at) for a in audio}) == 1
        assert 0 < audio[0].asked_at <= audio[0].audio_at


async def test_a_successor_is_answered_and_an_older_epoch_is_not() -> None:
    async with line() as agent:
        agent.actor.tell(Adopt(5, 1, 0))
        agent.actor.tell(Adopt(4, 1, 0))
        agent.actor.tell(Adopt(6, 1, 0))
        await agent.stream.next(TtsHeld, 2)
        assert agent.stream.of(TtsHeld) == [TtsHeld(5), TtsHeld(6)]


# ---------------------------------------------------------------- hushed


@pytest.mark.parametrize("flushed_after_clear", [False, True])
@pytest.mark.parametrize("late_chunks", [0, 3])
async def test_after_a_hush_nothing_of_that_turn_is_told_and_the_next_is_whole(
    flushed_after_clear: bool, late_chunks: int
) -> None:
    limits = Limits(flushed_after_clear=flushed_after_clear, late_chunks=late_chunks)
    async with line(marks_app(SLOW, limits)) as agent:
        agent.speak(1, 0, LONG)
        agent.speak(1, 1, LONG)
        await agent.media.next(SpeechAudio)
        hushed = Told()
        agent.actor.observe = hushed.tell
        agent.actor.tell(Hush(1))
        agent.speak(2, 0, "What can I do instead?")
        await hushed.next(Hush)
        before = len([a for a in agent.media.of(SpeechAudio) if a.turn == 1])
        await agent.whole(2, 0)
        assert agent.said(2, 0) == "What can I do instead?"
        assert len([a for a in agent.media.of(SpeechAudio) if a.turn == 1]) == before
        assert [whole.turn for whole in agent.media.of(SpeechWhole)] == [2]
        assert agent.watch.types("speak").count("Clear") == 1
        assert agent.watch.opened == 1


async def test_what_is_told_of_a_hushed_turn_afterwards_is_not_spoken() -> None:
    async with line() as agent:
        agent.actor.tell(Hush(3))
        agent.speak(3, 5, "Too late.")
        agent.speak(2, 0, "Much too late.")
        agent.speak(4, 0, "In time.")
        await agent.whole(4, 0)
        assert {a.turn for a in agent.media.of(SpeechAudio)} == {4}
        assert "Clear" not in agent.watch.types("speak")


async def test_what_waits_for_a_socket_is_hushed_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(supervision, "SOCKETS", BackOff(0.01, 0.01))
    app = marks_app(FAST)
    app.state.watch.refusal = Refusal(503, "UNAVAILABLE", "try later")
    async with line(app) as agent:
        agent.speak(1, 0, "Too late.")
        agent.actor.tell(Hush(1))
        agent.speak(2, 0, "In time.")
        app.state.watch.refusal = None
        await agent.whole(2, 0)
        assert {a.turn for a in agent.media.of(SpeechAudio)} == {2}


async def test_a_hush_between_sentences_clears_nothing() -> None:
    async with line() as agent:
        agent.speak(1, 0, "One.")
        await agent.whole(1, 0)
        agent.actor.tell(Hush(1))
        agent.speak(2, 0, "Two.")
        await agent.whole(2, 0)
        assert "Clear" not in agent.watch.types("speak")


# ---------------------------------------------------------------- the limit of flushes


async def test_twenty_five_sentences_in_a_minute_are_all_spoken() -> None:
    async with line(marks_app(FAST, Limits(flush_limit=20))) as agent:
        before = telemetry.snapshot().get("tts_warnings", 0)
        for index in range(25):
            agent.speak(1, index, f"Number {index}.")
        await agent.whole(1, 24)
        assert [agent.said(1, index) for index in range(25)] == [f"Number {n}." for n in range(25)]
        assert agent.watch.opened == 2
        assert telemetry.snapshot().get("tts_warnings", 0) == before


async def test_a_flush_that_is_ignored_with_a_warning_is_asked_again_elsewhere(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(supervision, "SOCKETS", BackOff(0.01, 0.01))
    before = telemetry.snapshot().get("tts_stalls", 0)
    few = marks_app(FAST, Limits(flush_limit=2))  # fewer than the actor thinks
    async with line(few, tts_first_audio_s=7.0) as agent:
        for index in range(5):
            agent.speak(1, index, f"Number {index}.")
            await agent.whole(1, index)
        assert [agent.said(1, index) for index in range(5)] == [f"Number {n}." for n in range(5)]
        assert agent.watch.opened == 3
        assert telemetry.snapshot().get("tts_stalls", 0) == before  # nobody waited for what would not come


# ---------------------------------------------------------------- a vendor that fails


class Stalling:
    """A voice that never says a thing for the first `times`."""

    def __init__(self, times: int, source: int = 1) -> None:
        self._times = times
        self._marks = MarksVoice(source, FAST)

    async def say(self, text: str) -> AsyncGenerator[bytes, None]:
        if self._times:
            self._times -= 1
            await asyncio.Event().wait()
        async for chunk in self._marks.say(text):
            yield chunk


async def test_a_vendor_that_stalls_is_left_and_the_sentence_asked_again() -> None:
    async with line(with_voice(Stalling(1)), tts_first_audio_s=0.25) as agent:
        agent.speak(1, 0, "Can you hear me?")
        agent.speak(1, 1, "Good.")
        await agent.whole(1, 1)
        assert (agent.said(1, 0), agent.said(1, 1)) == ("Can you hear me?", "Good.")
        assert agent.watch.opened == 2


class Fading:
    """A voice that stops after `pieces` pieces of its first sentence, until its socket is closed."""

    def __init__(self, pieces: int, delays: MarksDelays = FAST) -> None:
        self._pieces = pieces
        self._delays = delays
        self.said: list[str] = []

    def audio(self, text: str) -> AsyncGenerator[bytes, None]:
        """The same for the same text."""
        return MarksVoice(1, self._delays).say(text)

    async def say(self, text: str) -> AsyncGenerator[bytes, None]:
        first = not self.said
        self.said.append(text.strip())
        count = 0
        async for chunk in self.audio(text):
            if first and count == self._pieces:
                await asyncio.Event().wait()
            count += 1
            yield chunk


def unbroken(agent: Line, turn: int, index: int) -> bool:
    """Whether the audio of a sentence is that of one synthesis from end to end, whatever happened in between."""
    marks = MarkReader().feed(agent.audio_of(turn, index))
    return [mark.index for mark in marks] == list(range(marks[0].total))


@pytest.mark.parametrize("pieces", [1, 4, 9])
async def test_a_sentence_whose_socket_drops_goes_on_at_the_sample_at_which_it_was_cut(pieces: int) -> None:
    async with line(with_voice(Fading(pieces)), tts_stall_s=7.0) as agent:
        agent.speak(1, 0, LONG)
        agent.speak(1, 1, "Good.")
        await agent.media.next(SpeechAudio, pieces)
        for socket in list(agent.watch.sockets):
            await socket.close(1011, "NET-0000 internal error")
        await agent.whole(1, 1)
        assert agent.said(1, 0) == LONG
        assert unbroken(agent, 1, 0)
        assert agent.said(1, 1) == "Good."
        assert [whole.index for whole in agent.media.of(SpeechWhole)] == [0, 1]


async def test_a_sentence_that_stalls_in_its_middle_goes_on_before_the_caller_hears_much_of_a_gap() -> None:
    async with line(with_voice(Fading(2))) as agent:
        agent.speak(1, 0, LONG)
        await agent.whole(1, 0)
        assert agent.said(1, 0) == LONG
        assert unbroken(agent, 1, 0)
        assert agent.watch.opened == 2


async def test_a_stall_of_which_the_caller_hears_nothing_is_waited_out() -> None:
    class Breathing(Fading):
        async def say(self, text: str) -> AsyncGenerator[bytes, None]:
            async for number, chunk in _numbered(self.audio(text)):
                if number == 40:
                    await asyncio.sleep(0.8)  # when 3 s of audio are ahead
                yield chunk

    async with line(with_voice(Breathing(0))) as agent:
        agent.speak(1, 0, LONG)
        await agent.whole(1, 0)
        assert unbroken(agent, 1, 0)
        assert agent.watch.opened == 1


async def _numbered(chunks: AsyncGenerator[bytes, None]) -> AsyncGenerator[tuple[int, bytes], None]:
    number = 0
    async for chunk in chunks:
        yield number, chunk
        number += 1


async def test_a_vendor_that_takes_no_more_sockets_speaks_by_rest() -> None:
    app = marks_app(FAST)
    app.state.watch.no_sockets = Refusal(429, "TOO_MANY_REQUESTS", "too many")
    async with line(app) as agent:
        agent.speak(1, 0, "One.")
        agent.speak(1, 1, LONG)
        await agent.whole(1, 1)
        assert (agent.said(1, 0), agent.said(1, 1)) == ("One.", LONG)
        assert agent.routes.best() is agent.routes.all[1]


async def test_what_rest_is_saying_is_hushed_too() -> None:
    app = marks_app(SLOW)
    app.state.watch.no_sockets = Refusal(429, "TOO_MANY_REQUESTS", "too many")
    async with line(app) as agent:
        agent.speak(1, 0, LONG)
        agent.speak(1, 1, LONG)
        await agent.media.next(SpeechAudio)
        agent.actor.tell(Hush(1))
        agent.speak(2, 0, "What can I do instead?")
        await agent.whole(2, 0)
        assert agent.said(2, 0) == "What can I do instead?"
        assert [whole.turn for whole in agent.media.of(SpeechWhole)] == [2]


async def test_the_rest_of_a_sentence_comes_from_the_fallback_when_the_vendor_is_gone() -> None:
    first, second = Fading(4), Fading(-1)
    async with (
        serving(with_voice(second)) as other,
        line(with_voice(first), tts_fallback=other.http_url) as agent,
    ):
        agent.speak(1, 0, "A short one comes first.")
        agent.speak(1, 1, LONG)
        await agent.media.next(SpeechAudio, 4)
        agent.watch.refusal = Refusal(503, "UNAVAILABLE", "down")
        for socket in list(agent.watch.sockets):
            await socket.close(1011, "NET-0000 internal error")
        await agent.whole(1, 1)
        heard = agent.said(1, 0)
        rest = second.said[0]
        assert "A short one comes first.".endswith(rest)
        said_before = heard.removesuffix(rest)
        assert "A short one comes first.".startswith(said_before)
        again = len(said_before + rest) - len("A short one comes first.")
        assert 0 <= again <= max(map(len, LONG.split()))  # at most one word twice, and none left out
        assert agent.said(1, 1) == LONG


async def test_speech_comes_back_to_the_first_vendor_between_turns(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tts, "LOOK_S", 0.02)
    app, second = marks_app(FAST), marks_app(FAST)
    app.state.watch.refusal = Refusal(503, "UNAVAILABLE", "down")
    async with serving(second) as other, line(app, tts_fallback=other.http_url, breaker_rest_s=0.2) as agent:
        agent.speak(1, 0, "One.")
        await agent.whole(1, 0)
        assert second.state.watch.count("speak") == 1
        app.state.watch.refusal = None
        await app.state.watch.until(lambda watch: watch.count("speak") == 1)
        agent.speak(1, 1, "One and a half.")  # in the same turn: in the same voice
        await agent.whole(1, 1)
        assert "One and a half. " in [c.message.get("text") for c in second.state.watch.controls]
        agent.speak(2, 0, "Two.")
        await agent.whole(2, 0)
        await second.state.watch.until(lambda watch: watch.count("speak") == 0)
        assert "Two. " in [c.message.get("text") for c in app.state.watch.controls]
        assert agent.routes.best() is agent.routes.all[0]


async def test_a_turn_whose_voice_is_lost_again_takes_the_better_one_that_waits(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(tts, "LOOK_S", 0.02)
    app, second = marks_app(FAST), marks_app(FAST)
    app.state.watch.refusal = Refusal(503, "UNAVAILABLE", "down")
    async with serving(second) as other, line(app, tts_fallback=other.http_url, breaker_rest_s=0.2) as agent:
        agent.speak(1, 0, "One.")
        await agent.whole(1, 0)
        app.state.watch.refusal = None
        await app.state.watch.until(lambda watch: watch.count("speak") == 1)
        second.state.watch.refusal = Refusal(503, "UNAVAILABLE", "down")
        for socket in list(second.state.watch.sockets):
            await socket.close(1011, "NET-0000 internal error")
        agent.speak(1, 1, "One and a half.")
        await agent.whole(1, 1)
        assert "One and a half. " in [c.message.get("text") for c in app.state.watch.controls]


async def test_a_vendor_that_refuses_is_asked_until_it_does_not(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(supervision, "SOCKETS", BackOff(0.01, 0.01))
    app = marks_app(FAST)
    app.state.watch.refusal = Refusal(429, "TOO_MANY_REQUESTS", "too many")
    async with line(app) as agent:
        seen = Told()
        agent.actor.observe = seen.tell
        agent.speak(1, 0, "One.")
        ended = await seen.next(tts._Ended, 5)
        assert "HTTP 429" in str(ended.lost)
        app.state.watch.refusal = None
        await agent.whole(1, 0)
        assert agent.said(1, 0) == "One."


@pytest.mark.parametrize("asked_before", [True, False])
async def test_a_voice_that_is_refused_for_good_is_told_at_once_and_not_asked_for_again(
    monkeypatch: pytest.MonkeyPatch, asked_before: bool
) -> None:
    monkeypatch.setattr(supervision, "SOCKETS", BackOff(0.01, 0.01))
    app = marks_app(FAST)
    app.state.watch.refusal = Refusal(401, "INVALID_AUTH", "no such key")
    async with line(app) as agent:
        seen = Told()
        agent.actor.observe = seen.tell
        if asked_before:
            agent.speak(1, 0, "One.")
        else:
            await seen.next(tts._Ended)
            agent.speak(1, 0, "One.")
        down = await agent.stream.next(Down)
        assert down.child == "voice"
        assert "HTTP 401" in down.reason
        refused = len(seen.of(tts._Ended))
        assert refused == len(agent.routes.all)
        await asyncio.sleep(0.2)  # twenty times the pause between tries
        assert len(seen.of(tts._Ended)) == refused
        assert len(agent.stream.of(Down)) == 1


async def test_a_voice_that_was_refused_for_good_speaks_again_when_another_call_found_it_well(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(tts, "LOOK_S", 0.02)
    app = marks_app(FAST)
    app.state.watch.no_sockets = Refusal(402, "INSUFFICIENT_CREDITS", "no money")
    async with line(app) as agent:
        for route in agent.routes.all:
            route.failed("no money", for_good=True)
        seen = Told()
        agent.actor.observe = seen.tell
        await seen.next(tts._Ended)
        app.state.watch.no_sockets = None
        agent.routes.all[0].worked()
        agent.speak(1, 0, "One.")
        await agent.whole(1, 0)
        assert agent.said(1, 0) == "One."


class Poisoned:
    """A voice that says a beginning of each sentence, the same each time or `more` and more of it, and then fails or
    stalls."""

    def __init__(self, stalls: bool, more: int = 0) -> None:
        self._stalls = stalls
        self._most, self._more = 2, more
        self._marks = MarksVoice(1, FAST)

    async def say(self, text: str) -> AsyncGenerator[bytes, None]:
        pieces, most = 0, self._most
        self._most += self._more
        async for chunk in self._marks.say(text):
            if pieces == most:
                if self._stalls:
                    await asyncio.sleep(3600)
                raise RuntimeError("poison")
            yield chunk
            pieces += 1


@pytest.mark.parametrize("stalls", [False, True])
async def test_a_voice_that_fails_at_the_same_place_each_time_is_left(stalls: bool) -> None:
    second = marks_app(FAST)
    async with (
        serving(second) as other,
        line(with_voice(Poisoned(stalls)), tts_fallback=other.http_url, tts_first_audio_s=0.3) as agent,
    ):
        agent.speak(1, 0, LONG)
        await agent.whole(1, 0)
        assert not agent.routes.all[0].well
        assert agent.watch.opened <= 6


async def test_a_voice_that_stalls_in_each_sentence_is_left_though_it_gets_on() -> None:
    second = marks_app(FAST)
    async with (
        serving(second) as other,
        line(with_voice(Poisoned(True, more=2)), tts_fallback=other.http_url) as agent,
    ):
        agent.speak(1, 0, LONG)
        await agent.whole(1, 0)
        assert not agent.routes.all[0].well


async def test_a_voice_that_only_warns_is_left_for_the_next_way(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(supervision, "SOCKETS", BackOff(0.01, 0.01))
    never = marks_app(FAST, Limits(flush_limit=0))
    async with line(never, tts_first_audio_s=7.0) as agent:
        agent.speak(1, 0, "One.")
        await agent.whole(1, 0)
        assert agent.said(1, 0) == "One."
        assert not agent.routes.all[0].well


async def test_an_actor_that_ends_says_goodbye_and_leaves_no_socket() -> None:
    async with line() as agent:
        agent.speak(1, 0, "One.")
        await agent.whole(1, 0)
        agent.actor.stop()
        await agent.actor.ended()
        await agent.watch.until(lambda watch: watch.count("speak") == 0)
        assert agent.watch.types("speak")[-1] == "Close"


# ---------------------------------------------------------------- a server played by hand


class ByHand:
    """A speak server of which the test is the voice: it sees each command and says what is sent back."""

    def __init__(self) -> None:
        self.sockets: list[WebSocket] = []
        self.commands: asyncio.Queue[tuple[int, dict[str, Any]]] = asyncio.Queue()
        self.app = Starlette(routes=[WebSocketRoute("/v1/speak", self._serve)])

    async def _serve(self, socket: WebSocket) -> None:
        await socket.accept()
        number = len(self.sockets)
        self.sockets.append(socket)
        try:
            while True:
                self.commands.put_nowait((number, json.loads(await socket.receive_text())))
        except WebSocketDisconnect:
            self.commands.put_nowait((number, {"type": "left"}))

    async def asked(self, *kinds: str, socket: int = 0) -> None:
        """The next commands are these."""
        for kind in kinds:
            number, command = await asyncio.wait_for(self.commands.get(), LIMIT_S)
            assert (number, command["type"]) == (socket, kind)

    async def says(self, *messages: str | bytes, socket: int = 0) -> None:
        for message in messages:
            if isinstance(message, bytes):
                await self.sockets[socket].send_bytes(message)
            else:
                await self.sockets[socket].send_json({"type": message, "sequence_id": 0})


@asynccontextmanager
async def by_hand(**chosen: Any) -> AsyncIterator[tuple[ByHand, Line]]:
    hand = ByHand()
    async with serving(hand.app) as server, running(Line(server.http_url, **chosen)) as agent:
        yield hand, agent


async def two_interrupts_one(hand: ByHand, agent: Line) -> None:
    """Turn 1 is being spoken when the caller interrupts, and turn 2 follows."""
    agent.speak(1, 0, "One.")
    await hand.asked("Speak", "Flush")
    agent.actor.tell(Hush(1))
    agent.speak(2, 0, "Two.")


async def test_a_flushed_that_comes_after_its_clear_is_not_taken_for_the_next_sentences() -> None:
    async with by_hand() as (hand, agent):
        await two_interrupts_one(hand, agent)
        await hand.asked("Clear", "Speak", "Flush")
        await hand.says(b"late", "Cleared", "Flushed")  # of "One."
        await hand.says(b"two", "Flushed")
        await agent.whole(2, 0)
        assert agent.audio_of(2, 0) == b"two"
        assert agent.audio_of(1, 0) == b""
        agent.speak(2, 1, "Three.")
        await hand.asked("Speak", "Flush")
        await hand.says(b"three", "Flushed")
        await agent.whole(2, 1)
        assert agent.audio_of(2, 1) == b"three"
        assert len(agent.media.of(SpeechWhole)) == 2


async def test_without_a_flushed_for_what_was_cleared_the_next_sentence_is_whole_at_its_own() -> None:
    async with by_hand() as (hand, agent):
        await two_interrupts_one(hand, agent)
        await hand.asked("Clear", "Speak", "Flush")
        await hand.says("Cleared", b"two", "Flushed")
        await agent.whole(2, 0)
        assert agent.audio_of(2, 0) == b"two"


async def test_a_sentence_that_has_no_sound_is_whole_at_its_flushed() -> None:
    async with by_hand() as (hand, agent):
        await two_interrupts_one(hand, agent)
        agent.speak(2, 1, "...")
        await hand.asked("Clear", "Speak", "Flush", "Speak", "Flush")
        await hand.says("Cleared", b"two", "Flushed", "Flushed")  # none for "One."
        await agent.whole(2, 1)
        assert agent.audio_of(2, 1) == b""


async def test_who_is_interrupted_twice_in_a_row_hears_nothing_of_either() -> None:
    async with by_hand() as (hand, agent):
        await two_interrupts_one(hand, agent)
        agent.actor.tell(Hush(2))
        agent.speak(3, 0, "Three.")
        await hand.asked("Clear", "Speak", "Flush", "Clear", "Speak", "Flush")
        await hand.says(b"one", "Cleared", b"two", "Cleared", b"three", "Flushed")
        await agent.whole(3, 0)
        assert agent.audio_of(3, 0) == b"three"
        assert [audio.turn for audio in agent.media.of(SpeechAudio)] == [3]


async def test_an_error_message_is_the_end_of_that_socket(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(supervision, "SOCKETS", BackOff(0.01, 0.01))
    async with by_hand() as (hand, agent):
        agent.speak(1, 0, "One.")
        await hand.asked("Speak", "Flush")
        await hand.sockets[0].send_json({"type": "Error", "description": "out of breath"})
        await hand.asked("Close")
        await hand.asked("left")
        await hand.asked("Speak", "Flush", socket=1)
        await hand.says(b"one", "Flushed", socket=1)
        await agent.whole(1, 0)
        assert agent.audio_of(1, 0) == b"one"


async def test_a_vendor_is_not_late_when_our_own_loop_was_held_up() -> None:
    async with by_hand(tts_first_audio_s=0.2) as (hand, agent):
        agent.speak(1, 0, "One.")
        await hand.asked("Speak", "Flush")
        await hand.says(b"one", "Flushed")
        time.sleep(0.4)  # noqa: ASYNC251 - it has come, and nobody could read it
        await agent.whole(1, 0)
        assert agent.audio_of(1, 0) == b"one"
        assert len(hand.sockets) == 1


async def test_a_clear_that_is_never_answered_does_not_mute_the_agent(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(supervision, "SOCKETS", BackOff(0.01, 0.01))
    async with by_hand(tts_first_audio_s=0.25) as (hand, agent):
        await two_interrupts_one(hand, agent)
        await hand.asked("Clear", "Speak", "Flush", "Close", "left")
        await hand.asked("Speak", "Flush", socket=1)
        await hand.says(b"two", "Flushed", socket=1)
        await agent.whole(2, 0)
        assert agent.audio_of(2, 0) == b"two"


@pytest.mark.parametrize(
    ("body", "kind"),
    [
        (b"", "audio/mulaw"),
        (b"<html>maintenance</html>" * 50, "text/html"),
        (b'{"err_code":"X"}', "application/json"),
    ],
)
async def test_what_rest_answers_that_is_no_speech_is_not_heard(body: bytes, kind: str) -> None:
    async def speaks(_: Request) -> Response:
        return Response(body, media_type=kind)

    async def refuses(websocket: WebSocket) -> None:
        await websocket.send_denial_response(Response("", 503))

    path = "/v1/speak"
    odd = Starlette(routes=[HttpRoute(path, speaks, methods=["POST"]), WebSocketRoute(path, refuses)])
    async with (
        serving(odd) as first,
        serving(marks_app(FAST)) as second,
        running(Line(first.http_url, tts_fallback=second.http_url)) as agent,
    ):
        agent.speak(1, 0, "Hello there.")
        await agent.whole(1, 0)
        assert agent.said(1, 0) == "Hello there."
        assert unbroken(agent, 1, 0)
