"""Links: ordered, acknowledged messages between two processes, for many calls at once.

Ray may run an async actor's calls out of order and may lose an answer, so nothing relies on a Ray call: every message
carries (call, stream, epoch, n), with n from 1 in each direction and epoch. The receiver applies n in order, once; the
sender keeps a message until it is acknowledged; a newer epoch discards what an older one left.

`Channel` and `LinkEnd` are Sans-I/O; `RayLink` moves their batches with two kinds of Ray calls: `deliver`, one at a
time (what is told while one is in flight goes with the next), and `collect`, parked at the host until it has something
to say. Death is the exception of a call; hanging is heartbeats unanswered while our own loop ran.
"""

import asyncio
import contextlib
import logging
from collections import deque
from collections.abc import Awaitable, Callable
from typing import Any, Protocol

import msgspec

from engine.clock import now
from engine.messages import AnyMessage, Attach, Final, Noted, SpeechStarted, Start, Took

log = logging.getLogger("engine.link")

BEAT_S = 0.25
MISSED_BEATS = 3
PARK_S = 10.0  # a parked `collect` comes back by itself after this
UNACKED_LIMIT = 2000  # messages of one call
MAY_WAIT = (Took, Noted, SpeechStarted, Final)
"""Nobody waits for these, nor for acknowledgements: they go with the next batch, which a heartbeat is too. A Ray call
costs a hundred times what it carries."""


class Frame(msgspec.Struct, frozen=True, array_like=True):
    """One message on a link, and its place."""

    call: str
    stream: str
    epoch: int
    n: int
    to: str
    message: AnyMessage


class Ack(msgspec.Struct, frozen=True, array_like=True):
    """All messages of this call and epoch up to `n` have been applied."""

    call: str
    epoch: int
    n: int


class Batch(msgspec.Struct, frozen=True, array_like=True):
    """What one Ray call carries."""

    frames: tuple[Frame, ...] = ()
    acks: tuple[Ack, ...] = ()


_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(Batch).decode


def encode(batch: Batch) -> bytes:
    """A batch as bytes (MessagePack)."""
    return _encode(batch)


def decode(data: bytes) -> Batch:
    """A batch from bytes. Raises msgspec.DecodeError."""
    return _decode(data)


class Unacknowledged(Exception):
    """The other side has acknowledged nothing for too long: the link hangs."""


class Channel:
    """One call's messages on one end of a link."""

    def __init__(self, call: str, stream: str) -> None:
        self.call = call
        self.stream = stream
        self.epoch = 0
        self._sent = 0
        self._applied = 0
        self._unacked: deque[Frame] = deque()
        self._early: dict[int, Frame] = {}

    def open(self, epoch: int) -> None:
        """Starts an epoch; both directions count from 1 again. An older or equal one changes nothing."""
        if epoch > self.epoch:
            self.epoch, self._sent, self._applied = epoch, 0, 0
            self._unacked.clear()
            self._early.clear()

    def send(self, to: str, message: Any) -> Frame:
        """The frame that tells `to` the message. Raises `Unacknowledged` when too many wait."""
        if len(self._unacked) >= UNACKED_LIMIT:
            raise Unacknowledged(f"{self.call}: {UNACKED_LIMIT} messages wait for acknowledgement")
        self._sent += 1
        frame = Frame(self.call, self.stream, self.epoch, self._sent, to, message)
        self._unacked.append(frame)
        return frame

    def receive(self, frame: Frame) -> list[Frame]:
        """The frames that are now in order; none for one seen before or from an older epoch."""
        if frame.epoch < self.epoch:
            return []
        self.open(frame.epoch)
        if frame.n <= self._applied:
            return []
        self._early[frame.n] = frame
        ready = []
        while (next_frame := self._early.pop(self._applied + 1, None)) is not None:
            self._applied += 1
            ready.append(next_frame)
        return ready

    def acked(self, ack: Ack) -> None:
        """Forgets what the other side has applied."""
        if ack.epoch != self.epoch:
            return
        while self._unacked and self._unacked[0].n <= ack.n:
            self._unacked.popleft()

    def ack(self) -> Ack:
        """What this side has applied."""
        return Ack(self.call, self.epoch, self._applied)

    def waiting(self) -> tuple[Frame, ...]:
        """Sent and not acknowledged, in order."""
        return tuple(self._unacked)


class LinkEnd:
    """One end of a link: the channels of all its calls, and what is to be sent next."""

    def __init__(self, unknown: Callable[[Frame], None] | None = None) -> None:
        """`unknown` is given frames of calls that are not open here."""
        self._channels: dict[str, tuple[Channel, Callable[[str, Any], None]]] = {}
        self._fresh: list[Frame] = []
        self._owed: dict[str, Ack] = {}
        self._hangs: Unacknowledged | None = None
        self._urgent = False
        self._unknown = unknown
        self.wake: Callable[[], None] = lambda: None

    def open(self, call: str, stream: str, receive: Callable[[str, Any], None]) -> Channel:
        """Opens a call's channel; `receive(to, message)` is given what arrives, in order."""
        channel = Channel(call, stream)
        self._channels[call] = (channel, receive)
        return channel

    def is_open(self, channel: Channel) -> bool:
        """Whether this is its call's channel still: a call that goes on in a new stream has opened another."""
        current = self._channels.get(channel.call)
        return current is not None and current[0] is channel

    def close(self, call: str) -> None:
        """Forgets a call; what it has already sent still leaves with the next batch. Safe to run twice."""
        self._channels.pop(call, None)
        self._owed.pop(call, None)

    @property
    def calls(self) -> tuple[str, ...]:
        """The calls that are open here."""
        return tuple(self._channels)

    def tell(self, call: str, to: str, message: Any) -> None:
        """Sends a message; one for a call that is not open is lost, like one told to a stopped actor.

        An epoch begins with its `Attach`.
        """
        if call in self._channels:
            if isinstance(message, Attach):
                self._channels[call][0].open(message.epoch)
            try:
                self._fresh.append(self._channels[call][0].send(to, message))
            except Unacknowledged as hangs:  # a Ref never raises: `take` does, and ends the link
                self._hangs = self._hangs or hangs
            if self._hangs or not isinstance(message, MAY_WAIT):
                self._hurry()

    def announce(self, frame: Frame) -> None:
        """Sends a frame of no channel (`Start`): the receiver must bear getting it twice.

        What an earlier CallActor of the same call still says there is of an older epoch, and dropped.
        """
        if isinstance(frame.message, Start) and frame.call in self._channels:
            self._channels[frame.call][0].open(frame.message.last_epoch + 1)
        self._fresh.append(frame)
        self._hurry()

    def _hurry(self) -> None:
        self._urgent = True
        self.wake()

    @property
    def urgent(self) -> bool:
        """Whether a batch is to be sent now."""
        return self._urgent

    @property
    def pending(self) -> bool:
        """Whether a batch would carry anything."""
        return bool(self._fresh or self._owed or self._hangs)

    def take(self) -> Batch:
        """What is to be sent now, each frame once. Raises `Unacknowledged` when the other side takes nothing."""
        if self._hangs is not None:
            raise self._hangs
        batch = Batch(tuple(self._fresh), tuple(self._owed.values()))
        self._fresh, self._owed, self._urgent = [], {}, False
        return batch

    def again(self) -> None:
        """An answer was lost: everything unacknowledged is to be sent again."""
        waiting = [frame for channel, _ in self._channels.values() for frame in channel.waiting()]
        self._fresh = waiting + [frame for frame in self._fresh if frame not in waiting]
        self._urgent = self._urgent or bool(waiting)

    def apply(self, batch: Batch) -> None:
        """Takes in a batch: forgets what is acknowledged, hands on what is in order."""
        for ack in batch.acks:
            if ack.call in self._channels:
                self._channels[ack.call][0].acked(ack)
        for frame in batch.frames:
            self._arrived(frame)

    def _arrived(self, frame: Frame) -> None:
        if frame.n == 0 or frame.call not in self._channels:
            if self._unknown is not None:
                self._unknown(frame)
            return
        channel, receive = self._channels[frame.call]
        for ready in channel.receive(frame):
            receive(ready.to, ready.message)
        if frame.call in self._channels:
            self._owed[frame.call] = channel.ack()


class Far:
    """A Ref to an actor at the other end of a link; bound to a `channel`, it tells nobody once that is closed."""

    def __init__(self, end: LinkEnd, call: str, to: str, channel: Channel | None = None) -> None:
        self._end = end
        self._call = call
        self._to = to
        self._channel = channel

    def tell(self, message: Any) -> None:
        if self._channel is None or self._end.is_open(self._channel):
            self._end.tell(self._call, self._to, message)


class Unknown(Exception):
    """A call to the host has no outcome: it may or may not have run. Not a failure; the link sends again."""


class Remote(Protocol):
    """The other process, as its Ray calls. Both raise `Unknown`; anything else means that the host is dead."""

    def deliver(self, data: bytes, again: bool) -> Awaitable[bytes]:
        """Hands over a batch, returns at once with what the host has to say; `again`: all of it."""

    def collect(self) -> Awaitable[bytes]:
        """Returns what the host has to say as soon as it has something, or nothing after `PARK_S`."""


class RayLink:
    """Moves one end's batches to and from a host until it is dead, hangs, or the link is closed."""

    def __init__(self, end: LinkEnd, remote: Remote, lost: Callable[[str], None]) -> None:
        """`lost(why)` is called once, from the loop, when the host is dead or hangs."""
        self._end = end
        self._remote = remote
        self._lost = lost
        self._awake = asyncio.Event()
        self._answered_s = now()
        self._unsure: set[str] = set()  # calls without an outcome: what they carried is to be sent again
        end.wake = self._awake.set

    async def run(self) -> None:
        """Runs until the link is lost; cancel it to close."""
        jobs = {
            asyncio.create_task(job, name="link") for job in (self._deliver(), self._collect(), self._watch())
        }
        try:
            done, _ = await asyncio.wait(jobs, return_when=asyncio.FIRST_COMPLETED)
            error = next(iter(done)).exception()
            self._lost(f"{type(error).__name__}: {error}" if error else "ended")
        finally:
            self._end.wake = lambda: None
            for job in jobs:
                job.cancel()
            await asyncio.gather(*jobs, return_exceptions=True)

    async def _deliver(self) -> None:
        while True:
            with contextlib.suppress(TimeoutError):  # a heartbeat: an empty batch
                async with asyncio.timeout(
                    BEAT_S
                ):  # not wait_for, which in Python 3.11 may swallow a cancellation
                    await self._awake.wait()
            self._awake.clear()
            again = bool(self._unsure)
            self._unsure.discard("deliver")
            if again:
                self._end.again()
            try:
                answer = await self._remote.deliver(encode(self._end.take()), again)
            except Unknown:
                self._unsure.add("deliver")
                continue
            self._took(answer)

    async def _collect(self) -> None:
        while True:
            try:
                answer = await self._remote.collect()
            except Unknown:
                self._unsure.add("collect")
                await asyncio.sleep(BEAT_S)
                continue
            if "collect" in self._unsure:  # it may have taken something until this one sent it home
                self._unsure = {"deliver"}
                self._awake.set()
            self._took(answer)

    def _took(self, answer: bytes) -> None:
        self._answered_s = now()
        self._end.apply(decode(answer))
        if self._end.urgent:
            self._awake.set()

    async def _watch(self) -> None:
        """Counts only time in which our own loop ran: a pause of ours is no evidence about the host."""
        silent_s = 0.0
        seen = self._answered_s
        while silent_s < BEAT_S * MISSED_BEATS:
            before = now()
            await asyncio.sleep(BEAT_S / 5)
            slept = now() - before
            if self._answered_s != seen:
                seen, silent_s = self._answered_s, 0.0
            else:
                silent_s += min(slept, BEAT_S / 5)
        raise TimeoutError(f"no answer for {silent_s * 1000:.0f} ms")


class HostSide:
    """The host's half of one link: what its two Ray methods do."""

    def __init__(self, end: LinkEnd) -> None:
        self.end = end
        self._awake = asyncio.Event()
        self._collecting = 0
        end.wake = self._awake.set

    async def deliver(self, data: bytes, again: bool) -> bytes:
        """Applies a batch and answers with what there is to say; `again`: an earlier answer may be lost."""
        self.end.apply(decode(data))
        if again:
            self.end.again()
        return encode(self.end.take())

    async def collect(self) -> bytes:
        """Parks until there is something to say. A newer `collect` sends an older one home."""
        self._collecting += 1
        mine = self._collecting
        self._awake.set()
        try:
            async with asyncio.timeout(PARK_S):
                while True:
                    if mine != self._collecting:
                        return encode(Batch())
                    self._awake.clear()
                    if self.end.urgent:
                        return encode(self.end.take())
                    await self._awake.wait()
        except TimeoutError:
            return encode(Batch())
