"""How long the call log is kept: each table's rows are removed when they are old enough, a few at a time.

A batch is a transaction of its own, takes the oldest rows that nobody is writing to, and lets go of them at once. One
replica purges at a time: whoever has the advisory lock of a batch. What was said is the most private, so it goes first.
"""

import asyncio
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from engine.calltables import (
    call_event,
    call_log,
    call_metric,
    call_tool,
    call_transcript,
    call_usage,
)
from engine.settings import Settings

BATCH_ROWS = 1000
BATCH_CALLS = 50  # rows that came after their call's end go with it, by cascade
PAUSE_S = 0.02  # for writers and readers, and so that a purge takes no more than a share of the disk
_LOCK = 0x7472756E6B70

Aged = sa.ColumnElement[datetime]  # of a table: when its rows were written


class Keep(msgspec.Struct, frozen=True):
    """How many days each table's rows are kept; 0: for ever. Nothing of a call outlives its line in `call_log`."""

    transcripts: int = 0
    tool_runs: int = 0
    events: int = 0
    metrics: int = 0
    usage: int = 0
    calls: int = 0

    @classmethod
    def of(cls, settings: Settings) -> "Keep":
        """As the settings say."""
        return cls(
            settings.keep_transcripts_days,
            settings.keep_tool_runs_days,
            settings.keep_events_days,
            settings.keep_metrics_days,
            settings.keep_usage_days,
            settings.keep_calls_days,
        )


async def purge(
    engine: AsyncEngine, keep: Keep, at: datetime | None = None, tools: Sequence[Aged] = ()
) -> dict[str, int]:
    """Removes what is older than `keep` at `at` (now); how many rows of each table.

    A call is as old as its end, and is kept while it has none. `tools`: when rows of tables that the tools keep of
    calls were written; they go with the runs of tools. Returns early, with what it did, when another process purges.
    Raises what SQLAlchemy raises; what was removed until then stays removed.
    """
    now = at or datetime.now(UTC)
    removed = {}
    for aged, days in _days(keep, tools):
        name = aged.table.name
        removed[name] = 0
        while days:
            rows = await _remove(engine, _oldest(aged, now - timedelta(days=days)))
            if rows is None:
                return removed
            removed[name] += rows
            if rows < _batch(aged.table):
                break
            await asyncio.sleep(PAUSE_S)
    return removed


def _days(keep: Keep, tools: Sequence[Aged]) -> Iterator[tuple[Aged, int]]:
    """Each table by the column that tells its rows' age. Calls come last: their other rows are gone then, and the
    cascade has little to do."""
    for table, days in (
        (call_transcript, keep.transcripts),
        (call_tool, keep.tool_runs),
        (call_event, keep.events),
        (call_metric, keep.metrics),
        (call_usage, keep.usage),
    ):
        yield table.c.at, _least(days, keep.calls)
    for aged in tools:
        yield aged, _least(keep.tool_runs, keep.calls)
    yield call_log.c.ended_at, keep.calls


def _least(*days: int) -> int:
    return min(filter(None, days), default=0)


def _batch(table: sa.FromClause) -> int:
    return BATCH_CALLS if table is call_log else BATCH_ROWS


async def _remove(engine: AsyncEngine, batch: sa.Delete) -> int | None:
    """One batch; None: somebody else is at work."""
    async with engine.begin() as connection:
        if not await _alone(connection):
            return None
        return (await connection.execute(batch)).rowcount


async def _alone(connection: AsyncConnection) -> bool:
    """Whether this transaction may purge. Its lock ends with it, whatever becomes of the process."""
    return bool(await connection.scalar(sa.select(sa.func.pg_try_advisory_xact_lock(_LOCK))))


def _oldest(aged: Aged, cutoff: datetime) -> sa.Delete:
    """A bounded number of rows, by their place on disk; those that are being written to are left for the next purge."""
    table = aged.table
    ctid: sa.ColumnElement[Any] = sa.literal_column(f"{table.name}.ctid")
    old = sa.select(ctid).select_from(table).where(aged < cutoff).order_by(aged).limit(_batch(table))
    return sa.delete(table).where(
        ctid == sa.any_(sa.func.array(old.with_for_update(skip_locked=True).scalar_subquery()))
    )
