"""Everything that the doctor looks at, well unless a test breaks it: vendors, an account, an app; all on loopback."""

import asyncio
import contextlib
import json
from collections.abc import AsyncGenerator, AsyncIterator
from dataclasses import dataclass, field
from typing import Any

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Mount, Route, WebSocketRoute
from starlette.types import ASGIApp, Receive, Scope, Send
from starlette.websockets import WebSocket, WebSocketDisconnect

from engine.door import PREFIX
from engine.settings import Settings
from engine.twilio import signature, stream, twiml
from launcher.ports import free_ports
from launcher.serve import RETRIES, WEBHOOK
from local.chat import Piece, Text, chat_app
from local.serving import serving
from simulators.marks import MarksDelays
from simulators.twilio import PhoneNumber, SimRest
from simulators.vendors import Speech

ACCOUNT, TOKEN = "AC" + "6" * 32, "twilio-secret-0123"
DEEPGRAM_KEY, OPENAI_KEY = "deepgram-secret-0123", "sk-openai-secret-0123"
FALLBACK_KEY = "fallback-secret-0123"
SECRETS = (TOKEN, DEEPGRAM_KEY, OPENAI_KEY, FALLBACK_KEY, "hunter2")
NUMBER = "+13125550100"


class Deepgram:
    """`refuses[path]` is the status that a path is answered with, for all keys or for one."""

    def __init__(self) -> None:
        self.refuses: dict[str, int] = {}
        speech = Speech()
        speech.delays = MarksDelays(first_audio_s=0.0)
        inner = Starlette(routes=[Route("/v1/projects", self._projects), Mount("/", speech.app)])
        self.app = self._guarded(inner)

    async def _projects(self, _: Request) -> Response:
        return JSONResponse({"projects": [{"project_id": "p-1", "name": "The dealership"}]})

    def _guarded(self, inner: ASGIApp) -> ASGIApp:
        async def app(scope: Scope, receive: Receive, send: Send) -> None:
            status = self.refuses.get(scope.get("path", ""))
            if status is None:
                await inner(scope, receive, send)
                return
            said = {
                "err_code": "REFUSED",
                "err_msg": f"as the test has it: {DEEPGRAM_KEY}",
                "request_id": "r-1",
            }
            answer = JSONResponse(said, status, headers={"dg-error": f"refused {DEEPGRAM_KEY}"})
            if scope["type"] == "websocket":
                await WebSocket(scope, receive, send).send_denial_response(answer)
            else:
                await answer(scope, receive, send)

        return app


class OpenAI:
    """`refuses[model]` is the status and the code that a model is refused with; `slow_s` comes first."""

    model = "gpt-4o"

    def __init__(self) -> None:
        self.models = {"gpt-4o", "gpt-5.4-mini"}
        self.refuses: dict[str, tuple[int, str]] = {}
        self.slow_s = 0.0
        routes = [Route("/v1/models/{model}", self._models), Mount("/", chat_app(self))]
        self.app = self._guarded(Starlette(routes=routes))

    async def _models(self, request: Request) -> Response:
        model = request.path_params["model"]
        if model not in self.models:
            return self._error(404, "model_not_found")
        return JSONResponse({"id": model, "object": "model", "created": 1, "owned_by": "openai"})

    async def reply(self, request: dict[str, Any]) -> AsyncGenerator[Piece, None]:
        yield Text("Yes.")

    def _error(self, status: int, code: str) -> Response:
        said = f"Incorrect API key provided: {OPENAI_KEY}"
        return JSONResponse({"error": {"message": said, "type": "x", "param": None, "code": code}}, status)

    def _guarded(self, inner: ASGIApp) -> ASGIApp:
        async def app(scope: Scope, receive: Receive, send: Send) -> None:
            request = Request(scope, receive)
            body = await request.body()
            model = json.loads(body)["model"] if body else scope["path"].rpartition("/")[2]
            await asyncio.sleep(self.slow_s)
            if model in self.refuses:
                await self._error(*self.refuses[model])(scope, receive, send)
                return

            async def again() -> Any:
                nonlocal body
                if body is None:
                    return await receive()
                message, body = {"type": "http.request", "body": body, "more_body": False}, None  # type: ignore[assignment]
                return message

            await inner(scope, again, send)

        return app


@dataclass
class StandInApp:
    """The app as Twilio meets it. What a test sets is what it does otherwise."""

    base: str = ""
    health: int = 200
    parts: dict[str, str] = field(default_factory=lambda: {"redis": "ok", "postgres": "ok", "hosts": "ok"})
    checks: bool = True  # signatures
    token: str = TOKEN
    answer: Response | None = None  # to `incoming`
    socket: str = "speaks"  # or: refused, closed, silent, marks
    rang: list[dict[str, str]] = field(default_factory=list)
    ended: list[dict[str, str]] = field(default_factory=list)
    said: list[dict[str, Any]] = field(default_factory=list)
    over: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def app(self) -> Starlette:
        return Starlette(
            routes=[
                Route("/healthz", self._healthz),
                Route("/readyz", self._readyz),
                Route(f"{PREFIX}/incoming", self._incoming, methods=["POST"]),
                Route(f"{PREFIX}/status", self._status, methods=["POST"]),
                WebSocketRoute(f"{PREFIX}/media-stream", self._media),
            ]
        )

    async def _healthz(self, _: Request) -> Response:
        return PlainTextResponse("ok" if self.health == 200 else "no", self.health)

    async def _readyz(self, _: Request) -> Response:
        well = all(state == "ok" for state in self.parts.values())
        return JSONResponse({"ready": well, "parts": self.parts}, 200 if well else 503)

    async def _form(self, request: Request) -> dict[str, str] | None:
        form = await request.form()
        header = request.headers.get(signature.HEADER)
        url = f"{self.base}{request.url.path}"
        if self.checks and not signature.webhook_is_signed(self.token, url, form, header):
            return None
        return {name: str(value) for name, value in form.items()}

    async def _incoming(self, request: Request) -> Response:
        form = await self._form(request)
        if form is None:
            return PlainTextResponse("the signature is missing or doesn't match", 403)
        self.rang.append(form)
        if self.answer is not None:
            return self.answer
        return self.streams(f"{self.base.replace('http', 'ws', 1)}{PREFIX}/media-stream")

    def streams(self, url: str) -> Response:
        document = twiml.connect_stream(url, f"{self.base}{PREFIX}/stream-ended", {"token": "t-1"})
        return Response(document, media_type="text/xml")

    async def _status(self, request: Request) -> Response:
        form = await self._form(request)
        if form is not None:
            self.ended.append(form)
        return Response(status_code=204)

    async def _media(self, socket: WebSocket) -> None:
        if self.socket == "refused":
            await socket.send_denial_response(PlainTextResponse("no WebSockets here", 502))
            return
        await socket.accept()
        try:
            await self._talk(socket)
        except WebSocketDisconnect:
            self.said.append({"event": "gone"})
        finally:
            self.over.set()

    async def _talk(self, socket: WebSocket) -> None:
        reader = stream.StreamReader()
        while True:
            text = await socket.receive_text()
            reader.receive(text)  # raises what the app's own reader does not like
            message = json.loads(text)
            self.said.append(message)
            if message["event"] == "stop":
                await socket.close()
                return
            if message["event"] == "start" and self.socket == "marks":
                await socket.send_text(stream.mark(message["streamSid"], "m-1"))
            if message["event"] == "start" and self.socket == "closed":
                await socket.close(1008)
                return
            if message["event"] == "start" and self.socket == "speaks":
                await socket.send_text(stream.media(message["streamSid"], b"\xff" * 160))


@dataclass
class Bench:
    """All of it, and the settings that lead to it."""

    deepgram: Deepgram
    openai: OpenAI
    twilio: SimRest
    app: StandInApp
    settings: Settings

    def change(self, **changes: Any) -> None:
        """Other settings."""
        self.settings = self.settings.model_copy(update=changes)


@contextlib.asynccontextmanager
async def bench(postgres_url: str, redis_url: str) -> AsyncIterator[Bench]:
    """Everything is well."""
    app, deepgram, openai, twilio = StandInApp(), Deepgram(), OpenAI(), SimRest(ACCOUNT, TOKEN)
    [port] = free_ports(1)
    async with contextlib.AsyncExitStack() as stack:
        hears, thinks, rest, served = [
            await stack.enter_async_context(serving(one))
            for one in (deepgram.app, openai.app, twilio.app, app.app)
        ]
        app.base = served.http_url
        twilio.numbers.append(
            PhoneNumber(NUMBER, f"{app.base}{WEBHOOK}{RETRIES}", "https://handler.twilio.com/bin")
        )
        yield Bench(
            deepgram,
            openai,
            twilio,
            app,
            Settings(
                _env_file=None,  # type: ignore[call-arg]
                port=port,
                twilio_account_sid=ACCOUNT,
                twilio_auth_token=TOKEN,
                twilio_base_url=rest.http_url,
                twilio_rest_tries=1,
                # The checks' own limit is the one that is tried; a busy machine is no finding.
                twilio_rest_s=30.0,
                stt_open_s=30.0,
                tts_open_s=30.0,
                fallback_number="+13125550199",
                transfer_number="+13125550177",
                deepgram_api_key=DEEPGRAM_KEY,
                deepgram_base_url=hears.http_url,
                stt_fallback=hears.http_url,
                stt_fallback_key=FALLBACK_KEY,
                tts_fallback=hears.http_url,
                tts_fallback_key=FALLBACK_KEY,
                openai_api_key=OPENAI_KEY,
                openai_base_url=f"{thinks.http_url}/v1",
                llm_fallback_key=FALLBACK_KEY,
                database_url=postgres_url,
                redis_url=redis_url,
            ),
        )
