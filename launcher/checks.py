"""What can be found wrong before anything is started; each failure is one sentence with its remedy."""

import asyncio
import importlib
import ipaddress
import sys
from pathlib import Path
from urllib.parse import urlsplit

from crm.greeting import PromptError, check_template
from engine.settings import Settings
from launcher.errors import LaunchError
from launcher.plan import plan_for, said_local
from launcher.ports import is_free

_ANSWER_S = 5.0


def check_python(version: tuple[int, int] = sys.version_info[:2]) -> None:
    """Python 3.11 to 3.13."""
    if not (3, 11) <= version <= (3, 13):
        raise LaunchError(
            f"Python {version[0]}.{version[1]} is not supported: use Python 3.11, 3.12 or 3.13."
        )


def check_consistent(settings: Settings) -> None:
    """Settings that contradict each other where real callers would pay for it."""
    if not settings.twilio_account_sid:
        return
    if settings.base_url and not settings.base_url.startswith("https://"):
        raise LaunchError(
            f"BASE_URL is {settings.base_url} but Twilio streams to secure addresses only: give its https URL."
        )
    plan = plan_for(settings)
    missing = [
        name
        for name, local in (("DEEPGRAM_API_KEY", plan.speech), ("OPENAI_API_KEY", plan.receptionist))
        if local
    ]
    if missing and not settings.allow_local:
        raise LaunchError(
            f"TWILIO_ACCOUNT_SID is set but {' and '.join(missing)} not, so real callers would "
            "be answered by a local stand-in: set it, or set ALLOW_LOCAL=1 if that is what you want."
        )


def check_words(settings: Settings) -> None:
    """The greeting can be said, and tapes can be written, before anybody calls."""
    try:
        check_template(settings.greeting)
    except PromptError as error:
        raise LaunchError(str(error)) from None
    if settings.tape_dir:
        try:
            Path(settings.tape_dir).mkdir(parents=True, exist_ok=True)
        except OSError as error:
            why = f"TAPE_DIR {settings.tape_dir!r} can't be made ({error.strerror}): name another directory."
            raise LaunchError(why) from None


def check_crm(settings: Settings) -> None:
    """The CRM that is named can be imported: else every caller would be a stranger."""
    if not settings.crm:
        return
    module, _, name = settings.crm.partition(":")
    try:
        found = getattr(importlib.import_module(module), name, None)
    except Exception as error:  # it is not ours: whatever it raises, it can't be used
        found, why = None, f"{type(error).__name__}: {error}"
    else:
        why = f"{module} has no function {name}"
    if not callable(found):
        raise LaunchError(
            f"CRM is {settings.crm} but it can't be used ({why}): put the module where Python finds it (the directory "
            "from which you start, or PYTHONPATH), or leave CRM empty for Postgres."
        )


def check_signed(settings: Settings, *, anywhere: bool = False) -> None:
    """Whoever can send webhooks from elsewhere must sign them: else anybody could ring as any caller.

    `anywhere`: what listens is not ours to say (`serve run`), so it counts as reached from elsewhere.
    """
    if settings.twilio_auth_token or settings.allow_unsigned:
        return
    base = settings.base_url
    reached = [
        *([f"BASE_URL is {base}"] if base and not _is_loopback(urlsplit(base).hostname or "") else []),
        *([f"HOST is {settings.host}"] if not anywhere and not _is_loopback(settings.host) else []),
        *(["`serve run` listens where Serve's own options say, not at HOST and PORT,"] if anywhere else []),
    ]
    if reached:
        raise LaunchError(
            f"{' and '.join(reached)} but TWILIO_AUTH_TOKEN is not set, so anybody could send webhooks unchecked: "
            "set TWILIO_ACCOUNT_SID and TWILIO_AUTH_TOKEN, or set ALLOW_UNSIGNED=1 if that is what you want."
        )


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def check_fallbacks(settings: Settings) -> None:
    """A cluster starts no local servers (`make serve` does), so a fallback there has an address."""
    local = [name.upper() for name in said_local(settings)]
    if local:
        thinks, hears = "LLM_FALLBACK" in local, local != ["LLM_FALLBACK"]
        start = [
            *(["`python -m local.speech --host 0.0.0.0 --port 9001`"] if hears else []),
            *(["`python -m local.receptionist --host 0.0.0.0 --port 9002`"] if thinks else []),
        ]
        port = {"LLM_FALLBACK": "9002/v1"}
        urls = [f"{name}=http://HOST:{port.get(name, '9001')}" for name in local]
        raise LaunchError(
            f"{' and '.join(local)}: a cluster starts nothing local, so on a machine that all nodes reach and nobody "
            f"else does start {' and '.join(start)}, and set {', '.join(urls)}."
        )


def check_port(settings: Settings) -> None:
    """The HTTP port is free."""
    if not is_free(settings.port, settings.host):
        raise LaunchError(
            f"Port {settings.port} on {settings.host} is taken or not ours to take: "
            f"stop what listens there, or set PORT to another, e.g. PORT={settings.port + 1}."
        )


async def check_database(url: str) -> None:
    """Postgres answers a query."""
    import asyncpg

    plain = url.replace("postgresql+asyncpg://", "postgresql://", 1)
    try:
        async with asyncio.timeout(_ANSWER_S):
            connection = await asyncpg.connect(plain)
            try:
                await connection.fetchval("SELECT 1")
            finally:
                await connection.close()
    except (OSError, TimeoutError, ValueError, asyncpg.PostgresError, asyncpg.InterfaceError) as error:
        raise LaunchError(
            f"Postgres at {without_password(url)} does not answer ({describe(error)}): check DATABASE_URL "
            "and that the server runs, or leave DATABASE_URL empty for a local one."
        ) from None


async def check_redis(url: str) -> None:
    """Redis answers, and takes writes."""
    import redis.asyncio
    from redis.exceptions import RedisError

    from engine.redis_client import probe

    try:
        async with asyncio.timeout(_ANSWER_S), redis.asyncio.from_url(url, retry=None) as client:
            await probe(client)
    except (OSError, TimeoutError, ValueError, RedisError) as error:
        raise LaunchError(
            f"Redis at {without_password(url)} does not answer or takes no writes ({describe(error)}): check REDIS_URL "
            "and that the server runs, or leave REDIS_URL empty for a local one."
        ) from None


def check_before_start(settings: Settings) -> None:
    """All checks that need nothing started. Raises the first `LaunchError`."""
    check_python()
    check_port(settings)
    check_version(settings)


def check_version(settings: Settings) -> None:
    """The checks of what a version of the app is made from. Raises the first `LaunchError`."""
    check_signed(settings)
    check_words(settings)
    check_crm(settings)
    check_consistent(settings)
    asyncio.run(_check_servers(settings))


async def _check_servers(settings: Settings) -> None:
    if settings.database_url:
        await check_database(settings.database_url)
    if settings.redis_url:
        await check_redis(settings.redis_url)


def without_password(url: str) -> str:
    """The address for people: user, host, port and database, never the password."""
    try:
        parts = urlsplit(url)
        host = parts.hostname or "(no host)"
        port = f":{parts.port}" if parts.port else ""
    except ValueError:
        return "(not a URL)"
    user = f"{parts.username}@" if parts.username else ""
    return f"{parts.scheme}://{user}{host}{port}{parts.path}"


def describe(error: BaseException) -> str:
    """An error in a few words, on one line."""
    text = " ".join(str(error).split())
    return text or ("no answer in time" if isinstance(error, TimeoutError) else type(error).__name__)
