"""The dealership's toolbox: seven tools for the model, and what is known of a caller.

A tool that changes something runs in one transaction with the epoch check and its own stored result, so
that it happens once, is refused to a superseded CallActor, and answers the same when it is sent again.
"""

import asyncio
import datetime as dt
import functools
import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any
from zoneinfo import ZoneInfo

import msgspec
import structlog
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession, async_sessionmaker

from crm import appointments, lookups, prompt, repository, schemas
from crm.appointments import Desk
from crm.cache import Cache, NoCache, RedisCache
from crm.database import DATABASE_ERRORS, check, connect, first_line, is_away, look, worth_a_retry
from crm.models import StoredResult
from crm.nhtsa import Nhtsa
from crm.records import CustomerRecord, ServiceRecord, e164
from engine.messages import CallerContext, ToolRequest, ToolResult
from engine.reach import Reach
from engine.tools import ToolSpec

_log = structlog.get_logger(__name__)

_NOBODY = "+10000000000"

REFUSED = "refused: a newer epoch has the call"
AGAIN_S = 0.2  # between looks whether a change was made
LOOK_S = 0.5  # between looks whether Postgres or Redis is back
AWAY = "The dealership's records can't be reached right now. Promise nothing; say so, or try once more."
UNKNOWN = (
    "It is not known whether this was done: the dealership's records went away at that moment. Promise nothing; "
    "look it up before it is tried again, and if that fails, say that it is not certain."
)


@dataclass
class _Attempts:
    """What is known of a change: `open` from its COMMIT until that is answered, or its stored result was read."""

    open: bool = False


@dataclass(frozen=True)
class Limits:
    """How long things may take, in seconds. `run`: a tool; less than the engine waits, so that the model is told what
    is known. `context`: a caller's look-up. `postgres`: a connection, and a statement. `nhtsa`: one try. `cache`: an
    answer of Redis's; `redis`: connecting to it, which nobody waits for.
    """

    run: float = 7.0
    context: float = 2.0
    postgres: float = 3.0
    nhtsa: float = 2.0
    cache: float = 0.02
    redis: float = 2.0


class DealershipTools:
    """Implements `engine.tools.Toolbox` on Postgres and NHTSA.

    `now` gives an aware time. Empty `greeting_template` and `system_prompt` mean the dealership's own.
    Raises `crm.prompt.PromptError` for a bad template and `ZoneInfoNotFoundError` for an unknown zone.
    """

    specs: tuple[ToolSpec, ...] = schemas.SPECS

    def __init__(
        self,
        database_url: str,
        nhtsa_base_url: str,
        timezone: str,
        dealership_name: str,
        greeting_template: str,
        system_prompt: str,
        now: Callable[[], dt.datetime],
        limits: Limits = Limits(),
        redis_url: str = "",
    ) -> None:
        """Without `redis_url` nothing is kept between look-ups."""
        prompt.check_template(greeting_template)
        self._database_url = database_url
        self._nhtsa_base_url = nhtsa_base_url
        self._zone = ZoneInfo(timezone)
        self._dealership = dealership_name
        self._template = greeting_template
        self._rules = system_prompt
        self._now = now
        self._limits = limits
        self._redis_url = redis_url
        self._cache: Cache = NoCache()
        self._engine: AsyncEngine | None = None
        self._nhtsa: Nhtsa | None = None
        self._reach: Reach | None = None
        self._services: tuple[ServiceRecord, ...] = ()

    async def open(self) -> None:
        """Connects. Raises `crm.database.DatabaseAway` with what to do."""
        engine = connect(self._database_url, self._limits.postgres)
        try:
            await check(engine, self._database_url)
        except BaseException:
            await engine.dispose()
            raise
        self._engine = engine
        self._reach = Reach(
            "postgres",
            functools.partial(look, engine),
            DATABASE_ERRORS,
            in_time_s=self._limits.postgres,
            silent_s=self._limits.postgres,
            pause_s=LOOK_S,
        )
        if self._redis_url:
            self._cache = cache = RedisCache(
                self._redis_url, wait_s=self._limits.cache, connect_s=self._limits.redis, look_s=LOOK_S
            )
            await cache.open()
        self._nhtsa = Nhtsa(self._nhtsa_base_url, timeout_s=self._limits.nhtsa)
        await self.context(_NOBODY, "")  # the first look-up compiles and prepares what all others need

    async def close(self) -> None:
        """Closes connections; safe to run twice."""
        engine, self._engine = self._engine, None
        reach, self._reach = self._reach, None
        if reach is not None:
            await reach.close()
        nhtsa, self._nhtsa = self._nhtsa, None
        if nhtsa is not None:
            await nhtsa.close()
        cache, self._cache = self._cache, NoCache()
        if isinstance(cache, RedisCache):
            await cache.close()
        if engine is not None:
            await engine.dispose()

    # ------------------------------------------------------------ tools

    async def run(self, request: ToolRequest) -> ToolResult:
        """Runs one tool; bad arguments and a database that is away are results with `ok` false.

        Takes at most `Limits.run`. When a change's outcome is unknown (the connection broke at the commit), it is sent
        again until there is an answer: the stored result comes back if it had happened. If none comes in time, the
        model is told that it is unknown.
        """
        started = time.perf_counter()
        replayed = unknown = False
        attempts = _Attempts()
        try:
            arguments = schemas.parse(request.tool, request.arguments)
            async with asyncio.timeout(self._limits.run):
                answer, replayed = await self._until_known(request, arguments, attempts)
        except schemas.BadArguments as error:
            answer = {"error": str(error)}
        except DATABASE_ERRORS as error:
            why = f"{type(error).__name__}: {first_line(error)}"
            _log.warning("tool_failed", call=request.call, tool=request.tool, why=why)
            unknown = attempts.open
            answer = {"error": UNKNOWN if unknown else AWAY}
        return ToolResult(
            key=request.key,
            ok="error" not in answer,
            # Sorted, because jsonb keeps no order and a stored result must come back the same.
            result=msgspec.json.encode(answer, order="sorted").decode(),
            took_ms=(time.perf_counter() - started) * 1000,
            pid=os.getpid(),
            replayed=replayed,
            unknown=unknown,
        )

    async def settle(self, request: ToolRequest) -> ToolResult:
        """What became of a change whose answer did not come. Not found out yet: nothing is promised."""
        result = msgspec.json.encode({"error": UNKNOWN}).decode()
        return ToolResult(request.key, ok=False, result=result, pid=os.getpid(), unknown=True)

    async def _until_known(
        self, request: ToolRequest, arguments: schemas.Arguments, attempts: _Attempts
    ) -> tuple[dict[str, Any], bool]:
        """Runs it, once more if that may help, and as long as it is unknown whether it was done."""
        retried = False
        while True:
            try:
                if schemas.changes(request.tool):
                    return await self._change(request, arguments, attempts)
                return await self._read(request, arguments)
            except DATABASE_ERRORS as error:
                if retried or not worth_a_retry(error):
                    self._missed(error)
                if not attempts.open and (retried or not worth_a_retry(error)):
                    raise
                if not retried:
                    why = type(error).__name__
                    _log.warning("tool_retried", call=request.call, tool=request.tool, why=why)
            if retried:
                await asyncio.sleep(AGAIN_S)
            retried = True

    def _missed(self, error: BaseException) -> None:
        if self._reach is not None and is_away(error):
            self._reach.missed(type(error).__name__)

    async def _read(self, request: ToolRequest, arguments: schemas.Arguments) -> tuple[dict[str, Any], bool]:
        desk = self._desk(request)
        match arguments:
            case schemas.DecodeVin():
                return await lookups.decode_vin(self._opened_nhtsa(), arguments), False
            case schemas.LookupCustomer():
                async with self._session() as session:
                    return await lookups.lookup_customer(session, desk.phone, arguments), False
            case schemas.GetAvailableSlots():
                async with self._session() as session:
                    return await appointments.available(session, desk, arguments), False
            case _:
                async with self._session() as session:
                    return await appointments.upcoming(session, desk), False

    async def _change(
        self, request: ToolRequest, arguments: schemas.Arguments, attempts: _Attempts
    ) -> tuple[dict[str, Any], bool]:
        async with self._session() as session, session.begin():
            # Its row lock also makes the changes of one call, and so two runs of one key, take turns.
            if await repository.take_epoch(session, request.call, request.epoch) > request.epoch:
                return {"error": REFUSED}, False
            stored = await repository.stored_result(session, request.key)
            attempts.open = False  # known now: the row lock has waited for the end of an earlier attempt
            if stored is not None:
                return stored, True
            answer = await self._changed(session, self._desk(request), arguments)
            session.add(StoredResult(key=request.key, call=request.call, tool=request.tool, result=answer))
            await session.flush()
            attempts.open = True  # the COMMIT follows
        attempts.open = False
        return answer, False

    async def _changed(
        self, session: AsyncSession, desk: Desk, arguments: schemas.Arguments
    ) -> dict[str, Any]:
        match arguments:
            case schemas.BookAppointment():
                return await appointments.book(session, desk, arguments)
            case schemas.CancelAppointment():
                return await appointments.cancel(session, desk, arguments)
            case schemas.RescheduleAppointment():
                return await appointments.reschedule(session, desk, arguments)
            case _:
                raise AssertionError(f"{type(arguments).__name__} changes nothing")

    # ------------------------------------------------------------ callers

    async def context(self, phone: str, called: str, attested: bool = False) -> CallerContext:
        """Greeting, prompt and what may be said of a caller; see `crm.prompt` for what attestation allows.

        When Postgres is away for `Limits.context` the caller is greeted as unknown, so that the call is
        answered. `customer` is None for an unknown caller; for one that is not attested it has no more than
        first name and number.
        """
        customer = None
        try:
            async with asyncio.timeout(self._limits.context), self._session() as session:
                self._services = await repository.services(session)
                row = await repository.customer_by_phone(session, phone) if e164(phone) else None
                customer = await repository.record_of(session, row) if row else None
        except DATABASE_ERRORS as error:
            self._missed(error)
            _log.warning("context_failed", called=called, why=f"{type(error).__name__}: {first_line(error)}")
        now = self._local_now()
        return CallerContext(
            greeting=prompt.greeting(self._dealership, customer, attested, now.date(), self._template),
            prompt=prompt.system_prompt(
                self._dealership,
                self._services,
                customer,
                caller=phone,
                attested=attested,
                now=now,
                rules=self._rules,
            ),
            customer=_shown(customer, attested),
        )

    # ------------------------------------------------------------ parts

    def _local_now(self) -> dt.datetime:
        return self._now().astimezone(self._zone)

    def _desk(self, request: ToolRequest) -> Desk:
        return Desk(self._zone, self._local_now(), e164(request.caller), request.call)

    def _session(self) -> AsyncSession:
        """Raises one of `DATABASE_ERRORS` at once while Postgres is known to be away: nobody waits for it then."""
        if self._reach is not None and self._reach.away:
            raise ConnectionError("Postgres is away")
        if self._engine is None:
            raise RuntimeError("the toolbox is not open: await open() first")
        return async_sessionmaker(self._engine, expire_on_commit=False)()

    def _opened_nhtsa(self) -> Nhtsa:
        if self._nhtsa is None:
            raise RuntimeError("the toolbox is not open: await open() first")
        return self._nhtsa


def _shown(customer: CustomerRecord | None, attested: bool) -> dict[str, Any] | None:
    if customer is None:
        return None
    if not attested:
        return {"name": customer.first_name, "phone": customer.phone, "attested": False}
    return {**msgspec.to_builtins(customer), "attested": True}
