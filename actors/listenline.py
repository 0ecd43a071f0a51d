"""One connection to recognition, from before its socket is open until it has ended; SttActor owns it.

It gives its socket the caller's audio, tells the actor what comes, and finds a socket that does its work no more.
"""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass

from engine import audio
from engine.actor import Ref
from engine.clock import now
from engine.kept_audio import KeptAudio
from engine.routes import Route
from engine.vendors.deepgram import ListenSocket, VendorLost
from engine.vendors.flux import FluxSocket
from engine.vendors.ways import Listening

KEEP_ALIVE_S = 4.0  # Deepgram closes a socket that is silent for 10 s (Audio Keep Alive)
LOOK_S = 1.0  # how often a socket is looked after, when nothing is due sooner
CONFIRM_S = 0.05  # for what has come while our own loop was held up to be read
LOUD_LEAST = audio.bytes_of(200)  # of what may be speech, before an answer is due: a click is not speech

Socket = ListenSocket | FluxSocket


class Stalled(VendorLost):
    """The socket is open, and takes or tells nothing."""


@dataclass(frozen=True)
class Opened:
    """Told to the actor: the socket is open, and waits for `go`."""

    number: int
    socket: Socket
    go: asyncio.Event


@dataclass(frozen=True)
class Ended:
    """Told to the actor: the connection is over."""

    number: int
    lost: VendorLost


class ListenLine:
    """`run` is the connection. Its actor is told `Opened`, `(number, event)` for what comes, and `Ended`.

    `patience_s` says how long it may do nothing that it should.
    """

    def __init__(
        self,
        number: int,
        route: Route[Listening],
        kept: KeptAudio,
        actor: Ref,
        patience_s: Callable[[], float],
    ) -> None:
        self.number = number
        self.route = route
        self.task: asyncio.Task[None] | None = None
        self.socket: Socket | None = None
        self.opened_s = 0.0
        self.useful = False  # it told of audio of which nothing had been told
        self._kept = kept
        self._actor = actor
        self._patience_s = patience_s
        self._more: asyncio.Future[None] | None = None  # while the sender waits for audio
        self._sending_s: float | None = None  # since when a send has been under way
        self._sent_s = 0.0
        self._unanswered_s: float | None = None  # since when the caller's speech has had no answer
        self._unanswered_loud = 0

    def wake(self) -> None:
        """There is audio to be sent."""
        if self._more is not None and not self._more.done():  # done: the sender is being cancelled
            self._more.set_result(None)

    def answered(self) -> None:
        """Something came."""
        self._unanswered_s, self._unanswered_loud = None, 0

    async def run(self) -> None:
        """From opening the socket to its end."""
        socket = self.route.way()
        try:
            await socket.open()
            opened = Opened(self.number, socket, asyncio.Event())
            self._actor.tell(opened)
            await opened.go.wait()
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(self._send(socket))
                tasks.create_task(self._read(socket))
                tasks.create_task(self._look_after(socket))
        except* VendorLost as group:
            lost = next(one for one in group.exceptions if isinstance(one, VendorLost))
            self._actor.tell(Ended(self.number, lost))
        finally:
            await socket.close()

    async def _send(self, socket: Socket) -> None:
        """50 times a second, so without timers: `_look_after` has them."""
        loop, kept = asyncio.get_running_loop(), self._kept
        while True:
            while not kept.waiting_bytes:
                self._more = loop.create_future()
                try:
                    await self._more
                finally:
                    self._more = None
            payload, loud = kept.take()
            self._sending_s = self._sent_s = loop.time()
            if loud:
                self._unanswered_loud += loud
                if self._unanswered_s is None and self._unanswered_loud >= LOUD_LEAST:
                    self._unanswered_s = self._sent_s
            await socket.send(payload)
            self._sending_s = None

    async def _read(self, socket: Socket) -> None:
        async for event in socket.events():
            self._actor.tell((self.number, event))
        raise VendorLost("Deepgram ended the stream")

    async def _look_after(self, socket: Socket) -> None:
        """Finds a socket that takes nothing or tells nothing, and keeps one open to which nothing is sent.

        A task of its own: nothing that waits for the socket can keep it from its timer.
        """
        kept_s = now()
        while True:
            await asyncio.sleep(self._look_in_s())
            patience_s = self._patience_s()
            if self._sending_s is not None and now() - self._sending_s >= patience_s:
                raise Stalled(f"Deepgram took nothing for {patience_s:g} s")
            if self._unanswered_s is not None and now() - self._unanswered_s >= patience_s:
                since_s = self._unanswered_s
                await asyncio.sleep(CONFIRM_S)
                if self._unanswered_s != since_s:
                    continue
                raise Stalled(f"Deepgram told nothing for {patience_s:g} s though the caller speaks")
            if self._sending_s is None and now() - max(self._sent_s, kept_s) >= KEEP_ALIVE_S:
                await socket.keep_alive()
                kept_s = now()

    def _look_in_s(self) -> float:
        since = [s for s in (self._sending_s, self._unanswered_s) if s is not None]
        due_s = min(since) + self._patience_s() - now() if since else LOOK_S
        return min(max(due_s, 0.005), LOOK_S)
