"""The scripted model, spoken to by OpenAI's own SDK over sockets."""

import asyncio
import json
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx2
import msgspec
import openai
import pytest

from local.chat import Outcome, Record
from local.serving import serving
from simulators.model import load_script, scripted_app
from tests.processes import ended, listening

FAST = {"first_token_s": 0, "gap_s": 0}


def says(text: str, **more: Any) -> dict[str, Any]:
    return FAST | {"say": text} | more


def user(text: str) -> dict[str, Any]:
    return {"role": "user", "content": text}


@asynccontextmanager
async def model_of(script: dict[str, Any], record: Record | None = None) -> AsyncIterator[openai.AsyncOpenAI]:
    app = scripted_app(load_script(script), record or Record())
    async with (
        serving(app) as server,
        openai.AsyncOpenAI(
            api_key="sk-test", base_url=f"{server.http_url}/v1", max_retries=0, timeout=10
        ) as client,
    ):
        yield client


async def ask(client: openai.AsyncOpenAI, *messages: dict[str, Any], model: str = "gpt-4o") -> Any:
    """The whole reply, gathered by the SDK from a stream."""
    async with client.chat.completions.stream(model=model, messages=list(messages)) as stream:  # type: ignore[arg-type]
        return (await stream.get_final_completion()).choices[0]


def call_of(name: str, result: str, call_id: str = "call_1") -> list[dict[str, Any]]:
    function = {"name": name, "arguments": "{}"}
    return [
        {
            "role": "assistant",
            "content": None,
            "tool_calls": [{"id": call_id, "type": "function", "function": function}],
        },
        {"role": "tool", "tool_call_id": call_id, "content": result},
    ]


async def test_the_first_rule_that_fits_the_last_user_text_answers() -> None:
    script = {
        "rules": [
            {"user": "OIL change", "answer": says("For when?")},
            {"user_regex": r"\bbye$", "answer": says("Goodbye.")},
            {"turn": 3, "answer": says("Third.")},
        ],
        "otherwise": says("Pardon?"),
    }
    async with model_of(script) as client:
        assert (await ask(client, user("an oil change"))).message.content == "For when?"
        assert (await ask(client, user("an oil change"), user("bye"))).message.content == "Goodbye."
        assert (await ask(client, user("a"), user("b"), user("c"))).message.content == "Third."
        assert (await ask(client, user("bye now"))).message.content == "Pardon?"


async def test_parallel_calls_are_made_and_results_have_rules_of_their_own() -> None:
    calls = [
        {"name": "lookup_customer", "arguments": {"name": None}, "id": "call_x"},
        {"name": "get_available_slots", "arguments": '{"date": '},
    ]
    script = {
        "rules": [
            {"after_tool": "get_available_slots", "result": "09:00", "answer": says("Nine is free.")},
            {"after_tool": "*", "answer": says("It is full.")},
            {"user": "oil", "answer": says("Let me check.", calls=calls)},
        ]
    }
    async with model_of(script) as client:
        choice = await ask(client, user("oil change"))
        assert choice.message.content == "Let me check."
        assert [c.function.arguments for c in choice.message.tool_calls] == ['{"name": null}', '{"date": ']
        assert choice.message.tool_calls[0].id == "call_x"
        assert choice.finish_reason == "tool_calls"
        free = await ask(client, user("oil"), *call_of("get_available_slots", '["09:00"]'))
        full = await ask(client, user("oil"), *call_of("get_available_slots", "[]"))
        assert (free.message.content, full.message.content) == ("Nine is free.", "It is full.")


async def test_a_rule_can_run_out_and_a_model_can_be_missing() -> None:
    missing = {"status": 404, "kind": "invalid_request_error", "code": "model_not_found"}
    script = {
        "rules": [
            {"model": "gpt-4o", "times": 1, "answer": {"failure": missing}},
            {"user": "hello", "answer": says("Hi.")},
        ]
    }
    async with model_of(script) as client:
        with pytest.raises(openai.NotFoundError) as raised:
            await ask(client, user("hello"))
        assert raised.value.code == "model_not_found"
        assert (await ask(client, user("hello"))).message.content == "Hi."


async def test_a_request_no_rule_fits_is_an_error_that_says_so() -> None:
    async with model_of({"rules": [{"step": 1, "answer": says("Second.")}]}) as client:
        with pytest.raises(openai.InternalServerError, match="No rule of the script fits"):
            await ask(client, user("hello"))
        assert (await ask(client, user("hello"))).message.content == "Second."


WHOLE = "We have nine, nine thirty or ten. Which would you like?"


@pytest.mark.parametrize(
    ("partial", "rest"),
    [
        ("We have nine, nine thirty", "or ten. Which would you like?"),
        ("we have NINE nine thirty or ten", "Which would you like?"),
        (WHOLE, ""),
        ("Something else entirely", WHOLE),
    ],
)
async def test_told_to_go_on_it_says_only_the_rest(partial: str, rest: str) -> None:
    script = {"rules": [{"user": "friday", "turn": 1, "answer": says(WHOLE)}]}
    said = {"role": "assistant", "content": partial}
    go_on = {"role": "system", "content": "Go on after the words you have just said."}
    async with model_of(script) as client:
        choice = await ask(client, user("Friday?"), said, go_on)
    assert (choice.message.content or "").strip() == rest


async def test_the_rest_after_a_tools_result_is_found_by_the_same_rule() -> None:
    script = {
        "rules": [
            {"after_tool": "get_available_slots", "answer": says(WHOLE)},
            {"user": "friday", "answer": says("Let me check.")},
        ]
    }
    said = {"role": "assistant", "content": "We have nine,"}
    go_on = {"role": "system", "content": "Go on after the words you have just said."}
    async with model_of(script) as client:
        choice = await ask(client, user("Friday?"), *call_of("get_available_slots", "[]"), said, go_on)
    assert choice.message.content.strip() == "nine thirty or ten. Which would you like?"


async def test_the_first_token_takes_as_long_as_the_script_says() -> None:
    record = Record()
    async with model_of({"otherwise": {"say": "Hi there", "first_token_s": 0.4}}, record) as client:
        began = time.monotonic()
        await ask(client, user("hello"))
        took = time.monotonic() - began
        await record.until(lambda exchanges: exchanges[0].outcome is Outcome.DONE)
    first_s = record.exchanges[0].first_s
    assert first_s is not None
    assert 0.4 <= first_s <= took


@pytest.mark.parametrize(
    ("failure", "outcome"),
    [
        ({"how": "end", "after_tokens": 2}, Outcome.CUT),
        ({"how": "reset", "after_tokens": 2}, Outcome.CUT),
        ({"how": "error", "after_tokens": 2}, Outcome.REFUSED),
    ],
)
async def test_a_reply_fails_after_as_many_words_as_the_script_says(
    failure: dict[str, Any], outcome: Outcome
) -> None:
    record, heard, error = Record(), "", None
    async with model_of({"otherwise": says("One two three four", failure=failure)}, record) as client:
        stream = await client.chat.completions.create(
            model="gpt-4o", messages=[{"role": "user", "content": "hello"}], stream=True
        )
        async with stream:
            try:
                async for chunk in stream:
                    assert chunk.choices[0].finish_reason is None
                    heard += chunk.choices[0].delta.content or ""
            except (openai.APIError, httpx2.RemoteProtocolError) as raised:
                error = raised
        await record.until(lambda exchanges: exchanges[0].outcome is outcome)
    assert heard.split() == ["One", "two"]
    assert (error is None) == (failure["how"] == "end")


async def test_a_stalled_reply_ends_when_the_client_gives_up_and_the_record_tells_when() -> None:
    record = Record()
    stall = {"how": "stall", "after_tokens": 1}
    async with model_of({"otherwise": says("One two", failure=stall)}, record) as client:
        stream = await client.chat.completions.create(
            model="gpt-4o", messages=[{"role": "user", "content": "hello"}], stream=True
        )
        async with stream:
            async for chunk in stream:
                if chunk.choices[0].delta.content:
                    break
        await record.until(lambda exchanges: exchanges[0].outcome is Outcome.LEFT)
    assert record.exchanges[0].text.split() == ["One"]
    assert record.exchanges[0].ended_s is not None


@pytest.mark.parametrize("script", ["{", '{"rules": [{"user": "x"}]}', '{"rulez": []}'])
def test_a_script_with_a_mistake_is_refused(script: str) -> None:
    with pytest.raises(msgspec.DecodeError):
        load_script(script)


async def test_as_a_process_it_says_its_port_tells_its_record_and_ends_on_sigterm(tmp_path: Path) -> None:
    script = tmp_path / "script.json"
    script.write_text(json.dumps({"otherwise": says("Hello from afar.")}))
    async with listening("simulators.model", "--script", str(script)) as (process, port):
        async with openai.AsyncOpenAI(
            api_key="sk-test", base_url=f"http://127.0.0.1:{port}/v1", max_retries=0, timeout=10
        ) as client:
            assert (await ask(client, user("hello"))).message.content == "Hello from afar."
        async with httpx2.AsyncClient(timeout=10) as http:
            record = (await http.get(f"http://127.0.0.1:{port}/record")).json()
        assert [(e["outcome"], e["text"]) for e in record] == [("done", "Hello from afar.")]
        process.terminate()
        assert await ended(process) == 0


async def test_as_a_process_it_names_a_script_it_can_not_read(tmp_path: Path) -> None:
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        *("-m", "simulators.model", "--script", str(tmp_path / "none.json")),
        stderr=asyncio.subprocess.PIPE,
    )
    async with asyncio.timeout(30):
        _, errors = await process.communicate()
    assert process.returncode == 2
    assert b"none.json" in errors
