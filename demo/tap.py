"""A tap on the line between the app and its speech server: shows what the agent's recogniser tells the agent.

Partial transcripts are stored nowhere, so whoever wants to watch them has to stand in the wire. The tap
passes every message on, untouched and at once, and reads a copy of what comes back from `/v1/listen`.
"""

import asyncio
import contextlib
import json
import socket
import time
from collections.abc import AsyncIterator, Callable

from websockets.asyncio.client import ClientConnection, connect
from websockets.asyncio.server import ServerConnection, serve
from websockets.exceptions import ConnectionClosed, InvalidHandshake

from engine.utterances import Told, Utterances

OPEN_S = 10.0
_SERVER_FAILED = 1011

Tell = Callable[[Told], None]


class Tap:
    """Listens on `url`, passes on to `upstream`, which is set before the first connection comes."""

    def __init__(self) -> None:
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        self._upstream = ""
        self._tell: Tell = lambda told: None

    @contextlib.asynccontextmanager
    async def passing(self, upstream: str, tell: Tell) -> AsyncIterator[None]:
        """Serves until the block ends; `tell` gets what the agent hears. `upstream` is an http URL."""
        self._upstream, self._tell = upstream.replace("http", "ws", 1), tell
        async with serve(
            self._pass,
            sock=self._listener,
            compression=None,
            ping_interval=None,
            max_size=None,
            close_timeout=2.0,
        ):
            yield

    def close(self) -> None:
        """Gives the port back. Safe to run twice."""
        self._listener.close()

    async def _pass(self, near: ServerConnection) -> None:
        assert near.request is not None
        path = near.request.path
        key = near.request.headers.get("Authorization", "")
        try:
            far = await connect(
                self._upstream + path,
                additional_headers={"Authorization": key},
                compression=None,
                proxy=None,
                ping_interval=None,
                max_size=None,
                open_timeout=OPEN_S,
                close_timeout=2.0,
            )
        except (OSError, TimeoutError, InvalidHandshake) as error:
            await near.close(_SERVER_FAILED, f"speech server: {type(error).__name__}")
            return
        watch = _Reader(self._tell).read if path.startswith("/v1/listen") else None
        async with far:
            there = asyncio.create_task(_relay(near, far, None))
            back = asyncio.create_task(_relay(far, near, watch))
            await asyncio.gather(there, back)


async def _relay(
    source: ServerConnection | ClientConnection,
    sink: ServerConnection | ClientConnection,
    watch: Callable[[str | bytes], None] | None,
) -> None:
    """One direction, until either end closes; the other end is then closed the same way."""
    try:
        async for message in source:
            await sink.send(message)
            if watch is not None:
                watch(message)
    except ConnectionClosed:
        pass  # told to the other side below
    await sink.close(source.close_code or 1000, source.close_reason or "")


class _Reader:
    """Makes utterances of one listen socket's results, by the engine's own rules."""

    def __init__(self, tell: Tell) -> None:
        self._tell = tell
        self._utterances = Utterances()

    def read(self, message: str | bytes) -> None:
        """A copy of one message from the speech server."""
        if isinstance(message, bytes):
            return
        result = json.loads(message)
        if result.get("type") == "UtteranceEnd":
            told = self._utterances.over(time.time())
        elif result.get("type") == "Results":
            told = self._utterances.heard(
                time.monotonic(),
                time.time(),
                result["channel"]["alternatives"][0]["transcript"],
                final=result["is_final"],
                last=result["speech_final"] or result["from_finalize"],
                spoke_until=0.0,
            )
        else:
            return
        for one in told:
            self._tell(one)
