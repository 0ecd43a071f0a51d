"""All that the doctor looks at, in the order in which it is told; what can be is looked at together."""

import asyncio
from collections.abc import Awaitable
from dataclasses import dataclass

from doctor.app import REACHED, App, check_app
from doctor.findings import Finding, Secrets, complained, untried
from doctor.machine import (
    SETTINGS,
    check_address,
    check_haproxy,
    check_port,
    check_postgres,
    check_settings,
    check_valkey,
    is_ours,
)
from doctor.model import check_model
from doctor.speech import check_speech, check_speech_fallbacks
from doctor.telephone import check_telephone
from engine.settings import Settings, SettingsError, load_settings
from launcher.app import url_of
from launcher.serve import RETRIES, WEBHOOK


@dataclass(frozen=True)
class Examined:
    """`webhook` is the address for Twilio, "" where there is none that it could reach."""

    findings: list[Finding]
    webhook: str


async def examine(url: str, limit_s: float) -> Examined:
    """Reads the settings and looks at everything. `url` is the app's, or "" for BASE_URL or this machine."""
    try:
        settings = load_settings()
    except SettingsError as error:
        return Examined([complained(SETTINGS, line) for line in str(error).splitlines()], "")
    public = url or settings.base_url
    findings = await look_at(settings, url, limit_s)
    return Examined(findings, f"{public}{WEBHOOK}{RETRIES}" if public else "")


async def look_at(settings: Settings, url: str, limit_s: float) -> list[Finding]:
    """One line each, without secrets. Each check has `limit_s`."""
    public = url or settings.base_url
    groups: list[Awaitable[list[Finding]]] = [
        check_speech(settings, limit_s),
        check_speech_fallbacks(settings, limit_s),
        check_model(settings, limit_s),
        check_telephone(settings, public, limit_s),
        _one(check_postgres(settings, limit_s)),
        _one(check_valkey(settings, limit_s)),
        _one(check_port(settings, limit_s)),
        _check_app(settings, public, limit_s),
    ]
    found = await asyncio.gather(*groups)
    lines = [
        *check_settings(settings),
        *(line for group in found[:6] for line in group),
        check_haproxy(),
        *found[6],
        check_address(settings, url),
        *found[7],
    ]
    secrets = Secrets(settings)
    return [secrets.hidden(line) for line in lines]


async def _one(check: Awaitable[Finding]) -> list[Finding]:
    return [await check]


async def _check_app(settings: Settings, public: str, limit_s: float) -> list[Finding]:
    here = url_of(settings)
    local = here if await is_ours(here, limit_s) else ""
    if not public and not local:
        what = "no app runs here: start make serve and run this again, or give URL="
        return [untried(REACHED, what)]
    return await check_app(App(public or local, local, settings, limit_s))
