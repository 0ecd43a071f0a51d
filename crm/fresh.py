"""Looks callers up in the records, keeps what was found for the next time that they call, and forgets it when it is
not true any more.

Nothing is kept without a cache, from records that don't tell what changes, or while they can't be heard: nobody would
forget it. The workshop, which is most of what there is to read, is kept in this process.
"""

import asyncio
import contextlib

import structlog

from crm.callers import CallerCache
from crm.context import Known, look_up
from crm.ports import Hearing, Records, TellsChanges
from crm.workshop import Workshop

_log = structlog.get_logger(__name__)


class FreshCallers:
    """Callers of `records`, kept in `cache`; None keeps nothing."""

    def __init__(self, records: Records, cache: CallerCache | None) -> None:
        self._records = records
        self._cache = cache
        self._hears = False
        self._workshop: Workshop | None = None
        self._forgotten = 0  # times that all was; what was read before one is not kept after it
        self._following: asyncio.Task[None] | None = None

    async def open(self) -> None:
        """Begins to hear what changes."""
        if self._cache is not None and isinstance(self._records, TellsChanges):
            self._following = asyncio.create_task(self._follow(self._records, self._cache), name="changes")
            self._following.add_done_callback(self._report)

    async def close(self) -> None:
        """Hears no more; safe to run twice."""
        following, self._following = self._following, None
        if following is not None:
            following.cancel()
            await asyncio.wait([following])

    async def look_up(self, phone: str | None) -> Known:
        """What the records have of a number (E.164; None if withheld). Raises `RecordsAway`."""
        cache = self._cache if self._hears else None
        lease = await cache.lease(phone or "") if cache else None
        forgotten = self._forgotten
        async with self._records.work() as work:
            known = await look_up(work, phone, self._workshop)
        if self._hears and forgotten == self._forgotten:
            self._workshop = known.workshop
            if cache is not None and lease is not None:
                await cache.keep(lease, known)
        return known

    async def _follow(self, records: TellsChanges, cache: CallerCache) -> None:
        async with contextlib.aclosing(records.changes()) as changes:  # type: ignore[type-var]
            async for changed in changes:
                if isinstance(changed, Hearing):
                    self._forgotten += 1
                    self._workshop, self._hears = None, False
                if changed is Hearing.HEARS:
                    await cache.forget(None)
                    self._hears = True
                elif changed is not Hearing.DEAF:
                    await cache.forget(changed)

    def _report(self, following: asyncio.Task[None]) -> None:
        self._hears = False
        if not following.cancelled() and (error := following.exception()) is not None:
            _log.error("changes_not_followed", exc_info=error)
