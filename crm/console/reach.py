"""Where the console's records are, and what it says when it can't reach them."""

import asyncio
import json
import os
import sys
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, NamedTuple
from zoneinfo import ZoneInfo

import typer
from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession

from crm.database import DATABASE_ERRORS, DatabaseAway, check, connect, first_line, place
from crm.importing.csvfile import WrongCsv
from crm.models import Dealership
from crm.ports import RecordsAway
from crm.workshop_file import WrongFile
from engine.settings import Settings, SettingsError, load_settings

# Where `make serve` leaves how to reach what it runs, in its working directory; readable by its owner alone.
RUN_FILE = Path(".trunkline", "run.json")
_INTERRUPTED = 130


class ConsoleError(Exception):
    """Something can't be done; the message says what, and what to do."""


class Office(NamedTuple):
    """What a command works with: the database, the settings, and the dealership's clock."""

    engine: AsyncEngine
    settings: Settings
    zone: ZoneInfo


def database_url(settings: Settings) -> str:
    """`DATABASE_URL`, or that of the `make serve` which runs here. Raises `ConsoleError` if there is neither."""
    if settings.database_url:
        return settings.database_url
    try:
        facts = json.loads(RUN_FILE.read_text())
    except (OSError, ValueError):
        facts = {}
    url = facts.get("database_url") if isinstance(facts, dict) else None
    if not isinstance(url, str) or not url:
        raise ConsoleError(
            "There is no database: set DATABASE_URL, or start make serve in this directory and its own is used."
        )
    return url


@asynccontextmanager
async def office() -> AsyncIterator[Office]:
    """Connects, for one command. Raises what `told` makes sentences of."""
    settings = load_settings()
    url = database_url(settings)
    engine = connect(url, settings.console_statement_s, pool_size=1)
    try:
        await _check(engine, url, settings)
        async with engine.connect() as connection:
            zone = await connection.scalar(select(Dealership.time_zone))
        yield Office(engine, settings, ZoneInfo(zone or settings.timezone))
    finally:
        await engine.dispose()


@asynccontextmanager
async def session() -> AsyncIterator[tuple[AsyncSession, Office]]:
    """A transaction for one command; it is kept when the block ends well."""
    async with office() as here, AsyncSession(here.engine, expire_on_commit=False) as opened, opened.begin():
        yield opened, here


async def _check(engine: AsyncEngine, url: str, settings: Settings) -> None:
    try:
        await check(engine, url)
    except DatabaseAway as error:
        if not settings.database_url and error.__cause__ is not None:  # it can't be reached
            raise ConsoleError(
                f"The database of the last make serve ({place(url)}) does not answer: start make serve again, "
                "or set DATABASE_URL."
            ) from error
        raise


def run(work: Coroutine[Any, Any, None]) -> None:
    """Runs a command. What is wrong outside is told in a sentence, with exit code 1."""
    try:
        asyncio.run(work)
        sys.stdout.flush()
    except (ConsoleError, SettingsError, DatabaseAway, RecordsAway, WrongFile, WrongCsv) as error:
        fail(str(error))
    except BrokenPipeError:
        # Whoever read our output has gone (`| head`): Python must not complain when it ends.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except DATABASE_ERRORS as error:
        cause = getattr(error, "orig", None) or error
        fail(
            f"The database did not do it ({type(cause).__name__}: {first_line(cause)}): try again; if that does not "
            "help, run `python -m crm migrate`, or look into its log."
        )
    except KeyboardInterrupt:
        raise typer.Exit(_INTERRUPTED) from None


def fail(sentence: str) -> None:
    """Says what is wrong and ends the command with code 1."""
    typer.echo(sentence, err=True)
    raise typer.Exit(1)
