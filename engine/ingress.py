"""The app that Twilio talks to: voice webhooks, the Media Streams WebSocket, health.

    POST /api/v1/voice/incoming      a call rings: TwiML that streams it to us
    POST /api/v1/voice/stream-ended  a stream ended: TwiML for what comes next
    POST /api/v1/voice/status        the call's status changed
    WS   /api/v1/voice/media-stream  the call itself
    GET  /healthz /readyz /calls     alive; able to take calls; the live calls

Webhooks must carry Twilio's signature (when `TWILIO_AUTH_TOKEN` is set). The stream must carry its one-time token,
which decides; its signature is checked and counted.
"""

import asyncio
import contextlib
import logging
import os
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from typing import Protocol

from starlette.applications import Starlette
from starlette.datastructures import FormData
from starlette.requests import HTTPConnection, Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route, WebSocketRoute
from starlette.websockets import WebSocket, WebSocketDisconnect

from engine import phrases
from engine.actor import Actor, Ref, spawn
from engine.calllog import CallLog, Outcome
from engine.clock import wall
from engine.messages import CallerAudio, CallerContext, CallerGone, CallInfo, DtmfPressed, MarkEchoed
from engine.ringing import RingingActor, Rings
from engine.session import SessionAway, SessionStore, Stored
from engine.settings import Settings
from engine.telemetry import bound, count
from engine.twilio import signature, twiml
from engine.twilio.stream import Dtmf, Mark, Media, Start, Stop, StreamReader, StreamRefused

log = logging.getLogger("engine.ingress")

PREFIX = "/api/v1/voice"
START_LIMIT_S = 5.0
CONTEXT_LIMIT_S = 1.5
RESUMES = 3  # new streams for one call, after drops
STREAM_END_LIMIT_S = 30.0
CLOSE_LIMIT_S = 2.0
ATTESTED = "TN-Validation-Passed-A"
BUSY = "Thanks for calling. All our lines are busy right now. Please call again in a few minutes."
DOWN = "Sorry, we can't take your call right now. Please call again in a few minutes."
_WITHHELD = {"", "+266696687", "266696687", "anonymous", "restricted", "unknown", "unavailable", "private"}
CLOSE_POLICY = 1008


class StreamRef(Protocol):
    """A started StreamActor as the socket's loop sees it."""

    audio: Ref

    def tell(self, message: object) -> None:
        """See `Ref`."""

    async def ended(self) -> None:
        """Waits for its end."""


@dataclass(frozen=True)
class IngressPorts:
    """Whom the ingress knows. `make_stream` makes a StreamActor, not yet started."""

    store: SessionStore
    log: CallLog
    context: Callable[[CallInfo], Awaitable[CallerContext]]
    plain_context: Callable[[CallInfo], CallerContext]
    make_stream: Callable[[CallInfo, str, WebSocket], Actor]
    check_ready: Callable[[], Awaitable[dict[str, str]]]


class Ingress:
    """The routes of one replica, and the streams that run in it."""

    def __init__(self, settings: Settings, ports: IngressPorts) -> None:
        self._settings = settings
        self._ports = ports
        self._streams: dict[str, Actor] = {}
        self._endings: set[asyncio.Task[None]] = set()
        self._ringing: RingingActor | None = None
        self._warned = False

    def routes(self) -> list[Route | WebSocketRoute]:
        """The routes, for a Starlette app."""
        return [
            Route(f"{PREFIX}/incoming", self.incoming, methods=["POST"]),
            Route(f"{PREFIX}/stream-ended", self.stream_ended, methods=["POST"]),
            Route(f"{PREFIX}/status", self.status, methods=["POST"]),
            WebSocketRoute(f"{PREFIX}/media-stream", self.media_stream),
            Route("/healthz", self.healthz),
            Route("/readyz", self.readyz),
            Route("/calls", self.calls),
        ]

    def start(self) -> None:
        """Starts what watches ringing calls. Call on the loop that serves."""
        self._ringing = RingingActor(self._ports.store, self._settings.token_ttl_s, self._abandoned)
        spawn(self._ringing, "ringing")

    async def close(self) -> None:
        """Ends what `start` started."""
        if self._ringing is not None:
            await self._ringing.kill()
        if self._endings:
            _, late = await asyncio.wait(self._endings, timeout=CLOSE_LIMIT_S)
            for ending in late:
                ending.cancel()

    # --- webhooks

    async def incoming(self, request: Request) -> Response:
        """A call rings."""
        form = await self._signed_form(request)
        if form is None:
            return _forbidden()
        call = str(form.get("CallSid", ""))
        if not call:
            return PlainTextResponse("CallSid is missing: is this Twilio's voice webhook?", 400)
        info = CallInfo(
            call,
            caller_of(str(form.get("From", ""))),
            str(form.get("To", "")),
            form.get("StirVerstat") == ATTESTED,
            wall(),
        )
        with bound(call):
            try:
                return await self._answer_call(request, info)
            except SessionAway as error:
                log.error("call not taken: %s", error)
                count("calls_refused")
                return _xml(self._fall_back(DOWN))

    async def _answer_call(self, request: Request, info: CallInfo) -> Response:
        store = self._ports.store
        busy = len(await store.live_calls()) >= self._settings.capacity * self._settings.ingress_replicas
        if busy or await store.draining():
            count("calls_past_capacity")
            return _xml(self._fall_back(BUSY))
        token = await store.ring(info)
        self._ports.log.open_call(info)
        await store.keep_context(info.call, await self._context(info))
        self._watch(info.call, token)
        return self._connect(request, token)

    async def _context(self, info: CallInfo) -> CallerContext:
        try:
            async with asyncio.timeout(CONTEXT_LIMIT_S):
                return await self._ports.context(info)
        except Exception as error:  # whatever it is, the caller must be answered
            count("contexts_missed")
            log.warning("caller's context not found: %s: %s", type(error).__name__, error)
            return self._ports.plain_context(info)

    async def stream_ended(self, request: Request) -> Response:
        """A stream ended: what we wanted next, or the call goes on in a new stream."""
        form = await self._signed_form(request)
        if form is None:
            return _forbidden()
        call = str(form.get("CallSid", ""))
        with bound(call):
            try:
                return await self._next(request, call, str(form.get("CallStatus", "")))
            except SessionAway as error:
                log.error("can't tell what comes next: %s", error)
                return _xml(self._fall_back(DOWN))

    async def _next(self, request: Request, call: str, status: str) -> Response:
        stored = await self._ports.store.read(call)
        if stored is None or stored.next == "hangup" or status == "completed":
            return _xml(twiml.hang_up())
        if stored.next == "transfer":
            return _xml(twiml.dial(self._settings.transfer_number))
        if stored.next == "fallback" or stored.meta.outcome not in ("", Outcome.DROPPED):
            return _xml(self._fall_back(""))
        if await self._ports.store.broke(call, wall()) > RESUMES:
            return _xml(self._fall_back(phrases.UNAVAILABLE))
        count("streams_resumed")
        token = await self._ports.store.new_token(call)
        self._watch(call, token)
        return self._connect(request, token)

    async def status(self, request: Request) -> Response:
        """Twilio tells how the call goes."""
        form = await self._signed_form(request)
        if form is None:
            return _forbidden()
        call, status = str(form.get("CallSid", "")), str(form.get("CallStatus", ""))
        if call:
            self._ports.log.log_call_event(call, "status", {"status": status}, wall())
        if status in ("completed", "canceled", "busy", "failed", "no-answer"):
            try:
                stored = await self._ports.store.read(call)
                if stored is not None and not stored.meta.stream and not stored.meta.outcome:
                    await self._abandoned(call)
            except SessionAway:
                count("statuses_unread")  # the call log's sweeper finds the call
        return Response(status_code=204)

    async def _abandoned(self, call: str) -> None:
        stored = await self._ports.store.read(call)
        if stored is None or _is_over(stored):
            return
        outcome = Outcome.DROPPED if stored.meta.stream else Outcome.ABANDONED
        self._ports.log.finalize_call_log(call, outcome, wall())

    # --- the stream

    async def media_stream(self, websocket: WebSocket) -> None:
        """The call: from Twilio's `connected` to its end."""
        if not self._stream_may_open(websocket):
            await websocket.close(CLOSE_POLICY)
            return
        await websocket.accept()
        reader = StreamReader()
        try:
            start = await asyncio.wait_for(_read_start(websocket, reader), START_LIMIT_S)
            info = await self._redeem(start)
        except (StreamRefused, TimeoutError, WebSocketDisconnect, SessionAway) as error:
            count("streams_refused")
            log.warning("stream refused: %s", error or "no start within 5 s")
            await _close(websocket, CLOSE_POLICY)
            return
        with bound(info.call):
            await self._run_stream(websocket, reader, start, info)

    async def _redeem(self, start: Start) -> CallInfo:
        token = start.parameters.get("token", "")
        call = await self._ports.store.redeem(token) if token else None
        stored = await self._ports.store.read(call) if call else None
        if stored is None or stored.info is None or call != start.call:
            raise StreamRefused("the stream's token is unknown, used, too old, or another call's")
        return stored.info

    async def _run_stream(
        self, websocket: WebSocket, reader: StreamReader, start: Start, info: CallInfo
    ) -> None:
        stream = self._ports.make_stream(info, start.stream, websocket)
        self._streams[info.call] = stream
        spawn(stream, f"stream {info.call}")
        why = "dropped"
        try:
            await self._mark_live(info.call, start.stream)
            why = await _relay(websocket, reader, stream)  # type: ignore[arg-type]
        finally:
            stream.tell(CallerGone(why))
            count("frames_bad", reader.bad)
            count("frames_lost", reader.lost)
            # Serve cancels the request of a socket that its client closed, so the end has a task of its own.
            ending = asyncio.create_task(self._end_stream(websocket, stream, info.call, start.stream))
            self._endings.add(ending)
            ending.add_done_callback(self._endings.discard)
            await asyncio.shield(ending)

    async def _end_stream(self, websocket: WebSocket, stream: Actor, call: str, stream_sid: str) -> None:
        try:
            await _close(websocket, 1000)
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(stream.ended(), STREAM_END_LIMIT_S)
            await stream.kill()
        finally:
            if self._streams.get(call) is stream:
                del self._streams[call]
            await self._mark_over(call, stream_sid)

    async def _mark_live(self, call: str, stream: str) -> None:
        try:
            await self._ports.store.live(call, stream, self._settings.max_call_s + 60)
        except SessionAway:
            count("live_unmarked")

    async def _mark_over(self, call: str, stream: str) -> None:
        try:
            await self._ports.store.over(call, stream)
        except SessionAway:
            count("live_unmarked")

    # --- health

    async def healthz(self, _: Request) -> Response:
        """This replica's loop runs."""
        return PlainTextResponse("ok")

    async def readyz(self, _: Request) -> Response:
        """Whether a call could be taken now: what it needs, each "ok" or what is wrong."""
        parts = await self._ports.check_ready()
        well = all(state == "ok" for state in parts.values())
        return JSONResponse({"ready": well, "parts": parts}, 200 if well else 503)

    async def calls(self, request: Request) -> Response:
        """The live calls of all replicas. For this machine only."""
        forwarded = request.headers.get("x-forwarded-for")
        if forwarded and not forwarded.startswith("127."):
            return PlainTextResponse("only on loopback", 403)
        try:
            return JSONResponse({"calls": await self._ports.store.live_calls(), "pid": os.getpid()})
        except SessionAway as error:
            return JSONResponse({"error": str(error)}, 503)

    # --- inside

    def _watch(self, call: str, token: str) -> None:
        if self._ringing is not None:
            self._ringing.tell(Rings(call, token))

    def _connect(self, request: Request, token: str) -> Response:
        base = self._base(request)
        socket = base.replace("http", "ws", 1) + f"{PREFIX}/media-stream"
        return _xml(twiml.connect_stream(socket, f"{base}{PREFIX}/stream-ended", {"token": token}))

    def _base(self, request: HTTPConnection) -> str:
        if self._settings.base_url:
            return self._settings.base_url
        if not self._warned:
            self._warned = True
            log.warning("BASE_URL is not set: URLs for Twilio are taken from the request's Host header")
        scheme = request.headers.get("x-forwarded-proto", request.url.scheme)
        return f"{scheme.replace('ws', 'http', 1)}://{request.headers.get('host', '')}"

    def _fall_back(self, words: str) -> str:
        number = self._settings.fallback_number
        if number:
            return twiml.say_and_dial(words, number) if words else twiml.dial(number)
        return twiml.say_and_hang_up(words) if words else twiml.hang_up()

    async def _signed_form(self, request: Request) -> FormData | None:
        form = await request.form()
        token = self._settings.twilio_auth_token
        if not token:
            return form
        base = self._base(request)
        url = signature.public_url(base, "", "", request.url.path, request.url.query)
        if signature.webhook_is_signed(token, url, form, request.headers.get("x-twilio-signature")):
            return form
        count("webhooks_unsigned")
        log.warning("webhook refused: its signature doesn't match %s; is BASE_URL what Twilio calls?", url)
        return None

    def _stream_may_open(self, websocket: WebSocket) -> bool:
        token = self._settings.twilio_auth_token
        if not token:
            return True
        base = self._base(websocket).replace("http", "ws", 1)
        url = signature.public_url(base, "", "", websocket.url.path, "")
        if signature.stream_is_signed(token, url, websocket.headers.get("x-twilio-signature")):
            return True
        count("streams_unsigned")
        log.warning("stream's signature doesn't match %s; its token decides", url)
        return not self._settings.strict_stream_signature


def caller_of(number: str) -> str:
    """The caller's number, or "anonymous" for the ways in which Twilio says that it is withheld.

    Twilio, Request parameters: From; +266696687 spells ANONYMOUS on a telephone's keys.
    """
    return "anonymous" if number.lower() in _WITHHELD else number


async def _read_start(websocket: WebSocket, reader: StreamReader) -> Start:
    while True:
        event = reader.receive(await _read(websocket))
        if isinstance(event, Start):
            return event


async def _relay(websocket: WebSocket, reader: StreamReader, stream: StreamRef) -> str:
    """Passes on what Twilio says until the stream's end; returns why it ended."""
    audio = stream.audio
    while True:
        try:
            event = reader.receive(await _read(websocket))
        except WebSocketDisconnect:
            return "dropped"
        except StreamRefused as refused:
            log.warning("stream closed: %s", refused)
            return "dropped"
        if isinstance(event, Media):
            audio.tell(CallerAudio(event.payload))
        elif isinstance(event, Mark):
            stream.tell(MarkEchoed(event.name))
        elif isinstance(event, Dtmf):
            stream.tell(DtmfPressed(0, event.digit))
        elif isinstance(event, Stop):
            return "stop"


async def _read(websocket: WebSocket) -> str | bytes:
    """The next message. Raises WebSocketDisconnect."""
    message = await websocket.receive()
    if message["type"] == "websocket.disconnect":
        raise WebSocketDisconnect(message.get("code", 1006))
    return message.get("text") or message.get("bytes") or b""


async def _close(websocket: WebSocket, code: int) -> None:
    """Closes a socket that may be closed already."""
    with contextlib.suppress(RuntimeError, WebSocketDisconnect, TimeoutError, OSError):
        async with asyncio.timeout(2.0):
            await websocket.close(code)


def _is_over(stored: Stored) -> bool:
    return bool(stored.meta.outcome) and stored.meta.outcome != Outcome.DROPPED


def _forbidden() -> Response:
    return PlainTextResponse("the signature is missing or doesn't match", 403)


def _xml(document: str) -> Response:
    return Response(document, media_type="text/xml")


def starlette_app(
    ingress: Ingress, opened: Callable[[], contextlib.AbstractAsyncContextManager[None]]
) -> Starlette:
    """The ASGI app of one replica; `opened` is entered while it serves."""

    @contextlib.asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        async with opened():
            ingress.start()
            try:
                yield
            finally:
                await ingress.close()

    return Starlette(routes=ingress.routes(), lifespan=lifespan)
