"""The call log, read: the calls of a day, and all that is known of one. What prints it knows no tables."""

from datetime import date, datetime, time, timedelta
from typing import Any, TypeVar
from zoneinfo import ZoneInfo

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

_T = TypeVar("_T", bound=msgspec.Struct)

CALLS_LIMIT = 1000  # of one day that are read, the last ones


class LoggedCall(msgspec.Struct, frozen=True):
    """One call's line. None is what is not known, or not yet; `cost_micros` are millionths of a dollar."""

    call: str
    caller: str | None
    called: str | None
    attested: bool | None
    started_at: datetime | None
    answered_at: datetime | None
    ended_at: datetime | None
    duration_ms: float | None
    ending: str | None
    outcome: str | None
    turns: int | None
    interruptions: int | None
    tool_calls: int | None
    prompt_tokens: int | None
    cached_tokens: int | None
    completion_tokens: int | None
    heard_ms: float | None
    spoken_chars: int | None
    cost_micros: int | None


class LoggedLine(msgspec.Struct, frozen=True):
    """One sentence as it was heard."""

    turn: int
    index: int
    speaker: str
    text: str
    at: datetime
    interrupted: bool


class LoggedTool(msgspec.Struct, frozen=True):
    """One run of a tool; `unknown`: it may have been done. `took_ms` is None if nobody told its end."""

    id: str
    turn: int
    tool: str
    arguments: dict[str, Any]
    ok: bool
    unknown: bool
    replayed: bool
    made: str
    took_ms: float | None
    at: datetime


class LoggedMetric(msgspec.Struct, frozen=True):
    """One latency, see `engine.callrows.Leg`."""

    turn: int
    name: str
    n: int
    value_ms: float
    at: datetime


class LoggedEvent(msgspec.Struct, frozen=True):
    """Something happened."""

    kind: str
    detail: dict[str, Any]
    at: datetime


class LoggedUsage(msgspec.Struct, frozen=True):
    """What one request to the model, or one stream, used."""

    part: str
    id: str
    source: str
    prompt_tokens: int
    cached_tokens: int
    completion_tokens: int
    heard_ms: float
    spoken_chars: int
    at: datetime


class CallStory(msgspec.Struct, frozen=True):
    """All that the log still has of one call, each part in the order in which it happened."""

    call: LoggedCall
    lines: list[LoggedLine]
    tools: list[LoggedTool]
    events: list[LoggedEvent]
    metrics: list[LoggedMetric]
    usage: list[LoggedUsage]


async def calls_of_day(engine: AsyncEngine, day: date, zone: ZoneInfo) -> list[LoggedCall]:
    """The calls that came in on that day of that place, the first one first; at most the last `CALLS_LIMIT`."""
    began = sa.func.coalesce(call_log.c.started_at, call_log.c.answered_at, call_log.c.ended_at)
    begins, ends = (datetime.combine(day + timedelta(days=n), time(), zone) for n in (0, 1))
    # The indexes are of the columns, and a call of which nobody told that it rang has only its end.
    near = [column.between(begins, ends) for column in (call_log.c.started_at, call_log.c.ended_at)]
    query = (
        _select(LoggedCall, call_log)
        .where(sa.or_(*near), began >= begins, began < ends)
        .order_by(began.desc(), call_log.c.call)
        .limit(CALLS_LIMIT)
    )
    async with engine.connect() as connection:
        return (await _read(connection, LoggedCall, query))[::-1]


async def story_of(engine: AsyncEngine, call: str) -> CallStory | None:
    """One call by its CallSid, or None if there is none, or not any more."""

    def of_call(kind: type[msgspec.Struct], table: sa.Table, *order: str) -> sa.Select[Any]:
        return _select(kind, table).where(table.c.call == call).order_by(*(table.c[name] for name in order))

    async with engine.connect() as connection:
        # One moment for all of it: a purge, or the call itself, may be at work.
        await connection.execution_options(isolation_level="REPEATABLE READ")
        found = await _read(connection, LoggedCall, of_call(LoggedCall, call_log, "call"))
        if not found:
            return None
        return CallStory(
            found[0],
            await _read(connection, LoggedLine, of_call(LoggedLine, call_transcript, "turn", "index")),
            await _read(connection, LoggedTool, of_call(LoggedTool, call_tool, "turn", "at", "id")),
            await _read(connection, LoggedEvent, of_call(LoggedEvent, call_event, "at", "id")),
            await _read(connection, LoggedMetric, of_call(LoggedMetric, call_metric, "turn", "at", "n")),
            await _read(connection, LoggedUsage, of_call(LoggedUsage, call_usage, "at", "id")),
        )


def _select(kind: type[msgspec.Struct], table: sa.Table) -> sa.Select[Any]:
    return sa.select(*(table.c[name] for name in kind.__struct_fields__))


async def _read(connection: AsyncConnection, kind: type[_T], query: sa.Select[Any]) -> list[_T]:
    return [kind(**row) for row in (await connection.execute(query)).mappings()]
