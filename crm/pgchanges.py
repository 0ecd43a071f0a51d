"""Hears from Postgres whose records have changed: LISTEN on a connection of its own.

Triggers tell it (migration 0004), whoever writes: a tool, the console, an import, psql. What was told while nobody was
connected is lost, so that whoever hears again has to take everything for changed. A connection that has ended without
telling us (a firewall forgot it; a pooler that shares connections never passed notifications on) looks like a quiet
one: each `check_s` without news we tell ourselves something, and if we don't hear that, it is lost.
"""

import asyncio
import contextlib
import secrets
from collections.abc import AsyncIterator
from typing import Any

import asyncpg
import structlog

from crm.database import async_url, first_line
from crm.ports import Changed, Hearing
from engine.supervision import BackOff

_log = structlog.get_logger(__name__)

CHANNEL = "crm_callers"
ALL = "all"  # the payload that stands for every number; others are numbers with commas between them
AGAIN = BackOff(0.1, 5.0)
MOST = 1000  # numbers that wait to be fetched; with more, it is all

_LOST = (asyncpg.PostgresError, asyncpg.InterfaceError, OSError)  # a TimeoutError is an OSError


async def changes(database_url: str, limit_s: float, check_s: float) -> AsyncIterator[Changed]:
    """Numbers whose records have changed, and whether we hear of it, for ever; see `crm.ports.TellsChanges`."""
    failed = 0
    while True:
        try:
            async with _listening(database_url, limit_s, check_s) as ear:
                yield Hearing.HEARS
                while True:
                    numbers = await ear.next()
                    failed = 0
                    yield numbers
        except _LOST as error:
            _log.warning("deaf_to_changes", why=f"{type(error).__name__}: {first_line(error)}")
        yield Hearing.DEAF
        await asyncio.sleep(AGAIN.pause_s(failed))
        failed += 1


@contextlib.asynccontextmanager
async def _listening(database_url: str, limit_s: float, check_s: float) -> AsyncIterator["_Ear"]:
    url = async_url(database_url)
    _, options = url.get_dialect()().create_connect_args(url)
    connection = await asyncpg.connect(
        **options,
        timeout=limit_s,
        command_timeout=limit_s,
        server_settings={"application_name": "trunkline-changes"},
    )
    try:
        ear = _Ear(connection, limit_s, check_s)
        await ear.open()
        yield ear
    finally:
        connection.terminate()  # there is nothing to say goodbye to where it hangs


class _Ear:
    """One connection, from its first LISTEN to its loss."""

    def __init__(self, connection: Any, limit_s: float, check_s: float) -> None:
        self._connection = connection
        self._limit_s = limit_s
        self._check_s = check_s
        self._numbers: set[str] = set()
        self._all = False
        self._lost = False
        self._news = asyncio.Event()
        self._echo = asyncio.Event()
        self._own_channel = f"crm_echo_{secrets.token_hex(8)}"

    async def open(self) -> None:
        """Whatever is committed from its end on is heard."""
        self._connection.add_termination_listener(self._ended)
        await self._connection.add_listener(self._own_channel, self._echoed)
        await self._connection.add_listener(CHANNEL, self._told)

    async def next(self) -> Changed:
        """What has changed since this was asked last. Raises one of `_LOST`."""
        while not self._numbers and not self._all:
            if self._lost:
                raise ConnectionResetError("the connection has ended")
            self._news.clear()
            try:
                async with asyncio.timeout(self._check_s):
                    await self._news.wait()
            except TimeoutError:
                await self._hear_oneself()
        numbers, everything = frozenset(self._numbers), self._all
        self._numbers, self._all = set(), False
        return Hearing.HEARS if everything else numbers

    async def _hear_oneself(self) -> None:
        self._echo.clear()
        async with asyncio.timeout(self._limit_s):
            await self._connection.execute(f"NOTIFY {self._own_channel}")
            await self._echo.wait()

    def _told(self, _connection: Any, _pid: int, _channel: str, payload: str) -> None:
        if payload == ALL:
            self._all = True
        else:
            self._numbers.update(payload.split(","))
        if len(self._numbers) > MOST:
            self._all = True
        if self._all:
            self._numbers.clear()
        self._news.set()

    def _echoed(self, *_: Any) -> None:
        self._echo.set()

    def _ended(self, _connection: Any) -> None:
        self._lost = True
        self._news.set()
