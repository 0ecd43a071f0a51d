"""The caller may interrupt at any moment, and everything stops at once; what was heard is all that was said."""

import asyncio

import pytest

from local.chat import Outcome
from simulators.caller import Caller
from simulators.marks import MarksDelays
from simulators.model import says
from tests.whole.bench import Bench, Talk

pytestmark = [pytest.mark.whole, pytest.mark.asyncio(loop_scope="session")]

REPLY = (
    "We have quite a lot of open times on that day. "
    "There is one at nine in the morning and one at a quarter past ten. "
    "In the afternoon there is one at two and one at half past three and then a last one at four, "
    "but I would have to ask the workshop first whether they can take your car so late in the day. "
    "Which of all those would you like to have, or shall I look at the day after that one for you?"
)


async def interrupted_after(bench: Bench, fragment: str) -> Talk:
    """The caller speaks up when `fragment` was heard, while the model talks on and its sentence is synthesised."""

    async def person(c: Caller) -> None:
        await c.hears("help you today")
        await c.quiet(0.2)
        await c.say("When can I come")
        await c.hears(fragment)
        await c.say("Wait, stop please")
        await c.hears("I have stopped")

    return await bench.dial(
        person,
        says(REPLY, user="when can i come", gap_s=0.12),
        says("I have stopped.", user="stop please"),
    )


async def test_at_any_point_an_interruption_stops_playback_model_and_voice_and_only_what_was_heard_stands(
    bench: Bench,
) -> None:
    bench.speech.delays = MarksDelays(final_s=0.1, first_audio_s=0.05, voice_speed=1.1)
    points = ("quite a", "open times on", "nine in the morning")

    talks = await asyncio.gather(*(interrupted_after(bench, point) for point in points))
    await asyncio.gather(*(talk.ended() for talk in talks))

    for talk in talks:
        [clear] = talk.call.journal.all("clear")
        first, second = talk.exchanges()
        assert first.outcome is Outcome.LEFT, "the model's connection was not closed"
        assert len(first.text) < len(REPLY)
        assert first.ended_s is not None
        assert abs(first.started + first.ended_s - clear.at) < 1.0
        [controls] = bench.speech.controls_of(talk.person.heard.sources).values()
        assert controls.count("Clear") == 1, controls
        what_was_heard_is_what_was_said(talk, second.request["messages"])
        assert (await bench.logged(talk.sid, "caller_hung_up"))["interruptions"] == 1


def what_was_heard_is_what_was_said(talk: Talk, messages: list[dict]) -> None:
    [said] = [m["content"] for m in messages if m["role"] == "assistant"][1:]
    heard = " ".join(text for text in talk.heard() if text in REPLY)
    assert REPLY.startswith(said)
    assert abs(len(said.split()) - len(heard.split())) <= 1, f"said {said!r}, heard {heard!r}"
    assert messages[-1] == {"role": "user", "content": "Wait, stop please"}


async def listens(bench: Bench) -> Talk:
    """A caller who lets the agent know that they listen."""
    reply = "We have a good many open times on that day for you."

    async def person(c: Caller) -> None:
        await c.hears("help you today")
        await c.quiet(0.2)
        await c.say("When can I come")
        await c.hears("good many")
        await c.say("Mm-hmm")
        await c.say("Okay")
        await c.hears("day for you.")
        await c.quiet(0.3)
        await c.say("And the price please")
        await c.hears("It is free.")
        await c.quiet(0.2)

    return await bench.dial(
        person, says(reply, user="when can i come"), says("It is free.", user="the price")
    )


@pytest.mark.call(made_by=listens)
async def test_a_caller_who_says_mm_hmm_is_not_interrupting(bench: Bench, talk: Talk) -> None:
    await talk.ended()

    assert talk.call.journal.all("clear") == []
    assert all(sentence.whole for sentence in talk.person.heard.sentences)
    assert talk.gaps() == []
    users = [m["content"] for m in talk.exchanges()[-1].request["messages"] if m["role"] == "user"]
    assert users == ["When can I come", "And the price please"]
    assert (await bench.logged(talk.sid, "caller_hung_up"))["interruptions"] == 0
