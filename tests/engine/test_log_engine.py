"""The log's connections to Postgres: bounded, named, and given back whatever happens to who had them."""

import asyncio
import contextlib

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from engine.calllog import CallLog
from engine.settings import Settings
from serve_app import log_engine
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
        for n in range(CANCELLED):
            writer = CallLog(engine, linger_s=0.0)
            writer.start()
            writer.log_call_event("CA1", "turn", {"n": n}, NOON)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(n % 20 / 2000):  # somewhere within what a write takes
                    await writer.flush(PATIENCE)
            await writer.close(timeout=0.0)
        assert engine.pool.checkedout() == 0
        async with asyncio.timeout(PATIENCE):  # Postgres learns of a closed connection a moment later
            while (found := await rows(pg, sessions)) not in (before, []):  # the last write may have been cut
                assert len(found) <= 4
    finally:
        await engine.dispose()
    written = (await rows(pg, "SELECT count(*) AS n FROM call_event"))[0]["n"]
    assert 0 < written < CANCELLED, "some must have been cut, and some not"


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
