"""How long the log is kept, and that nobody notices when it is purged."""

import asyncio
import time
from datetime import UTC, datetime, timedelta

import pytest
import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncEngine

from engine import callpurge
from engine.calllog import CallLog
from engine.callpurge import Keep, purge
from engine.callrows import LogTool, LogUsage, Part, Speaker
from engine.calltables import metadata
from engine.messages import Usage
from engine.outcomes import End
from tests.engine.logged import NOON, PATIENCE, info, rows

DAY_S = 86_400.0
NOW = datetime.fromtimestamp(NOON, UTC)
ROWS = 100_000


async def counts(pg: AsyncEngine) -> dict[str, int]:
    return {
        table: (await rows(pg, f"SELECT count(*) AS n FROM {table}"))[0]["n"] for table in metadata.tables
    }


async def log_calls(log: CallLog, *ages_days: float) -> None:
    """A call of each age, with a row of each kind."""
    for age in ages_days:
        call, at = f"CA{age:g}", NOON - age * DAY_S
        log.open_call(info(call, at), at)
        log.log_transcript(call, 1, 0, Speaker.CALLER, "my number is private", at)
        log.log_call_event(call, "turn", {}, at)
        log.log_performance_metric(call, 1, "first_token", 300.0, at)
        log.write(LogTool(call, "call_1_0", 1, "a_tool", {}, at))
        log.write(LogUsage(call, Part.MODEL, "1", at, "gpt", Usage(10, 0, 1)))
        log.finalize_call_log(call, End.COMPLETED, at, "answered")
    assert await log.flush(PATIENCE)


async def test_each_table_is_kept_for_as_long_as_it_is_said(pg: AsyncEngine, log: CallLog) -> None:
    await log_calls(log, 1, 40, 100, 400)
    keep = Keep(transcripts=30, tool_runs=90, events=99, metrics=0, usage=101, calls=365)
    removed = await purge(pg, keep, NOW)
    assert removed == {
        "call_transcript": 3,
        "call_tool": 2,
        "call_event": 2,
        "call_metric": 1,
        "call_usage": 1,
        "call_log": 1,
    }
    left = await rows(pg, "SELECT call FROM call_transcript")
    assert left == [{"call": "CA1"}]
    assert await purge(pg, keep, NOW) == dict.fromkeys(removed, 0)


async def test_nothing_is_removed_unless_it_is_said(pg: AsyncEngine, log: CallLog) -> None:
    await log_calls(log, 1, 4000)
    before = await counts(pg)
    assert not any((await purge(pg, Keep(), NOW)).values())
    assert await counts(pg) == before


async def test_a_call_without_an_end_is_kept(pg: AsyncEngine, log: CallLog) -> None:
    log.open_call(info("CAopen", NOON - 400 * DAY_S))
    assert await log.flush(PATIENCE)
    assert (await purge(pg, Keep(calls=1), NOW))["call_log"] == 0


async def test_one_purges_and_others_leave_it_to_them(pg: AsyncEngine, log: CallLog) -> None:
    await log_calls(log, 40)
    async with pg.begin() as other:
        await other.execute(sa.select(sa.func.pg_advisory_xact_lock(callpurge._LOCK)))
        assert await purge(pg, Keep(transcripts=30), NOW) == {"call_transcript": 0}
    assert (await purge(pg, Keep(transcripts=30), NOW))["call_transcript"] == 1


async def test_a_row_that_is_being_written_to_holds_nothing_up(pg: AsyncEngine, log: CallLog) -> None:
    await log_calls(log, 40, 41)
    async with pg.begin() as writer:
        await writer.execute(sa.text("UPDATE call_transcript SET text = 'x' WHERE call = 'CA41'"))
        async with asyncio.timeout(PATIENCE):
            assert (await purge(pg, Keep(transcripts=30), NOW))["call_transcript"] == 1
    assert (await purge(pg, Keep(transcripts=30), NOW))["call_transcript"] == 1


async def test_a_hundred_thousand_rows_go_while_calls_are_written(
    pg: AsyncEngine, log: CallLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(callpurge, "PAUSE_S", 0.0)
    old = NOW - timedelta(days=40)
    async with pg.begin() as connection:
        await connection.execute(
            sa.text("INSERT INTO call_log (call, ended_at) VALUES ('CAold', :at)"), {"at": old}
        )
        fill = """
            INSERT INTO call_transcript (call, turn, "index", speaker, text, at, interrupted)
            SELECT 'CAold', n, 0, 'caller', 'private', CAST(:at AS timestamptz) + n * interval '1 second', false
            FROM generate_series(1, :rows) AS n
        """
        await connection.execute(sa.text(fill), {"at": old, "rows": ROWS})
    sizes = []
    sa.event.listen(
        pg.sync_engine,
        "after_cursor_execute",
        lambda _c, cursor, statement, *_: sizes.append(cursor.rowcount) if "DELETE" in statement else None,
    )
    began = time.monotonic()
    purging = asyncio.create_task(purge(pg, Keep(transcripts=30), NOW))
    written, slowest_s = 0, 0.0
    while not purging.done():
        asked = time.monotonic()
        log.log_transcript("CAnew", written, 0, Speaker.CALLER, "book it", NOON)
        log.log_transcript("CAold", ROWS + 1 + written, 0, Speaker.CALLER, "still talking", NOON)
        assert await log.flush(PATIENCE)
        slowest_s = max(slowest_s, time.monotonic() - asked)
        written += 1
    print(
        f"\n{ROWS} rows in {time.monotonic() - began:.1f} s; meanwhile {written} writes, the slowest {slowest_s:.3f} s"
    )

    assert (await purging)["call_transcript"] == ROWS
    assert len(sizes) >= ROWS / callpurge.BATCH_ROWS
    assert max(sizes) <= callpurge.BATCH_ROWS
    assert written > 10, "the purge held writers up"
    assert slowest_s < 5
    assert (await counts(pg))["call_transcript"] == 2 * written


async def test_what_the_tools_keep_of_calls_goes_with_their_runs(pg: AsyncEngine) -> None:
    kept = sa.Table("kept_by_a_tool", sa.MetaData(), sa.Column("at", sa.DateTime(timezone=True)))
    async with pg.begin() as connection:
        await connection.run_sync(kept.metadata.create_all)
        ages = [{"at": NOW - timedelta(days=days)} for days in (1, 89, 91, 400)]
        await connection.execute(sa.insert(kept), ages)
    try:
        assert not any((await purge(pg, Keep(transcripts=30), NOW, tools=[kept.c.at])).values())
        assert (await purge(pg, Keep(tool_runs=90), NOW, tools=[kept.c.at]))["kept_by_a_tool"] == 2
    finally:
        async with pg.begin() as connection:
            await connection.run_sync(kept.metadata.drop_all)
