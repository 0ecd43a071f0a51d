"""A Redis that answers and takes no writes."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from redis.asyncio import Redis


@asynccontextmanager
async def no_writes(redis_url: str) -> AsyncIterator[Redis]:
    """As with a full disk, or as a replica after a failover: a PING is answered. Yields a connection to it."""
    async with Redis.from_url(redis_url) as admin:
        await admin.config_set("min-replicas-to-write", 1)
        try:
            yield admin
        finally:
            await admin.config_set("min-replicas-to-write", 0)
