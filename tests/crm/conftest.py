"""A seeded dealership on a real Postgres, its clock stopped at a Tuesday morning, with NHTSA on loopback."""

import asyncio
import datetime as dt
import itertools
import secrets
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from typing import Any
from urllib.parse import urlsplit
from zoneinfo import ZoneInfo

import asyncpg
import msgspec
import pytest

from crm.cache import RedisCache
from crm.context import House
from crm.nhtsa import Nhtsa
from crm.postgres import PostgresRecords
from crm.seed import seed
from crm.tools import DealershipTools, Limits
from engine.messages import ToolRequest, ToolResult
from local.serving import serving
from simulators.nhtsa import create_app
from tests.conftest import with_database

CHICAGO = ZoneInfo("America/Chicago")
NOW = dt.datetime(2026, 11, 24, 10, 15, tzinfo=CHICAGO)
SARAH = "+13125550142"


Ask = Callable[..., Awaitable[tuple[ToolResult, dict[str, Any]]]]


@pytest.fixture
async def seeded_url(postgres_url: str) -> str:
    await seed(postgres_url)
    return postgres_url


@pytest.fixture(scope="module")
def shared_url(template_database: str) -> Iterator[str]:
    """A seeded database for all tests of a module; they leave rows behind (`tests.crm.databases.emptied`)."""

    async def of_server(statement: str) -> None:
        administration = await asyncpg.connect(with_database(template_database, "postgres"), timeout=30)
        try:
            await administration.execute(statement)
        finally:
            await administration.close(timeout=10)

    name = f"shared_{secrets.token_hex(8)}"
    template = urlsplit(template_database).path.lstrip("/")
    asyncio.run(of_server(f'CREATE DATABASE "{name}" TEMPLATE "{template}" STRATEGY file_copy'))
    try:
        asyncio.run(seed(with_database(template_database, name)))
        yield with_database(template_database, name)
    finally:
        asyncio.run(of_server(f'DROP DATABASE "{name}" WITH (FORCE)'))


@pytest.fixture
async def rows(seeded_url: str) -> AsyncIterator[asyncpg.Connection]:
    """A connection of the test's own, to look at rows and to get in the way."""
    connection = await asyncpg.connect(seeded_url, timeout=30)
    try:
        yield connection
    finally:
        await connection.close(timeout=10)


@pytest.fixture
async def nhtsa_url() -> AsyncIterator[str]:
    async with serving(create_app()) as server:
        yield server.http_url


@pytest.fixture
def make_tools(seeded_url: str, nhtsa_url: str) -> Callable[..., DealershipTools]:
    """Builds a toolbox that is not open yet; keywords replace how it is made."""

    def make(
        database_url: str = seeded_url,
        nhtsa_base_url: str = nhtsa_url,
        postgres_s: float = 3.0,
        limits: Limits = Limits(),  # noqa: B008 - frozen
        now: Callable[[], dt.datetime] = lambda: NOW.astimezone(dt.UTC),
        redis_url: str = "",
        **house: Any,
    ) -> DealershipTools:
        records = PostgresRecords(database_url, postgres_s)
        spoken_for = House("Trunkline Motors", "America/Chicago", **house)
        cache = RedisCache(redis_url, wait_s=5.0, connect_s=5.0, look_s=0.25) if redis_url else None
        return DealershipTools(records, Nhtsa(nhtsa_base_url, cache), spoken_for, now, limits, cache)

    return make


@pytest.fixture
async def tools(make_tools: Callable[..., DealershipTools]) -> AsyncIterator[DealershipTools]:
    toolbox = make_tools()
    await toolbox.open()
    try:
        yield toolbox
    finally:
        await toolbox.close()


@pytest.fixture
def ask_of() -> Callable[[DealershipTools], Ask]:
    """Makes an `ask` for any toolbox: it runs a tool as the engine does and decodes the answer.

    The caller is Sarah, and each run has a fresh key, unless told otherwise.
    """
    keys = itertools.count()

    def of(toolbox: DealershipTools) -> Ask:
        async def ask(
            tool: str,
            *,
            call: str = "CA1",
            epoch: int = 1,
            caller: str = SARAH,
            attested: bool = True,
            key: str = "",
            spoken: tuple[str, ...] = (),
            unsettled: tuple[str, ...] = (),
            **arguments: Any,
        ) -> tuple[ToolResult, dict[str, Any]]:
            text = msgspec.json.encode(arguments).decode()
            key = key or f"key-{next(keys)}"
            asked = ToolRequest(call, epoch, tool, text, caller, key, attested, spoken, unsettled)
            result = await toolbox.run(asked)
            return result, msgspec.json.decode(result.result)

        return ask

    return of


@pytest.fixture
def ask(tools: DealershipTools, ask_of: Callable[[DealershipTools], Ask]) -> Ask:
    """An `ask` for `tools`."""
    return ask_of(tools)
