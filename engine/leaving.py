"""Streams that ended without Twilio's `stop`: is the call going on anywhere?

Twilio asks `stream-ended` what comes next as soon as it sees that a stream is over. When it doesn't see that, because a
network swallows what should tell it, the caller is left in silence on a call that lasts and costs. So it is looked some
seconds later whether Twilio has asked; if not, the call is led there by REST, or hung up.
"""

import logging
from typing import Any

import msgspec

from engine import phrases
from engine.actor import Actor
from engine.door import PREFIX, TRIED_AGAIN
from engine.media_stream import Left
from engine.messages import HangUp, Transfer
from engine.redis_client import SessionAway
from engine.session import SessionStore
from engine.settings import Settings
from engine.telemetry import bound, count
from engine.twilio import twiml
from engine.twilio.rest import Did, TwilioFailed, TwilioRest

log = logging.getLogger("engine.leaving")

LOOKS = 15  # while Redis is away, or Twilio fails: a minute


class _Overdue(msgspec.Struct, frozen=True):
    """Twilio should have asked."""

    left: Left
    looks: int


async def make_sure(store: SessionStore, rest: TwilioRest, call: str, goodbye: HangUp | Transfer) -> None:
    """What was said at last is done: by REST, if whoever answers Twilio could not read in Redis what comes next."""
    try:
        stored = await store.glance(call)
        if stored is not None and stored.next:
            return
    except SessionAway:
        log.warning("Redis can't say what comes next: the call is ended by REST")
    try:
        if isinstance(goodbye, Transfer):
            await rest.redirect(call, twiml=twiml.dial(goodbye.number))
        else:
            await rest.hang_up(call)
        count("calls_ended_by_rest")
    except TwilioFailed as failed:
        log.error("the call is put through to the fallback: %s", failed)


class LeavingActor(Actor):
    """Told: `Left`."""

    def __init__(self, store: SessionStore, rest: TwilioRest, settings: Settings) -> None:
        super().__init__()
        self._store = store
        self._rest = rest
        self._settings = settings

    async def receive(self, message: Any) -> None:
        match message:
            case Left():
                self.after(self._settings.twilio_asks_s if message.closed else 0, _Overdue(message, LOOKS))
            case _Overdue(left, looks):
                self.work(self._look(left, looks), "look")

    async def stopped(self) -> None:
        await self._rest.close()

    async def _look(self, left: Left, looks: int) -> None:
        with bound(left.call):
            try:
                if await self._store.unasked(left.call, left.stream):
                    count("streams_unasked")
                    await self._end(left.call)
                return
            except SessionAway:
                why = "nobody knows whether it is over: Redis is away"
            except TwilioFailed as failed:  # it may have been obeyed all the same, and then Twilio has asked
                why = f"it can't be ended by REST: {failed}"
            if looks > 1:
                log.warning("the call may be hanging, it is looked again: %s", why)
                self.after(self._settings.twilio_asks_s, _Overdue(left, looks - 1))
            else:
                log.error("the call may be hanging, and is left: %s", why)

    async def _end(self, call: str) -> None:
        """Leads it to where Twilio should have asked; without that address it is put through, or hung up."""
        stored = await self._store.glance(call)
        base, number = self._settings.base_url, self._settings.fallback_number
        if stored is None or stored.next == "hangup":
            did = await self._rest.hang_up(call)
        elif base:
            did = await self._rest.redirect(call, url=f"{base}{PREFIX}/stream-ended#{TRIED_AGAIN}")
        elif number:
            sorry = twiml.say_and_dial(phrases.UNAVAILABLE_DIALLING, number)
            did = await self._rest.redirect(call, twiml=sorry)
        else:
            did = await self._rest.hang_up(call)
        if did is not Did.ALREADY_OVER:
            count("calls_ended_by_rest")
            log.warning("Twilio had not noticed that the stream was over: ended by REST")
