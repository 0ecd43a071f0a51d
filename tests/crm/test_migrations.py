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

from crm import demo_data
from crm.database import DatabaseAway
from crm.demo_data import CUSTOMERS
from crm.migrate import upgrade
from crm.models import Base
from crm.seed import seed
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


@pytest.mark.parametrize("what", ["bay", "technician"])
async def test_the_constraint_that_alembic_does_not_compare_is_there(postgres_url: str, what: str) -> None:
    connection = await asyncpg.connect(postgres_url, timeout=30)
    try:
        definition = await connection.fetchval(
            "SELECT pg_get_constraintdef(oid) FROM pg_constraint WHERE conname = $1",
            f"appointment_{what}_once",
        )
    finally:
        await connection.close(timeout=10)
    span = "tstzrange(starts_at, ends_at) WITH &&"
    assert definition.startswith(f"EXCLUDE USING gist ({what}_id WITH =, {span})")
    assert "booked" in definition


IN_USE = """
INSERT INTO service (name, minutes, price_cents) VALUES ('oil change', 30, 5900), ('brake inspection', 60, 8900);
INSERT INTO customer (phone, name, since) VALUES ('+13125550142', 'Sarah Mitchell', 2020), ('anonymous', 'Al', 2021);
INSERT INTO vehicle (customer_id, year, make, model, vin) VALUES (1, 2022, 'Honda', 'Civic', '2HGFE2F58NH512345');
INSERT INTO service_visit (vehicle_id, service, visited_on) VALUES (1, 'oil change', '2026-03-15');
INSERT INTO appointment (customer_id, phone, name, call, service, starts_at, ends_at, bay, status) VALUES
  (1, '+13125550142', 'Sarah Mitchell', 'CA1', 'oil change', '2026-12-01 09:00+00', '2026-12-01 09:30+00', 1, 'booked'),
  (1, '+13125550142', 'Sarah Mitchell', 'CA1', 'oil change', '2026-12-01 09:00+00', '2026-12-01 09:30+00', 2, 'booked'),
  (NULL, NULL, 'Bo', 'CA2', 'a detail', '2026-12-01 09:00+00', '2026-12-01 10:00+00', 2, 'cancelled');
INSERT INTO tool_result (key, call, tool, result) VALUES ('K', 'CA1', 'book_appointment', '{"booked": true}');
INSERT INTO call_epoch (call, epoch) VALUES ('CA1', 3);
"""
OLD_ROWS = (
    "SELECT customer_id, phone, name, call, service, starts_at, ends_at, bay, status FROM appointment "
    "ORDER BY id"
)


async def test_a_database_in_use_goes_up_and_down_and_keeps_what_it_has(empty_url: str) -> None:
    async def run(*arguments: str) -> None:
        done = await asyncio.to_thread(alembic, empty_url, *arguments)
        assert done.returncode == 0, done.stderr

    await run("upgrade", "0001")
    connection = await asyncpg.connect(empty_url, timeout=30)
    try:
        await connection.execute(IN_USE)
        before = await connection.fetch(OLD_ROWS)
        await run("upgrade", "head")
        await seed(empty_url)  # leaves what is there
        up = await connection.fetch(
            "SELECT a.name, s.name, s.minutes, b.name, a.status FROM appointment a JOIN service_type s ON "
            "s.id = a.service_type_id JOIN bay b ON b.id = a.bay_id ORDER BY a.id"
        )
        assert [tuple(row) for row in up] == [
            ("Sarah Mitchell", "oil change", 30, "1", "booked"),
            ("Sarah Mitchell", "oil change", 30, "2", "booked"),
            ("Bo", "a detail", 60, "2", "cancelled"),
        ]
        phones = await connection.fetch("SELECT customer_id, phone FROM customer_phone WHERE customer_id < 3")
        assert [tuple(row) for row in phones] == [(1, "+13125550142")]
        assert await connection.fetchval("SELECT count(*) FROM technician") == 2
        assert await connection.fetchval("SELECT count(*) FROM working_hours") == 6
        prices = "SELECT price_from_cents, price_to_cents FROM service_type WHERE name = 'oil change'"
        assert tuple(await connection.fetchrow(prices)) == (5900, 5900)
        assert await connection.fetchval("SELECT arguments_hash FROM tool_result") is None
        await run("downgrade", "0001")
        assert await connection.fetch(OLD_ROWS) == before
        numbers = await connection.fetch("SELECT phone FROM customer WHERE id < 3 ORDER BY id")
        assert [row[0] for row in numbers] == ["+13125550142", "none:2"]
        await run("downgrade", "base")
        assert await tables(empty_url) == {"alembic_version"}
    finally:
        await connection.close(timeout=10)


async def test_a_seeded_database_goes_down_and_up(empty_url: str) -> None:
    await upgrade(empty_url)
    await seed(empty_url)
    for arguments in (("downgrade", "base"), ("upgrade", "head")):
        done = await asyncio.to_thread(alembic, empty_url, *arguments)
        assert done.returncode == 0, done.stderr


async def test_a_schema_that_cannot_be_made_is_told_in_a_sentence() -> None:
    with pytest.raises(DatabaseAway) as told:
        await upgrade("postgresql://desk:hunter2@127.0.0.1:9/motors")
    assert "127.0.0.1:9/motors" in str(told.value)
    assert "hunter2" not in str(told.value)


async def test_seeding_twice_and_at_once_adds_nothing_and_overwrites_nothing(postgres_url: str) -> None:
    await seed(postgres_url)
    connection = await asyncpg.connect(postgres_url, timeout=30)
    try:
        await connection.execute("UPDATE service_type SET price_to_cents = 8900 WHERE name = 'oil change'")
        await asyncio.gather(seed(postgres_url), seed(postgres_url))
        workshop = demo_data.workshop()
        assert await connection.fetchval("SELECT count(*) FROM service_type") == len(workshop.services)
        assert await connection.fetchval("SELECT count(*) FROM customer") == len(CUSTOMERS)
        assert await connection.fetchval("SELECT count(*) FROM vehicle") == sum(
            len(c.cars) for c in CUSTOMERS
        )
        price = await connection.fetchval("SELECT price_to_cents FROM service_type WHERE name = 'oil change'")
    finally:
        await connection.close(timeout=10)
    assert price == 8900


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
