"""What is kept of callers, on a real Valkey: kept while it is true, and only then."""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator

import redis.asyncio as redis_async

from crm.cache import RedisCache
from crm.callers import CallerCache
from crm.context import Known
from crm.demo_data import workshop
from crm.records import CustomerRecord, LastService, VehicleRecord
from tests.refusing import no_writes
from tests.stall import stall_before

SARAH, TOM = "+13125550142", "+13125550188"
LIMIT_S = 30.0
WAIT_S = 0.05
KNOWN = Known(
    (
        CustomerRecord(
            1,
            "Sarah Mitchell",
            2020,
            "Sarah",
            (SARAH,),
            (VehicleRecord(1, 2022, "Honda", "Civic", "2HGFE2F58NH512345", 41200),),
            LastService("oil change", workshop().holidays[0].day, 1),
        ),
    ),
    frozenset({"contact"}),
    workshop(),
)
NEWER = Known((CustomerRecord(1, "Sarah Brandt", 2020),))


@contextlib.asynccontextmanager
async def cache_at(
    url: str, *, ttl_s: float = 60.0, lease_s: float = 60.0, wait_s: float = 5.0
) -> AsyncIterator[CallerCache]:
    cache = RedisCache(url, wait_s=wait_s, connect_s=5.0, look_s=0.02)
    await cache.open()
    try:
        yield CallerCache(cache, ttl_s=ttl_s, lease_s=lease_s)
    finally:
        await cache.close()


async def keep(cache: CallerCache, number: str = SARAH, known: Known = KNOWN) -> None:
    lease = await cache.lease(number)
    assert lease is not None
    await cache.keep(lease, known)


async def test_what_is_kept_is_read_by_another_process_as_it_was(redis_url: str) -> None:
    async with cache_at(redis_url) as one, cache_at(redis_url) as other:
        assert await other.read(SARAH) is None
        await keep(one)
        await keep(one, "", Known(workshop=workshop()))
        assert await other.read(SARAH) == KNOWN
        assert await other.read("") == Known(workshop=workshop())
        assert await other.read(TOM) is None


async def test_what_is_forgotten_is_gone_and_the_rest_is_kept(redis_url: str) -> None:
    async with cache_at(redis_url) as cache:
        await keep(cache)
        await keep(cache, TOM)
        await cache.forget(frozenset({SARAH, "+19995550100"}))
        await cache.forget(frozenset())
        assert await cache.read(SARAH) is None
        assert await cache.read(TOM) == KNOWN
        await cache.forget(None)
        assert await cache.read(TOM) is None
        await keep(cache)
        assert await cache.read(SARAH) == KNOWN


async def test_what_was_read_before_the_number_was_forgotten_is_not_kept(redis_url: str) -> None:
    async with cache_at(redis_url) as reader, cache_at(redis_url) as dropper:
        for forgotten in (frozenset({SARAH}), None):
            lease = await reader.lease(SARAH)
            assert lease is not None
            await dropper.forget(forgotten)
            await reader.keep(lease, KNOWN)
            assert await reader.read(SARAH) is None, f"{forgotten} left an old value behind"
            newer = await reader.lease(SARAH)
            assert newer is not None
            await reader.keep(lease, KNOWN)
            assert await reader.read(SARAH) is None, "an old lease counts as the newer one"
            await reader.keep(newer, NEWER)
            assert await reader.read(SARAH) == NEWER


async def test_those_who_read_at_once_share_a_lease_and_lose_it_together(redis_url: str) -> None:
    async with cache_at(redis_url) as one, cache_at(redis_url) as other:
        first, second = await one.lease(SARAH), await other.lease(SARAH)
        assert first is not None
        assert first == second
        await one.keep(first, KNOWN)
        assert await one.read(SARAH) == KNOWN
        await one.forget(frozenset({SARAH}))
        assert second is not None
        await other.keep(second, KNOWN)
        assert await other.read(SARAH) is None


async def test_a_redis_that_was_started_empty_keeps_nothing_that_was_read_before(redis_url: str) -> None:
    async with cache_at(redis_url) as cache, redis_async.Redis.from_url(redis_url) as admin:
        lease = await cache.lease(SARAH)
        assert lease is not None
        await admin.flushdb()
        await cache.keep(lease, KNOWN)
        assert await cache.read(SARAH) is None
        await keep(cache)
        await admin.delete("crm:callers")  # evicted
        assert await cache.read(SARAH) is None


async def test_who_took_too_long_to_read_keeps_nothing(redis_url: str) -> None:
    async with (
        cache_at(redis_url, lease_s=0.01) as cache,
        redis_async.Redis.from_url(redis_url) as admin,
    ):
        lease = await cache.lease(SARAH)
        assert lease is not None
        async with asyncio.timeout(LIMIT_S):
            while await admin.exists(f"crm:caller-lease:{SARAH}"):  # noqa: ASYNC110 - Redis tells nobody
                await asyncio.sleep(0.005)
        await cache.keep(lease, KNOWN)
        assert await cache.read(SARAH) is None


async def test_what_is_kept_has_its_time(redis_url: str) -> None:
    async with cache_at(redis_url, ttl_s=90) as cache, redis_async.Redis.from_url(redis_url) as admin:
        await keep(cache)
        assert 60_000 < await admin.pttl(f"crm:caller:{SARAH}") <= 90_000


async def test_what_another_version_wrote_is_looked_up_again(redis_url: str) -> None:
    async with cache_at(redis_url) as cache, redis_async.Redis.from_url(redis_url) as admin:
        for garbage in (b"", b"\xff\xff", b"\x92\xc4\x01x\x80", b"[]"):
            await keep(cache)
            await admin.set(f"crm:caller:{SARAH}", garbage)
            assert await cache.read(SARAH) is None


async def test_nobody_waits_for_a_redis_that_hangs_but_who_forgets(redis_url: str) -> None:
    async with (
        stall_before(redis_url) as (stall, url),
        cache_at(url, wait_s=WAIT_S) as cache,
        cache_at(redis_url) as other,
    ):
        await keep(other)
        stall.flowing.clear()
        began = time.monotonic()
        for _ in range(200):
            assert await cache.read(SARAH) is None
            assert await cache.lease(SARAH) is None
        assert time.monotonic() - began < 100 * WAIT_S, "each of them waited"

        forgetting = asyncio.create_task(cache.forget(frozenset({SARAH})))
        done, _ = await asyncio.wait([forgetting], timeout=3 * WAIT_S)
        assert not done, "nothing can have been forgotten"
        assert await other.read(SARAH) == KNOWN
        stall.flowing.set()
        async with asyncio.timeout(LIMIT_S):
            await forgetting
        assert await other.read(SARAH) is None


async def test_what_a_redis_without_room_refuses_to_forget_is_forgotten_later(redis_url: str) -> None:
    async with cache_at(redis_url) as cache, cache_at(redis_url) as other:
        await keep(cache)
        lease = await cache.lease(SARAH)
        async with no_writes(redis_url):
            assert lease is not None
            await cache.keep(lease, NEWER)
            assert await other.read(SARAH) == KNOWN
            forgetting = asyncio.create_task(cache.forget(None))
            await asyncio.wait([forgetting], timeout=0.2)
        async with asyncio.timeout(LIMIT_S):
            await forgetting
        assert await other.read(SARAH) is None
