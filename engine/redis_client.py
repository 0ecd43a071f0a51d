"""Redis as sessions ask it: scripts, answers within a deadline, and what is known of whether it is there.

Its own error is `SessionAway`: Redis can't be reached, is too slow, or refuses.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import redis.asyncio as redis_async
from redis.exceptions import ConnectionError as ConnectionLost
from redis.exceptions import NoScriptError, RedisError

from engine.clock import outside
from engine.reach import Reach

MAX_CONNECTIONS = 1000  # with 100 as by default, a crowd fails that waits for a slow Redis
PROBE, PROBE_S = "trunkline:probe", 60  # a key that is written to see whether writes are taken
LOST = (TimeoutError, RedisError, OSError)  # what may come of asking a Redis that is away


class SessionAway(Exception):
    """Redis can't be reached, is too slow, or refuses."""


async def probe(client: redis_async.Redis) -> None:
    """Raises one of `LOST` when Redis takes no writes: one with a full disk, too little memory or no replicas, or that
    is itself a replica now, answers a PING all the same.
    """
    await client.set(PROBE, b"", ex=PROBE_S)


class Script:
    """A script, sent by its digest on a connection of the client's: the client's own way costs as much CPU as the rest.

    That way is taken if Redis does not have the script, or the connection is lost; it may have been run, so
    each must bear to be run again.
    """

    def __init__(self, client: redis_async.Redis, text: str) -> None:
        self._pool = client.connection_pool
        self._registered = client.register_script(text)

    async def __call__(self, keys: Sequence[str], args: Sequence[bytes | str | float] = ()) -> Any:
        connection = await self._pool.get_connection()  # type: ignore[no-untyped-call]
        try:
            await connection.send_command("EVALSHA", self._registered.sha, len(keys), *keys, *args)
            return await connection.read_response()
        except (NoScriptError, ConnectionLost):
            pass
        finally:
            await self._pool.release(connection)
        return await self._registered(keys=keys, args=args)


class RedisClient:
    """One Redis over one connection pool, for a class that knows what to ask it."""

    def __init__(self, url: str, *, read_s: float, in_time_s: float, look_s: float) -> None:
        """An answer is waited for `read_s`; one that takes longer than `in_time_s` is too late for a write. `look_s` is
        between two looks at whether Redis is back.
        """
        # Each command here has a deadline; the client's own would be a task for each write on the socket.
        self._redis = redis_async.Redis.from_url(
            url,
            socket_timeout=None,
            socket_connect_timeout=read_s,
            health_check_interval=15,
            max_connections=MAX_CONNECTIONS,
        )
        self._read_s = read_s
        self._reach = Reach("redis", self._look, LOST, in_time_s=in_time_s, silent_s=read_s, pause_s=look_s)
        self.when_back = self._reach.when_back

    async def close(self) -> None:
        """Closes the connections."""
        await self._reach.close()
        await self._redis.aclose()

    @property
    def is_silent(self) -> bool:
        """Whether Redis has not answered for so long that nobody waits for it."""
        return self._reach.silent

    async def probe(self) -> None:
        """Raises `SessionAway` when Redis doesn't answer, or takes no writes."""
        await self._answer(probe, self._redis)

    async def _look(self) -> None:
        async with asyncio.timeout(self._read_s):
            await outside(probe(self._redis))

    async def _answer(self, ask: Callable[..., Awaitable[Any]], *args: Any, **named: Any) -> Any:
        """Redis's answer, within the read deadline; while Redis is silent, fails at once."""
        if self._reach.silent:
            raise SessionAway("Redis is away: check REDIS_URL")
        try:
            async with asyncio.timeout(self._read_s):
                return await outside(ask(*args, **named))
        except LOST as error:
            self._reach.missed(type(error).__name__)
            raise SessionAway(
                f"Redis did not answer ({type(error).__name__}: {error}): check REDIS_URL"
            ) from error
