"""Ends the calls that nobody ended: their processes died. What came of them is decided from the rows that they left."""

import asyncio
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import ARRAY, aggregate_order_by
from sqlalchemy.ext.asyncio import AsyncEngine

from engine.callcost import Prices, settle_costs
from engine.callrows import Speaker
from engine.calltables import (
    call_event,
    call_log,
    call_metric,
    call_tool,
    call_transcript,
    call_usage,
)
from engine.outcomes import End, Facts, outcome_of

SWEEP_LIMIT_S = 30.0  # of one sweep; the next goes on
CALLS_AT_ONCE = 500
SPOOLED = timedelta(minutes=1)  # by then an ended call's last rows are written, unless Postgres was away


async def finish_dead_calls(
    engine: AsyncEngine,
    older_than: timedelta,
    at: datetime | None = None,
    prices: Prices = Prices(),  # noqa: B008 - frozen
) -> list[str]:
    """Ends calls that nobody ended and that were last heard of `older_than` before `at` (now), as `End.LOST`.

    And decides what came of those whose end was told by somebody who did not know. Outcome and totals are what the rows
    say. Their end is the last thing known of them. A real end that is told afterwards stands. Give at least the longest
    silence of a living call plus the longest outage that the spool outlasts. Returns the calls' sids, at most
    `CALLS_AT_ONCE`; safe to run on several machines at once. Raises `TimeoutError` after 30 s.
    """
    now = at or datetime.now(UTC)
    async with asyncio.timeout(SWEEP_LIMIT_S), engine.begin() as connection:
        dead = (await connection.execute(_dead(now - older_than, now - SPOOLED))).mappings().all()
        if not dead:
            return []
        finished = sorted((await connection.execute(_finish([_decided(row) for row in dead]))).scalars())
        if finished:
            await connection.execute(settle_costs(prices), [{"settled": call} for call in finished])
    return finished


def _dead(cutoff: datetime, settled: datetime) -> sa.Select[Any]:
    """Calls without an outcome, and what their rows tell."""
    last = sa.func.greatest(
        call_log.c.started_at,
        call_log.c.answered_at,
        *(_of_call(sa.func.max(table.c.at), table) for table in _TIMED),
    )
    rows = (
        sa.select(
            call_log.c.call,
            call_log.c.ending,
            call_log.c.answered_at,
            call_log.c.ended_at,
            sa.func.coalesce(call_log.c.ended_at, last).label("last_at"),
            _of_call(sa.func.max(call_transcript.c.turn), call_transcript).label("turns"),
            _of_call(sa.func.count(), call_event, call_event.c.kind == "interrupted").label("interruptions"),
            _of_call(sa.func.count(), call_event, call_event.c.kind == "reply_failed").label("apologies"),
            _of_call(sa.func.count(), call_tool).label("tool_calls"),
            _of_call(_MADE, call_tool, call_tool.c.ok, call_tool.c.made != "").label("made"),
            _answers().label("answers"),
        )
        .where(call_log.c.outcome.is_(None))
        .subquery()
    )
    old = sa.case((rows.c.ended_at.is_(None), rows.c.last_at < cutoff), else_=rows.c.ended_at < settled)
    return sa.select(rows).where(old).order_by(rows.c.last_at).limit(CALLS_AT_ONCE)


_TIMED = (call_event, call_transcript, call_metric, call_tool, call_usage)
_ASKED = (call_tool.c.turn, call_tool.c.at, call_tool.c.id)
_MADE = sa.func.array_agg(aggregate_order_by(call_tool.c.made, *_ASKED), type_=ARRAY(sa.Text))


def _of_call(value: Any, table: sa.Table, *where: sa.ColumnElement[bool]) -> sa.ScalarSelect[Any]:
    return (
        sa.select(value).select_from(table).where(table.c.call == call_log.c.call, *where).scalar_subquery()
    )


def _answers() -> sa.ScalarSelect[Any]:
    """How many of the caller's turns have a line of the agent's."""
    told = call_transcript.alias()
    asked = sa.exists().where(
        told.c.call == call_transcript.c.call,
        told.c.turn == call_transcript.c.turn,
        told.c.speaker == str(Speaker.CALLER),
    )
    turns = sa.func.count(sa.distinct(call_transcript.c.turn))
    return _of_call(turns, call_transcript, call_transcript.c.speaker == str(Speaker.AGENT), asked)


def _decided(row: sa.RowMapping) -> tuple[Any, ...]:
    ending = End(row["ending"]) if row["ending"] else End.LOST
    facts = Facts(
        ending,
        tuple(row["made"] or ()),
        max(0, row["answers"] - row["apologies"]),  # an apology is a line of the agent's, too
        row["apologies"],
        row["answered_at"] is not None,
    )
    return (
        row["call"],
        str(ending),
        outcome_of(facts),
        row["ended_at"],
        row["last_at"],
        row["turns"] or 0,
        row["interruptions"],
        row["tool_calls"],
    )


def _finish(decided: Sequence[tuple[Any, ...]]) -> Any:
    """Writes what was decided, unless the call's end has been told meanwhile."""
    found = sa.values(
        sa.column("call", sa.Text),
        sa.column("ending", sa.Text),
        sa.column("outcome", sa.Text),
        sa.column("seen", sa.DateTime(timezone=True)),
        sa.column("ended_at", sa.DateTime(timezone=True)),
        sa.column("turns", sa.Integer),
        sa.column("interruptions", sa.Integer),
        sa.column("tool_calls", sa.Integer),
        name="found",
    ).data(decided)
    totals = ("turns", "interruptions", "tool_calls")
    return (
        sa.update(call_log)
        .values(
            {name: found.c[name] for name in ("ending", "outcome", "ended_at")}
            | {name: sa.func.coalesce(call_log.c[name], found.c[name]) for name in totals}
        )
        .where(
            call_log.c.call == found.c.call,
            call_log.c.outcome.is_(None),
            call_log.c.ended_at.is_not_distinct_from(sa.cast(found.c.seen, call_log.c.ended_at.type)),
        )
        .returning(call_log.c.call)
    )
