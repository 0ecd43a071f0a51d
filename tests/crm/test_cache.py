"""The cache, on a real Valkey: there, gone, and hanging."""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator

import redis.asyncio as redis_async

from crm.cache import PREFIX, NoCache, RedisCache
from tests.refusing import no_writes
from tests.stall import stall_before

NOBODY_LISTENS = "redis://127.0.0.1:9/0"
WAIT_S = 0.05
LIMIT_S = 30.0


@contextlib.asynccontextmanager
async def cache_at(url: str, wait_s: float = 5.0) -> AsyncIterator[RedisCache]:
    cache = RedisCache(url, wait_s=wait_s, connect_s=5.0, look_s=0.02)
    await cache.open()
    try:
        yield cache
    finally:
        await cache.close()


async def test_what_was_put_is_got_by_another_process(redis_url: str) -> None:
    async with cache_at(redis_url) as one, cache_at(redis_url) as other:
        await one.put("car:1", b"\x00a Civic", 60)
        assert await other.get("car:1") == b"\x00a Civic"
        assert await other.get("car:2") is None


async def test_what_was_dropped_is_gone(redis_url: str) -> None:
    async with cache_at(redis_url) as cache:
        for key in ("a", "b", "c"):
            await cache.put(key, b"x", 60)
        await cache.drop(["a", "b", "never put"])
        await cache.drop([])
        assert [await cache.get(key) for key in ("a", "b", "c")] == [None, None, b"x"]


async def test_each_value_has_its_time_and_a_key_that_no_session_has(redis_url: str) -> None:
    async with cache_at(redis_url) as cache, redis_async.Redis.from_url(redis_url) as admin:
        await cache.put("call:CA1", b"x", 90)
        await cache.put("short", b"x", 0.0)
        assert 60_000 < await admin.pttl(f"{PREFIX}call:CA1") <= 90_000
        assert not await admin.exists("call:CA1")
        async with asyncio.timeout(LIMIT_S):
            while await cache.get("short") is not None:  # noqa: ASYNC110 - Redis tells nobody
                await asyncio.sleep(0.001)


async def test_without_a_redis_nothing_is_kept_and_nothing_raises() -> None:
    for cache in (NoCache(), RedisCache(NOBODY_LISTENS, wait_s=5, connect_s=5, look_s=60)):
        await cache.put("a", b"x", 60)
        await cache.drop(["a"])
        assert await cache.get("a") is None
        if isinstance(cache, RedisCache):
            await cache.close()


async def test_a_redis_that_hangs_is_waited_for_once_and_used_again_when_it_is_back(redis_url: str) -> None:
    async with stall_before(redis_url) as (stall, url), cache_at(url, WAIT_S) as cache:
        stall.flowing.clear()
        await cache.put("a", b"lost", 60)
        began = time.monotonic()
        for _ in range(200):
            assert await cache.get("a") is None
        assert time.monotonic() - began < 100 * WAIT_S, "each of them waited"

        stall.flowing.set()
        async with asyncio.timeout(LIMIT_S):
            while await cache.get("b") is None:
                await cache.put("b", b"x", 60)
                await asyncio.sleep(0.01)


async def test_an_answer_that_came_too_late_is_not_taken_for_the_next_one(redis_url: str) -> None:
    async with stall_before(redis_url) as (stall, url), cache_at(url, WAIT_S) as cache:
        await cache.put("mine", b"mine", 60)
        await cache.put("theirs", b"theirs", 60)
        stall.flowing.clear()
        assert await cache.get("mine") is None
        stall.flowing.set()
        async with asyncio.timeout(LIMIT_S):
            while (got := await cache.get("theirs")) is None:  # noqa: ASYNC110 - it may be away for a while yet
                await asyncio.sleep(0.01)
        assert got == b"theirs"


async def test_a_redis_that_takes_no_writes_is_no_cache_and_no_error(redis_url: str) -> None:
    async with cache_at(redis_url) as cache, no_writes(redis_url):
        await cache.put("a", b"x", 60)
        assert await cache.get("a") is None


async def test_a_caller_who_is_cut_off_while_asking_is_cut_off(redis_url: str) -> None:
    async with stall_before(redis_url) as (stall, url), cache_at(url) as cache:
        stall.flowing.clear()
        asking = asyncio.create_task(cache.get("a"))
        await asyncio.sleep(0.01)
        asking.cancel()
        await asyncio.wait([asking], timeout=LIMIT_S)
        assert asking.cancelled()
