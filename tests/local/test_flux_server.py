"""The speech server's Flux (listen v2), through deepgram-sdk over real sockets, with marks behind it."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from deepgram.core.api_error import ApiError
from websockets.exceptions import ConnectionClosedError

from engine.audio import FRAME_BYTES, silence
from local.serving import Serving, serving
from local.speech.app import speech_app
from local.speech.ports import ListenParams
from local.speech.watch import Limits
from simulators.marks import MarksDelays, MarksRecogniser, MarksVoice, mark_audio
from tests.local.test_speech_server import SENTENCE, TELEPHONE, client_of, receive

FLUX: dict[str, Any] = TELEPHONE | {"model": "flux-general-en"}
EAGER: dict[str, Any] = {"eager_eot_threshold": 0.4, "eot_threshold": 0.7}


@asynccontextmanager
async def flux(server: Serving, **options: Any) -> AsyncIterator[Any]:
    async with client_of(server).listen.v2.connect(**(FLUX | options)) as socket:
        yield socket


class Prompt(MarksRecogniser):
    """Completes an utterance with its last frame, so that all follows from the audio alone."""

    def _complete_later(self) -> None:
        self._complete(ended=True)


def app(limits: Limits | None = None) -> Any:
    def listen(params: ListenParams) -> MarksRecogniser:
        return Prompt(params.endpointing_ms, MarksDelays())

    return speech_app(listen, lambda _: MarksVoice(0x80000000, MarksDelays()), limits)


async def say(socket: Any, audio: bytes) -> None:
    """80 ms at a time, as Deepgram asks for."""
    for at in range(0, len(audio), 4 * FRAME_BYTES):
        await socket.send_media(audio[at : at + 4 * FRAME_BYTES])


async def until(socket: Any, kind: str, event: str = "") -> list[Any]:
    """Messages up to the first of that type, and event."""
    messages: list[Any] = []
    while True:
        message = await receive(socket)
        messages.append(message)
        if message.type == kind and (not event or message.event == event):
            return messages


async def finish(socket: Any) -> list[Any]:
    """What else is told, until the socket is closed by CloseStream."""
    await socket.send_close_stream()
    return [message async for message in socket]


def events(messages: list[Any]) -> list[str]:
    return [m.event for m in messages if m.type == "TurnInfo" and m.event != "Update"]


async def test_connected_comes_first_and_every_message_has_the_next_number() -> None:
    async with serving(app()) as server, flux(server) as socket:
        await say(socket, silence(600) + mark_audio(SENTENCE, 7, 0))
        messages = await until(socket, "TurnInfo", "StartOfTurn")
        await socket.send_configure({"type": "Configure", "thresholds": {"eot_threshold": 0.8}})
        messages += await until(socket, "ConfigureSuccess")
        assert messages[0].type == "Connected"
        assert [message.sequence_id for message in messages] == list(range(len(messages)))
        assert len({message.request_id for message in messages}) == 1


async def test_a_turn_grows_is_expected_to_end_and_ends_by_the_audio() -> None:
    async with serving(app()) as server, flux(server, **EAGER) as socket:
        await say(socket, mark_audio(SENTENCE, 7, 0) + silence(700))
        messages = await until(socket, "TurnInfo", "EndOfTurn")
        assert events(messages) == ["StartOfTurn", "EagerEndOfTurn", "EndOfTurn"]
        _, eager, end = (m for m in messages if m.type == "TurnInfo" and m.event != "Update")
        spoken_s = len(mark_audio(SENTENCE, 7, 0)) / 8000
        assert eager.audio_window_end == pytest.approx(spoken_s + 0.32, abs=0.081)
        assert end.audio_window_end == pytest.approx(spoken_s + 0.56, abs=0.081)
        assert eager.transcript == end.transcript == SENTENCE
        assert [word.word for word in end.words] == SENTENCE.split()
        assert end.words[-1].end == pytest.approx(spoken_s)
        assert (eager.trigger, end.trigger) == (None, "model")
        assert 0.4 <= eager.end_of_turn_confidence < 0.7 <= end.end_of_turn_confidence
        await say(socket, silence(500))
        assert {m.turn_index for m in await finish(socket)} == {1}


async def test_words_after_an_expected_end_resume_the_turn() -> None:
    async with serving(app()) as server, flux(server, eager_eot_threshold=0.3) as socket:
        await say(socket, mark_audio("I need an oil change", 7, 0) + silence(320))
        await say(socket, mark_audio("on Friday.", 7, 1) + silence(700))
        messages = await until(socket, "TurnInfo", "EndOfTurn")
        assert events(messages) == [
            "StartOfTurn",
            "EagerEndOfTurn",
            "TurnResumed",
            "EagerEndOfTurn",
            "EndOfTurn",
        ]
        assert messages[-1].transcript == "I need an oil change on Friday."
        assert messages[-1].turn_index == 0


async def test_without_audio_no_turn_ends_and_force_end_turn_ends_it() -> None:
    async with serving(app()) as server, flux(server) as socket:
        await socket.send_force_end_turn()  # nobody has the turn: ignored
        await say(socket, mark_audio(SENTENCE, 7, 0))
        messages = await until(socket, "TurnInfo", "Update")
        await socket.send_force_end_turn()
        messages += await until(socket, "TurnInfo", "EndOfTurn")
        assert events(messages) == ["StartOfTurn", "EndOfTurn"]
        assert (messages[-1].trigger, messages[-1].transcript) == ("manual", SENTENCE)


async def test_a_turn_of_which_nobody_is_sure_times_out_by_the_audio() -> None:
    async with (
        serving(app()) as server,
        flux(server, eot_threshold=1.0, eot_timeout_ms=500) as socket,
    ):
        await say(socket, mark_audio(SENTENCE, 7, 0) + silence(700))
        last = (await until(socket, "TurnInfo", "EndOfTurn"))[-1]
        assert (last.trigger, last.transcript) == ("timeout", SENTENCE)


async def test_thresholds_are_configured_one_at_a_time_and_wrong_ones_refused() -> None:
    async with serving(app()) as server, flux(server, eot_threshold=0.6) as socket:
        await socket.send_configure({"type": "Configure", "thresholds": {"eager_eot_threshold": 0.5}})
        success = (await until(socket, "ConfigureSuccess"))[-1]
        assert (success.thresholds.eot_threshold, success.thresholds.eager_eot_threshold) == (0.6, 0.5)
        await socket.send_configure({"type": "Configure", "thresholds": {"eager_eot_threshold": 0.8}})
        failure = (await until(socket, "ConfigureFailure"))[-1]
        assert "at most eot_threshold" in failure.description
        await say(socket, mark_audio(SENTENCE, 7, 0))
        await say(socket, silence(470))
        assert events(await until(socket, "TurnInfo", "EagerEndOfTurn"))[-1] == "EagerEndOfTurn"


@pytest.mark.parametrize("kind", ["KeepAlive", "Finalize"])
async def test_what_v2_does_not_have_is_an_error_that_ends_the_socket(kind: str) -> None:
    async with serving(app()) as server, flux(server) as socket:
        await socket._send({"type": kind})
        messages = [await receive(socket), await receive(socket)]
        assert [(m.type, m.sequence_id) for m in messages] == [("Connected", 0), ("Error", 1)]
        assert messages[-1].code == "UNPARSABLE_CLIENT_MESSAGE"
        with pytest.raises(ConnectionClosedError):
            await receive(socket)


async def test_close_stream_brings_the_last_words_and_a_tidy_end() -> None:
    async with serving(app()) as server, flux(server) as socket:
        await say(socket, mark_audio(SENTENCE, 7, 0))
        messages = await finish(socket)
        assert messages[-1].transcript == SENTENCE
        assert "EndOfTurn" not in events(messages)


async def test_a_client_that_sends_nothing_is_closed() -> None:
    async with serving(app(Limits(idle_s=0.05))) as server, flux(server) as socket:
        with pytest.raises(ConnectionClosedError) as closed:
            async for _ in socket:
                pass
        assert closed.value.code == 1011


REFUSED: list[dict[str, Any]] = [
    {"model": "nova-3"},
    {"encoding": "linear16"},
    {"sample_rate": 16000},
    {"eot_threshold": 0.4},
    {"eot_threshold": "sure"},
    {"eager_eot_threshold": 0.95},
    {"eager_eot_threshold": 0.8, "eot_threshold": 0.7},
    {"eot_timeout_ms": 100},
]


@pytest.mark.parametrize("wrong", REFUSED, ids=str)
async def test_what_v2_can_not_do_is_refused_in_the_handshake(wrong: dict[str, Any]) -> None:
    async with serving(app()) as server:
        with pytest.raises(ApiError) as refused:
            async with flux(server, **wrong):
                pass
        assert refused.value.status_code == 400


async def test_flux_is_refused_at_v1() -> None:
    async with serving(app()) as server:
        with pytest.raises(ApiError) as refused:
            async with client_of(server).listen.v1.connect(**FLUX):
                pass
        assert refused.value.status_code == 400
        assert "/v2/listen" in refused.value.__context__.headers["dg-error"]  # type: ignore[union-attr]
