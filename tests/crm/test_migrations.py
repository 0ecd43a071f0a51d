"""From an empty database to the schema that the code expects."""

import asyncio
import os
import secrets
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

import asyncpg
import pytest

from crm.database import DatabaseAway
from crm.migrate import upgrade
from crm.models import Base
from crm.seed import CUSTOMERS, SERVICES, seed
from engine.calltables import metadata as call_log

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
async def empty_url(postgres_url: str) -> AsyncIterator[str]:
    """A database with nothing in it."""
    name = f"empty_{secrets.token_hex(8)}"
    administration = await asyncpg.connect(postgres_url, timeout=30)
    try:
        await administration.execute(f'CREATE DATABASE "{name}" TEMPLATE template0')
        try:
            yield urlunsplit(urlsplit(postgres_url)._replace(path=f"/{name}"))
        finally:
            await administration.execute(f'DROP DATABASE "{name}" WITH (FORCE)')
    finally:
        await administration.close(timeout=10)


async def tables(url: str) -> set[str]:
    connection = await asyncpg.connect(url, timeout=30)
    try:
        found = await connection.fetch("SELECT tablename FROM pg_tables WHERE schemaname = 'public'")
        return {row["tablename"] for row in found}
    finally:
        await connection.close(timeout=10)


def alembic(url: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """The command line, as a developer uses it."""
    command = [sys.executable, "-m", "alembic", *arguments]
    environment = os.environ | {"DATABASE_URL": url}
    return subprocess.run(
        command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=120, check=False
    )


async def test_replicas_that_start_at_once_make_the_schema_once(empty_url: str) -> None:
    await asyncio.gather(*(upgrade(empty_url) for _ in range(4)))
    assert await tables(empty_url) == {*Base.metadata.tables, *call_log.tables, "alembic_version"}
    await upgrade(empty_url)


async def test_models_and_migrations_say_the_same(empty_url: str) -> None:
    await upgrade(empty_url)
    done = await asyncio.to_thread(alembic, empty_url, "check")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "No new upgrade operations detected" in done.stdout
    connection = await asyncpg.connect(empty_url, timeout=30)
    try:
        await connection.execute("ALTER TABLE customer ADD COLUMN stray text")
    finally:
        await connection.close(timeout=10)
    drifted = await asyncio.to_thread(alembic, empty_url, "check")
    assert drifted.returncode != 0, "the check above would not have seen a difference"


async def test_the_command_line_goes_up_and_down(empty_url: str) -> None:
    for arguments in (("upgrade", "head"), ("downgrade", "base"), ("upgrade", "head")):
        done = await asyncio.to_thread(alembic, empty_url, *arguments)
        assert done.returncode == 0, done.stderr
    assert set(Base.metadata.tables) < await tables(empty_url)


async def test_the_constraint_that_alembic_does_not_compare_is_there(postgres_url: str) -> None:
    connection = await asyncpg.connect(postgres_url, timeout=30)
    try:
        definition = await connection.fetchval(
            "SELECT pg_get_constraintdef(oid) FROM pg_constraint WHERE conname = 'appointment_bay_once'"
        )
    finally:
        await connection.close(timeout=10)
    assert definition.startswith("EXCLUDE USING gist (bay WITH =, tstzrange(starts_at, ends_at) WITH &&)")
    assert "booked" in definition


async def test_a_schema_that_cannot_be_made_is_told_in_a_sentence() -> None:
    with pytest.raises(DatabaseAway) as told:
        await upgrade("postgresql://desk:hunter2@127.0.0.1:9/motors")
    assert "127.0.0.1:9/motors" in str(told.value)
    assert "hunter2" not in str(told.value)


async def test_seeding_twice_and_at_once_adds_nothing_and_overwrites_nothing(postgres_url: str) -> None:
    await seed(postgres_url)
    connection = await asyncpg.connect(postgres_url, timeout=30)
    try:
        await connection.execute("UPDATE service SET price_cents = 6900 WHERE name = 'oil change'")
        await asyncio.gather(seed(postgres_url), seed(postgres_url))
        assert await connection.fetchval("SELECT count(*) FROM service") == len(SERVICES)
        assert await connection.fetchval("SELECT count(*) FROM customer") == len(CUSTOMERS)
        assert await connection.fetchval("SELECT count(*) FROM vehicle") == sum(len(c[3]) for c in CUSTOMERS)
        price = await connection.fetchval("SELECT price_cents FROM service WHERE name = 'oil change'")
    finally:
        await connection.close(timeout=10)
    assert price == 6900


OLD_CALLS = """
INSERT INTO call_log (call, answered_at, ended_at, outcome) VALUES
    ('CAbooked', now(), now(), 'transferred'), ('CAmoved', now(), now(), 'lost'), ('CAtaken', now(), now(), 'failed'),
    ('CAasked', now(), now(), 'caller_hung_up'), ('CAsilent', now(), now(), 'silent'),
    ('CArang', NULL, now(), 'abandoned'), ('CAfull', NULL, now(), 'refused'), ('CAopen', now(), NULL, NULL);
INSERT INTO tool_result (key, call, tool, result, created_at) VALUES
    ('1', 'CAbooked', 'book_appointment', '{"booked": true}', now()),
    ('2', 'CAmoved', 'cancel_appointment', '{"cancelled": true}', now() - interval '2 min'),
    ('3', 'CAmoved', 'reschedule_appointment', '{"rescheduled": true}', now() - interval '1 min'),
    ('4', 'CAmoved', 'book_appointment', '{"booked": false, "error": "no"}', now()),
    ('5', 'CAtaken', 'book_appointment', '{"booked": false, "error": "no"}', now());
INSERT INTO call_transcript (call, turn, "index", speaker, text, at, interrupted) VALUES
    ('CAsilent', 1, 1, 'agent', 'Hello?', now(), false),
    ('CAasked', 2, 0, 'caller', 'open today?', now(), false), ('CAasked', 2, 1, 'agent', 'Yes.', now(), false);
"""


async def test_old_calls_keep_how_they_ended_and_learn_what_came_of_them_both_ways(empty_url: str) -> None:
    async def found(columns: str) -> dict[str, tuple[str | None, ...]]:
        calls = await connection.fetch(f"SELECT call, {columns} FROM call_log")
        return {row["call"]: tuple(row.values())[1:] for row in calls}

    assert (await asyncio.to_thread(alembic, empty_url, "upgrade", "0001")).returncode == 0
    connection = await asyncpg.connect(empty_url, timeout=30)
    try:
        await connection.execute(OLD_CALLS)
        before = await found("outcome")
        up = await asyncio.to_thread(alembic, empty_url, "upgrade", "0002")
        assert up.returncode == 0, up.stderr
        assert await found("ending, outcome") == {
            "CAbooked": ("transferred", "booked"),
            "CAmoved": ("lost", "moved"),
            "CAtaken": ("failed", "failed"),
            "CAasked": ("caller_hung_up", "answered"),
            "CAsilent": ("silent", "abandoned"),
            "CArang": ("abandoned", "abandoned"),
            "CAfull": ("refused", "failed"),
            "CAopen": (None, None),
        }
        down = await asyncio.to_thread(alembic, empty_url, "downgrade", "0001")
        assert down.returncode == 0, down.stderr
        assert await found("outcome") == before
    finally:
        await connection.close(timeout=10)
