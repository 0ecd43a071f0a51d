"""OpenAI's chat completions behind our own messages, by the openai SDK.

Facts: openai-python's source and OpenAI's docs (Streaming, Function calling). A stream that ends with neither
`[DONE]` nor a finish_reason raises nothing, the last chunk has no choices, and only closing the stream (here by
leaving `async with`, also when the task is cancelled) closes the connection at once.
"""

import asyncio
import logging
from collections.abc import AsyncIterator
from typing import Any

import httpx2
import openai

from engine.messages import ModelDelta, ModelDone, Respond, Usage
from engine.settings import Settings

log = logging.getLogger("engine.vendors.openai")

CONNECT_LIMIT_S = 2.0
KEEP_ALIVE_S = 120.0  # the SDK's 5 s would make most turns of a call pay for a new connection


class ChatModel:
    """The process's model client: one connection pool for all calls."""

    def __init__(self, settings: Settings) -> None:
        limits = httpx2.Limits(
            max_connections=1000, max_keepalive_connections=200, keepalive_expiry=KEEP_ALIVE_S
        )
        timeout = httpx2.Timeout(settings.llm_first_token_s, connect=CONNECT_LIMIT_S)
        self._client = openai.AsyncOpenAI(
            api_key=settings.openai_api_key or "local",
            base_url=settings.openai_base_url,
            max_retries=0,
            http_client=openai.DefaultAsyncHttpxClient(limits=limits, timeout=timeout),
            timeout=timeout,
        )
        self._settings = settings
        self._model = settings.llm_model

    async def close(self) -> None:
        """Closes the connections."""
        await self._client.close()

    async def stream(self, ask: Respond) -> AsyncIterator[ModelDelta | ModelDone]:
        """One reply, piece by piece; the last piece is always a `ModelDone`. Cancelling closes the connection."""
        try:
            async with asyncio.timeout(self._settings.llm_reply_s):
                async for piece in self._pieces(ask):
                    yield piece
        except TimeoutError:
            yield _failed(ask, f"no whole reply within {self._settings.llm_reply_s:g} s")
        except openai.APIError as error:
            yield _failed(ask, f"{type(error).__name__}: {error.message}")

    async def _pieces(self, ask: Respond) -> AsyncIterator[ModelDelta | ModelDone]:
        usage, finish, model = Usage(), "", ""
        async with await self._open(ask) as stream:
            async for chunk in stream:
                model = chunk.model or model
                if chunk.usage is not None:
                    usage = _usage(chunk.usage)
                if not chunk.choices:
                    continue
                choice = chunk.choices[0]
                finish = choice.finish_reason or finish
                for piece in _deltas(ask.request, choice.delta):
                    yield piece
        if finish:
            yield ModelDone(ask.request, finish, usage, model)
        else:
            yield _failed(ask, "the stream ended without a finish_reason")

    async def _open(self, ask: Respond) -> Any:
        try:
            return await self._create(ask)
        except openai.NotFoundError:
            fallback = self._settings.llm_fallback_model
            if not fallback or fallback == self._model:
                raise
            log.warning("model %s is not found; going on with %s", self._model, fallback)
            self._model = fallback
            return await self._create(ask)

    async def _create(self, ask: Respond) -> Any:
        settings = self._settings
        options: dict[str, Any] = {"messages": ask.messages}
        if ask.tools:
            options["tools"] = ask.tools
        if settings.llm_temperature is not None:
            options["temperature"] = settings.llm_temperature
        return await self._client.chat.completions.create(
            model=self._model,
            stream=True,
            stream_options={"include_usage": True, "include_obfuscation": False},
            max_completion_tokens=settings.llm_max_tokens,
            **options,
        )


def _deltas(request: int, delta: Any) -> list[ModelDelta]:
    pieces = []
    text = getattr(delta, "content", None) or getattr(delta, "refusal", None)
    if text:
        pieces.append(ModelDelta(request, text=text))
    for part in getattr(delta, "tool_calls", None) or ():
        function = part.function
        pieces.append(
            ModelDelta(
                request,
                tool_index=part.index or 0,
                tool_id=part.id or "",
                tool_name=getattr(function, "name", None) or "",
                tool_arguments=getattr(function, "arguments", None) or "",
            )
        )
    return pieces


def _usage(usage: Any) -> Usage:
    details = getattr(usage, "prompt_tokens_details", None)
    return Usage(
        prompt=usage.prompt_tokens or 0,
        cached=getattr(details, "cached_tokens", None) or 0,
        completion=usage.completion_tokens or 0,
    )


def _failed(ask: Respond, why: str) -> ModelDone:
    return ModelDone(ask.request, "error", Usage(), why=why)
