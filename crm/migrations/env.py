"""Alembic's entry: runs on the connection that `crm.migrate` hands over, or on `DATABASE_URL`."""

import asyncio

from alembic import context
from sqlalchemy import Connection
from sqlalchemy.ext.asyncio import create_async_engine
from sqlalchemy.pool import NullPool

from crm.database import async_url
from crm.models import Base
from engine.calltables import metadata as call_log
from engine.settings import load_settings

TARGETS = [Base.metadata, call_log]


def _run(connection: Connection) -> None:
    context.configure(connection=connection, target_metadata=TARGETS, compare_server_default=True)
    with context.begin_transaction():
        context.run_migrations()


async def _run_on_settings() -> None:
    engine = create_async_engine(async_url(load_settings().database_url), poolclass=NullPool)
    try:
        async with engine.connect() as connection:
            await connection.run_sync(_run)
            await connection.commit()
    finally:
        await engine.dispose()


if context.is_offline_mode():
    context.configure(dialect_name="postgresql", target_metadata=TARGETS, literal_binds=True)
    with context.begin_transaction():
        context.run_migrations()
elif (given := context.config.attributes.get("connection")) is not None:
    _run(given)
else:
    asyncio.run(_run_on_settings())
