"""The log's connections to Postgres: bounded, named, and given back whatever happens to who had them."""

import asyncio
import time

import sqlalchemy as sa
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from engine.calllog import CallLog
from engine.callrows import Speaker
from engine.outcomes import End
from engine.settings import Settings
from serve_app import log_engine, purge_regularly, sweep_regularly
from tests.engine.logged import NOON, PATIENCE, info, rows

CANCELLED = 200
MINE = "datname = current_database() AND application_name = 'trunkline-log'"


async def test_cancelled_writes_leak_no_connection_and_no_transaction(pg: AsyncEngine) -> None:
    engine = log_engine(Settings(database_url=pg.url.render_as_string(hide_password=False), log_write_s=5.0))
    sessions = f"SELECT state FROM pg_stat_activity WHERE {MINE}"
    try:
        writer = CallLog(engine)
        writer.start()
        writer.open_call(info())
        assert await writer.flush(PATIENCE)
        await writer.close()
        before = await rows(pg, sessions)
        assert before == [{"state": "idle"}]
        usual_s = 0.0
        for n in range(CANCELLED):
            writer = CallLog(engine, linger_s=0.0)
            writer.start()
            writer.log_call_event("CA1", "turn", {"n": n}, NOON)
            began_s = time.monotonic()
            whole = n % 10 == 0
            await writer.flush(PATIENCE if whole else usual_s * (n % 10) / 10)  # cut somewhere within a write
            if whole:
                usual_s = time.monotonic() - began_s
            await writer.close(timeout=0.0)
        assert engine.pool.checkedout() == 0
        async with asyncio.timeout(PATIENCE):  # Postgres learns of a closed connection a moment later
            while (found := await rows(pg, sessions)) not in (before, []):  # the last write may have been cut
                assert len(found) <= 4
    finally:
        await engine.dispose()
    written = (await rows(pg, "SELECT count(*) AS n FROM call_event"))[0]["n"]
    assert CANCELLED / 10 <= written < CANCELLED, "each tenth is written, and some of the others are cut"


async def test_a_statement_that_hangs_is_ended_by_the_server_too(pg: AsyncEngine) -> None:
    settings = Settings(database_url=pg.url.render_as_string(hide_password=False), log_write_s=0.5)
    engine = log_engine(settings)
    try:
        async with engine.connect() as connection:
            shown = [
                (await connection.execute(text(f"SHOW {name}"))).scalar()
                for name in ("statement_timeout", "idle_in_transaction_session_timeout", "application_name")
            ]
        assert shown == ["500ms", "500ms", "trunkline-log"]
    finally:
        await engine.dispose()


async def test_an_ingress_ends_dead_calls_and_purges_old_ones_though_postgres_failed_before(
    pg: AsyncEngine, log: CallLog
) -> None:
    log.open_call(info("CAdead"))
    log.open_call(info("CAold"), NOON)
    log.log_transcript("CAold", 1, 0, Speaker.CALLER, "private", NOON)
    log.finalize_call_log("CAold", End.COMPLETED, NOON + 60, "answered")
    assert await log.flush(PATIENCE)
    failures = 2

    def fail(_: object) -> None:
        nonlocal failures
        if failures:
            failures -= 1
            raise ConnectionResetError("Postgres is away")

    sa.event.listen(pg.sync_engine, "begin", fail)
    settings = Settings(sweep_s=0.2, purge_s=0.2, keep_transcripts_days=30, keep_calls_days=0)
    tasks = [asyncio.create_task(job(pg, settings)) for job in (sweep_regularly, purge_regularly)]
    try:
        async with asyncio.timeout(PATIENCE):
            while await rows(
                pg, "SELECT 1 FROM call_log WHERE outcome IS NULL UNION SELECT 1 FROM call_transcript"
            ):
                assert not any(task.done() for task in tasks)
    finally:
        for task in tasks:
            task.cancel()
    assert failures == 0
    ended = await rows(pg, "SELECT call, ending FROM call_log ORDER BY call")
    assert ended == [{"call": "CAdead", "ending": "lost"}, {"call": "CAold", "ending": "completed"}]
