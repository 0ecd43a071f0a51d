"""A reply that is thought of before the caller's turn is over: heard if it is, and without a trace if it is not."""

import asyncio
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import redis

from actors.parts import CallPorts
from actors.speculating import Speculating
from engine import phrases
from engine.callrows import FinalizeCall, Leg, LogMetric, LogTranscript, Speaker
from engine.clock import now
from engine.history import AnyItem, Cause, Said, TurnBegan
from engine.messages import DtmfPressed, Respond, Speak, Start, Took
from engine.record import Store
from engine.session import Stored, Written
from engine.tape import read_tape
from tests.virtual.replays import again
from tests.virtual.rig import CALL, GREETING, Mouth, Rig, Tools, _ListenSocket, new_settings
from tests.virtual.test_conversation import BYE, LONG, OFFER, SLOTS, ending, play
from tests.virtual.test_resume import PATIENT, words
from tests.virtual.test_tape import TapedRig

STORY = LONG["answer"]["say"]
ASKED = "Tell me a story"


async def history(rig: Rig) -> list[AnyItem]:
    """What the session holds."""
    stored = await rig.sessions.read(CALL)
    assert stored is not None
    return list(stored.items.values())


async def callers_turns(rig: Rig) -> list[str]:
    return [i.text for i in await history(rig) if isinstance(i, TurnBegan) and i.cause is Cause.SPEECH]


# ---------------------------------------------------------------- the turn ends


def test_the_reply_is_heard_as_soon_as_the_turn_is_over(
    redis_url: str, capsys: pytest.CaptureFixture[str]
) -> None:
    waited_s = {}

    def told(mouth: Mouth) -> None:
        async def story(rig: Rig) -> None:
            await rig.hears("How can I help?")
            await rig.mouth.say(ASKED)
            ended_s = now()
            await rig.until(rig.ear.speaking)
            waited_s[mouth] = now() - ended_s
            await rig.hears("The end.")
            assert words(rig.heard) == words(GREETING + STORY)
            assert len(rig.brain.asked) == 1
            await rig.hang_up()
            [to_request] = [m for m in rig.log.of(LogMetric) if m.name == Leg.FINAL_TO_REQUEST]
            assert 0 <= to_request.value_ms < 50

        play(story, redis_url, LONG, mouth=mouth)

    plain, eager = Mouth(final_s=0.6), Mouth(final_s=0.6, eager_s=0.3)
    told(plain)
    redis.Redis.from_url(redis_url).flushdb()
    told(eager)
    with capsys.disabled():
        print(
            f"\nfrom the end of the turn to audio: {waited_s[plain]:.2f} s, with eager ends {waited_s[eager]:.2f} s"
        )
    # The model takes 0.4 s to its first word, of which 0.3 pass before the turn is over.
    assert waited_s[plain] - waited_s[eager] == pytest.approx(0.3, abs=0.05)


def test_before_the_turn_is_over_nothing_is_written_or_spoken_and_then_in_order(redis_url: str) -> None:
    done: list[str] = []

    class Watched:
        def __init__(self, store: Store) -> None:
            self._store = store

        async def take(self, call: str, last_epoch: int) -> Stored:
            return await self._store.take(call, last_epoch)

        async def write(self, call: str, epoch: int, fields: dict[str, bytes]) -> Written:
            written = b" ".join(fields.values()).decode()
            done.extend(f"written {text}" for text in (ASKED, "Once there", "It stood") if text in written)
            return await self._store.write(call, epoch, fields)

    class Media:
        def __init__(self, media: Any) -> None:
            self._media = media

        def tell(self, message: Any) -> None:
            if isinstance(message, Speak):
                done.extend(f"spoken {text}" for text in ("Once there", "It stood") if text in message.text)
            self._media.tell(message)

    def observe(start: Start, ports: CallPorts) -> CallPorts:
        return replace(ports, media=Media(ports.media), store=Watched(ports.store))

    async def story(rig: Rig) -> None:
        await rig.hears("How can I help?")
        await rig.mouth.may_end(ASKED)
        await asyncio.sleep(2.0)  # the reply is whole
        assert len(rig.brain.asked) == 1
        assert done == []
        assert await callers_turns(rig) == []
        assert (await rig.sessions.read(CALL)).meta.took == 0
        rig.mouth.end(ASKED)
        await rig.hears("The end.")
        assert done[:5] == [
            f"written {ASKED}",
            "written Once there",
            "spoken Once there",
            "written It stood",
            "spoken It stood",
        ]
        assert len(rig.brain.asked) == 1

    play(story, redis_url, LONG, observe=observe)


@pytest.mark.parametrize("whole", [False, True], ids=["asks on", "has asked"])
def test_tools_run_when_the_turn_is_over_and_once(redis_url: str, whole: bool) -> None:
    async def story(rig: Rig) -> None:
        await rig.hears("How can I help?")
        await rig.mouth.may_end("What times are free on Friday")
        await asyncio.sleep(2.0 if whole else 0.1)
        assert rig.tools.asked == []
        assert len(await history(rig)) == 3  # the greeting
        rig.mouth.end("What times are free on Friday")
        await rig.hears("Which one would you like?")
        assert [r.tool for r in rig.tools.asked] == ["get_slots"]
        assert words(rig.heard) == words(GREETING + "Let me look." + OFFER["answer"]["say"])

    play(story, redis_url, SLOTS, OFFER)


# ---------------------------------------------------------------- the turn goes on


@pytest.mark.parametrize("whole", [False, True], ids=["in mid-reply", "whole"])
def test_a_caller_who_goes_on_hears_nothing_of_it_and_it_leaves_only_its_cost(
    redis_url: str, whole: bool
) -> None:
    async def story(rig: Rig) -> None:
        await rig.hears("How can I help?")
        await rig.mouth.may_end(ASKED)
        await asyncio.sleep(1.2 if whole else 0.5)
        rig.mouth.go_on()
        await asyncio.sleep(0.5)
        assert rig.brain.cancelled == (not whole)
        await rig.mouth.say(f"{ASKED} no what times are free on Friday")
        await rig.hears("Which one would you like?")
        assert words(rig.heard) == words(GREETING + "Let me look." + OFFER["answer"]["say"])
        assert await callers_turns(rig) == [f"{ASKED} no what times are free on Friday"]
        assert not any("Once" in item.text for item in await history(rig) if isinstance(item, Said))
        numbers = [ask.request for ask in rig.brain.asked]
        assert numbers == sorted(set(numbers))
        await rig.hang_up()
        [end] = rig.log.of(FinalizeCall)
        paid_for = 3 * 100 if whole else 2 * 100
        assert end.usage.prompt == paid_for if whole else end.usage.prompt > paid_for
        assert end.interruptions == 0

    play(story, redis_url, {"user": "friday", "answer": SLOTS["answer"]}, OFFER, LONG)


def test_a_turn_that_ends_with_other_words_is_asked_anew(redis_url: str) -> None:
    async def story(rig: Rig) -> None:
        await rig.hears("How can I help?")
        await rig.mouth.may_end("What times are free")
        await asyncio.sleep(0.2)
        rig.mouth.end("What times are free on Friday")
        await rig.hears("Which one would you like?")
        assert [ask.messages[-1]["content"] for ask in rig.brain.asked][:2] == [
            "What times are free",
            "What times are free on Friday",
        ]
        assert rig.brain.cancelled == 1
        assert await callers_turns(rig) == ["What times are free on Friday"]

    play(story, redis_url, SLOTS, OFFER, {"user": "free", "answer": {"say": "Many."}})


def test_words_that_are_heard_anew_by_another_socket_end_the_speculation(redis_url: str) -> None:
    async def story(rig: Rig) -> None:
        await rig.hears("How can I help?")
        await rig.mouth.may_end(ASKED)
        await asyncio.sleep(0.1)
        rig.mouth.lose()
        await asyncio.sleep(0.5)
        await rig.mouth.say(ASKED)
        await rig.hears("The end.")
        assert words(rig.heard) == words(GREETING + STORY)
        assert len(rig.brain.asked) == 2

    play(story, redis_url, LONG)


def test_an_end_that_is_expected_again_is_not_asked_about_again(redis_url: str) -> None:
    async def story(rig: Rig) -> None:
        await rig.hears("How can I help?")
        await rig.mouth.may_end(ASKED)
        await asyncio.sleep(0.1)
        rig.mouth.expect_end(ASKED)
        rig.mouth.end(ASKED)
        await rig.hears("The end.")
        assert words(rig.heard) == words(GREETING + STORY)
        assert len(rig.brain.asked) == 1

    play(story, redis_url, LONG)


# ---------------------------------------------------------------- what may happen meanwhile


@pytest.mark.parametrize("packed", [False, True], ids=["split", "packed"])
@pytest.mark.parametrize("ended", [False, True], ids=["open", "ended meanwhile"])
def test_a_host_that_dies_in_mid_speculation_is_not_missed(redis_url: str, packed: bool, ended: bool) -> None:
    async def story(rig: Rig) -> None:
        await rig.hears("How can I help?")
        await rig.mouth.may_end("What times are free on Friday")
        await asyncio.sleep(1.5)
        if ended:
            dying = asyncio.create_task(rig.crash())
            rig.mouth.end("What times are free on Friday")
            await dying
        else:
            await rig.crash()
            await asyncio.sleep(0.5)
            rig.mouth.end("What times are free on Friday")
        await rig.hears("Which one would you like?")
        assert words(rig.heard) == words(GREETING + "Let me look." + OFFER["answer"]["say"])
        assert len(rig.tools.done) == 1
        assert await callers_turns(rig) == ["What times are free on Friday"]
        assert len(rig.actors) == 2

    play(story, redis_url, SLOTS, OFFER, settings=PATIENT, packed=packed)


def test_a_caller_who_interrupts_is_thought_about_with_what_they_had_heard(redis_url: str) -> None:
    async def story(rig: Rig) -> None:
        await rig.hears("How can I help?")
        await rig.mouth.say(ASKED)
        await rig.hears("It stood")
        await rig.mouth.may_end("What times are free on Friday")
        await asyncio.sleep(0.3)
        assert not rig.ear.speaking()
        [said] = [m for m in rig.brain.asked[-1].messages if "Once" in str(m["content"])]
        assert said["content"].startswith("Once there was a car that would not start. It stood")
        assert "Nobody" not in said["content"]
        rig.mouth.end("What times are free on Friday")
        await rig.hears("Which one would you like?")
        assert [ask.messages[-1]["role"] for ask in rig.brain.asked] == ["user", "user", "tool"]

    play(story, redis_url, SLOTS, OFFER, LONG)


def test_a_listeners_noise_is_not_thought_about(redis_url: str) -> None:
    async def story(rig: Rig) -> None:
        await rig.hears("How can I help?")
        await rig.mouth.say(ASKED)
        await rig.hears("It stood")
        await rig.mouth.may_end("mm-hmm")
        rig.mouth.end("mm-hmm")
        await rig.hears("The end.")
        assert len(rig.brain.asked) == 1
        assert rig.ear.clears == []

    play(story, redis_url, LONG)


def test_who_is_asked_whether_they_are_there_is_answered_with_that_in_mind(redis_url: str) -> None:
    async def story(rig: Rig) -> None:
        await rig.hears("How can I help?")
        await rig.mouth.may_end(ASKED)
        await rig.hears(phrases.ARE_YOU_THERE)
        await rig.quiet()
        rig.mouth.end(ASKED)
        await rig.hears("The end.")
        contents = [[m["content"] for m in ask.messages] for ask in rig.brain.asked]
        assert phrases.ARE_YOU_THERE not in contents[0]
        assert phrases.ARE_YOU_THERE in contents[1]
        assert words(rig.heard).count(words(STORY)) == 1

    settings = new_settings(silence_prompt_s=1.0).model_copy(update={"stt_stale_s": 60.0})
    play(story, redis_url, LONG, settings=settings)


def test_keys_that_are_pressed_meanwhile_are_answered_first(redis_url: str) -> None:
    async def story(rig: Rig) -> None:
        await rig.hears("How can I help?")
        await rig.mouth.may_end(ASKED)
        rig.stream.tell(DtmfPressed(0, "1"))
        await rig.hears("One.")
        assert len(rig.brain.asked) == 2
        rig.mouth.end(ASKED)
        await rig.hears("The end.")
        assert words(rig.heard) == words(GREETING + "One." + STORY)

    play(story, redis_url, {"user": "pressed 1", "answer": {"say": "One."}}, LONG)


def test_a_model_that_fails_meanwhile_has_cost_the_turn_no_try(redis_url: str) -> None:
    async def story(rig: Rig) -> None:
        await rig.hears("How can I help?")
        await rig.mouth.may_end(ASKED)
        await asyncio.sleep(1.0)
        rig.mouth.end(ASKED)
        await rig.hears("The end.")
        assert words(rig.heard).endswith(words(STORY))
        assert words(rig.heard).count(words("Once there was")) == 1
        assert len(rig.brain.asked) == 3

    fails = {"user": "story", "times": 2, "answer": {"failure": {"how": "error"}}}
    play(story, redis_url, fails, LONG)


def test_while_a_tool_runs_nothing_is_asked_that_its_result_would_change(redis_url: str) -> None:
    async def story(rig: Rig) -> None:
        await rig.hears("How can I help?")
        await rig.mouth.say("What times are free on Friday")
        await rig.hears("Let me look.")
        await rig.mouth.may_end(ASKED)
        await asyncio.sleep(0.3)
        assert len(rig.brain.asked) == 1
        rig.mouth.end(ASKED)
        await rig.hears("The end.")
        assert len(rig.brain.asked) == 2
        assert [m["role"] for m in rig.brain.asked[-1].messages][-2:] == ["tool", "user"]

    play(story, redis_url, SLOTS, LONG, tools=Tools(took_s=3.0))


@pytest.mark.parametrize("after_s", [0.5, 2.0], ids=["in mid-reply", "whole"])
def test_a_caller_who_hangs_up_meanwhile_has_said_nothing_and_is_charged_for(
    redis_url: str, after_s: float
) -> None:
    async def story(rig: Rig) -> None:
        await rig.hears("How can I help?")
        await rig.mouth.may_end(ASKED)
        await asyncio.sleep(after_s)
        await rig.hang_up()
        assert ending(rig) == "caller_hung_up"
        [end] = rig.log.of(FinalizeCall)
        assert end.usage.prompt > 0
        assert Speaker.CALLER not in {line.speaker for line in rig.log.of(LogTranscript)}
        assert await callers_turns(rig) == []

    play(story, redis_url, LONG)


def test_a_turn_is_left_open_for_as_long_as_its_recogniser_may_take(
    redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_ListenSocket, "stale_s", 6.0)

    async def story(rig: Rig) -> None:
        await rig.hears("How can I help?")
        await rig.mouth.may_end(ASKED)
        await asyncio.sleep(5.5)  # STT_STALE_S and STT_FINALIZE_S are 3 together
        assert await callers_turns(rig) == []
        await asyncio.sleep(3.0)
        assert await callers_turns(rig) == [ASKED]

    play(story, redis_url, LONG)


# ---------------------------------------------------------------- on tape


def test_a_tape_of_speculations_goes_the_same_way_again(
    redis_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    TapedRig.directory = tmp_path
    monkeypatch.setattr("tests.virtual.test_conversation.Rig", TapedRig)

    async def story(rig: Rig) -> None:
        await rig.hears("How can I help?")
        await rig.mouth.may_end(ASKED)
        await asyncio.sleep(0.6)
        rig.mouth.go_on()
        await rig.mouth.say("What times are free on Friday")
        await rig.hears("Which one would you like?")
        await rig.mouth.say("That is all thanks")
        await rig.until(rig.closed.is_set)
        await rig.stream.ended()

    play(story, redis_url, SLOTS, OFFER, LONG, BYE, mouth=Mouth(final_s=1.2, eager_s=0.1))
    tape = read_tape(tmp_path / f"{CALL}.jsonl")
    assert sum(isinstance(line.message, Respond) for line in tape) == 4
    assert again(tape) is None

    def hears_nothing(self: Speculating, told: Any) -> bool:
        return False

    monkeypatch.setattr(Speculating, "hold", hears_nothing)
    assert again(tape) is not None


def test_what_is_expected_is_not_taken(redis_url: str) -> None:
    took: list[Took] = []

    class Stt:
        def __init__(self, stt: Any) -> None:
            self._stt = stt

        def tell(self, message: Any) -> None:
            took.append(message)
            self._stt.tell(message)

    def observe(start: Start, ports: CallPorts) -> CallPorts:
        return replace(ports, stt=Stt(ports.stt))

    async def story(rig: Rig) -> None:
        await rig.hears("How can I help?")
        before = len(took)
        await rig.mouth.may_end(ASKED)
        await asyncio.sleep(1.0)
        assert len(took) == before
        rig.mouth.end(ASKED)
        await rig.hears("Once")
        assert took[-1] == Took(1)

    play(story, redis_url, LONG, observe=observe, tools=Tools())
