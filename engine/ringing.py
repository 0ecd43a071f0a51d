"""Calls that ring: answered by TwiML, their stream not yet begun.

A caller may hang up before the stream begins, and Twilio's status callback may never come; so each token has a
watch, and a token that nobody redeemed is an abandoned call.
"""

from collections.abc import Awaitable, Callable
from typing import Any

import msgspec

from engine.actor import Actor
from engine.messages import Tick
from engine.session import SessionAway, SessionStore
from engine.telemetry import count


class Rings(msgspec.Struct, frozen=True):
    """A token was given out for this call."""

    call: str
    token: str


class RingingActor(Actor):
    """Watches tokens. Told: `Rings`. `abandoned(call)` is called for each whose token was never used."""

    def __init__(
        self, store: SessionStore, token_ttl_s: float, abandoned: Callable[[str], Awaitable[None]]
    ) -> None:
        super().__init__()
        self._store = store
        self._watch_s = token_ttl_s - 0.5  # before Redis forgets it
        self._abandoned = abandoned

    async def receive(self, message: Any) -> None:
        match message:
            case Rings(_, token):
                self.after(self._watch_s, Tick(token))
            case Tick(token):
                await self._expired(token)

    async def _expired(self, token: str) -> None:
        try:
            call = await self._store.redeem(token)
            if call is not None:
                count("calls_abandoned")
                await self._abandoned(call)
        except SessionAway:
            count("ringing_unwatched")  # the call log's sweeper finds it
