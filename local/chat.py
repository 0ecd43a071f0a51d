"""The front of a chat model: OpenAI's chat completions over HTTP, with any brain behind it.

A brain answers one request as a stream of pieces: text and whole tool calls. The front turns them into
server-sent events (or one JSON body), refuses what the real server would refuse, and stops the brain as
soon as the client closes the connection.

Source: OpenAI, "Chat completions", "Streaming responses", "Error codes".
"""

import asyncio
import json
import secrets
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Coroutine
from contextlib import aclosing
from typing import Any, Protocol

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from local.chat_checks import Refused, check_request
from local.chat_record import Exchange, Outcome, Record
from local.chat_stream import Call, Chunks, Finish, Piece, Text, sse

__all__ = [
    "Brain",
    "Call",
    "CutShort",
    "Exchange",
    "Finish",
    "Outcome",
    "Piece",
    "Record",
    "Refused",
    "Text",
    "chat_app",
]

READ_S = 10.0
SEND_S = 10.0
MOST_BYTES = 8_000_000


class CutShort(Exception):
    """A brain raises it to break its own reply off: no finish_reason, no [DONE].

    `clean` ends the body as if it were whole; otherwise the connection breaks.
    """

    def __init__(self, clean: bool) -> None:
        super().__init__("reply cut short")
        self.clean = clean


class Brain(Protocol):
    """Answers requests. `model` is the name that replies carry."""

    model: str

    def reply(self, request: dict[str, Any]) -> AsyncGenerator[Piece, None]:
        """The pieces of one reply. May raise `Refused` or `CutShort`; is closed when the client leaves."""


class _Answer:
    """The response to one request, as an ASGI application: runs the brain while the client is there."""

    def __init__(self, brain: Brain, request: dict[str, Any], record: Record | None) -> None:
        self._brain, self._request, self._record = brain, request, record
        self._chunks = Chunks(brain.model, request)
        self._exchange = Exchange(request, time.time())
        self._request_id = f"req_{secrets.token_hex(12)}"
        if record:
            record.exchanges.append(self._exchange)
            record.changed()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def timely(message: Any) -> None:
            async with asyncio.timeout(SEND_S):
                await send(message)

        work = self._stream(timely) if self._request.get("stream") else self._whole(scope, receive, timely)
        outcome = Outcome.LEFT  # unless the reply gets to its end
        try:
            outcome = await while_connected(receive, work)
        except Refused as refusal:
            outcome = Outcome.REFUSED
            await refusal_response(refusal)(scope, receive, timely)
        finally:
            self._note(outcome)

    def _note(self, outcome: Outcome) -> None:
        exchange = self._exchange
        exchange.outcome, exchange.ended_s = outcome, time.monotonic() - exchange.started
        exchange.text, exchange.calls = self._chunks.text, [c["function"]["name"] for c in self._chunks.calls]
        if self._record:
            self._record.changed()

    async def _stream(self, send: Callable[[Any], Awaitable[None]]) -> Outcome:
        try:
            async with aclosing(self._brain.reply(self._request)) as pieces:
                async for piece in pieces:
                    await self._begin(send)
                    await send(
                        {"type": "http.response.body", "body": self._chunks.of(piece), "more_body": True}
                    )
            last, outcome = self._chunks.end(), Outcome.DONE
        except CutShort as cut:
            await self._begin(send)
            if not cut.clean:
                return Outcome.CUT  # uvicorn closes a connection whose body was left unfinished
            last, outcome = b"", Outcome.CUT
        except Refused as refusal:
            if self._exchange.first_s is None:
                raise
            last, outcome = sse(refusal.body()), Outcome.REFUSED
        await self._begin(send)
        await send({"type": "http.response.body", "body": last})
        return outcome

    async def _begin(self, send: Callable[[Any], Awaitable[None]]) -> None:
        if self._exchange.first_s is not None:
            return
        self._exchange.first_s = time.monotonic() - self._exchange.started
        kind, request_id = b"text/event-stream; charset=utf-8", self._request_id.encode()
        headers = [(b"content-type", kind), (b"cache-control", b"no-cache"), (b"x-request-id", request_id)]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        if self._record:
            self._record.changed()

    async def _whole(self, scope: Scope, receive: Receive, send: Send) -> Outcome:
        try:
            async with aclosing(self._brain.reply(self._request)) as pieces:
                async for piece in pieces:
                    self._chunks.of(piece)
        except CutShort:
            return Outcome.CUT
        headers = {"x-request-id": self._request_id}
        await JSONResponse(self._chunks.completion(), headers=headers)(scope, receive, send)
        return Outcome.DONE


async def while_connected(receive: Receive, work: Coroutine[Any, Any, Outcome]) -> Outcome:
    """Runs `work` to its end, or cancels it when the client closes the connection (`Outcome.LEFT`)."""

    async def gone() -> None:
        while (await receive())["type"] != "http.disconnect":
            continue

    working, watching = asyncio.ensure_future(work), asyncio.ensure_future(gone())
    try:
        await asyncio.wait({working, watching}, return_when=asyncio.FIRST_COMPLETED)
        return working.result() if working.done() else Outcome.LEFT
    except TimeoutError:  # it stopped reading
        return Outcome.LEFT
    finally:
        working.cancel()
        watching.cancel()
        await asyncio.gather(working, watching, return_exceptions=True)


def refusal_response(refusal: Refused) -> Response:
    """A refusal as an HTTP response in OpenAI's error form."""
    headers = {"x-request-id": f"req_{secrets.token_hex(12)}"} | refusal.headers
    return JSONResponse(refusal.body(), status_code=refusal.status, headers=headers)


async def _read(request: Request) -> dict[str, Any]:
    if not request.headers.get("authorization", "").removeprefix("Bearer").strip():
        raise Refused(401, "No API key: send 'Authorization: Bearer' and a key.", code="invalid_api_key")
    body = b""
    try:
        async with asyncio.timeout(READ_S):
            async for part in request.stream():
                body += part
                if len(body) > MOST_BYTES:
                    raise Refused(413, f"The body is longer than {MOST_BYTES} bytes.")
        return check_request(json.loads(body))
    except TimeoutError:
        raise Refused(408, f"The body did not arrive within {READ_S:g} s.") from None
    except (ValueError, RecursionError) as error:
        raise Refused(400, f"The body could not be parsed as JSON: {error}") from None


def chat_app(brain: Brain, record: Record | None = None) -> Starlette:
    """The application: `POST /v1/chat/completions`, `GET /healthz`, and `GET /record` if it keeps one."""

    async def completions(request: Request) -> Any:
        try:
            return _Answer(brain, await _read(request), record)
        except Refused as refusal:
            return refusal_response(refusal)

    async def healthz(_: Request) -> Response:
        return PlainTextResponse("ok")

    async def recorded(_: Request) -> Response:
        return JSONResponse(record.as_json() if record else [])

    routes = [
        Route("/v1/chat/completions", completions, methods=["POST"]),
        Route("/healthz", healthz, methods=["GET"]),
    ]
    if record:
        routes.append(Route("/record", recorded, methods=["GET"]))
    return Starlette(routes=routes)
