"""What is known of callers, kept in Redis while it is true.

    callers = CallerCache(cache, ttl_s=900, lease_s=5)  # a `crm.cache.RedisCache`
    await callers.read("+13125550142")              # Known, or None: look it up
    lease = await callers.lease("+13125550142")     # before the records are read
    await callers.keep(lease, known)                # after: in vain if the number was forgotten meanwhile
    await callers.forget(frozenset({"+13125550142"}))

Whoever looks a number up may have read a row that is changed before they have put it into the cache. So they take a
lease first, and what they bring is kept only while that is still there: to forget a number is to remove its value and
its lease. For all numbers at once there is one generation: a value counts only while there is still the one that was
there when its lease was taken.

    crm:callers              the generation
    crm:caller:{number}      generation and `Known`, for `ttl_s`
    crm:caller-lease:{number}  the lease, for `lease_s`; those who look a number up at once share it

Generations and leases are never used twice, so a Redis that was started empty or has evicted them refuses what was
read before. The number of a caller who withheld theirs is "".
"""

import asyncio
import secrets
from typing import NamedTuple

import msgspec

from crm.cache import PREFIX, RedisCache
from crm.context import Known

GENERATION = "callers"

_LEASE = """
local generation = redis.call('GET', KEYS[1])
if not generation then
    generation = ARGV[1]
    redis.call('SET', KEYS[1], generation)
end
local lease = redis.call('GET', KEYS[2])
if not lease then
    lease = ARGV[1]
    redis.call('SET', KEYS[2], lease, 'PX', ARGV[2])
end
return {generation, lease}
"""
_KEEP = """
if redis.call('GET', KEYS[1]) ~= ARGV[1] then
    return 0
end
redis.call('SET', KEYS[2], ARGV[2], 'PX', ARGV[3])
return 1
"""


class Lease(NamedTuple):
    """That nothing was forgotten of a number since it was taken."""

    number: str
    generation: bytes
    lease: bytes


class CallerCache:
    """What is kept of callers, by number. Nothing but `forget` waits for long, and nothing raises."""

    def __init__(self, cache: RedisCache, *, ttl_s: float, lease_s: float) -> None:
        """`lease_s`: longer than a look-up may take. Who owns `cache` opens and closes it."""
        self._cache = cache
        self._ttl_ms = max(1, round(ttl_s * 1000))
        self._lease_ms = round(lease_s * 1000)
        self._take = cache.script(_LEASE)
        self._write = cache.script(_KEEP)
        self._back = asyncio.Event()
        cache.when_back(self._back.set)

    async def read(self, number: str) -> Known | None:
        """What is kept of a number; None if that is nothing, or Redis is away."""
        found = await self._cache.read([GENERATION, _value(number)])
        generation, value = found or (None, None)
        if generation is None or value is None:
            return None
        try:
            kept = msgspec.msgpack.decode(value, type=_Kept)
        except msgspec.DecodeError:
            return None  # of another version
        return kept.known if kept.generation == generation else None

    async def lease(self, number: str) -> Lease | None:
        """To be taken before the records are read. None: Redis is away."""
        keys = [PREFIX + key for key in (GENERATION, _lease(number))]
        found = await self._cache.ask(self._take, keys, [secrets.token_hex(8), self._lease_ms])
        return Lease(number, *found) if found else None

    async def keep(self, lease: Lease, known: Known) -> None:
        """Keeps what was read under a lease, if nothing was forgotten of the number since then."""
        keys = [PREFIX + key for key in (_lease(lease.number), _value(lease.number))]
        value = msgspec.msgpack.encode(_Kept(lease.generation, known))
        await self._cache.ask(self._write, keys, [lease.lease, value, self._ttl_ms])

    async def forget(self, numbers: frozenset[str] | None) -> None:
        """Forgets these, or all. Returns when that is done, however long Redis is away."""
        keys = [GENERATION]
        if numbers is not None:
            keys = [key(number) for number in numbers for key in (_value, _lease)]
        while keys:
            self._back.clear()
            if await self._cache.remove(keys):
                return
            await self._back.wait()


class _Kept(msgspec.Struct, frozen=True, array_like=True):
    generation: bytes
    known: Known


def _value(number: str) -> str:
    return f"caller:{number}"


def _lease(number: str) -> str:
    return f"caller-lease:{number}"
