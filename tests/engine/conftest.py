from collections.abc import AsyncIterator

import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

from engine.calllog import CallLog
from tests.engine.logged import with_tables


@pytest.fixture
async def pg(postgres_url: str) -> AsyncIterator[AsyncEngine]:
    engine = await with_tables(postgres_url)
    yield engine
    await engine.dispose()


@pytest.fixture
async def log(pg: AsyncEngine) -> AsyncIterator[CallLog]:
    writer = CallLog(pg)
    writer.start()
    yield writer
    await writer.close()
