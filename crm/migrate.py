"""Brings a database to the newest schema, from code: what start-up and tests use.

`alembic` on the command line does the same with the address in `DATABASE_URL`.
"""

import asyncio
from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, text
from sqlalchemy.ext.asyncio import create_async_engine
from sqlalchemy.pool import NullPool

from crm.database import DATABASE_ERRORS, LIMIT_S, DatabaseAway, async_url, first_line, place

MIGRATE_S = 60.0

_LOCK = 0x7472756E6B6C


def configuration() -> Config:
    """Alembic's configuration, without a file: the scripts lie beside this module."""
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent / "migrations").replace("%", "%%"))
    return config


async def upgrade(database_url: str) -> None:
    """Runs all missing migrations in one transaction.

    Replicas may start at once: an advisory lock lets one work, the others then find nothing to do.
    Raises `DatabaseAway` if Postgres can't be used, or is not done in a minute.
    """
    engine = create_async_engine(
        async_url(database_url), poolclass=NullPool, connect_args={"timeout": LIMIT_S}
    )
    try:
        async with asyncio.timeout(MIGRATE_S), engine.begin() as connection:
            await connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _LOCK})
            await connection.run_sync(_to_head)
    except DATABASE_ERRORS as error:
        cause = getattr(error, "orig", None) or error
        raise DatabaseAway(
            f"the schema of {place(database_url)} can't be brought up to date "
            f"({type(cause).__name__}: {first_line(cause)}): check that Postgres runs, that DATABASE_URL "
            "is right and that its user may create tables and the extension btree_gist"
        ) from error
    finally:
        await engine.dispose()


async def is_current(database_url: str) -> bool:
    """Whether no migration is missing. Raises `DatabaseAway`."""
    engine = create_async_engine(
        async_url(database_url), poolclass=NullPool, connect_args={"timeout": LIMIT_S}
    )
    try:
        async with asyncio.timeout(MIGRATE_S), engine.connect() as connection:
            return await connection.run_sync(_at_head)
    except DATABASE_ERRORS as error:
        cause = getattr(error, "orig", None) or error
        raise DatabaseAway(
            f"the schema of {place(database_url)} can't be read ({type(cause).__name__}: {first_line(cause)}): "
            "check that DATABASE_URL is right and that its user may read the tables"
        ) from error
    finally:
        await engine.dispose()


def _at_head(connection: Connection) -> bool:
    heads = ScriptDirectory.from_config(configuration()).get_heads()
    return set(MigrationContext.configure(connection).get_current_heads()) == set(heads)


def _to_head(connection: Connection) -> None:
    config = configuration()
    config.attributes["connection"] = connection
    command.upgrade(config, "head")
