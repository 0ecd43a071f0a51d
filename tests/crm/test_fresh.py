"""What is kept of callers stays true while Postgres, Redis and readers get in each other's way."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from typing import Any

import asyncpg
import pytest
import redis.asyncio as redis_async

from crm.cache import RedisCache
from crm.callers import CallerCache
from crm.fresh import FreshCallers
from crm.pgwork import PgWork
from crm.ports import Changed, Hearing
from crm.postgres import PostgresRecords
from tests.stall import stall_before

SARAH, TOM, STRANGER = "+13125550142", "+13125550188", "+13125550100"
RENAMED = "UPDATE customer SET preferred_name = 'Sal' WHERE name LIKE 'Sarah%'"
LIMIT_S = 30.0

Open = Callable[..., Any]


class SlowRecords(PostgresRecords):
    """Whoever reads has read, and waits before they go on until `go_on` is set, as it is at first."""

    def __init__(self, url: str) -> None:
        super().__init__(url)
        self.have_read, self.go_on = asyncio.Event(), asyncio.Event()
        self.go_on.set()

    @contextlib.asynccontextmanager
    async def work(self) -> AsyncIterator[PgWork]:
        async with super().work() as work:
            yield work
            self.have_read.set()
            await self.go_on.wait()


class ToldByHand(SlowRecords):
    """Changes are what the test puts into `told`, which is joined when they have been followed."""

    def __init__(self, url: str) -> None:
        super().__init__(url)
        self.told: asyncio.Queue[Changed] = asyncio.Queue()

    async def changes(self) -> AsyncIterator[Changed]:  # type: ignore[override]
        while True:
            yield await self.told.get()
            self.told.task_done()


class TellsNothing:
    """Records of a CRM that can't tell what changes."""

    def __init__(self, url: str) -> None:
        self._records = PostgresRecords(url)
        self.open, self.close, self.work, self.look = (
            self._records.open,
            self._records.close,
            self._records.work,
            self._records.look,
        )


@pytest.fixture
async def cache(redis_url: str) -> AsyncIterator[CallerCache]:
    """As an ingress has it."""
    async with cache_at(redis_url) as cache:
        yield cache


@contextlib.asynccontextmanager
async def cache_at(url: str, wait_s: float = 5.0) -> AsyncIterator[CallerCache]:
    redis = RedisCache(url, wait_s=wait_s, connect_s=5.0, look_s=0.02)
    await redis.open()
    try:
        yield CallerCache(redis, ttl_s=600, lease_s=60)
    finally:
        await redis.close()


@contextlib.asynccontextmanager
async def callers_of(records: Any, cache: CallerCache) -> AsyncIterator[FreshCallers]:
    await records.open()
    fresh = FreshCallers(records, cache)
    await fresh.open()
    try:
        yield fresh
    finally:
        await fresh.close()
        await records.close()


async def kept(fresh: FreshCallers, cache: CallerCache, phone: str | None = SARAH) -> None:
    """Looks a number up until it is kept: it is when changes are heard."""
    async with asyncio.timeout(LIMIT_S):
        while await cache.read(phone or "") is None:
            await fresh.look_up(phone)


async def forgotten(cache: CallerCache, number: str = SARAH) -> None:
    async with asyncio.timeout(LIMIT_S):
        while await cache.read(number) is not None:  # noqa: ASYNC110 - Redis tells nobody
            await asyncio.sleep(0.005)


async def test_what_was_looked_up_is_kept_until_somebody_changes_it(
    seeded_url: str, rows: asyncpg.Connection, cache: CallerCache
) -> None:
    async with callers_of(PostgresRecords(seeded_url), cache) as fresh:
        for phone in (SARAH, TOM, STRANGER, None):
            await kept(fresh, cache, phone)
            assert await cache.read(phone or "") == await fresh.look_up(phone)
        await rows.execute(RENAMED)
        await forgotten(cache)
        assert await cache.read(TOM) is not None
        await kept(fresh, cache)
        known = await cache.read(SARAH)
        assert known is not None
        assert known.customers[0].first_name == "Sal"
        await rows.execute("UPDATE dealership SET step_minutes = 15")
        for number in (SARAH, TOM, STRANGER, ""):
            await forgotten(cache, number)


async def test_what_was_read_before_a_change_is_not_kept_after_it(
    seeded_url: str, rows: asyncpg.Connection, redis_url: str, cache: CallerCache
) -> None:
    slow = SlowRecords(seeded_url)
    async with (
        callers_of(PostgresRecords(seeded_url), cache) as other,
        callers_of(slow, cache) as fresh,
        redis_async.Redis.from_url(redis_url) as admin,
    ):

        async def what_counts() -> list[bytes]:
            return await admin.mget("crm:caller-lease:" + SARAH, "crm:callers")

        await kept(other, cache)
        await kept(fresh, cache, TOM)
        for change in (RENAMED, "UPDATE dealership SET step_minutes = 15"):
            slow.go_on.clear()
            slow.have_read.clear()
            reading = asyncio.create_task(fresh.look_up(SARAH))
            await slow.have_read.wait()
            before = await what_counts()
            await rows.execute(change)
            async with asyncio.timeout(LIMIT_S):
                while before == await what_counts():  # noqa: ASYNC110 - Redis tells nobody
                    await asyncio.sleep(0.005)
            slow.go_on.set()
            old = await reading
            assert await cache.read(SARAH) is None, "an old value was left behind"
            await kept(fresh, cache)
            assert await cache.read(SARAH) != old


async def test_after_a_lost_connection_all_is_forgotten(
    seeded_url: str, rows: asyncpg.Connection, cache: CallerCache
) -> None:
    async with callers_of(PostgresRecords(seeded_url), cache) as fresh:
        await kept(fresh, cache)
        # In one transaction: when others see that the connection has gone, what it should have heard is committed.
        async with rows.transaction():
            await rows.execute(
                "SELECT pg_terminate_backend(pid, 10000) FROM pg_stat_activity "
                "WHERE application_name = 'trunkline-changes' AND datname = current_database()"
            )
            await rows.execute(RENAMED)
        await forgotten(cache)


async def test_while_nobody_hears_of_changes_nothing_is_kept(seeded_url: str, cache: CallerCache) -> None:
    records = ToldByHand(seeded_url)
    async with callers_of(records, cache) as fresh:
        await fresh.look_up(SARAH)
        assert await cache.read(SARAH) is None, "it is not heard yet"
        records.told.put_nowait(Hearing.HEARS)
        await kept(fresh, cache)
        records.told.put_nowait(Hearing.DEAF)
        records.told.put_nowait(frozenset({SARAH}))
        await forgotten(cache)
        await fresh.look_up(SARAH)
        assert await cache.read(SARAH) is None
        records.told.put_nowait(Hearing.HEARS)
        await kept(fresh, cache)


async def test_a_workshop_that_was_read_before_it_changed_is_read_again(
    seeded_url: str, rows: asyncpg.Connection, cache: CallerCache
) -> None:
    records = ToldByHand(seeded_url)
    async with callers_of(records, cache) as fresh:

        async def step_minutes() -> int:
            known = await fresh.look_up(TOM)
            assert known.workshop is not None
            return known.workshop.step_minutes

        records.told.put_nowait(Hearing.HEARS)
        await records.told.join()
        records.go_on.clear()
        reading = asyncio.create_task(step_minutes())
        await records.have_read.wait()
        await rows.execute("UPDATE dealership SET step_minutes = 15")
        records.told.put_nowait(Hearing.DEAF)
        records.told.put_nowait(Hearing.HEARS)
        await records.told.join()
        records.go_on.set()
        assert await reading == 30
        assert await step_minutes() == 15
        await rows.execute("UPDATE dealership SET step_minutes = 20")
        assert await step_minutes() == 15, "it is read each time, which takes most of a look-up"
        records.told.put_nowait(Hearing.DEAF)
        await records.told.join()
        assert await step_minutes() == 20


async def test_records_that_tell_no_changes_are_looked_up_each_time(
    seeded_url: str, cache: CallerCache
) -> None:
    async with callers_of(TellsNothing(seeded_url), cache) as fresh:
        known = await fresh.look_up(SARAH)
        assert known.customers
        assert await cache.read(SARAH) is None


async def test_what_changed_while_redis_hung_is_forgotten_when_it_is_back(
    seeded_url: str, rows: asyncpg.Connection, redis_url: str, cache: CallerCache
) -> None:
    async with (
        stall_before(redis_url) as (stall, url),
        cache_at(url, 0.2) as behind,
        callers_of(PostgresRecords(seeded_url), behind) as fresh,
    ):
        await kept(fresh, cache)
        stall.flowing.clear()
        await rows.execute(RENAMED)
        assert (await fresh.look_up(SARAH)).customers[0].first_name == "Sal"
        assert await cache.read(SARAH) is not None
        stall.flowing.set()
        await forgotten(cache)
        await kept(fresh, cache)


async def test_what_is_kept_is_there_while_postgres_is_not(
    seeded_url: str, rows: asyncpg.Connection, cache: CallerCache
) -> None:
    async with (
        stall_before(seeded_url) as (stall, url),
        callers_of(PostgresRecords(url, 0.2, check_s=0.1), cache) as fresh,
    ):
        await kept(fresh, cache)
        stall.flowing.clear()
        deaf = asyncio.create_task(asyncio.sleep(0.7))  # long enough for the loss to be found out
        while not deaf.done():
            assert await cache.read(SARAH) is not None
            await asyncio.sleep(0.02)
        stall.flowing.set()
        await forgotten(cache)  # something may have been missed
