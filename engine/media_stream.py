"""The Media Streams WebSocket: from Twilio's `connected` to the end of the stream."""

import asyncio
import contextlib
import logging
import os
from collections.abc import Callable, Collection, Iterator
from typing import NamedTuple, Protocol

import msgspec
from starlette.websockets import WebSocket, WebSocketDisconnect

from engine.actor import Actor, Ref, spawn
from engine.door import Door
from engine.leases import LeaseActor, StreamOver
from engine.media_socket import Message, hear
from engine.messages import CallerAudio, CallerGone, CallInfo, Drained, DtmfPressed, MarkEchoed, Tick
from engine.redis_client import SessionAway
from engine.session import SessionStore, Whereabouts
from engine.settings import Settings
from engine.telemetry import Seldom, bound, count
from engine.twilio.stream import Dtmf, Mark, Media, Start, Stop, StreamReader, StreamRefused

log = logging.getLogger("engine.media_stream")

UNKNOWN_LIMIT = (
    500  # sockets of this replica that nobody vouches for: a token has still to come, or they are closed
)
_LOOKS = 4  # for silence, in the time that it may last
CLOSE_LIMIT_S = 2.0
CLOSE_NORMAL, CLOSE_POLICY = 1000, 1008


class StreamRef(Protocol):
    """A started StreamActor as the socket's loop sees it."""

    audio: Ref

    def tell(self, message: object) -> None:
        """See `Ref`."""


class Left(msgspec.Struct, frozen=True):
    """This stream of the call is over, or could not be closed (`closed`), and Twilio did not say so."""

    call: str
    stream: str
    closed: bool = True


class _Live(NamedTuple):
    """A call's stream, and how Twilio names it."""

    actor: Actor
    sid: str


class MediaStreams:
    """The streams of one replica. `make_stream` makes a StreamActor, not yet started.

    `left` is told of those that ended without Twilio's `stop`.
    """

    def __init__(
        self,
        settings: Settings,
        door: Door,
        store: SessionStore,
        make_stream: Callable[[CallInfo, str, WebSocket], Actor],
        left: Callable[[Left], None],
    ) -> None:
        self._settings = settings
        self._door = door
        self._store = store
        self._make_stream = make_stream
        self._left = left
        self._streams: dict[str, _Live] = {}
        self._endings: set[asyncio.Task[None]] = set()
        self._leases = LeaseActor(store, self._streams.keys, self._tell_drained, self._list_again)
        self._unknown = 0
        self._seldom = Seldom(log)

    def start(self) -> None:
        """Starts what keeps the calls' slots."""
        spawn(self._leases, "leases")

    async def close(self) -> None:
        """Waits for streams that are ending, and no longer than it may."""
        if self._endings:
            _, late = await asyncio.wait(self._endings, timeout=CLOSE_LIMIT_S)
            for ending in late:
                ending.cancel()
        self._leases.stop()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(CLOSE_LIMIT_S):
                await self._leases.ended()
        await self._leases.kill()

    def _tell_drained(self) -> None:
        for stream in self._streams.values():
            stream.actor.tell(Drained())

    async def _list_again(self, calls: Collection[str]) -> None:
        for call in calls:
            if (stream := self._streams.get(call)) is not None:
                await self._mark_live(call, stream.sid)
                stream.actor.tell(Tick("listed"))

    async def serve(self, websocket: WebSocket) -> None:
        """The call: from Twilio's `connected` to its end."""
        await self._door.enter()
        known = self._door.stream_is_signed(websocket)
        if not known and (self._settings.strict_stream_signature or self._unknown >= UNKNOWN_LIMIT):
            count("streams_refused")
            await websocket.close(CLOSE_POLICY)
            return
        reader = StreamReader()
        try:
            async with asyncio.timeout(self._settings.stream_start_s):
                with self._counted(known):
                    await websocket.accept()
                    start = await _read_start(websocket, reader)
                    info = await self._redeem(start)
        except (StreamRefused, TimeoutError, WebSocketDisconnect, SessionAway) as error:
            count("streams_refused")
            self._seldom.warning("stream refused: %s", error or "no start in time")
            await _close(websocket, CLOSE_POLICY)
            return
        with bound(info.call):
            await self._run_stream(websocket, reader, start, info)

    @contextlib.contextmanager
    def _counted(self, known: bool) -> Iterator[None]:
        """While a socket may hold its place without a token; Twilio's own are not kept out by others'."""
        if known:
            yield
            return
        self._unknown += 1
        try:
            yield
        finally:
            self._unknown -= 1

    async def _redeem(self, start: Start) -> CallInfo:
        token = start.parameters.get("token", "")
        call = await self._store.redeem(token) if token else None
        stored = await self._store.glance(call) if call else None
        if stored is None or stored.info is None or call != start.call:
            raise StreamRefused("the stream's token is unknown, used, too old, or another call's")
        return stored.info

    async def _run_stream(
        self, websocket: WebSocket, reader: StreamReader, start: Start, info: CallInfo
    ) -> None:
        stream = self._make_stream(info, start.stream, websocket)
        self._streams[info.call] = _Live(stream, start.stream)
        spawn(stream, f"stream {info.call}")  # before anything is waited for: it has a caller to greet
        why = "dropped"
        try:
            await self._mark_live(info.call, start.stream)
            stream.tell(Tick("listed"))
            why = await _relay(websocket, reader, stream, self._settings.stream_quiet_s)  # type: ignore[arg-type]
        finally:
            stream.tell(CallerGone(why))
            if why != "stop":
                self._left(Left(info.call, start.stream))
            count("frames_bad", reader.bad)
            count("frames_lost", reader.lost)
            # Serve cancels the request of a socket that its client closed, so the end has a task of its own.
            ending = asyncio.create_task(self._end_stream(websocket, stream, info.call, start.stream))
            self._endings.add(ending)
            ending.add_done_callback(self._endings.discard)
            await asyncio.shield(ending)

    async def _end_stream(self, websocket: WebSocket, stream: Actor, call: str, stream_sid: str) -> None:
        try:
            await _close(websocket, CLOSE_NORMAL)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self._settings.stream_end_s):
                    await stream.ended()
            await stream.kill()
        finally:
            if call in self._streams and self._streams[call].actor is stream:
                del self._streams[call]
            self._leases.tell(StreamOver(call, stream_sid))

    async def _mark_live(self, call: str, stream: str) -> None:
        try:
            where = Whereabouts(call, stream, "starting", 0, os.getpid())
            await self._store.live(where)
        except SessionAway:
            count("live_unmarked")


async def _read_start(websocket: WebSocket, reader: StreamReader) -> Start:
    found: list[Start] = []

    def take(message: Message) -> bool:
        event = reader.receive(message)
        if isinstance(event, Start):
            found.append(event)
        return bool(found)

    await hear(websocket, take)
    return found[0]


async def _relay(websocket: WebSocket, reader: StreamReader, stream: StreamRef, quiet_s: float) -> str:
    """Passes on what Twilio says until the stream's end; returns why it ended.

    Twilio sends 50 frames a second, silence included: a socket that says nothing for `quiet_s` is half open.
    """
    try:
        async with asyncio.timeout(None) as quiet:
            silence = _Silence(quiet, quiet_s)

            def take(message: Message) -> bool:
                event = reader.receive(message)
                silence.broken = True
                if isinstance(event, Media):
                    stream.audio.tell(CallerAudio(event.payload))
                elif isinstance(event, Mark):
                    stream.tell(MarkEchoed(event.name))
                elif isinstance(event, Dtmf):
                    stream.tell(DtmfPressed(0, event.digit))
                return isinstance(event, Stop)

            try:
                await hear(websocket, take)
                return "stop"
            finally:
                silence.over()
    except WebSocketDisconnect:
        return "dropped"
    except StreamRefused as refused:
        log.warning("stream closed: %s", refused)
        return "dropped"
    except TimeoutError:
        count("streams_fell_silent")
        log.warning("stream closed: Twilio sent nothing for %g s", quiet_s)
        return "dropped"


class _Silence:
    """Ends a wait when nothing came for `limit_s`, or up to a quarter longer.

    Looks now and then: to move a deadline with each frame costs more than the frame.
    """

    def __init__(self, wait: asyncio.Timeout, limit_s: float) -> None:
        self.broken = False
        self._look_s = limit_s / _LOOKS
        self._wait = wait
        self._loop = asyncio.get_running_loop()
        self._looks = 0  # since it was broken
        self._timer = self._loop.call_later(self._look_s, self._look)

    def _look(self) -> None:
        self._looks = 0 if self.broken else self._looks + 1
        self.broken = False
        if self._looks < _LOOKS:
            self._timer = self._loop.call_later(self._look_s, self._look)
        else:
            self._wait.reschedule(self._loop.time())

    def over(self) -> None:
        """No wait any more."""
        self._timer.cancel()


async def _close(websocket: WebSocket, code: int) -> None:
    """Closes a socket that may be closed already."""
    with contextlib.suppress(RuntimeError, WebSocketDisconnect, TimeoutError, OSError):
        async with asyncio.timeout(CLOSE_LIMIT_S):
            await websocket.close(code)
