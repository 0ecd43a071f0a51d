"""The wire of a link: one TCP connection from an ingress replica to each of its CallHosts.

A Ray call costs 1.8 ms of CPU over both sides and arrives after 1.4 ms; a small message on a socket costs a twentieth,
and keeps its order. So Ray starts a host, ends it and says where it listens, and what a call's actors tell each other
goes this way: 4 bytes of length (big-endian), then an `engine.link.Batch` in MessagePack. Empty, it is a heartbeat.

A host that dies is known by the end of the connection, at once; one that hangs by heartbeats unanswered while our
own loop ran. The host admits whoever shows the token that it was given through Ray, once.
"""

import asyncio
import secrets
from typing import Any, NamedTuple

import msgspec

from engine.link import LinkEnd, decode, encode

MISSED_BEATS = 3  # until the other end counts as hanging
LINGER_S = 0.1  # of messages that may wait
TOKEN_BYTES = 32
SHOW_LIMIT_S = 5.0  # for who connects to a host to show the token
MAX_BYTES = 16 * 1024 * 1024  # of one batch


class Address(NamedTuple):
    """Where a host listens."""

    host: str
    port: int


def new_token() -> bytes:
    """A secret for one link."""
    return secrets.token_bytes(TOKEN_BYTES)


class _Wire(asyncio.Protocol):
    """One half: moves what its end has to say, and hands it what comes."""

    def __init__(self, end: LinkEnd) -> None:
        self._end = end
        self._loop = asyncio.get_running_loop()
        self._transport: Any = None  # asyncio.Transport, or uvloop's, which is none by type
        self._buffer = bytearray()
        self._due: asyncio.Handle | None = None  # the next batch
        self._unhurried = False  # all that it holds may wait

    def carry(self, transport: Any) -> None:
        """From now on `transport` carries the end's messages."""
        self._transport = transport
        self._end.wake, self._end.later = self._wake, self._later
        self._wake()

    def _wake(self) -> None:
        if self._due is not None:
            if not self._unhurried:
                return
            self._due.cancel()
        self._due = self._loop.call_soon(
            self._send
        )  # what else is told in this turn of the loop goes with it
        self._unhurried = False

    def _later(self) -> None:
        if self._due is None:
            self._due = self._loop.call_later(LINGER_S, self._send)
            self._unhurried = True

    def _send(self) -> None:
        self._due = None
        if batch := self._end.take():
            self._write(encode(batch))

    def _write(self, data: bytes) -> None:
        if self._transport is not None and not self._transport.is_closing():
            self._transport.write(len(data).to_bytes(4) + data)

    def beat(self) -> None:
        """Sends a heartbeat."""
        self._write(_BEAT)

    def data_received(self, data: bytes) -> None:
        buffer = self._buffer
        buffer += data
        try:
            while len(buffer) >= 4 and len(buffer) >= (end := 4 + _size(buffer)):
                message = bytes(memoryview(buffer)[4:end])
                del buffer[:end]
                self._received(message)
        except (msgspec.DecodeError, ValueError) as error:
            self._broken(f"{type(error).__name__}: {error}")

    def _received(self, message: bytes) -> None:
        self._end.apply(decode(message))

    def _broken(self, why: str) -> None:
        raise NotImplementedError

    def _over(self) -> None:
        if self._due is not None:
            self._due.cancel()
            self._due = None
        if self._transport is not None:
            self._end.wake = self._end.later = lambda: None
            self._transport.abort()


_BEAT = encode(())


def _size(buffer: bytearray) -> int:
    size = int.from_bytes(buffer[:4])
    if size > MAX_BYTES:
        raise ValueError(f"a batch of {size} bytes")
    return size


class NearWire(_Wire):
    """The replica's half, which watches the host, and gives it up when `MISSED_BEATS` heartbeats in `silent_s` are not
    answered. `gone` has the reason when the link is lost.
    """

    def __init__(self, end: LinkEnd, token: bytes, silent_s: float) -> None:
        super().__init__(end)
        self._limit_s = silent_s
        self._look_s = silent_s / MISSED_BEATS / 2
        self._token = token
        self.gone: asyncio.Future[str] = self._loop.create_future()
        self._heard = False
        self._silent_s = 0.0
        self._looks = 0

    def connection_made(self, transport: Any) -> None:
        transport.write(self._token)
        self.carry(transport)
        self._looked_s = self._loop.time()
        self._timer = self._loop.call_soon(self._look)

    def _received(self, message: bytes) -> None:
        self._heard = True
        super()._received(message)

    def _look(self) -> None:
        """Counts only time in which our own loop ran: a pause of ours is no evidence about the host."""
        now_s = self._loop.time()
        self._silent_s = 0.0 if self._heard else self._silent_s + min(now_s - self._looked_s, self._look_s)
        self._heard, self._looked_s = False, now_s
        if self._silent_s >= self._limit_s:
            self._broken(f"no answer for {self._silent_s * 1000:.0f} ms")
            return
        if self._looks % 2 == 0:
            self.beat()
        self._looks += 1
        self._timer = self._loop.call_later(self._look_s, self._look)

    def connection_lost(self, error: Exception | None) -> None:
        self._broken(f"{type(error).__name__}: {error}" if error else "the connection ended")

    def _broken(self, why: str) -> None:
        self.close()
        if not self.gone.done():
            self.gone.set_result(why)

    def close(self) -> None:
        """Carries nothing any more. Safe to run twice."""
        self._timer.cancel()
        self._over()


class HostWire(_Wire):
    """The host's half: answers heartbeats."""

    def connection_made(self, transport: Any) -> None:
        self.carry(transport)

    def _received(self, message: bytes) -> None:
        if message == _BEAT:
            self.beat()
        else:
            super()._received(message)

    def connection_lost(self, error: Exception | None) -> None:
        self._over()  # its replica has died, and Ray ends this process; or has given it up, and kills it

    def _broken(self, why: str) -> None:
        self._over()


class _Gate(asyncio.Protocol):
    """A connection to a host that has not shown its token yet."""

    def __init__(self, door: "Door") -> None:
        self._door = door
        self._shown = b""

    def connection_made(self, transport: Any) -> None:
        self._transport = transport
        self._limit = asyncio.get_running_loop().call_later(SHOW_LIMIT_S, transport.abort)

    def data_received(self, data: bytes) -> None:
        self._shown += data
        if len(self._shown) < TOKEN_BYTES:
            return
        token, rest = self._shown[:TOKEN_BYTES], self._shown[TOKEN_BYTES:]
        if self._door.admits(token):
            wire = HostWire(self._door.end)
            self._limit.cancel()
            self._transport.set_protocol(wire)
            wire.connection_made(self._transport)
            wire.data_received(rest)
        else:
            self._transport.abort()

    def connection_lost(self, error: Exception | None) -> None:
        self._limit.cancel()


class Door:
    """Where a host waits for its replica, which comes once."""

    def __init__(self, end: LinkEnd) -> None:
        self.end = end
        self._token: bytes | None = None

    async def open(self, address: str, token: bytes) -> Address:
        """Listens on a free port of this address. Raises OSError."""
        self._token = token
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(lambda: _Gate(self), address, 0)
        host, port = self._server.sockets[0].getsockname()[:2]
        return Address(host, port)

    def admits(self, token: bytes) -> bool:
        """Whether this is who was waited for; nobody is, after them."""
        if self._token is None or not secrets.compare_digest(token, self._token):
            return False
        self._token = None
        self._server.close()
        return True


async def connect(end: LinkEnd, address: Address, token: bytes, silent_s: float) -> NearWire:
    """Links `end` to the host that listens there, which is given up when it is silent for `silent_s`.

    Raises OSError; how long it may take is its caller's affair.
    """
    _, wire = await asyncio.get_running_loop().create_connection(
        lambda: NearWire(end, token, silent_s), *address
    )
    return wire
