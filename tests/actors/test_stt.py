"""SttActor with deepgram-sdk over real sockets: marks and a scripted recogniser at the other end."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest

from actors import listenline, stt
from actors.stt import SttActor
from engine import audio, supervision, telemetry
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
from engine.supervision import BackOff
from engine.vendors import ways
from engine.vendors.deepgram import ListenSocket, VendorLost
from local.serving import serving
from local.speech import ports
from local.speech.app import speech_app
from local.speech.params import Refusal
from local.speech.watch import Limits, Watch
from simulators.marks import MarksDelays, mark_audio, marks_app
from tests.actors.told import Told

SPEECH = b"\xa0" * audio.FRAME_BYTES
SENTENCE = "I need an oil change tomorrow at nine."
FAST = MarksDelays(final_s=0.02, first_audio_s=0.02, voice_speed=50.0)


class Line:
    """An SttActor on a socket, and everybody that it knows."""

    def __init__(self, url: str, watch: Watch, **chosen: Any) -> None:
        self.call, self.stream = Told(), Told()
        self.watch = watch
        settings = Settings(_env_file=None, deepgram_base_url=url, **chosen)  # type: ignore[call-arg]
        self.routes = ways.listen_routes(settings)
        self.actor = SttActor(self.routes, self.call, self.stream, settings)

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
async def line(app: Any = None, **chosen: Any) -> AsyncIterator[Line]:
    """`chosen` are settings."""
    app = app or marks_app(FAST)
    async with serving(app) as server:
        line = Line(server.http_url, app.state.watch, **chosen)
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


async def test_a_gap_ends_a_turn_that_noise_has_kept_open() -> None:
    script = Script()
    async with line(scripted(script), stt_stale_s=3600.0) as caller:
        await caller.adopted()
        await caller.connected()
        caller.hears(audio.silence(500))
        script.says(ports.Completed("Tomorrow at nine", 0.0, 0.4, ended=False))
        assert (await caller.call.next(Final)).text == "Tomorrow at nine"
        assert caller.call.of(TurnEnded) == []
        caller.hears(audio.silence(1200))
        assert (await caller.call.next(TurnEnded)).text == "Tomorrow at nine"


async def test_words_that_nothing_ends_are_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stt, "WATCH_S", 0.02)
    script = Script()
    async with line(scripted(script), stt_stale_s=0.08) as caller:
        await caller.adopted()
        await caller.connected()
        caller.hears(audio.silence(20))
        script.flushed = "Tomorrow at nine, please."
        script.says(ports.Interim("Tomorrow at", 0.0, 0.4))
        assert (await caller.call.next(TurnEnded)).text == "Tomorrow at nine, please."
        assert "Finalize" in caller.watch.types("listen")


async def test_words_end_by_the_clock_when_asking_brings_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stt, "WATCH_S", 0.02)
    script = Script()
    async with line(scripted(script), stt_stale_s=0.08, stt_finalize_s=0.08) as caller:
        await caller.adopted()
        await caller.connected()
        script.says(ports.Interim("Tomorrow at", 0.0, 0.4))
        ended = await caller.call.next(TurnEnded)
        assert ended.text == "Tomorrow at"
        assert caller.watch.types("listen").count("Finalize") == 1


async def test_a_caller_who_goes_on_after_a_pause_is_not_cut_short(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stt, "WATCH_S", 0.02)
    script = Script()
    async with line(scripted(script), stt_stale_s=0.2, stt_finalize_s=0.3) as caller:
        await caller.adopted()
        await caller.connected()
        script.says(ports.Interim("Tomorrow at", 0.0, 0.4))
        await caller.watch.until(lambda watch: "Finalize" in watch.types("listen"))
        for words in range(8):
            script.says(ports.Interim("Tomorrow at nine" + " or ten" * words, 0.0, 0.9 + words))
            await asyncio.sleep(0.1)
        assert caller.call.of(TurnEnded) == []
        script.says(ports.Completed("Tomorrow at nine or ten.", 0.0, 9.9))
        assert (await caller.call.next(TurnEnded)).text == "Tomorrow at nine or ten."


# ---------------------------------------------------------------- kept until taken


async def test_before_anybody_has_the_call_nothing_is_told_and_all_is_held() -> None:
    script = Script()
    async with line(scripted(script)) as caller:
        arrived = Told()
        caller.actor.observe = arrived.tell
        await caller.connected()
        script.says(ports.Completed("Hello there.", 0.0, 0.4))
        script.says(ports.Interim("Anybody", 0.5, 0.9))
        await arrived.until(lambda told: [isinstance(m, tuple) for m in told.all].count(True) >= 2)
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
    monkeypatch.setattr(listenline, "LOOK_S", 0.02)
    monkeypatch.setattr(supervision, "SOCKETS", BackOff(0.02, 0.02))
    send, hung = ListenSocket.send, []

    async def hangs_once(self: ListenSocket, payload: bytes) -> None:
        if not hung:
            hung.append(payload)
            await asyncio.sleep(3600)
        await send(self, payload)

    monkeypatch.setattr(ListenSocket, "send", hangs_once)
    async with line(stt_silence_s=0.2) as caller:
        await caller.adopted()
        await caller.connected()
        caller.hears(mark_audio("Hello there.", 7, 0) + audio.silence(400))
        assert "took nothing" in (await caller.call.next(SttLost)).why
        assert (await caller.call.next(TurnEnded)).text == "Hello there."


async def test_audio_that_comes_while_the_socket_is_being_given_up_is_kept(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(supervision, "SOCKETS", BackOff(0.02, 0.02))
    sound = mark_audio("Hello there.", 7, 0) + audio.silence(400)
    async with line() as caller:
        await caller.adopted()
        await caller.connected()
        caller.hears(audio.silence(100))
        [socket] = caller.watch.sockets
        while socket.audio_bytes < 800:  # noqa: ASYNC110 - the server tells nobody of audio
            await asyncio.sleep(0.005)
        [sender] = [task for task in asyncio.all_tasks() if "ListenLine._send" in repr(task)]
        sender.cancel()  # as its siblings' failure does
        caller.hears(sound)
        await caller.cut()
        assert (await caller.call.next(TurnEnded)).text == "Hello there."


async def test_the_socket_is_kept_alive_while_no_audio_flows(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(listenline, "KEEP_ALIVE_S", 0.05)
    monkeypatch.setattr(listenline, "LOOK_S", 0.02)
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
    monkeypatch.setattr(supervision, "SOCKETS", BackOff(0.02, 0.02))
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


async def test_finals_before_a_drop_and_words_after_it_make_one_turn() -> None:
    script = Script()
    async with line(scripted(script)) as caller:
        await caller.adopted()
        await caller.connected()
        caller.hears(SPEECH * 40)
        await script.until(lambda heard: len(heard) == 40 * 160)
        script.says(ports.Completed("I need an oil", 0.0, 0.4, ended=False))
        script.says(ports.Interim("change", 0.4, 0.8))
        await caller.call.until(lambda told: "I need an oil change" in [i.text for i in told.of(Interim)])
        await caller.cut()
        await script.until(lambda heard: len(heard) == (40 + 20) * 160)  # from the end of the final on
        script.says(ports.Completed("change, please.", 0.0, 0.4))
        assert (await caller.call.next(TurnEnded)).text == "I need an oil change, please."


@pytest.mark.parametrize("frames", [1, 20, 60, 110, 125])
async def test_wherever_a_socket_drops_no_word_is_lost_and_none_comes_twice(frames: int) -> None:
    sound = audio.silence(200) + mark_audio(SENTENCE, 7, 0) + audio.silence(400)
    async with line() as caller:
        await caller.adopted()
        await caller.connected()
        caller.hears(sound[: frames * 160])
        [socket] = caller.watch.sockets
        while socket.audio_bytes < frames * 160:  # noqa: ASYNC110 - the server tells nobody of audio
            await asyncio.sleep(0.005)
        await caller.cut()
        caller.hears(sound[frames * 160 :])
        assert (await caller.call.next(TurnEnded)).text == SENTENCE
        assert caller.watch.opened == 2
        caller.hears(mark_audio("Thanks.", 7, 1) + audio.silence(400))
        assert (await caller.call.next(TurnEnded, 2)).text == "Thanks."
        assert len(caller.call.of(TurnEnded)) == 2


async def test_sockets_that_drop_while_the_caller_speaks_do_not_make_a_working_vendor_a_bad_one() -> None:
    sound = mark_audio(SENTENCE, 7, 0)
    async with line(breaker_failures=1) as caller:
        await caller.adopted()
        await caller.connected()
        for part in range(3):
            told = len(caller.call.of(Interim))
            caller.hears(sound[part * 6400 : (part + 1) * 6400])
            await caller.call.next(Interim, told + 1)
            caller.hears(SPEECH * 15)  # of which nothing is told: no mark is in it
            await caller.cut()
            await caller.call.next(SttBack, part + 1)
        assert caller.routes.all[0].well


async def test_a_socket_that_tells_that_speech_began_and_then_nothing_is_found() -> None:
    deaf = speech_app(lambda _: Deaf(), lambda _: _NoVoice(), Limits(again_s=3600.0, empty_final_s=3600.0))
    async with (
        serving(marks_app(FAST)) as second,
        line(deaf, stt_fallback=second.http_url, stt_silence_s=0.3) as caller,
    ):
        await caller.adopted()
        await caller.connected()
        caller.hears(mark_audio(SENTENCE, 7, 0) + audio.silence(400))
        assert (await caller.call.next(TurnEnded)).text == SENTENCE


NO_TIMES = (
    '"start":NaN,"duration":1.0',
    '"start":1e999,"duration":1.0',
    '"start":0,"duration":-1.0',
    '"start":0,"duration":1' + "0" * 400,
    '"start":0,"duration":1.0,"words":[{"word":"no","start":0,"end":"NaN"}]',
)


@pytest.mark.parametrize("final", ["true", "false"])
@pytest.mark.parametrize("times", NO_TIMES)
async def test_a_result_with_times_that_are_none_is_skipped(times: str, final: str) -> None:
    span, _, words = times.partition(',"words":')
    best = f'{{"transcript":"no","words":{words or "[]"}}}'
    result = f'{{"type":"Results",{span},"is_final":{final},"channel":{{"alternatives":[{best}]}}}}'
    async with line() as caller:
        await caller.adopted()
        await caller.connected()
        for socket in caller.watch.sockets:
            await socket.websocket.send_text(result)
        caller.hears(mark_audio(SENTENCE, 7, 0) + audio.silence(400))
        assert (await caller.call.next(TurnEnded)).text == SENTENCE
        assert "no" not in [interim.text for interim in caller.call.of(Interim)]
        assert caller.watch.opened == 1


@pytest.mark.parametrize("by", ["the clock", "UtteranceEnd"])
async def test_words_that_were_taken_are_not_heard_again_in_a_longer_result(
    monkeypatch: pytest.MonkeyPatch, by: str
) -> None:
    monkeypatch.setattr(stt, "WATCH_S", 0.02)
    script = Script()
    limits = {"stt_stale_s": 0.08, "stt_finalize_s": 0.08} if by == "the clock" else {}
    async with line(scripted(script), **limits) as caller:
        await caller.adopted()
        await caller.connected()
        caller.hears(SPEECH * 40)
        await script.until(lambda heard: len(heard) == 40 * 160)
        script.says(ports.Interim("Tomorrow at", 0.0, 0.6))
        await caller.call.next(Interim)
        if by == "UtteranceEnd":
            [socket] = caller.watch.sockets
            await socket.websocket.send_text('{"type":"UtteranceEnd","channel":[0,1],"last_word_end":0.6}')
        assert (await caller.call.next(TurnEnded)).text == "Tomorrow at"
        caller.hears(SPEECH * 40)
        await script.until(lambda heard: len(heard) == 80 * 160)
        script.says(ports.Interim("Tomorrow at nine", 0.0, 0.9))
        script.says(ports.Completed("Tomorrow at nine or ten.", 0.0, 1.2))
        assert (await caller.call.next(TurnEnded, 2)).text == "nine or ten."
        assert [i.text for i in caller.call.of(Interim) if i.utterance == 2] == ["nine"]


class Deaf:
    """A recogniser that hears a voice, and never a word."""

    def __init__(self) -> None:
        self._began = False

    async def open(self, tell: ports.Tell) -> None:
        self._tell = tell

    def feed(self, mulaw: bytes) -> None:
        if not self._began:
            self._began = True
            self._tell(ports.Started(0.0))

    async def flush(self) -> None:
        pass

    async def close(self) -> None:
        pass


class Flapping:
    """A recogniser whose sockets each tell something, and then fail."""

    def __init__(self, *told: ports.Heard) -> None:
        self._told = list(told)

    async def open(self, tell: ports.Tell) -> None:
        self._tell = tell

    def feed(self, mulaw: bytes) -> None:
        if not self._told:
            raise RuntimeError("failed")
        self._tell(self._told.pop(0))

    async def flush(self) -> None:
        pass

    async def close(self) -> None:
        pass


@pytest.mark.parametrize(
    "told", [ports.Started(0.0), ports.Interim("I need", 0.0, 0.5)], ids=["voice", "words"]
)
async def test_a_vendor_each_of_whose_sockets_tells_something_and_fails_is_left(told: ports.Heard) -> None:
    flapping = speech_app(lambda _: Flapping(told), lambda _: _NoVoice())
    async with serving(marks_app(FAST)) as second, line(flapping, stt_fallback=second.http_url) as caller:
        await caller.adopted()
        sound = audio.silence(200) + mark_audio(SENTENCE, 7, 0) + audio.silence(400)
        for at in range(0, len(sound), audio.FRAME_BYTES):
            caller.hears(sound[at : at + audio.FRAME_BYTES])
            await asyncio.sleep(0.005)
        assert (await caller.call.next(TurnEnded)).text == SENTENCE
        assert caller.watch.opened <= 10


async def test_a_vendor_that_fails_again_and_again_is_not_asked_all_the_time() -> None:
    flapping = speech_app(lambda _: Flapping(ports.Interim("I need", 0.0, 0.5)), lambda _: _NoVoice())
    async with line(flapping) as caller:
        await caller.adopted()
        for _ in range(100):
            caller.hears(SPEECH)
            await asyncio.sleep(0.02)
        assert caller.watch.opened <= 12  # in two seconds; with no pauses it was thirty a second


async def test_after_a_drop_the_end_of_words_is_told_in_the_callers_time() -> None:
    async with line() as caller:
        await caller.adopted()
        caller.hears(mark_audio("Hello there.", 7, 0) + audio.silence(400))
        await caller.call.next(TurnEnded)
        caller.hears(mark_audio(SENTENCE, 7, 1)[: 60 * 160])
        await caller.call.until(lambda told: any(i.utterance == 2 for i in told.of(Interim)))
        await caller.cut()
        caller.hears(mark_audio(SENTENCE, 7, 1)[60 * 160 :] + audio.silence(1000))
        ended = await caller.call.next(TurnEnded, 2)
        assert 0.9 < ended.at - ended.spoke_until < 5.0


async def test_a_turn_whose_words_were_all_final_ends_although_its_socket_is_gone() -> None:
    script = Script()
    async with line(scripted(script), stt_stale_s=3600.0) as caller:
        await caller.adopted()
        await caller.connected()
        caller.hears(SPEECH * 20)
        await script.until(lambda heard: len(heard) == 20 * 160)
        script.says(ports.Completed("Tomorrow at nine.", 0.0, 0.4, ended=False))
        await caller.call.next(Final)
        await caller.cut()
        caller.hears(audio.silence(600))
        assert (await caller.call.next(TurnEnded)).text == "Tomorrow at nine."


async def test_words_that_come_after_they_were_taken_as_they_stood_are_not_heard_twice(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(stt, "WATCH_S", 0.02)
    script = Script()
    async with line(scripted(script), stt_stale_s=0.08, stt_finalize_s=0.08) as caller:
        await caller.adopted()
        await caller.connected()
        caller.hears(SPEECH * 40)
        await script.until(lambda heard: len(heard) == 40 * 160)
        script.says(ports.Interim("Tomorrow at", 0.0, 0.6))
        assert (await caller.call.next(TurnEnded)).text == "Tomorrow at"
        script.says(ports.Completed("Tomorrow at.", 0.0, 0.65))
        caller.hears(SPEECH * 40)
        await script.until(lambda heard: len(heard) == 80 * 160)
        script.says(ports.Completed("Nine.", 1.0, 1.5))
        assert (await caller.call.next(TurnEnded, 2)).text == "Nine."


# ---------------------------------------------------------------- a vendor that is not well


async def test_a_socket_that_tells_nothing_though_the_caller_speaks_is_replaced_and_no_word_is_lost() -> None:
    async with line(stt_silence_s=0.4) as caller:
        await caller.adopted()
        caller.hears(mark_audio("Hello there.", 7, 0) + audio.silence(400))
        await caller.call.next(TurnEnded)
        caller.watch.mute = True
        caller.hears(mark_audio(SENTENCE, 7, 1) + audio.silence(400))
        assert "told nothing" in (await caller.call.next(SttLost)).why
        caller.watch.mute = False
        assert (await caller.call.next(TurnEnded, 2)).text == SENTENCE
        assert caller.watch.opened == 2


async def test_a_socket_that_tells_nothing_while_nobody_speaks_is_left_alone() -> None:
    async with line(stt_silence_s=0.1) as caller:
        await caller.adopted()
        await caller.connected()
        caller.watch.mute = True
        click = SPEECH + audio.silence(20)
        caller.hears(click + audio.silence(980))
        await asyncio.sleep(0.6)
        assert caller.call.of(SttLost) == []
        assert caller.watch.opened == 1


async def test_a_line_on_which_noise_brings_no_answer_is_asked_ever_more_seldom(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(supervision, "SOCKETS", BackOff(0.0, 0.0))
    async with line(stt_silence_s=0.1) as caller:
        await caller.adopted()
        caller.watch.mute = True
        for _ in range(12):
            caller.hears(SPEECH * 10)
            await asyncio.sleep(0.1)
        assert caller.watch.opened <= 5  # after 0.1, 0.2, 0.4, 0.8 s


async def test_a_refusal_that_no_repetition_mends_is_told_and_not_repeated() -> None:
    app = marks_app(FAST)
    app.state.watch.refusal = Refusal(401, "INVALID_AUTH", "Invalid credentials.")
    async with line(app) as caller:
        await caller.adopted()
        assert (await caller.call.next(SttLost)).for_good
        app.state.watch.refusal = None
        await asyncio.sleep(0.5)
        assert caller.watch.opened == 0
        await caller.adopted(2)
        assert (await caller.call.next(SttLost, 2)).for_good  # a successor has to know


@pytest.mark.parametrize("status", [429, 503])
async def test_a_vendor_that_has_too_much_to_do_is_asked_again(status: int) -> None:
    app = marks_app(FAST)
    app.state.watch.refusal = Refusal(status, "TOO_MANY_REQUESTS", "later")
    async with line(app) as caller:
        await caller.adopted()
        assert not (await caller.call.next(SttLost)).for_good
        app.state.watch.refusal = None
        caller.hears(mark_audio("Hello there.", 7, 0) + audio.silence(400))
        assert (await caller.call.next(TurnEnded)).text == "Hello there."


async def test_garbage_is_no_word_and_does_not_end_the_actor() -> None:
    rubbish = [
        "}{",
        "[]",
        "7",
        '{"type": "Results"}',
        '{"type": "Results", "channel": {"alternatives": [{"transcript": 7}]}, "start": "x", "is_final": true}',
        '{"type": "Results", "channel": {"alternatives": [{"transcript": "a", "words": [7]}]}}',
        '{"type": "Results", "channel": 7, "duration": [1]}',
        '{"type": "Marsian"}',
        '{"type": "Results", "channel": {"alternatives": [{"transcript": "\\ud800"}]}}',
    ]
    async with line() as caller:
        await caller.adopted()
        await caller.connected()
        [socket] = caller.watch.sockets
        for text in rubbish:
            await socket.websocket.send_text(text)
        await socket.websocket.send_bytes(b"\x00\x01")
        caller.hears(mark_audio("Hello there.", 7, 0) + audio.silence(400))
        assert (await caller.call.next(TurnEnded)).text == "Hello there."
        assert caller.watch.opened == 1


async def test_a_handshake_that_hangs_is_given_up() -> None:
    async def hang(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        writer.close()

    server = await asyncio.start_server(hang, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    async with server:
        caller = Line(f"http://127.0.0.1:{port}", Watch(), stt_open_s=0.2)
        spawn(caller.actor, "stt")
        began_s = asyncio.get_running_loop().time()
        await caller.adopted()
        assert "handshake took more than 0.2 s" in (await caller.call.next(SttLost)).why
        assert asyncio.get_running_loop().time() - began_s < 8  # the SDK's own limit is 10 s
        await caller.actor.kill()


async def test_a_fallback_hears_on_while_the_first_is_away_and_the_call_comes_back_between_turns(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(stt, "WATCH_S", 0.02)
    second = marks_app(FAST)
    async with (
        serving(second) as other,
        line(stt_fallback=other.http_url, breaker_rest_s=0.3) as caller,
    ):
        await caller.adopted()
        await caller.connected()
        sound = mark_audio(SENTENCE, 7, 0) + audio.silence(400)
        caller.hears(sound[: 60 * 160])
        await caller.call.next(Interim)
        caller.watch.refusal = Refusal(503, "UNAVAILABLE", "try later")
        await caller.cut()
        await second.state.watch.until(lambda watch: watch.opened == 1)
        caller.hears(sound[60 * 160 :])
        assert (await caller.call.next(TurnEnded)).text == SENTENCE
        caller.watch.refusal = None
        await caller.connected(2)
        await second.state.watch.until(lambda watch: watch.count("listen") == 0)
        caller.hears(mark_audio("Thanks.", 7, 1) + audio.silence(400))
        assert (await caller.call.next(TurnEnded, 2)).text == "Thanks."
        assert caller.routes.best() is caller.routes.all[0]
        assert second.state.watch.opened == 1


async def test_a_wrong_key_sends_every_call_to_the_fallback_at_once() -> None:
    app, second = marks_app(FAST), marks_app(FAST)
    app.state.watch.refusal = Refusal(401, "INVALID_AUTH", "Invalid credentials.")
    async with serving(second) as other, line(app, stt_fallback=other.http_url) as caller:
        await caller.adopted()
        caller.hears(mark_audio("Hello there.", 7, 0) + audio.silence(400))
        assert (await caller.call.next(TurnEnded)).text == "Hello there."
        assert all(not lost.for_good for lost in caller.call.of(SttLost))
        assert caller.routes.best() is caller.routes.all[1]


# ---------------------------------------------------------------- bounds and goodbyes


async def test_what_is_kept_while_the_socket_is_away_has_a_bound_and_the_rest_is_counted(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(supervision, "SOCKETS", BackOff(0.02, 0.02))
    script = Script()
    before = telemetry.snapshot().get("stt_frames_dropped", 0)
    async with line(scripted(script), stt_kept_s=10) as caller:
        await caller.adopted()
        await caller.connected()
        caller.watch.refusal = Refusal(503, "UNAVAILABLE", "try later")
        await caller.cut()
        await caller.call.next(SttLost)
        frames = [bytes([n % 80]) * audio.FRAME_BYTES for n in range(530)]  # 10 s, and 30 frames more
        caller.hears(b"".join(frames))
        await caller.adopted(2)
        caller.watch.refusal = None
        await caller.call.next(SttBack)
        caller.actor.tell(CallerAudio(b"\x85" * audio.FRAME_BYTES))
        await script.until(lambda heard: heard.endswith(b"\x85" * audio.FRAME_BYTES))
        assert bytes(script.heard) in b"".join(frames[30:]) + b"\x85" * audio.FRAME_BYTES
        assert len(script.heard) >= 500 * audio.FRAME_BYTES
        assert telemetry.snapshot()["stt_frames_dropped"] >= before + 30


async def test_a_refused_handshake_says_what_the_vendor_said() -> None:
    app = marks_app(FAST)
    app.state.watch.refusal = Refusal(402, "ASR_PAYMENT_REQUIRED", "no credit")
    async with line(app) as caller:
        await caller.adopted()
        lost = await caller.call.next(SttLost)
        assert "HTTP 402" in lost.why
        assert "no credit" in lost.why


async def test_audio_whose_sending_fails_is_given_to_the_next_socket(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(supervision, "SOCKETS", BackOff(0.02, 0.02))
    script = Script()
    broken = [True]
    send = ListenSocket.send

    async def breaks_once(self: ListenSocket, payload: bytes) -> None:
        if broken:
            broken.clear()
            raise VendorLost("Deepgram took nothing")
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
