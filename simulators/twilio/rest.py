"""Twilio's REST API for the calls of a `SimTwilio`: what a server may do to a call from outside, and its account.

Twilio, "Call resource", "Account resource", "IncomingPhoneNumber resource"; error pages 20003, 20404, 20429, 21220.
"""

import asyncio
import base64
from collections import deque
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import format_datetime
from typing import Any

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

from simulators.twilio.call import SimCall
from simulators.twilio.fields import new_sid

VERSION = "2010-04-01"


@dataclass(frozen=True, slots=True)
class Fault:
    """What happens to one request. Without a status it is answered as usual, after `delay_s`.

    `obeyed`: it is carried out first, and only the answer is spoilt. `cut`: the connection ends without an answer.
    """

    status: int = 0
    code: int = 0
    retry_after: str = ""
    delay_s: float = 0.0
    cut: bool = False
    obeyed: bool = False
    html: bool = False


@dataclass(frozen=True, slots=True)
class PhoneNumber:
    """A number of the account's, and the address that it asks."""

    number: str
    voice_url: str
    fallback_url: str = ""


@dataclass
class SimRest:
    """One account's API. `faults` are for the requests to come, in order; `asked` is what came."""

    account: str
    auth_token: str
    calls: list[SimCall] = field(default_factory=list)
    numbers: list[PhoneNumber] = field(default_factory=list)
    status: str = "active"
    faults: deque[Fault] = field(default_factory=deque)
    asked: list[tuple[str, str, dict[str, str]]] = field(default_factory=list)

    @property
    def app(self) -> ASGIApp:
        """To be served."""
        base = f"/{VERSION}/Accounts/{{account}}"
        routes = [
            Route(f"{base}/Calls/{{call}}.json", self._call, methods=["GET", "POST"]),
            Route(f"{base}/IncomingPhoneNumbers.json", self._numbers),
            Route(f"{base}.json", self._account),
        ]
        inner = Starlette(routes=routes)

        async def app(scope: Scope, receive: Receive, send: Send) -> None:
            request = Request(scope, receive)
            await request.body()
            form = {name: str(value) for name, value in (await request.form()).items()}
            self.asked.append((request.method, request.url.path, form))
            fault = self.faults.popleft() if self.faults else Fault()
            response = await self._spoilt(request, form, fault, inner)
            await response(scope, receive, send)

        return app

    async def _spoilt(self, request: Request, form: dict[str, str], fault: Fault, inner: ASGIApp) -> ASGIApp:
        """What is answered."""
        await asyncio.sleep(fault.delay_s)
        request.scope["form"] = form
        if fault.obeyed:
            await self._obey(request, inner)
        if fault.cut:
            return _cut
        if fault.html:
            return HTMLResponse("<html>a proxy's page</html>", fault.status or 200)
        if fault.status:
            headers = {"Retry-After": fault.retry_after} if fault.retry_after else {}
            return _error(fault.status, fault.code or fault.status, "as the test has it", headers)
        return self._refusal(request) or inner

    async def _obey(self, request: Request, inner: ASGIApp) -> None:
        async def unheard(_: Any) -> None:
            return None

        await inner(request.scope, request.receive, unheard)

    def _refusal(self, request: Request) -> Response | None:
        wanted = base64.b64encode(f"{self.account}:{self.auth_token}".encode()).decode()
        if request.headers.get("authorization") != f"Basic {wanted}":
            return _error(401, 20003, "Authenticate")
        return None

    async def _account(self, request: Request) -> Response:
        if request.path_params["account"] != self.account:
            return _error(404, 20404, "The requested resource was not found")
        return JSONResponse(
            {
                "sid": self.account,
                "friendly_name": "The dealership",
                "status": self.status,
                "type": "Full",
                "owner_account_sid": self.account,
                "date_created": format_datetime(datetime.now(UTC)),
                "date_updated": format_datetime(datetime.now(UTC)),
                "uri": f"/{VERSION}/Accounts/{self.account}.json",
                "subresource_uris": {},
                "auth_token": self.auth_token,
            }
        )

    async def _numbers(self, _: Request) -> Response:
        found = [
            {
                "sid": new_sid("PN"),
                "account_sid": self.account,
                "phone_number": one.number,
                "voice_url": one.voice_url,
                "voice_fallback_url": one.fallback_url,
                "voice_method": "POST",
                "capabilities": {"voice": True},
            }
            for one in self.numbers
        ]
        page = {"page": 0, "page_size": 50, "next_page_uri": None, "previous_page_uri": None}
        return JSONResponse({"incoming_phone_numbers": found, **page})

    async def _call(self, request: Request) -> Response:
        sid = request.path_params["call"]
        call = next((one for one in self.calls if one.sid == sid), None)
        if call is None:
            return _error(404, 20404, f"The requested resource .../Calls/{sid}.json was not found")
        change = request.scope["form"]
        if change:
            if call.status not in ("ringing", "in-progress"):
                return _error(400, 21220, "Call is not in-progress. Cannot redirect.")
            await self._change(call, change)
        return JSONResponse(
            {
                "sid": sid,
                "account_sid": self.account,
                "status": call.status,
                "direction": "inbound",
                "api_version": VERSION,
                "date_created": format_datetime(datetime.now(UTC)),
                "uri": f"/{VERSION}/Accounts/{self.account}/Calls/{sid}.json",
                "subresource_uris": {},
            }
        )

    async def _change(self, call: SimCall, change: dict[str, str]) -> None:
        if change.get("Status") in ("completed", "canceled"):
            await call.hang_up()
        else:
            call.redirect(change.get("Url", ""), change.get("Twiml", ""))


def _error(status: int, code: int, message: str, headers: dict[str, str] | None = None) -> Response:
    body = {"code": code, "message": message, "status": status}
    return JSONResponse(
        body | {"more_info": f"https://www.twilio.com/docs/errors/{code}"}, status, headers=headers
    )


async def _cut(_scope: Scope, _receive: Receive, send: Send) -> None:
    """An answer that ends before its body: the server closes the connection."""
    head = [(b"content-type", b"application/json"), (b"content-length", b"100")]
    await send({"type": "http.response.start", "status": 200, "headers": head})
    await send({"type": "http.response.body", "body": b"{", "more_body": True})
