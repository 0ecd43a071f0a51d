"""One speak v1 socket: text in, audio out, sentence marks between.

Source of the protocol: Deepgram's AsyncAPI description and the pages "Streaming TTS: Getting Started",
"Flush", "Clear", "Close" and "Troubleshooting WebSocket, NET, and DATA Errors".
"""

import asyncio
import json
import time
from collections import deque
from contextlib import aclosing
from typing import Any

from local.speech.ports import SpeakParams, Voice
from local.speech.watch import Limits, OpenSocket, Watch

_JOBS = 1000


class _Closing(Exception):
    """The protocol says that the socket closes now."""

    def __init__(self, code: int, reason: str) -> None:
        super().__init__(code, reason)
        self.code = code
        self.reason = reason


class SpeakSocket:
    """Serves one accepted socket until either side closes it."""

    def __init__(
        self, socket: OpenSocket, params: SpeakParams, voice: Voice, limits: Limits, watch: Watch
    ) -> None:
        self._socket = socket
        self._websocket = socket.websocket
        self._model = params.model
        self._voice = voice
        self._limits = limits
        self._watch = watch
        self._text: list[str] = []
        self._jobs: asyncio.Queue[str] = asyncio.Queue(_JOBS)
        self._job: asyncio.Task[None] | None = None
        self._chunks_left: int | None = None
        self._flushes: deque[float] = deque()
        self._sequence = 0

    async def run(self) -> None:
        """Returns when the socket is closed. Raises what the voice raises."""
        await self._send(
            {
                "type": "Metadata",
                "request_id": self._socket.request_id,
                "model_name": self._model,
                "model_version": "local",
                "model_uuid": self._socket.request_id,
                "additional_model_uuids": [],
            }
        )
        reader, worker = asyncio.create_task(self._read()), asyncio.create_task(self._work())
        try:
            done, _ = await asyncio.wait(
                [reader, worker], return_when=asyncio.FIRST_COMPLETED, timeout=self._limits.session_s
            )
            for task in done:
                task.result()  # the worker ends only by failing
            code, reason = (0, "") if done else (1011, "NET-0003: the connection has been up for too long")
        except _Closing as closing:
            code, reason = closing.code, closing.reason
        finally:
            reader.cancel()
            worker.cancel()
            await asyncio.gather(reader, worker, return_exceptions=True)
        if code:
            async with asyncio.timeout(self._limits.send_s):
                await self._websocket.close(code, reason)

    # ------------------------------------------------------------ in

    async def _read(self) -> None:
        """Returns when the client is gone; raises `_Closing` when the protocol closes the socket."""
        while True:
            frame = await self._websocket.receive()
            if frame["type"] == "websocket.disconnect":
                return
            if (text := frame.get("text")) is None:
                raise _Closing(1003, "MESSAGE-0000: only text messages are understood")
            try:
                message = json.loads(text)
                kind = message["type"]
            except (ValueError, TypeError, KeyError):
                raise _Closing(1008, "DATA-0000: the message is not a known command") from None
            self._watch.note(self._socket, message)
            await self._obey(kind, message)

    async def _obey(self, kind: object, message: dict[str, Any]) -> None:
        match kind:
            case "Speak":
                self._buffer(message.get("text"))
            case "Flush":
                await self._flush()
            case "Clear":
                await self._clear()
            case "Close":
                await self._jobs.join()
                raise _Closing(1000, "")
            case _:
                raise _Closing(1008, "DATA-0000: the message is not a known command")

    def _buffer(self, text: object) -> None:
        if not isinstance(text, str):
            raise _Closing(1008, "DATA-0000: Speak has no text")
        if len(text) > self._limits.speak_characters:
            raise _Closing(1009, f"BIG-0001: more than {self._limits.speak_characters} characters")
        self._text.append(text)

    async def _flush(self) -> None:
        now = time.monotonic()
        while self._flushes and now - self._flushes[0] >= self._limits.flush_window_s:
            self._flushes.popleft()
        if len(self._flushes) >= self._limits.flush_limit:
            # The text stays buffered: a later Flush speaks it.
            await self._send(
                {
                    "type": "Warning",
                    "code": "EXCESSIVE_FLUSH",
                    "description": f"Flush ignored: more than {self._limits.flush_limit} in "
                    f"{self._limits.flush_window_s:g} seconds.",
                }
            )
            return
        self._flushes.append(now)
        try:
            self._jobs.put_nowait("".join(self._text))
        except asyncio.QueueFull:
            raise _Closing(1008, "DATA-0001: too much text is waiting") from None
        self._text.clear()

    async def _clear(self) -> None:
        self._text.clear()
        overtaken = self._drop_jobs()
        if (job := self._job) is not None:
            overtaken += 1
            await self._stop(job)
        for _ in range(overtaken if self._limits.flushed_after_clear else 0):
            await self._send_numbered("Flushed")
        await self._send_numbered("Cleared")

    def _drop_jobs(self) -> int:
        dropped = 0
        while not self._jobs.empty():
            self._jobs.get_nowait()
            self._jobs.task_done()
            dropped += 1
        return dropped

    async def _stop(self, job: asyncio.Task[None]) -> None:
        self._chunks_left = self._limits.late_chunks
        if self._chunks_left:
            await asyncio.wait([job], timeout=self._limits.send_s)
        job.cancel()
        await asyncio.wait([job])

    # ------------------------------------------------------------ out

    async def _work(self) -> None:
        while True:
            text = await self._jobs.get()
            self._chunks_left = None
            self._job = asyncio.create_task(self._say(text))
            try:
                await asyncio.wait([self._job])
                if not self._job.cancelled():
                    self._job.result()
            finally:
                self._job.cancel()
                self._job = None
                self._jobs.task_done()

    async def _say(self, text: str) -> None:
        if text.strip():
            async with aclosing(self._voice.say(text)) as chunks:
                async for chunk in chunks:
                    if self._chunks_left is not None and self._chunks_left <= 0:
                        return
                    await self._send(chunk)
                    if self._chunks_left is not None:
                        self._chunks_left -= 1
        if self._chunks_left is None:
            await self._send_numbered("Flushed")

    async def _send_numbered(self, kind: str) -> None:
        sequence, self._sequence = self._sequence, self._sequence + 1
        await self._send({"type": kind, "sequence_id": sequence})

    async def _send(self, message: dict[str, Any] | bytes) -> None:
        if self._watch.mute:
            return
        async with asyncio.timeout(self._limits.send_s):
            if isinstance(message, bytes):
                self._socket.audio_bytes += len(message)
                await self._websocket.send_bytes(message)
            else:
                await self._websocket.send_text(json.dumps(message, separators=(",", ":")))
