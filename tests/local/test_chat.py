"""The chat front, spoken to by OpenAI's own SDK over sockets."""

import asyncio
import json
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx2
import openai
import pytest

from local.chat import Call, CutShort, Finish, Outcome, Piece, Record, Refused, Text, chat_app
from local.serving import serving

USER = [{"role": "user", "content": "Hello"}]
TOOL = {
    "type": "function",
    "function": {
        "name": "get_available_slots",
        "strict": True,
        "parameters": {
            "type": "object",
            "properties": {"date": {"type": "string"}},
            "required": ["date"],
            "additionalProperties": False,
        },
    },
}


class Fixed:
    """A brain that says the pieces it was given; an exception among them is raised."""

    model = "fixed-1"

    def __init__(self, *pieces: Piece | Exception) -> None:
        self.pieces = pieces
        self.closed = asyncio.Event()

    async def reply(self, request: dict[str, Any]) -> AsyncGenerator[Piece, None]:
        for piece in self.pieces:
            if isinstance(piece, Exception):
                raise piece
            yield piece


class Endless(Fixed):
    """Talks until it is stopped."""

    async def reply(self, request: dict[str, Any]) -> AsyncGenerator[Piece, None]:
        try:
            while True:
                yield Text("and ")
                await asyncio.sleep(0.001)
        finally:
            self.closed.set()


@asynccontextmanager
async def client_of(brain: Any, record: Record | None = None) -> AsyncIterator[openai.AsyncOpenAI]:
    async with (
        serving(chat_app(brain, record)) as server,
        openai.AsyncOpenAI(
            api_key="sk-test", base_url=f"{server.http_url}/v1", max_retries=0, timeout=10
        ) as client,
    ):
        yield client


async def chunks_of(client: openai.AsyncOpenAI, **options: Any) -> list[Any]:
    stream = await client.chat.completions.create(model="any", messages=USER, stream=True, **options)
    async with stream:
        return [chunk async for chunk in stream]


async def test_a_streamed_reply_has_role_text_finish_and_usage_in_openais_order() -> None:
    async with client_of(Fixed(Text("Good"), Text(" morning."))) as client:
        chunks = await chunks_of(client, stream_options={"include_usage": True})
    deltas = [chunk.choices[0].delta for chunk in chunks[:-1]]
    assert deltas[0].role == "assistant"
    assert [delta.content for delta in deltas] == ["", "Good", " morning.", None]
    assert [c.choices[0].finish_reason for c in chunks[:-1]] == [None, None, None, "stop"]
    assert all(chunk.usage is None for chunk in chunks[:-1])
    assert chunks[-1].choices == []
    usage = chunks[-1].usage
    assert usage.total_tokens == usage.prompt_tokens + usage.completion_tokens
    assert usage.completion_tokens == 4
    assert {chunk.id for chunk in chunks} == {chunks[0].id}
    assert chunks[0].model == "fixed-1"


async def test_without_include_usage_no_chunk_speaks_of_usage() -> None:
    async with client_of(Fixed(Text("Hi"))) as client:
        chunks = await chunks_of(client)
    assert all("usage" not in chunk.model_dump(exclude_unset=True) for chunk in chunks)
    assert all(chunk.choices for chunk in chunks)


async def test_tool_calls_come_in_fragments_keyed_by_index_after_the_text() -> None:
    first, second = json.dumps({"date": "2026-11-27"}), json.dumps({"date": 'a "quoted" \\ day'})
    brain = Fixed(
        Text("Let me check."), Call("get_available_slots", first, "call_a"), Call("get_hours", second)
    )
    async with client_of(brain) as client:
        chunks = await chunks_of(client, tools=[TOOL])
    parts = [part for c in chunks if c.choices for part in c.choices[0].delta.tool_calls or []]
    assert [part.function.name for part in parts if part.id] == ["get_available_slots", "get_hours"]
    assert parts[0].id == "call_a"
    for index, whole in enumerate((first, second)):
        fragments = [part.function.arguments for part in parts if part.index == index]
        assert len(fragments) > 2
        assert "".join(fragments) == whole
    assert chunks[-1].choices[0].finish_reason == "tool_calls"


async def test_a_reply_of_only_tool_calls_begins_with_null_content() -> None:
    async with client_of(Fixed(Call("end_call", "{}"))) as client:
        chunks = await chunks_of(client)
    delta = chunks[0].choices[0].delta
    assert (delta.role, delta.content, delta.tool_calls[0].function.name) == ("assistant", None, "end_call")


async def test_the_body_ends_right_after_done() -> None:
    async with (
        serving(chat_app(Fixed(Text("Hi")))) as server,
        httpx2.AsyncClient(base_url=server.http_url, timeout=10) as http,
    ):
        answer = await http.post(
            "/v1/chat/completions",
            headers={"Authorization": "Bearer sk-test"},
            json={"model": "any", "messages": USER, "stream": True},
        )
    assert answer.headers["content-type"] == "text/event-stream; charset=utf-8"
    assert answer.headers["x-request-id"].startswith("req_")
    assert answer.text.endswith('"finish_reason":"stop"}]}\n\ndata: [DONE]\n\n')
    assert all(line.startswith("data: ") for line in answer.text.split("\n\n") if line)


async def test_a_reply_that_is_not_streamed_is_one_completion() -> None:
    brain = Fixed(Text("One "), Text("moment."), Call("end_call", "{}", "call_z"))
    async with client_of(brain) as client:
        whole = await client.chat.completions.create(model="any", messages=USER)
    message = whole.choices[0].message
    assert message.content == "One moment."
    assert message.tool_calls is not None
    assert message.tool_calls[0].id == "call_z"
    assert whole.choices[0].finish_reason == "tool_calls"
    assert whole.usage is not None
    assert whole.usage.total_tokens > 0


async def test_a_brain_may_name_its_own_finish_reason() -> None:
    async with client_of(Fixed(Text("I was going to"), Finish("length"))) as client:
        assert (await chunks_of(client))[-1].choices[0].finish_reason == "length"


@pytest.mark.parametrize("leave", ["cancel", "close"])
async def test_a_client_that_leaves_in_mid_reply_stops_the_brain_and_is_recorded(leave: str) -> None:
    brain, record = Endless(), Record()
    async with client_of(brain, record) as client:
        heard = asyncio.Event()

        async def listen() -> None:
            stream = await client.chat.completions.create(model="any", messages=USER, stream=True)
            async with stream:
                async for chunk in stream:
                    if chunk.choices[0].delta.content:
                        heard.set()
                        if leave == "close":
                            return

        listening = asyncio.create_task(listen())
        async with asyncio.timeout(10):
            await heard.wait()
            if leave == "cancel":
                listening.cancel()
            await asyncio.wait([listening])
            await brain.closed.wait()
        await record.until(lambda exchanges: exchanges[0].outcome is Outcome.LEFT)
        exchange = record.exchanges[0]
    assert exchange.text.startswith("and and" if exchange.text.count("and") > 1 else "and ")
    assert exchange.first_s is not None
    assert exchange.ended_s is not None
    assert exchange.first_s <= exchange.ended_s


async def test_a_client_that_leaves_before_the_first_token_is_noticed_too() -> None:
    class Silent(Fixed):
        async def reply(self, request: dict[str, Any]) -> AsyncGenerator[Piece, None]:
            try:
                await asyncio.Event().wait()
                yield Text("never")
            finally:
                self.closed.set()

    brain, record = Silent(), Record()
    async with client_of(brain, record) as client:
        asking = asyncio.create_task(chunks_of(client))
        await record.until(lambda exchanges: len(exchanges) == 1)
        asking.cancel()
        await record.until(lambda exchanges: exchanges[0].outcome is Outcome.LEFT)
        assert brain.closed.is_set()
        await asyncio.wait([asking])


async def test_a_reply_that_ends_clean_is_recorded_as_done() -> None:
    record = Record()
    async with client_of(Fixed(Text("Hi"), Call("end_call", "{}")), record) as client:
        await chunks_of(client)
        await record.until(lambda exchanges: exchanges[0].outcome is Outcome.DONE)
    assert record.exchanges[0].text == "Hi"
    assert record.exchanges[0].calls == ["end_call"]
    assert record.exchanges[0].request["messages"] == USER


async def test_no_key_is_a_401() -> None:
    async with (
        serving(chat_app(Fixed(Text("Hi")))) as server,
        httpx2.AsyncClient(base_url=server.http_url, timeout=10) as http,
    ):
        body = {"model": "any", "messages": USER}
        bare = await http.post("/v1/chat/completions", json=body)
        empty = await http.post("/v1/chat/completions", json=body, headers={"Authorization": "Bearer"})
        health = await http.get("/healthz")
    assert (bare.status_code, empty.status_code) == (401, 401)
    assert bare.json()["error"]["code"] == "invalid_api_key"
    assert health.status_code == 200


CALLS = {
    "role": "assistant",
    "content": None,
    "tool_calls": [{"id": "call_a", "type": "function", "function": {"name": "f", "arguments": "{}"}}],
}
ANSWER = {"role": "tool", "tool_call_id": "call_a", "content": "{}"}


@pytest.mark.parametrize(
    ("change", "param"),
    [
        ({"messages": [*USER, CALLS]}, "messages.[1].role"),
        ({"messages": [*USER, CALLS, *USER]}, "messages.[2].role"),
        ({"messages": [*USER, ANSWER]}, "messages.[1].role"),
        ({"messages": [*USER, CALLS, ANSWER, ANSWER]}, "messages.[3].role"),
        ({"messages": []}, "messages"),
        ({"messages": [{"role": "caller", "content": "Hi"}]}, "messages.[0].role"),
        ({"messages": [{"role": "user", "content": None}]}, "messages.[0].content"),
        ({"messages": [{"role": "assistant", "content": None}]}, "messages.[0].content"),
        ({"model": ""}, "model"),
        ({"parallel_tool_calls": False}, "parallel_tool_calls"),
        ({"tool_choice": "auto"}, "tool_choice"),
        ({"stream_options": {"include_usage": True}}, "stream_options"),
        ({"tools": []}, "tools"),
        ({"tools": [{"type": "function", "function": {"name": "no spaces"}}]}, "tools[0].function.name"),
    ],
)
async def test_what_openai_would_refuse_is_a_400_that_names_the_place(
    change: dict[str, Any], param: str
) -> None:
    async with client_of(Fixed(Text("Hi"))) as client:
        body = {"model": "any", "messages": USER} | change
        with pytest.raises(openai.BadRequestError) as refused:
            await client.post("/chat/completions", body=body, cast_to=httpx2.Response)
    assert refused.value.param == param
    assert refused.value.type == "invalid_request_error"


async def test_a_call_that_was_answered_is_taken() -> None:
    async with client_of(Fixed(Text("Hi"))) as client:
        messages: Any = [*USER, CALLS, ANSWER, *USER]
        whole = await client.chat.completions.create(model="any", messages=messages)
    assert whole.choices[0].message.content == "Hi"


async def test_a_strict_schema_with_an_optional_property_is_refused() -> None:
    loose = json.loads(json.dumps(TOOL))
    loose["function"]["parameters"]["required"] = []
    async with client_of(Fixed(Text("Hi"))) as client:
        with pytest.raises(openai.BadRequestError) as refused:
            await chunks_of(client, tools=[loose])
    assert refused.value.code == "invalid_function_parameters"


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b"\xff", b"[" * 100_000])
async def test_a_body_that_is_no_request_is_a_400(body: bytes) -> None:
    async with (
        serving(chat_app(Fixed(Text("Hi")))) as server,
        httpx2.AsyncClient(base_url=server.http_url, timeout=10) as http,
    ):
        headers = {"Authorization": "Bearer sk-test"}
        answer = await http.post("/v1/chat/completions", content=body, headers=headers)
    assert answer.status_code == 400
    assert answer.json()["error"]["type"] == "invalid_request_error"


async def test_a_refusal_before_the_first_piece_is_an_http_status_with_its_headers() -> None:
    refusal = Refused(
        429, "Slow down.", kind="requests", code="rate_limit_exceeded", headers={"retry-after": "7"}
    )
    record = Record()
    async with client_of(Fixed(refusal), record) as client:
        with pytest.raises(openai.RateLimitError) as raised:
            await chunks_of(client)
        await record.until(lambda exchanges: exchanges[0].outcome is Outcome.REFUSED)
    assert raised.value.code == "rate_limit_exceeded"
    assert raised.value.response.headers["retry-after"] == "7"


async def test_a_refusal_in_mid_reply_is_an_error_event() -> None:
    brain = Fixed(Text("Well"), Refused(500, "The server had an error.", kind="server_error"))
    async with client_of(brain) as client:
        with pytest.raises(openai.APIError, match="had an error") as raised:
            await chunks_of(client)
    assert not isinstance(raised.value, openai.APIStatusError)


async def test_a_clean_cut_has_no_finish_reason_and_a_hard_one_breaks_the_connection() -> None:
    async with client_of(Fixed(Text("Well"), CutShort(clean=True))) as client:
        chunks = await chunks_of(client)
    assert [chunk.choices[0].finish_reason for chunk in chunks] == [None, None]
    record = Record()
    async with client_of(Fixed(Text("Well"), CutShort(clean=False)), record) as client:
        with pytest.raises((openai.APIConnectionError, httpx2.RemoteProtocolError)):
            await chunks_of(client)
        await record.until(lambda exchanges: exchanges[0].outcome is Outcome.CUT)
