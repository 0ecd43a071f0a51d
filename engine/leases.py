"""The slots of one replica's calls, kept while they live.

A slot is leased (see `engine/session.py`): a replica that was killed renews nothing, so its slots are free when their
leases end, but for those of calls that have gone on elsewhere.
"""

from collections.abc import Callable, Collection
from typing import Any

from engine.actor import Actor
from engine.messages import Tick
from engine.session import SessionAway, SessionStore
from engine.telemetry import count

RENEWALS = 3  # in each lease: one may be late, and one be lost


class LeaseActor(Actor):
    """Renews them, in one write for all that `calls` names. Told: Tick (it is time)."""

    def __init__(self, store: SessionStore, calls: Callable[[], Collection[str]]) -> None:
        super().__init__()
        self._store = store
        self._calls = calls

    async def started(self) -> None:
        self._later()

    async def receive(self, message: Any) -> None:
        match message:
            case Tick("renew"):
                await self._renew()
                self._later()

    def _later(self) -> None:
        self.after(self._store.lease_s / RENEWALS, Tick("renew"))

    async def _renew(self) -> None:
        calls = list(self._calls())
        if not calls:
            return
        try:
            await self._store.renew(calls)
        except SessionAway:
            count("leases_unrenewed")  # when Redis is back, slots that were lost meanwhile are taken again
