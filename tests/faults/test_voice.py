"""Synthesis fails in the middle of the agent's sentence: the rest of it comes, without a gap to speak of."""

from difflib import SequenceMatcher

from engine.clock import now
from engine.telemetry import snapshot
from local.speech.params import Refusal
from local.speech.watch import Limits
from simulators.marks import MarksDelays
from simulators.vendors import Speech
from tests.faults.figures import Figure, Figures
from tests.faults.speeches import Hanging
from tests.faults.wired import DOWN, Wired, wired
from tests.virtual.rig import CALL

STORY = "Your car needs new brakes and an oil change before the winter comes to town."
TELL = {"user": "story", "answer": {"say": STORY, "first_token_s": 0.05}}
HEARD = "the sentence, longest break {gap}"
GAP_S = 0.5
MOST = 10


async def told_so_far(call: Wired) -> None:
    """The caller asks, and has heard the beginning."""
    call.begins_to_say("Tell me a story.")
    await call.hears("Your car")


async def cut(call: Wired, figure: Figure) -> float:
    """The vendor ends the voice's socket; when. Returns when that is found."""
    before = snapshot().get("tts_lost", 0)
    at_s = await call.cut("speak")
    await call.until(lambda: snapshot().get("tts_lost", 0) > before)
    figure.found_s.append(now() - at_s)
    return at_s


def assert_whole(call: Wired) -> None:
    """No word is missing, at most one was said twice. A frame with a cut in it has no readable mark: a letter is."""
    heard = call.heard[call.heard.index("Your") :].strip()
    changes = [
        op for op in SequenceMatcher(None, STORY, heard, autojunk=False).get_opcodes() if op[0] != "equal"
    ]
    missing = sum(until - since for _, since, until, _, _ in changes)
    again = sum(until - since for _, _, _, since, until in changes)
    assert missing <= 1, heard
    assert again <= 1 + max(map(len, STORY.split())), heard


def steady(limits: Limits | None = None) -> Speech:
    """A voice that is four times as fast as it is heard, so that there is a middle in which it can be lost."""
    return Speech(MarksDelays(voice_speed=4.0), limits)


async def until_over(call: Wired, since_s: float, figure: Figure) -> None:
    """The sentence is heard to its end."""
    await call.hears("to town.")
    await call.quiet()
    figure.gap_s.append(call.ear.longest_gap_s(since_s))
    assert_whole(call)
    assert figure.gap_s[-1] < GAP_S * MOST


async def test_a_socket_that_drops_in_mid_sentence(redis_url: str, figures: Figures) -> None:
    for figure in figures.of("voice: drops in mid-sentence", "its reader", HEARD):
        async with wired(redis_url, TELL, speech=steady()) as call:
            await told_so_far(call)
            await until_over(call, await cut(call, figure), figure)
            assert call.speech.watch.opened == 3  # one of them listens


async def test_a_voice_that_stalls_in_mid_sentence(redis_url: str, figures: Figures) -> None:
    for figure in figures.of(
        "voice: stalls in mid-sentence", "timer, before the caller would hear it", HEARD
    ):
        async with wired(redis_url, TELL, speech=steady()) as call:
            await told_so_far(call)
            since_s = now()
            call.speech.watch.mute = True
            await call.speech.watch.until(lambda watch: watch.opened == 3)
            figure.found_s.append(now() - since_s)
            call.speech.watch.mute = False
            await until_over(call, since_s, figure)


async def test_a_voice_that_does_not_begin(redis_url: str, figures: Figures) -> None:
    for figure in figures.of("voice: no first audio", "timer", "the sentence, later"):
        async with wired(redis_url, TELL) as call:
            call.begins_to_say("Tell me a story.")
            await call.until(lambda: len(call.brain.asked) == 1)
            call.speech.watch.mute = True
            since_s = now()
            await call.speech.watch.until(lambda watch: watch.opened == 3)
            figure.found_s.append(now() - since_s)
            call.speech.watch.mute = False
            await call.hears("Your")
            figure.mended_s.append(now() - since_s)
            await until_over(call, now(), figure)


async def test_a_vendor_that_takes_no_more_sockets(redis_url: str, figures: Figures) -> None:
    heard = "the sentence, by REST, longest break {gap}"
    for figure in figures.of("voice: drops, then refuses sockets (429)", "the handshake", heard):
        async with wired(redis_url, TELL, speech=steady()) as call:
            await told_so_far(call)
            call.speech.watch.no_sockets = Refusal(429, "TOO_MANY_REQUESTS", "too many")
            await until_over(call, await cut(call, figure), figure)
            assert call.speech.watch.count("speak") == 0


async def test_a_vendor_that_is_down_while_another_can_speak(redis_url: str, figures: Figures) -> None:
    heard = "the sentence, in another voice, longest break {gap}"
    for figure in figures.of("voice: drops and is down (503), fallback", "the handshake, the request", heard):
        async with wired(redis_url, TELL, speech=steady(), fallback=Speech(), breaker_rest_s=0.5) as call:
            await told_so_far(call)
            call.speech.watch.refusal = DOWN
            await until_over(call, await cut(call, figure), figure)
            call.speech.watch.refusal = None
            await call.speech.watch.until(
                lambda watch: watch.count("speak") == 1
            )  # to come back between turns


async def test_a_vendor_that_hangs_while_another_can_speak(redis_url: str, figures: Figures) -> None:
    heard = "the sentence, in another voice, longest break {gap}"
    for figure in figures.of("voice: hangs in mid-sentence, by REST too, fallback", "timers", heard):
        first = Hanging("speak", MarksDelays(voice_speed=4.0))
        async with wired(redis_url, TELL, speech=first, fallback=Speech()) as call:
            await told_so_far(call)
            first.hangs = first.watch.mute = True
            await until_over(call, now(), figure)


async def test_flushes_that_are_ignored(redis_url: str, figures: Figures) -> None:
    for figure in figures.of("voice: Flush ignored with a Warning", "the Warning", HEARD):
        few = Limits(flush_limit=2)  # fewer than are counted on: the greeting has used them
        async with wired(redis_url, TELL, speech=steady(few)) as call:
            since_s = now()
            call.begins_to_say("Tell me a story.")
            await until_over(call, since_s + 3, figure)


async def test_a_voice_that_is_gone_for_everybody(redis_url: str, figures: Figures) -> None:
    heard = "Twilio's own voice, which says that the call can't go on"
    for figure in figures.of("voice: drops in mid-sentence and is down (503)", "`VOICE_WAIT_S`", heard):
        async with wired(redis_url, TELL, speech=steady(), voice_wait_s=2.0) as call:
            await told_so_far(call)
            call.speech.watch.refusal = DOWN
            at_s = await call.cut("speak")
            await call.until(call.closed.is_set)
            figure.found_s.append(now() - at_s)
            assert (await call.sessions.read(CALL)).next == "unsaid"


async def test_a_voice_whose_key_is_refused(redis_url: str, figures: Figures) -> None:
    heard = "Twilio's own voice, which says that the call can't go on"
    for figure in figures.of("voice: drops, then key refused (401)", "the handshake, the request", heard):
        async with wired(redis_url, TELL, speech=steady()) as call:
            await told_so_far(call)
            call.speech.watch.refusal = Refusal(401, "INVALID_AUTH", "Invalid credentials.")
            at_s = await call.cut("speak")
            await call.until(call.closed.is_set)
            figure.found_s.append(now() - at_s)
            assert (await call.sessions.read(CALL)).next == "unsaid"
            assert figure.found_s[-1] < call.settings.voice_wait_s / 2
