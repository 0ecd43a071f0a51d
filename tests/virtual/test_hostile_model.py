"""A model that does whatever it likes: the call goes on, is answered, and ends. Whole calls in virtual time."""

import dataclasses
from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Any

import msgspec
import pytest
import redis

from actors.call import CallActor
from actors.parts import CallPorts
from actors.taping import make_taped_call
from engine.messages import ModelDelta, ModelDone, Respond, Start, Usage
from engine.models import RoutedModel
from engine.overlong import CALLS_MOST
from engine.phrases import APOLOGY
from tests.virtual.rig import CALL, Rig, new_settings
from tests.virtual.test_conversation import BYE, play

LOOP = {"user": "friday", "answer": {"calls": [{"name": "get_slots"}]}}
AGAIN = {"after_tool": "*", "answer": {"calls": [{"name": "get_slots"}]}}


def results_of(rig: Rig) -> list[str]:
    """What the model was told last of all the tools that it called."""
    return [m["content"] for m in rig.brain.asked[-1].messages if m["role"] == "tool"]


def test_a_model_that_calls_one_tool_over_and_over_is_stopped_and_the_caller_can_still_say_goodbye(
    redis_url: str,
) -> None:
    async def story(rig: Rig) -> None:
        await rig.hears("How can I help?")
        for _ in range(4):
            before = len(rig.heard)
            await rig.mouth.say("What times are free on Friday")
            await rig.until(lambda before=before: APOLOGY in rig.heard[before:], limit_s=30)
            await rig.quiet()
        assert len(rig.tools.asked) == 8  # what was refused counts, too
        assert sum("no more tools in this call" in result for result in results_of(rig)) >= 1
        assert [tool["function"]["name"] for tool in rig.brain.asked[-2].tools] == ["end_call"]
        assert rig.brain.asked[-1].tools == []
        assert len(rig.brain.asked) < 30
        await rig.mouth.say("That was all thanks")
        await rig.hears("Goodbye.")
        await rig.until(rig.closed.is_set)

    settings = new_settings(tool_calls_per_turn=4, max_tool_calls=10)
    play(story, redis_url, BYE, AGAIN, LOOP, settings=settings)


def test_a_successor_counts_the_calls_of_tools_before_it(redis_url: str) -> None:
    async def story(rig: Rig) -> None:
        await rig.hears("How can I help?")
        for turn in range(3):
            before = len(rig.heard)
            await rig.mouth.say("What times are free on Friday")
            await rig.until(lambda before=before: APOLOGY in rig.heard[before:], limit_s=30)
            await rig.quiet()
            if turn < 2:
                await rig.crash()
        assert len(rig.tools.asked) == 4

    settings = new_settings(tool_calls_per_turn=4, max_tool_calls=5)
    play(story, redis_url, AGAIN, LOOP, settings=settings)


def test_a_model_that_learns_it_may_call_no_more_tools_answers_without(redis_url: str) -> None:
    async def story(rig: Rig) -> None:
        await rig.hears("How can I help?")
        for place in range(3):
            await rig.mouth.say("What times are free on Friday")
            await rig.until(lambda place=place: rig.heard.count("It is done.") > place)
            await rig.quiet()
        await rig.mouth.say("What times are free on Friday")
        await rig.hears("I can't look that up.")
        await rig.quiet()
        told = len([m for m in rig.brain.asked[-1].messages if "no more tools" in str(m["content"])])
        await rig.mouth.say("And now then")
        await rig.hears("Not now either.")
        assert told == 1
        assert "no more tools" in str(rig.brain.asked[-1].messages)  # and it is not told again
        assert len(rig.tools.asked) == 3

    enough = {"result": "no more tools", "answer": {"say": "I can't look that up."}}
    done = {"result": '{"done"', "answer": {"say": "It is done."}}
    slots = {"user": "friday", "answer": {"calls": [{"name": "get_slots"}]}}
    later = {"user": "and now", "answer": {"say": "Not now either."}}
    play(story, redis_url, slots, enough, done, later, settings=new_settings(max_tool_calls=3))


MADE_UP = [f"drop_table_{n}" for n in range(300)]
SQL = "'; DROP TABLE customer; --"


@pytest.mark.parametrize(
    "calls",
    [
        [{"name": name} for name in MADE_UP],
        [{"name": "get_slots", "arguments": "{" * n} for n in range(1, 200)],
        [{"name": SQL, "arguments": {"a": SQL}}, {"name": ""}, {"name": "\ud800", "arguments": "\ud800"}],
        [{"name": "get_slots", "arguments": {"x": "y" * 10_000_000}}],
        [{"name": "get_slots", "arguments": "["}, {"name": "end_call"}, {"name": "transfer_call"}],
    ],
    ids=["made up", "broken", "no names", "long", "ends"],
)
def test_a_call_goes_on_whatever_the_model_calls(redis_url: str, calls: list[dict[str, Any]]) -> None:
    async def story(rig: Rig) -> None:
        await rig.hears("How can I help?")
        for _ in range(2):
            before = len(rig.heard)
            await rig.mouth.say("What times are free on Friday")
            await rig.until(lambda before=before: APOLOGY in rig.heard[before:], limit_s=30)
            await rig.quiet()
        assert rig.tools.asked == []
        await rig.mouth.say("That was all thanks")
        await rig.hears("Goodbye.")
        await rig.until(rig.closed.is_set)
        assert len(rig.actors) == 1  # none has failed
        assert longest_field(redis_url) < 2 * CALLS_MOST

    wrong = {"calls": calls}
    again = {"after_tool": "*", "answer": wrong}
    play(story, redis_url, BYE, again, {"user": "friday", "answer": wrong})


def longest_field(redis_url: str) -> int:
    """Of the call's session, in bytes."""
    with redis.Redis.from_url(redis_url) as client:
        return max(map(len, client.hvals(f"call:{CALL}")))  # type: ignore[arg-type]


class Gushing:
    """A model that fills in arguments for ever; once it is told why not, it answers."""

    name = "gushing"

    def __init__(self) -> None:
        self.read = 0
        self.asked: list[Respond] = []

    async def stream(self, ask: Respond) -> AsyncGenerator[ModelDelta | ModelDone, None]:
        self.asked.append(ask)
        if "too long" in str(ask.messages[-1]["content"]):
            yield ModelDelta(ask.request, text="It was too long.")
            yield ModelDone(ask.request, "stop", Usage())
            return
        yield ModelDelta(ask.request, tool_index=0, tool_name="get_slots", tool_arguments='{"a": "')
        for _ in range(10_000):
            self.read += 1
            yield ModelDelta(ask.request, tool_index=0, tool_arguments="gush" * 256)


class TapedRig(Rig):
    """A rig whose calls are recorded."""

    directory: Path

    def _make_call(self, start: Any, ref: Any) -> Any:
        plain = super()._make_call(start, ref)
        assert isinstance(plain, CallActor)
        return make_taped_call(start, plain._ports, self.settings, self.directory)


def test_endless_arguments_are_read_to_the_limit_and_kept_nowhere(
    redis_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = Gushing()
    TapedRig.directory = tmp_path
    monkeypatch.setattr("tests.virtual.test_conversation.Rig", TapedRig)

    def gush(_: Start, ports: CallPorts) -> CallPorts:
        return dataclasses.replace(ports, model=RoutedModel([model], new_settings()))

    async def story(rig: Rig) -> None:
        await rig.hears("How can I help?")
        await rig.mouth.say("What times are free on Friday")
        await rig.hears("It was too long.")
        await rig.hang_up()
        assert model.read <= 17
        assert len(model.asked) == 2
        assert rig.tools.asked == []
        assert longest_field(redis_url) < CALLS_MOST
        assert "gush" not in str(rig.log.entries)
        assert "gush" not in str(model.asked)

    play(story, redis_url, observe=gush)
    tape = (tmp_path / f"{CALL}.jsonl").read_bytes()
    told = [line for line in tape.split(b"\n") if b"gush" in line and b'"dir":"model"' not in line]
    assert told == []
    assert tape.count(b"gush") * 4 <= CALLS_MOST
    assert msgspec.json.decode(tape.split(b"\n")[0])
