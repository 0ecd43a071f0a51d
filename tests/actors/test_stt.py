"""SttActor with deepgram-sdk over real sockets: marks and a scripted recogniser at the other end."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest

from actors import stt
from actors.stt import SttActor
from engine import audio, telemetry
from engine.actor import spawn
from engine.messages import (
    Adopt,
    CallerAudio,
    Final,
    Interim,
    SpeechStarted,
    SttBack,
    SttHeld,
    SttLost,
    Took,
    TurnEnded,
)
from engine.settings import Settings
from engine.vendors import deepgram
from engine.vendors.deepgram import Heard, ListenSocket
from local.serving import serving
from local.speech import ports
from local.speech.app import speech_app
from local.speech.params import Refusal
from local.speech.watch import Limits, Watch
from simulators.marks import MarksDelays, mark_audio, marks_app
from tests.actors.told import Told

SENTENCE = "I need an oil change tomorrow at nine."
FAST = MarksDelays(final_s=0.02, first_audio_s=0.02, voice_speed=50.0)


class Line:
    """An SttActor on a socket, and everybody that it knows."""

    def __init__(self, url: str, watch: Watch) -> None:
        self.call, self.stream = Told(), Told()
        self.watch = watch
        settings = Settings(_env_file=None, deepgram_base_url=url)  # type: ignore[call-arg]
        client = deepgram.client(settings)
        self.actor = SttActor(lambda: ListenSocket(client, settings), self.call, self.stream)

    async def adopted(self, epoch: int = 1, next_utterance: int = 1) -> SttHeld:
        count = len(self.stream.of(SttHeld))
        self.actor.tell(Adopt(epoch, next_utterance, 0))
        return await self.stream.next(SttHeld, count + 1)

    def hears(self, mulaw: bytes) -> None:
        """The caller's audio, in Twilio's frames."""
        for at in range(0, len(mulaw), audio.FRAME_BYTES):
            self.actor.tell(CallerAudio(mulaw[at : at + audio.FRAME_BYTES]))

    async def connected(self, count: int = 1) -> None:
        await self.watch.until(lambda watch: watch.opened >= count)

    async def cut(self) -> None:
        """The vendor's end of every socket fails."""
        for socket in list(self.watch.sockets):
            await socket.close(1011, "NET-0000 internal error")


@asynccontextmanager
async def line(app: Any = None) -> AsyncIterator[Line]:
    app = app or marks_app(FAST)
    async with serving(app) as server:
        line = Line(server.http_url, app.state.watch)
        spawn(line.actor, "stt")
        try:
            yield line
        finally:
            await line.actor.kill()


class Script:
    """A recogniser whose results the test tells; a flush completes `flushed`, if set."""

    def __init__(self) -> None:
        self._tell: ports.Tell | None = None
        self.heard = bytearray()
        self.flushed = ""
        self._news = asyncio.Event()

    async def open(self, tell: ports.Tell) -> None:
        self._tell = tell

    def feed(self, mulaw: bytes) -> None:
        self.heard += mulaw
        self._news.set()

    async def until(self, holds: Callable[[bytes], bool]) -> None:
        """Waits until what was heard is enough."""
        async with asyncio.timeout(20):
            while not holds(bytes(self.heard)):
                self._news.clear()
                await self._news.wait()

    async def flush(self) -> None:
        if self.flushed:
            self.says(ports.Completed(self.flushed, 0.0, 0.5))

    async def close(self) -> None:
        self._tell = None

    def says(self, heard: ports.Heard) -> None:
        assert self._tell is not None, "no socket is open"
        self._tell(heard)


class _NoVoice:
    async def say(self, text: str) -> Any:
        raise AssertionError("nobody speaks here")
        yield b""


def scripted(script: Script, limits: Limits | None = None) -> Any:
    return speech_app(lambda _: script, lambda _: _NoVoice(), limits)


# ---------------------------------------------------------------- words


async def test_a_callers_sentence_is_told_as_it_grows_and_when_it_is_over() -> None:
    async with line() as caller:
        await caller.adopted()
        caller.hears(audio.silence(200) + mark_audio(SENTENCE, 7, 0) + audio.silence(400))
        ended = await caller.call.next(TurnEnded)
        assert (ended.utterance, ended.text) == (1, SENTENCE)
        assert caller.call.of(SpeechStarted) == [SpeechStarted(1)]
        interims = caller.call.of(Interim)
        assert interims
        assert all(SENTENCE.startswith(interim.text) and interim.utterance == 1 for interim in interims)
        assert caller.call.of(Final)[-1].text == SENTENCE
        assert interims[0].at <= ended.at
        caller.hears(mark_audio("Thanks.", 7, 1))
        assert (await caller.call.next(TurnEnded, 2)).utterance == 2


async def test_when_the_last_word_ended_is_told_in_wall_time() -> None:
    async with line() as caller:
        await caller.adopted()
        caller.hears(mark_audio(SENTENCE, 7, 0) + audio.silence(1000))
        ended = await caller.call.next(TurnEnded)
        # The second of silence after the words was sent too: they ended about a second before the last sample.
        assert 0.5 < ended.at - ended.spoke_until < 5.0


async def test_a_gap_ends_a_turn_that_noise_has_kept_open(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stt, "STALE_S", 3600.0)
    script = Script()
    async with line(scripted(script)) as caller:
        await caller.adopted()
        await caller.connected()
        caller.hears(audio.silence(500))
        script.says(ports.Completed("Tomorrow at nine", 0.0, 0.4, ended=False))
        assert (await caller.call.next(Final)).text == "Tomorrow at nine"
        assert caller.call.of(TurnEnded) == []
        caller.hears(audio.silence(1200))
        assert (await caller.call.next(TurnEnded)).text == "Tomorrow at nine"


async def test_words_that_nothing_ends_are_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stt, "STALE_S", 0.08)
    script = Script()
    async with line(scripted(script)) as caller:
        await caller.adopted()
        await caller.connected()
        caller.hears(audio.silence(20))
        script.flushed = "Tomorrow at nine, please."
        script.says(ports.Interim("Tomorrow at", 0.0, 0.4))
        assert (await caller.call.next(TurnEnded)).text == "Tomorrow at nine, please."
        assert "Finalize" in caller.watch.types("listen")


async def test_words_end_by_the_clock_when_asking_brings_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stt, "STALE_S", 0.08)
    monkeypatch.setattr(stt, "FINALIZE_LIMIT_S", 0.08)
    script = Script()
    async with line(scripted(script)) as caller:
        await caller.adopted()
        await caller.connected()
        script.says(ports.Interim("Tomorrow at", 0.0, 0.4))
        ended = await caller.call.next(TurnEnded)
        assert ended.text == "Tomorrow at"
        assert caller.watch.types("listen").count("Finalize") == 1


# ---------------------------------------------------------------- kept until taken


async def test_before_anybody_has_the_call_nothing_is_told_and_all_is_held() -> None:
    script = Script()
    async with line(scripted(script)) as caller:
        arrived = Told()
        caller.actor.observe = arrived.tell
        await caller.connected()
        script.says(ports.Completed("Hello there.", 0.0, 0.4))
        script.says(ports.Interim("Anybody", 0.5, 0.9))
        await arrived.next(Heard, 2)
        held = await caller.adopted(1, 4)
        assert [(u.utterance, u.text, u.ended) for u in held.utterances] == [
            (4, "Hello there.", True),
            (5, "Anybody", False),
        ]
        assert caller.call.all == []


async def test_an_utterance_is_held_for_a_successor_until_it_is_taken() -> None:
    async with line() as caller:
        await caller.adopted()
        caller.hears(mark_audio("Hello there.", 7, 0) + audio.silence(400))
        await caller.call.next(TurnEnded)
        [kept] = (await caller.adopted(2)).utterances
        assert (kept.utterance, kept.text, kept.ended) == (1, "Hello there.", True)
        caller.actor.tell(Took(1))
        held = await caller.adopted(3, 1)
        assert held.utterances == ()
        assert held.quiet_ms < 60_000


async def test_the_open_utterance_is_held_with_its_age() -> None:
    script = Script()
    async with line(scripted(script)) as caller:
        await caller.adopted()
        await caller.connected()
        script.says(ports.Interim("Tomorrow at", 0.0, 0.4))
        await caller.call.next(Interim)
        [kept] = (await caller.adopted(2)).utterances
        assert (kept.text, kept.ended) == ("Tomorrow at", False)
        assert 0 <= kept.age_ms < 10_000
        script.says(ports.Completed("Tomorrow at nine.", 0.0, 0.9))
        assert (await caller.call.next(TurnEnded)).text == "Tomorrow at nine."


async def test_an_older_epoch_is_not_obeyed() -> None:
    async with line() as caller:
        await caller.adopted(5)
        caller.actor.tell(Adopt(4, 1, 0))
        await caller.adopted(6)
        assert [held.epoch for held in caller.stream.of(SttHeld)] == [5, 6]


# ---------------------------------------------------------------- the socket


async def test_a_socket_that_takes_nothing_is_given_up_and_its_audio_is_not_lost(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(stt, "SEND_LIMIT_S", 0.2)
    monkeypatch.setattr(stt, "LOOK_S", 0.02)
    monkeypatch.setattr(stt, "BACK_OFF_S", (0.02,))
    send, hung = ListenSocket.send, []

    async def hangs_once(self: ListenSocket, payload: bytes) -> None:
        if not hung:
            hung.append(payload)
            await asyncio.sleep(3600)
        await send(self, payload)

    monkeypatch.setattr(ListenSocket, "send", hangs_once)
    async with line() as caller:
        await caller.adopted()
        await caller.connected()
        caller.hears(mark_audio("Hello there.", 7, 0) + audio.silence(400))
        assert "took nothing" in (await caller.call.next(SttLost)).why
        assert (await caller.call.next(TurnEnded)).text == "Hello there."


async def test_audio_that_comes_while_the_socket_is_being_given_up_is_kept(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(stt, "BACK_OFF_S", (0.02,))
    sound = mark_audio("Hello there.", 7, 0) + audio.silence(400)
    async with line() as caller:
        await caller.adopted()
        await caller.connected()
        caller.hears(audio.silence(100))
        [socket] = caller.watch.sockets
        while socket.audio_bytes < 800:  # noqa: ASYNC110 - the server tells nobody of audio
            await asyncio.sleep(0.005)
        [sender] = [task for task in asyncio.all_tasks() if "SttActor._send" in repr(task)]
        sender.cancel()  # as its siblings' failure does
        caller.hears(sound)
        await caller.cut()
        assert (await caller.call.next(TurnEnded)).text == "Hello there."


async def test_the_socket_is_kept_alive_while_no_audio_flows(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stt, "KEEP_ALIVE_S", 0.05)
    monkeypatch.setattr(stt, "LOOK_S", 0.02)
    async with line(marks_app(FAST, Limits(idle_s=0.8))) as caller:
        await caller.adopted()
        await caller.watch.until(lambda watch: watch.types("listen").count("KeepAlive") >= 25)
        caller.hears(mark_audio("Hello there.", 7, 0) + audio.silence(400))
        assert (await caller.call.next(TurnEnded)).text == "Hello there."
        assert caller.watch.opened == 1
        assert caller.call.of(SttLost) == []


async def test_an_empty_frame_of_the_callers_does_not_close_the_stream() -> None:
    async with line() as caller:
        await caller.adopted()
        await caller.connected()
        for epoch in range(2, 7):
            caller.actor.tell(CallerAudio(b""))
            await caller.adopted(epoch)
        caller.hears(mark_audio("Hello there.", 7, 0) + audio.silence(400))
        assert (await caller.call.next(TurnEnded)).text == "Hello there."
        assert caller.watch.opened == 1


async def test_a_socket_that_drops_is_told_and_replaced_and_no_audio_is_lost_meanwhile(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(stt, "BACK_OFF_S", (0.02,))
    async with line() as caller:
        await caller.adopted()
        await caller.connected()
        caller.watch.refusal = Refusal(503, "UNAVAILABLE", "try later")
        await caller.cut()
        lost = await caller.call.next(SttLost)
        assert "Deepgram closed the socket" in lost.why
        assert "NET-0000" in lost.why
        caller.hears(mark_audio(SENTENCE, 7, 0) + audio.silence(400))
        caller.watch.refusal = None
        back = await caller.call.next(SttBack)
        assert back.away_ms > 0
        assert (await caller.call.next(TurnEnded)).text == SENTENCE
        assert len(caller.call.of(SttLost)) == 1


async def test_words_heard_before_a_drop_and_after_it_make_one_turn(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stt, "BACK_OFF_S", (0.02,))
    script = Script()
    async with line(scripted(script)) as caller:
        await caller.adopted()
        await caller.connected()
        script.says(ports.Interim("I need an oil", 0.0, 0.4))
        await caller.call.next(Interim)
        await caller.cut()
        await caller.call.next(SttBack)
        await caller.connected(2)
        script.says(ports.Interim("change", 0.0, 0.4))
        script.says(ports.Completed("change, please.", 0.0, 0.4))
        assert (await caller.call.next(TurnEnded)).text == "I need an oil change, please."


async def test_what_is_kept_while_the_socket_is_away_has_a_bound_and_the_rest_is_counted(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(stt, "BACK_OFF_S", (0.02,))
    monkeypatch.setattr(stt, "KEPT_BYTES", 50 * audio.FRAME_BYTES)
    script = Script()
    before = telemetry.snapshot().get("stt_frames_dropped", 0)
    async with line(scripted(script)) as caller:
        await caller.adopted()
        await caller.connected()
        caller.watch.refusal = Refusal(503, "UNAVAILABLE", "try later")
        await caller.cut()
        await caller.call.next(SttLost)
        frames = [bytes([n]) * audio.FRAME_BYTES for n in range(80)]
        caller.hears(b"".join(frames))
        await caller.adopted(2)
        caller.watch.refusal = None
        await caller.call.next(SttBack)
        caller.actor.tell(CallerAudio(b"\x63" * audio.FRAME_BYTES))
        await script.until(lambda heard: heard.endswith(b"\x63" * audio.FRAME_BYTES))
        assert bytes(script.heard) == b"".join(frames[30:]) + b"\x63" * audio.FRAME_BYTES
        assert telemetry.snapshot()["stt_frames_dropped"] == before + 30


async def test_a_refused_handshake_says_what_the_vendor_said() -> None:
    app = marks_app(FAST)
    app.state.watch.refusal = Refusal(402, "ASR_PAYMENT_REQUIRED", "no credit")
    async with line(app) as caller:
        await caller.adopted()
        lost = await caller.call.next(SttLost)
        assert "HTTP 402" in lost.why
        assert "no credit" in lost.why


async def test_audio_whose_sending_fails_is_given_to_the_next_socket(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stt, "BACK_OFF_S", (0.02,))
    script = Script()
    broken = [True]
    send = ListenSocket.send

    async def breaks_once(self: ListenSocket, payload: bytes) -> None:
        if broken:
            broken.clear()
            raise deepgram.VendorLost("Deepgram took nothing")
        await send(self, payload)

    monkeypatch.setattr(ListenSocket, "send", breaks_once)
    async with line(scripted(script)) as caller:
        await caller.adopted()
        await caller.connected()
        caller.hears(b"\x01" * 160)
        await caller.call.next(SttBack)
        caller.hears(b"\x02" * 160)
        await script.until(lambda heard: len(heard) >= 320)
        assert bytes(script.heard) == b"\x01" * 160 + b"\x02" * 160


async def test_an_actor_that_ends_says_goodbye_and_leaves_no_socket() -> None:
    async with line() as caller:
        await caller.adopted()
        caller.hears(mark_audio("Hello.", 7, 0))
        await caller.call.next(TurnEnded)
        caller.actor.stop()
        await caller.actor.ended()
        await caller.watch.until(lambda watch: watch.count("listen") == 0)
        assert caller.watch.types("listen")[-1] == "CloseStream"
