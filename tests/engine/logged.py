"""What the tests of the call log share: a Postgres with its tables, and what is in them."""

from datetime import UTC, datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

from engine.calltables import metadata
from engine.messages import CallInfo

NOON = datetime(2026, 3, 2, 12, tzinfo=UTC).timestamp()
PATIENCE = 30.0


def info(call: str = "CA1", started_at: float = NOON) -> CallInfo:
    return CallInfo(call, "+13125550142", "+13125550100", True, started_at)


async def with_tables(url: str) -> AsyncEngine:
    engine = create_async_engine(url.replace("postgresql://", "postgresql+asyncpg://"), hide_parameters=True)
    async with engine.begin() as connection:
        await connection.run_sync(metadata.create_all)
    return engine


async def rows(pg: AsyncEngine, query: str) -> list[dict[str, Any]]:
    """What Postgres holds, read over a connection that knows nothing of earlier ones."""
    reader = create_async_engine(pg.url, poolclass=sa.NullPool)
    async with reader.connect() as connection:
        return [dict(row) for row in (await connection.execute(sa.text(query))).mappings()]


async def the_call(pg: AsyncEngine) -> dict[str, Any]:
    [row] = await rows(pg, "SELECT * FROM call_log")
    return row
