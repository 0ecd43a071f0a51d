"""What the crm has looked up, kept in Redis for all processes: small values, gone after their time.

    cache = RedisCache(url, wait_s=0.02, connect_s=2.0, look_s=0.25)
    await cache.open()
    await cache.put("car:1HGCM826", b"...", ttl_s=86400)
    await cache.get("car:1HGCM826")    # b"...", or None

A cache can't fail: without Redis nothing is found and nothing kept, and nobody waits for longer than `wait_s`. The
first who is not answered in time finds out for all others; from then on each ask ends at once, until Redis is back.

So a `drop` may be in vain, while Redis is away. Give what can change a time after which it may be wrong no longer.
"""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, Protocol

import structlog

from engine.clock import outside
from engine.redis_client import LOST, RedisClient, Script, SessionAway

_log = structlog.get_logger(__name__)

PREFIX = "crm:"  # sessions of calls are in the same Redis


class Cache(Protocol):
    """Where answers are kept. None of these raises, and none waits long."""

    async def get(self, key: str) -> bytes | None:
        """What was put there, or None."""

    async def put(self, key: str, value: bytes, ttl_s: float) -> None:
        """Keeps `value` for `ttl_s` seconds."""

    async def drop(self, keys: list[str]) -> None:
        """Forgets these."""


class NoCache:
    """Keeps nothing."""

    async def get(self, key: str) -> bytes | None:
        """None."""
        return None

    async def put(self, key: str, value: bytes, ttl_s: float) -> None:
        """Does nothing."""

    async def drop(self, keys: list[str]) -> None:
        """Does nothing."""


class RedisCache(RedisClient):
    """A `Cache` in Redis; keys of ours begin with `crm:` there."""

    def __init__(self, url: str, *, wait_s: float, connect_s: float, look_s: float) -> None:
        """An answer is waited for `wait_s`. While Redis is away it is looked for each `look_s`, and may then take
        `connect_s` to be connected to, as nobody waits for that.
        """
        super().__init__(url, read_s=connect_s, in_time_s=wait_s, look_s=look_s)
        self._wait_s = wait_s

    async def open(self) -> None:
        """Connects, so that the first who asks does not wait for that. Without Redis it starts all the same."""
        try:
            await self.probe()
        except SessionAway as error:
            _log.warning("no_cache", why=str(error))

    async def get(self, key: str) -> bytes | None:
        """What was put there; None when there is nothing, or no Redis."""
        value = await self.ask(self._redis.get, PREFIX + key)
        return value if isinstance(value, bytes) else None

    async def put(self, key: str, value: bytes, ttl_s: float) -> None:
        """Keeps `value` for `ttl_s` seconds, at least a millisecond."""
        await self.ask(self._redis.set, PREFIX + key, value, px=max(1, round(ttl_s * 1000)))

    async def drop(self, keys: list[str]) -> None:
        """Forgets these."""
        if keys:
            await self.remove(keys)

    def script(self, text: str) -> Script:
        """A script of whoever needs more than `Cache` has, for `ask`."""
        return Script(self._redis, text)

    async def read(self, keys: list[str]) -> list[bytes | None] | None:
        """What is under several keys, as it is at one moment; None without Redis."""
        found: list[bytes | None] | None = await self.ask(self._redis.mget, [PREFIX + key for key in keys])
        return found

    async def remove(self, keys: list[str]) -> bool:
        """`drop` for who must know: whether Redis has forgotten them."""
        return await self.ask(self._redis.delete, *(PREFIX + key for key in keys)) is not None

    async def ask(self, ask: Callable[..., Awaitable[Any]], *args: Any, **named: Any) -> Any:
        """Redis's answer; None without Redis."""
        if self._reach.away:
            return None
        try:
            async with asyncio.timeout(self._wait_s):
                return await outside(ask(*args, **named))
        except LOST as error:
            self._reach.missed(type(error).__name__)
            return None
