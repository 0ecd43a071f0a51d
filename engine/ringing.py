"""Calls that ring: answered by TwiML, their stream not yet begun.

A caller may hang up before the stream begins, and Twilio's status callback may never come; so each token has a
watch, and a token that nobody redeemed is an abandoned call, unless the call has got its stream by another token.
"""

from collections.abc import Awaitable, Callable
from typing import Any

import msgspec

from engine.actor import Actor
from engine.messages import Tick
from engine.redis_client import SessionAway
from engine.session import SessionStore
from engine.telemetry import count


class Rings(msgspec.Struct, frozen=True):
    """A token was given out for this call; `last_stream`: the stream that it had before, or ""."""

    call: str
    token: str
    last_stream: str


class PutThrough(msgspec.Struct, frozen=True):
    """Redis did not answer in time, so this call was put through. What it was asked it may do when it wakes, and hold a
    slot for a stream that will not come.
    """

    call: str


class _Overdue(msgspec.Struct, frozen=True):
    """The stream should have begun."""

    rings: Rings


class RingingActor(Actor):
    """Watches tokens. `abandoned(call, last_stream)` is called for each token that was not used.

    Told: Rings, PutThrough, Tick.
    """

    def __init__(
        self, store: SessionStore, token_ttl_s: float, abandoned: Callable[[str, str], Awaitable[None]]
    ) -> None:
        super().__init__()
        self._store = store
        self._watch_s = token_ttl_s - 0.5  # before Redis forgets it
        self._abandoned = abandoned
        self._put_through: list[str] = []

    async def started(self) -> None:
        self._store.when_back(lambda: self.tell(Tick("back")))

    async def receive(self, message: Any) -> None:
        match message:
            case Rings():
                self.after(self._watch_s, _Overdue(message))
            case _Overdue(rings):
                await self._overdue(rings)
            case PutThrough(call):
                self._put_through.append(call)
            case Tick("back"):
                await self._free_slots()

    async def _free_slots(self) -> None:
        calls, self._put_through = self._put_through, []
        for call in calls:
            try:
                await self._store.hung_up(call)
            except SessionAway:
                self._put_through.append(call)

    async def _overdue(self, rings: Rings) -> None:
        try:
            if await self._store.redeem(rings.token) is not None:
                count("calls_abandoned")
                await self._store.not_coming(rings.call, rings.token)
                await self._abandoned(rings.call, rings.last_stream)
        except SessionAway:
            count("ringing_unwatched")  # the call log's sweeper finds it
