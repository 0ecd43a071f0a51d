"""What a peer's stock parts hear of the speech server: Flux's turns, 16-bit samples, sentences that nobody flushed."""

import asyncio
import json
from collections.abc import AsyncIterator

import pytest_asyncio
from websockets.asyncio.client import ClientConnection, connect

from bench.peers.front import front, linear_of, mulaw_of
from bench.vendors import BenchSpeech
from engine.audio import FRAME_BYTES, silence
from local.serving import Serving, serving
from simulators.marks import MarkReader, MarksDelays, mark_audio, text_of

HEADERS = {"Authorization": "Token key"}
LINEAR = "encoding=linear16&sample_rate=8000"


@pytest_asyncio.fixture
async def server() -> AsyncIterator[Serving]:
    speech = BenchSpeech()
    speech.delays = MarksDelays(final_s=0.05, first_audio_s=0.01, voice_speed=200.0)
    async with serving(front(speech)) as running:
        yield running


async def received(socket: ClientConnection) -> bytes | str:
    """The next message."""
    async with asyncio.timeout(20):
        return await socket.recv()


async def until(socket: ClientConnection, kind: str) -> tuple[list[str], str]:
    """The types (of turns: events) of all text messages up to one of this kind, and what was spoken meanwhile."""
    kinds: list[str] = []
    audio = b""
    while kind not in kinds:
        message = await received(socket)
        if isinstance(message, bytes):
            audio += mulaw_of(message)
        else:
            told = json.loads(message)
            kinds.append(told.get("event") or told["type"])
    return kinds, text_of(MarkReader().feed(audio))


def test_marks_survive_the_way_to_linear_samples_and_back() -> None:
    audio = mark_audio("who is there?", 7, 0) + silence(100)
    assert mulaw_of(linear_of(audio)) == audio


async def test_a_turn_starts_with_its_second_word_and_ends_once(server: Serving) -> None:
    async with connect(f"{server.ws_url}/v2/listen?{LINEAR}", additional_headers=HEADERS) as socket:
        audio = linear_of(mark_audio("one two three", 7, 0))
        for at in range(0, len(audio), 2 * FRAME_BYTES):
            await socket.send(audio[at : at + 2 * FRAME_BYTES])
        kinds, _ = await until(socket, "EndOfTurn")
        assert kinds[:2] == ["Connected", "StartOfTurn"]
        assert kinds.count("StartOfTurn") == 1


async def test_a_sentence_is_spoken_before_it_is_flushed(server: Serving) -> None:
    async with connect(f"{server.ws_url}/v1/speak?{LINEAR}", additional_headers=HEADERS) as socket:
        await socket.send('{"type":"Speak","text":"One sentence. "}')
        await until(socket, "Metadata")
        reader, heard = MarkReader(), ""
        while heard.strip() != "One sentence.":
            message = await received(socket)
            assert isinstance(message, bytes), message  # no Flushed that the peer did not ask for
            heard += text_of(reader.feed(mulaw_of(message)))


async def test_a_flush_is_answered_once_after_all_that_was_said(server: Serving) -> None:
    async with connect(f"{server.ws_url}/v1/speak?{LINEAR}", additional_headers=HEADERS) as socket:
        for message in ("One. ", "Two. "):
            await socket.send(json.dumps({"type": "Speak", "text": message}))
        await socket.send('{"type":"Flush"}')
        kinds, heard = await until(socket, "Flushed")
        assert (kinds, heard) == (["Metadata", "Flushed"], "One. Two. ")


async def test_a_clear_does_not_confuse_whose_flush_is_answered(server: Serving) -> None:
    async with connect(f"{server.ws_url}/v1/speak?{LINEAR}", additional_headers=HEADERS) as socket:
        for _ in range(2):
            await socket.send(json.dumps({"type": "Speak", "text": "A long story. " * 100}))
        await socket.send('{"type":"Clear"}')
        kinds, _ = await until(socket, "Cleared")
        assert "Flushed" not in kinds
        await socket.send('{"type":"Speak","text":"I have stopped."}')
        await socket.send('{"type":"Flush"}')
        assert await until(socket, "Flushed") == (["Flushed"], "I have stopped.")
