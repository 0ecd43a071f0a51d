"""The console on a database of the test's own."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import asyncpg
import pytest
from typer.testing import CliRunner, Result

from crm.console.app import app
from crm.seed import seed

Crm = Callable[..., Awaitable[Result]]


@pytest.fixture
def crm(postgres_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Crm:
    """Runs a command in this process, in an empty directory; fails the test if its exit code is not `code`."""
    monkeypatch.setenv("DATABASE_URL", postgres_url)
    monkeypatch.chdir(tmp_path)

    async def run(*words: str, code: int = 0) -> Result:
        # The command has an event loop of its own.
        done = await asyncio.to_thread(CliRunner().invoke, app, words)
        assert done.exit_code == code, (done.output, done.exception)
        return done

    return run


@pytest.fixture
async def rows(postgres_url: str) -> AsyncIterator[asyncpg.Connection]:
    """A connection of the test's own."""
    connection = await asyncpg.connect(postgres_url, timeout=30)
    try:
        yield connection
    finally:
        await connection.close(timeout=10)


@pytest.fixture
async def seeded(postgres_url: str) -> None:
    """The demo's workshop and customers."""
    await seed(postgres_url)
