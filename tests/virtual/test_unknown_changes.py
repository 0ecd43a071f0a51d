"""Changes whose answer does not come, and what requests of tools tell of their call. Whole calls in virtual time."""

import asyncio
from typing import Any

import msgspec
import pytest

from engine.callrows import FinalizeCall, LogEvent
from engine.history import Returned
from engine.messages import ToolRequest, ToolResult
from engine.tools import ToolSpec
from tests.virtual.rig import CALL, GREETING, Rig, Tools
from tests.virtual.test_conversation import LONG, play

BOOK = {"user": "book", "answer": {"calls": [{"name": "book"}]}}
WHO = {"user": "who am i", "answer": {"say": "I will see who you are.", "calls": [{"name": "who"}]}}
DONE = {"result": '{"done"', "answer": {"say": "It is done."}}
NOT_DONE = {"result": "will not be", "answer": {"say": "That did not work."}}
UNSURE = {"result": "not known whether", "answer": {"say": "I am not certain of that."}}


@pytest.mark.parametrize(
    ("tools", "told", "done"),
    [
        (Tools(reply_s=60.0), "It is done.", '{"done": "book"}'),  # the reply is lost
        (Tools(took_s=60.0), "That did not work.", None),  # it would have been done too late
    ],
    ids=["done", "void"],
)
def test_a_caller_is_told_the_truth_of_a_booking_that_is_not_answered(
    redis_url: str, tools: Tools, told: str, done: str | None
) -> None:
    async def story(rig: Rig) -> None:
        await rig.hears("How can I help?")
        await rig.mouth.say("Please book it")
        await rig.hears(told)
        assert len(tools.settled) == 1
        await asyncio.sleep(60.0)
        (result,) = tools.done.values()
        assert (result == done) == (done is not None)

    play(story, redis_url, BOOK, DONE, NOT_DONE, UNSURE, tools=tools)


@pytest.mark.parametrize("lost", [False, True], ids=["the same host", "a successor"])
def test_later_changes_know_which_earlier_ones_are_unknown(redis_url: str, lost: bool) -> None:
    async def story(rig: Rig) -> None:
        await rig.hears("How can I help?")
        await rig.mouth.say("Please book it")
        await rig.hears("I am not certain of that.")
        first = rig.tools.asked[0]
        assert first.unsettled == ()
        rig.tools.took_s = 0.5
        if lost:
            await rig.crash()
        await rig.quiet()
        await rig.mouth.say("Then book another one")
        await rig.hears("It is done.")
        assert (rig.tools.asked[-1].tool, rig.tools.asked[-1].unsettled) == ("book", (first.key,))
        await rig.quiet()
        await rig.mouth.say("And book a third")
        await rig.until(lambda: len(rig.tools.asked) == 3)
        assert rig.tools.asked[-1].unsettled == ()  # the second told what became of the first
        (returned,) = [event.detail for event in rig.log.of(LogEvent) if event.kind == "tool_returned"][:1]
        assert returned["unknown"]

    tools = Tools(took_s=600.0, settle_s=600.0)
    play(story, redis_url, BOOK, DONE, UNSURE, tools=tools)


def test_a_change_that_was_settled_is_not_unknown(redis_url: str) -> None:
    async def story(rig: Rig) -> None:
        await rig.hears("How can I help?")
        await rig.mouth.say("Please book it")
        await rig.hears("That did not work.")
        rig.tools.took_s = 0.5
        await rig.mouth.say("Then book another one")
        await rig.hears("It is done.")
        assert rig.tools.asked[-1].unsettled == ()

    play(story, redis_url, BOOK, DONE, NOT_DONE, tools=Tools(took_s=600.0))


def test_a_change_is_settled_although_its_caller_has_hung_up(redis_url: str) -> None:
    async def story(rig: Rig) -> None:
        await rig.hears("How can I help?")
        await rig.mouth.say("Please book it")
        await rig.until(lambda: bool(rig.tools.asked))
        await rig.hang_up()
        assert len(rig.log.of(FinalizeCall)) == 1
        returned = [event.detail for event in rig.log.of(LogEvent) if event.kind == "tool_returned"]
        assert [(one["ok"], one["unknown"]) for one in returned] == [(False, False)]
        assert list(rig.tools.done) == [f"{CALL}:call_1_1_0"]

    play(story, redis_url, BOOK, DONE, tools=Tools(took_s=600.0, settle_s=3.0))


def test_a_tool_that_wants_them_gets_the_sentences_that_were_begun_before_the_caller_spoke(
    redis_url: str,
) -> None:
    async def story(rig: Rig) -> None:
        await rig.hears("How can I help?")
        await rig.mouth.say("Tell me a story")
        await rig.hears("stood in")
        await rig.mouth.say("But who am I")
        await rig.hears("It is done.")
        (asked,) = rig.tools.asked
        assert " ".join(asked.spoken[:2]) == GREETING
        assert asked.spoken[2:] == (
            "Once there was a car that would not start.",
            "It stood in the rain.",
        )
        assert asked.attested

    play(story, redis_url, LONG, WHO, DONE)


@pytest.mark.parametrize(
    ("kind", "old"),
    [
        (Returned, '{"type":"Returned","turn":1,"id":"call_1_1_0","result":"{}","ok":true}'),
        (ToolSpec, '{"name":"book","description":"Books.","parameters":{},"changes":true}'),
        (ToolResult, '{"type":"ToolResult","key":"k","ok":true,"result":"{}"}'),
        (
            ToolRequest,
            '{"type":"ToolRequest","call":"CA1","epoch":1,"tool":"book","arguments":"{}","caller":"+1","key":"k"}',
        ),
    ],
)
def test_what_a_session_or_a_tape_of_an_earlier_version_holds_is_read(kind: Any, old: str) -> None:
    assert msgspec.json.encode(msgspec.json.decode(old, type=kind)).startswith(old[:-1].encode())


def test_other_tools_are_not_told_what_was_said(redis_url: str) -> None:
    async def story(rig: Rig) -> None:
        await rig.hears("How can I help?")
        await rig.mouth.say("Please book it")
        await rig.hears("It is done.")
        assert rig.tools.asked[0].spoken == ()

    play(story, redis_url, BOOK, DONE)
