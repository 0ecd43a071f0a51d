"""A host dies at each of a call's writes to the session, before it or right after it: the caller hears no difference.

What a CallActor does lies between two writes, so these are all the places at which its death can be told apart.
"""

import asyncio
from typing import Any

import pytest
import redis

from engine import phrases
from engine.history import Said
from engine.messages import Playback
from engine.session import Order, Written
from tests.virtual.rig import CALL, AwayStore, Mouth, Rig, Tools
from tests.virtual.test_conversation import ending, play
from tests.virtual.test_resume import PATIENT, words

# Short, because each of about a hundred calls is heard to its end.
GREETING = "Hello."
STORY = {"user": "story", "answer": {"say": "It was. So it was."}}
SLOTS = {"user": "friday", "answer": {"say": "I look.", "calls": [{"name": "get_slots"}]}}
OFFER = {"after_tool": "get_slots", "answer": {"say": "Nine."}}
SAYS_BYE = {"user": "thanks", "answer": {"say": "Bye.", "calls": [{"name": "end_call"}]}}
WORD_S = 0.1
JUST_ENDS = {"user": "thanks", "answer": {"calls": [{"name": "end_call"}]}}


class DeadlyStore(AwayStore):
    """Of the writes, the one of number `deadly` is the last: it is made, or not, and whoever made it learns nothing."""

    def __init__(self, store: AwayStore, over: asyncio.Event, deadly: int, made: bool) -> None:
        super().__init__(store)
        self._over = over
        self.writes = 0
        self.reached = asyncio.Event()
        self._deadly = deadly
        self._made = made

    async def write(self, call: str, order: Order, fields: dict[str, bytes]) -> Written:
        self.writes += not self._over.is_set()
        if self.writes != self._deadly:
            return await super().write(call, order, fields)
        if self._made:
            await super().write(call, order, fields)
        self.reached.set()
        await asyncio.Event().wait()
        raise AssertionError("this actor is dead")


def told(redis_url: str, deadly: int, made: bool, bye: dict[str, Any], eager_s: float | None = None) -> int:
    """Plays a call whose host dies at that write; how many writes there were before the caller was gone."""
    writes = 0

    async def story(rig: Rig) -> None:
        nonlocal writes
        store = rig.store = DeadlyStore(rig.store, rig.closed, deadly, made)
        dies = asyncio.create_task(_dies(rig, store))
        await rig.hears("Hello.")
        await rig.mouth.say("Story", WORD_S)
        await rig.hears("So it was.")
        await rig.mouth.say("On Friday", WORD_S)
        await rig.hears("Nine.")
        await rig.mouth.say("Thanks", WORD_S)
        await rig.until(rig.closed.is_set)
        writes = store.writes
        await rig.stream.ended()
        too_late = dies.done() and dies.result()
        dies.cancel()
        expected = [
            GREETING,
            *(rule["answer"].get("say", phrases.GOODBYE) for rule in (STORY, SLOTS, OFFER, bye)),
        ]
        assert words(rig.heard) == words("".join(expected))
        assert len(rig.tools.done) == 1
        if not too_late:
            assert ending(rig) == "completed"
            items = (await rig.sessions.read(CALL)).items.values()
            assert {item.state for item in items if isinstance(item, Said)} == {Playback.PLAYED}

    redis.Redis.from_url(redis_url).flushdb()
    rules = STORY, SLOTS, OFFER, bye
    # Where ends are expected, a reply is whole when its turn is over.
    mouth = Mouth() if eager_s is None else Mouth(final_s=eager_s + 0.9, eager_s=eager_s)
    play(story, redis_url, *rules, settings=PATIENT, tools=Tools(took_s=0.2), greeting=GREETING, mouth=mouth)
    return writes


async def _dies(rig: Rig, store: DeadlyStore) -> bool:
    """Whether the call was over by then, so that nobody follows, and its line in the log is a sweeper's to finish."""
    await store.reached.wait()
    await rig.crash()
    return rig.closed.is_set()


@pytest.mark.parametrize(
    ("bye", "last", "eager_s"),
    [(SAYS_BYE, 99, None), (JUST_ENDS, 8, None), (SAYS_BYE, 99, 0.1)],
    ids=["goodbye", "no word", "thought of before"],
)
@pytest.mark.parametrize("made", [False, True], ids=["before", "after"])
def test_a_host_that_dies_at_any_write_is_not_missed(
    redis_url: str, made: bool, bye: dict[str, Any], last: int, eager_s: float | None
) -> None:
    """`last`: how many writes, from the end, are tried; what is before them is the same in both calls."""
    writes = told(redis_url, 0, made, bye, eager_s)
    assert writes > 20
    amiss = {}
    for deadly in range(max(1, writes + 1 - last), writes + 1):
        try:
            told(redis_url, deadly, made, bye, eager_s)
        except (AssertionError, TimeoutError, ValueError) as error:
            amiss[deadly] = str(error)
    assert not amiss, f"{len(amiss)} of {writes}: {amiss}"
