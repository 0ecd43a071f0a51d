"""Where Twilio reaches this app, and whether what comes is Twilio's."""

import asyncio
import logging

from starlette.datastructures import FormData
from starlette.exceptions import HTTPException
from starlette.requests import HTTPConnection, Request
from starlette.types import Message, Receive
from starlette.websockets import WebSocket

from engine.settings import Settings
from engine.telemetry import Seldom, count
from engine.twilio import signature

log = logging.getLogger("engine.door")

PREFIX = "/api/v1/voice"
# Twilio, Connection overrides: at the end of a webhook's URL, tries twice more where the answer would else be lost.
TRIED_AGAIN = "rc=2&rp=ct,rt,5xx"
FORM_LIMIT = 64 * 1024  # bytes; Twilio's forms have about one kilobyte


class Door:
    """The public address, and the check of signatures against it. Without an auth token nothing is checked."""

    def __init__(self, settings: Settings) -> None:
        self._base_url = settings.base_url
        self._token = settings.twilio_auth_token
        self._warned = False
        self._turn = asyncio.Lock()
        self._seldom = Seldom(log)
        if not self._token:
            log.warning(
                "TWILIO_AUTH_TOKEN is not set: webhooks and streams are taken unchecked, whoever sends them"
            )

    def base(self, request: HTTPConnection) -> str:
        """`BASE_URL`, or what the request says, with a warning: anybody can send a Host header."""
        if self._base_url:
            return self._base_url
        if not self._warned:
            self._warned = True
            log.warning("BASE_URL is not set: URLs for Twilio are taken from the request's Host header")
        scheme = request.headers.get("x-forwarded-proto", request.url.scheme)
        return f"{scheme.replace('ws', 'http', 1)}://{request.headers.get('host', '')}"

    async def signed_form(self, request: Request) -> FormData | None:
        """A webhook's form, or None when its signature is missing or doesn't match.

        One at a time (see `enter`). Raises HTTPException, which answers 413, for a body that is no form of Twilio's: it
        must not fill the memory.
        """
        length = request.headers.get("content-length", "")
        if length.isdecimal() and int(length) > FORM_LIMIT:  # refused before it is read
            raise _too_long()
        await self.enter()
        form = await Request(request.scope, _bounded(request.receive)).form()
        if not self._token:
            return form
        url = signature.public_url(self.base(request), "", "", request.url.path, request.url.query)
        header = request.headers.get(signature.HEADER)
        if signature.webhook_is_signed(self._token, url, form, header, TRIED_AGAIN):
            return form
        count("webhooks_unsigned")
        self._seldom.warning(
            "webhook refused: its signature doesn't match %s; is BASE_URL what Twilio calls?", url
        )
        return None

    async def enter(self) -> None:
        """Waits for one's turn. However many come at once, each has a pass of the event loop to itself, so that the
        frames of running calls are served between them.
        """
        async with self._turn:
            await asyncio.sleep(0)

    def stream_is_signed(self, websocket: WebSocket) -> bool:
        """Whether a stream carries Twilio's signature; where signatures are checked, one that doesn't is counted."""
        if not self._token:
            return False
        base = self.base(websocket).replace("http", "ws", 1)
        url = signature.public_url(base, "", "", websocket.url.path, "")
        if signature.stream_is_signed(self._token, url, websocket.headers.get(signature.HEADER)):
            return True
        count("streams_unsigned")
        self._seldom.warning("stream's signature doesn't match %s", url)
        return False


def _bounded(receive: Receive) -> Receive:
    """The same, but for a body that is longer than its Content-Length says, or says nothing."""
    left = FORM_LIMIT

    async def bounded() -> Message:
        nonlocal left
        message = await receive()
        left -= len(message.get("body", b""))
        if left < 0:
            raise _too_long()
        return message

    return bounded


def _too_long() -> HTTPException:
    count("webhooks_too_long")
    return HTTPException(413, f"more than {FORM_LIMIT} bytes: no webhook of Twilio's is that long")
