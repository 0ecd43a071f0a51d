"""The speech server: Deepgram's paths, headers and refusals around the ports.

`GET /v1/listen`, `GET /v2/listen` (Flux) and `GET /v1/speak` are WebSockets, `POST /v1/speak` is REST, `GET /healthz`
is ours.
"""

import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import aclosing
from uuid import uuid4

from starlette.applications import Starlette
from starlette.requests import HTTPConnection, Request
from starlette.responses import JSONResponse, PlainTextResponse, Response, StreamingResponse
from starlette.routing import Route, WebSocketRoute
from starlette.websockets import WebSocket, WebSocketDisconnect, WebSocketDisconnected

from local.speech.flux import FluxSocket
from local.speech.listen import ListenSocket
from local.speech.params import Refusal, flux_params, listen_params, speak_params
from local.speech.ports import ListenParams, Recogniser, SpeakParams, Voice
from local.speech.speak import SpeakSocket
from local.speech.watch import Limits, OpenSocket, Watch
from local.speech.wav import mulaw_wav_header

_log = logging.getLogger(__name__)
_MAX_BODY = 2_000_000

Listen = Callable[[ListenParams], Recogniser]
Speak = Callable[[SpeakParams], Voice]


def speech_app(listen: Listen, voice: Speak, limits: Limits | None = None) -> Starlette:
    """The server over these ports. `app.state.watch` is its `Watch`."""
    doors = _Doors(listen, voice, limits or Limits())
    app = Starlette(
        routes=[
            Route("/healthz", doors.health),
            Route("/v1/speak", doors.speak_rest, methods=["POST"]),
            WebSocketRoute("/v1/listen", doors.listen_socket),
            WebSocketRoute("/v2/listen", doors.flux_socket),
            WebSocketRoute("/v1/speak", doors.speak_socket),
        ]
    )
    app.state.watch = doors.watch
    return app


class _Doors:
    def __init__(self, listen: Listen, voice: Speak, limits: Limits) -> None:
        self._listen = listen
        self._voice = voice
        self._limits = limits
        self.watch = Watch()

    async def health(self, request: Request) -> Response:
        return PlainTextResponse("ok")

    async def listen_socket(self, websocket: WebSocket) -> None:
        try:
            self._admit(websocket)
            params = listen_params(websocket.query_params)
        except Refusal as refusal:
            await websocket.send_denial_response(_refused(refusal))
            return
        recogniser = self._listen(params)
        socket = OpenSocket("listen", str(uuid4()), params, websocket)
        await self._serve(socket, ListenSocket(socket, params, recogniser, self._limits, self.watch).run)

    async def flux_socket(self, websocket: WebSocket) -> None:
        try:
            self._admit(websocket)
            params = flux_params(websocket.query_params)
        except Refusal as refusal:
            await websocket.send_denial_response(_refused(refusal))
            return
        recogniser = self._listen(params.hearing)
        socket = OpenSocket("listen", str(uuid4()), params, websocket)
        await self._serve(socket, FluxSocket(socket, params, recogniser, self._limits, self.watch).run)

    async def speak_socket(self, websocket: WebSocket) -> None:
        try:
            self._admit(websocket)
            params = speak_params(websocket.query_params)
        except Refusal as refusal:
            await websocket.send_denial_response(_refused(refusal))
            return
        voice = self._voice(params)
        socket = OpenSocket("speak", str(uuid4()), params, websocket)
        await self._serve(socket, SpeakSocket(socket, params, voice, self._limits, self.watch).run)

    async def _serve(self, socket: OpenSocket, run: Callable[[], Awaitable[None]]) -> None:
        await socket.websocket.accept(headers=[(b"dg-request-id", socket.request_id.encode())])
        self.watch.enter(socket)
        try:
            await run()
        except (WebSocketDisconnect, WebSocketDisconnected):  # the second when we were about to close it
            _log.info("%s %s: client left", socket.kind, socket.request_id)
        except TimeoutError:
            _log.warning("%s %s: a deadline passed", socket.kind, socket.request_id)
            await _close_failed(socket)
        except Exception:
            _log.exception("%s %s failed", socket.kind, socket.request_id)
            await _close_failed(socket)
        finally:
            self.watch.leave(socket)

    async def speak_rest(self, request: Request) -> Response:
        try:
            self._admit(request)
            params = speak_params(request.query_params)
            text = await _text_of(request, self._limits.speak_characters)
            container = request.query_params.get("container", "wav")
            if container not in {"wav", "none"}:
                raise Refusal(400, "Bad Request", f"container must be wav or none here, got {container!r}")
        except Refusal as refusal:
            return _refused(refusal)
        request_id = str(uuid4())
        return StreamingResponse(
            _audio(self._voice(params), text, header=container == "wav"),
            media_type="audio/mulaw;rate=8000" if container == "none" else "audio/wav",
            headers={
                "dg-request-id": request_id,
                "dg-model-name": params.model,
                "dg-model-uuid": request_id,
                "dg-char-count": str(len(text)),
            },
        )

    def _admit(self, connection: HTTPConnection) -> None:
        # Any key is good here, but a client that forgot to send one would fail against Deepgram.
        no = self.watch.refusal or (
            self.watch.no_sockets if connection.scope["type"] == "websocket" else None
        )
        if no is not None:
            raise no
        if not connection.headers.get("authorization"):
            raise Refusal(401, "INVALID_AUTH", "Invalid credentials.")


async def _audio(voice: Voice, text: str, *, header: bool) -> AsyncIterator[bytes]:
    if header:
        yield mulaw_wav_header()
    async with aclosing(voice.say(text)) as chunks:
        async for chunk in chunks:
            yield chunk


async def _text_of(request: Request, longest: int) -> str:
    body = await request.body()
    if len(body) > _MAX_BODY:
        raise Refusal(413, "Payload Too Large", "The body is longer than 2 MB.")
    content_type = request.headers.get("content-type", "").split(";")[0].strip()
    if content_type == "application/json":
        text = await _json_text(request)
    elif content_type == "text/plain":
        text = body.decode("utf-8", errors="replace")
    else:
        raise Refusal(415, "Unsupported Media Type", f"Send JSON or text/plain, not {content_type!r}.")
    if not text.strip():
        raise Refusal(400, "Bad Request", "The text is empty.")
    if len(text) > longest:
        raise Refusal(413, "Payload Too Large", f"The text is longer than {longest} characters.")
    return text


async def _json_text(request: Request) -> str:
    try:
        text = (await request.json())["text"]
    except (ValueError, TypeError, KeyError):
        raise Refusal(400, "Bad Request", 'The body must be JSON like {"text": "..."}.') from None
    if not isinstance(text, str):
        raise Refusal(400, "Bad Request", "text must be a string.")
    return text


def _refused(refusal: Refusal) -> Response:
    request_id = str(uuid4())
    return JSONResponse(
        {"err_code": refusal.code, "err_msg": refusal.message, "request_id": request_id},
        status_code=refusal.status,
        headers={"dg-request-id": request_id, "dg-error": refusal.message},
    )


async def _close_failed(socket: OpenSocket) -> None:
    try:
        await socket.close(1011, "NET-0000: internal server error")
    except (RuntimeError, WebSocketDisconnect):
        _log.info("%s %s: was closed already", socket.kind, socket.request_id)
