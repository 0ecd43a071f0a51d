"""Keys reach the model as words, and an agent that says a great deal does not stall."""

from itertools import pairwise

import pytest

from actors.tts import FLUSHES
from simulators.caller import Caller
from simulators.model import says
from tests.whole.bench import Bench, Talk

pytestmark = [pytest.mark.whole, pytest.mark.asyncio(loop_scope="session")]

WORDS = (
    "One Two Three Four Five Six Seven Eight Nine Ten Eleven Twelve "
    "Red Blue Green Black White Brown Pink Gray Gold Silver Orange Teal"
)
LIST = [f"{word}." for word in WORDS.split()]


async def presses_keys(bench: Bench) -> Talk:
    """A caller who presses several keys, and then one."""

    async def person(c: Caller) -> None:
        await c.hears("help you today")
        await c.quiet(0.2)
        await c.press("4711#")
        await c.hears("got the number.")
        await c.press("5")
        await c.hears("got the five.")
        await c.quiet(0.2)

    return await bench.dial(
        person,
        says("I have got the number.", user="4711#"),
        says("I have got the five.", user="pressed 5 "),
    )


@pytest.mark.call(made_by=presses_keys)
async def test_keys_reach_the_model_as_words(talk: Talk) -> None:
    await talk.ended()

    users = [m["content"] for m in talk.exchanges()[-1].request["messages"] if m["role"] == "user"]
    assert users == ["[The caller pressed 4711# on the keypad.]", "[The caller pressed 5 on the keypad.]"]
    assert talk.heard()[-2:] == ["I have got the number.", "I have got the five."]


async def hears_a_list(bench: Bench) -> Talk:
    """A caller who is told a great many sentences at once."""

    async def person(c: Caller) -> None:
        await c.hears("help you today")
        await c.quiet(0.2)
        await c.say("Count them all")
        for sentence in LIST:
            await c.hears(sentence)
        await c.quiet(0.3)

    return await bench.dial(person, says(" ".join(LIST), user="count them all"))


@pytest.mark.call(made_by=hears_a_list)
async def test_more_sentences_than_the_voice_takes_in_a_minute_are_spoken_without_a_hole(
    bench: Bench, talk: Talk
) -> None:
    await talk.ended()

    heard = talk.person.heard
    counted = [s for s in heard.sentences if " ".join(s.text.split()) in LIST]
    assert [" ".join(s.text.split()) for s in counted] == LIST
    assert all(sentence.whole for sentence in heard.sentences)
    assert talk.gaps() == []
    sockets = bench.speech.controls_of(heard.sources)
    assert len(sockets) == 2, "one socket took more Flushes than Deepgram obeys"
    assert all(controls.count("Flush") <= FLUSHES for controls in sockets.values())
    assert sum(controls.count("Flush") for controls in sockets.values()) == len(heard.sentences) > FLUSHES
    assert max(b.began_at - a.ended_at for a, b in pairwise(counted)) < 1.0
