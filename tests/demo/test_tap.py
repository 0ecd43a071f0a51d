"""The tap on the speech line, between the engine's own sockets and a speech server."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from demo.tap import Tap
from engine.messages import TurnEnded
from engine.settings import load_settings
from engine.utterances import Told
from engine.vendors import deepgram
from engine.vendors.deepgram import AudioCame, FlushDone, Heard, VendorLost
from local.serving import Serving, serving
from simulators.marks import mark_audio, marks_app

LIMIT_S = 20.0


@pytest.fixture
async def speech() -> AsyncIterator[Serving]:
    """A speech server of marks."""
    async with serving(marks_app()) as running:
        yield running


async def test_the_tap_shows_what_the_recogniser_tells_and_passes_it_on(speech: Serving) -> None:
    tap, told = Tap(), list[Told]()
    async with asyncio.timeout(LIMIT_S), tap.passing(speech.http_url, told.append):
        settings = load_settings(deepgram_base_url=tap.url, deepgram_api_key="key")
        socket = deepgram.ListenSocket(deepgram.client(settings), settings)
        await socket.open()
        await socket.send(mark_audio("Hello there", 1, 0) + b"\xff" * 16_000)
        async for event in socket.events():
            if isinstance(event, Heard) and event.speech_final:
                break
        await socket.close()
    assert event.text == "Hello there"
    ended = [message for message in told if isinstance(message, TurnEnded)]
    assert [message.text for message in ended] == ["Hello there"]


async def test_the_tap_passes_speech_on(speech: Serving) -> None:
    tap = Tap()
    sound = b""
    async with asyncio.timeout(LIMIT_S), tap.passing(speech.http_url, lambda told: None):
        settings = load_settings(deepgram_base_url=tap.url, deepgram_api_key="key")
        socket = deepgram.SpeakSocket(deepgram.client(settings), settings)
        await socket.open()
        await socket.say("Good morning.")
        async for event in socket.events():
            if isinstance(event, AudioCame):
                sound += event.payload
            elif isinstance(event, FlushDone):
                break
        await socket.close()
    assert len(sound) > 1000


async def test_without_a_speech_server_the_tap_closes_the_socket_as_failed() -> None:
    tap, gone = Tap(), Tap()
    gone.close()
    async with asyncio.timeout(LIMIT_S), tap.passing(gone.url, lambda told: None):
        settings = load_settings(deepgram_base_url=tap.url, deepgram_api_key="key")
        socket = deepgram.ListenSocket(deepgram.client(settings), settings)
        await socket.open()
        with pytest.raises(VendorLost, match="1011"):
            async for _ in socket.events():
                pass
        await socket.close()
