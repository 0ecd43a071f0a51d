"""SttActor with Flux, by deepgram-sdk over real sockets: marks and a scripted recogniser at the other end."""

import asyncio
from contextlib import AbstractAsyncContextManager
from typing import Any

import pytest

from engine import audio
from engine.messages import Final, Interim, SpeechStarted, SttLost, TurnEnded, TurnResumed
from engine.settings import Settings
from engine.vendors import ways
from engine.vendors.deepgram import ListenSocket
from engine.vendors.flux import FluxSocket
from local.speech import ports
from local.speech.app import speech_app
from simulators.marks import MarksDelays, mark_audio
from tests.actors.test_stt import SENTENCE, SPEECH, Line, Script, _NoVoice, line, scripted
from tests.local.test_flux_server import Prompt
from tests.local.test_flux_server import app as prompt_app

FLUX = "flux-general-en"


def flux(**chosen: Any) -> AbstractAsyncContextManager[Line]:
    """A line to marks that are completed at once: all follows from the audio."""
    return line(prompt_app(), **({"stt_model": "flux-general-en", "flux_eager_eot_threshold": 0.4} | chosen))


async def test_a_callers_turn_is_told_as_it_grows_when_it_may_be_over_and_when_it_is() -> None:
    async with flux() as caller:
        await caller.adopted()
        caller.hears(mark_audio(SENTENCE, 7, 0) + audio.silence(1000))
        ended = await caller.call.next(TurnEnded, 2)
        eager, _ = caller.call.of(TurnEnded)
        assert (eager.utterance, eager.text, eager.eager) == (1, SENTENCE, True)
        assert (ended.utterance, ended.text, ended.eager) == (1, SENTENCE, False)
        assert caller.call.of(SpeechStarted) == [SpeechStarted(1)]
        interims = [interim.text for interim in caller.call.of(Interim)]
        assert len(interims) == len(set(interims)) + 1  # the last one comes again with the expected end
        assert all(SENTENCE.startswith(text) for text in interims)
        assert [final.text for final in caller.call.of(Final)] == [SENTENCE]
        assert "KeepAlive" not in caller.watch.types("listen")


async def test_a_turn_that_goes_on_is_told_so() -> None:
    async with flux() as caller:
        await caller.adopted()
        caller.hears(mark_audio("I need an oil change", 7, 0) + audio.silence(400))
        await caller.call.next(TurnEnded)
        caller.hears(mark_audio("on Friday.", 7, 1) + audio.silence(1000))
        await caller.call.next(TurnEnded, 3)
        kinds = [type(m) for m in caller.call.all if isinstance(m, TurnEnded | TurnResumed)]
        assert kinds == [TurnEnded, TurnResumed, TurnEnded, TurnEnded]
        assert caller.call.of(TurnEnded)[-1].text == "I need an oil change on Friday."


async def test_when_frames_stop_the_turn_ends_all_the_same() -> None:
    async with flux(flux_silence_after_ms=300) as caller:
        await caller.adopted()
        caller.hears(mark_audio(SENTENCE, 7, 0))
        assert (await caller.call.next(TurnEnded, 2)).text == SENTENCE
        assert "ForceEndTurn" not in caller.watch.types("listen")


async def test_a_turn_that_flux_does_not_end_is_ended_by_force() -> None:
    script = Script()
    async with line(scripted(script), stt_model=FLUX, flux_eot_timeout_ms=500, stt_stale_s=0.05) as caller:
        await caller.adopted()
        await caller.connected()
        caller.hears(SPEECH * 4)
        await script.until(lambda heard: len(heard) >= 640)
        script.flushed = "Tomorrow at nine, please."
        script.says(ports.Interim("Tomorrow at", 0.0, 0.08))
        caller.hears(SPEECH * 16)  # an update of it
        assert (await caller.call.next(TurnEnded)).text == "Tomorrow at nine, please."
        assert caller.watch.types("listen").count("ForceEndTurn") == 1


async def test_a_socket_that_is_lost_in_mid_turn_costs_no_word() -> None:
    half = len(mark_audio(SENTENCE, 7, 0)) // 2
    async with flux() as caller:
        await caller.adopted()
        await caller.connected()
        caller.hears(mark_audio(SENTENCE, 7, 0)[:half])
        await caller.call.next(Interim, 2)
        await caller.cut()
        await caller.connected(2)
        caller.hears(mark_audio(SENTENCE, 7, 0)[half:] + audio.silence(1500))
        ended = await caller.call.next(TurnEnded, 2)
        assert ended.text == SENTENCE
        # Its times are of the stream, not of the second socket: the words ended a good second before the last sample.
        assert 0.2 < ended.at - ended.spoke_until < 5.0
        caller.hears(mark_audio("Thanks.", 7, 1) + audio.silence(1000))
        last = await caller.call.next(TurnEnded, 4)
        assert (last.utterance, last.text) == (2, "Thanks.")


async def test_silence_that_ends_a_turn_is_not_held_back() -> None:
    """Frames of a long quiet go together, but for those that Flux waits for: its clock is what it gets."""
    script = Script()
    async with line(scripted(script), stt_model=FLUX) as caller:
        await caller.adopted()
        await caller.connected()
        caller.hears(SPEECH * 4)
        await script.until(lambda heard: len(heard) >= 640)
        script.says(ports.Interim("Well", 0.0, 0.08))
        caller.hears(SPEECH * 16)
        await caller.call.next(Interim)
        caller.hears(audio.silence(960))
        await script.until(lambda heard: len(heard) >= 640 * 17)
        caller.hears(audio.silence(80))
        # Well before the 500 ms after which silence of the socket's own would come.
        await asyncio.wait_for(script.until(lambda heard: len(heard) >= 640 * 18), 0.4)


async def test_a_flux_that_tells_nothing_while_the_caller_speaks_is_left() -> None:
    async with flux(stt_silence_s=0.3) as caller:
        await caller.adopted()
        await caller.connected()
        caller.hears(mark_audio(SENTENCE, 7, 0)[:8000])
        await caller.call.next(Interim)
        caller.watch.mute = True
        caller.hears(mark_audio(SENTENCE, 7, 0)[8000:])
        assert "told nothing" in (await caller.call.next(SttLost)).why


async def test_a_model_that_flux_does_not_have_is_refused_for_good() -> None:
    async with line(stt_model="flux-no-such") as caller:
        await caller.adopted()
        lost = await caller.call.next(SttLost)
        assert lost.for_good
        assert "400" in lost.why


@pytest.mark.parametrize(
    ("model", "fallback", "kinds"),
    [
        ("flux-general-en", "", [FluxSocket, FluxSocket]),
        ("flux-general-en", "nova-3", [FluxSocket, ListenSocket]),
        ("nova-3", "flux-general-multi", [ListenSocket, FluxSocket]),
    ],
)
def test_the_model_decides_how_each_vendor_is_spoken_to(model: str, fallback: str, kinds: list[type]) -> None:
    chosen = {"stt_model": model, "stt_fallback_model": fallback, "stt_fallback": "http://127.0.0.1:9"}
    settings = Settings(_env_file=None, **chosen)  # type: ignore[call-arg, arg-type]
    assert [type(route.way()) for route in ways.listen_routes(settings).all] == kinds


async def in_a_long_turn(caller: Line, words: list[str]) -> bytes:
    """The caller says all but the last two seconds of that, as fast as it is heard, longer than is kept; the rest."""
    sound = mark_audio(" ".join(words), 7, 0)
    piece = audio.bytes_of(2000)
    await caller.adopted()
    await caller.connected()
    for at in range(0, len(sound) - piece, piece):
        told = len(caller.call.of(Interim))
        caller.hears(sound[at : at + piece])
        await caller.call.until(lambda call, told=told: len(call.of(Interim)) > told + 3)
    return sound[at + piece :]


async def is_over(caller: Line) -> list[str]:
    """The words of the caller's turn, at its end."""
    await caller.call.until(lambda call: any(not ended.eager for ended in call.of(TurnEnded)))
    return caller.call.of(TurnEnded)[-1].text.split()


LONG = [f"word{n}" for n in range(60)]  # 27 s


async def test_a_turn_longer_than_what_is_kept_loses_no_word_with_its_socket() -> None:
    async with flux(stt_kept_s=10) as caller:
        rest = await in_a_long_turn(caller, LONG)
        await caller.cut()
        await caller.connected(2)
        caller.hears(rest + audio.silence(1500))
        assert await is_over(caller) == LONG


async def test_what_was_heard_of_it_counts_if_the_next_socket_tells_nothing() -> None:
    recognisers = iter([Prompt(10, MarksDelays()), Script()])
    deaf = speech_app(lambda _: next(recognisers), lambda _: _NoVoice())
    times = {"stt_kept_s": 10, "stt_stale_s": 0.2, "stt_finalize_s": 0.2, "flux_eot_timeout_ms": 500}
    async with line(deaf, stt_model=FLUX, **times) as caller:
        await in_a_long_turn(caller, LONG)
        heard = caller.call.of(Interim)[-1].text.split()
        await caller.cut()
        assert await is_over(caller) == heard == LONG[: len(heard)]
