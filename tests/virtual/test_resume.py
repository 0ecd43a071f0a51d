"""A CallActor is lost in the middle of things, and its successor goes on by the seam's rules, in virtual time."""

import asyncio

import pytest
import redis.asyncio as redis_async

from actors.call import CallActor
from engine.callrows import FinalizeCall, LogEvent, LogTranscript
from engine.clock import now, outside, wall
from engine.history import Said
from engine.messages import Playback
from tests.virtual.rig import CALL, GREETING, Rig, Tools, new_settings
from tests.virtual.test_conversation import BYE, LONG, OFFER, SLOTS, ending, last_assistant, play

STORY = LONG["answer"]["say"]
SLOW = {"user": "story", "answer": {"say": STORY, "gap_s": 0.6}}


UNHURRIED = new_settings(llm_budget_s=15.0)  # a model of one or two words a second is slow, not in trouble
PATIENT = UNHURRIED.model_copy(
    update={"filler_s": 60.0, "filler_again_s": 60.0}
)  # no filler, which none can ask for


def words(text: str) -> str:
    """The text without its spaces: a rig's voice says none between sentences."""
    return text.replace(" ", "")


@pytest.mark.parametrize("after", ["He", "Hello, this is", "How can"])
def test_lost_in_the_greeting_it_is_heard_once_and_whole(redis_url: str, after: str) -> None:
    async def story(rig: Rig) -> None:
        await rig.hears(after)
        await rig.crash()
        await rig.hears("How can I help?")
        await rig.mouth.say("Tell me a story")
        await rig.hears("The end.")
        assert words(rig.heard) == words(GREETING + STORY)
        assert len(rig.actors) == 2

    play(story, redis_url, LONG)


@pytest.mark.parametrize("packed", [False, True], ids=["split", "packed"])
@pytest.mark.parametrize("after", ["Once", "would not start.", "It stood", "Nobody"])
def test_lost_in_mid_reply_nothing_is_said_twice_or_skipped(redis_url: str, after: str, packed: bool) -> None:
    async def story(rig: Rig) -> None:
        await rig.hears("How can I help?")
        await rig.mouth.say("Tell me a story")
        await rig.hears(after)
        await rig.crash()
        await rig.hears("The end.")
        assert words(rig.heard) == words(GREETING + STORY)
        assert rig.brain.asked[-1].messages[-1]["content"].startswith("Go on after")
        assert rig.brain.asked[-1].request > rig.brain.asked[0].request
        await rig.hang_up()
        assert ending(rig) == "caller_hung_up"

    play(story, redis_url, SLOW, settings=PATIENT, packed=packed)


def test_a_filler_is_not_taken_for_a_part_of_the_reply_that_goes_on(redis_url: str) -> None:
    async def story(rig: Rig) -> None:
        await rig.hears("How can I help?")
        await rig.mouth.say("Tell me a story")
        await rig.hears("Once there")
        await rig.crash()
        await rig.hears("The end.")
        assert words(rig.heard) == words(GREETING + "One moment, please." + STORY)

    play(story, redis_url, SLOW, settings=UNHURRIED)


def test_lost_while_the_model_was_silent_the_request_is_made_again(redis_url: str) -> None:
    async def story(rig: Rig) -> None:
        await rig.hears("How can I help?")
        await rig.mouth.say("Tell me a story")
        await rig.crash()
        await rig.hears("The end.")
        assert words(rig.heard) == words(GREETING + STORY)
        assert rig.brain.asked[0].messages == rig.brain.asked[-1].messages

    play(story, redis_url, LONG)


@pytest.mark.parametrize("packed", [False, True], ids=["split", "packed"])
def test_lost_in_mid_tool_it_is_asked_again_by_its_key_and_done_once(redis_url: str, packed: bool) -> None:
    async def story(rig: Rig) -> None:
        await rig.hears("How can I help?")
        await rig.mouth.say("What times are free on Friday")
        await rig.until(lambda: bool(rig.tools.asked))
        await rig.crash()
        await rig.hears("Which one would you like?")
        assert len({request.key for request in rig.tools.asked}) == 1
        assert len(rig.tools.asked) == 2
        assert rig.tools.asked[1].epoch > rig.tools.asked[0].epoch
        assert len(rig.tools.done) == 1
        assert words(rig.heard) == words(GREETING + "Let me look." + OFFER["answer"]["say"])

    play(story, redis_url, SLOTS, OFFER, tools=Tools(took_s=2.0), packed=packed)


def test_lost_after_an_interruption_a_tool_of_the_turn_before_is_still_asked_again(redis_url: str) -> None:
    async def story(rig: Rig) -> None:
        await rig.hears("How can I help?")
        await rig.mouth.say("What times are free on Friday")
        await rig.until(lambda: bool(rig.tools.asked))
        await rig.mouth.say("Or rather on Monday please")
        await rig.crash()
        await rig.hears("Monday, too.")
        assert len({request.key for request in rig.tools.asked}) == 1
        results = [m["content"] for m in rig.brain.asked[-1].messages if m["role"] == "tool"]
        assert results == ['{"done": "get_slots"}']

    monday = {"user": "monday", "answer": {"say": "Monday, too."}}
    play(story, redis_url, SLOTS, monday, OFFER, tools=Tools(took_s=6.0))


def test_what_the_caller_says_while_nobody_runs_the_call_is_answered(redis_url: str) -> None:
    async def story(rig: Rig) -> None:
        await rig.hears("How can I help?")
        await rig.quiet()
        spot = rig.spots[-1]
        spot.near.wake = spot.far.wake = lambda: None
        await rig.actors[-1].kill()  # nobody has noticed yet
        await rig.mouth.say("Tell me a story")
        spot.lost("ActorDiedError")
        await rig.hears("The end.")
        assert words(rig.heard) == words(GREETING + STORY)

    play(story, redis_url, LONG)


def test_an_interruption_while_nobody_runs_the_call_stops_the_agent_at_once_afterwards(
    redis_url: str,
) -> None:
    async def story(rig: Rig) -> None:
        await rig.hears("How can I help?")
        await rig.mouth.say("Tell me a story")
        await rig.hears("Once there")
        spot = rig.spots[-1]
        spot.near.wake = spot.far.wake = lambda: None
        await rig.actors[-1].kill()
        await rig.mouth.say("No stop it now")
        spot.lost("ActorDiedError")
        await rig.hears("All right.")
        assert len(rig.ear.clears) == 1
        assert last_assistant(rig).startswith("Once there")
        assert "The end." not in last_assistant(rig)

    play(story, redis_url, SLOW, {"user": "stop", "answer": {"say": "All right."}}, settings=PATIENT)


def test_a_reply_that_was_interrupted_is_not_continued_by_the_successor(redis_url: str) -> None:
    async def story(rig: Rig) -> None:
        await rig.hears("How can I help?")
        await rig.mouth.say("Tell me a story")
        await rig.hears("Once there")
        for count in (1, 2, 3):  # an interim that interrupts; the utterance is not over
            rig.mouth._tell(_interim("No stop it"[: 3 * count + 1]))
        await rig.until(lambda: bool(rig.ear.clears))
        await rig.quiet()
        await rig.crash()
        before = len(rig.brain.asked)
        rig.mouth._tell(_interim("No stop it now", over=True))
        await rig.hears("All right.")
        assert len(rig.brain.asked) == before + 1

    play(story, redis_url, SLOW, {"user": "stop", "answer": {"say": "All right."}}, settings=PATIENT)


def _interim(text: str, over: bool = False) -> object:
    from engine.vendors.deepgram import Heard

    return Heard(text, over, over, False, 0.0)


def test_a_predecessor_that_lives_on_is_fenced_off_and_says_nothing(redis_url: str) -> None:
    async def story(rig: Rig) -> None:
        await rig.hears("How can I help?")
        await rig.mouth.say("Tell me a story")
        await rig.hears("Once there")
        old: CallActor = rig.partition()
        await rig.hears("The end.")
        await rig.until(lambda: old.over)
        assert words(rig.heard) == words(GREETING + STORY)
        assert len(rig.ear.clears) == 0

    play(story, redis_url, SLOW, settings=PATIENT)


def test_a_second_loss_is_survived_like_the_first(redis_url: str) -> None:
    async def story(rig: Rig) -> None:
        await rig.hears("How can I help?")
        await rig.mouth.say("Tell me a story")
        await rig.hears("Once there")
        await rig.crash()
        await rig.hears("in the rain.")
        await rig.crash()
        await rig.hears("The end.")
        assert words(rig.heard) == words(GREETING + STORY)
        epochs = [
            e.detail["epoch"] for e in rig.log.of(LogEvent) if e.kind in ("call_started", "call_resumed")
        ]
        assert epochs == [1, 2, 3]

    play(story, redis_url, SLOW, settings=PATIENT)


def test_lost_after_the_goodbye_was_decided_the_call_still_ends(redis_url: str) -> None:
    async def story(rig: Rig) -> None:
        await rig.hears("How can I help?")
        await rig.mouth.say("That is all thanks")
        await rig.hears("You are welc")
        await rig.until(lambda: rig.actors[-1]._ending.decided is not None)
        await rig.crash()
        await rig.until(rig.closed.is_set)
        await rig.stream.ended()
        assert words(rig.heard) == words(GREETING + BYE["answer"]["say"])
        assert ending(rig) == "completed"

    play(story, redis_url, BYE)


@pytest.mark.parametrize("packed", [False, True], ids=["split", "packed"])
def test_a_dropped_stream_goes_on_in_a_new_one_with_its_history(redis_url: str, packed: bool) -> None:
    async def story(rig: Rig) -> None:
        await rig.hears("How can I help?")
        await rig.mouth.say("Tell me a story")
        await rig.hears("Once there was")
        heard = rig.heard
        await rig.hang_up("dropped")
        assert await rig.sessions.broke(CALL, 0.0, 0) == 1
        rig.stream_sid = "MZ2"
        await rig.open()
        await rig.hears("Could you say that again?")
        assert "Hello" not in rig.heard
        await rig.mouth.say("No stop it now")
        await rig.hears("All right.")
        told = [m["content"] for m in rig.brain.asked[-1].messages if m["role"] == "assistant"]
        assert told[0] == GREETING
        assert abs(len(told[1].split()) - len(heard.partition("help?")[2].split())) <= 1

    play(
        story,
        redis_url,
        SLOW,
        {"user": "stop", "answer": {"say": "All right."}},
        settings=PATIENT,
        packed=packed,
    )


def test_while_redis_is_away_the_call_goes_on_and_is_written_whole_afterwards(redis_url: str) -> None:
    async def story(rig: Rig) -> None:
        await rig.hears("How can I help?")
        rig.store.away = True
        await rig.mouth.say("Tell me a story")
        await rig.hears("The end.")
        await rig.quiet()
        rig.store.away = False
        await rig.mouth.say("What times are free on Friday")
        await rig.hears("Let me look.")
        items = (await rig.sessions.read(CALL)).items.values()
        said = [item for item in items if isinstance(item, Said) and item.text in STORY]
        assert " ".join(item.text for item in said) == STORY
        assert {item.state for item in said} == {Playback.PLAYED}

    play(story, redis_url, LONG, SLOTS, OFFER)


def test_what_was_said_while_redis_was_away_is_written_as_soon_as_it_is_back(redis_url: str) -> None:
    async def story(rig: Rig) -> None:
        await rig.hears("How can I help?")
        rig.store.away = True
        await rig.mouth.say("Tell me a story")
        await rig.hears("The end.")
        await rig.quiet()
        await asyncio.sleep(0.5)
        rig.store.away = False
        await asyncio.sleep(1.1)  # and nothing happens on the call
        items = (await rig.sessions.read(CALL)).items.values()
        assert " ".join(item.text for item in items if isinstance(item, Said) and item.text in STORY) == STORY

    play(story, redis_url, LONG)


@pytest.mark.parametrize("packed", [False, True], ids=["split", "packed"])
@pytest.mark.parametrize("away_s", [0.3, 30.0, 100.0])
def test_a_call_that_ends_while_redis_is_away_is_over_soon_and_is_written_when_it_is_back(
    redis_url: str, away_s: float, packed: bool
) -> None:
    async def story(rig: Rig) -> None:
        await rig.hears("How can I help?")
        rig.store.away = True
        asyncio.get_running_loop().call_later(away_s, setattr, rig.store, "away", False)
        ended_s, ended_at = now(), wall()
        await rig.hang_up()
        assert now() - ended_s < 5, "the others wait for Redis, too"
        [end] = rig.log.of(FinalizeCall)
        assert (end.ending, end.ended_at) == ("caller_hung_up", pytest.approx(ended_at, abs=0.5))
        await asyncio.sleep(away_s + 1.1)
        meta = (await rig.sessions.read(CALL)).meta
        assert (meta.ending, meta.ended_at) == ("caller_hung_up", end.ended_at)
        assert rig.actors[-1].over
        assert len(rig.log.of(FinalizeCall)) == 1

    play(story, redis_url, packed=packed)


def test_a_call_that_ended_in_an_outage_without_end_is_not_waited_for_for_ever(redis_url: str) -> None:
    async def story(rig: Rig) -> None:
        await rig.hears("How can I help?")
        rig.store.away = True
        await rig.hang_up()
        await asyncio.sleep(55)
        assert not rig.actors[-1].over
        await asyncio.sleep(10)
        assert rig.actors[-1].over

    play(story, redis_url, settings=new_settings(outage_s=60))


def test_a_session_that_redis_has_lost_is_written_whole_again(redis_url: str) -> None:
    async def story(rig: Rig) -> None:
        await rig.hears("How can I help?")
        await rig.mouth.say("Tell me a story")
        await rig.hears("The end.")
        await rig.quiet()
        before = await rig.sessions.read(CALL)
        async with redis_async.Redis.from_url(redis_url) as raw:
            await outside(raw.flushall())
        await rig.mouth.say("What times are free on Friday")
        await rig.hears("Let me look.")
        after = await rig.sessions.read(CALL)
        assert list(after.items.values())[: len(before.items)] == list(before.items.values())
        assert after.info is not None
        assert after.context is not None
        assert after.epoch == before.epoch
        await rig.crash()
        await rig.hears("On Friday we have nine")

    play(story, redis_url, LONG, SLOTS, OFFER)


def test_what_a_lost_host_had_still_to_log_is_logged_by_its_successor(redis_url: str) -> None:
    async def story(rig: Rig) -> None:
        await rig.hears("How can I help?")
        await rig.mouth.say("Tell me a story")
        await rig.hears("The end.")
        await rig.quiet()
        before = [(row.turn, row.index, row.speaker, row.text, row.at) for row in rig.log.of(LogTranscript)]
        rig.log.entries.clear()  # Postgres is away
        await rig.crash()
        await asyncio.sleep(1)
        after = [(row.turn, row.index, row.speaker, row.text, row.at) for row in rig.log.of(LogTranscript)]
        assert sorted(after) == sorted(before)

    play(story, redis_url, LONG)


def test_while_redis_is_away_nothing_is_changed_and_nothing_promised(redis_url: str) -> None:
    async def story(rig: Rig) -> None:
        await rig.hears("How can I help?")
        rig.store.away = True
        await rig.mouth.say("Please book it")
        await rig.hears("I can't book right now.")
        assert rig.tools.asked == []

    book = {"user": "book", "answer": {"calls": [{"name": "book"}]}}
    sorry = {"result": "nothing can be changed", "answer": {"say": "I can't book right now."}}
    play(story, redis_url, book, sorry)


@pytest.mark.parametrize("packed", [False, True], ids=["split", "packed"])
def test_when_no_call_actor_can_run_the_call_one_sentence_is_said_and_the_call_ends(
    redis_url: str, packed: bool
) -> None:
    async def story(rig: Rig) -> None:
        def broken(*_: object) -> object:
            raise RuntimeError("poisoned")

        await rig.hears("How can")
        rig.observe = broken
        await rig.crash()
        await rig.until(rig.closed.is_set, limit_s=30)
        assert "we can't go on with this call right now" in rig.heard
        assert (await rig.sessions.read(CALL)).next == "fallback"

    play(story, redis_url, LONG, settings=new_settings(), packed=packed)


def test_a_session_that_nobody_can_read_ends_in_one_sentence_at_once_and_not_in_dead_air(
    redis_url: str,
) -> None:
    async def story(rig: Rig) -> None:
        await rig.hears("How can I help?")
        await rig.quiet()
        await outside(rig.sessions._redis.hset(f"call:{CALL}", "item:000001", b"no JSON at all"))
        lost_s = now()
        await rig.crash()
        await rig.hears("we can't go on")
        assert now() - lost_s < 2.0
        await rig.until(rig.closed.is_set)
        stored = await rig.sessions.glance(CALL)
        assert stored is not None
        assert stored.next == "fallback"
        assert len(rig.spots) == 1 + 3  # the first was steady

    play(story, redis_url, LONG)


def test_the_successor_knows_how_long_it_has_been_silent(redis_url: str) -> None:
    async def story(rig: Rig) -> None:
        await rig.hears("How can I help?")
        await rig.quiet()
        quiet_s = now()
        await rig.until(lambda: now() > quiet_s + 5.0)
        await rig.crash()
        await rig.hears("Are you still there?")
        assert now() - quiet_s < 10.0

    play(story, redis_url)
