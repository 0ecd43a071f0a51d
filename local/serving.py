"""Serves an ASGI app on a socket: inside a running event loop, or as a process of its own."""

import asyncio
import contextlib
import os
import signal
import socket
import sys
import threading
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass

import uvicorn
import uvloop
from starlette.types import ASGIApp

_START_S = 10.0
_STOP_S = 10.0


@dataclass(frozen=True, slots=True)
class Serving:
    """Where a server of this process listens."""

    port: int

    @property
    def http_url(self) -> str:
        """Base URL for REST."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def ws_url(self) -> str:
        """Base URL for WebSockets."""
        return f"ws://127.0.0.1:{self.port}"


class _Server(uvicorn.Server):
    """uvicorn, telling when it listens, ending when it is told to, and leaving signals to the process's owner."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.listens = asyncio.Event()
        self.ends = asyncio.Event()

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self.listens.set()

    async def main_loop(self) -> None:
        """Waits, where uvicorn looks ten times a second and sees an end 100 ms late; its `date` headers go with it."""
        await self.ends.wait()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """uvicorn's, which takes 100 ms or more to see connections out, unless there are none."""
        for server in self.servers:
            server.close()
        for _ in range(10):  # who hung up just now is seen to be gone
            await asyncio.sleep(0)
        if self.server_state.connections or self.server_state.tasks:
            await super().shutdown(sockets)


def bound(host: str = "127.0.0.1", port: int = 0) -> socket.socket:
    """A socket bound to this address (0: a free port), for `serving_on`. Raises `OSError` if it is taken."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    # IPPROTO_TCP: without it asyncio leaves Nagle on, which holds an answer back for 40 ms.
    listener = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
    except OSError:
        listener.close()
        raise
    return listener


@contextlib.asynccontextmanager
async def serving(app: ASGIApp, host: str = "127.0.0.1", port: int = 0) -> AsyncIterator[Serving]:
    """Serves `app` in the running event loop until the block ends. Raises `OSError` if the port is taken."""
    with bound(host, port) as listener:
        async with serving_on(listener, app) as server:
            yield server


@contextlib.asynccontextmanager
async def serving_on(listener: socket.socket, app: ASGIApp) -> AsyncIterator[Serving]:
    """The same on a socket that is bound already, and closed at the end."""
    where = Serving(listener.getsockname()[1])
    server = _Server(_config(app))
    task = asyncio.create_task(server.serve([listener]), name=f"server on {where.port}")
    listens = asyncio.create_task(server.listens.wait())
    try:
        await asyncio.wait({task, listens}, timeout=_START_S, return_when=asyncio.FIRST_COMPLETED)
        if task.done():
            task.result()  # raises why it did not start
        if not listens.done():
            raise TimeoutError(f"the server on port {where.port} did not start in {_START_S:g} s")
        yield where
    finally:
        listens.cancel()
        server.ends.set()
        _, late = await asyncio.wait({task}, timeout=_STOP_S)
        for straggler in late:
            straggler.cancel()
        await asyncio.gather(task, listens, return_exceptions=True)


def serve_forever(app: ASGIApp, host: str, port: int, *, with_parent: bool) -> None:
    """Serves until SIGTERM or SIGINT, and with `with_parent` until standard input ends.

    Prints `listening on <port>` to standard output when it is ready. Raises `OSError` if the port is taken.
    """
    uvloop.run(_serve_until_told(app, host, port, with_parent))


async def _serve_until_told(app: ASGIApp, host: str, port: int, with_parent: bool) -> None:
    loop, told = asyncio.get_running_loop(), asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, told.set)
    if with_parent:
        # A thread, because standard input may be a file that no event loop can watch.
        threading.Thread(target=_tell_at_end_of_input, args=(loop, told), daemon=True).start()
    async with serving(app, host, port) as server:
        print(f"listening on {server.port}", flush=True)
        await told.wait()


def _tell_at_end_of_input(loop: asyncio.AbstractEventLoop, told: asyncio.Event) -> None:
    while os.read(sys.stdin.fileno(), 4096):
        continue
    with contextlib.suppress(RuntimeError):  # the loop is closed: a signal came first
        loop.call_soon_threadsafe(told.set)


def _config(app: ASGIApp) -> uvicorn.Config:
    return uvicorn.Config(
        app,
        ws="websockets-sansio",
        ws_per_message_deflate=False,  # mu-law does not compress
        lifespan="off",
        log_level="warning",
        access_log=False,
        timeout_graceful_shutdown=1,
    )
