"""One media stream: Twilio's end of the WebSocket, from `connected` to its close.

Twilio, "Media Streams - WebSocket Messages". The line steps it every 20 ms; a task reads, a task writes.
"""

import asyncio
from base64 import b64encode
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import msgspec
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidHandshake, InvalidURI

from engine.audio import FRAME_MS, ms_of
from simulators.twilio.journal import Journal
from simulators.twilio.playback import Playback

OPEN_S = 10.0
CLOSE_S = 2.0
MAX_UNSENT = 250  # 5 s of frames; beyond it Twilio drops the caller's audio (31930)


@dataclass(frozen=True, slots=True)
class StreamIds:
    """The SIDs that `start` and `stop` carry."""

    stream: str
    call: str
    account: str


class StreamFailed(Exception):
    """The WebSocket did not open; `code` is Twilio's error code."""

    def __init__(self, code: int, why: str) -> None:
        super().__init__(why)
        self.code = code


class _Audio(msgspec.Struct):
    payload: bytes


class _Name(msgspec.Struct):
    name: str


class _Media(msgspec.Struct, tag_field="event", tag="media"):
    streamSid: str
    media: _Audio


class _Mark(msgspec.Struct, tag_field="event", tag="mark"):
    streamSid: str
    mark: _Name


class _Clear(msgspec.Struct, tag_field="event", tag="clear"):
    streamSid: str


_decode = msgspec.json.Decoder(_Media | _Mark | _Clear).decode


class Leg:
    """A stream of a call; `run` lives as long as it does.

    A `deaf` one does not notice that the server closed it, as when a network swallows what it should carry: it lives
    until the call ends or goes elsewhere.
    """

    def __init__(self, ids: StreamIds, journal: Journal, *, deaf: bool = False) -> None:
        self.ids = ids
        self._deaf = deaf
        self._told_to_stop = asyncio.Event()
        self.is_open = False
        self._journal = journal
        self._playback = Playback()
        self._socket: ClientConnection | None = None
        self._outbox: asyncio.Queue[str | None] = asyncio.Queue()
        self._sequence = 0
        self._chunk = 0
        self._dropping = False
        self._by = "server"
        self._stopped = False
        self._deadline: asyncio.TimerHandle | None = None
        self._head = f'"streamSid":"{ids.stream}"'

    async def run(
        self, url: str, signature: str, parameters: dict[str, str], on_open: Callable[[], None]
    ) -> None:
        """Opens the stream; returns when it has ended, however. Raises `StreamFailed` if it never opened."""
        socket = self._socket = await self._open(url, signature)
        reader = asyncio.create_task(self._read(socket), name=f"read {self.ids.stream}")
        writer = asyncio.create_task(self._write(socket, parameters), name=f"write {self.ids.stream}")
        try:
            self._journal.note("stream_opened", stream=self.ids.stream, url=url)
            on_open()
            await asyncio.wait({reader, writer}, return_when=asyncio.FIRST_COMPLETED)
            if self._deaf:
                await self._told_to_stop.wait()
        finally:
            self.is_open = False
            await self._close(socket, reader, writer)
            if self._deadline is not None:
                self._deadline.cancel()
        code = socket.close_code
        self._journal.note("closed", stream=self.ids.stream, code=code, by=self._by)
        for task in (reader, writer):
            if not task.cancelled() and (error := task.exception()) is not None:
                raise error

    async def _open(self, url: str, signature: str) -> ClientConnection:
        if "?" in url:
            raise StreamFailed(31920, "the stream's URL has a query string")
        try:
            return await connect(
                url,
                additional_headers={"x-twilio-signature": signature},
                origin=None,
                compression=None,
                proxy=None,
                open_timeout=OPEN_S,
                close_timeout=CLOSE_S,
                ping_interval=None,
                max_queue=256,
            )
        except InvalidURI as error:
            raise StreamFailed(31923, str(error)) from None
        except InvalidHandshake as error:
            raise StreamFailed(31920, str(error)) from None
        except TimeoutError:
            raise StreamFailed(31901, f"no answer in {OPEN_S} s") from None
        except OSError as error:
            raise StreamFailed(31902, str(error)) from None

    async def _begin(self, socket: ClientConnection, parameters: dict[str, str]) -> None:
        body = {
            "streamSid": self.ids.stream,
            "accountSid": self.ids.account,
            "callSid": self.ids.call,
            "tracks": ["inbound"],
            "customParameters": parameters,
            "mediaFormat": {"encoding": "audio/x-mulaw", "sampleRate": 8000, "channels": 1},
        }
        await socket.send('{"event":"connected","protocol":"Call","version":"1.0.0"}')
        await socket.send(self._message("start", body))
        self.is_open = True
        self._journal.note("start_sent", stream=self.ids.stream)
        if self._stopped:  # hung up while the stream opened
            self.stop()

    # ---------------------------------------------------------------- told by the line

    def step(self, caller: bytes) -> bytes | None:
        """20 ms of the line: the caller's frame goes out; returns what the caller hears of the agent."""
        self._chunk += 1
        if self._outbox.qsize() < MAX_UNSENT:
            self._dropping = False
            self._send_media(caller)
        elif not self._dropping:
            self._dropping = True
            self._journal.note("error", code=31930, why="the server reads too slowly: audio is dropped")
        step = self._playback.step()
        self._echo(step.echoes)
        if step.ran_dry:
            self._journal.note("dry", stream=self.ids.stream)
        return step.frame

    def press(self, digit: str) -> None:
        """A key of the caller's telephone; lost while the stream isn't open."""
        if self.is_open:
            self._send("dtmf", {"track": "inbound_track", "digit": digit})

    def stop(self) -> None:
        """The call goes elsewhere or ends: says `stop` and closes, in 2 s even if the server doesn't read."""
        self._stopped = True
        self._told_to_stop.set()
        if self.is_open and self._socket is not None:
            self.is_open = False
            self._by = "twilio"
            self._send("stop", {"accountSid": self.ids.account, "callSid": self.ids.call})
            self._outbox.put_nowait(None)
            abort = self._socket.transport.abort
            self._deadline = asyncio.get_running_loop().call_later(CLOSE_S, abort)
            self._journal.note("stop_sent", stream=self.ids.stream)

    def cut(self) -> None:
        """The connection breaks: no `stop`, no closing handshake."""
        if self._socket is not None and self.is_open:
            self.is_open = False
            self._by = "cut"
            self._journal.note("cut", stream=self.ids.stream)
            self._socket.transport.abort()

    # ---------------------------------------------------------------- the socket

    def _send(self, event: str, body: dict[str, Any]) -> None:
        self._outbox.put_nowait(self._message(event, body))

    def _message(self, event: str, body: dict[str, Any]) -> str:
        self._sequence += 1
        text = msgspec.json.encode(body).decode()
        return f'{{"event":"{event}","sequenceNumber":"{self._sequence}",{self._head},"{event}":{text}}}'

    def _send_media(self, frame: bytes) -> None:
        self._sequence += 1
        self._outbox.put_nowait(
            f'{{"event":"media","sequenceNumber":"{self._sequence}",{self._head},"media":{{"track":"inbound",'
            f'"chunk":"{self._chunk}","timestamp":"{self._chunk * FRAME_MS}",'
            f'"payload":"{b64encode(frame).decode()}"}}}}'
        )

    async def _write(self, socket: ClientConnection, parameters: dict[str, str]) -> None:
        try:
            await self._begin(socket, parameters)
            while (text := await self._outbox.get()) is not None:
                await socket.send(text)
        except ConnectionClosed:
            return  # the reader sees it too, and it ends the stream

    async def _read(self, socket: ClientConnection) -> None:
        try:
            async for text in socket:
                self._receive(text)
        except ConnectionClosed:
            return

    async def _close(self, socket: ClientConnection, *tasks: asyncio.Task[None]) -> None:
        """Never waits longer than the library's own close timeout, and leaves no task behind."""
        if self._by == "cut":
            socket.transport.abort()
        await socket.close()
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)

    def _receive(self, text: str | bytes) -> None:
        try:
            message = _decode(text)
        except (msgspec.DecodeError, UnicodeError, RecursionError) as error:
            self._journal.note("error", code=31951, why=f"invalid message {text[:120]!r}: {error}")
            return
        if isinstance(text, bytes) or message.streamSid != self.ids.stream:
            self._journal.note("error", code=31951, why=f"not a text message of this stream: {text[:120]!r}")
            return
        match message:
            case _Media(media=media):
                self._queue(media.payload)
            case _Mark(mark=mark):
                self._journal.note("mark_received", name=mark.name)
                self._echo(self._playback.mark(mark.name))
            case _Clear():
                dropped, names = self._playback.clear()
                self._journal.note("clear", dropped_ms=ms_of(dropped), marks=names)
                self._echo(names)

    def _queue(self, audio: bytes) -> None:
        if self._playback.idle and audio:
            self._journal.note("audio", stream=self.ids.stream)
        self._playback.put(audio)

    def _echo(self, names: Iterable[str]) -> None:
        for name in names:
            self._send("mark", {"name": name})
            self._journal.note("mark_echoed", name=name)
