"""Requests wait for their turn before they are read: one at a time, and with a rest after each.

The requests of a crowd would else all be parsed and begun in one pass of the event loop, in which no frame of a
running call moves: 500 upgrades held a replica up for 0.3 s. The rest leaves the CPU to those who run calls, here and
in other processes. uvicorn makes a protocol for each connection; this one holds what arrives. A WebSocket, once it is
open, has a protocol of its own that waits for nobody.
"""

import asyncio
from collections import deque

import uvicorn.config
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

# HAProxy's check of a replica. It answers that path itself, so that nobody else's request is exactly this; a check that
# waits behind a crowd for 5 s would tell HAProxy that the replica is gone.
HEALTH_CHECK = b"GET /-/healthz HTTP/"
RESTS = 2.0  # times what the last one took: a crowd has a third of the time
LONGEST_REST_S = 0.005  # a machine that is slow anyway is not to take for ever


class Arrivals:
    """Who waits, in order."""

    def __init__(self) -> None:
        self._waiting: deque[PacedProtocol] = deque()
        self._serving = False

    def wait(self, arrived: "PacedProtocol") -> None:
        """`arrived.enter()` is called in a pass of its own."""
        self._waiting.append(arrived)
        if not self._serving:
            self._serving = True
            asyncio.get_running_loop().call_soon(self._next)

    def _next(self) -> None:
        self._serving = bool(self._waiting)
        if not self._serving:
            return
        loop = asyncio.get_running_loop()
        # What it begins runs in the next pass, so that what it took is known in the one after that.
        loop.call_soon(loop.call_soon, self._rest, loop.time())
        self._waiting.popleft().enter()

    def _rest(self, since: float) -> None:
        loop = asyncio.get_running_loop()
        rest_s = min(RESTS * (loop.time() - since), LONGEST_REST_S) if self._waiting else 0.0
        loop.call_later(rest_s, self._next)


_ARRIVALS = Arrivals()


class PacedProtocol(HttpToolsProtocol):
    """One connection. While it waits it reads no more, so that little is held of each."""

    _held = b""

    def data_received(self, data: bytes) -> None:
        if not self._held and data.startswith(HEALTH_CHECK):
            super().data_received(data)
            return
        self._unset_keepalive_if_required()  # it is not idle, however long it waits
        if not self._held:
            self.transport.pause_reading()
            _ARRIVALS.wait(self)
        self._held += data

    def enter(self) -> None:
        """Its turn has come."""
        held, self._held = self._held, b""
        if self.parser is None:  # it is gone
            return
        super().data_received(held)
        if not self.transport.is_closing() and not self.flow.read_paused:
            self.transport.resume_reading()


def pace_requests() -> None:
    """Has the servers that this process is going to start take requests in turns."""
    uvicorn.config.HTTP_PROTOCOLS["auto"] = f"{__name__}:{PacedProtocol.__name__}"
