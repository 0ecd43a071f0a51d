"""OpenAI's chat completions behind our own messages, by the openai SDK.

Facts: openai-python's source and OpenAI's docs (Streaming, Function calling). A stream that ends with neither
`[DONE]` nor a finish_reason raises nothing, the last chunk has no choices, and only closing the stream (here by
leaving `async with`, also when the task is cancelled) closes the connection at once.

The SDK makes the request, keeps the connections (aiohttp's, by its own transport: half of the CPU time of a reply with
httpx2's) and tells errors apart. Its models of messages and chunks are passed by: to fill them took most of a reply's
CPU time, and we read five fields.
"""

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Iterator
from typing import Any

import aiohttp
import httpx2
import msgspec
import openai

from engine.messages import ModelDelta, ModelDone, Respond, Usage
from engine.settings import Settings

log = logging.getLogger("engine.vendors.openai")

CONNECT_LIMIT_S = 2.0
WARM_LIMIT_S = 2.0
READ_OUT_LIMIT_S = 0.5
KEEP_ALIVE_S = 120.0  # the SDK's 5 s would make most turns of a call pay for a new connection


class _Function(msgspec.Struct):
    name: str | None = None
    arguments: str | None = None


class _Part(msgspec.Struct):
    """A fragment of a tool call."""

    index: int | None = None
    id: str | None = None
    function: _Function | None = None


class _Delta(msgspec.Struct):
    content: str | None = None
    refusal: str | None = None
    tool_calls: list[_Part] | None = None


class _Choice(msgspec.Struct):
    delta: _Delta | None = None
    finish_reason: str | None = None


class _Cached(msgspec.Struct):
    cached_tokens: float | None = None


class _Used(msgspec.Struct):
    prompt_tokens: float | None = None
    completion_tokens: float | None = None
    prompt_tokens_details: _Cached | None = None


class _Error(msgspec.Struct):
    message: str | None = None


class _Chunk(msgspec.Struct):
    """One event of a streamed chat completion (OpenAI, API reference: the chat completion chunk object)."""

    model: str | None = None
    choices: list[_Choice] | None = None
    usage: _Used | None = None
    error: _Error | str | None = None


_Stream = openai.AsyncStream[object]  # read past its decoder

# The SDK's aiohttp transport passes some of aiohttp's errors on as they are.
_NO_ANSWER = (openai.APIError, httpx2.HTTPError, aiohttp.ClientError)

_decode = msgspec.json.Decoder(_Chunk, strict=False).decode  # some servers write counts as they like


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
            http_client=openai.DefaultAioHttpClient(limits=limits, timeout=timeout),
            timeout=timeout,
        )
        self._settings = settings
        self._model = settings.llm_model

    async def warm(self) -> None:
        """Loads what the first request would and opens a connection. Any answer will do, or none."""
        with contextlib.suppress(*_NO_ANSWER):
            await self._client.get(
                f"/models/{self._model}", cast_to=httpx2.Response, options={"timeout": WARM_LIMIT_S}
            )

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
        except openai.APIConnectionError as error:
            yield _failed(ask, f"APIConnectionError: {_cause(error)}")
        except openai.APIError as error:
            yield _failed(ask, f"{type(error).__name__}: {error.message}")
        except (httpx2.HTTPError, aiohttp.ClientError) as error:
            yield _failed(ask, f"the stream broke off: {_cause(error)}")
        except msgspec.DecodeError as error:
            yield _failed(ask, f"the stream is not one of chat completion chunks: {error}")

    async def _pieces(self, ask: Respond) -> AsyncIterator[ModelDelta | ModelDone]:
        usage, finish, model = Usage(), "", ""
        async with await self._open(ask) as stream:
            events = _events(stream.response.aiter_bytes())
            async for data in events:
                if data.startswith(b"[DONE]"):
                    break
                chunk = _decode(data)
                if chunk.error is not None:
                    told = getattr(chunk.error, "message", None) or chunk.error
                    yield _failed(ask, f"the model reports: {told}")
                    return
                model = chunk.model or model
                if chunk.usage is not None:
                    usage = _usage(chunk.usage)
                for choice in (chunk.choices or ())[:1]:
                    finish = choice.finish_reason or finish
                    for piece in _deltas(ask.request, choice.delta or _Delta()):
                        yield piece
            if finish:
                yield ModelDone(ask.request, finish, usage, model)
            else:
                yield _failed(ask, "the stream ended without a finish_reason")
            await _read_out(events)

    async def _open(self, ask: Respond) -> _Stream:
        try:
            return await self._post(ask)
        except openai.NotFoundError:
            fallback = self._settings.llm_fallback_model
            if not fallback or fallback == self._model:
                raise
            log.warning("model %s is not found; going on with %s", self._model, fallback)
            self._model = fallback
            return await self._post(ask)

    async def _post(self, ask: Respond) -> _Stream:
        """What `chat.completions.create` sends, which would first walk through all of it by name."""
        settings = self._settings
        body: dict[str, Any] = {
            "model": self._model,
            "messages": ask.messages,
            "stream": True,
            "stream_options": {"include_usage": True, "include_obfuscation": False},
            "max_completion_tokens": settings.llm_max_tokens,
        }
        if ask.tools:
            body["tools"] = ask.tools
        if settings.llm_temperature is not None:
            body["temperature"] = settings.llm_temperature
        return await self._client.post(
            "/chat/completions", body=body, cast_to=object, stream=True, stream_cls=_Stream
        )


async def _events(body: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    """The data of each server-sent event (WHATWG, HTML: Server-sent events); one that the end cuts off, too."""
    rest = b""
    data: list[bytes] = []
    async for piece in body:
        *lines, rest = (rest + piece).split(b"\n")
        for line in lines:
            line = line.removesuffix(b"\r")
            if line.startswith(b"data:"):
                data.append(line[5:].removeprefix(b" "))
            elif not line and data:
                yield b"\n".join(data)
                data.clear()
    if rest.startswith(b"data:"):
        data.append(rest[5:].strip())
    if data:
        yield b"\n".join(data)


async def _read_out(events: AsyncIterator[bytes]) -> None:
    """Reads a body to its end, so that its connection may be used again; whatever comes, the reply is over."""
    with contextlib.suppress(TimeoutError, httpx2.HTTPError, aiohttp.ClientError):
        async with asyncio.timeout(READ_OUT_LIMIT_S):
            async for _ in events:
                pass


def _deltas(request: int, delta: _Delta) -> Iterator[ModelDelta]:
    text = delta.content or delta.refusal
    if text:
        yield ModelDelta(request, text=text)
    for part in delta.tool_calls or ():
        function = part.function or _Function()
        yield ModelDelta(
            request,
            tool_index=part.index or 0,
            tool_id=part.id or "",
            tool_name=function.name or "",
            tool_arguments=function.arguments or "",
        )


def _usage(usage: _Used) -> Usage:
    details = usage.prompt_tokens_details or _Cached()
    return Usage(
        prompt=int(usage.prompt_tokens or 0),
        cached=int(details.cached_tokens or 0),
        completion=int(usage.completion_tokens or 0),
    )


def _cause(error: BaseException) -> str:
    """What happened below the SDK, whose aiohttp transport takes refused and lost connections for time-outs."""
    while error.__cause__ is not None:
        error = error.__cause__
    return f"{type(error).__name__} {error}"


def _failed(ask: Respond, why: str) -> ModelDone:
    return ModelDone(ask.request, "error", Usage(), why=why)
