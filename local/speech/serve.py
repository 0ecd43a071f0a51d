"""Runs a speech app on a socket: as a process of its own, or inside a running event loop."""

import asyncio
import contextlib
import os
import socket
import sys
import threading
from collections.abc import AsyncIterator, Generator
from dataclasses import dataclass

import uvicorn
from starlette.applications import Starlette

from local.speech.watch import Watch

_START_S = 10.0
_STOP_S = 5.0


@dataclass(frozen=True, slots=True)
class Serving:
    """A server that runs in this process."""

    port: int
    watch: Watch

    @property
    def http_url(self) -> str:
        """Base URL for REST."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def ws_url(self) -> str:
        """Base URL for WebSockets."""
        return f"ws://127.0.0.1:{self.port}"


class _Server(uvicorn.Server):
    """Says when it is ready, and leaves signals to whoever owns the process if it runs inside one."""

    def __init__(self, config: uvicorn.Config, *, owns_process: bool) -> None:
        super().__init__(config)
        self.ready = asyncio.Event()
        self._owns_process = owns_process

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self.ready.set()
        if self._owns_process and sockets:
            print(f"listening on {sockets[0].getsockname()[1]}", flush=True)

    @contextlib.contextmanager
    def capture_signals(self) -> Generator[None, None, None]:
        if not self._owns_process:
            yield
            return
        with super().capture_signals():
            yield


@contextlib.asynccontextmanager
async def serving(app: Starlette, port: int = 0) -> AsyncIterator[Serving]:
    """Serves `app` on loopback in the running event loop until the block ends. Port 0 takes a free one."""
    listener = _bind("127.0.0.1", port)
    server = _Server(_config(app), owns_process=False)
    task = asyncio.create_task(server.serve(sockets=[listener]))
    ready = asyncio.create_task(server.ready.wait())
    try:
        await asyncio.wait([task, ready], timeout=_START_S, return_when=asyncio.FIRST_COMPLETED)
        if not ready.done():
            raise RuntimeError("the speech server did not start")
        yield Serving(listener.getsockname()[1], app.state.watch)
    finally:
        ready.cancel()
        server.should_exit = True
        _, late = await asyncio.wait([task], timeout=_STOP_S)
        for straggler in late:
            straggler.cancel()
        await asyncio.gather(task, ready, return_exceptions=True)
        listener.close()


def serve_forever(app: Starlette, host: str, port: int, *, with_parent: bool) -> None:
    """Serves until SIGTERM or SIGINT, and with `with_parent` until standard input ends.

    Prints `listening on <port>` to standard output when it is ready. Raises `OSError` if the port is taken.
    """
    listener = _bind(host, port)

    async def main() -> None:
        server = _Server(_config(app), owns_process=True)
        if with_parent:
            # A thread, because standard input may be a file that no event loop can watch.
            threading.Thread(target=_until_parent_is_gone, args=(server,), daemon=True).start()
        await server.serve(sockets=[listener])

    with contextlib.closing(listener), asyncio.Runner(loop_factory=_loop_factory) as runner:
        runner.run(main())


def _loop_factory() -> asyncio.AbstractEventLoop:
    import uvloop

    return uvloop.new_event_loop()


def _config(app: Starlette) -> uvicorn.Config:
    return uvicorn.Config(
        app,
        ws="websockets-sansio",
        ws_per_message_deflate=False,  # mu-law does not compress
        lifespan="on",
        log_level="warning",
        access_log=False,
        timeout_graceful_shutdown=1,
    )


def _bind(host: str, port: int) -> socket.socket:
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


def _until_parent_is_gone(server: uvicorn.Server) -> None:
    while os.read(sys.stdin.fileno(), 4096):
        continue
    server.should_exit = True
