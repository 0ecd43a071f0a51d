"""The app as Twilio meets it: is it reached, does it answer a call, take its stream, and refuse what is forged?

A call is made up for that, known by its SID (`engine/probe.py`): it rings, its stream is listened to until the agent
speaks, then it says `stop`, and the status callback tells its end, all as Twilio does it.
Twilio, "TwiML Voice: Twilio's Request", "Media Streams - WebSocket Messages", "Security".
"""

import contextlib
import json
import ssl
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass

import httpx2
from twilio.request_validator import RequestValidator
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidHandshake, InvalidStatus, InvalidURI

from doctor.findings import Finding, ok, untried, warning, within, wrong
from doctor.twiml import NotStreamed, Streamed, read_answer
from engine.door import PREFIX
from engine.probe import new_probe
from engine.settings import Settings

REACHED, READY = "reached", "ready"
ANSWERED, FORGED, STREAM = "webhook", "forged webhook", "media stream"
_SLOW = "See make logs: Twilio waits 15 s for a webhook, and its caller hears nothing meanwhile."
_CERTIFICATE = (
    "Twilio refuses it too (11235 to 11237): take one of a public authority, or a tunnel that has one."
)
_REFUSED_TOKEN = 1008
CLOSE_S = 1.0  # for the goodbye of a stream that told what it could
_NOBODY = "Nobody rings"  # what a forged signature signs


@dataclass(frozen=True)
class App:
    """Where it is reached, where else it can be asked how it is (on this machine), and who asks."""

    url: str
    local_url: str
    settings: Settings
    limit_s: float

    @property
    def secure(self) -> bool:
        """Whether it is reached as by Twilio."""
        return self.url.startswith("https://")

    @property
    def account(self) -> str:
        """Whose calls they are; Twilio always says."""
        return self.settings.twilio_account_sid or "AC" + "0" * 32

    def sign(self, url: str, fields: dict[str, str]) -> dict[str, str]:
        """The headers with which Twilio would ask."""
        token = self.settings.twilio_auth_token
        if not token:
            return {}
        return {"X-Twilio-Signature": str(RequestValidator(token).compute_signature(url, fields))}


async def check_app(app: App) -> list[Finding]:
    """All of it; where the app is not reached, nothing more is tried."""
    async with httpx2.AsyncClient(timeout=app.limit_s, trust_env=app.secure) as http:
        reached = await within(app.limit_s, REACHED, _remedy(app), _reached(http, app))
        if reached.is_wrong:
            return [reached, *(untried(part, "see reached") for part in (READY, ANSWERED, STREAM, FORGED))]
        ready = await within(app.limit_s, READY, "See make logs.", _ready(http, app))
        async with _ringing(http, app) as (answered, streamed):
            stream = await within(
                app.limit_s,
                STREAM,
                "See make logs: a vendor that does not answer keeps the agent silent.",
                _streams(app, streamed) if streamed is not None else _untried(STREAM),
            )
        forged = await within(app.limit_s, FORGED, _SLOW, _refuses(http, app))
    return [reached, ready, answered, stream, forged]


async def _untried(part: str) -> Finding:
    return untried(part, "see the webhook")


def _remedy(app: App) -> str:
    if app.url == app.local_url:
        return "See make logs, or stop make serve and start it again."
    return f"Check that make serve runs, and that the tunnel or proxy of {app.url} leads to its port."


async def _reached(http: httpx2.AsyncClient, app: App) -> Finding:
    try:
        answer = await http.get(f"{app.url}/healthz")
    except (httpx2.HTTPError, httpx2.InvalidURL, OSError) as error:
        todo = _CERTIFICATE if _refused_certificate(error) else _remedy(app)
        return wrong(REACHED, f"{app.url}: {_why(error)}", todo)
    if answer.status_code == 200 and answer.text == "ok":
        return ok(REACHED, app.url)
    if answer.status_code in (502, 503, 504):
        return wrong(REACHED, f"{app.url} answers {answer.status_code}", _remedy(app))
    # A proxy need not pass it on; the webhook tells.
    return ok(REACHED, f"{app.url} answers, and keeps /healthz to itself ({answer.status_code})")


async def _ready(http: httpx2.AsyncClient, app: App) -> Finding:
    where = app.local_url or app.url
    try:
        answer = await http.get(f"{where}/readyz")
        parts = dict(answer.json()["parts"])
    except (httpx2.HTTPError, OSError, ValueError, KeyError, TypeError):
        return untried(READY, f"{where} does not tell: ask on its own machine")
    away = [part for part, state in parts.items() if state != "ok"]
    if away:
        todo = "See make logs, which say why, and the lines of these parts here."
        return wrong(READY, f"away: {', '.join(away)}", todo)
    return ok(READY, ", ".join(parts))


# ---------------------------------------------------------------- a call


@contextlib.asynccontextmanager
async def _ringing(
    http: httpx2.AsyncClient, app: App
) -> AsyncIterator[tuple[Finding, tuple[str, Streamed] | None]]:
    """Rings: the answer, and the call with its stream if it is to be streamed. Its end is told to the app, too."""
    fields = _fields(app)
    found: list[tuple[str, Streamed]] = []
    answered = await within(app.limit_s, ANSWERED, _SLOW, _rings(http, app, fields, found))
    try:
        yield answered, found[0] if found else None
    finally:
        with contextlib.suppress(httpx2.HTTPError, OSError):
            await _post(http, app, "status", fields | {"CallStatus": "completed"})


def _fields(app: App) -> dict[str, str]:
    """Those that the app reads, and a few more that are signed with them."""
    return {
        "CallSid": new_probe(),
        "AccountSid": app.account,
        "From": "anonymous",
        "To": "",
        "CallStatus": "ringing",
        "ApiVersion": "2010-04-01",
        "Direction": "inbound",
    }


async def _post(
    http: httpx2.AsyncClient,
    app: App,
    path: str,
    fields: dict[str, str],
    signed: dict[str, str] | None = None,
) -> httpx2.Response:
    url = f"{app.url}{PREFIX}/{path}"
    headers = app.sign(url, fields) if signed is None else signed
    return await http.post(url, data=fields, headers=headers)


async def _rings(
    http: httpx2.AsyncClient, app: App, fields: dict[str, str], found: list[tuple[str, Streamed]]
) -> Finding:
    began = time.monotonic()
    try:
        answer = await _post(http, app, "incoming", fields)
    except (httpx2.HTTPError, OSError) as error:
        return wrong(ANSWERED, _why(error), _remedy(app))
    if answer.status_code == 403:
        what = "403: our signature is refused, and so will Twilio's be (11200)"
        todo = f"Run the app with BASE_URL={app.url}, to the letter, and with the TWILIO_AUTH_TOKEN that is set here."
        return wrong(ANSWERED, what, todo)
    if answer.status_code == 404:
        return wrong(ANSWERED, f"404: nothing is at {app.url}{PREFIX}/incoming (11200)", _remedy(app))
    if answer.status_code != 200:
        return wrong(
            ANSWERED, f"answers {answer.status_code} (Twilio's error 11200)", "See make logs for why."
        )
    try:
        streamed = read_answer(answer.headers.get("content-type", ""), answer.content, secure=app.secure)
    except NotStreamed as other:
        return _other_answer(app, other)
    found.append((fields["CallSid"], streamed))
    took_ms = (time.monotonic() - began) * 1000
    return ok(ANSWERED, f"TwiML that streams the call, in {took_ms:.0f} ms")


def _other_answer(app: App, other: NotStreamed) -> Finding:
    if not other.code:
        todo = "Try again when calls have ended; else see make logs: CAPACITY may be reached, or Redis away."
        return wrong(ANSWERED, f"the call is not taken: {other}", todo)
    what = f"Twilio can't use the answer: {other} (error {other.code})"
    if other.code == 31920:
        return wrong(ANSWERED, what, f"Run the app with BASE_URL={app.url}, an https address.")
    return wrong(ANSWERED, what, _remedy(app))


async def _streams(app: App, call: tuple[str, Streamed]) -> Finding:
    """Opens the stream as Twilio does, and waits for the agent's voice: an accepted socket may still be refused."""
    sid, streamed = call
    began = time.monotonic()
    try:
        socket = await connect(
            streamed.url,
            additional_headers=app.sign(streamed.url, {}),
            origin=None,
            compression=None,
            proxy=True if app.secure else None,
            open_timeout=app.limit_s,
            close_timeout=CLOSE_S,
        )
    except InvalidStatus as error:
        status = error.response.status_code
        todo = "Let the tunnel or proxy pass WebSockets to this path."
        return wrong(STREAM, f"the upgrade was answered {status}, not 101 (Twilio's error 31920)", todo)
    except (InvalidHandshake, InvalidURI, OSError) as error:
        todo = "Check the stream's address, which is made from the app's BASE_URL."
        return wrong(STREAM, f"{streamed.url} can't be opened: {_why(error)}", todo)
    async with socket:
        try:
            await _begin(socket, sid, app.account, streamed.token)
            async for text in socket:
                if json.loads(text).get("event") == "media":
                    await _end(socket, sid, app.account)
                    return ok(STREAM, f"opened, and the agent spoke after {time.monotonic() - began:.1f} s")
        except ConnectionClosed as closed:
            return _closed(closed.rcvd.code if closed.rcvd else 1006)
        except (ValueError, AttributeError):
            return wrong(
                STREAM, "what came on it is not JSON", "Check that the stream's address is this app's."
            )
    return _closed(socket.close_code or 1006)


def _closed(code: int) -> Finding:
    if code == _REFUSED_TOKEN:
        todo = "See make logs: the token was unknown, used or too old, or STRICT_STREAM_SIGNATURE did not like ours."
        return wrong(STREAM, "the app refused it (1008)", todo)
    return wrong(STREAM, f"it was closed ({code}) before the agent spoke", "See make logs for why.")


async def _begin(socket: ClientConnection, call: str, account: str, token: str) -> None:
    start = {
        "streamSid": _stream_of(call),
        "accountSid": account,
        "callSid": call,
        "tracks": ["inbound"],
        "customParameters": {"token": token},
        "mediaFormat": {"encoding": "audio/x-mulaw", "sampleRate": 8000, "channels": 1},
    }
    await socket.send(json.dumps({"event": "connected", "protocol": "Call", "version": "1.0.0"}))
    head = {"event": "start", "sequenceNumber": "1", "streamSid": _stream_of(call)}
    await socket.send(json.dumps(head | {"start": start}))


async def _end(socket: ClientConnection, call: str, account: str) -> None:
    head = {"event": "stop", "sequenceNumber": "2", "streamSid": _stream_of(call)}
    await socket.send(json.dumps(head | {"stop": {"accountSid": account, "callSid": call}}))


def _stream_of(call: str) -> str:
    return "MZ" + call[2:]


# ---------------------------------------------------------------- a forged one


async def _refuses(http: httpx2.AsyncClient, app: App) -> Finding:
    if not app.settings.twilio_auth_token:
        return untried(FORGED, "TWILIO_AUTH_TOKEN is empty: webhooks are not checked")
    fields = _fields(app)
    signed = {"X-Twilio-Signature": str(RequestValidator(_NOBODY).compute_signature(app.url, fields))}
    try:
        answer = await _post(http, app, "incoming", fields, signed)
        if answer.status_code == 200:
            await _post(http, app, "status", fields | {"CallStatus": "completed"})
    except (httpx2.HTTPError, OSError) as error:
        return wrong(FORGED, _why(error), _remedy(app))
    if answer.status_code == 403:
        return ok(FORGED, "a wrong signature is refused")
    if answer.status_code == 200:
        todo = (
            "Set TWILIO_AUTH_TOKEN where the app runs, and start it again: anybody could ring as any caller."
        )
        return wrong(FORGED, "a wrong signature is taken", todo)
    return warning(
        FORGED, f"a wrong signature is answered {answer.status_code}, not 403", "See the webhook's line."
    )


def _refused_certificate(error: BaseException) -> ssl.SSLCertVerificationError | None:
    cause: BaseException | None = error
    while cause is not None and not isinstance(cause, ssl.SSLCertVerificationError):
        cause = cause.__cause__ or cause.__context__
    return cause


def _why(error: BaseException) -> str:
    """A failed connection in a few words."""
    if (refused := _refused_certificate(error)) is not None:
        return f"its certificate is not trusted ({refused.verify_message})"
    text = " ".join(str(error).split()) or type(error).__name__
    return f"can't be reached ({text})"
