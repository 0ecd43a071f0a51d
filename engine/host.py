"""Where CallActors run: CallHosts, Ray actors of our own that belong to one ingress replica each.

`CallHost` is the Ray actor's body: it runs the CallActors of many calls. `HostPool` is the replica's side: it keeps a
spare host warm, places calls, and tells a call's stream when its host is dead or hangs. A host is owned by the
replica's process, so Ray ends it with its replica. Creating a Ray actor blocks for 8 to 39 ms: it is done in a thread.
"""

import asyncio
import logging
import os
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

import ray
from ray.exceptions import ActorUnavailableError

from engine.actor import Actor, Ref, spawn
from engine.link import Far, Frame, HostSide, LinkEnd, RayLink, Unknown
from engine.messages import Down, Start, Tick
from engine.telemetry import count

log = logging.getLogger("engine.host")

WARM_LIMIT_S = 60.0
MAKE_AGAIN_S = 1.0

MakeCall = Callable[[Start, Callable[[str], Ref]], Actor]
"""Makes a CallActor, not yet started; the function gives it Refs to "stream", "media" and "stt"."""


@dataclass(frozen=True)
class _Over:
    """A CallActor has ended; told after its `Down`, so that its stream learns of that before the channel closes."""

    call: str
    actor: Actor


class Calls(Actor):
    """The CallActors of one host, and their supervisor.

    Told:  Start (from a stream, by the link), Down (of a CallActor), _Over
    Tells: stream  Down("call", reason)
    """

    def __init__(self, end: LinkEnd, make_call: MakeCall) -> None:
        super().__init__()
        self._end = end
        self._make_call = make_call
        self._running: dict[str, Actor] = {}

    @property
    def count(self) -> int:
        """How many calls run here."""
        return len(self._running)

    def announced(self, frame: Frame) -> None:
        """A frame of no open channel came in: `Start`, or something late, which is dropped."""
        if isinstance(frame.message, Start):
            self.tell(frame.message)

    async def receive(self, message: Any) -> None:
        match message:
            case Start():
                await self._run_call(message)
            case Down(call, reason):
                self._end.tell(call, "stream", Down("call", reason))
            case _Over(call, actor) if self._running.get(call) is actor:
                del self._running[call]
                self._end.close(call)

    async def _run_call(self, start: Start) -> None:
        call = start.info.call
        older = self._running.pop(call, None)
        if older is not None:
            await older.kill()
        actor = self._make_call(start, lambda to: Far(self._end, call, to))
        self._end.open(call, start.stream, lambda _, message: actor.tell(message))
        self._running[call] = actor
        self.spawn(actor, call)
        actor.when_over(lambda: self.tell(_Over(call, actor)))


class CallHost:
    """The body of a Ray actor: one process that runs CallActors for one ingress replica."""

    def __init__(self, open_runtime: Callable[[], Awaitable[MakeCall]]) -> None:
        """`open_runtime` connects what CallActors need and returns their maker."""
        self._open_runtime = open_runtime

    async def warm(self) -> int:
        """Connects; returns the process id."""
        make_call = await self._open_runtime()
        end = LinkEnd(lambda frame: self._calls.announced(frame))
        self._side = HostSide(end)
        self._calls = Calls(end, make_call)
        spawn(self._calls, "calls")
        return os.getpid()

    async def deliver(self, data: bytes, again: bool) -> bytes:
        """See `HostSide.deliver`."""
        return await self._side.deliver(data, again)

    async def collect(self) -> bytes:
        """See `HostSide.collect`."""
        return await self._side.collect()


class _RayRemote:
    """A CallHost's methods over Ray."""

    def __init__(self, handle: Any) -> None:
        self._handle = handle

    async def deliver(self, data: bytes, again: bool) -> bytes:
        try:
            return await self._handle.deliver.remote(data, again)  # type: ignore[no-any-return]
        except ActorUnavailableError as error:
            raise Unknown(str(error)) from error

    async def collect(self) -> bytes:
        try:
            return await self._handle.collect.remote()  # type: ignore[no-any-return]
        except ActorUnavailableError as error:
            raise Unknown(str(error)) from error


@dataclass
class _Host:
    handle: Any
    pid: int
    end: LinkEnd
    lost: dict[str, Callable[[str], None]] = field(default_factory=dict)
    link: asyncio.Task[None] | None = None


@dataclass
class HostPlacement:
    """A call on a host."""

    call: Ref
    pid: int
    leave: Callable[[], None]


class HostPool(Actor):
    """The hosts of one ingress replica. An actor only to own their links.

    Told: Down (a host could not be made; it is tried again), Tick
    """

    def __init__(self, open_runtime: Callable[[], Awaitable[MakeCall]], calls_per_host: int) -> None:
        super().__init__()
        self._open_runtime = open_runtime
        self._calls_per_host = calls_per_host
        self._hosts: list[_Host] = []
        self._making: asyncio.Task[None] | None = None
        self._changed = asyncio.Event()

    async def receive(self, message: Any) -> None:
        match message:
            case Down("make host", reason):
                count("hosts_not_made")
                log.error("no CallHost could be made, trying again in %g s: %s", MAKE_AGAIN_S, reason)
                self.after(MAKE_AGAIN_S, Tick("make"))
            case Tick("make"):
                self._keep_a_spare()

    async def stopped(self) -> None:
        for host in list(self._hosts):
            self._end_host(host)

    async def ready(self) -> None:
        """Waits until a host is warm. Raises TimeoutError."""
        async with asyncio.timeout(WARM_LIMIT_S):
            await self._roomy()

    @property
    def pids(self) -> tuple[int, ...]:
        """The process ids of the hosts that are warm."""
        return tuple(host.pid for host in self._hosts)

    async def place(
        self, start: Start, receive: Callable[[str, Any], None], lost: Callable[[str], None]
    ) -> HostPlacement:
        """Starts a call's CallActor on a host with room. Raises TimeoutError when none gets warm."""
        async with asyncio.timeout(WARM_LIMIT_S):
            host = await self._roomy()
        call = start.info.call
        host.lost[call] = lost
        host.end.open(call, start.stream, receive)
        host.end.announce(Frame(call, start.stream, 0, 0, "host", start))
        self._keep_a_spare()
        return HostPlacement(Far(host.end, call, "call"), host.pid, lambda: self._leave(host, call))

    def _leave(self, host: _Host, call: str) -> None:
        host.lost.pop(call, None)
        host.end.close(call)

    async def _roomy(self) -> _Host:
        while True:
            for host in self._hosts:
                if len(host.lost) < self._calls_per_host:
                    return host
            self._keep_a_spare()
            self._changed.clear()
            await self._changed.wait()

    # --- hosts

    def _keep_a_spare(self) -> None:
        if any(not host.lost for host in self._hosts) or (self._making and not self._making.done()):
            return
        self._making = self.work(self._make(), "make host")

    async def _make(self) -> None:
        handle = await asyncio.to_thread(self._create)
        pid = await asyncio.wait_for(handle.warm.remote(), WARM_LIMIT_S)
        host = _Host(handle, pid, LinkEnd())
        link = RayLink(host.end, _RayRemote(handle), lambda why: self._lost(host, why))
        host.link = self.work(link.run(), f"link {pid}")
        self._hosts.append(host)
        self._changed.set()

    def _create(self) -> Any:
        options = {"num_cpus": 0, "max_concurrency": 1000, "max_restarts": 0}
        return ray.remote(CallHost).options(**options).remote(self._open_runtime)

    def _lost(self, host: _Host, why: str) -> None:
        count("hosts_lost")
        log.warning("host %s is lost: %s", host.pid, why)
        streams = list(host.lost.values())
        self._end_host(host)
        for lost in streams:
            lost(why)
        self._keep_a_spare()

    def _end_host(self, host: _Host) -> None:
        if host in self._hosts:
            self._hosts.remove(host)
        host.lost.clear()
        asyncio.get_running_loop().run_in_executor(None, _kill, host.handle)


def _kill(handle: Any) -> None:
    ray.kill(handle, no_restart=True)
