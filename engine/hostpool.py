"""The CallHosts of one ingress replica: spares are kept warm, calls are placed, hosts that nobody needs are given back.

A host is owned by the replica's process, so Ray ends it with its replica. Making one blocks for 8 to 39 ms and is done
in a thread.
"""

import asyncio
import contextlib
import logging
import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Protocol

from engine.actor import Actor, Ref
from engine.clock import now, outside
from engine.gauges import Gauges
from engine.host import HostLost
from engine.link import Channel, Far, LinkEnd
from engine.messages import Down, Start, Tick
from engine.supervision import Hosts
from engine.telemetry import count

log = logging.getLogger("engine.hostpool")

CLOSE_ALL_LIMIT_S = 3.0  # of the five that an actor has for its own end (engine/actor.py)


class Process(Protocol):
    """A host's process; `engine.host.RayHost` is the real one. `name` is how Ray knows it."""

    name: str

    async def warm(self, end: LinkEnd) -> int:
        """Waits until it has connected and is linked with `end`; its process id. Raises `HostLost`."""

    async def lost(self) -> str:
        """Waits until it is dead or hangs; why. Cancelled, it leaves the link."""

    async def gauges(self) -> Gauges:
        """What it holds. Raises `HostLost`."""

    async def settle(self, limit_s: float) -> None:
        """Waits until all that it has to write is written. Raises `HostLost`."""

    async def close(self) -> None:
        """Ends its calls and closes what it holds, in order. Raises `HostLost`."""

    def kill(self) -> None:
        """Ends the process now; may block."""


@dataclass(eq=False)
class _Host:
    process: Process
    pid: int
    end: LinkEnd
    lost: dict[str, Callable[[str], None]] = field(default_factory=dict)  # by call
    link: asyncio.Task[None] | None = None
    timer: asyncio.TimerHandle | None = None  # runs while it is empty


@dataclass(frozen=True)
class _Empty:
    """This host has had no call for `Hosts.empty_s`."""

    host: _Host


@dataclass
class HostPlacement:
    """A call on a host."""

    call: Ref
    host: str
    pid: int
    leave: Callable[[], None]


class HostPool(Actor):
    """The hosts of one ingress replica. An actor only to own their links and timers.

    Told: Down (a host could not be made; it is tried again), Tick (one is to be made, or calls are resumed), _Empty
    """

    def __init__(
        self, start_process: Callable[[], Process], calls_per_host: int, spares: int, policy: Hosts
    ) -> None:
        """`start_process` may block; so many hosts as `spares` are kept without a call."""
        super().__init__()
        self._start_process = start_process
        self._calls_per_host = calls_per_host
        self._spares = spares
        self._policy = policy
        self._hosts: list[_Host] = []
        self._making: set[asyncio.Task[None]] = set()
        self._waiting = 0  # calls that are not placed yet
        self._resuming = 0  # hosts lost just now, whose calls are being led again
        self._changed = asyncio.Event()

    async def receive(self, message: Any) -> None:
        match message:
            case Down("make host", reason):
                count("hosts_not_made")
                log.error(
                    "no CallHost could be made, trying again in %g s: %s", self._policy.make_again_s, reason
                )
                self.after(self._policy.make_again_s, Tick("make"))
            case Tick("make"):
                self._keep_a_spare()
            case Tick("resumed"):
                self._resuming -= 1
                self._keep_a_spare()
            case _Empty(host):
                self._give_back(host)

    async def stopped(self) -> None:
        hosts, self._hosts = self._hosts, []
        try:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(CLOSE_ALL_LIMIT_S):
                    await asyncio.gather(*(_close(host) for host in hosts))
        finally:
            await asyncio.gather(*(_kill(host.process) for host in hosts))

    async def ready(self) -> None:
        """Waits until a host is warm. Raises TimeoutError."""
        async with asyncio.timeout(self._policy.start_s):
            await self._roomy()

    @property
    def pids(self) -> tuple[int, ...]:
        """The process ids of the hosts that are warm."""
        return tuple(host.pid for host in self._hosts)

    async def gauges(self) -> list[Gauges]:
        """What each of the warm hosts holds; of one that doesn't answer, nothing."""
        told = await asyncio.gather(*(_gauges(host) for host in self._hosts))
        return [one for one in told if one is not None]

    async def place(
        self, start: Start, receive: Callable[[str, Any], None], lost: Callable[[str], None]
    ) -> HostPlacement:
        """Starts a call's CallActor on a host with room. Raises TimeoutError when none gets warm."""
        self._waiting += 1
        try:
            async with asyncio.timeout(self._policy.start_s):
                host = await self._roomy()
        finally:
            self._waiting -= 1
        call = start.info.call
        self.cancel(host.timer)
        host.lost[call] = lost
        channel = host.end.open(call, start.stream, receive)
        host.end.announce(start)
        self._keep_a_spare()
        far = Far(host.end, call, "call", channel)
        return HostPlacement(far, host.process.name, host.pid, lambda: self._leave(host, channel))

    def _leave(self, host: _Host, channel: Channel) -> None:
        if not host.end.is_open(channel):
            return  # left already, or the call has come here again in a new stream
        host.end.close(channel.call)
        if host.lost.pop(channel.call, None) is not None and not host.lost:
            self._watch_empty(host)
        self._changed.set()

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
        """Makes one host if there are too few to spare, and as many at once as waiting calls need."""
        self._making = {making for making in self._making if not making.done()}
        enough = self._resuming > 0 or (
            len(self._hosts) >= self._policy.warm_least and len(self._empty()) >= self._spares
        )
        room = sum(self._calls_per_host - len(host.lost) for host in self._hosts)
        needed = max(math.ceil((self._waiting - room) / self._calls_per_host), 0 if enough else 1)
        for _ in range(min(needed, self._policy.making_most) - len(self._making)):
            self._making.add(self.work(self._make(), "make host"))

    async def _make(self) -> None:
        began = now()
        process, end = await outside(asyncio.to_thread(self._start_process)), LinkEnd()
        try:
            pid = await process.warm(end)
        except HostLost:
            await _kill(process)
            raise
        host = _Host(process, pid, end)
        host.link = self.work(self._watch(host), f"link {pid}")
        self._hosts.append(host)
        log.info("host %s is warm after %.1f s", pid, now() - began)
        self._watch_empty(host)
        self._changed.set()
        self.tell(Tick("make"))  # once this task is over: there may be too few still

    async def _watch(self, host: _Host) -> None:
        self._lost(host, await host.process.lost())

    def _lost(self, host: _Host, why: str) -> None:
        count("hosts_lost")
        log.warning("host %s is lost: %s", host.pid, why)
        streams = list(host.lost.values())
        if streams:
            self._resuming += 1
            self.after(self._policy.resumed_s, Tick("resumed"))
        self._remove(host)
        self.work(_kill(host.process), f"kill host {host.pid}")
        for lost in streams:
            lost(why)
        self._keep_a_spare()

    def _watch_empty(self, host: _Host) -> None:
        self.cancel(host.timer)
        waits = host in self._hosts and not self.over
        host.timer = self.after(self._policy.empty_s, _Empty(host)) if waits else None

    def _give_back(self, host: _Host) -> None:
        """Ends an empty host unless it is needed as a spare."""
        empty = self._empty()
        if host not in empty or len(empty) <= self._spares or len(self._hosts) <= self._policy.warm_least:
            return
        count("hosts_given_back")
        log.info("host %s is given back", host.pid)
        self._remove(host)
        if host.link is not None:
            host.link.cancel()
        self.work(_end(host, self._policy.outage_s), f"end host {host.pid}")

    def _empty(self) -> list[_Host]:
        return [host for host in self._hosts if not host.lost]

    def _remove(self, host: _Host) -> None:
        if host in self._hosts:
            self._hosts.remove(host)
        self.cancel(host.timer)
        host.lost.clear()


async def _gauges(host: _Host) -> Gauges | None:
    try:
        return await host.process.gauges()
    except HostLost as error:
        log.warning("host %s: %s", host.pid, error)
        return None


async def _end(host: _Host, outage_s: float) -> None:
    try:
        try:
            await host.process.settle(outage_s)
        except HostLost as error:
            log.error("host %s is ended: %s", host.pid, error)
        await _close(host)
    finally:
        await _kill(host.process)


async def _close(host: _Host) -> None:
    try:
        await host.process.close()
    except HostLost as error:
        log.warning("host %s: %s", host.pid, error)


async def _kill(process: Process) -> None:
    await outside(asyncio.to_thread(process.kill))
