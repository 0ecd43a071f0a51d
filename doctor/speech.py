"""Deepgram, and what takes its place: is the key known, does it hear, does it speak?

Asked as calls ask, with the same settings: a listen socket is opened, and one word is spoken.
Deepgram, "Errors"; "Get Projects".
"""

import asyncio
import time
from collections.abc import Awaitable, Callable
from importlib.util import find_spec

import httpx
from deepgram import AsyncDeepgramClient
from deepgram.core.api_error import ApiError

from doctor.findings import Finding, ok, untried, warning, within, wrong
from engine.settings import Settings
from engine.vendors.deepgram import AudioCame, FlushDone, VendorLost, client
from engine.vendors.ways import listen_routes, speak_routes
from launcher.plan import LOCAL, plan_for

KEY, HEARS, SPEAKS = "Deepgram key", "Deepgram hears", "Deepgram speaks"
LOCAL_SPEECH = "hears and speaks"
_PACKAGES = ("moonshine_voice", "piper")  # of the extra `local-speech`
_WORD = "Hello."


async def check_speech(settings: Settings, limit_s: float) -> list[Finding]:
    """Who hears and speaks for calls."""
    if plan_for(settings).speech:
        return [_local(LOCAL_SPEECH, "no DEEPGRAM_API_KEY: speech is made on this machine")]
    away, sdk = "Check the network, and DEEPGRAM_BASE_URL.", client(settings)
    key = await within(limit_s, KEY, away, _key(sdk, settings))
    if key.is_wrong:
        return [key, untried(HEARS, "see the key"), untried(SPEAKS, "see the key")]
    hears = within(limit_s, HEARS, away, _hears(HEARS, settings, "STT_MODEL and STT_LANGUAGE"))
    speaks = within(limit_s, SPEAKS, away, _speaks(SPEAKS, settings, "TTS_MODEL"))
    return [key, *await asyncio.gather(hears, speaks)]


async def check_speech_fallbacks(settings: Settings, limit_s: float) -> list[Finding]:
    """Who hears and speaks while Deepgram can't."""
    stt = settings.model_copy(
        update={
            "deepgram_base_url": settings.stt_fallback,
            "deepgram_api_key": settings.stt_fallback_key or settings.deepgram_api_key,
            "stt_model": settings.stt_fallback_model or settings.stt_model,
        }
    )
    tts = settings.model_copy(
        update={
            "deepgram_base_url": settings.tts_fallback,
            "deepgram_api_key": settings.tts_fallback_key or settings.deepgram_api_key,
            "tts_model": settings.tts_fallback_model or settings.tts_model,
        }
    )
    hears = _fallback(
        "STT_FALLBACK", settings, settings.stt_fallback, limit_s, lambda part: _hears(part, stt)
    )
    speaks = _fallback(
        "TTS_FALLBACK", settings, settings.tts_fallback, limit_s, lambda part: _speaks(part, tts)
    )
    return [*await asyncio.gather(hears, speaks)]


async def _fallback(
    part: str, settings: Settings, at: str, limit_s: float, check: Callable[[str], Awaitable[Finding]]
) -> Finding:
    if plan_for(settings).speech:
        return ok(part, "not needed: speech is made on this machine")
    if at == LOCAL:
        return _local(part, "local, in reserve")
    if at:
        return await within(limit_s, part, f"Check the network, and {part}.", check(part))
    if settings.twilio_account_sid:
        return warning(
            part, "empty: nobody takes over while Deepgram is away", f"Set {part}, e.g. to `local`."
        )
    return ok(part, "empty: nobody takes over while Deepgram is away")


def _local(part: str, why: str) -> Finding:
    missing = [name for name in _PACKAGES if find_spec(name) is None]
    if missing:
        return wrong(
            part,
            f"{why}, but {' and '.join(missing)} is not installed",
            "Install trunkline[local-speech], or set a Deepgram key or another fallback.",
        )
    return ok(part, f"{why}, by make serve")


async def _key(sdk: AsyncDeepgramClient, settings: Settings) -> Finding:
    try:
        found = await sdk.manage.v1.projects.list(request_options={"max_retries": 0})
    except ApiError as error:
        if error.status_code == 403:
            return ok(KEY, "known to Deepgram")  # and may not list projects, which calls don't need
        if error.status_code == 404:
            return ok(KEY, f"{settings.deepgram_base_url} has no accounts to ask")
        return _refused(KEY, error.status_code or 0, "", "", "DEEPGRAM_API_KEY")
    except (httpx.HTTPError, OSError) as error:
        return _away(KEY, settings, f"{type(error).__name__} {error}", "DEEPGRAM_BASE_URL")
    except Exception as error:  # the SDK's own, of an answer that is none of Deepgram's
        return _away(KEY, settings, f"not Deepgram's answer ({type(error).__name__})", "DEEPGRAM_BASE_URL")
    projects = len(found.projects or [])
    return ok(KEY, f"known to Deepgram, {projects} project{'' if projects == 1 else 's'}")


async def _hears(part: str, settings: Settings, named: str = "") -> Finding:
    socket = listen_routes(settings.model_copy(update={"stt_fallback": ""})).all[0].way()
    began = time.monotonic()
    try:
        await socket.open()
    except VendorLost as lost:
        return _lost(part, lost, settings, named or f"{part}_MODEL")
    finally:
        await socket.close()
    took_ms = (time.monotonic() - began) * 1000
    return ok(part, f"{settings.stt_model}, opened in {took_ms:.0f} ms{_where(part, settings)}")


async def _speaks(part: str, settings: Settings, named: str = "") -> Finding:
    socket = speak_routes(settings.model_copy(update={"tts_fallback": ""})).all[0].way.open_socket()
    began = time.monotonic()
    try:
        await socket.open()
        await socket.say(_WORD)
        async for event in socket.events():
            if isinstance(event, AudioCame):
                took_ms = (time.monotonic() - began) * 1000
                return ok(part, f"{settings.tts_model}, spoke in {took_ms:.0f} ms{_where(part, settings)}")
            if isinstance(event, FlushDone):
                break
    except VendorLost as lost:
        return _lost(part, lost, settings, named or f"{part}_MODEL")
    finally:
        await socket.close()
    return wrong(part, f"{settings.tts_model} made no sound of a word", f"Check {named or f'{part}_MODEL'}.")


def _where(part: str, settings: Settings) -> str:
    return f" ({settings.deepgram_base_url})" if part not in (HEARS, SPEAKS) else ""


def _lost(part: str, lost: VendorLost, settings: Settings, named: str) -> Finding:
    key = "DEEPGRAM_API_KEY" if part in (HEARS, SPEAKS) else f"{part}_KEY"
    if lost.status:
        return _refused(part, lost.status, str(lost), named, key)
    return _away(part, settings, str(lost), "DEEPGRAM_BASE_URL" if part in (HEARS, SPEAKS) else part)


def _refused(part: str, status: int, said: str, named: str, key: str) -> Finding:
    match status:
        case 400 | 404:
            return wrong(part, f"refused with {status}: {said}", f"Check {named}: it does not know them so.")
        case 401:
            return wrong(part, "the key is refused", f"Set {key} to a key from console.deepgram.com.")
        case 402:
            return wrong(part, "the account has no credit left", "Add credit in console.deepgram.com.")
        case 403:
            todo = f"Give the key's project this model in console.deepgram.com, or change {named or key}."
            return wrong(part, "the key may not use this", todo)
        case 429:
            return warning(
                part,
                "as many are open at once as the plan allows",
                "Try again when fewer calls run, or ask Deepgram for more.",
            )
    return wrong(part, f"answered {status}", "See status.deepgram.com, and try again in a minute.")


def _away(part: str, settings: Settings, why: str, named: str) -> Finding:
    return wrong(
        part,
        f"{settings.deepgram_base_url} can't be used: {why}",
        f"Check the network and DNS of this machine, and {named}.",
    )
