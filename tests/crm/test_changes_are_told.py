"""Whoever changes what is known of a caller tells it, on a real Postgres: whose numbers, and how often."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from typing import Any

import asyncpg
import pytest

from crm.pgchanges import CHANNEL, changes
from crm.ports import Changed, Hearing
from tests.stall import stall_before

SARAH, SARAHS_OTHER = "+13125550142", "+13125550143"
JAMES, MARIA, TOM, SHARED = "+13125550117", "+13125550163", "+13125550188", "+13125550175"
NEW, LAST = "+13125550199", "+13125550198"
LIMIT_S = 30.0

Told = Callable[..., Any]


@pytest.fixture
async def told(seeded_url: str, rows: asyncpg.Connection) -> AsyncIterator[Told]:
    """Runs statements in one transaction and returns the payloads that others heard of it."""
    listener = await asyncpg.connect(seeded_url, timeout=30)
    heard: asyncio.Queue[str] = asyncio.Queue()
    await listener.add_listener(CHANNEL, lambda *told: heard.put_nowait(told[-1]))

    async def run(*statements: str, sender: asyncpg.Connection = rows) -> list[str]:
        async with sender.transaction():
            for statement in statements:
                await sender.execute(statement)
        await sender.execute(f"NOTIFY {CHANNEL}, 'the end'")
        payloads = []
        async with asyncio.timeout(LIMIT_S):
            while (payload := await heard.get()) != "the end":
                payloads.append(payload)
        return payloads

    try:
        yield run
    finally:
        await listener.close(timeout=10)


def numbers(payloads: list[str]) -> set[str]:
    return {number for payload in payloads for number in payload.split(",")}


def of(name: str) -> str:
    return f"(SELECT id FROM customer WHERE name = '{name}')"


def car(model: str) -> str:
    return f"(SELECT id FROM vehicle WHERE model = '{model}')"


SARAHS, OLD_PHONES = "name LIKE 'Sarah%'", {SARAH, SARAHS_OTHER}
CHANGES = [  # one after the other
    (f"UPDATE customer SET preferred_name = 'Sal' WHERE {SARAHS}", OLD_PHONES),
    ("UPDATE customer SET since = since - 1 WHERE name LIKE '% Raman'", {SHARED}),
    ("INSERT INTO customer (name, since) VALUES ('Nobody', 2026)", set()),
    ("UPDATE customer SET since = 2000 WHERE name = 'Nobody'", set()),
    ("INSERT INTO call_epoch (call, epoch) VALUES ('CA1', 1)", set()),
    (f"INSERT INTO customer_phone SELECT '{NEW}', id FROM customer WHERE {SARAHS}", {*OLD_PHONES, NEW}),
    (f"UPDATE customer_phone SET phone = '{LAST}' WHERE phone = '{NEW}'", {*OLD_PHONES, NEW, LAST}),
    (
        f"UPDATE customer_phone SET customer_id = {of('Maria Delgado')} WHERE phone = '{LAST}'",
        {*OLD_PHONES, LAST, MARIA},
    ),
    (f"DELETE FROM customer_phone WHERE phone = '{LAST}'", {LAST, MARIA}),
    (
        f"INSERT INTO vehicle (customer_id, year, make, model) VALUES ({of('Thomas Brandt')}, 2020, 'Kia', 'Rio')",
        {TOM},
    ),
    ("UPDATE vehicle SET mileage = 70200 WHERE model = 'RAV4'", {MARIA}),
    (f"UPDATE vehicle SET customer_id = {of('Thomas Brandt')} WHERE model = 'Civic'", {*OLD_PHONES, TOM}),
    (
        f"INSERT INTO service_visit (vehicle_id, service, visited_on) VALUES ({car('Rio')}, 'a wash', now())",
        {TOM},
    ),
    ("UPDATE service_visit SET visited_on = visited_on - 1 WHERE service = 'brake inspection'", {JAMES}),
    (f"UPDATE service_visit SET vehicle_id = {car('RAV4')} WHERE service = 'a wash'", {TOM, MARIA}),
    ("DELETE FROM service_visit WHERE service = 'brake inspection'", {JAMES}),
    ("DELETE FROM vehicle WHERE model = 'Civic'", {TOM}),
    (f"INSERT INTO opt_out (phone, kind) VALUES ('{NEW}', 'greeting')", {NEW}),
    (f"UPDATE opt_out SET phone = '{LAST}'", {NEW, LAST}),
    ("DELETE FROM opt_out", {LAST}),
    (f"DELETE FROM customer WHERE {SARAHS}", OLD_PHONES),
    ("TRUNCATE opt_out", {"all"}),
    ("TRUNCATE customer CASCADE", {"all"}),
]
OF_THE_WORKSHOP = [
    "UPDATE dealership SET step_minutes = 15",
    "DELETE FROM working_hours WHERE weekday = 5",
    "DELETE FROM holiday WHERE name = 'Christmas Day'",
    "INSERT INTO closure (starts_at, ends_at) VALUES (now(), now() + interval '1 day')",
    "UPDATE bay SET active = false",
    "UPDATE technician SET name = 'Al' WHERE id = 1",
    "INSERT INTO skill VALUES ('welding')",
    "DELETE FROM technician_skill",
    "UPDATE service_type SET price_from_cents = 100 WHERE name = 'oil change'",
    "DELETE FROM service_skill",
]


async def test_a_change_tells_whose_numbers(told: Told) -> None:
    for statement, whose in CHANGES:
        assert numbers(await told(statement)) == whose, statement


async def test_the_workshop_is_part_of_what_is_known_of_everybody(told: Told) -> None:
    for statement in OF_THE_WORKSHOP:
        assert await told(statement) == ["all"], statement


async def test_what_is_not_committed_is_not_told(told: Told, rows: asyncpg.Connection) -> None:
    with contextlib.suppress(ZeroDivisionError):
        async with rows.transaction():
            await rows.execute("UPDATE customer SET name = 'X'")
            raise ZeroDivisionError
    statements = ("SAVEPOINT s", "UPDATE customer SET name = 'X'", "ROLLBACK TO s")
    assert await told(*statements, "UPDATE customer SET since = 2000 WHERE name LIKE 'Tom%'") == []
    assert await told("UPDATE customer SET since = 2000 WHERE name LIKE 'Thomas%'") == [TOM]


# ------------------------------------------------------------ many at once


def many(count: int) -> tuple[str, ...]:
    """An import: so many customers, each with the longest number that there is, a car and a visit."""
    return (
        f"INSERT INTO customer (name, since) SELECT 'Customer ' || n, 2026 FROM generate_series(1, {count}) n",
        "INSERT INTO customer_phone SELECT '+99' || lpad(id::text, 13, '0'), id FROM customer WHERE name LIKE 'C%'",
        "INSERT INTO vehicle (customer_id, year, make, model) "
        "SELECT id, 2020, 'Kia', 'Rio' FROM customer WHERE name LIKE 'C%'",
        "INSERT INTO service_visit (vehicle_id, service, visited_on) "
        "SELECT id, 'oil change', '2026-01-02' FROM vehicle WHERE model = 'Rio'",
    )


async def test_an_import_of_a_hundred_thousand_rows_is_told_in_one_word(told: Told) -> None:
    assert await told(*many(25_000)) == ["all"]


async def test_as_many_numbers_as_are_told_one_by_one_fit_into_what_postgres_takes(
    told: Told, rows: asyncpg.Connection
) -> None:
    await told(*many(400))
    [payload] = await told("UPDATE customer SET since = 2025 WHERE name LIKE 'Customer %'")
    assert len(payload.split(",")) == 400
    assert len(payload) < 8000


async def test_an_import_row_by_row_tells_some_hundred_numbers_and_then_all(told: Told) -> None:
    await told(*many(1000))
    one_by_one = [f"UPDATE customer SET since = 2025 WHERE name = 'Customer {n}'" for n in range(1, 1001)]
    payloads = await told(*one_by_one)
    assert len(payloads) == 401
    assert payloads[-1] == "all"
    assert len(await told(one_by_one[0])) == 1, "the next transaction counts anew"


async def test_a_savepoint_that_is_taken_back_does_not_silence_the_rest(told: Told) -> None:
    await told(*many(500))
    everyone = "UPDATE customer SET since = 2025 WHERE name LIKE 'Customer %'"
    one = "UPDATE customer SET since = 2024 WHERE name LIKE 'Thomas%'"
    assert await told("SAVEPOINT s", everyone, "ROLLBACK TO s", one) == [TOM]


async def test_no_number_is_too_long_to_be_written(told: Told) -> None:
    assert await told(f"INSERT INTO opt_out (phone, kind) VALUES ('{'9' * 9000}', 'greeting')") == ["all"]


async def test_who_may_only_write_visits_can_write_them(told: Told, rows: asyncpg.Connection) -> None:
    await rows.execute("CREATE ROLE visits_only")
    try:
        await rows.execute("GRANT SELECT (id), INSERT ON service_visit TO visits_only")
        rio = await rows.fetchval("SELECT id FROM vehicle WHERE model = 'RAV4'")
        visit = f"INSERT INTO public.service_visit (vehicle_id, service, visited_on) VALUES ({rio}, 'a wash', now())"
        assert await told("SET LOCAL ROLE visits_only", "SET LOCAL search_path = pg_catalog", visit) == [
            MARIA
        ]
    finally:
        await rows.execute("DROP OWNED BY visits_only")
        await rows.execute("DROP ROLE visits_only")


# ------------------------------------------------------------ hearing it


@contextlib.asynccontextmanager
async def hearing(url: str, limit_s: float = 5.0, check_s: float = 60.0) -> AsyncIterator[Callable[[], Any]]:
    """Gives what comes next."""
    async with contextlib.aclosing(changes(url, limit_s, check_s)) as told:  # type: ignore[type-var]

        async def following() -> Changed:
            async with asyncio.timeout(LIMIT_S):
                return await anext(told)

        yield following


async def test_changes_are_heard_after_it_is_said_that_they_are(
    seeded_url: str, rows: asyncpg.Connection
) -> None:
    async with hearing(seeded_url) as following:
        assert await following() is Hearing.HEARS
        await rows.execute("UPDATE vehicle SET mileage = 1 WHERE model = 'RAV4'")
        assert await following() == {MARIA}
        await rows.execute("UPDATE dealership SET step_minutes = 15")
        assert await following() is Hearing.HEARS


async def test_what_waits_to_be_fetched_is_fetched_at_once(seeded_url: str, rows: asyncpg.Connection) -> None:
    async with hearing(seeded_url) as following:
        await following()
        for first in range(0, 1500, 100):
            listed = ", ".join(f"('+999{n:06}', 'greeting')" for n in range(first, first + 100))
            await rows.execute(f"INSERT INTO opt_out (phone, kind) VALUES {listed}")
        seen: set[str] = set()
        while (told := await following()) is not Hearing.HEARS and len(seen) < 1500:
            seen |= told
        assert told is Hearing.HEARS, "it would have grown for ever"


async def test_a_connection_that_was_lost_is_told_and_made_again(
    seeded_url: str, rows: asyncpg.Connection
) -> None:
    async with hearing(seeded_url) as following:
        assert await following() is Hearing.HEARS
        for _ in range(2):
            await rows.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
                "WHERE application_name = 'trunkline-changes' AND datname = current_database()"
            )
            assert await following() is Hearing.DEAF
            assert await following() is Hearing.HEARS
        await rows.execute("UPDATE vehicle SET mileage = 1 WHERE model = 'RAV4'")
        assert await following() == {MARIA}


async def test_a_connection_that_hangs_is_found_out(seeded_url: str, rows: asyncpg.Connection) -> None:
    async with stall_before(seeded_url) as (stall, url), hearing(url, limit_s=0.3, check_s=0.1) as following:
        assert await following() is Hearing.HEARS
        stall.flowing.clear()
        assert await following() is Hearing.DEAF
        stall.flowing.set()
        while await following() is not Hearing.HEARS:
            pass


async def test_a_quiet_connection_is_kept(seeded_url: str, rows: asyncpg.Connection) -> None:
    async with hearing(seeded_url, check_s=0.02) as following:
        assert await following() is Hearing.HEARS
        next_one = asyncio.create_task(following())
        await asyncio.wait([next_one], timeout=0.5)
        assert not next_one.done(), "it was given up although it heard itself"
        await rows.execute("UPDATE vehicle SET mileage = 1 WHERE model = 'RAV4'")
        assert await next_one == {MARIA}


async def test_a_postgres_that_is_not_there_is_looked_for_again_and_again() -> None:
    async with hearing("postgresql://nobody@127.0.0.1:9/none") as following:
        assert [await following() for _ in range(3)] == [Hearing.DEAF] * 3
