"""What runs CallActors: the body of a Ray actor, and the way to it over Ray.

`CallHost` runs the CallActors of many calls in one process; `RayHost` is the replica's handle of it. Which hosts there
are, and which call goes where, is `engine.hostpool`'s to say.
"""

import asyncio
import gc
import os
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, cast

import msgspec
import ray
from ray import cloudpickle
from ray.exceptions import RayError

from engine.actor import Actor, Ref, spawn
from engine.gauges import Gauges, gauges
from engine.heap import set_aside
from engine.link import Far, Frame, LinkEnd
from engine.messages import Down, Start
from engine.wire import Address, Door, NearWire, connect, new_token

GAUGES_LIMIT_S = 2.0
CLOSE_LIMIT_S = 12.0  # the call log has 5 s for its last rows, and a connection to Postgres 5 more to close

MakeCall = Callable[[Start, Callable[[str], Ref]], Actor]
"""Makes a CallActor, not yet started; the function gives it Refs to "stream", "media" and "stt"."""


@dataclass(frozen=True)
class CallRuntime:
    """What the CallActors of one host share: their maker, how to close what it has connected, and how to wait until all
    that it has to write is written.
    """

    make_call: MakeCall
    close: Callable[[], Awaitable[None]]
    settle: Callable[[], Awaitable[None]]


OpenRuntime = Callable[[], Awaitable[CallRuntime]]


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

    async def none_runs(self) -> None:
        """Waits until no call runs here."""
        while self._running:
            await asyncio.wait([asyncio.ensure_future(one.ended()) for one in self._running.values()])
            await asyncio.sleep(0)  # for its `_Over`

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
        channel = self._end.open(call, start.stream, lambda _, message: actor.tell(message))
        channel.open(
            start.last_epoch + 1
        )  # as at the other end, or a failure before `Attach` would not be heard
        self._running[call] = actor
        self.spawn(actor, call)
        actor.when_over(lambda: self.tell(_Over(call, actor)))


class CallHost:
    """The body of a Ray actor: one process that runs CallActors for one ingress replica."""

    def __init__(self, open_runtime: OpenRuntime) -> None:
        """`open_runtime` connects what CallActors need."""
        self._open_runtime = open_runtime

    async def warm(self) -> int:
        """Connects; returns the process id."""
        self._runtime = await self._open_runtime()
        self.end = LinkEnd(lambda frame: self._calls.announced(frame))
        self._calls = Calls(self.end, self._runtime.make_call)
        spawn(self._calls, "calls")
        return os.getpid()

    async def listen(self, token: bytes) -> Address:
        """Waits for its replica on a port of this node, as Ray's own processes do. Raises OSError."""
        return await Door(self.end).open(cast(Any, ray.util).get_node_ip_address(), token)

    async def name(self) -> str:
        """How Ray knows this process."""
        return str(ray.get_runtime_context().get_actor_id())

    async def gauges(self) -> bytes:
        """See `engine.gauges`, as JSON."""
        return msgspec.json.encode(gauges("host"))

    async def settle(self) -> None:
        """Waits until no call runs here, and what they have to write is written: Redis or Postgres may be away."""
        await self._calls.none_runs()
        await self._runtime.settle()

    async def close(self) -> None:
        """Ends the calls that are left, writes what their log still holds, closes all connections."""
        await self._calls.kill()
        await self._runtime.close()


class HostLost(Exception):
    """The host is dead, hangs, or could not be started."""


@dataclass(frozen=True)
class _Parcel:
    """`open_runtime` on its way to a host, where it is unpacked by `_unpacked`."""

    open_runtime: OpenRuntime

    def __reduce__(self) -> tuple[Callable[[bytes], OpenRuntime], tuple[bytes]]:
        return _unpacked, (cast(Any, cloudpickle).dumps(self.open_runtime),)


def _unpacked(data: bytes) -> OpenRuntime:
    """Unpacking it imports most of what a host needs, opening it the rest. Meanwhile the garbage collector, which would
    look at all of it again and again for a sixth of a host's start, is at rest."""
    gc.disable()
    open_runtime: OpenRuntime = cloudpickle.loads(data)

    async def opened() -> CallRuntime:
        try:
            return await open_runtime()
        finally:
            set_aside()
            gc.enable()

    return opened


class RayHost:
    """A CallHost in a process of its own: started and ended by Ray, linked by a wire."""

    name = ""
    _wire: NearWire

    def __init__(self, open_runtime: OpenRuntime, start_s: float, silent_s: float) -> None:
        """Blocks for 8 to 39 ms: call it in a thread. `start_s` is the longest time until it is warm, `silent_s` the
        longest in which it may answer no heartbeat.
        """
        self._start_s = start_s
        self._silent_s = silent_s
        options = {"num_cpus": 0, "max_restarts": 0}
        self._handle: Any = ray.remote(CallHost).options(**options).remote(_Parcel(open_runtime))

    async def warm(self, end: LinkEnd) -> int:
        """Waits until it has connected and is linked with `end`; its process id. Raises `HostLost`."""
        try:
            async with asyncio.timeout(self._start_s):
                pid: int = await self._handle.warm.remote()
                self.name = await self._handle.name.remote()
                token = new_token()
                address = await self._handle.listen.remote(token)
                self._wire = await connect(end, address, token, self._silent_s)
                return pid
        except (RayError, OSError, TimeoutError) as error:
            raise HostLost(f"not warm: {type(error).__name__}: {error}") from error

    async def lost(self) -> str:
        """Waits until it is dead or hangs; why. Cancelled, it leaves the link."""
        try:
            return await self._wire.gone
        finally:
            self._wire.close()

    async def gauges(self) -> Gauges:
        """What the process holds. Raises `HostLost`."""
        try:
            told = await asyncio.wait_for(self._handle.gauges.remote(), GAUGES_LIMIT_S)
        except (RayError, TimeoutError) as error:
            raise HostLost(f"no gauges: {type(error).__name__}: {error}") from error
        return msgspec.json.decode(told, type=Gauges)

    async def settle(self, limit_s: float) -> None:
        """See `CallHost.settle`. Raises `HostLost`."""
        try:
            async with asyncio.timeout(limit_s):
                await self._handle.settle.remote()
        except (RayError, TimeoutError) as error:
            raise HostLost(f"not all is written: {type(error).__name__}: {error}") from error

    async def close(self) -> None:
        """See `CallHost.close`. Raises `HostLost`."""
        try:
            async with asyncio.timeout(CLOSE_LIMIT_S):
                await self._handle.close.remote()
        except (RayError, TimeoutError) as error:
            raise HostLost(f"not closed: {type(error).__name__}: {error}") from error

    def kill(self) -> None:
        """Ends the process now. Blocks for a moment: call it in a thread."""
        ray.kill(self._handle, no_restart=True)
