"""Twilio's voice webhooks: a call rings, a stream ended, a call's status changed."""

import asyncio
import logging
import sys
from collections.abc import Awaitable, Callable
from typing import NamedTuple

from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response

from engine import phrases
from engine.actor import spawn
from engine.calllog import CallLog
from engine.clock import wall
from engine.door import PREFIX, TRIED_AGAIN, Door
from engine.messages import CallerContext, CallInfo
from engine.outcomes import End, Facts, outcome_of
from engine.redis_client import SessionAway
from engine.ringing import PutThrough, RingingActor, Rings
from engine.session import NoSlot, SessionStore, Stored
from engine.settings import Settings
from engine.supervision import Supervision
from engine.telemetry import Seldom, bound, count
from engine.twilio import twiml

log = logging.getLogger("engine.webhooks")

BROKEN = "broken"
ATTESTED = "TN-Validation-Passed-A"
CONTEXTS_AT_ONCE = (
    8  # look-ups of a replica's: of a hundred calls at once, each is known in time, or greeted plainly
)
_WITHHELD = {"", "+266696687", "266696687", "anonymous", "restricted", "unknown", "unavailable", "private"}
_ENDED = ("completed", "canceled", "busy", "failed", "no-answer")


class Excuse(NamedTuple):
    """Why the agent isn't there, in one sentence of Twilio's own voice."""

    alone: str  # and the call ends
    dialling: str  # and the caller is put through to the fallback number


BUSY = Excuse(
    "All our lines are busy right now, please call again in a few minutes.",
    "All our lines are busy right now, so I'm putting you through to someone else.",
)
DOWN = Excuse(
    "Sorry, we can't take your call right now, please call again in a few minutes.",
    "Sorry, we can't take your call right now, so I'm putting you through to someone else.",
)
CUT_SHORT = Excuse(
    phrases.UNAVAILABLE,
    phrases.UNAVAILABLE_DIALLING,
)
TOLD = Excuse("", "")  # already


class Webhooks:
    """The three webhooks. `context` looks a caller up, `plain_context` needs nothing outside."""

    def __init__(
        self,
        settings: Settings,
        door: Door,
        store: SessionStore,
        call_log: CallLog,
        context: Callable[[CallInfo], Awaitable[CallerContext]],
        plain_context: Callable[[CallInfo], CallerContext],
    ) -> None:
        self._settings = settings
        self._door = door
        self._store = store
        self._log = call_log
        self._seldom = Seldom(log)
        self._streams = Supervision.by(settings).streams
        self._context_of = context
        self._plain_context = plain_context
        self._looking_up = asyncio.Semaphore(CONTEXTS_AT_ONCE)
        self._ringing = RingingActor(store, settings.token_ttl_s, self._abandoned)

    def start(self) -> None:
        """Starts what watches ringing calls."""
        spawn(self._ringing, "ringing")

    async def close(self) -> None:
        """Ends what `start` started."""
        await self._ringing.kill()

    async def incoming(self, request: Request) -> Response:
        """A call rings."""
        form = await self._door.signed_form(request)
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
            except NoSlot as error:
                return self._refuse(info, str(error), BUSY) if str(error) != "gone" else self._nobody(info)
            except SessionAway as error:
                log.error("no slot is known of: %s", error)
                self._ringing.tell(PutThrough(call))
                return self._refuse(info, "away", DOWN)

    def _refuse(self, info: CallInfo, why: str, excuse: Excuse) -> Response:
        """Answers at once: nobody is looked up, and nothing is opened."""
        count(f"calls_refused_{why}")
        self._seldom.warning("call refused: %s", why)
        self._log.open_call(info)
        self._log.log_call_event(info.call, "refused", {"why": why}, info.started_at)
        self._finalize(info.call, End.REFUSED, info.started_at)
        return _xml(self._fall_back(excuse))

    def _nobody(self, info: CallInfo) -> Response:
        """The caller has hung up before we answered."""
        self._log.open_call(info)
        self._finalize(info.call, End.ABANDONED, wall())
        return _xml(twiml.hang_up())

    async def _answer_call(self, request: Request, info: CallInfo) -> Response:
        store = self._store
        token = await store.ring(info, self._settings.capacity)
        self._log.open_call(info)
        self._ringing.tell(Rings(info.call, token, ""))  # whatever comes, the slot is given back
        context = await self._context(info)
        try:
            await store.keep_context(info.call, context)
        except SessionAway as error:
            log.warning("caller's context not kept: %s", error)
        return self._connect(request, token, 0)

    async def _context(self, info: CallInfo) -> CallerContext:
        try:
            async with asyncio.timeout(self._settings.context_s), self._looking_up:
                return await self._context_of(info)
        except Exception as error:  # whatever it is, the caller must be answered
            count("contexts_missed")
            log.warning("caller's context not found: %s: %s", type(error).__name__, error)
            return self._plain_context(info)

    async def stream_ended(self, request: Request) -> Response:
        """A stream ended: what we wanted next, or the call goes on in a new stream."""
        form = await self._door.signed_form(request)
        if form is None:
            return _forbidden()
        call = str(form.get("CallSid", ""))
        with bound(call):
            try:
                answer = await self._next(request, call, str(form.get("CallStatus", "")))
                await self._store.asked(call)
            except SessionAway as error:
                log.error("can't tell what comes next: %s", error)
                self._ringing.tell(PutThrough(call))
                return _xml(self._fall_back(CUT_SHORT))
            return answer

    async def _next(self, request: Request, call: str, status: str) -> Response:
        stored = await self._store.glance(call)
        if status == "completed":
            return _xml(twiml.hang_up())
        if stored is None:  # Redis has lost it; the caller is still there
            count("sessions_missed")
            return _xml(self._fall_back(CUT_SHORT))
        if stored.next == "hangup":
            return _xml(twiml.hang_up())
        if stored.next == "transfer":
            return _xml(twiml.dial(self._settings.transfer_number))
        if stored.next == "unsaid":
            return _xml(self._fall_back(CUT_SHORT))
        if stored.next == "fallback" or stored.meta.ending not in ("", End.DROPPED):
            return _xml(self._fall_back(TOLD))
        times = await self._store.broke(call, wall(), _broken_before(request))
        if times > self._streams:
            return _xml(self._fall_back(CUT_SHORT))
        count("streams_resumed")
        token = await self._store.new_token(call)
        self._ringing.tell(Rings(call, token, stored.meta.stream))
        return self._connect(request, token, times)

    async def status(self, request: Request) -> Response:
        """Twilio tells how the call goes."""
        form = await self._door.signed_form(request)
        if form is None:
            return _forbidden()
        call, status = str(form.get("CallSid", "")), str(form.get("CallStatus", ""))
        if call:
            self._log.log_call_event(call, "status", {"status": status}, wall())
        if status in _ENDED:
            try:
                await self._store.hung_up(call)
                await self._store.asked(call)
                stored = await self._store.glance(call)
                if stored is not None and not stored.meta.stream and not stored.meta.ending:
                    await self._abandoned(call, "")
            except SessionAway:
                count("statuses_unread")  # the call log's sweeper finds the call
        return Response(status_code=204)

    async def _abandoned(self, call: str, last_stream: str) -> None:
        stored = await self._store.glance(call)
        if stored is None or _is_over(stored):
            return
        if stored.meta.stream != last_stream:
            return  # the call has a newer stream: the token was of a webhook that was sent again
        if last_stream:  # what came of it until then, the log's rows tell
            self._log.finalize_call_log(call, End.DROPPED, wall())
        else:
            self._finalize(call, End.ABANDONED, wall())

    def _finalize(self, call: str, ending: End, at: float) -> None:
        """The end of a call of which no stream ever began."""
        outcome = outcome_of(Facts(ending, connected=False))
        self._log.finalize_call_log(call, ending, at, outcome, turns=0, interruptions=0, tool_calls=0)

    def _connect(self, request: Request, token: str, broken: int) -> Response:
        """Asks for a stream of a call whose streams have broken that often."""
        base = self._door.base(request)
        socket = base.replace("http", "ws", 1) + f"{PREFIX}/media-stream"
        ended = f"{base}{PREFIX}/stream-ended?{BROKEN}={broken}#{TRIED_AGAIN}"
        return _xml(twiml.connect_stream(socket, ended, {"token": token}))

    def _fall_back(self, excuse: Excuse) -> str:
        number = self._settings.fallback_number
        if number:
            return twiml.say_and_dial(excuse.dialling, number) if excuse.dialling else twiml.dial(number)
        return twiml.say_and_hang_up(excuse.alone) if excuse.alone else twiml.hang_up()


def caller_of(number: str) -> str:
    """The caller's number, or "anonymous" for the ways in which Twilio says that it is withheld.

    Twilio, Request parameters: From; +266696687 spells ANONYMOUS on a telephone's keys.
    """
    return "anonymous" if number.lower() in _WITHHELD else number


def _broken_before(request: Request) -> int:
    """How often the call's streams had broken when the one that ended was asked for; if unknown, it counts."""
    told = request.query_params.get(BROKEN, "")
    return int(told) if told.isdecimal() else sys.maxsize


def _is_over(stored: Stored) -> bool:
    return bool(stored.meta.ending) and stored.meta.ending != End.DROPPED


def _forbidden() -> Response:
    return PlainTextResponse("the signature is missing or doesn't match", 403)


def _xml(document: str) -> Response:
    return Response(document, media_type="text/xml")
