"""CallActors inside the ingress process: no host, no link, the cheapest call.

Takes the place of `engine.hostpool.HostPool`. What a link does for a call that moves is done here by its `_Seat`:
whoever has left, or was replaced, neither tells nor is told anything.
"""

import asyncio
import os
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from engine.actor import Actor
from engine.gauges import Gauges
from engine.host import OpenRuntime
from engine.hostpool import HostPlacement
from engine.messages import Down, Start


class _Seat:
    """A call's place: its CallActor and its stream hear of each other until one of them has left."""

    actor: Actor

    def __init__(self, receive: Callable[[str, Any], None]) -> None:
        self._receive = receive
        self._left = False

    def tell_stream(self, to: str, message: Any) -> None:
        """Tells the stream's actor `to`."""
        if not self._left:
            self._receive(to, message)

    def tell(self, message: Any) -> None:
        """Tells the CallActor."""
        if not self._left:
            self.actor.tell(message)

    def leave(self) -> None:
        """Neither hears of the other any more."""
        self._left = True


@dataclass(frozen=True)
class _Outward:
    """A CallActor's Ref to one of its stream's actors."""

    seat: _Seat
    to: str

    def tell(self, message: Any) -> None:
        self.seat.tell_stream(self.to, message)


@dataclass(frozen=True)
class _Over:
    """A CallActor has ended; told after its `Down`."""

    call: str
    seat: _Seat


class PackedCalls(Actor):
    """The CallActors of one ingress replica, and their supervisor.

    Told:  Down (of a CallActor), _Over
    Tells: stream  Down("call", reason)
    """

    def __init__(self, open_runtime: OpenRuntime, host: str, start_s: float) -> None:
        """`open_runtime` connects what CallActors need; `host` is how Ray knows this process; `start_s` is the
        longest time until it has.
        """
        super().__init__()
        self._open_runtime = open_runtime
        self._host = host
        self._start_s = start_s
        self._open = asyncio.Event()
        self._running: dict[str, _Seat] = {}

    async def started(self) -> None:
        self._runtime = await self._open_runtime()
        self._open.set()

    async def receive(self, message: Any) -> None:
        match message:
            case Down(call, reason):
                seat = self._running.get(call)
                if seat is not None and seat.actor.over:  # not its predecessor's
                    seat.tell_stream("stream", Down("call", reason))
            case _Over(call, seat) if self._running.get(call) is seat:
                del self._running[call]

    async def stopped(self) -> None:
        if self._open.is_set():
            await self._runtime.close()

    async def ready(self) -> None:
        """Waits until calls can run. Raises TimeoutError."""
        async with asyncio.timeout(self._start_s):
            await self._open.wait()

    @property
    def pids(self) -> tuple[int, ...]:
        """This process, once calls can run in it."""
        return (os.getpid(),) if self._open.is_set() else ()

    async def gauges(self) -> list[Gauges]:
        """No process is only for calls."""
        return []

    async def place(
        self, start: Start, receive: Callable[[str, Any], None], _: Callable[[str], None]
    ) -> HostPlacement:
        """Starts a call's CallActor, in the place of one that it has. Raises TimeoutError.

        No link can be lost: a process that dies takes both of its ends.
        """
        await self.ready()
        call = start.info.call
        while (older := self._running.pop(call, None)) is not None:
            older.leave()
            await older.actor.kill()
        # From here on nothing is awaited: the placement is known before the CallActor says its first word.
        seat = _Seat(receive)
        seat.actor = self._runtime.make_call(start, lambda to: _Outward(seat, to))
        self._running[call] = seat
        self.spawn(seat.actor, call).when_over(lambda: self.tell(_Over(call, seat)))
        return HostPlacement(seat, self._host, os.getpid(), seat.leave)
