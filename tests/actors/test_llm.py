"""LlmActor and the openai SDK over real sockets, against a scripted model and a server that sends what it likes."""

import asyncio
import json
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

from actors.llm import LlmActor
from engine import phrases
from engine.actor import spawn
from engine.attempts import Patience
from engine.history import GO_ON
from engine.messages import (
    AttemptFailed,
    Cancel,
    ModelDelta,
    ModelDone,
    Others,
    ReplyEnded,
    ReplyFailed,
    Respond,
    Sentence,
    ToolCall,
    ToolCalls,
    Trouble,
    Usage,
)
from engine.models import RoutedModel
from engine.settings import Settings
from engine.vendors.openai import chat_models
from local.chat import Outcome, Record
from local.serving import serving
from simulators.model import load_script, scripted_app
from tests.actors.told import Told

FAST = {"first_token_s": 0, "gap_s": 0}
ASKED = {"role": "user", "content": "hello"}
TEXT = "Sure, I can help. We open at 8 a.m. on Monday. Is nine fine?"
SENTENCES = ["Sure, I can help.", "We open at 8 a.m. on Monday.", "Is nine fine?"]


class Line:
    """An LlmActor, its model, and what the server saw."""

    def __init__(self, port: int, record: Record, **settings: Any) -> None:
        base = f"http://127.0.0.1:{port}/v1"
        self.record = record
        self.call = Told()
        one_try = {"llm_attempts": 1, "llm_fallback_model": "", "llm_pause_s": 0.01}
        self.settings = Settings(_env_file=None, openai_base_url=base, **(one_try | settings))
        self.models = chat_models(self.settings)
        self.model = RoutedModel(self.models, self.settings)
        self.actor = LlmActor(self.model, self.call, 3, Patience.of(self.settings))

    async def close(self) -> None:
        await self.actor.kill()
        await self.model.close()
        for model in self.models:
            await model.close()

    def ask(self, text: str = "hello", request: int = 1, first_index: int = 0, tools: Any = ()) -> None:
        messages = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": text}]
        self.actor.tell(Respond(1, request, first_index, messages, list(tools)))

    async def ended(self, count: int = 1) -> ReplyEnded:
        return await self.call.next(ReplyEnded, count)

    async def failed(self, count: int = 1) -> ReplyFailed:
        return await self.call.next(ReplyFailed, count)

    def said(self) -> list[str]:
        return [sentence.text for sentence in self.call.of(Sentence)]


@asynccontextmanager
async def line_to(app: Any, record: Record | None = None, **settings: Any) -> AsyncIterator[Line]:
    async with serving(app) as server:
        line = Line(server.port, record or Record(), **settings)
        spawn(line.actor, "llm")
        try:
            yield line
        finally:
            await line.close()


@asynccontextmanager
async def line(script: dict[str, Any], **settings: Any) -> AsyncIterator[Line]:
    record = Record()
    async with line_to(scripted_app(load_script(script), record), record, **settings) as it:
        yield it


def always(say: str = TEXT, **more: Any) -> dict[str, Any]:
    return {"otherwise": FAST | {"say": say} | more}


TOOL = {
    "type": "function",
    "function": {
        "name": "find_slots",
        "description": "Finds free slots.",
        "parameters": {
            "type": "object",
            "properties": {"day": {"type": "string"}},
            "required": ["day"],
            "additionalProperties": False,
        },
        "strict": True,
    },
}


# ---------------------------------------------------------------- replies


async def test_a_reply_comes_sentence_by_sentence_and_ends_with_its_usage() -> None:
    async with line(always()) as caller:
        caller.ask(first_index=4)
        ended = await caller.ended()
        assert caller.said() == SENTENCES
        assert [sentence.index for sentence in caller.call.of(Sentence)] == [4, 5, 6]
        assert caller.call.all[-1] == ended
        assert ended.usage.prompt > 0
        assert ended.usage.completion > 0
        assert not ended.usage.estimated
        assert ended.model.startswith("gpt-4o")
        times = ended.timings
        assert 0 < times.asked_at <= times.first_token_at <= times.first_sentence_at


async def test_the_first_sentence_is_told_while_the_model_still_talks() -> None:
    failure = {"how": "stall", "after_tokens": 6}
    async with line(always(failure=failure)) as caller:
        caller.ask()
        first = await caller.call.next(Sentence)
        assert first.text == SENTENCES[0]
        assert caller.call.of(ReplyEnded) == []
        assert caller.record.exchanges[0].outcome is Outcome.RUNNING


async def test_what_is_asked_is_what_the_settings_say() -> None:
    async with line(always(), llm_model="gpt-4.1", llm_max_tokens=77, llm_temperature=0.5) as caller:
        caller.ask("an oil change", tools=[TOOL])
        await caller.ended()
        request = caller.record.exchanges[0].request
        assert request["model"] == "gpt-4.1"
        assert request["max_completion_tokens"] == 77
        assert request["temperature"] == 0.5
        assert request["stream_options"] == {"include_usage": True, "include_obfuscation": False}
        assert request["tools"] == [TOOL]
        assert request["messages"][-1] == {"role": "user", "content": "an oil change"}


async def test_without_a_temperature_or_tools_neither_is_sent() -> None:
    async with line(always(), llm_temperature=None) as caller:
        caller.ask()
        await caller.ended()
        assert not {"temperature", "tools"} & set(caller.record.exchanges[0].request)


async def test_calls_of_tools_are_put_together_from_their_fragments_and_told_after_the_sentences() -> None:
    calls = [
        {"name": "find_slots", "arguments": {"day": "Monday, the 1st of December"}, "id": "same"},
        {"name": "find_slots", "arguments": {"day": "Tuesday"}, "id": "same"},
    ]
    async with line(always("Let me look.", calls=calls)) as caller:
        caller.ask(request=6, tools=[TOOL])
        await caller.ended()
        kinds = [type(message) for message in caller.call.all]
        assert kinds == [Sentence, ToolCalls, ReplyEnded]
        assert caller.call.of(ToolCalls)[0].calls == (
            ToolCall("call_3_6_0", "find_slots", json.dumps({"day": "Monday, the 1st of December"})),
            ToolCall("call_3_6_1", "find_slots", json.dumps({"day": "Tuesday"})),
        )


# ---------------------------------------------------------------- cancelled


async def test_a_cancelled_reply_is_over_at_once_and_the_server_sees_the_connection_close() -> None:
    async with line(always(failure={"how": "stall", "after_tokens": 6})) as caller:
        caller.ask()
        await caller.call.next(Sentence)
        began = time.monotonic()
        caller.actor.tell(Cancel(1))
        failed = await caller.failed()
        assert failed.why == "cancelled"
        assert failed.usage.estimated
        assert failed.usage.completion > 0
        await caller.record.until(lambda exchanges: exchanges[0].outcome is Outcome.LEFT)
        assert time.monotonic() - began < 1.0
        assert len(caller.call.of(Sentence)) == 1


async def test_cancelling_another_request_cancels_nothing() -> None:
    async with line(always()) as caller:
        caller.ask(request=3)
        caller.actor.tell(Cancel(2))
        await caller.ended()
        assert caller.said() == SENTENCES


async def test_a_request_cancelled_before_it_left_is_never_sent() -> None:
    async with line(always()) as caller:
        caller.ask("one")
        caller.actor.tell(Cancel(1))
        assert (await caller.failed()).why == "cancelled"
        caller.ask("two", request=2)
        await caller.ended()
        assert [e.request["messages"][-1]["content"] for e in caller.record.exchanges] == ["two"]


async def test_a_newer_request_replaces_the_older_one_and_no_word_of_it_is_told_afterwards() -> None:
    rules = {
        "rules": [{"user": "slow", "answer": FAST | {"say": TEXT, "gap_s": 0.02}}],
        "otherwise": FAST | {"say": "Quick."},
    }
    async with line(rules) as caller:
        caller.ask("slow")
        await caller.call.next(Sentence)
        caller.ask("quick", request=2)
        await caller.ended()
        assert (await caller.failed()).request == 1
        after = caller.call.all[caller.call.all.index(caller.call.of(ReplyFailed)[0]) :]
        assert [m.request for m in after[1:]] == [2, 2]
        await caller.record.until(lambda exchanges: exchanges[0].outcome is Outcome.LEFT)


async def test_what_an_older_request_still_brings_is_not_told() -> None:
    async with line(always()) as caller:
        caller.ask(request=2)
        caller.actor.tell(ModelDelta(1, text="Something old. And more."))
        caller.actor.tell(ModelDone(1, "stop", Usage(1, 0, 1)))
        assert (await caller.ended()).request == 2
        assert caller.said() == SENTENCES


# ---------------------------------------------------------------- a model that fails


async def test_a_model_that_is_not_found_is_replaced_for_good() -> None:
    gone = {"status": 404, "kind": "invalid_request_error", "code": "model_not_found"}
    script = {
        "rules": [{"model": "gpt-gone", "answer": FAST | {"failure": gone}}],
        "otherwise": FAST | {"say": "Hello."},
    }
    models = {"llm_model": "gpt-gone", "llm_fallback_model": "gpt-there", "llm_attempts": 2}
    async with line(script, **models) as caller:
        for request in (1, 2):
            caller.ask(request=request)
            assert "gpt-there" in (await caller.ended(request)).fallback
        assert caller.said() == ["Hello.", "Hello."]
        models = [exchange.request["model"] for exchange in caller.record.exchanges]
        assert models == ["gpt-gone", "gpt-there", "gpt-there"]


REFUSALS = [
    (400, "context_length_exceeded", Trouble.UNFIT), (401, "invalid_api_key", Trouble.FOR_GOOD),
    (403, None, Trouble.FOR_GOOD), (404, "model_not_found", Trouble.FOR_GOOD), (422, None, Trouble.UNFIT),
    (408, None, Trouble.PASSING), (429, "rate_limit_exceeded", Trouble.PASSING),
    (429, "insufficient_quota", Trouble.FOR_GOOD), (500, None, Trouble.PASSING), (503, None, Trouble.PASSING),
]  # fmt: skip


@pytest.mark.parametrize(("status", "code", "trouble"), REFUSALS)
async def test_a_refusal_says_its_reason_and_what_may_help(
    status: int, code: str | None, trouble: Trouble
) -> None:
    failure = {"status": status, "code": code, "message": "not today"}
    async with line(always(failure=failure)) as caller:
        [over] = [piece async for piece in caller.model.stream(Respond(1, 1, 0, [ASKED], []))]
        assert isinstance(over, ModelDone)
        assert "not today" in over.why
        assert over.failure.trouble is trouble
        assert over.failure.others is Others.NONE
        assert over.failure.given_up == (trouble is Trouble.FOR_GOOD)
        assert len(caller.record.exchanges) == 1


@pytest.mark.parametrize(
    ("headers", "wait_s"),
    [
        ({"retry-after": "3"}, 3.0),
        ({"retry-after": "9", "retry-after-ms": "250"}, 0.25),
        ({"retry-after": "Wed, 21 Oct 2026 07:28:00 GMT"}, 0.0),
        ({"retry-after": "nan"}, 0.0),
    ],
)
async def test_a_refusal_may_say_how_long_it_wants_to_be_left_alone(
    headers: dict[str, str], wait_s: float
) -> None:
    async with line(always(failure={"status": 429, "headers": headers})) as caller:
        [over] = [piece async for piece in caller.model.stream(Respond(1, 1, 0, [ASKED], []))]
        assert over.failure.wait_s == wait_s


@pytest.mark.parametrize(
    "how", [{"status": 429}, {"status": 500}, {"how": "reset"}, {"how": "end"}, {"how": "error"}]
)
async def test_what_fails_at_once_is_tried_again_and_answered(how: dict[str, Any]) -> None:
    script = {
        "rules": [{"times": 1, "answer": FAST | {"say": TEXT, "failure": how}}],
        "otherwise": FAST | {"say": TEXT},
    }
    async with line(script, llm_attempts=2) as caller:
        caller.ask(first_index=4)
        await caller.ended()
        assert caller.said() == SENTENCES
        assert len(caller.call.of(AttemptFailed)) == 1


@pytest.mark.parametrize("how", ["stall", "end", "reset", "error"])
async def test_a_reply_that_broke_off_is_ended_by_the_fallback_after_its_last_whole_sentence(
    how: str,
) -> None:
    broken = {"model": "first", "answer": FAST | {"say": TEXT, "failure": {"how": how, "after_tokens": 7}}}
    models = {"llm_model": "first", "llm_fallback_model": "second", "llm_attempts": 2, "llm_stall_s": 0.2}
    async with line({"rules": [broken], "otherwise": FAST | {"say": TEXT}}, **models) as caller:
        caller.ask(first_index=2)
        ended = await caller.ended()
        assert "second" in ended.fallback
        assert caller.said() == SENTENCES
        assert [sentence.index for sentence in caller.call.of(Sentence)] == [2, 3, 4]
        request = caller.record.exchanges[1].request
        assert request["model"] == "second"
        assert request["messages"][-2:] == [
            {"role": "assistant", "content": SENTENCES[0]},
            {"role": "system", "content": GO_ON},
        ]


async def test_calls_of_tools_in_a_stream_that_broke_off_are_not_made() -> None:
    app = sending(
        chunk({"content": "Let me book that. And"}),
        chunk({"tool_calls": [part(0, '{"day": "Monday"}', id="a", name="book")]}),
    )
    async with line_to(app, llm_attempts=3) as caller:
        caller.ask(tools=[TOOL])
        await caller.failed()
        assert caller.said() == ["Let me book that."]
        assert caller.call.of(ToolCalls) == []


async def test_what_a_stream_that_broke_off_began_to_call_is_no_part_of_the_next_ones_calls() -> None:
    begun = (
        chunk({"tool_calls": [part(0, '{"day": "Mon', id="a", name="find_slots", type="function")]}),
        chunk({"tool_calls": [part(1, "{}", id="b", name="find_car", type="function")]}),
    )
    whole = (
        chunk({"tool_calls": [part(0, '{"day": "Friday"}', id="c", name="find_slots", type="function")]}),
        chunk({}, "tool_calls"),
        "[DONE]",
    )
    async with line_to(sending(begun, whole), llm_attempts=2) as caller:
        caller.ask(request=2, tools=[TOOL])
        await caller.ended()
        assert caller.call.of(ToolCalls)[0].calls == (
            ToolCall("call_3_2_0", "find_slots", '{"day": "Friday"}'),
        )


async def test_a_model_that_repeats_what_it_is_to_go_on_after_is_not_heard_twice() -> None:
    broken = {"times": 1, "answer": FAST | {"say": TEXT, "failure": {"how": "end", "after_tokens": 7}}}
    again = f"{SENTENCES[0]} Anything else?"
    async with line({"rules": [broken], "otherwise": FAST | {"say": again}}, llm_attempts=2) as caller:
        caller.ask()
        await caller.ended()
        assert caller.said() == [SENTENCES[0], "Anything else?"]


CLAUSE = "We can do the oil change and the new brakes for you on Friday in the morning at nine,"


@pytest.mark.parametrize(
    ("say", "finish", "said"),
    [
        ("We open at eight. On Monday we", "length", ["We open at eight.", phrases.SHALL_I_GO_ON]),
        ("We open at eight. We close at five.", "length", ["We open at eight.", "We close at five."]),
        ("We open at eight. On Monday we", "content_filter", ["We open at eight.", phrases.FILTERED_MORE]),
        (CLAUSE + " but not", "content_filter", [CLAUSE, phrases.FILTERED_MIDWAY]),
        ("On Monday we", "content_filter", [phrases.FILTERED]),
        ("", "content_filter", [phrases.FILTERED]),
    ],
)
async def test_a_reply_that_was_cut_short_ends_in_a_whole_sentence_and_calls_nothing(
    say: str, finish: str, said: list[str]
) -> None:
    calls = [{"name": "find_slots", "arguments": '{"day'}]
    async with line(always(say, finish=finish, calls=calls)) as caller:
        caller.ask(tools=[TOOL])
        await caller.ended()
        assert caller.said() == said
        assert caller.call.of(ToolCalls) == []


async def test_a_reply_that_is_cut_short_in_its_first_sentence_has_failed() -> None:
    async with line(always("On Monday we", finish="length")) as caller:
        caller.ask()
        await caller.failed()
        assert caller.said() == []


async def test_a_request_that_a_filter_refuses_is_answered_honestly_and_not_repeated() -> None:
    failure = {"status": 400, "code": "content_filter", "message": "filtered"}
    async with line(always(failure=failure), llm_attempts=3) as caller:
        caller.ask()
        await caller.ended()
        assert caller.said() == [phrases.FILTERED]
        assert len(caller.record.exchanges) == 1


async def test_calls_although_no_tools_were_offered_are_a_failure() -> None:
    async with line(always("", calls=[{"name": "find_slots"}])) as caller:
        caller.ask()
        assert "none were offered" in (await caller.failed()).why
        assert caller.call.of(ToolCalls) == []


async def test_a_model_that_takes_no_temperature_is_asked_without_from_then_on() -> None:
    asked: list[dict[str, Any]] = []

    async def answer(request: Request) -> Response:
        asked.append(json.loads(await request.body()))
        if "temperature" in asked[-1]:
            error = {"message": "Unsupported value", "param": "temperature", "code": "unsupported_value"}
            return JSONResponse({"error": error}, 400)
        return Response("".join(events()), media_type="text/event-stream")

    app = Starlette(routes=[Route("/v1/chat/completions", answer, methods=["POST"])])
    async with line_to(app, llm_temperature=0.3) as caller:
        for request in (1, 2):
            caller.ask(request=request)
            await caller.ended(request)
        assert ["temperature" in request for request in asked] == [True, False, False]


async def test_another_server_can_be_the_fallback_with_a_key_of_its_own() -> None:
    keys: list[str] = []

    async def answer(request: Request) -> Response:
        keys.append(request.headers["authorization"])
        return Response("".join(events()), media_type="text/event-stream")

    app = Starlette(routes=[Route("/v1/chat/completions", answer, methods=["POST"])])
    async with serving(app) as server:
        fallback = {"llm_fallback": f"http://127.0.0.1:{server.port}/v1", "llm_fallback_key": "other"}
        async with line(always(failure={"status": 401}), llm_attempts=2, **fallback) as caller:
            caller.ask()
            await caller.ended()
            assert caller.said() == ["Hello there."]
            assert keys == ["Bearer other"]


@pytest.mark.parametrize("how", ["end", "reset", "error"])
async def test_a_stream_that_breaks_off_fails_the_reply_and_what_was_told_stands(how: str) -> None:
    async with line(always(failure={"how": how, "after_tokens": 6})) as caller:
        caller.ask()
        failed = await caller.failed()
        assert failed.why
        assert failed.usage.estimated
        assert caller.said() == SENTENCES[:1]
        assert caller.call.of(ReplyEnded) == []


async def test_a_stream_that_ends_without_a_finish_says_so() -> None:
    async with line(always(failure={"how": "end", "after_tokens": 2})) as caller:
        caller.ask()
        assert "finish_reason" in (await caller.failed()).why


@pytest.mark.parametrize("after_tokens", [0, 6])
async def test_a_model_that_falls_silent_is_given_up_at_its_limit(after_tokens: int) -> None:
    failure = {"how": "stall", "after_tokens": after_tokens}
    async with line(always(failure=failure), llm_first_token_s=0.2, llm_stall_s=0.3) as caller:
        caller.ask()
        limit = "no next piece within 0.3 s" if after_tokens else "no first token within 0.2 s"
        assert (await caller.failed()).why == limit
        await caller.record.until(lambda exchanges: exchanges[0].outcome is Outcome.LEFT)


async def test_a_reply_that_never_gets_to_its_end_is_given_up_at_its_limit() -> None:
    async with line(always("word " * 500, gap_s=0.02), llm_reply_s=0.3) as caller:
        caller.ask()
        await caller.failed()
        await caller.record.until(lambda exchanges: exchanges[0].outcome is Outcome.LEFT)


async def test_with_nobody_at_the_address_the_reply_fails(unused_tcp_port: int) -> None:
    caller = Line(unused_tcp_port, Record())
    spawn(caller.actor, "llm")
    caller.ask()
    assert "Connection" in (await caller.failed()).why
    await caller.close()


@pytest.mark.parametrize(
    ("answer", "why"),
    [
        (b"", "disconnected"),
        (b"no HTTP at all\r\n\r\n", "status line"),
        (b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nno chunk\r\n", "chunk size"),
    ],
    ids=["none", "not HTTP", "not chunks"],
)
async def test_an_answer_that_is_no_http_fails_the_reply_with_what_happened(answer: bytes, why: str) -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(answer)
        writer.close()

    async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
        caller = Line(server.sockets[0].getsockname()[1], Record())
        [over] = [piece async for piece in caller.model.stream(Respond(1, 1, 0, [], []))]
        assert isinstance(over, ModelDone)
        assert why in over.why
        await caller.models[0].warm()  # any answer will do
        await caller.close()


async def test_one_failure_does_not_harm_the_next_reply() -> None:
    script = {
        "rules": [
            {"times": 1, "answer": FAST | {"failure": {"how": "reset", "after_tokens": 2}, "say": TEXT}}
        ],
        "otherwise": FAST | {"say": "Hello."},
    }
    async with line(script) as caller:
        caller.ask()
        await caller.failed()
        caller.ask(request=2)
        assert (await caller.ended()).request == 2
        assert caller.said() == ["Hello."]


# ---------------------------------------------------------------- a server that sends what it likes


Event = dict[str, Any] | str


def sending(*answers: Event | Sequence[Event]) -> Starlette:
    """A server whose every answer is these events; or which has several answers, the last of them again and again."""
    several = [list(one) for one in answers if not isinstance(one, dict | str)]
    left = several or [[one for one in answers if isinstance(one, dict | str)]]

    async def answer(request: Request) -> StreamingResponse:
        await request.body()
        events = left.pop(0) if len(left) > 1 else left[0]

        async def body() -> AsyncIterator[bytes]:
            for event in events:
                yield f"data: {event if isinstance(event, str) else json.dumps(event)}\n\n".encode()
                await asyncio.sleep(0)

        return StreamingResponse(body(), media_type="text/event-stream")

    return Starlette(routes=[Route("/v1/chat/completions", answer, methods=["POST"])])


def chunk(delta: dict[str, Any] | None = None, finish: str | None = None, **more: Any) -> dict[str, Any]:
    choices = [] if delta is None else [{"index": 0, "delta": delta, "finish_reason": finish}]
    head = {"id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 1, "model": "gpt-4o-x"}
    return head | {"choices": choices} | more


def part(index: int, arguments: str, **more: Any) -> dict[str, Any]:
    name = {"name": more.pop("name")} if "name" in more else {}
    return {"index": index, "function": name | {"arguments": arguments}} | more


async def test_fragments_of_parallel_calls_may_be_interleaved() -> None:
    app = sending(
        chunk({"role": "assistant", "content": None}),
        chunk({"tool_calls": [part(0, "", id="a", name="find_slots", type="function")]}),
        chunk({"tool_calls": [part(1, "", id="b", name="find_car", type="function"), part(0, '{"day"')]}),
        chunk({"tool_calls": [part(1, '{"vin"'), part(0, ': "Mon')]}),
        chunk({"tool_calls": [part(0, 'day"}')]}),
        chunk({"tool_calls": [part(1, ": null}")]}),
        chunk({}, "tool_calls"),
        chunk(usage={"prompt_tokens": 9, "completion_tokens": 5, "total_tokens": 14}),
        "[DONE]",
    )
    async with line_to(app) as caller:
        caller.ask(request=2, tools=[TOOL])
        await caller.ended()
        assert caller.call.of(ToolCalls)[0].calls == (
            ToolCall("call_3_2_0", "find_slots", '{"day": "Monday"}'),
            ToolCall("call_3_2_1", "find_car", '{"vin": null}'),
        )


async def test_cached_tokens_are_counted_and_chunks_without_choices_are_no_harm() -> None:
    usage = {
        "prompt_tokens": 1200, "completion_tokens": 8, "total_tokens": 1208,
        "prompt_tokens_details": {"cached_tokens": 1024},
    }  # fmt: skip
    app = sending(
        chunk(),
        chunk({"role": "assistant", "content": ""}),
        chunk({"content": "Hel"}),
        chunk({"content": "lo."}),
        chunk({}, "stop"),
        chunk(usage=usage),
        "[DONE]",
    )
    async with line_to(app) as caller:
        caller.ask()
        ended = await caller.ended()
        assert (ended.usage.prompt, ended.usage.cached, ended.usage.completion) == (1200, 1024, 8)
        assert caller.said() == ["Hello."]
        assert ended.model == "gpt-4o-x"


async def test_a_server_that_gives_no_usage_is_estimated() -> None:
    app = sending(chunk({"content": "Hello there."}), chunk({}, "stop"), "[DONE]")
    async with line_to(app) as caller:
        caller.ask()
        usage = (await caller.ended()).usage
        assert usage.estimated
        assert usage.completion == 3


async def test_a_refusal_of_the_models_own_is_spoken() -> None:
    app = sending(chunk({"refusal": "I can't do that."}), chunk({}, "stop"), "[DONE]")
    async with line_to(app) as caller:
        caller.ask()
        await caller.ended()
        assert caller.said() == ["I can't do that."]


async def test_a_stream_that_is_not_json_fails_the_reply() -> None:
    async with line_to(sending(chunk({"content": "Hello. "}), "{nonsense")) as caller:
        caller.ask()
        assert (await caller.failed()).why


async def test_an_answer_that_is_no_stream_at_all_fails_the_reply() -> None:
    async with line_to(sending()) as caller:
        caller.ask()
        assert (await caller.failed()).why


# ---------------------------------------------------------------- how events may be written

GREETED = [chunk({"content": "Hello there."}), chunk({}, "stop")]


def written(*pieces: str, ends: bool = True) -> Starlette:
    """A server whose every answer is this text; with `ends` false the body is held open after it."""

    async def answer(request: Request) -> StreamingResponse:
        await request.body()

        async def body() -> AsyncIterator[bytes]:
            for piece in pieces:
                yield piece.encode()
                await asyncio.sleep(0)
            if not ends:
                await asyncio.sleep(3600)

        return StreamingResponse(body(), media_type="text/event-stream")

    return Starlette(routes=[Route("/v1/chat/completions", answer, methods=["POST"])])


def events(*between: str, end: str = "\n\n") -> list[str]:
    first, last = (f"data: {json.dumps(one, ensure_ascii=False)}{end}" for one in GREETED)
    return [first, *between, last, f"data: [DONE]{end}"]


@pytest.mark.parametrize(
    "pieces",
    [
        events(": ping \n\n", ": \n\n", "event: \n", "id: 7\nretry: 10\n\n"),
        events(end="\r\n\r\n"),
        ["".join(events())],
        list("".join(events())),
        [*events(), "data: {nonsense\n\n"],
        [piece.replace('"choices"', '\ndata: "choices"') for piece in events()],
        [piece.replace("data: ", "data:") for piece in events()],
    ],
    ids=["comments", "crlf", "one piece", "bytes", "after the end", "several lines", "no space"],
)
async def test_events_may_be_written_in_any_way_that_the_standard_allows(pieces: list[str]) -> None:
    async with line_to(written(*pieces)) as caller:
        caller.ask()
        await caller.ended()
        assert caller.said() == ["Hello there."]


async def test_a_reply_is_whole_at_its_finish_although_nothing_follows() -> None:
    async with line_to(written(events()[0], f"data: {json.dumps(GREETED[1])}\n\n", ends=False)) as caller:
        caller.ask()
        await caller.ended()
        assert caller.said() == ["Hello there."]


async def test_a_connection_is_used_again_after_a_reply() -> None:
    ports: list[int] = []

    async def answer(request: Request) -> Response:
        assert request.client is not None
        ports.append(request.client.port)
        return Response("".join(events()), media_type="text/event-stream")

    app = Starlette(routes=[Route("/v1/chat/completions", answer, methods=["POST"])])
    async with line_to(app) as caller:
        for request in (1, 2, 3):
            caller.ask(request=request)
            await caller.ended(request)
            await asyncio.sleep(0.05)  # the body is read out beside the mailbox
        assert len(set(ports)) == 1


async def test_line_separators_of_unicode_are_text() -> None:
    text = chunk({"content": "Open at nine.\u2028Come by."})
    app = written(f"data: {json.dumps(text, ensure_ascii=False)}\n\n", *events()[1:])
    async with line_to(app) as caller:
        caller.ask()
        await caller.ended()
        assert [said.strip() for said in caller.said()] == ["Open at nine.", "Come by."]


async def test_a_reply_is_over_at_its_end_even_if_the_body_is_held_open() -> None:
    async with line_to(written(*events(), ends=False)) as caller:
        caller.ask()
        async with asyncio.timeout(1.9):  # a stall's limit is longer
            await caller.ended()
        assert caller.said() == ["Hello there."]
        caller.ask(request=2)
        assert (await caller.call.next(ReplyEnded, 2)).request == 2
