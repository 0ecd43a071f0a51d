"""The app that Twilio talks to.

    POST /api/v1/voice/incoming      a call rings: TwiML that streams it to us
    POST /api/v1/voice/stream-ended  a stream ended: TwiML for what comes next
    POST /api/v1/voice/status        the call's status changed
    WS   /api/v1/voice/media-stream  the call itself
    GET  /healthz /readyz            alive; able to take calls
    GET  /calls /gauges              on this machine: the live calls and where they run; what our processes hold

Webhooks must carry Twilio's signature (when `TWILIO_AUTH_TOKEN` is set). The stream must carry its one-time token,
which decides; its signature is checked and counted.
"""

import contextlib
import logging
import os
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass

import msgspec
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route, WebSocketRoute
from starlette.websockets import WebSocket

from engine.actor import Actor
from engine.calllog import CallLog
from engine.door import PREFIX, Door
from engine.gauges import Gauges
from engine.media_stream import Left, MediaStreams
from engine.messages import CallerContext, CallInfo
from engine.redis_client import SessionAway
from engine.session import SessionStore
from engine.settings import Settings
from engine.webhooks import Webhooks

log = logging.getLogger("engine.ingress")


def _nobody_cares(_: Left) -> None:
    """Without an account there is no way to end a call but its stream."""


@dataclass(frozen=True)
class IngressPorts:
    """Whom the ingress knows. `make_stream` makes a StreamActor, not yet started.

    `check_ready` tells of each part that a call needs: "ok", or what is wrong with it. `warm_hosts` are
    this replica's, by pid; `gauges` tells what this process and theirs hold. `left` is told of each stream
    that ended although Twilio had not said so.
    """

    store: SessionStore
    log: CallLog
    context: Callable[[CallInfo], Awaitable[CallerContext]]
    plain_context: Callable[[CallInfo], CallerContext]
    make_stream: Callable[[CallInfo, str, WebSocket], Actor]
    check_ready: Callable[[], Awaitable[dict[str, str]]]
    warm_hosts: Callable[[], tuple[int, ...]]
    gauges: Callable[[], Awaitable[list[Gauges]]]
    left: Callable[[Left], None] = _nobody_cares


class Ingress:
    """The routes of one replica."""

    def __init__(self, settings: Settings, ports: IngressPorts) -> None:
        door = Door(settings)
        self._store = ports.store
        self._check_ready = ports.check_ready
        self._warm_hosts = ports.warm_hosts
        self._gauges = ports.gauges
        self._wrong: dict[str, str] = {}
        self._streams = MediaStreams(settings, door, ports.store, ports.make_stream, ports.left)
        self._webhooks = Webhooks(settings, door, ports.store, ports.log, ports.context, ports.plain_context)

    def app(self, opened: Callable[[], contextlib.AbstractAsyncContextManager[None]]) -> Starlette:
        """The ASGI app; `opened` is entered while it serves."""

        @contextlib.asynccontextmanager
        async def lifespan(_: Starlette) -> AsyncIterator[None]:
            async with opened():
                self._webhooks.start()
                self._streams.start()
                try:
                    yield
                finally:
                    await self._webhooks.close()
                    await self._streams.close()

        return Starlette(routes=self._routes(), lifespan=lifespan)

    def _routes(self) -> list[Route | WebSocketRoute]:
        return [
            Route(f"{PREFIX}/incoming", self._webhooks.incoming, methods=["POST"]),
            Route(f"{PREFIX}/stream-ended", self._webhooks.stream_ended, methods=["POST"]),
            Route(f"{PREFIX}/status", self._webhooks.status, methods=["POST"]),
            WebSocketRoute(f"{PREFIX}/media-stream", self._streams.serve),
            Route("/healthz", self.healthz),
            Route("/readyz", self.readyz),
            Route("/calls", _for_this_machine(self.calls)),
            Route("/gauges", _for_this_machine(self.gauges)),
        ]

    async def healthz(self, _: Request) -> Response:
        """This replica's loop runs."""
        return PlainTextResponse("ok")

    async def readyz(self, _: Request) -> Response:
        """Whether a call could be taken now: what it needs, each "ok" or "away"; the log says why.

        Anybody may come to read this, and an error's text can hold addresses.
        """
        states = await self._check_ready()
        wrong = {part: state for part, state in states.items() if state != "ok"}
        if wrong != self._wrong:  # asked every second, it would fill the log
            self._wrong = wrong
            log.warning("readiness: %s", wrong or "all is well again")
        parts = {part: "away" if part in wrong else "ok" for part in states}
        return JSONResponse({"ready": not wrong, "parts": parts}, 503 if wrong else 200)

    async def calls(self, _: Request) -> Response:
        """The live calls of all replicas, where each runs, and this replica's hosts."""
        here = {"pid": os.getpid(), "hosts": self._warm_hosts()}
        try:
            calls = [msgspec.to_builtins(where) for where in await self._store.whereabouts()]
            return JSONResponse({"calls": calls} | here)
        except SessionAway as error:
            log.warning("live calls not told: %s", error)
            return JSONResponse({"error": "redis is away"} | here, 503)

    async def gauges(self, _: Request) -> Response:
        """What this replica's processes hold: its own, and its hosts'."""
        return JSONResponse({"gauges": [msgspec.to_builtins(one) for one in await self._gauges()]})


Handler = Callable[[Request], Awaitable[Response]]


def _for_this_machine(handler: Handler) -> Handler:
    """HAProxy adds a header that tells of a sender who is not on this machine; so does a proxy before it."""

    async def guarded(request: Request) -> Response:
        if any(name == "x-real-ip" or "forwarded" in name for name in request.headers):
            return PlainTextResponse("only on this machine", 403)
        return await handler(request)

    return guarded
