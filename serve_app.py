"""The composition root: settings, actors and the dealership's tools become a Ray Serve application.

`make serve` and the demo start it through `launcher`; `serve run serve_app:app` works on a cluster whose environment
has what `launcher.environment.missing_exports` asks for.
"""

import asyncio
import contextlib
import datetime as dt
import functools
import importlib
import logging
import os
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import ray
from ray import serve
from ray.exceptions import RayActorError, RayError, RayTaskError
from ray.serve.exceptions import BackPressureError, RayServeException
from sqlalchemy import select
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine
from starlette.applications import Starlette
from starlette.websockets import WebSocket

from actors.call import CallActor
from actors.parts import CallPorts
from actors.stream import StreamActor, StreamPorts
from actors.taping import make_taped_call
from actors.tool import ToolActor
from actors.toolport import Broke, ToolPort, Unanswered
from crm import demo_data
from crm.cache import RedisCache
from crm.callers import CallerCache
from crm.context import House, Known
from crm.database import async_url
from crm.models import OF_CALLS
from crm.nhtsa import Nhtsa
from crm.ports import Records
from crm.postgres import PostgresRecords
from crm.records import e164
from crm.tools import DealershipTools, Limits
from engine import media_socket, telemetry
from engine.actor import Actor, Ref, spawn
from engine.arrivals import pace_requests
from engine.callcost import Prices
from engine.calllog import CallLog
from engine.callpurge import Keep, purge
from engine.callrows import Leg
from engine.callsweep import finish_dead_calls
from engine.calltables import call_log
from engine.clock import wall
from engine.gauges import Gauges, gauges
from engine.heap import set_aside
from engine.host import CallRuntime, RayHost
from engine.hostpool import HostPool
from engine.ingress import Ingress, IngressPorts
from engine.media_stream import Left
from engine.messages import CallerContext, CallInfo, HangUp, Start, ToolRequest, ToolResult, Transfer
from engine.models import RoutedModel
from engine.packed import PackedCalls
from engine.redis_client import SessionAway
from engine.routes import Route
from engine.session import SessionStore
from engine.settings import Settings, SettingsError, load_settings
from engine.supervision import Supervision
from engine.tools import Toolbox
from engine.vendors import ways
from launcher.checks import check_crm, check_fallbacks, check_signed, check_words
from launcher.environment import exports_message, missing_exports
from launcher.errors import LaunchError

log = logging.getLogger("serve_app")

TOOL_ACTOR = "ToolActor"
ROUTING_S = 0.02  # longest time for which one tool holds up the next
HEALTH: dict[str, Any] = {"health_check_period_s": 2, "health_check_timeout_s": 5}
FLOOD = 4096  # HAProxy takes no more at once
LOG_CONNECTION_S = (
    1800  # until one is replaced: behind a proxy or after a failover, old ones may lead nowhere
)
CLOSING_S = 10.0  # for what is left of a call whose socket was closed at the end of the drain time
# A new version starts beside the old one, which takes calls until then; if it can't start, the old one stays.
REPLACED: dict[str, Any] = {"max_surge_percent": 100, "rolling_update_percentage": 1.0}


# ---------------------------------------------------------------- what every process makes for itself


def make_toolbox(settings: Settings) -> DealershipTools:
    """The dealership's tools, on its records."""
    cache = make_cache(settings)
    return DealershipTools(
        make_records(settings),
        make_nhtsa(settings, cache),
        house(settings),
        lambda: dt.datetime.now(dt.UTC),
        Limits(
            run=settings.tool_timeout_s * 7 / 8,
            settle=settings.tool_settle_s * 7 / 8,
            context=settings.context_s + 0.5,
        ),
        cache,
        make_callers(settings, cache),
    )


def make_nhtsa(settings: Settings, cache: RedisCache) -> Nhtsa:
    """The process's way to NHTSA."""
    route: Route[None] = Route(
        "NHTSA", None, settings.breaker_failures, settings.breaker_rest_s, settings.breaker_rest_most_s
    )
    return Nhtsa(settings.nhtsa_base_url, cache, route, timeout_s=settings.nhtsa_timeout_s)


def make_cache(settings: Settings) -> RedisCache:
    """What is looked up for callers, kept in Redis."""
    return RedisCache(
        settings.redis_url,
        wait_s=settings.cache_wait_ms / 1000,
        connect_s=settings.redis_timeout_s,
        look_s=settings.redis_look_s,
    )


def make_callers(settings: Settings, cache: RedisCache) -> CallerCache | None:
    """What is kept of callers; None if nothing is to be."""
    if not settings.caller_cache_s:
        return None
    # A look-up takes less than the lease.
    return CallerCache(cache, ttl_s=settings.caller_cache_s, lease_s=settings.context_s + 1.0)


def make_records(settings: Settings) -> Records:
    """The dealership's records: ours, or those of a CRM of its own."""
    if settings.crm:
        module, _, name = settings.crm.partition(":")
        made: Records = getattr(importlib.import_module(module), name)(settings)
        return made
    return PostgresRecords(
        settings.database_url, settings.postgres_timeout_s, check_s=settings.changes_check_s
    )


def house(settings: Settings) -> House:
    """How the dealership wants to be spoken for."""
    return House(
        settings.dealership_name,
        settings.timezone,
        settings.greeting,
        settings.system_prompt,
        settings.trust_caller_id,
    )


def make_store(settings: Settings) -> SessionStore:
    """The process's way to Redis."""
    return SessionStore(
        settings.redis_url,
        settings.session_ttl_s,
        settings.session_write_ms,
        settings.token_ttl_s,
        lease_s=settings.slot_lease_s,
        read_s=settings.redis_timeout_s,
        look_s=settings.redis_look_s,
    )


def make_log(engine: AsyncEngine, settings: Settings) -> CallLog:
    """The process's call log, started."""
    call_log = CallLog(
        engine,
        limit=settings.log_spool_rows,
        write_s=settings.log_write_s,
        back_off=Supervision.by(settings).log,
        prices=Prices.of(settings),
    )
    call_log.start()
    return call_log


def log_engine(settings: Settings) -> AsyncEngine:
    """A small pool of its own: the log writes in batches, one at a time, and again if a connection was lost.

    Beside the writer, the sweep, the purge and a look by `/readyz` may want a connection at once. Whoever gets none in
    time tries again later. The server ends a statement, and a transaction whose owner hangs, when nobody waits any
    more.
    """
    limit_ms = str(int(settings.log_write_s * 1000))
    return create_async_engine(
        async_url(settings.database_url),
        pool_size=4,
        max_overflow=0,
        pool_timeout=settings.postgres_timeout_s,
        pool_recycle=LOG_CONNECTION_S,
        connect_args={
            "timeout": settings.postgres_timeout_s,
            "command_timeout": settings.log_write_s + 0.5,
            "server_settings": {
                "application_name": "trunkline-log",
                "statement_timeout": limit_ms,
                "idle_in_transaction_session_timeout": limit_ms,
            },
        },
    )


async def sweep_regularly(engine: AsyncEngine, settings: Settings) -> None:
    """Finishes the log of calls whose process died."""
    oldest, prices = dt.timedelta(seconds=settings.max_call_s), Prices.of(settings)
    while True:
        await asyncio.sleep(settings.sweep_s)
        try:
            async with asyncio.timeout(settings.sweep_s):
                await finish_dead_calls(engine, oldest, prices=prices)
        except Exception as error:
            log.warning("sweep of dead calls: %s", type(error).__name__)


async def purge_regularly(engine: AsyncEngine, settings: Settings) -> None:
    """Removes from the log what has been kept for long enough: first soon, for replicas may not live for long."""
    pause_s = min(settings.sweep_s, settings.purge_s)
    while True:
        await asyncio.sleep(pause_s)
        pause_s = settings.purge_s
        try:
            removed = await purge(engine, Keep.of(settings), tools=OF_CALLS)
        except Exception as error:
            log.warning("purge of the call log: %s", type(error).__name__)
        else:
            if any(removed.values()):
                log.info("purged from the call log: %s", removed)


def plain_context(settings: Settings, caller: str = "anonymous") -> CallerContext:
    """Greeting and prompt for a caller of whom nothing could be looked up."""
    return house(settings).context(Known(), caller, trusted=False, now=dt.datetime.now(dt.UTC))


# ---------------------------------------------------------------- CallHosts


@dataclass(frozen=True)
class Records:
    """A process's ways to Redis and Postgres: the session and the log of calls."""

    store: SessionStore
    engine: AsyncEngine
    log: CallLog

    @classmethod
    def open(cls, settings: Settings) -> "Records":
        """Connects when first used."""
        engine = log_engine(settings)
        return cls(make_store(settings), engine, make_log(engine, settings))

    async def close(self) -> None:
        """Writes what the log still holds; each is closed, whatever becomes of the others."""
        async with contextlib.AsyncExitStack() as closing:
            closing.push_async_callback(self.store.close)
            closing.push_async_callback(self.engine.dispose)
            closing.push_async_callback(self.log.close)


class ToolPool:
    """The pool of ToolActors as calls' ports ask it (`actors.toolport.Pool`)."""

    def __init__(self, handle: Any) -> None:
        self._handle = handle
        self._routing = asyncio.Lock()

    async def run(self, request: ToolRequest) -> ToolResult:
        """Runs one tool."""
        return await self._ask(self._handle.run, request)

    async def settle(self, request: ToolRequest) -> ToolResult:
        """Finds out what became of a change."""
        return await self._ask(self._handle.settle, request)

    async def _ask(self, door: Any, request: ToolRequest) -> ToolResult:
        async with (
            self._routing
        ):  # Serve counts a request when it has routed it: two at once would go to one replica
            answer = asyncio.ensure_future(door.remote(msgspec.json.encode(request)))
            try:
                await asyncio.wait({answer}, timeout=ROUTING_S)
            except asyncio.CancelledError:
                answer.cancel()
                raise
        try:
            return msgspec.json.decode(await answer, type=ToolResult)
        except (RayActorError, BackPressureError, RayServeException) as error:
            raise Unanswered(str(error)) from error
        except RayTaskError as error:
            raise Broke(type(error.cause).__name__) from error


async def open_host_runtime(settings: Settings, tools: Any) -> CallRuntime:
    """The runtime of a CallHost, which shares nothing with its ingress."""
    telemetry.configure(settings.log_level, json=True)
    records = Records.open(settings)
    counters = asyncio.create_task(telemetry.log_counters(), name="counters")
    runtime = await open_call_runtime(settings, tools, records)

    async def close() -> None:
        counters.cancel()
        async with contextlib.AsyncExitStack() as closing:
            closing.push_async_callback(records.close)
            closing.push_async_callback(runtime.close)

    return CallRuntime(runtime.make_call, close, runtime.settle)


async def open_call_runtime(settings: Settings, tools: Any, records: Records) -> CallRuntime:
    """Connects what the CallActors of one process need; they share it. `tools` is the ToolActor pool's handle.

    Its end leaves `records` open.
    """
    # Imported where CallActors run and nowhere else: it takes 0.7 s.
    from engine.vendors.openai import chat_models

    models, context = chat_models(settings), plain_context(settings)
    model = RoutedModel(models, settings)
    specs = DealershipTools.specs
    changing = frozenset(spec.name for spec in specs if spec.changes)
    pool = ToolPool(tools)

    # Before the first call, which would pay for connections, imports and look-ups with a quarter of a second.
    firsts = (tools.pid.remote(), records.store.probe(), _ask_postgres(records.engine), models[0].warm())
    for state in await asyncio.gather(*(_state_of(first, settings.ready_check_s) for first in firsts)):
        if state != "ok":
            log.warning("the first calls will find it cold: %s", state)

    def tool_port(call: Ref) -> Ref:
        assert isinstance(call, CallActor)
        return call.spawn(
            ToolPort(pool, changing, settings.tool_timeout_s, settings.tool_settle_s, call), "tools"
        )

    def make_call(start: Start, ref: Callable[[str], Ref]) -> Actor:
        ports = CallPorts(
            stream=ref("stream"),
            media=ref("media"),
            stt=ref("stt"),
            store=records.store,
            model=model,
            log=records.log,
            tools=tool_port,
            specs=specs,
            context=context,
        )
        if settings.tape_dir:
            return make_taped_call(start, ports, settings, Path(settings.tape_dir))
        return CallActor(start, ports, settings)

    async def settle() -> None:
        await records.log.flush(settings.outage_s)

    async def close() -> None:
        async with contextlib.AsyncExitStack() as closing:
            for one in models:
                closing.push_async_callback(one.close)
            closing.push_async_callback(model.close)

    return CallRuntime(make_call, close, settle)


# ---------------------------------------------------------------- the ingress


class IngressActor:
    """One ingress replica: ends Twilio's sockets, runs the media plane, owns its CallHosts."""

    def __init__(self, settings: Settings, tools: Any) -> None:
        """`tools` is the handle of the ToolActor pool."""
        telemetry.configure(settings.log_level, json=True)
        # A cluster that ran before keeps its own environment, whatever the one that deploys has.
        missing = missing_exports(os.environ, max_call_s=settings.max_call_s, drain_s=0.0)
        if missing:
            log.error(exports_message(missing))
        pace_requests()
        self._settings = settings
        self._tools = tools
        self._beat_s = time.monotonic()
        self._checking: asyncio.Task[dict[str, str]] | None = None
        self._leaving: Ref | None = None  # who ends calls by REST
        self._make_sure: Callable[[str, HangUp | Transfer], Awaitable[None]] = _nothing
        self._house = house(settings)
        media_socket.install()

    def __serve_build_asgi_app__(self) -> Starlette:
        settings = self._settings
        self._records = Records.open(settings)
        self._cache = make_cache(settings)
        self._callers = make_callers(settings, self._cache)
        self._listen, self._speak = ways.listen_routes(settings), ways.speak_routes(settings)
        ways.warm(self._listen, self._speak)
        self._hosts = self._place_calls()
        ports = IngressPorts(
            store=self._records.store,
            log=self._records.log,
            context=self._context,
            plain_context=lambda info: plain_context(settings, info.caller),
            make_stream=self._make_stream,
            check_ready=self._check_ready,
            warm_hosts=lambda: self._hosts.pids,
            gauges=self._gauges,
            left=self._left,
        )
        return Ingress(settings, ports).app(self._opened)

    def _place_calls(self) -> HostPool | PackedCalls:
        """Where this replica's calls run."""
        settings, tools = self._settings, self._tools
        hosts = Supervision.by(settings).hosts
        if settings.placement == "packed":
            open_runtime = functools.partial(open_call_runtime, settings, tools, self._records)
            return PackedCalls(open_runtime, ray.get_runtime_context().get_actor_id() or "", hosts.start_s)
        open_runtime = functools.partial(open_host_runtime, settings, tools)
        start_host = functools.partial(RayHost, open_runtime, hosts.start_s, hosts.silent_s)
        return HostPool(start_host, settings.calls_per_host, settings.spare_hosts, hosts)

    @contextlib.asynccontextmanager
    async def _opened(self) -> AsyncIterator[None]:
        spawn(self._hosts, "hosts")
        await self._cache.open()
        leaving = self._watch_leaving()
        beat = asyncio.create_task(self._beat())
        sweep = asyncio.create_task(sweep_regularly(self._records.engine, self._settings))
        purging = asyncio.create_task(purge_regularly(self._records.engine, self._settings))
        counters = asyncio.create_task(telemetry.log_counters())
        try:
            await self._hosts.ready()
            for name, state in (
                await self._check_ready()
            ).items():  # connects, too: no caller has to wait for that
                if state != "ok":
                    log.warning("%s: the first calls will find it cold: %s", name, state)
            set_aside()
            yield
        finally:
            for task in (beat, sweep, purging, counters, self._checking):
                if task is not None:
                    task.cancel()
            await self._hosts.kill()
            if leaving is not None:
                await leaving.kill()
            await self._cache.close()
            await self._records.close()

    def _watch_leaving(self) -> Actor | None:
        """Where there is an account, calls can be ended by REST."""
        if not self._settings.twilio_account_sid:
            return None
        # Imported where it is used and nowhere else: Twilio's client takes 14 MB.
        from engine.leaving import LeavingActor, make_sure
        from engine.twilio.rest import TwilioRest

        rest = TwilioRest(self._settings)
        self._make_sure = functools.partial(make_sure, self._records.store, rest)
        self._leaving = spawn(LeavingActor(self._records.store, rest, self._settings), "leaving")
        return self._leaving

    def _left(self, left: Left) -> None:
        if self._leaving is not None:
            self._leaving.tell(left)

    async def check_health(self) -> None:
        """Only this replica's loop: what is outside belongs to `/readyz`."""
        late_s = time.monotonic() - self._beat_s
        if late_s > self._settings.loop_lag_s:
            raise RuntimeError(f"the event loop was held up for {late_s:.1f} s")

    async def _beat(self) -> None:
        while True:
            self._beat_s = time.monotonic()
            await asyncio.sleep(self._settings.loop_lag_s / 4)

    # --- for the routes

    async def _context(self, info: CallInfo) -> CallerContext:
        """Of a caller who is still known no ToolActor is asked."""
        began = time.perf_counter()
        known = await self._callers.read(e164(info.caller) or "") if self._callers else None
        if known is None:
            answer = await self._tools.context.remote(info.caller, info.called, info.attested)
            context = msgspec.json.decode(answer, type=CallerContext)
        else:
            trusts = self._house.trusts(info.caller, info.attested)
            context = self._house.context(known, info.caller, trusted=trusts, now=dt.datetime.now(dt.UTC))
        leg = Leg.CONTEXT if known is None else Leg.CONTEXT_KEPT
        self._records.log.log_performance_metric(
            info.call, 0, leg, (time.perf_counter() - began) * 1000, wall()
        )
        return context

    def _make_stream(self, info: CallInfo, stream_sid: str, websocket: WebSocket) -> Actor:
        settings = self._settings
        ports = StreamPorts(
            send=media_socket.sender(websocket),
            close=functools.partial(websocket.close, 1000),
            make_sure=self._make_sure,
            unclosed=functools.partial(self._left, Left(info.call, stream_sid, closed=False)),
            gave_up=self._records.store.gave_up,
            moved=self._records.store.moved,
            used=self._records.log.write,
            hosts=self._hosts,
            listen=self._listen,
            speak=self._speak,
        )
        return StreamActor(info, stream_sid, ports, settings)

    async def _check_ready(self) -> dict[str, str]:
        """One look for all who ask meanwhile: each takes a connection, for seconds where Postgres hangs."""
        if self._checking is None or self._checking.done():
            self._checking = asyncio.create_task(self._look_at_parts())
        return await asyncio.shield(self._checking)

    async def _look_at_parts(self) -> dict[str, str]:
        checks = {
            "redis": self._records.store.probe(),
            "postgres": _ask_postgres(self._records.engine),
            "hosts": self._hosts.ready(),
            "tools": self._ask_tools(),
        }
        limit_s = self._settings.ready_check_s
        states = await asyncio.gather(*(_state_of(check, limit_s) for check in checks.values()))
        return dict(zip(checks, states, strict=True))

    async def _gauges(self) -> list[Gauges]:
        return [gauges("ingress"), *await self._hosts.gauges()]

    async def _ask_tools(self) -> None:
        await self._tools.pid.remote()


async def _nothing(call: str, goodbye: HangUp | Transfer) -> None:
    """Without an account no call can be ended by REST."""


async def _ask_postgres(engine: AsyncEngine) -> None:
    async with engine.connect() as connection:
        await connection.execute(select(call_log.c.call).limit(1))  # migrated, too


async def _state_of(check: Awaitable[Any], limit_s: float) -> str:
    try:
        async with asyncio.timeout(limit_s):
            await check
    except (SessionAway, SQLAlchemyError, OSError, RayError, RayServeException) as error:
        return f"{type(error).__name__}: {error}"
    return "ok"


class _ServedTools(ToolActor):
    """A ToolActor that Serve ends by its destructor, the one hook that it awaits."""

    def __init__(self, make_toolbox: Callable[[], Toolbox], open_s: float) -> None:
        super().__init__(make_toolbox, open_s)
        self.warm()

    async def _open(self) -> Toolbox:
        toolbox = await super()._open()
        set_aside()
        return toolbox

    async def __del__(self) -> None:
        await self.close()


# ---------------------------------------------------------------- the application


def build(settings: Settings) -> serve.Application:
    """The Serve application: a fixed number of ingress replicas, and an autoscaled pool of ToolActors."""
    if not settings.stt_keyterms:
        terms = ",".join(service.name for service in demo_data.workshop().services)
        settings = settings.model_copy(update={"stt_keyterms": terms})
    tools = serve.deployment(
        name=TOOL_ACTOR,
        ray_actor_options={"num_cpus": 0},
        max_ongoing_requests=64,
        graceful_shutdown_wait_loop_s=0.2,
        autoscaling_config={
            "min_replicas": settings.tool_replicas,
            "max_replicas": settings.tool_replicas_max,
            "target_ongoing_requests": 8,
        },
        graceful_shutdown_timeout_s=settings.tool_timeout_s,
        **HEALTH,
        **REPLACED,
    )(_ServedTools)
    ingress = serve.deployment(
        name="Ingress",
        num_replicas=settings.ingress_replicas,
        ray_actor_options={"num_cpus": 0},
        # A call is one request for life, and what is over this hangs with no answer: admission is ours. Any replica
        # may have to take all calls, and those that are refused, and sockets that nobody vouches for.
        max_ongoing_requests=settings.capacity * 2 + FLOOD,
        # Serve closes sockets after the draining period, and kills the replica after this.
        graceful_shutdown_timeout_s=settings.drain_s + CLOSING_S,
        graceful_shutdown_wait_loop_s=0.2,
        **HEALTH,
        **REPLACED,
    )(serve.ingress()(IngressActor))
    return ingress.bind(
        settings, tools.bind(functools.partial(make_toolbox, settings), settings.tools_open_s)
    )


def _app() -> serve.Application:
    """For `serve run serve_app:app`."""
    try:
        settings = load_settings()
    except SettingsError as error:
        raise SystemExit(f"serve_app can't start:\n{error}") from None
    problems = []
    missing = missing_exports(os.environ, max_call_s=settings.max_call_s, drain_s=settings.drain_s)
    if missing:
        problems.append(exports_message(missing))
    unset = [name for name in ("DATABASE_URL", "REDIS_URL") if not getattr(settings, name.lower())]
    if not settings.deepgram_api_key and settings.deepgram_base_url.startswith("https://api.deepgram"):
        unset.append("DEEPGRAM_API_KEY")
    if not settings.openai_api_key and settings.openai_base_url.startswith("https://api.openai"):
        unset.append("OPENAI_API_KEY")
    if unset:
        problems.append("set " + ", ".join(unset) + ", or use `make serve`, which starts local stand-ins")
    for check in (functools.partial(check_signed, anywhere=True), check_words, check_crm, check_fallbacks):
        try:
            check(settings)
        except LaunchError as error:
            problems.append(str(error))
    if problems:
        raise SystemExit("serve_app can't start:\n" + "\n".join(problems))
    return build(settings)


def __getattr__(name: str) -> Any:
    """`app` is made when asked for: importing this module must not need a configured machine."""
    if name == "app":
        return _app()
    raise AttributeError(name)
