"""Recognition is away in the middle of a conversation: what the caller is told of it."""

import asyncio

from engine import phrases
from engine.callrows import LogEvent
from engine.clock import now
from engine.messages import Transfer
from engine.vendors.deepgram import VendorLost
from tests.virtual.rig import Rig, new_settings
from tests.virtual.test_conversation import BYE, LONG, ending, play

DOWN = VendorLost("HTTP 503", status=503)
WRONG_KEY = VendorLost("HTTP 401", status=401)


async def greeted(rig: Rig) -> None:
    await rig.hears("How can I help?")
    await rig.quiet()


def test_a_short_loss_is_nothing_that_the_caller_hears_of(redis_url: str) -> None:
    async def story(rig: Rig) -> None:
        await greeted(rig)
        rig.mouth.lose()
        await asyncio.sleep(1.0)
        await rig.mouth.say("That is all thanks")
        await rig.hears("Goodbye.")
        assert "hear you" not in rig.heard
        assert [e.kind for e in rig.log.of(LogEvent) if e.kind.startswith("stt_")] == ["stt_lost", "stt_back"]

    play(story, redis_url, BYE)


def test_a_caller_who_is_not_heard_is_told_so_and_when_they_are_heard_again(redis_url: str) -> None:
    async def story(rig: Rig) -> None:
        await greeted(rig)
        lost_s = now()
        rig.mouth.lose(DOWN)
        await rig.hears("can't hear you")
        assert now() - lost_s < 4.0
        rig.mouth.refuses = None
        await rig.hears(phrases.HEARING_AGAIN.split(". ")[0])
        await rig.mouth.say("That is all thanks")
        await rig.hears("Goodbye.")
        assert phrases.ARE_YOU_THERE not in rig.heard

    play(story, redis_url, BYE)


def test_what_was_said_meanwhile_is_answered_without_asking_for_it(redis_url: str) -> None:
    async def story(rig: Rig) -> None:
        await greeted(rig)
        rig.mouth.lose(DOWN)
        await rig.hears("Please hold on.")
        rig.mouth.refuses = None
        await rig.until(lambda: any(e.kind == "stt_back" for e in rig.log.of(LogEvent)))
        await rig.mouth.say("That is all thanks", word_s=0.1)
        await rig.hears("Goodbye.")
        assert phrases.HEARING_AGAIN not in rig.heard

    play(story, redis_url, BYE)


def test_who_was_told_so_is_told_that_they_are_heard_though_the_host_was_lost_meanwhile(
    redis_url: str,
) -> None:
    async def story(rig: Rig) -> None:
        await greeted(rig)
        rig.mouth.lose(DOWN)
        await rig.hears("Please hold on.")
        await rig.quiet()
        await rig.crash()
        await asyncio.sleep(0.3)
        rig.mouth.refuses = None
        await rig.hears(phrases.HEARING_AGAIN.split(". ")[0])

    play(story, redis_url, BYE)


def test_what_the_agent_is_saying_is_said_to_its_end_first(redis_url: str) -> None:
    async def story(rig: Rig) -> None:
        await greeted(rig)
        await rig.mouth.say("Tell me a story")
        await rig.hears("Once there")
        rig.mouth.lose(DOWN)
        await rig.hears("hold on.")
        assert rig.heard.index("The end.") < rig.heard.index("can't hear you")

    play(story, redis_url, LONG)


def test_who_is_never_heard_again_is_not_taken_for_silent(redis_url: str) -> None:
    async def story(rig: Rig) -> None:
        await greeted(rig)
        rig.mouth.lose(DOWN)
        since_s = now()
        await rig.until(rig.closed.is_set, limit_s=90)
        assert rig.heard.endswith("Goodbye.")
        assert "still can't hear you" in rig.heard
        assert phrases.ARE_YOU_THERE not in rig.heard
        assert rig.ear.longest_silence_s(since_s) < 10
        await rig.stream.ended()
        assert ending(rig) == "failed"

    play(story, redis_url)


def test_a_wrong_key_is_told_at_once_and_the_caller_is_put_through(redis_url: str) -> None:
    async def story(rig: Rig) -> None:
        await greeted(rig)
        lost_s = now()
        rig.mouth.lose(WRONG_KEY)
        await rig.hears("putting you through to someone else.")
        assert now() - lost_s < 8
        await rig.until(rig.closed.is_set)
        await rig.stream.ended()
        assert (await rig.sessions.read(rig.log.entries[0].info.call)).next == "transfer"
        assert rig.goodbyes == [Transfer("+13125550199")]
        assert ending(rig) == "transferred"

    play(story, redis_url, settings=new_settings(transfer_number="+13125550199"))


def test_without_a_person_to_put_them_through_to_the_fallback_is_dialled(redis_url: str) -> None:
    async def story(rig: Rig) -> None:
        await greeted(rig)
        rig.mouth.lose(WRONG_KEY)
        await rig.until(rig.closed.is_set)
        await rig.stream.ended()
        assert (await rig.sessions.read(rig.log.entries[0].info.call)).next == "fallback"
        assert rig.goodbyes == []

    play(story, redis_url, settings=new_settings(fallback_number="+13125550198"))


def test_a_successor_of_the_call_knows_that_the_caller_is_not_heard(redis_url: str) -> None:
    async def story(rig: Rig) -> None:
        await greeted(rig)
        rig.mouth.lose(DOWN)
        await asyncio.sleep(0.5)
        await rig.crash()
        await rig.hears("can't hear you")
        assert phrases.ARE_YOU_THERE not in rig.heard

    play(story, redis_url)
