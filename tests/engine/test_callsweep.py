"""Calls that nobody ended, and what the rows that they left say of them."""

import asyncio
from datetime import UTC, datetime, timedelta

import pytest
import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncEngine

from engine.calllog import CallLog
from engine.callrows import Leg, LogTool, LogUsage, Part, Speaker
from engine.callsweep import finish_dead_calls
from engine.messages import Usage
from engine.outcomes import End
from tests.engine.logged import NOON, PATIENCE, info, rows, the_call

HOUR = timedelta(hours=1)


async def test_calls_last_heard_of_long_ago_are_finished_as_lost(pg: AsyncEngine, log: CallLog) -> None:
    now = datetime.fromtimestamp(NOON, UTC)
    log.open_call(info("CAquiet", NOON - 7200))
    log.log_call_event("CAquiet", "turn", {}, NOON - 7000)
    log.log_performance_metric("CAquiet", 1, Leg.TOOL, 1.0, NOON - 6900)
    log.open_call(info("CAtalking", NOON - 7200))
    log.log_transcript("CAtalking", 90, 0, Speaker.CALLER, "and another thing", NOON - 10)
    log.open_call(info("CAringing", NOON - 5))
    log.open_call(info("CAended", NOON - 7200))
    log.finalize_call_log("CAended", End.SILENT, NOON - 7100, "answered")
    log.log_call_event("CAunopened", "turn", {}, NOON - 7000)
    assert await log.flush(PATIENCE)

    both = (finish_dead_calls(pg, HOUR, now), finish_dead_calls(pg, HOUR, now))
    first, second = await asyncio.gather(*both)

    assert sorted(first + second) == ["CAquiet", "CAunopened"]
    ends = {row["call"]: row["ending"] for row in await rows(pg, "SELECT call, ending FROM call_log")}
    assert ends == {
        "CAquiet": "lost",
        "CAunopened": "lost",
        "CAtalking": None,
        "CAringing": None,
        "CAended": "silent",
    }
    [end] = await rows(pg, "SELECT ended_at FROM call_log WHERE call = 'CAquiet'")
    assert end["ended_at"] == now - timedelta(seconds=6900)


def tool_run(call: str, id: str, made: str, *, ok: bool = True, unknown: bool = False) -> LogTool:
    return LogTool(call, id, 2, "a_tool", {}, NOON + 20, ok=ok, unknown=unknown, made=made, took_ms=12.0)


async def test_what_came_of_a_call_that_died_is_read_from_its_rows(pg: AsyncEngine, log: CallLog) -> None:
    for call in ("CAbooked", "CArefused", "CAunanswered"):
        log.open_call(info(call), None if call == "CAunanswered" else NOON + 1)
    log.log_transcript("CAbooked", 4, 0, Speaker.CALLER, "book it", NOON + 19)
    log.log_call_event("CAbooked", "interrupted", {"turn": 4}, NOON + 19)
    log.write(tool_run("CAbooked", "call_3_0", "cancelled"))
    log.write(tool_run("CAbooked", "call_5_0", "booked"))
    log.write(tool_run("CAbooked", "call_6_0", "moved", ok=False, unknown=True))
    log.write(LogUsage("CAbooked", Part.MODEL, "1", NOON + 18, "gpt", Usage(1000, 400, 50)))
    log.write(LogUsage("CAbooked", Part.MODEL, "2", NOON + 19, "gpt", Usage(2000, 1800, 10)))
    log.write(tool_run("CArefused", "call_3_0", "", ok=False))
    assert await log.flush(PATIENCE)

    assert await finish_dead_calls(pg, HOUR) == ["CAbooked", "CArefused", "CAunanswered"]
    calls = {row["call"]: row for row in await rows(pg, "SELECT * FROM call_log")}
    assert {call: row["outcome"] for call, row in calls.items()} == {
        "CAbooked": "booked",
        "CArefused": "failed",
        "CAunanswered": "abandoned",
    }
    booked = calls["CAbooked"]
    assert (booked["turns"], booked["interruptions"], booked["tool_calls"]) == (4, 1, 3)
    assert (booked["prompt_tokens"], booked["cached_tokens"], booked["completion_tokens"]) == (3000, 2200, 60)


async def test_an_end_told_by_somebody_who_knew_nothing_else_keeps_what_is_known(
    pg: AsyncEngine, log: CallLog
) -> None:
    log.open_call(info(), NOON + 1)
    log.write(tool_run("CA1", "call_3_0", "booked"))
    log.finalize_call_log("CA1", End.DROPPED, NOON + 30, "booked", turns=3, interruptions=1, tool_calls=1)
    log.finalize_call_log("CA1", End.DROPPED, NOON + 90)
    log.open_call(info("CA2"), NOON + 1)
    log.write(tool_run("CA2", "call_3_0", "moved"))
    log.finalize_call_log("CA2", End.DROPPED, NOON + 90)
    assert await log.flush(PATIENCE)

    [known] = await rows(pg, "SELECT * FROM call_log WHERE call = 'CA1'")
    assert (known["outcome"], known["turns"], known["interruptions"]) == ("booked", 3, 1)
    at = datetime.fromtimestamp(NOON + 100, UTC)
    assert await finish_dead_calls(pg, HOUR, at) == [], "its last rows may still be on their way"
    assert await finish_dead_calls(pg, HOUR, at + timedelta(minutes=5)) == ["CA2"]
    [decided] = await rows(pg, "SELECT ending, outcome, tool_calls FROM call_log WHERE call = 'CA2'")
    assert decided == {"ending": "dropped", "outcome": "moved", "tool_calls": 1}


async def test_a_real_end_told_after_the_sweep_stands(pg: AsyncEngine, log: CallLog) -> None:
    log.open_call(info())
    log.log_call_event("CA1", "turn", {}, NOON + 61)
    assert await log.flush(PATIENCE)
    assert await finish_dead_calls(pg, HOUR) == ["CA1"]
    log.finalize_call_log("CA1", End.COMPLETED, NOON + 60)
    assert await log.flush(PATIENCE)
    assert (await the_call(pg))["ending"] == "completed"


@pytest.mark.parametrize(
    ("known", "told", "stands"),
    [
        (False, "ending = 'completed', outcome = 'answered', ended_at = :at", ("completed", "answered")),
        (False, "ending = 'dropped', ended_at = :at", ("dropped", None)),
        (True, "outcome = 'booked'", ("dropped", "booked")),
    ],
)
async def test_a_real_end_told_during_the_sweep_stands(
    pg: AsyncEngine, log: CallLog, known: bool, told: str, stands: tuple[str, str | None]
) -> None:
    log.open_call(info())
    if known:
        log.finalize_call_log("CA1", End.DROPPED, NOON + 30)
    assert await log.flush(PATIENCE)
    waiting = "datname = current_database() AND wait_event_type = 'Lock'"
    blocked = f"SELECT 1 FROM pg_stat_activity WHERE {waiting}"
    at = {"at": datetime.fromtimestamp(NOON + 60, UTC)} if ":at" in told else {}
    async with pg.begin() as ending:
        await ending.execute(sa.text(f"UPDATE call_log SET {told}"), at)
        sweep = asyncio.create_task(finish_dead_calls(pg, HOUR))
        async with asyncio.timeout(PATIENCE):
            while not await rows(pg, blocked):
                assert not sweep.done()
    assert await sweep == []
    call = await the_call(pg)
    assert (call["ending"], call["outcome"]) == stands
