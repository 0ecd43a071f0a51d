"""The slots of one replica's calls, kept while they live.

A slot is leased (see `engine/session.py`): a replica that was killed renews nothing, so its slots are free when their
leases end, but for those of calls that have gone on elsewhere. With each renewal comes the news that the app is being
stopped, and how long calls may still go on.

When Redis is back after it was away, slots are renewed at once, before others get them; and calls that it does not know
to be live (it has lost its data, or they began while it was away) are listed again.

Slots are given back here too, one thing after the other: a renewal under way would take the slot again.
"""

from collections.abc import Awaitable, Callable, Collection
from typing import Any

import msgspec

from engine.actor import Actor
from engine.messages import Tick
from engine.redis_client import SessionAway
from engine.session import SessionStore
from engine.telemetry import count

RENEWALS = 3  # in each lease: one may be late, and one be lost


class StreamOver(msgspec.Struct, frozen=True):
    """This stream of the call is over; `calls` no longer names it."""

    call: str
    stream: str


class LeaseActor(Actor):
    """Renews them, in one write for all that `calls` names; calls `drained` when none may go on, and `list_again` with
    calls that Redis does not know to be live.

    Told: Tick, StreamOver.
    """

    def __init__(
        self,
        store: SessionStore,
        calls: Callable[[], Collection[str]],
        drained: Callable[[], None],
        list_again: Callable[[Collection[str]], Awaitable[None]],
    ) -> None:
        super().__init__()
        self._store = store
        self._calls = calls
        self._drained = drained
        self._list_again = list_again
        self._draining = False
        self._owed: list[StreamOver] = []  # while Redis is away

    async def started(self) -> None:
        self._store.when_back(lambda: self.tell(Tick("back")))
        self._later()

    async def receive(self, message: Any) -> None:
        match message:
            case Tick("renew"):
                await self._renew()
                self._later()
            case Tick("back"):
                owed, self._owed = self._owed, []
                for over in owed:
                    await self._give_back(over)
                await self._renew()
            case StreamOver():
                await self._give_back(message)
            case Tick("drained"):
                self._draining = False  # a stream that begins later is told with a later renewal
                self._drained()

    def _later(self) -> None:
        self.after(self._store.lease_s / RENEWALS, Tick("renew"))

    async def _give_back(self, over: StreamOver) -> None:
        try:
            await self._store.over(over.call, over.stream)
        except SessionAway:
            self._owed.append(over)
            count("live_unmarked")

    async def _renew(self) -> None:
        calls = list(self._calls())
        if not calls:
            return
        try:
            renewed = await self._store.renew(calls)
        except SessionAway:
            count("leases_unrenewed")  # when Redis is back, slots that were lost meanwhile are taken again
            return
        if renewed.left_s is not None and not self._draining:
            self._draining = True
            self.after(renewed.left_s, Tick("drained"))
        if renewed.unlisted:
            await self._list_again(renewed.unlisted)
