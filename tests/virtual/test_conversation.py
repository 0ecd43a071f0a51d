"""Whole conversations in virtual time: the real actors, scripted vendors, a real session in Valkey."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
import redis

from engine.callrows import FinalizeCall, Leg, LogEvent, LogMetric, LogTranscript
from engine.clock import now, run_virtual
from engine.messages import DtmfPressed
from engine.vendors.deepgram import Heard
from tests.virtual.rig import Rig, Tools, new_settings, with_rig

SLOTS = {"user": "friday", "answer": {"say": "Let me look.", "calls": [{"name": "get_slots"}]}}
OFFER = {
    "after_tool": "get_slots",
    "answer": {"say": "On Friday we have nine and ten in the morning. Which one would you like?"},
}
BYE = {"user": "thanks", "answer": {"say": "You are welcome. Goodbye.", "calls": [{"name": "end_call"}]}}
LONG = {
    "user": "story",
    "answer": {
        "say": "Once there was a car that would not start. It stood in the rain. Nobody came. The end."
    },
}
KEYED = {"12#": "Twelve.", "34": "Thirty-four."}

Story = Callable[[Rig], Awaitable[None]]


def play(story: Story, redis_url: str, *rules: dict[str, Any], **rig: Any) -> None:
    """Runs a story in virtual time."""

    async def run() -> None:
        await with_rig(Rig(redis_url, list(rules), **rig), story)

    run_virtual(run())


def last_assistant(rig: Rig) -> str:
    """What the model was last told that the agent had said."""
    return str([m for m in rig.brain.asked[-1].messages if m["role"] == "assistant"][-1]["content"])


def ending(rig: Rig) -> str:
    (end,) = rig.log.of(FinalizeCall)
    return str(end.ending)


def test_a_whole_conversation_with_a_tool_and_a_goodbye(redis_url: str) -> None:
    async def story(rig: Rig) -> None:
        await rig.hears("How can I help?")
        await rig.mouth.say("What times are free on Friday")
        await rig.hears("Which one would you like?")
        await rig.mouth.say("I'll call again thanks")
        await rig.hears("Goodbye.")
        await rig.until(rig.closed.is_set)
        await rig.stream.ended()
        assert rig.heard.startswith("Hello, this is the garage.How can I help?Let me look.On Friday")
        assert ending(rig) == "completed"
        assert (await rig.sessions.read(rig.log.entries[0].info.call)).next == "hangup"
        assert [r.tool for r in rig.tools.asked] == ["get_slots"]

    play(story, redis_url, SLOTS, OFFER, BYE)


def test_the_same_story_goes_the_same_way_twice(redis_url: str) -> None:
    runs: list[list[str]] = []

    async def story(rig: Rig) -> None:
        await rig.hears("How can I help?")
        await rig.mouth.say("What times are free on Friday")
        await rig.hears("nine and")
        await rig.mouth.say("Wait a moment")
        await rig.hang_up()
        runs.append([repr(entry) for entry in rig.log.entries])

    for _ in range(2):
        redis.Redis.from_url(redis_url).flushdb()
        play(story, redis_url, SLOTS, OFFER, {"user": "wait", "answer": {"say": "Of course."}})
    assert runs[0] == runs[1]


@pytest.mark.parametrize("after", ["Once there", "Once there was a car that", "It stood in the"])
def test_history_holds_what_the_caller_heard_when_they_interrupted(redis_url: str, after: str) -> None:
    async def story(rig: Rig) -> None:
        await rig.hears("How can I help?")
        await rig.mouth.say("Tell me a story")
        await rig.hears(after)
        await rig.mouth.say("No stop it now")
        heard = rig.heard.partition("help?")[2].replace(".It", ". It")
        await rig.hears("All right.")
        told = last_assistant(rig).split()
        assert abs(len(told) - len(heard.split())) <= 1
        assert heard.split()[: len(told) - 1] == told[:-1]
        assert rig.brain.asked[-1].messages[-1]["content"] == "No stop it now"
        assert len(rig.ear.clears) == 1

    play(story, redis_url, LONG, {"user": "stop", "answer": {"say": "All right."}})


def test_a_listeners_noise_does_not_interrupt_and_is_not_answered(redis_url: str) -> None:
    async def story(rig: Rig) -> None:
        await rig.hears("How can I help?")
        await rig.mouth.say("Tell me a story")
        await rig.hears("that would")
        await rig.mouth.say("Mm-hmm.")
        await rig.hears("The end.")
        assert rig.ear.clears == []
        assert len(rig.brain.asked) == 1

    play(story, redis_url, LONG)


def test_the_model_is_cancelled_when_the_caller_goes_on(redis_url: str) -> None:
    async def story(rig: Rig) -> None:
        await rig.hears("How can I help?")
        await rig.mouth.say("Tell me a story")
        await rig.mouth.say("about a red car")
        await rig.hears("Red it is.")
        assert rig.brain.cancelled == 1
        texts = [m["content"] for m in rig.brain.asked[-1].messages if m["role"] == "user"]
        assert texts == ["Tell me a story", "about a red car"]

    slow = {"user": "story", "answer": {"say": "Once upon a time.", "first_token_s": 3.0}}
    play(story, redis_url, slow, {"user": "red", "answer": {"say": "Red it is."}})


def test_a_running_tool_is_not_cancelled_and_its_result_reaches_the_next_request(redis_url: str) -> None:
    async def story(rig: Rig) -> None:
        await rig.hears("How can I help?")
        await rig.mouth.say("What times are free on Friday")
        await rig.hears("Let me look.")
        await rig.mouth.say("Or rather on Monday please")
        await rig.hears("Monday, too.")
        messages = rig.brain.asked[-1].messages
        assert [m["role"] for m in messages][-3:] == ["assistant", "tool", "user"]
        assert messages[-2]["content"] == '{"done": "get_slots"}'

    monday = {"user": "monday", "answer": {"say": "Monday, too."}}
    play(story, redis_url, SLOTS, monday, OFFER, tools=Tools(took_s=3.0))


def test_a_silent_caller_is_asked_twice_and_then_bidden_goodbye(redis_url: str) -> None:
    async def story(rig: Rig) -> None:
        await rig.until(rig.closed.is_set, limit_s=60)
        await rig.stream.ended()
        assert rig.heard.count("Are you still there?") == 2
        assert "Goodbye." in rig.heard
        assert rig.ear.longest_silence_s(0.0) < 10.0
        assert ending(rig) == "silent"

    play(story, redis_url)


def test_noise_without_words_changes_nothing_about_silence(redis_url: str) -> None:
    async def story(rig: Rig) -> None:
        await rig.hears("How can I help?")
        for _ in range(20):
            rig.mouth.noise()
            before = now()
            await rig.until(lambda start=before: now() > start + 0.5)
        assert "Are you still there?" in rig.heard

    play(story, redis_url)


def test_long_thinking_is_filled_with_a_word(redis_url: str) -> None:
    async def story(rig: Rig) -> None:
        await rig.hears("How can I help?")
        await rig.mouth.say("Tell me a story")
        await rig.hears("One moment, please.")
        await rig.hears("The end.")
        assert rig.ear.longest_silence_s(0.0) < 10.0

    slow = {"user": "story", "answer": {"say": "The end.", "first_token_s": 2.4}}
    play(story, redis_url, slow)


def test_a_goodbye_that_the_caller_interrupts_is_not_the_end(redis_url: str) -> None:
    async def story(rig: Rig) -> None:
        await rig.hears("How can I help?")
        await rig.mouth.say("All done thanks")
        await rig.hears("You are welc")
        await rig.mouth.say("Oh wait what about Friday")
        await rig.hears("Which one would you like?")
        assert not rig.closed.is_set()
        assert (await rig.sessions.read("CA" + "0" * 32)).next == ""

    play(story, redis_url, SLOTS, OFFER, BYE)


def test_a_model_that_hangs_up_without_a_word_is_not_asked_again(redis_url: str) -> None:
    async def story(rig: Rig) -> None:
        await rig.hears("How can I help?")
        await rig.mouth.say("What times are free on Friday")
        await rig.until(rig.closed.is_set)
        assert len(rig.brain.asked) == 2
        assert ending(rig) == "completed"

    silent_end = {"after_tool": "get_slots", "answer": {"calls": [{"name": "end_call"}]}}
    play(story, redis_url, SLOTS, silent_end)


def test_keys_are_read_as_one_turn(redis_url: str) -> None:
    async def story(rig: Rig) -> None:
        await rig.hears("How can I help?")
        for digit in "12#":
            rig.stream.tell(DtmfPressed(0, digit))
        await rig.hears("Twelve.")
        assert rig.brain.asked[-1].messages[-1]["content"] == "[The caller pressed 12# on the keypad.]"

    play(story, redis_url, {"user": "pressed 12#", "answer": {"say": "Twelve."}})


def test_who_is_pressing_keys_is_not_asked_whether_they_are_there(redis_url: str) -> None:
    async def story(rig: Rig) -> None:
        await rig.hears("How can I help?")
        await asyncio.sleep(0.5)
        rig.stream.tell(DtmfPressed(0, "5"))
        await rig.hears("Five.")
        assert "Are you still there?" not in rig.voice.said

    short = new_settings(silence_prompt_s=new_settings().keys_pause_s - 0.5)
    play(story, redis_url, {"user": "pressed 5", "answer": {"say": "Five."}}, settings=short)


def test_keys_after_a_hash_have_a_pause_of_their_own(redis_url: str) -> None:
    async def story(rig: Rig) -> None:
        await rig.hears("How can I help?")
        for digit in "12#":
            rig.stream.tell(DtmfPressed(0, digit))
        for digit in "34":
            await asyncio.sleep(1.5)
            rig.stream.tell(DtmfPressed(0, digit))
        await rig.hears("Thirty-four.")
        pressed = [m["content"] for m in rig.brain.asked[-1].messages if "pressed" in str(m["content"])]
        assert pressed == [f"[The caller pressed {keys} on the keypad.]" for keys in ("12#", "34")]

    rules = [{"user": f"pressed {keys}", "answer": {"say": say}} for keys, say in KEYED.items()]
    play(story, redis_url, *rules)


def test_a_hang_up_in_mid_tool_waits_for_its_result(redis_url: str) -> None:
    async def story(rig: Rig) -> None:
        await rig.hears("How can I help?")
        await rig.mouth.say("What times are free on Friday")
        await rig.until(lambda: bool(rig.tools.asked))
        await rig.hang_up()
        stored = await rig.sessions.read("CA" + "0" * 32)
        assert any(getattr(item, "result", "") == '{"done": "get_slots"}' for item in stored.items.values())
        assert ending(rig) == "caller_hung_up"

    play(story, redis_url, SLOTS, OFFER, tools=Tools(took_s=3.0))


def test_a_model_that_never_says_anything_leads_to_an_apology(redis_url: str) -> None:
    async def story(rig: Rig) -> None:
        await rig.hears("How can I help?")
        await rig.mouth.say("Tell me a story")
        await rig.hears("Could you say that again?")
        assert len(rig.brain.asked) > 1
        assert [e.detail["why"] for e in rig.log.of(LogEvent) if e.kind == "reply_failed"]

    play(story, redis_url, {"user": "story", "answer": {"say": ""}})


def test_what_the_agent_says_is_logged_as_heard(redis_url: str) -> None:
    async def story(rig: Rig) -> None:
        await rig.hears("How can I help?")
        await rig.mouth.say("Tell me a story")
        await rig.hears("would not")
        await rig.hang_up()
        last = rig.log.of(LogTranscript)[-1]
        assert last.interrupted
        assert "Once there was a car that would".startswith(last.text[:31])
        assert len(last.text) < len("Once there was a car that would not start.")

    play(story, redis_url, LONG)


def test_too_many_tool_calls_in_a_turn_are_refused(redis_url: str) -> None:
    async def story(rig: Rig) -> None:
        await rig.hears("How can I help?")
        await rig.mouth.say("What times are free on Friday")
        await rig.hears("Enough.")
        assert len(rig.tools.asked) == 3

    many = {"user": "friday", "answer": {"calls": [{"name": "get_slots"}, {"name": "get_slots"}]}}
    again = {"after_tool": "get_slots", "times": 1, "answer": {"calls": [{"name": "get_slots"}] * 2}}
    enough = {"result": "too many tools", "answer": {"say": "Enough."}}
    play(story, redis_url, many, again, enough, settings=new_settings(tool_calls_per_turn=3))


def test_a_model_that_does_nothing_but_call_tools_is_made_to_answer(redis_url: str) -> None:
    async def story(rig: Rig) -> None:
        await rig.hears("How can I help?")
        await rig.mouth.say("What times are free on Friday")
        await rig.hears("Could you say that again?")
        assert len(rig.tools.asked) == 3
        assert rig.brain.asked[-1].tools == []
        assert len(rig.brain.asked) < 10

    again = {"after_tool": "*", "answer": {"calls": [{"name": "get_slots"}]}}
    play(story, redis_url, SLOTS, again, settings=new_settings(tool_calls_per_turn=3))


def test_the_tokens_of_a_reply_that_a_hang_up_cut_are_counted(redis_url: str) -> None:
    async def story(rig: Rig) -> None:
        await rig.hears("How can I help?")
        await rig.mouth.say("Tell me a story")
        await rig.hears("Once there")
        await rig.hang_up()
        (end,) = rig.log.of(FinalizeCall)
        assert end.usage.completion > 0
        assert end.usage.prompt > 0

    slow = {"user": "story", "answer": {**LONG["answer"], "gap_s": 0.3}}
    play(story, redis_url, slow)


def test_a_turn_whose_reply_was_interrupted_has_its_latencies_too(redis_url: str) -> None:
    async def story(rig: Rig) -> None:
        await rig.hears("How can I help?")
        await rig.mouth.say("Tell me a story")
        await rig.hears("Once there")
        await rig.mouth.say("No stop it now")
        await rig.hears("All right.")
        legs = {(metric.turn, metric.name) for metric in rig.log.of(LogMetric)}
        assert {(2, Leg.FINAL_TO_REQUEST), (2, Leg.FIRST_TOKEN), (2, Leg.INTERIM_TO_CLEAR)} <= legs

    slow = {"user": "story", "answer": {**LONG["answer"], "gap_s": 0.3}}
    play(story, redis_url, slow, {"user": "stop", "answer": {"say": "All right."}})


def test_the_model_is_cancelled_by_the_interim_that_interrupts(redis_url: str) -> None:
    async def story(rig: Rig) -> None:
        await rig.hears("How can I help?")
        await rig.mouth.say("Tell me a story")
        await rig.hears("Once there")
        rig.mouth._tell(Heard("No stop it", False, False, False, 0.0))  # and the utterance is not over
        await rig.until(lambda: bool(rig.ear.clears))
        assert rig.brain.cancelled == 1

    slow = {"user": "story", "answer": {**LONG["answer"], "gap_s": 0.3}}
    play(story, redis_url, slow)


def test_the_model_is_not_asked_before_it_is_known_what_was_heard(redis_url: str) -> None:
    async def story(rig: Rig) -> None:
        await rig.hears("How can I help?")
        await rig.mouth.say("Tell me a story")
        await rig.hears("Once there")
        rig.mouth._tell(Heard("No stop it", False, False, False, 0.0))
        rig.mouth._tell(Heard("No stop it now", True, True, False, 0.0))  # in the same breath
        await rig.hears("All right.")
        assert "start" not in last_assistant(rig)

    play(story, redis_url, LONG, {"user": "stop", "answer": {"say": "All right."}})
