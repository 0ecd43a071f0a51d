"""Connections to Postgres: one way to read the URL, the deadlines, and what an outage looks like."""

from sqlalchemy import URL, make_url, text
from sqlalchemy.exc import ArgumentError, DBAPIError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

# What a database that is away, or fails us, raises through SQLAlchemy; `TimeoutError` is an `OSError`.
DATABASE_ERRORS = (DBAPIError, PoolTimeout, OSError)

_TRY_AGAIN = {"40001", "40P01"}  # serialization failure, deadlock


class DatabaseAway(Exception):
    """Postgres can't be used; the message says what to do and holds no password."""


def async_url(database_url: str) -> URL:
    """The URL for SQLAlchemy's asyncpg driver; takes `postgres://`, `postgresql://` and libpq's `sslmode`.

    Raises `DatabaseAway` if it is no Postgres URL.
    """
    try:
        url = make_url(database_url)
    except ArgumentError:
        raise DatabaseAway(_NOT_A_URL) from None
    if url.get_backend_name() not in {"postgresql", "postgres"}:
        raise DatabaseAway(_NOT_A_URL)
    url = url.set(drivername="postgresql+asyncpg")
    if "sslmode" in url.query:
        mode = url.query["sslmode"]
        url = url.difference_update_query(["sslmode"]).update_query_dict({"ssl": mode})
    return url


_NOT_A_URL = (
    "DATABASE_URL must be a Postgres URL, e.g. postgresql://user:password@localhost:5432/trunkline; "
    "leave it empty for the embedded Postgres"
)


LIMIT_S = 3.0  # of commands, which migrate and seed: nobody waits


def connect(
    database_url: str, limit_s: float = LIMIT_S, pool_size: int = 5, turn_s: float | None = None
) -> AsyncEngine:
    """An engine with a bounded pool and deadlines on everything: `limit_s` for a connection, and for a statement;
    `turn_s` (else the same) for one's turn to have a connection, which others' statements make long. Opens no
    connection yet.

    A transaction whose owner stopped in the middle (a hung process) is ended by the server after
    twice the statement deadline, so that its locks don't outlive it.
    """
    limit_ms = str(int(limit_s * 1000))
    return create_async_engine(
        async_url(database_url),
        pool_size=pool_size,
        max_overflow=0,
        pool_timeout=limit_s if turn_s is None else turn_s,
        connect_args={
            "timeout": limit_s,
            "command_timeout": limit_s + 0.5,
            "server_settings": {
                "application_name": "trunkline-crm",
                "statement_timeout": limit_ms,
                "idle_in_transaction_session_timeout": str(int(limit_s * 2000)),
            },
        },
    )


def place(database_url: str) -> str:
    """Host, port and database for messages, without user and password."""
    url = async_url(database_url)
    host = url.host or url.query.get("host") or "localhost"
    return f"{host}:{url.port or 5432}/{url.database or ''}"


async def check(engine: AsyncEngine, database_url: str) -> None:
    """Raises `DatabaseAway` with what to do if Postgres can't be reached or has no schema."""
    try:
        async with engine.connect() as connection:
            table = (await connection.execute(text("SELECT to_regclass('call_epoch')::text"))).scalar()
    except DATABASE_ERRORS as error:
        cause = getattr(error, "orig", None) or error
        raise DatabaseAway(
            f"Postgres at {place(database_url)} can't be used ({type(cause).__name__}: {first_line(cause)}): "
            "start it, or correct DATABASE_URL, or leave DATABASE_URL empty for the embedded Postgres"
        ) from error
    if table is None:
        raise DatabaseAway(
            f"the database {place(database_url)} has no Trunkline tables: run `python -m crm migrate`"
        )


def first_line(error: BaseException) -> str:
    """The first line of an error's text, for one-sentence messages."""
    return str(error).strip().partition("\n")[0]


async def look(engine: AsyncEngine) -> None:
    """Asks Postgres for nothing. Raises one of `DATABASE_ERRORS`."""
    async with engine.connect() as connection:
        await connection.execute(text("SELECT 1"))


def is_away(error: BaseException) -> bool:
    """Whether this tells that Postgres can't be reached, and not that it refused something, or was too busy."""
    if isinstance(error, DBAPIError):
        return bool(error.connection_invalidated)
    return isinstance(error, OSError)


def worth_a_retry(error: BaseException) -> bool:
    """Whether running the whole transaction again may succeed: the connection broke, or it lost a race."""
    if not isinstance(error, DBAPIError):
        return False
    return bool(error.connection_invalidated) or getattr(error.orig, "sqlstate", None) in _TRY_AGAIN
