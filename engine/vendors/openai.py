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
from collections.abc import AsyncGenerator, AsyncIterator, Iterator, Mapping
from contextlib import aclosing
from typing import Any

import aiohttp
import httpx2
import msgspec
import openai

from engine.messages import ModelDelta, ModelDone, Respond, Trouble, Usage
from engine.models import ModelFailed
from engine.settings import Settings

log = logging.getLogger("engine.vendors.openai")

WARM_LIMIT_S = 2.0
READ_OUT_LIMIT_S = 0.5
EVENT_MOST = (
    64 * 1024
)  # bytes; some servers send a whole call of a tool in one, which engine/overlong.py limits
KEEP_ALIVE_S = 120.0  # the SDK's 5 s would make most turns of a call pay for a new connection
FILTERED = "content_filter"  # a finish_reason, and the code of a refusal
_NEVER_AGAIN = {"insufficient_quota", "model_not_found", "invalid_api_key"}


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
    code: str | int | None = None


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
    """One model behind one connection pool, which all calls of the process share."""

    def __init__(self, client: openai.AsyncOpenAI, model: str, settings: Settings) -> None:
        self.name = f"{model} at {client.base_url.host}"
        self._client = client
        self._model = model
        self._max_tokens = settings.llm_max_tokens
        self._temperature = settings.llm_temperature

    async def warm(self) -> None:
        """Loads what the first request would and opens a connection. Any answer will do, or none."""
        with contextlib.suppress(*_NO_ANSWER):
            await self._client.get(
                f"/models/{self._model}", cast_to=httpx2.Response, options={"timeout": WARM_LIMIT_S}
            )

    async def close(self) -> None:
        """Closes the connections; safe to run twice."""
        await self._client.close()

    async def stream(self, ask: Respond) -> AsyncGenerator[ModelDelta | ModelDone, None]:
        """One reply, piece by piece; the last piece is a `ModelDone`. Raises `ModelFailed`. Cancelling closes the
        connection."""
        try:
            async with aclosing(self._pieces(ask)) as pieces:
                async for piece in pieces:
                    yield piece
        except openai.APIStatusError as error:
            if error.code == FILTERED:
                yield ModelDone(ask.request, FILTERED, Usage())
            else:
                raise _refusal(error) from error
        except openai.APIConnectionError as error:
            raise ModelFailed(f"APIConnectionError: {_cause(error)}") from error
        except openai.APIError as error:
            raise ModelFailed(f"{type(error).__name__}: {error.message}") from error
        except (httpx2.HTTPError, aiohttp.ClientError) as error:
            raise ModelFailed(f"the stream broke off: {_cause(error)}") from error
        except msgspec.DecodeError as error:
            raise ModelFailed(f"the stream is not one of chat completion chunks: {error}") from error

    async def _pieces(self, ask: Respond) -> AsyncGenerator[ModelDelta | ModelDone, None]:
        usage, finish, model = Usage(), "", ""
        async with await self._open(ask) as stream:
            events = _events(stream.response.aiter_bytes())
            async for data in events:
                if data.startswith(b"[DONE]"):
                    break
                chunk = _decode(data)
                if chunk.error is not None:
                    raise _reported(chunk.error)
                model = chunk.model or model
                usage = _usage(chunk.usage) if chunk.usage is not None else usage
                for choice in (chunk.choices or ())[:1]:
                    finish = choice.finish_reason or finish
                    for piece in _deltas(ask.request, choice.delta or _Delta()):
                        yield piece
                if finish:
                    break
            if not finish:
                raise ModelFailed("the stream ended without a finish_reason")
            # All is said: whatever becomes of the rest, the reply is whole.
            yield ModelDone(ask.request, finish, await _usage_in(events) or usage, model)
            await _read_out(events)

    async def _open(self, ask: Respond) -> _Stream:
        try:
            return await self._post(ask)
        except openai.BadRequestError as error:
            if error.param != "temperature" or self._temperature is None:
                raise
            log.warning("%s takes no temperature; going on without", self.name)
            self._temperature = None
            return await self._post(ask)

    async def _post(self, ask: Respond) -> _Stream:
        """What `chat.completions.create` sends, which would first walk through all of it by name."""
        body: dict[str, Any] = {
            "model": self._model,
            "messages": ask.messages,
            "stream": True,
            "stream_options": {"include_usage": True, "include_obfuscation": False},
            "max_completion_tokens": self._max_tokens,
        }
        if ask.tools:
            body["tools"] = ask.tools
        if self._temperature is not None:
            body["temperature"] = self._temperature
        return await self._client.post(
            "/chat/completions", body=body, cast_to=object, stream=True, stream_cls=_Stream
        )


def chat_models(settings: Settings) -> list[ChatModel]:
    """The models that the settings name, best first. `LLM_FALLBACK=local` must have become a URL before."""
    client = _client(settings.openai_base_url, settings.openai_api_key, settings)
    models = [ChatModel(client, settings.llm_model, settings)]
    model = settings.llm_fallback_model
    if settings.llm_fallback:
        key = settings.llm_fallback_key or settings.openai_api_key
        other = _client(settings.llm_fallback, key, settings)
        models.append(ChatModel(other, model or settings.llm_model, settings))
    elif model and model != settings.llm_model:
        models.append(ChatModel(client, model, settings))
    return models


def _client(base_url: str, key: str, settings: Settings) -> openai.AsyncOpenAI:
    limits = httpx2.Limits(max_connections=1000, max_keepalive_connections=200, keepalive_expiry=KEEP_ALIVE_S)
    timeout = httpx2.Timeout(settings.llm_reply_s)  # a silent one is left much sooner: engine/models.py
    return openai.AsyncOpenAI(
        api_key=key or "local",
        base_url=base_url,
        max_retries=0,  # the pauses of the SDK are longer than a caller waits: engine/attempts.py
        http_client=openai.DefaultAioHttpClient(limits=limits, timeout=timeout),
        timeout=timeout,
    )


# ---------------------------------------------------------------- failures (OpenAI: "Error codes")


def _refusal(error: openai.APIStatusError) -> ModelFailed:
    status, code = error.status_code, error.code
    why = f"{type(error).__name__}: {error.message}"
    if status in (401, 403, 404) or code in _NEVER_AGAIN:
        return ModelFailed(why, Trouble.FOR_GOOD)
    if status < 500 and status not in (408, 409, 429):
        return ModelFailed(why, Trouble.UNFIT)
    return ModelFailed(why, Trouble.PASSING, _wait_s(error.response.headers))


def _reported(error: "_Error | str") -> ModelFailed:
    """An error that came after the 200, in the stream."""
    if isinstance(error, str):
        return ModelFailed(f"the model reports: {error}")
    trouble = Trouble.FOR_GOOD if error.code in _NEVER_AGAIN else Trouble.PASSING
    return ModelFailed(f"the model reports: {error.message or error}", trouble)


def _wait_s(headers: Mapping[str, str]) -> float:
    """How long a refusal asks to be left alone; a date, which RFC 9110 allows too, is not read."""
    for name, unit_s in (("retry-after-ms", 0.001), ("retry-after", 1.0)):
        with contextlib.suppress(KeyError, ValueError):
            wait_s = float(headers[name]) * unit_s
            if wait_s >= 0:  # not NaN either
                return wait_s
    return 0.0


def _cause(error: BaseException) -> str:
    """What happened below the SDK, whose aiohttp transport takes refused and lost connections for time-outs."""
    while error.__cause__ is not None:
        error = error.__cause__
    return f"{type(error).__name__} {error}"


# ---------------------------------------------------------------- the stream


async def _events(body: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    """The data of each server-sent event (WHATWG, HTML: Server-sent events); one that the end cuts off, too.

    Raises `msgspec.DecodeError` for one that is over `EVENT_MOST`, of which no more is read.
    """
    rest = b""
    data: list[bytes] = []
    async for piece in body:
        *lines, rest = (rest + piece).split(b"\n")
        if len(rest) + sum(map(len, data)) > EVENT_MOST:
            raise msgspec.DecodeError(f"an event is over {EVENT_MOST} bytes")
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


async def _usage_in(events: AsyncIterator[bytes]) -> Usage | None:
    """What follows the finish_reason: the usage, if it is told at all, and `[DONE]`."""
    usage = None
    with contextlib.suppress(TimeoutError, msgspec.DecodeError, httpx2.HTTPError, aiohttp.ClientError):
        async with asyncio.timeout(READ_OUT_LIMIT_S):
            async for data in events:
                if data.startswith(b"[DONE]"):
                    break
                used = _decode(data).usage
                usage = _usage(used) if used is not None else usage
    return usage


async def _read_out(events: AsyncIterator[bytes]) -> None:
    """Reads a body to its end, so that its connection may be used again; whatever comes, the reply is over."""
    with contextlib.suppress(TimeoutError, msgspec.DecodeError, httpx2.HTTPError, aiohttp.ClientError):
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
