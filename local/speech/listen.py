"""One listen v1 socket: audio and control messages in, `Results` and their kin out.

Source of the protocol: Deepgram's AsyncAPI description and the pages "Endpointing", "Interim Results",
"Utterance End", "Speech Started", "Finalize", "Close Stream" and "Audio Keep Alive". All time is audio time.
"""

import asyncio
import hashlib
import json
import logging
from datetime import UTC, datetime
from typing import Any

from starlette.websockets import WebSocket

from engine.audio import SAMPLE_RATE
from local.speech import results
from local.speech.ports import Completed, Heard, Interim, ListenParams, Recogniser, Started
from local.speech.watch import Limits, OpenSocket, Watch

_log = logging.getLogger(__name__)
_OUTBOX = 1000
NET_0001 = "Deepgram did not receive audio data or a text message within the timeout window. See https://dpgr.am/net0001"


class ListenSocket:
    """Serves one accepted socket until either side closes it."""

    def __init__(
        self, socket: OpenSocket, params: ListenParams, recogniser: Recogniser, limits: Limits, watch: Watch
    ) -> None:
        self._socket = socket
        self._websocket: WebSocket = socket.websocket
        self._params = params
        self._recogniser = recogniser
        self._limits = limits
        self._watch = watch
        self._outbox: asyncio.Queue[dict[str, Any]] = asyncio.Queue(_OUTBOX)
        self._digest = hashlib.sha256()
        self._keyterms = list(params.keyterms)
        self._finalizing = False
        self._span_start = 0.0
        self._speaking = False
        self._words_end: float | None = None
        self._interim = Interim("", 0.0, 0.0)
        self._told_s = 0.0  # when results were last told

    async def run(self) -> None:
        """Returns when the socket is closed. Raises what the recogniser raises."""
        await self._recogniser.open(self._tell)
        writer = asyncio.create_task(self._write())
        try:
            code, reason = await self._read_until_done(writer)
        finally:
            writer.cancel()
            await asyncio.gather(writer, return_exceptions=True)
            await self._recogniser.close()
        if code:
            async with asyncio.timeout(self._limits.send_s):
                await self._websocket.close(code, reason)

    @property
    def _now(self) -> float:
        return self._socket.audio_bytes / SAMPLE_RATE

    # ------------------------------------------------------------ in

    async def _read_until_done(self, writer: asyncio.Task[None]) -> tuple[int, str]:
        reader = asyncio.create_task(self._read())
        try:
            # The writer ends only by failing: a client that reads nothing ends its socket.
            await asyncio.wait([reader, writer], return_when=asyncio.FIRST_COMPLETED)
            if writer.done():
                writer.result()
            code, reason = await reader
            if code:
                async with asyncio.timeout(self._limits.send_s):
                    await self._outbox.join()
            return code, reason
        finally:
            reader.cancel()
            await asyncio.gather(reader, return_exceptions=True)

    async def _read(self) -> tuple[int, str]:
        """Reads until the stream ends: the code and reason to close with, code 0 if the client is gone."""
        while True:
            try:
                async with asyncio.timeout(self._limits.idle_s):
                    message = await self._websocket.receive()
            except TimeoutError:
                return 1011, NET_0001
            if message["type"] == "websocket.disconnect":
                return 0, ""
            if (audio := message.get("bytes")) is not None:
                if not audio:
                    return await self._finish()
                await self._hear(audio)
            elif await self._control(message["text"]):
                return await self._finish()

    async def _hear(self, audio: bytes) -> None:
        self._digest.update(audio)
        self._socket.audio_bytes += len(audio)
        self._recogniser.feed(audio)
        self._tell_gaps()

    async def _control(self, text: str) -> bool:
        """Obeys one control message; True if it ends the stream."""
        try:
            message = json.loads(text)
            kind = message["type"]
        except (ValueError, TypeError, KeyError):
            self._send(results.error("SchemaError", "Could not deserialize last text message.", text))
            return False
        self._watch.note(self._socket, message)
        match kind:
            case "KeepAlive":
                return False
            case "CloseStream":
                return True
            case "Finalize":
                await self._finalize()
            case "Configure":
                self._configure(message)
            case _:
                self._send(results.error("SchemaError", f"Unknown message type {kind!r}.", text))
        return False

    async def _finalize(self) -> None:
        self._finalizing = True
        try:
            async with asyncio.timeout(self._limits.flush_s):
                await self._recogniser.flush()
        finally:
            self._finalizing = False

    def _configure(self, message: dict[str, Any]) -> None:
        if (keyterms := message.get("keyterms")) is not None:
            self._keyterms = [str(term) for term in keyterms]
        self._send(
            {"type": "ConfigureSuccess", "request_id": self._socket.request_id, "keyterms": self._keyterms}
        )

    async def _finish(self) -> tuple[int, str]:
        async with asyncio.timeout(self._limits.flush_s):
            await self._recogniser.flush()
        self._send(
            results.metadata(self._socket.request_id, self._digest.hexdigest(), datetime.now(UTC), self._now)
        )
        return 1000, ""

    # ------------------------------------------------------------ out

    def _tell(self, heard: Heard) -> None:
        match heard:
            case Started(at_s):
                if self._params.vad_events:
                    self._send({"type": "SpeechStarted", "channel": [0, 1], "timestamp": round(at_s, 3)})
            case Interim():
                self._speaking, self._interim = True, heard
                if self._params.interim_results:
                    self._send(self._result(heard, is_final=False, speech_final=False))
            case Completed():
                self._speaking = False
                self._words_end = heard.end_s
                ended = heard.ended and (self._finalizing or self._params.endpointing_ms is not None)
                self._send(self._result(heard, is_final=True, speech_final=ended))
                self._span_start = max(self._span_start, heard.end_s)

    def _tell_gaps(self) -> None:
        """`UtteranceEnd` after a gap between words, and a final without words after long silence."""
        # Not while an interim is open: its words would come after the end of their own utterance.
        if not self._speaking and self._words_end is not None and self._gap_is_over(self._words_end):
            self._send(
                {"type": "UtteranceEnd", "channel": [0, 1], "last_word_end": round(self._words_end, 3)}
            )
            self._words_end = None
        if not self._speaking and self._now - self._span_start >= self._limits.empty_final_s:
            self._send(self._result(Completed("", self._now, self._now), is_final=True, speech_final=False))
            self._span_start = self._now
        if self._params.interim_results and self._now - self._told_s >= self._limits.again_s:
            again = self._interim if self._speaking else Interim("", self._span_start, self._now)
            self._send(self._result(again, is_final=False, speech_final=False))

    def _gap_is_over(self, words_end: float) -> bool:
        gap_ms = self._params.utterance_end_ms
        return gap_ms is not None and (self._now - words_end) * 1000 >= gap_ms

    def _result(self, heard: Interim | Completed, *, is_final: bool, speech_final: bool) -> dict[str, Any]:
        self._told_s = self._now
        return results.result(
            self._socket.request_id,
            self._params.model,
            heard,
            self._span_start,
            is_final=is_final,
            speech_final=speech_final,
            from_finalize=self._finalizing and is_final,
        )

    def _send(self, message: dict[str, Any]) -> None:
        # Full only if the client has stopped reading; the writer's deadline then ends the socket.
        try:
            self._outbox.put_nowait(message)
        except asyncio.QueueFull:
            _log.warning(
                "listen %s: client does not read, a %s is lost", self._socket.request_id, message["type"]
            )

    async def _write(self) -> None:
        while True:
            message = await self._outbox.get()
            if self._watch.mute:
                self._outbox.task_done()
                continue
            async with asyncio.timeout(self._limits.send_s):
                await self._websocket.send_text(json.dumps(message, separators=(",", ":")))
            self._outbox.task_done()
