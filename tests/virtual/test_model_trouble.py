"""A model under trouble, heard by its caller: whole calls in virtual time."""

import asyncio
from typing import Any

import pytest

from engine import phrases
from engine.callrows import LogEvent
from engine.clock import now
from engine.phrases import APOLOGY
from tests.faults.figures import Figures
from tests.faults.llm import ANSWER_LIMIT_S, FAULTS, FILLER_LIMIT_S, WELL, Fault, calls, fails, measure
from tests.virtual.rig import Rig, Tools, new_settings
from tests.virtual.test_conversation import SLOTS, play

FILTERED = {"say": "There is a way to do that. First you", "finish": "content_filter"}


@pytest.mark.parametrize("fault", FAULTS, ids=str)
def test_a_caller_hears_something_soon_and_an_answer_or_an_apology_in_time(
    redis_url: str, fault: Fault, figures: Figures
) -> None:
    heard = measure(fault, redis_url)
    for figure in figures.of(f"model: {fault}", "its reader or a timer", heard.told):
        figure.found_s.append(heard.first_s)
        figure.mended_s.append(heard.useful_s)
    assert heard.first_s <= FILLER_LIMIT_S
    assert heard.useful_s <= ANSWER_LIMIT_S
    assert heard.asked <= new_settings().llm_attempts
    said = heard.heard
    for filler in phrases.FILLERS:
        said = said.replace(filler, "")
    answer = "We open at eight in the morning.On Sunday we are closed.Is that fine?"
    assert said == (answer if fault.answered else APOLOGY)  # no half sentence, and none twice


def test_a_reply_that_nobody_can_end_is_apologised_for_after_its_last_whole_sentence(redis_url: str) -> None:
    async def story(rig: Rig) -> None:
        await rig.hears("How can I help?")
        await rig.mouth.say("When do you open")
        await rig.hears("in the morning.")
        said_s = now()
        await rig.hears(APOLOGY)
        assert rig.ear.longest_silence_s(said_s) < ANSWER_LIMIT_S
        assert "Sunday" not in rig.heard

    stalled = fails(how="stall", after_tokens=9) | {"times": 1}
    play(story, redis_url, stalled, fails(how="stall"), spare_rules=[fails(how="stall")])


@pytest.mark.parametrize("spare_s", [None, 3.0])
@pytest.mark.parametrize("first_s", [2.6, 4.0])
def test_a_model_that_is_slow_and_not_lost_answers_soon(
    redis_url: str, first_s: float, spare_s: float | None
) -> None:
    async def story(rig: Rig) -> None:
        await rig.hears("How can I help?")
        for _ in range(3):
            await rig.quiet()
            before = len(rig.heard)
            await rig.mouth.say("When do you open")
            await rig.until(lambda before=before: rig.heard[before:].endswith(("fine?", APOLOGY)))
        assert "We open at eight in the morning." in rig.heard

    def slow(first_token_s: float) -> dict[str, Any]:
        return {"answer": WELL["answer"] | {"first_token_s": first_token_s}}

    play(story, redis_url, slow(first_s), spare_rules=None if spare_s is None else [slow(spare_s)])


def test_a_failure_is_mended_however_long_a_first_token_may_take(redis_url: str) -> None:
    async def story(rig: Rig) -> None:
        await rig.hears("How can I help?")
        await rig.mouth.say("When do you open")
        await rig.hears("Is that fine?")

    play(story, redis_url, fails(1, status=500), WELL, settings=new_settings(llm_first_token_s=12.0))


def test_a_clause_that_nobody_can_end_is_taken_back(redis_url: str) -> None:
    clause = "We can do the oil change and the new brakes for you on Friday in the morning at nine,"
    answer = {"say": clause + " but only if you bring the car the evening before.", "first_token_s": 0.3}
    broken = {"answer": {"failure": {"status": 500}}}
    stalled = {"times": 1, "answer": answer | {"failure": {"how": "stall", "after_tokens": 20}}}

    async def story(rig: Rig) -> None:
        await rig.hears("How can I help?")
        await rig.mouth.say("When can you do it")
        await rig.hears(phrases.LOST_THREAD)
        assert clause in rig.heard
        assert APOLOGY not in rig.heard

    play(story, redis_url, stalled, broken, spare_rules=[broken])


def test_a_silence_of_the_model_after_a_sentence_is_filled_for(redis_url: str) -> None:
    async def story(rig: Rig) -> None:
        await rig.hears("How can I help?")
        await rig.mouth.say("When do you open")
        await rig.hears("in the morning.")
        said_s = now()
        await rig.hears("Is that fine?")
        assert phrases.FILLERS[0] in rig.heard
        assert rig.ear.longest_silence_s(said_s) < FILLER_LIMIT_S

    stalled = fails(how="stall", after_tokens=9)
    slow = {"answer": WELL["answer"] | {"first_token_s": 2.4}}
    play(story, redis_url, stalled, spare_rules=[slow])


@pytest.mark.parametrize(
    ("answer", "heard"),
    [
        (FILTERED, "There is a way to do that." + phrases.FILTERED_MORE),
        ({"say": "First you", "finish": "content_filter"}, phrases.FILTERED),
        (
            {"say": "We open at eight. On Sunday", "finish": "length"},
            "We open at eight." + phrases.SHALL_I_GO_ON,
        ),
    ],
)
def test_a_reply_that_is_cut_short_ends_with_an_honest_sentence(
    redis_url: str, answer: dict[str, str], heard: str
) -> None:
    async def story(rig: Rig) -> None:
        await rig.hears("How can I help?")
        await rig.mouth.say("Tell me a story")
        await rig.hears(heard)
        await rig.quiet()
        assert rig.heard.endswith("How can I help?" + heard)
        assert len(rig.brain.asked) == 1

    play(story, redis_url, {"answer": answer})


def test_a_call_switches_in_mid_conversation_and_comes_back_between_turns(redis_url: str) -> None:
    async def story(rig: Rig) -> None:
        await rig.hears("How can I help?")
        answers = []
        for question in ("When do you open", "And what then", "And on Friday", "And on Monday"):
            await rig.mouth.say(question)
            before = rig.heard
            await rig.until(lambda before=before: rig.heard[len(before) :].endswith("?"))
            await rig.quiet()
            answers.append(rig.heard[len(before) :])
            await asyncio.sleep(4.0)
        assert answers == ["First here?", "Second here?", "Second here?", "First here?"]
        switched = [e.detail["to"] for e in rig.log.of(LogEvent) if e.kind == "model_switched"]
        assert switched == ["spare", "the first"]
        failed = [e.detail for e in rig.log.of(LogEvent) if e.kind == "attempt_failed"]
        assert [(f["route"], f["why"]) for f in failed] == [("scripted", "HTTP 500")] * 2
        assert rig.actors[-1]._record.meta.model == "scripted"

    well = {"say": "First here?", "first_token_s": 0.1}
    broken = {"user": "what then", "answer": {"failure": {"status": 500}}}
    play(
        story,
        redis_url,
        broken,
        {"answer": well},
        spare_rules=[{"answer": {"say": "Second here?", "first_token_s": 0.1}}],
        settings=new_settings(breaker_rest_s=5.0),
    )


def test_calls_that_no_tool_can_take_are_answered_by_the_engine_so_that_the_model_can_mend_them(
    redis_url: str,
) -> None:
    async def story(rig: Rig) -> None:
        await rig.hears("How can I help?")
        await rig.mouth.say("What times are free on Friday")
        await rig.hears("It is done.")
        assert [request.tool for request in rig.tools.asked] == ["get_slots"]
        results = [m for m in rig.brain.asked[-1].messages if m["role"] == "tool"]
        assert "there is no tool 'get weather'" in results[0]["content"]
        assert "not a JSON object" in results[1]["content"]
        called = [c["function"] for m in rig.brain.asked[-1].messages for c in m.get("tool_calls", ())]
        assert called[0] == {"name": "get_weather", "arguments": "{}"}
        assert called[1] == {"name": "get_slots", "arguments": "{}"}

    wrong = calls(("get weather", "[1, 2]"), ("get_slots", "[1, 2]"), user="friday", times=1)
    mended = {"result": "not a JSON object", "answer": {"calls": [{"name": "get_slots"}]}, "times": 1}
    done = {"result": '{"done"', "answer": {"say": "It is done."}}
    play(story, redis_url, wrong, done, mended)


@pytest.mark.parametrize(
    "arguments", ["", "null", "7", '"x"', "[[[[", "\ud800", "{" * 5000, "[" * 100_000, '{"a":1}x']
)
def test_no_arguments_of_a_models_stop_a_call(redis_url: str, arguments: str) -> None:
    async def story(rig: Rig) -> None:
        await rig.hears("How can I help?")
        await rig.mouth.say("What times are free on Friday")
        await rig.hears("It is done.")
        assert len(rig.actors) == 1

    called = calls(("get_slots", arguments), user="friday")
    play(story, redis_url, called, {"after_tool": "*", "answer": {"say": "It is done."}})


@pytest.mark.parametrize(
    ("rule", "filled"), [(calls(("get_slots", {}), user="friday"), True), (SLOTS, False)]
)
def test_a_tool_that_runs_is_filled_for_soon_if_nothing_was_said_and_later_if_something_was(
    redis_url: str, rule: dict[str, Any], filled: bool
) -> None:
    async def story(rig: Rig) -> None:
        await rig.hears("How can I help?")
        await rig.mouth.say("What times are free on Friday")
        await rig.hears("It is done.")
        assert ("One moment, please." in rig.heard) == filled

    done = {"after_tool": "*", "answer": {"say": "It is done."}}
    play(story, redis_url, rule, done, tools=Tools(took_s=2.0))
