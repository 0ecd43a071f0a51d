"""What many tests need: one real Postgres and one real Valkey for the run, a clean database for each test."""

import importlib
import importlib.util
import secrets
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from urllib.parse import urlsplit, urlunsplit

import asyncpg
import pytest
import redis
from hypothesis import settings

from launcher.services import Services

# A run tells whether a change broke something, so it tries the same examples each time; the search for new ones is
# `pytest --hypothesis-profile=explore`. Other work on the machine is no failure: no deadlines.
settings.register_profile("steady", deadline=None, derandomize=True)
settings.register_profile("explore", deadline=None, max_examples=3000, print_blob=True)
settings.load_profile("steady")

# One app for tests/whole and tests/chaos; tables of the faults; who does what with several workers.
pytest_plugins = ["tests.whole.fixtures", "tests.reporting", "tests.workers"]


@pytest.fixture(scope="session")
def services() -> Iterator[Services]:
    """Postgres and Valkey in a throwaway directory; started with the first test that asks."""
    with Services() as running:
        yield running


@pytest.fixture(scope="session")
def template_database(services: Services) -> str:
    """URL of a database with the current migrations, which each test's database is copied from."""
    url = services.database_url
    if importlib.util.find_spec("crm.migrate") is None:
        return url
    # In a process of its own: Alembic runs an event loop, and a session fixture has none to lend.
    migrate = "import asyncio, sys; from launcher.database import migrate; asyncio.run(migrate(sys.argv[1]))"
    command = [sys.executable, "-c", migrate, url]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    return url


@pytest.fixture
async def postgres_url(template_database: str) -> AsyncIterator[str]:
    """URL of a database of this test's own: migrated, without rows, dropped afterwards."""
    template = urlsplit(template_database).path.lstrip("/")
    name = f"test_{secrets.token_hex(8)}"
    administration = await asyncpg.connect(with_database(template_database, "postgres"), timeout=30)
    try:
        await administration.execute(f'CREATE DATABASE "{name}" TEMPLATE "{template}" STRATEGY file_copy')
        try:
            yield with_database(template_database, name)
        finally:
            await administration.execute(f'DROP DATABASE "{name}" WITH (FORCE)')
    finally:
        await administration.close(timeout=10)


@pytest.fixture
def redis_url(services: Services) -> Iterator[str]:
    """URL of an empty Valkey database."""
    with redis.Redis.from_url(services.redis_url, socket_timeout=30) as client:
        client.flushdb()
        yield services.redis_url
        client.flushdb()


def with_database(url: str, name: str) -> str:
    """The same server, another database."""
    return urlunsplit(urlsplit(url)._replace(path=f"/{name}"))
