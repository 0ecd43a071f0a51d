"""The speech server, through deepgram-sdk over real sockets, with marks behind its ports."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from deepgram import AsyncDeepgramClient
from deepgram.core.api_error import ApiError
from deepgram.environment import DeepgramClientEnvironment
from deepgram.speak.v1.types import SpeakV1Text
from websockets.exceptions import ConnectionClosedError

from engine.audio import FRAME_BYTES, silence
from local.serving import Serving, serving
from local.speech.params import Refusal
from local.speech.watch import Limits, Watch
from simulators.marks import MarkReader, MarksDelays, mark_audio, marks_app, text_of

SENTENCE = "I need an oil change tomorrow at nine."
FAST = MarksDelays(final_s=0.02, first_audio_s=0.02, voice_speed=50.0)
TELEPHONE: dict[str, Any] = {"encoding": "mulaw", "sample_rate": 8000}
LISTEN: dict[str, Any] = TELEPHONE | {
    "model": "nova-3",
    "interim_results": True,
    "endpointing": 300,
    "vad_events": True,
}


def client_of(server: Serving) -> AsyncDeepgramClient:
    environment = DeepgramClientEnvironment(
        base=server.http_url, production=server.ws_url, agent=server.ws_url, agent_rest=server.http_url
    )
    return AsyncDeepgramClient(api_key="any", environment=environment)


@asynccontextmanager
async def listening(server: Serving, **options: Any) -> AsyncIterator[Any]:
    async with client_of(server).listen.v1.connect(**(LISTEN | options)) as socket:
        yield socket


@asynccontextmanager
async def speaking(server: Serving) -> AsyncIterator[Any]:
    async with client_of(server).speak.v1.connect(model="aura-2-thalia-en", **TELEPHONE) as socket:
        assert (await receive(socket)).type == "Metadata"
        yield socket


async def receive(socket: Any) -> Any:
    return await asyncio.wait_for(socket.recv(), 10)


async def until(socket: Any, kind: str, **fields: Any) -> list[Any]:
    """Messages up to the first of that type with these fields."""
    messages: list[Any] = []
    while True:
        message = await receive(socket)
        messages.append(message)
        if isinstance(message, bytes) or message.type != kind:
            continue
        if all(getattr(message, name) == value for name, value in fields.items()):
            return messages


async def say(socket: Any, audio: bytes) -> None:
    for at in range(0, len(audio), FRAME_BYTES):
        await socket.send_media(audio[at : at + FRAME_BYTES])


def transcript(message: Any) -> str:
    return str(message.channel.alternatives[0].transcript)


def audio_of(messages: list[Any]) -> bytes:
    return b"".join(message for message in messages if isinstance(message, bytes))


def spoken(messages: list[Any]) -> str:
    return text_of(MarkReader().feed(audio_of(messages)))


# ---------------------------------------------------------------- listen


async def test_speech_is_started_interim_and_final() -> None:
    async with serving(marks_app(FAST)) as server, listening(server) as socket:
        await say(socket, silence(200) + mark_audio(SENTENCE, 7, 0))
        messages = await until(socket, "Results", speech_final=True)
        interims = [transcript(m) for m in messages if m.type == "Results" and not m.is_final]
        assert [m.type for m in messages[:1]] == ["SpeechStarted"]
        assert messages[0].timestamp == pytest.approx(0.2)
        assert "I need" in interims
        last = messages[-1]
        assert (transcript(last), last.is_final, last.from_finalize) == (SENTENCE, True, False)
        assert last.start == 0.0
        words = last.channel.alternatives[0].words
        assert [word.punctuated_word for word in words] == SENTENCE.split()
        assert words[0].start >= 0.2
        assert words[-1].end == pytest.approx(last.start + last.duration)


async def test_the_next_span_starts_where_the_final_ended() -> None:
    async with serving(marks_app(FAST)) as server, listening(server) as socket:
        await say(socket, mark_audio("One.", 7, 0))
        first = (await until(socket, "Results", speech_final=True))[-1]
        await say(socket, silence(400) + mark_audio("Two.", 7, 1))
        second = (await until(socket, "Results", speech_final=True))[-1]
        assert second.start == pytest.approx(first.start + first.duration)


async def test_what_was_not_asked_for_is_not_sent() -> None:
    quiet = {"interim_results": False, "vad_events": False}
    async with serving(marks_app(FAST)) as server, listening(server, **quiet) as socket:
        await say(socket, mark_audio(SENTENCE, 7, 0))
        assert len(await until(socket, "Results", speech_final=True)) == 1


async def test_without_endpointing_no_turn_ends() -> None:
    async with serving(marks_app(FAST)) as server, listening(server, endpointing="false") as socket:
        await say(socket, mark_audio(SENTENCE, 7, 0))
        last = (await until(socket, "Results", is_final=True))[-1]
        assert (transcript(last), last.speech_final) == (SENTENCE, False)


async def test_finalize_is_answered_if_words_were_waiting_and_only_then() -> None:
    slow = MarksDelays(final_s=60)
    async with serving(marks_app(slow)) as server, listening(server) as socket:
        await socket.send_finalize()
        await say(socket, mark_audio(SENTENCE, 7, 0))
        await socket.send_finalize()
        messages = await until(socket, "Results", from_finalize=True)
        assert [transcript(m) for m in messages if m.type == "Results" and m.is_final] == [SENTENCE]
        await socket.send_finalize()
        await socket.send_close_stream()
        assert [m.type for m in await until(socket, "Metadata")] == ["Metadata"]


async def test_an_utterance_ends_after_its_gap_in_words() -> None:
    async with serving(marks_app(FAST)) as server, listening(server, utterance_end_ms=1000) as socket:
        await say(socket, mark_audio(SENTENCE, 7, 0))
        final = (await until(socket, "Results", speech_final=True))[-1]
        await say(socket, silence(1100))
        end = (await until(socket, "UtteranceEnd"))[-1]
        assert end.last_word_end == pytest.approx(final.start + final.duration)
        await say(socket, silence(1100))
        await socket.send_close_stream()
        assert {m.type for m in await until(socket, "Metadata")} <= {"Metadata", "Results"}


async def test_close_stream_brings_the_rest_then_metadata_then_a_normal_close() -> None:
    audio = mark_audio(SENTENCE, 7, 0)
    async with serving(marks_app(MarksDelays(final_s=60))) as server, listening(server) as socket:
        await say(socket, audio)
        await socket.send_close_stream()
        messages = [message async for message in socket]
        assert transcript(messages[-2]) == SENTENCE
        assert messages[-1].type == "Metadata"
        assert messages[-1].duration == pytest.approx(len(audio) / 8000)


async def test_an_empty_binary_message_closes_the_stream() -> None:
    async with serving(marks_app(FAST)) as server, listening(server) as socket:
        await socket.send_media(b"")
        assert [message.type async for message in socket] == ["Metadata"]


async def test_a_client_that_sends_nothing_is_closed_with_1011() -> None:
    async with serving(marks_app(FAST, Limits(idle_s=0.05))) as server, listening(server) as socket:
        with pytest.raises(ConnectionClosedError) as closed:
            await receive(socket)
        assert closed.value.rcvd is not None
        assert closed.value.rcvd.code == 1011
        assert "net0001" in closed.value.rcvd.reason


async def test_keep_alive_is_silent_and_keeps_the_socket() -> None:
    app = marks_app(FAST, Limits(idle_s=2.0))
    watch: Watch = app.state.watch
    async with serving(app) as server, listening(server) as socket:
        for _ in range(50):  # longer than the idle limit
            await socket.send_keep_alive()
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(socket.recv(), 0.05)
        assert watch.types("listen") == ["KeepAlive"] * 50
        assert watch.count("listen") == 1


async def test_long_silence_brings_finals_without_words() -> None:
    async with serving(marks_app(FAST)) as server, listening(server) as socket:
        await say(socket, silence(5100))
        last = (await until(socket, "Results", is_final=True))[-1]
        assert (transcript(last), last.speech_final) == ("", False)


async def test_a_message_that_makes_no_sense_is_answered_and_survived() -> None:
    async with serving(marks_app(FAST)) as server, listening(server) as socket:
        await socket._send("nonsense")
        assert (await until(socket, "Error"))[-1].variant == "SchemaError"
        await say(socket, mark_audio(SENTENCE, 7, 0))
        await until(socket, "Results", speech_final=True)


async def test_key_terms_can_be_replaced_and_kept() -> None:
    async with serving(marks_app(FAST)) as server, listening(server, keyterm=["Camry"]) as socket:
        for message, keyterms in (
            ('{"type":"Configure"}', ["Camry"]),
            ('{"type":"Configure","keyterms":[]}', []),
        ):
            await socket._send(message)
            assert (await until(socket, "ConfigureSuccess"))[-1].keyterms == keyterms


# ---------------------------------------------------------------- the door


@pytest.mark.parametrize(
    "wrong",
    [{"encoding": "linear16"}, {"sample_rate": 16000}, {"utterance_end_ms": 1000, "interim_results": False}],
)
async def test_a_wrong_parameter_is_refused_with_400(wrong: dict[str, Any]) -> None:
    async with serving(marks_app(FAST)) as server:
        with pytest.raises(ApiError) as refused:
            async with listening(server, **wrong):
                pytest.fail("the socket opened")
        assert refused.value.status_code == 400


async def test_a_shut_door_refuses_with_its_own_status() -> None:
    app = marks_app(FAST)
    watch: Watch = app.state.watch
    async with serving(app) as server:
        watch.refusal = Refusal(429, "TOO_MANY_REQUESTS", "Too many requests.")
        with pytest.raises(ApiError) as refused:
            async with listening(server):
                pytest.fail("the socket opened")
        assert refused.value.status_code == 429
        watch.refusal = None
        async with listening(server):
            assert watch.count("listen") == 1


async def test_sockets_are_counted_while_they_are_open_and_can_be_closed_from_behind() -> None:
    app = marks_app(FAST)
    watch: Watch = app.state.watch
    async with serving(app) as server, listening(server) as first:
        async with listening(server):
            assert (watch.count("listen"), watch.opened) == (2, 2)
        await watch.until(lambda watch: watch.count("listen") == 1)
        (open_socket,) = watch.sockets
        await open_socket.close(1011, "gone")
        with pytest.raises(ConnectionClosedError):
            await receive(first)
        await watch.until(lambda watch: not watch.sockets)


# ---------------------------------------------------------------- speak


async def test_texts_are_joined_as_sent_and_each_flush_is_answered_after_its_audio() -> None:
    async with serving(marks_app(FAST)) as server, speaking(server) as socket:
        for text in ("Sure, ", "I can book that."):
            await socket.send_text(SpeakV1Text(text=text))
        await socket.send_flush()
        await socket.send_text(SpeakV1Text(text="At nine?"))
        await socket.send_flush()
        first, second = await until(socket, "Flushed"), await until(socket, "Flushed")
        assert (spoken(first), spoken(second)) == ("Sure, I can book that.", "At nine?")
        assert (first[-1].sequence_id, second[-1].sequence_id) == (0, 1)


async def test_clear_stops_the_audio_and_forgets_the_text() -> None:
    slow = MarksDelays(first_audio_s=0.01, voice_speed=1.0)
    async with serving(marks_app(slow, Limits(late_chunks=2))) as server, speaking(server) as socket:
        await socket.send_text(SpeakV1Text(text=SENTENCE))
        await socket.send_flush()
        await socket.send_text(SpeakV1Text(text="Never said."))
        await socket.send_flush()
        await socket.send_text(SpeakV1Text(text="Not flushed."))
        assert isinstance(await receive(socket), bytes)
        await socket.send_clear()
        late = await until(socket, "Cleared")
        assert 2 <= sum(isinstance(message, bytes) for message in late) <= 4
        assert len(late) == 1 + sum(isinstance(message, bytes) for message in late)
        await socket.send_text(SpeakV1Text(text="Go on."))
        await socket.send_flush()
        assert spoken(await until(socket, "Flushed")) == "Go on."


async def test_clear_does_not_wait_for_a_voice_that_is_at_work() -> None:
    stuck = MarksDelays(first_audio_s=0.01, voice_speed=0.001)  # the second piece is a minute away
    async with serving(marks_app(stuck)) as server, speaking(server) as socket:
        await socket.send_text(SpeakV1Text(text=SENTENCE))
        await socket.send_flush()
        assert isinstance(await receive(socket), bytes)
        await socket.send_clear()
        assert (await receive(socket)).type == "Cleared"


async def test_a_server_may_answer_the_flushes_that_clear_overtook() -> None:
    slow = MarksDelays(first_audio_s=60)
    limits = Limits(flushed_after_clear=True)
    async with serving(marks_app(slow, limits)) as server, speaking(server) as socket:
        for _ in range(2):
            await socket.send_text(SpeakV1Text(text=SENTENCE))
            await socket.send_flush()
        await socket.send_clear()
        assert [m.type for m in await until(socket, "Cleared")] == ["Flushed", "Flushed", "Cleared"]


async def test_too_many_flushes_are_ignored_with_a_warning() -> None:
    async with serving(marks_app(FAST, Limits(flush_limit=2))) as server, speaking(server) as socket:
        for _ in range(2):
            await socket.send_flush()
            await until(socket, "Flushed")
        await socket.send_text(SpeakV1Text(text="Hello."))
        await socket.send_flush()
        assert (await receive(socket)).type == "Warning"
        await socket.send_close()
        assert [message async for message in socket] == []


async def test_flushes_are_allowed_again_when_the_window_has_passed() -> None:
    limits = Limits(flush_limit=1, flush_window_s=0.05)
    async with serving(marks_app(FAST, limits)) as server, speaking(server) as socket:
        await socket.send_text(SpeakV1Text(text="Hello."))
        answers = []
        while len(answers) < 2 or answers[-1] != "Flushed":
            await socket.send_flush()
            message = await receive(socket)
            answers += [] if isinstance(message, bytes) else [message.type]
            assert len(answers) < 10_000
        assert "Flushed" in answers


async def test_close_waits_for_what_was_flushed() -> None:
    async with serving(marks_app(FAST)) as server, speaking(server) as socket:
        await socket.send_text(SpeakV1Text(text=SENTENCE))
        await socket.send_flush()
        await socket.send_close()
        messages = [message async for message in socket]
        assert spoken(messages) == SENTENCE
        assert messages[-1].type == "Flushed"


@pytest.mark.parametrize(
    ("message", "code"),
    [("nonsense", 1008), ('{"type":"Dance"}', 1008), ('{"type":"Speak"}', 1008), (b"\xff", 1003)],
)
async def test_what_is_no_command_closes_a_speak_socket(message: str | bytes, code: int) -> None:
    async with serving(marks_app(FAST)) as server, speaking(server) as socket:
        await socket._send(message)
        with pytest.raises(ConnectionClosedError) as closed:
            await receive(socket)
        assert closed.value.rcvd is not None
        assert closed.value.rcvd.code == code


async def test_a_text_that_is_too_long_closes_with_1009() -> None:
    async with serving(marks_app(FAST)) as server, speaking(server) as socket:
        await socket.send_text(SpeakV1Text(text="x" * 2001))
        with pytest.raises(ConnectionClosedError) as closed:
            await receive(socket)
        assert closed.value.rcvd is not None
        assert closed.value.rcvd.code == 1009


async def test_rest_speaks_too() -> None:
    async with serving(marks_app(FAST)) as server:
        audio = client_of(server).speak.v1.audio
        options = TELEPHONE | {"model": "aura-2-thalia-en"}
        chunks = [chunk async for chunk in audio.generate(text=SENTENCE, container="none", **options)]
        assert text_of(MarkReader().feed(b"".join(chunks))) == SENTENCE
        chunks = [chunk async for chunk in audio.generate(text=SENTENCE, **options)]
        assert b"".join(chunks).startswith(b"RIFF")
        with pytest.raises(ApiError) as refused:
            _ = [chunk async for chunk in audio.generate(text=" ", container="none", **options)]
        assert refused.value.status_code == 400
