"""What a peer's stock parts ask of Deepgram and our speech server does not speak: Flux, linear samples, loose text.

`front(speech)` answers `/v2/listen` (Flux) and `/v1/speak` with `encoding=linear16`; all else goes to `speech.app` as
it is. The recogniser, the voice and their delays are the same.
"""

import asyncio
import json
from array import array
from collections import deque
from typing import Any
from urllib.parse import parse_qs
from uuid import uuid4

from starlette.types import ASGIApp, Message, Receive, Scope, Send
from starlette.websockets import WebSocket, WebSocketDisconnect

from bench.vendors import BenchSpeech
from engine.audio import decode_table, encode_table
from local.speech.ports import Completed, Heard, Interim

_CODES, _SAMPLES = encode_table(), decode_table()
ENDPOINTING_MS = 300


def mulaw_of(linear: bytes) -> bytes:
    """mu-law of 16-bit samples."""
    return bytes(map(_CODES.__getitem__, memoryview(linear).cast("H")))


def linear_of(mulaw: bytes) -> bytes:
    """16-bit samples of mu-law."""
    return array("h", map(_SAMPLES.__getitem__, mulaw)).tobytes()


def front(speech: BenchSpeech) -> ASGIApp:
    """The speech server for the engine and for peers."""

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        query = parse_qs(scope.get("query_string", b"").decode())
        if scope["type"] == "websocket" and scope["path"] == "/v2/listen":
            await Flux(WebSocket(scope, receive, send), speech).run()
        elif scope["type"] == "websocket" and query.get("encoding") == ["linear16"]:
            spoken = LinearVoice(receive, send)
            text = scope["query_string"].replace(b"linear16", b"mulaw")
            await speech.app({**scope, "query_string": text}, spoken.receive, spoken.send)
        else:
            await speech.app(scope, receive, send)

    return app


class Flux:
    """One Flux socket. Source: Deepgram, "Flux: Quickstart", "State Machine".

    A turn starts with the second word that is recognised: the evidence on which the engine interrupts, too.
    """

    def __init__(self, websocket: WebSocket, speech: BenchSpeech) -> None:
        self._websocket = websocket
        self._recogniser = speech.recogniser(ENDPOINTING_MS)
        self._outbox: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        self._request_id = str(uuid4())
        self._sent = 0
        self._turns = 0
        self._in_turn = False

    async def run(self) -> None:
        """From the handshake until either side closes."""
        await self._websocket.accept()
        self._send({"type": "Connected"})
        await self._recogniser.open(self._tell)
        tasks = [asyncio.create_task(self._read()), asyncio.create_task(self._write())]
        try:
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                task.result()
        except WebSocketDisconnect:
            return  # the client is gone
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            await self._recogniser.close()

    async def _read(self) -> None:
        while (message := await self._websocket.receive())["type"] != "websocket.disconnect":
            if (audio := message.get("bytes")) is not None:
                self._recogniser.feed(mulaw_of(audio))
            elif json.loads(message["text"])["type"] == "CloseStream":
                await self._websocket.close()
                return

    async def _write(self) -> None:
        while True:
            await self._websocket.send_text(json.dumps(await self._outbox.get()))

    def _tell(self, heard: Heard) -> None:
        if isinstance(heard, Interim) and (self._in_turn or " " in heard.text):
            self._turn("Update" if self._in_turn else "StartOfTurn", heard.text)
            self._in_turn = True
        elif isinstance(heard, Completed) and heard.text:
            if not self._in_turn:
                self._turn("StartOfTurn", heard.text)
            self._turn("EndOfTurn", heard.text)
            self._in_turn = False
            self._turns += 1

    def _turn(self, event: str, text: str) -> None:
        words = [{"word": word, "confidence": 0.99} for word in text.split()]
        told = {"event": event, "turn_index": self._turns, "transcript": text, "words": words}
        window = {"audio_window_start": 0.0, "audio_window_end": 0.0, "end_of_turn_confidence": 0.9}
        self._send({"type": "TurnInfo", **told, **window})

    def _send(self, message: dict[str, Any]) -> None:
        self._outbox.put_nowait({**message, "request_id": self._request_id, "sequence_id": self._sent})
        self._sent += 1


class LinearVoice:
    """Between a peer and a speak socket: 16-bit samples, and text that is spoken although nobody flushed it.

    Deepgram begins to speak before the Flush; ours speaks what was flushed. So each Speak is followed by a Flush, whose
    Flushed the peer does not see.
    """

    def __init__(self, receive: Receive, send: Send) -> None:
        self._receive = receive
        self._send = send
        self._flush_next = False
        self._flushes: deque[str] = (
            deque()
        )  # in order: "ours", "theirs", and "clear" after those that it voids

    async def receive(self) -> Message:
        """What the peer says, and our Flush after each Speak."""
        if self._flush_next:
            self._flush_next = False
            self._flushes.append("ours")
            return {"type": "websocket.receive", "text": '{"type":"Flush"}'}
        message = await self._receive()
        kind = json.loads(message["text"])["type"] if message.get("text") else ""
        self._flush_next = kind == "Speak"
        if kind in ("Flush", "Clear"):
            self._flushes.append("theirs" if kind == "Flush" else "clear")
        return message

    async def send(self, message: Message) -> None:
        """What the peer hears."""
        if (audio := message.get("bytes")) is not None:
            message = {**message, "bytes": linear_of(audio)}
        elif message.get("text"):
            kind = json.loads(message["text"])["type"]
            if kind == "Flushed" and self._flushes.popleft() == "ours":
                return
            if kind == "Cleared":
                while self._flushes.popleft() != "clear":
                    continue
        await self._send(message)
