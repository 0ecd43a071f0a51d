"""A call's WebSocket without detours.

On their way to a Starlette app, and fifty times a second and call, messages pass uvicorn's queue, Serve's queue and two
tasks, and uvicorn stops and resumes reading for each. A server whose WebSockets are of this class hands them to a
function in the pass of the loop in which they came, and takes what is said without a task's switch. All else about the
connection, its handshake and its end, stays uvicorn's.
"""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from starlette.websockets import WebSocket, WebSocketDisconnect
from uvicorn import config
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol
from websockets.exceptions import InvalidState

try:
    from websockets.speedups import apply_mask
except ImportError:  # no wheel for this machine
    from websockets.utils import apply_mask

_EXTENSION = "trunkline.media_socket"
_HELD = 64  # messages nobody has asked for yet; at more, reading stops
_CLOSE_S = 1.0  # for the other end's part in closing
_GONE = 1006  # closed, and nobody said why
_WHOLE_TEXT = 0x81  # RFC 6455, 5.2: the last fragment, and the first; text
_MASKED = 0x80
_LONG = 126  # the length is in the next two bytes

Message = str | bytes
Take = Callable[[Message], bool]
Say = Callable[[Sequence[str]], Awaitable[None]]


def install() -> None:
    """Servers of this process that are started later, and don't choose a WebSocket of their own, have this one.

    Serve starts uvicorn itself and passes no choice on.
    """
    config.WS_PROTOCOLS["auto"] = f"{__name__}:{MediaSocket.__name__}"


async def hear(websocket: WebSocket, take: Take) -> None:
    """Hands each message to `take`, until that returns True: it was the last that is wanted.

    Raises WebSocketDisconnect when the socket ends, and what `take` raises.
    """
    socket = _short_way(websocket)
    if socket is not None:
        await socket.hear(take)
        return
    while not take(await _read(websocket)):
        pass


def sender(websocket: WebSocket) -> Say:
    """What sends text messages; it waits while the other end takes nothing. Raises when the socket is gone."""
    socket = _short_way(websocket)
    if socket is not None:
        return socket.say

    async def say(texts: Sequence[str]) -> None:
        for text in texts:
            await websocket.send_text(text)

    return say


def _short_way(websocket: WebSocket) -> "MediaSocket | None":
    found = websocket.scope.get("extensions", {}).get(_EXTENSION)
    return found if isinstance(found, MediaSocket) else None


async def _read(websocket: WebSocket) -> Message:
    message = await websocket.receive()
    if message["type"] == "websocket.disconnect":
        raise WebSocketDisconnect(message.get("code", _GONE))
    return message.get("text") or message.get("bytes") or b""


def _frame_end(data: bytes, at: int) -> int:
    """Where the frame that begins at `at` ends; past the end of `data` if it is not all there."""
    if len(data) < at + 4:
        return len(data) + 1
    length, head = data[at + 1] & ~_MASKED, 2
    if length > _LONG:  # longer than anything of Twilio's
        return len(data) + 1
    if length == _LONG:
        length, head = data[at + 2] << 8 | data[at + 3], 4
    return at + head + (4 if data[at + 1] & _MASKED else 0) + length


def _ends_whole(data: bytes) -> bool:
    """Whether these are whole frames and nothing else."""
    at = 0
    while at < len(data):
        at = _frame_end(data, at)
    return at == len(data)


def _text_of(data: bytes) -> bytes:
    """The text of one masked frame."""
    head = 4 if data[1] & ~_MASKED == _LONG else 2
    return apply_mask(data[head + 4 :], data[head : head + 4])


class MediaSocket(WebSocketsSansIOProtocol):
    """One connection. Messages that nobody hears are held, and beyond `_HELD` of them nothing more is read."""

    def __init__(self, *arguments: Any, **named: Any) -> None:
        super().__init__(*arguments, **named)
        self.close_timeout = _CLOSE_S
        self.conn.available_extensions = []  # no compression: mu-law has nothing to gain
        self._take: Take | None = None
        self._heard: asyncio.Future[None] | None = None  # while somebody hears
        self._held: deque[Message] = deque()
        self._ended: int | None = None  # with this code
        self._whole_frames = False  # whether each read since the handshake was

    async def run_asgi(self) -> None:
        extensions: dict[str, Any] = self.scope["extensions"]
        extensions[_EXTENSION] = self
        self._whole_frames = not self.conn.reader.buffer
        await super().run_asgi()

    async def hear(self, take: Take) -> None:
        """See the function of this name."""
        while self._held:
            if take(self._held.popleft()):
                return
        if self._ended is not None:
            raise WebSocketDisconnect(self._ended)
        self._take, self._heard = take, self.loop.create_future()
        self._resume()
        try:
            await self._heard
        finally:
            self._take = self._heard = None

    async def say(self, texts: Sequence[str]) -> None:
        """See `sender`. A write costs more than a message: what is said together goes in one."""
        if not self.writable.is_set():
            await self.writable.wait()
        if self.disconnected:
            raise WebSocketDisconnect(_GONE)
        try:
            for text in texts:
                self.conn.send_text(text.encode())
        except InvalidState:
            raise WebSocketDisconnect(_GONE) from None
        self.transport.write(b"".join(self.conn.data_to_send()))

    def data_received(self, data: bytes) -> None:
        """A read that is one whole text message, as nearly each is, is taken as it stands; all else is uvicorn's."""
        self._whole_frames = self._whole_frames and _ends_whole(data)
        if self._whole_frames and self._take is not None and self._is_text(data):
            self._give(_text_of(data))
        else:
            super().data_received(data)

    def _is_text(self, data: bytes) -> bool:
        """Whether these frames are one masked message of text, and no other is under way."""
        return (
            data[0] == _WHOLE_TEXT
            and data[1] & _MASKED != 0
            and _frame_end(data, 0) == len(data)
            and self.conn.current_size is None
        )

    def send_receive_event_to_app(self) -> None:
        """uvicorn has a whole message."""
        message: Message = self.frames[0] if len(self.frames) == 1 else b"".join(self.frames)
        self.frames = []
        self._give(message)

    def _give(self, message: Message) -> None:
        """To whoever hears."""
        if self.close_sent:
            return
        if self._take is None:
            self._hold(message)
            return
        assert self._heard is not None
        try:
            enough = self._take(message)
        except Exception as error:
            self._over(error)
        else:
            if enough:
                self._over(None)

    def _over(self, error: Exception | None) -> None:
        """Nobody hears any more, from the next message on, though whoever did has yet to be waked."""
        heard, self._take, self._heard = self._heard, None, None
        if heard is not None and not heard.done():
            if error is None:
                heard.set_result(None)
            else:
                heard.set_exception(error)

    def _hold(self, message: Message) -> None:
        self._held.append(message)
        if len(self._held) >= _HELD and not self.read_paused:
            self.read_paused = True
            self.transport.pause_reading()

    def _resume(self) -> None:
        if self.read_paused:
            self.read_paused = False
            self.transport.resume_reading()

    def handle_close(self, event: Any) -> None:
        super().handle_close(event)
        self._end(self.conn.close_rcvd.code if self.conn.close_rcvd is not None else _GONE)

    def handle_parser_exception(self) -> None:
        super().handle_parser_exception()
        self._end(_GONE)

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        self._end(_GONE)

    def _end(self, code: int) -> None:
        if self._ended is None:
            self._ended = code
            self._over(WebSocketDisconnect(code))
