"""What can be seen of a running speech server: its limits, its open sockets, the control messages it got."""

import asyncio
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Literal

from starlette.websockets import WebSocket

from local.speech.params import Refusal

Kind = Literal["listen", "speak"]
_CONTROLS_KEPT = 10_000


@dataclass(frozen=True, slots=True)
class Limits:
    """Deepgram's limits and habits, settable so that tests can meet them sooner.

    `flush_limit` Flushes in `flush_window_s`; further ones are ignored with a Warning. `late_chunks`: how
    many more pieces of audio a speak socket sends after `Clear` and before `Cleared`. `flushed_after_clear`:
    whether a Flush that `Clear` overtook is still answered (Deepgram doesn't say). `empty_final_s`: how much
    silence brings a final with no words, `again_s` how much audio an interim, though there is nothing new to tell.
    """

    idle_s: float = 10.0
    send_s: float = 10.0
    flush_s: float = 10.0
    session_s: float = 3600.0
    empty_final_s: float = 5.0
    again_s: float = 1.0
    speak_characters: int = 2000
    flush_limit: int = 20
    flush_window_s: float = 60.0
    late_chunks: int = 0
    flushed_after_clear: bool = False


@dataclass(frozen=True, slots=True)
class Control:
    """One text message that a client sent."""

    kind: Kind
    request_id: str
    message: dict[str, Any]


@dataclass(slots=True, eq=False)
class OpenSocket:
    """One open socket; `params` are `ListenParams`, `FluxParams` or `SpeakParams`. `audio_bytes`: received or sent."""

    kind: Kind
    request_id: str
    params: object
    websocket: WebSocket
    audio_bytes: int = 0

    async def close(self, code: int, reason: str) -> None:
        """Closes it under its client, as a server that fails would."""
        await self.websocket.close(code, reason)


@dataclass(slots=True, eq=False)
class Watch:
    """Open sockets, counts and control messages of one server, and the door that may be shut.

    While `refusal` is set, handshakes and requests are turned away with it; with `no_sockets`, handshakes alone. While
    `mute`, sockets take all and tell nothing, as half-open ones do.
    """

    sockets: set[OpenSocket] = field(default_factory=set)
    opened: int = 0
    controls: deque[Control] = field(default_factory=lambda: deque(maxlen=_CONTROLS_KEPT))
    refusal: Refusal | None = None
    no_sockets: Refusal | None = None
    mute: bool = False
    _changed: asyncio.Event = field(default_factory=asyncio.Event)

    def count(self, kind: Kind) -> int:
        """How many sockets of that kind are open."""
        return sum(socket.kind == kind for socket in self.sockets)

    def types(self, kind: Kind) -> list[str]:
        """The `type` of each control message of that kind, in order of arrival."""
        return [str(control.message.get("type")) for control in self.controls if control.kind == kind]

    def enter(self, socket: OpenSocket) -> None:
        """A socket was accepted."""
        self.sockets.add(socket)
        self.opened += 1
        self._notify()

    def leave(self, socket: OpenSocket) -> None:
        """A socket is gone."""
        self.sockets.discard(socket)
        self._notify()

    def note(self, socket: OpenSocket, message: dict[str, Any]) -> None:
        """A control message arrived."""
        self.controls.append(Control(socket.kind, socket.request_id, message))
        self._notify()

    async def until(self, condition: Callable[["Watch"], bool], timeout_s: float = 10.0) -> None:
        """Returns once `condition(self)` holds after a socket or control message came or went.

        Raises `TimeoutError`. Must run on the server's event loop.
        """
        async with asyncio.timeout(timeout_s):
            while not condition(self):
                await self._changed.wait()

    def _notify(self) -> None:
        # Waiters get this event; whoever waits next gets a fresh one.
        self._changed.set()
        self._changed = asyncio.Event()
