"""The model, and what takes its place: is the key good, is the model there, does it answer?

OpenAI, API reference: "Retrieve model", "Create chat completion", "Error codes". A model may be listed and not answer,
for want of credit or because it takes no temperature or no tools; so it is asked for one word as calls ask: with their
settings, a tool, and a stream for the answer.
"""

import asyncio
import time
from typing import Any

import aiohttp
import httpx2
import openai

from doctor.findings import Finding, ok, untried, warning, within, wrong
from engine.settings import Settings
from launcher.plan import LOCAL, plan_for

MODEL, FALLBACK = "thinks", "LLM_FALLBACK"
_FEW_TOKENS = 16
_TOOL: Any = {
    "type": "function",
    "function": {
        "name": "get_opening_hours",
        "description": "When the dealership is open.",
        "parameters": {"type": "object", "properties": {}},
    },
}
_NO_ANSWER = (openai.APIConnectionError, httpx2.HTTPError, aiohttp.ClientError, OSError)


async def check_model(settings: Settings, limit_s: float) -> list[Finding]:
    """Who thinks for calls, and who while that one can't."""
    if plan_for(settings).receptionist:
        return [ok(MODEL, "no OPENAI_API_KEY: the local receptionist answers, by rules")]
    away = "Check the network, and OPENAI_BASE_URL."
    first, second = await asyncio.gather(
        within(limit_s, MODEL, away, _thinks(MODEL, settings, "OPENAI", "LLM_MODEL")),
        _fallback(settings, limit_s),
    )
    if first.is_wrong and second.is_wrong and first.what == second.what:
        second = untried(FALLBACK, f"see {MODEL}: it is the same server")
    return [first, second]


async def _fallback(settings: Settings, limit_s: float) -> Finding:
    if settings.llm_fallback == LOCAL:
        return ok(FALLBACK, "the local receptionist, in reserve; make serve starts it")
    if not settings.llm_fallback and not settings.llm_fallback_model:
        return warning(
            FALLBACK,
            "nobody takes over when the model can't answer",
            "Set LLM_FALLBACK_MODEL or LLM_FALLBACK.",
        )
    second = settings.model_copy(
        update={
            "openai_base_url": settings.llm_fallback or settings.openai_base_url,
            "openai_api_key": settings.llm_fallback_key or settings.openai_api_key,
            "llm_model": settings.llm_fallback_model or settings.llm_model,
        }
    )
    todo = "Check the network, and LLM_FALLBACK."
    asking = _thinks(FALLBACK, second, "LLM_FALLBACK", "LLM_FALLBACK_MODEL")
    return await within(limit_s, FALLBACK, todo, asking)


async def _thinks(part: str, settings: Settings, at: str, named: str) -> Finding:
    key = f"{at}_API_KEY" if at == "OPENAI" else f"{at}_KEY"
    began = time.monotonic()
    try:
        async with openai.AsyncOpenAI(
            api_key=settings.openai_api_key or "local", base_url=settings.openai_base_url, max_retries=0
        ) as vendor:
            await _asked(vendor, settings)
    except openai.APIStatusError as error:
        return _refused(part, error, settings.llm_model, key, named)
    except _NO_ANSWER as error:
        base = f"{at}_BASE_URL" if at == "OPENAI" else at
        return wrong(
            part,
            f"{settings.openai_base_url} can't be reached ({_cause(error)})",
            f"Check the network and DNS of this machine, and {base}.",
        )
    except Exception as error:  # the SDK's own, of an answer that is none
        base = f"{at}_BASE_URL" if at == "OPENAI" else at
        return wrong(
            part,
            f"{settings.openai_base_url} does not answer as a model does ({type(error).__name__})",
            f"Check {base}: it is a server's address up to and with its /v1.",
        )
    took_s = time.monotonic() - began
    return ok(part, f"{settings.llm_model}, answered in {took_s:.1f} s ({settings.openai_base_url})")


async def _asked(vendor: openai.AsyncOpenAI, settings: Settings) -> None:
    try:
        await vendor.models.retrieve(settings.llm_model)
    except openai.NotFoundError as error:
        if error.code == "model_not_found":
            raise  # others have no such list, and answer all the same
    options: dict[str, Any] = {}
    if settings.llm_temperature is not None:
        options["temperature"] = settings.llm_temperature
    answer = await vendor.chat.completions.create(
        model=settings.llm_model,
        messages=[{"role": "user", "content": "Say yes."}],
        max_completion_tokens=_FEW_TOKENS,
        tools=[_TOOL],
        stream=True,
        **options,
    )
    if not [choice async for chunk in answer for choice in chunk.choices]:
        raise ValueError("no choices")


def _refused(part: str, error: openai.APIStatusError, model: str, key: str, named: str) -> Finding:
    said = " ".join(str(error.message).split())
    match error.status_code:
        case 401:
            return wrong(part, "the key is refused", f"Set {key} to a key of the server that is asked.")
        case 402:
            return wrong(part, "the account has no credit left", f"Add credit to the account of {key}.")
        case 403:
            return wrong(
                part, f"the key may not use {model}", f"Allow it in the key's project, or change {named}."
            )
        case 404:
            return wrong(part, f"{model} is not known there", f"Set {named} to a model that it has.")
        case 429 if error.code == "insufficient_quota":
            return wrong(part, "the account has no credit left", f"Add credit to the account of {key}.")
        case 429:
            todo = "Try again in a minute; if it stays so, ask the vendor for higher limits."
            return warning(part, "more is asked of it than the account's limits allow", todo)
        case 400:
            return wrong(
                part,
                f"refuses what calls ask: {said}",
                f"Change {named} to a model that takes tools, or empty LLM_TEMPERATURE if that is meant.",
            )
    return wrong(
        part, f"answered {error.status_code}", "See the vendor's status page, and try again in a minute."
    )


def _cause(error: BaseException) -> str:
    while error.__cause__ is not None:
        error = error.__cause__
    return f"{type(error).__name__} {error}".strip()
