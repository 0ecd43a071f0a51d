"""`crm.ports.Records` on Postgres: the pool, units of work, and what an outage looks like."""

import contextlib
import functools
from collections.abc import AsyncIterator

from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession, async_sessionmaker

from crm.database import DATABASE_ERRORS, check, connect, first_line, is_away, look, worth_a_retry
from crm.pgchanges import changes
from crm.pgwork import PgWork
from crm.ports import Changed, RecordsAway
from engine.reach import Reach

LOOK_S = 0.5  # between looks whether Postgres is back
TURN_S = 600.0  # for a connection of the pool: longer than anybody waits, who have deadlines of their own


class PostgresRecords:
    """A pool of at most `pool_size` connections, with a limit of `limit_s` seconds for a connection and for a
    statement. One more hears of changes, and is looked at after `check_s` seconds without any.

    In a crowd everybody waits for their turn as long as they like: that Postgres has much to do does not mean that it
    is away."""

    def __init__(
        self, database_url: str, limit_s: float = 3.0, pool_size: int = 5, check_s: float = 5.0
    ) -> None:
        self._database_url = database_url
        self._limit_s = limit_s
        self._check_s = check_s
        self._pool_size = pool_size
        self._engine: AsyncEngine | None = None
        self._sessions: async_sessionmaker[AsyncSession] | None = None
        self._reach: Reach | None = None

    async def open(self) -> None:
        """Connects. Raises `crm.database.DatabaseAway` with what to do."""
        engine = connect(self._database_url, self._limit_s, self._pool_size, TURN_S)
        try:
            await check(engine, self._database_url)
        except BaseException:
            await engine.dispose()
            raise
        self._engine = engine
        self._sessions = async_sessionmaker(engine, expire_on_commit=False)
        self._reach = Reach(
            "postgres",
            functools.partial(look, engine),
            DATABASE_ERRORS,
            in_time_s=self._limit_s,
            silent_s=self._limit_s,
            pause_s=LOOK_S,
        )

    async def close(self) -> None:
        """Closes the connections; safe to run twice."""
        reach, self._reach = self._reach, None
        if reach is not None:
            await reach.close()
        engine, self._engine = self._engine, None
        if engine is not None:
            await engine.dispose()

    @contextlib.asynccontextmanager
    async def work(self) -> AsyncIterator[PgWork]:
        """A transaction, committed when the block ends well and rolled back otherwise; its connection goes back to
        the pool in any case. Raises `RecordsAway`: at once while Postgres is known to be away, for nobody waits for
        it then."""
        if self._sessions is None or self._reach is None:
            raise RuntimeError("the records are not open: await open() first")
        if self._reach.away:
            raise RecordsAway("Postgres is away")
        try:
            async with self._sessions() as session:
                yield PgWork(session)
                await session.commit()
        except DATABASE_ERRORS as error:
            raise self._named(error) from error

    def changes(self) -> AsyncIterator[Changed]:
        """Whose records change, for ever: `crm.ports.TellsChanges`. Needs no `open`."""
        return changes(self._database_url, self._limit_s, self._check_s)

    async def look(self) -> None:
        """Asks Postgres for nothing. Raises `RecordsAway`."""
        if self._engine is None:
            raise RuntimeError("the records are not open: await open() first")
        try:
            await look(self._engine)
        except DATABASE_ERRORS as error:
            raise self._named(error) from error

    def _named(self, error: BaseException) -> RecordsAway:
        why, again = f"{type(error).__name__}: {first_line(error)}", worth_a_retry(error)
        if is_away(error) and not again and self._reach is not None:
            self._reach.missed(type(error).__name__)
        return RecordsAway(why, again=again)
