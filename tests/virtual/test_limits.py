"""Nothing lasts for ever: dead air, failing CallActors, lost marks, calls, keys, kept audio. All in virtual time."""

import asyncio
import dataclasses
from typing import Any

import pytest

from actors.call import CallActor
from actors.parts import CallPorts
from actors.replying import Replying
from actors.stt import SttActor
from engine import audio, phrases
from engine.actor import spawn
from engine.callrows import Entry, FinalizeCall, LogEvent
from engine.clock import now, run_virtual
from engine.host import Calls
from engine.link import LinkEnd
from engine.messages import CallerAudio, CallInfo, Down, Drained, DtmfPressed, HangUp, Start
from engine.routes import Route, Routes
from engine.supervision import Supervision
from engine.telemetry import snapshot
from engine.vendors.deepgram import VendorLost
from tests.virtual.rig import CALL, GREETING, Ear, Log, Rig, Tools, _SpeakSocket, new_settings
from tests.virtual.test_conversation import BYE, LONG, play
from tests.virtual.test_resume import PATIENT, SLOW, words

DEAD_AIR_S = 10.0
POLICY = Supervision.by(new_settings()).calls
UNASKING = new_settings().model_copy(update={"silence_prompt_s": 600.0})  # "are you there?" is never asked


def test_a_call_actor_that_fails_each_time_it_gets_far_is_given_up(
    redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def poisoned(*_: object) -> None:
        raise RuntimeError("poison")

    async def story(rig: Rig) -> None:
        await rig.hears("How can I help?")
        monkeypatch.setattr(Replying, "sentence", poisoned)
        await rig.mouth.say("Tell me a story")
        await rig.until(rig.closed.is_set, limit_s=40)
        assert "we can't go on with this call" in rig.heard
        assert len(rig.actors) <= 4
        assert rig.ear.longest_silence_s(0.0) < DEAD_AIR_S

    play(story, redis_url, LONG)


class _PoisonedLog(Log):
    """A call log that can't be told that a CallActor is attached."""

    def write(self, entry: Entry) -> None:
        if isinstance(entry, LogEvent) and entry.kind in ("call_started", "call_resumed"):
            raise RuntimeError("poison")
        super().write(entry)


class Poison:
    """Makes each CallActor fail once it is attached; but the tenth does not, for a test that nothing else would end."""

    def __init__(self) -> None:
        self._made = 0

    def __call__(self, _: Start, ports: CallPorts) -> CallPorts:
        self._made += 1
        return dataclasses.replace(ports, log=_PoisonedLog()) if self._made < 10 else ports


@pytest.mark.parametrize("packed", [False, True], ids=["split", "packed"])
def test_a_call_actor_that_fails_each_time_it_attaches_is_tried_three_times(
    redis_url: str, packed: bool
) -> None:
    async def story(rig: Rig) -> None:
        before = snapshot().get("calls_given_up", 0)
        await rig.until(rig.closed.is_set)
        assert words(rig.heard) == words(phrases.UNAVAILABLE)
        assert len(rig.actors) == 3
        assert (await rig.sessions.read(CALL)).next == "fallback"
        assert snapshot().get("calls_given_up", 0) == before + 1

    play(story, redis_url, LONG, observe=Poison(), packed=packed)


@pytest.mark.parametrize("packed", [False, True], ids=["split", "packed"])
def test_a_resume_is_tried_three_times_after_the_loss_of_a_steady_call_actor(
    redis_url: str, packed: bool
) -> None:
    async def story(rig: Rig) -> None:
        await rig.hears("How can I help?")
        await asyncio.sleep(POLICY.steady_s)
        rig.observe = Poison()
        await rig.crash()
        await rig.until(rig.closed.is_set)
        assert words(rig.heard) == words(GREETING + phrases.UNAVAILABLE)
        assert len(rig.actors) == 1 + 3
        assert (await rig.sessions.read(CALL)).next == "fallback"

    play(story, redis_url, LONG, settings=UNASKING, packed=packed)


@pytest.mark.parametrize(
    ("packed", "steady_s"),
    [(False, POLICY.host_steady_s), (True, POLICY.steady_s)],
    ids=["its host", "packed"],
)
def test_a_call_that_loses_one_call_actor_after_the_other_goes_on_when_each_was_steady(
    redis_url: str, packed: bool, steady_s: float
) -> None:
    async def story(rig: Rig) -> None:
        await rig.hears("How can I help?")
        for _ in range(5):
            await asyncio.sleep(steady_s + 0.5)
            await rig.crash()
        await rig.mouth.say("Tell me a story")
        await rig.hears("The end.")
        assert words(rig.heard) == words(GREETING + LONG["answer"]["say"])
        assert len(rig.actors) == 6

    play(story, redis_url, LONG, settings=UNASKING, packed=packed)


@pytest.mark.parametrize(
    ("packed", "steady_s"),
    [(False, POLICY.host_steady_s), (True, POLICY.steady_s)],
    ids=["its host", "packed"],
)
def test_a_call_that_loses_three_in_a_row_before_they_are_steady_is_given_up(
    redis_url: str, packed: bool, steady_s: float
) -> None:
    async def story(rig: Rig) -> None:
        await rig.hears("How can I help?")
        await asyncio.sleep(POLICY.steady_s)
        for _ in range(1 + 3):  # the first was steady
            await rig.crash()
            await asyncio.sleep(steady_s - 0.5)
        await rig.until(rig.closed.is_set)
        assert words(rig.heard) == words(GREETING + phrases.UNAVAILABLE)
        assert len(rig.actors) == 1 + 3

    play(story, redis_url, LONG, settings=UNASKING, packed=packed)


def test_a_call_that_loses_host_after_host_is_given_up_in_the_end(redis_url: str) -> None:
    async def story(rig: Rig) -> None:
        await rig.hears("How can I help?")
        for _ in range(POLICY.hosts):
            await asyncio.sleep(POLICY.host_steady_s + 0.5)
            await rig.crash()
        await rig.until(rig.closed.is_set)
        assert words(rig.heard) == words(GREETING + phrases.UNAVAILABLE)
        assert len(rig.actors) == POLICY.hosts

    play(story, redis_url, LONG, settings=UNASKING)


def test_a_call_that_says_goodbye_when_the_drain_time_is_over_ends_as_it_would(redis_url: str) -> None:
    async def story(rig: Rig) -> None:
        await rig.hears("How can I help?")
        await rig.mouth.say("Thanks")
        await rig.hears("You are")
        rig.stream.tell(Drained())
        await rig.until(rig.closed.is_set)
        assert words(rig.heard) == words(GREETING + BYE["answer"]["say"])
        assert (await rig.sessions.read(CALL)).next == "hangup"

    play(story, redis_url, BYE)


def test_a_caller_who_interrupts_the_goodbye_after_the_drain_time_is_told_then(redis_url: str) -> None:
    async def story(rig: Rig) -> None:
        await rig.hears("How can I help?")
        await rig.mouth.say("Thanks")
        await rig.hears("You are")
        rig.stream.tell(Drained())
        await rig.mouth.say("wait one more thing")
        await rig.until(rig.closed.is_set)
        assert rig.heard.endswith(phrases.UNAVAILABLE)
        assert (await rig.sessions.read(CALL)).next == "fallback"

    long = {
        "user": "thanks",
        "answer": {
            "say": "You are very welcome indeed, and thanks for calling us. Goodbye.",
            "calls": [{"name": "end_call"}],
        },
    }
    play(story, redis_url, long)


def test_a_caller_whose_successor_never_attaches_hears_so_after_five_seconds(
    redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def hangs(_: CallActor) -> None:
        await asyncio.sleep(3600)

    async def story(rig: Rig) -> None:
        await rig.hears("How can I help?")
        monkeypatch.setattr(CallActor, "started", hangs)
        lost_s = now()
        await rig.crash()
        await rig.hears("Sorry")
        assert 5.0 < now() - lost_s < 6.0
        await rig.until(rig.closed.is_set)
        assert (await rig.sessions.read(CALL)).next == "fallback"

    play(story, redis_url)


def test_a_call_that_outlasts_the_apps_drain_ends_its_sentence_and_is_told_why(redis_url: str) -> None:
    async def run() -> None:
        rig = Rig(redis_url, [LONG], settings=new_settings(fallback_number="+13125550199"))
        await rig.open()
        try:
            await rig.hears("How can I help?")
            await rig.mouth.say("Tell me a story")
            await rig.hears("Once")
            assert rig.stream is not None
            rig.stream.tell(Drained())
            rig.stream.tell(Drained())  # again, with a later renewal
            await rig.until(rig.closed.is_set)
            assert rig.heard.endswith(phrases.UNAVAILABLE_DIALLING)
            assert rig.heard.count(phrases.UNAVAILABLE_DIALLING) == 1
            stored = await rig.sessions.read(CALL)
            assert stored is not None
            assert stored.next == "fallback"
        finally:
            await rig.close()

    run_virtual(run())


def test_a_caller_whom_no_host_takes_hears_so_after_five_seconds(redis_url: str) -> None:
    class Full(Rig):
        async def place(self, *_: Any) -> Any:
            await asyncio.sleep(55)
            raise TimeoutError

    async def run() -> None:
        rig = Full(redis_url, [])
        await rig.open()
        try:
            await rig.hears("we can't go on with this call")
            assert rig.ear._pieces[0][0] < 6.0
        finally:
            await rig.close()

    run_virtual(run())


def test_a_host_that_comes_too_late_is_left_and_keeps_nothing(redis_url: str) -> None:
    async def story(rig: Rig) -> None:
        await rig.hears("How can I help?")
        await rig.quiet()
        plain = rig.place

        async def slow(*arguments: Any) -> Any:
            await asyncio.sleep(5.5)
            return await plain(*arguments)

        rig.place = slow  # type: ignore[method-assign]
        await rig.crash()
        await rig.until(rig.closed.is_set)
        await asyncio.sleep(60)
        assert sum(spot.calls.count for spot in rig.spots) == 0
        assert (await rig.sessions.read(CALL)).next == "fallback"

    play(story, redis_url)


def test_a_call_actor_that_no_stream_attaches_ends(redis_url: str) -> None:
    async def run() -> None:
        rig = Rig(redis_url, [])
        calls = Calls(LinkEnd(), rig._make_call)
        spawn(calls, "calls")
        calls.tell(Start(CallInfo(CALL, "+13125550142", "+13125550100", True, 0.0), "MZ1", 0))
        await asyncio.sleep(30)
        assert calls.count == 0
        await calls.kill()
        await rig.close()

    run_virtual(run())


def test_a_stream_that_fails_tells_its_call_actor(redis_url: str) -> None:
    async def story(rig: Rig) -> None:
        await rig.hears("How can I help?")
        await rig.quiet()
        await rig.stream._media.kill()
        rig.stream.tell(Down("media", "QueueFull"))
        await rig.until(rig.closed.is_set)
        await rig.stream.ended()
        await asyncio.sleep(30)
        assert rig.actors[-1].over
        assert [end.ending for end in rig.log.of(FinalizeCall)] == ["dropped"]

    play(story, redis_url)


class _ForgetfulEar(Ear):
    def _echo(self, name: str) -> None:
        if name.startswith("2."):
            self._marks = [(n, timer) for n, timer in self._marks if n != name]
        else:
            super()._echo(name)


def test_a_mark_that_never_comes_back_does_not_leave_the_agent_speaking(
    redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tests.virtual.rig.Ear", _ForgetfulEar)

    async def story(rig: Rig) -> None:
        await rig.hears("How can I help?")
        await rig.quiet()
        await rig.mouth.say("Tell me a story")
        await rig.hears("The end.")
        await rig.hears("Are you still there?")
        assert rig.ear.longest_silence_s(0.0) < DEAD_AIR_S

    play(story, redis_url, LONG)


def test_when_synthesis_stays_away_twilios_voice_says_so(
    redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def refuse(*_: object) -> None:
        raise VendorLost("refused")

    async def story(rig: Rig) -> None:
        await rig.hears("How can I help?")
        await rig.quiet()
        monkeypatch.setattr(_SpeakSocket, "say", refuse)
        monkeypatch.setattr(_SpeakSocket, "open", refuse)
        await rig.mouth.say("Tell me a story")
        said_s = now()
        await rig.until(rig.closed.is_set)
        assert now() - said_s < DEAD_AIR_S
        assert (await rig.sessions.read(CALL)).next == "unsaid"

    play(story, redis_url, LONG)


def test_two_slow_tools_in_a_row_are_filled_with_other_words(redis_url: str) -> None:
    async def story(rig: Rig) -> None:
        await rig.hears("How can I help?")
        await rig.quiet()
        began_s = now()
        await rig.mouth.say("What times are free on Friday")
        await rig.hears("Which one")
        assert rig.ear.longest_silence_s(began_s) < DEAD_AIR_S
        assert "One moment, please.I'm still working on it." in rig.heard

    steps = [
        {"step": 0, "answer": {"calls": [{"name": "get_slots"}], "first_token_s": 1.5}},
        {"step": 1, "answer": {"calls": [{"name": "get_slots"}], "first_token_s": 1.5}},
        {"step": 2, "answer": {"say": "Which one", "first_token_s": 1.5}},
    ]
    play(story, redis_url, *steps, tools=Tools(took_s=6.5))


def test_a_filler_while_a_tool_runs_does_not_hide_its_result_from_the_model(redis_url: str) -> None:
    async def story(rig: Rig) -> None:
        await rig.hears("How can I help?")
        await rig.mouth.say("Please book it")
        await rig.hears("It is booked.")
        assert "One moment, please." in rig.heard
        assert [request.tool for request in rig.tools.asked] == ["book"]
        assert rig.brain.asked[-1].messages[-1]["role"] == "tool"

    book = {"user": "book", "answer": {"calls": [{"name": "book"}]}}
    play(
        story,
        redis_url,
        book,
        {"after_tool": "book", "answer": {"say": "It is booked."}},
        tools=Tools(took_s=6.0),
    )


def test_the_first_change_after_redis_went_away_is_refused_too(redis_url: str) -> None:
    async def story(rig: Rig) -> None:
        await rig.hears("How can I help?")
        await rig.mouth.say("Please book it")
        await rig.until(lambda: bool(rig.brain.asked))
        rig.store.away = True
        await rig.hears("I can't book right now.")
        assert rig.tools.asked == []

    book = {"user": "book", "answer": {"calls": [{"name": "book"}], "first_token_s": 1.0}}
    sorry = {"result": "nothing can be changed", "answer": {"say": "I can't book right now."}}
    play(story, redis_url, book, sorry)


@pytest.mark.parametrize("then", ["waits", "interrupts", "is killed"])
def test_a_change_that_redis_is_too_slow_for_is_made_when_it_answers(redis_url: str, then: str) -> None:
    async def story(rig: Rig) -> None:
        await rig.hears("How can I help?")
        await rig.mouth.say("Please book it")
        await rig.until(lambda: bool(rig.brain.asked))
        rig.store.away = True
        asyncio.get_running_loop().call_later(1.5, setattr, rig.store, "away", False)
        await asyncio.sleep(1.3)
        if then == "interrupts":
            await rig.mouth.say("And some tyres")
        elif then == "is killed":
            await rig.crash()
        else:
            assert rig.tools.asked == []
        await rig.hears("It is booked." if then != "interrupts" else "Tyres it is.")
        assert [request.tool for request in rig.tools.asked] == ["book"]

    book = {"user": "book", "answer": {"calls": [{"name": "book"}], "first_token_s": 1.0}}
    tyres = {"user": "tyres", "answer": {"say": "Tyres it is."}}
    done = {"after_tool": "book", "answer": {"say": "It is booked."}}
    play(story, redis_url, done, tyres, book)


def test_what_was_said_while_redis_was_away_is_not_numbered_again(redis_url: str) -> None:
    async def story(rig: Rig) -> None:
        await rig.hears("How can I help?")
        await rig.quiet()
        rig.store.away = True
        await rig.mouth.say("Tell me a story")
        await rig.hears("Once there")
        await rig.crash()
        rig.store.away = False
        began_s = now()
        await rig.until(lambda: rig.closed.is_set() or now() > began_s + 30)
        assert rig.ear.longest_silence_s(began_s) < DEAD_AIR_S

    play(story, redis_url, SLOW, settings=PATIENT)


def test_keys_that_were_answered_are_not_answered_again_by_a_successor(redis_url: str) -> None:
    async def story(rig: Rig) -> None:
        await rig.hears("How can I help?")
        await rig.quiet()
        for digit in "12#":
            rig.stream.tell(DtmfPressed(0, digit))
        await rig.until(lambda: bool(rig.brain.asked))
        await rig.crash()
        await rig.hears("Twelve.")
        await asyncio.sleep(6)
        texts = [m["content"] for m in rig.brain.asked[-1].messages if m["role"] == "user"]
        assert texts == ["[The caller pressed 12# on the keypad.]"]

    play(story, redis_url, {"user": "pressed 12#", "answer": {"say": "Twelve.", "first_token_s": 1.0}})


def test_keys_pressed_before_a_new_stream_is_attached_are_read(redis_url: str) -> None:
    async def story(rig: Rig) -> None:
        await rig.hears("How can I help?")
        await rig.mouth.say("Tell me a story")
        await rig.hears("The end.")
        await rig.quiet()
        await rig.hang_up("dropped")
        rig.stream_sid = "MZ2"
        await rig.open()
        for digit in "12#":
            rig.stream.tell(DtmfPressed(0, digit))
        await rig.hears("Twelve.")

    play(story, redis_url, LONG, {"user": "pressed", "answer": {"say": "Twelve."}})


def test_the_time_limit_of_a_call_is_not_talked_away(redis_url: str) -> None:
    async def story(rig: Rig) -> None:
        await rig.hears("time limit", limit_s=60)
        for _ in range(3):
            if not rig.closed.is_set():
                await rig.mouth.say("Oh wait what about Friday")
        await rig.until(rig.closed.is_set, limit_s=30)

    friday = {"user": "friday", "answer": {"say": "Friday is fine."}}
    play(story, redis_url, friday, settings=new_settings(max_call_s=30))


def test_audio_for_a_recogniser_that_takes_none_is_kept_to_its_bound() -> None:
    class Deaf:
        async def open(self) -> None:
            await asyncio.sleep(0.05)

        async def close(self) -> None:
            pass

        async def events(self) -> Any:
            await asyncio.sleep(3600)
            yield None

        async def send(self, payload: bytes) -> None:
            given.append(len(payload))
            await asyncio.sleep(1)
            raise VendorLost("took nothing")

    class Nobody:
        def tell(self, message: Any) -> None:
            pass

    async def run() -> None:
        stt = SttActor(Routes([Route("deaf", Deaf)]), Nobody(), Nobody(), new_settings())  # type: ignore[list-item]
        spawn(stt, "stt")
        for _ in range(50 * 60):
            stt.tell(CallerAudio(b"\xa0" * 160))
            await asyncio.sleep(0.02)
        await stt.kill()

    given: list[int] = []
    run_virtual(run())
    assert max(given) == given[-1] == audio.bytes_of(new_settings().stt_kept_s * 1000)


def test_before_the_socket_closes_on_a_goodbye_it_is_made_sure_that_the_call_ends(redis_url: str) -> None:
    async def story(rig: Rig) -> None:
        await rig.hears("How can I help?")
        await rig.mouth.say("No, thanks")
        await rig.hears("Goodbye.")
        await rig.until(rig.closed.is_set)
        assert rig.goodbyes == [HangUp()]

    play(story, redis_url, BYE)


def test_a_goodbye_of_which_nobody_can_make_sure_is_not_waited_for(redis_url: str) -> None:
    async def story(rig: Rig) -> None:
        rig.sure.clear()
        await rig.hears("How can I help?")
        await rig.mouth.say("No, thanks")
        await rig.hears("Goodbye.")
        spoken_s = now()
        await rig.until(rig.closed.is_set)
        assert now() - spoken_s < rig.settings.twilio_rest_s + 1.0

    play(story, redis_url, BYE)


def test_who_is_to_be_put_through_to_the_fallback_is_not_hung_up_on(redis_url: str) -> None:
    async def story(rig: Rig) -> None:
        await rig.hears("How can I help?")
        assert rig.stream is not None
        rig.stream.tell(Drained())
        await rig.until(rig.closed.is_set)
        assert rig.goodbyes == []

    play(story, redis_url)


def test_a_socket_that_does_not_close_is_told_of_in_time(redis_url: str) -> None:
    async def story(rig: Rig) -> None:
        rig.close_hangs = True
        await rig.hears("How can I help?")
        await rig.mouth.say("No, thanks")
        await rig.hears("Goodbye.")
        spoken_s = now()
        await rig.until(rig.unclosed.is_set, limit_s=20)
        assert now() - spoken_s < rig.settings.stream_close_s + 5.0

    play(story, redis_url, BYE)
