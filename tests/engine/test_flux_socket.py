"""FluxSocket: 80 ms at a time, silence when frames stop, Flux's events as the engine's own. In virtual time."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from types import SimpleNamespace
from typing import Any

import pytest

from engine import audio
from engine.clock import now, run_virtual
from engine.settings import Settings
from engine.vendors.deepgram import Heard, VendorLost, VoiceBegan
from engine.vendors.flux import CHUNK_BYTES, EndLikely, FluxSocket, WentOn

FRAME = b"\xa0" * audio.FRAME_BYTES
CONNECTED = SimpleNamespace(type="Connected")


class Sdk:
    """deepgram-sdk with Flux at the other end: what was sent, when, and what the test tells."""

    def __init__(self) -> None:
        self.listen = SimpleNamespace(v2=self)
        self.asked: dict[str, Any] = {}
        self.sent: list[tuple[float, bytes]] = []
        self.forced = self.closed = 0
        self._told: asyncio.Queue[Any] = asyncio.Queue()

    @asynccontextmanager
    async def connect(self, **asked: Any) -> AsyncIterator["Sdk"]:
        self.asked = asked
        yield self

    def tells(self, *messages: Any) -> None:
        for message in messages:
            self._told.put_nowait(message)

    async def __aiter__(self) -> AsyncIterator[Any]:
        while (message := await self._told.get()) is not StopAsyncIteration:
            yield message

    async def send_media(self, payload: bytes) -> None:
        self.sent.append((now(), payload))

    async def send_force_end_turn(self) -> None:
        self.forced += 1

    async def send_close_stream(self) -> None:
        self.closed += 1

    @property
    def audio(self) -> bytes:
        return b"".join(payload for _, payload in self.sent)


def turn(event: str, text: str, until_s: float, **more: Any) -> Any:
    words = [SimpleNamespace(word=word) for word in text.split()]
    if words:
        words[-1].end = more.pop("end", until_s - 0.1)
    return SimpleNamespace(
        type="TurnInfo", event=event, transcript=text, words=words, audio_window_end=until_s, **more
    )


def opened(story: Callable[[Sdk, FluxSocket], Awaitable[None]], **chosen: Any) -> None:
    """Plays a story with an open socket."""

    async def play() -> None:
        sdk = Sdk()
        sdk.tells(CONNECTED)
        socket = FluxSocket(sdk, settings_of(**chosen))  # type: ignore[arg-type]
        await socket.open()
        try:
            await story(sdk, socket)
        finally:
            await socket.close()
        assert sdk.closed == 1

    run_virtual(play())


def settings_of(**chosen: Any) -> Settings:
    return Settings(_env_file=None, **({"stt_model": "flux-general-en"} | chosen))  # type: ignore[call-arg]


async def told(sdk: Sdk, socket: FluxSocket, *messages: Any) -> list[Any]:
    """What the socket makes of these."""
    sdk.tells(*messages, StopAsyncIteration)
    return [event async for event in socket.events()]


# ---------------------------------------------------------------- audio


def test_frames_are_sent_eighty_milliseconds_at_a_time() -> None:
    async def story(sdk: Sdk, socket: FluxSocket) -> None:
        for _ in range(7):
            await socket.send(FRAME)
        assert [payload for _, payload in sdk.sent] == [FRAME * 4]
        await socket.send(FRAME * 10)
        assert [payload for _, payload in sdk.sent] == [FRAME * 4] * 4

    opened(story)


def test_when_frames_stop_silence_goes_in_their_place_as_fast_as_time_passes() -> None:
    async def story(sdk: Sdk, socket: FluxSocket) -> None:
        await socket.send(FRAME * 5)
        stopped_s, before = now(), len(sdk.sent)
        await asyncio.sleep(0.49)
        assert len(sdk.sent) == before
        await asyncio.sleep(2.0)
        silent = sdk.sent[before:]
        assert b"".join(payload for _, payload in silent) == FRAME + audio.SILENCE * (
            CHUNK_BYTES * len(silent) - len(FRAME)
        )
        assert [at_s - stopped_s for at_s, _ in silent] == pytest.approx(
            [0.5 + place * 0.08 for place in range(len(silent))], abs=0.002
        )
        assert len(silent) == 25

    opened(story)


def test_when_frames_come_again_the_silence_stops() -> None:
    async def story(sdk: Sdk, socket: FluxSocket) -> None:
        await asyncio.sleep(1.0)
        silent = len(sdk.sent)
        assert silent
        for _ in range(100):
            await socket.send(FRAME)
            await asyncio.sleep(0.02)
        assert audio.SILENCE not in b"".join(payload for _, payload in sdk.sent[silent:])

    opened(story)


def test_times_are_of_the_callers_audio_without_the_silence() -> None:
    async def story(sdk: Sdk, socket: FluxSocket) -> None:
        await socket.send(FRAME * 48)  # 0.96 s
        await asyncio.sleep(0.5 + 0.08 * 9 + 0.04)  # 0.8 s of silence
        await socket.send(FRAME * 48)
        assert len(sdk.audio) == audio.bytes_of(960 + 800 + 960)
        heard = await told(
            sdk,
            socket,
            turn("Update", "One", 0.5, end=0.4),
            turn("Update", "One two", 1.2, end=0.9),
            turn("EndOfTurn", "One two three", 2.0, end=1.86, trigger="model"),
            turn("Update", "Four", 2.5, end=2.4),
        )
        assert [(round(one.end_s, 3), round(one.until_s, 3)) for one in heard] == [
            (0.4, 0.5),
            (0.9, 0.96),
            (1.06, 1.2),
            (1.6, 1.7),
        ]

    opened(story)


def test_a_turn_is_ended_by_force_and_nothing_needs_keeping_alive() -> None:
    async def story(sdk: Sdk, socket: FluxSocket) -> None:
        await socket.keep_alive()
        await socket.finalize()
        assert (sdk.forced, sdk.sent) == (1, [])

    opened(story)


def test_an_end_is_missing_only_after_fluxs_own_time_out() -> None:
    async def story(sdk: Sdk, socket: FluxSocket) -> None:
        assert socket.stale_s == 3.0 + 2.0

    opened(story, flux_eot_timeout_ms=3000, stt_stale_s=2.0)


# ---------------------------------------------------------------- words


def test_a_turn_is_told_as_it_grows_is_expected_to_end_goes_on_and_ends() -> None:
    async def story(sdk: Sdk, socket: FluxSocket) -> None:
        events = await told(
            sdk,
            socket,
            turn("StartOfTurn", "I", 0.4, end=0.3),
            turn("Update", "I need", 0.6, end=0.5),
            turn("Update", "I need", 0.8, end=0.5),
            turn("EagerEndOfTurn", "I need", 1.0, end=0.5),
            turn("TurnResumed", "I need", 1.1, end=0.5),
            turn("EagerEndOfTurn", "I need oil.", 1.6, end=1.4),
            turn("EndOfTurn", "I need oil.", 1.8, end=1.4, trigger="model"),
        )
        assert events == [
            VoiceBegan(),
            Heard("I", False, False, False, 0.3, 0.4),
            Heard("I need", False, False, False, 0.5, 0.6),
            Heard("", False, False, False, 0.5, 0.8),  # a sign of life
            EndLikely("I need", 0.5, 1.0),
            WentOn(),
            Heard("", False, False, False, 0.5, 1.1),
            EndLikely("I need oil.", 1.4, 1.6),
            Heard("I need oil.", True, True, False, 1.4, 1.8),
        ]

    opened(story)


def test_a_turn_that_was_ended_by_force_is_the_answer_to_that() -> None:
    async def story(sdk: Sdk, socket: FluxSocket) -> None:
        [ended] = await told(sdk, socket, turn("EndOfTurn", "Hello", 1.0, trigger="manual"))
        assert ended.from_finalize

    opened(story)


def test_what_is_no_turn_is_passed_over() -> None:
    async def story(sdk: Sdk, socket: FluxSocket) -> None:
        garbage = [
            None,
            {"type": "Dict"},
            SimpleNamespace(type="TurnInfo", event="Update"),
            turn("Update", "x", 1.0, end="late"),
            SimpleNamespace(type="TurnInfo", event="Update", transcript=7, words=[], audio_window_end=1.0),
            SimpleNamespace(type="TurnInfo", event="Update", transcript="x", words=7, audio_window_end=1.0),
            SimpleNamespace(type="Warning", description="careful"),
            SimpleNamespace(type="ConfigureFailure"),
        ]
        assert [e.text for e in await told(sdk, socket, *garbage, turn("Update", "Hello", 1.0))] == ["Hello"]

    opened(story)


def test_an_error_is_the_end_of_the_socket() -> None:
    async def story(sdk: Sdk, socket: FluxSocket) -> None:
        with pytest.raises(VendorLost, match="out of order"):
            await told(sdk, socket, SimpleNamespace(type="Error", description="out of order"))

    opened(story)


# ---------------------------------------------------------------- opening


@pytest.mark.parametrize(
    ("first", "why"),
    [
        ([], "did not connect Flux in 2 s"),
        ([StopAsyncIteration], "ended the stream before"),
        ([SimpleNamespace(type="Error", description="no room")], "no room"),
        ([turn("Update", "x", 1.0), None], "did not connect Flux in 2 s"),
    ],
    ids=["silence", "end", "error", "words"],
)
def test_a_socket_is_open_only_when_connected_came(first: list[Any], why: str) -> None:
    async def play() -> None:
        sdk = Sdk()
        sdk.tells(*first)
        socket = FluxSocket(sdk, settings_of())  # type: ignore[arg-type]
        with pytest.raises(VendorLost, match=why):
            await socket.open()
        await socket.close()
        await asyncio.sleep(2.0)
        assert sdk.sent == []

    run_virtual(play())


def test_flux_is_asked_for_what_the_settings_say() -> None:
    async def story(sdk: Sdk, socket: FluxSocket) -> None:
        assert sdk.asked == {
            "model": "flux-general-multi",
            "encoding": "mulaw",
            "sample_rate": 8000,
            "eot_threshold": 0.8,
            "eager_eot_threshold": 0.4,
            "eot_timeout_ms": 3000,
            "keyterm": ["oil change", "tires"],
            "language_hint": "es",
        }

    opened(
        story,
        stt_model="flux-general-multi",
        stt_language="es-MX",
        stt_keyterms="oil change, tires",
        flux_eot_threshold=0.8,
        flux_eager_eot_threshold=0.4,
        flux_eot_timeout_ms=3000,
    )
