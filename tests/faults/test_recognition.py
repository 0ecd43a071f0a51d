"""Recognition fails in the middle of a caller's sentence: found, mended, and no word lost or doubled."""

import asyncio

from engine.clock import now
from local.speech.params import Refusal
from simulators.vendors import Speech
from tests.faults.figures import Figures
from tests.faults.speeches import HalfOpen, Hanging, Late
from tests.faults.wired import DOWN, Wired, wired

SENTENCE = "I need an oil change and new brakes on Friday."
ANSWER = {"user": "brakes", "answer": {"say": "Friday it is.", "first_token_s": 0.1}}
FOUND_S = 2.0
MENDED_S = 0.5
MOST = 10  # times what is wanted: other work runs beside the tests, `make faults` shows the figures


async def test_a_socket_that_drops_in_the_middle_of_a_sentence(redis_url: str, figures: Figures) -> None:
    for figure in figures.of("recognition: socket drops", "its reader", "nothing"):
        async with wired(redis_url, ANSWER) as call:
            call.begins_to_say(SENTENCE)
            await call.has_said(frames_left=60)
            at_s = await call.cut("listen")
            figure.found_s.append(await call.event("stt_lost") - at_s)
            figure.mended_s.append(await call.event("stt_back") - at_s)
            await call.hears("Friday it is.")
            assert call.understood == [SENTENCE]
            assert "hear you" not in call.heard
            assert figure.mended_s[-1] < MENDED_S * MOST


async def test_a_socket_that_stays_open_and_tells_nothing(redis_url: str, figures: Figures) -> None:
    for figure in figures.of("recognition: half-open", "timer of its own, by the caller's speech", "nothing"):
        async with wired(redis_url, ANSWER) as call:
            call.speech.watch.mute = True
            begun_s = now()
            call.begins_to_say(SENTENCE)
            found_s = await call.event("stt_lost")
            call.speech.watch.mute = False
            figure.found_s.append(found_s - begun_s)
            figure.mended_s.append(await call.event("stt_back") - begun_s)
            await call.hears("Friday it is.")
            assert call.understood == [SENTENCE]
            assert figure.found_s[-1] < FOUND_S * MOST
            assert figure.mended_s[-1] - figure.found_s[-1] < MENDED_S * MOST


async def test_a_vendor_whose_new_sockets_tell_nothing_either_while_another_can_hear(
    redis_url: str, figures: Figures
) -> None:
    for figure in figures.of("recognition: half-open, new ones too, fallback", "the same", "nothing"):
        second = Speech()
        async with wired(redis_url, ANSWER, fallback=second) as call:
            call.begins_to_say(SENTENCE)
            await call.has_said(frames_left=60)
            call.speech.watch.mute = True
            at_s = now()
            figure.found_s.append(await call.event("stt_lost") - at_s)
            figure.mended_s.append(await call.event("stt_back") - at_s)
            assert second.watch.count("listen") == 1  # the first was not tried again, which takes as long
            await call.hears("Friday it is.")
            assert call.understood == [SENTENCE]


async def test_a_fallback_is_not_left_before_it_has_answered(redis_url: str, figures: Figures) -> None:
    for figure in figures.of("recognition: half-open, fallback with 0.4 s of latency", "the same", "nothing"):
        first = HalfOpen()
        async with wired(redis_url, ANSWER, speech=first, fallback=Late(0.4)) as call:
            first.dead = True
            begun_s = now()
            call.begins_to_say(SENTENCE)
            figure.found_s.append(await call.event("stt_lost") - begun_s)
            figure.mended_s.append(await call.event("stt_back") - begun_s)
            await call.hears("Friday it is.")
            assert call.understood == [SENTENCE]
            assert "hear you" not in call.heard
            assert first.watch.count("speak") == 1


async def test_new_sockets_that_are_half_open_for_a_while_are_left_as_soon_as_the_first(
    redis_url: str, figures: Figures
) -> None:
    heard = "that they can't be heard; then what they said is answered"
    for figure in figures.of("recognition: half-open for 8 s, no fallback", "the same", heard):
        speech = HalfOpen()
        async with wired(redis_url, ANSWER, speech=speech) as call:
            speech.dead = True
            saying = asyncio.create_task(says_it_again(call))
            await asyncio.sleep(8.0)
            speech.dead = False
            well_s = now()
            figure.mended_s.append(await call.event("stt_back") - well_s)
            saying.cancel()
            await call.hears("Friday it is.")
            assert figure.mended_s[-1] < (call.settings.stt_silence_most_s + MENDED_S) * MOST / 5


async def says_it_again(call: Wired) -> None:
    """As who gets no answer does."""
    while True:
        call.begins_to_say(SENTENCE)
        await call.has_said()
        await asyncio.sleep(2.0)


async def test_handshakes_that_hang_while_another_can_hear(redis_url: str, figures: Figures) -> None:
    for figure in figures.of("recognition: handshakes hang, fallback", "`STT_OPEN_S`", "nothing"):
        first = Hanging("listen")
        async with wired(redis_url, ANSWER, speech=first, fallback=Speech()) as call:
            call.begins_to_say(SENTENCE)
            await call.has_said(frames_left=60)
            first.hangs = True
            at_s = await call.cut("listen")
            figure.mended_s.append(await call.event("stt_back") - at_s)
            await call.hears("Friday it is.")
            assert call.understood == [SENTENCE]


async def test_a_vendor_that_is_down_while_another_can_hear(redis_url: str, figures: Figures) -> None:
    for figure in figures.of("recognition: drops and refuses (503), fallback", "the handshake", "nothing"):
        second = Speech()
        async with wired(redis_url, ANSWER, fallback=second, breaker_rest_s=0.5) as call:
            call.begins_to_say(SENTENCE)
            await call.has_said(frames_left=60)
            call.speech.watch.refusal = DOWN
            at_s = await call.cut("listen")
            figure.mended_s.append(await call.event("stt_back") - at_s)
            await call.hears("Friday it is.")
            assert call.understood == [SENTENCE]
            assert second.watch.count("listen") == 1
            call.speech.watch.refusal = None
            await second.watch.until(lambda watch: watch.count("listen") == 0)  # came back between turns
            assert call.speech.watch.count("listen") == 1


async def test_a_vendor_that_is_down_and_nobody_else_can_hear(redis_url: str, figures: Figures) -> None:
    heard = "that they can't be heard; then, what they said meanwhile is answered"
    for figure in figures.of("recognition: refuses (429), then recovers", "the handshake", heard):
        async with wired(redis_url, ANSWER) as call:
            call.speech.watch.refusal = Refusal(429, "TOO_MANY_REQUESTS", "too many")
            at_s = await call.cut("listen")
            call.begins_to_say(SENTENCE)
            await call.hears("I'm sorry")
            figure.found_s.append(now() - at_s)
            call.speech.watch.refusal = None
            back_s = now()
            await call.event("stt_back")
            figure.mended_s.append(now() - back_s)
            await call.hears("Friday it is.")
            assert call.understood == [SENTENCE]


async def test_a_key_that_is_refused(redis_url: str, figures: Figures) -> None:
    heard = "that they can't be heard; is put through"
    for figure in figures.of("recognition: key refused (401)", "the handshake", heard):
        async with wired(redis_url, fallback_number="+13125550198") as call:
            call.speech.watch.refusal = Refusal(401, "INVALID_AUTH", "Invalid credentials.")
            at_s = await call.cut("listen")
            await call.hears("I'm sorry")
            figure.found_s.append(now() - at_s)
            await call.until(call.closed.is_set)
            opened = call.speech.watch.opened
            await asyncio.sleep(0.3)
            assert call.speech.watch.opened == opened


async def test_a_vendor_that_answers_garbage(redis_url: str, figures: Figures) -> None:
    for _ in figures.of("recognition: garbage", "the reader, which skips it", "nothing"):
        async with wired(redis_url, ANSWER) as call:
            call.begins_to_say(SENTENCE)
            await call.has_said(frames_left=60)
            for socket in [one for one in call.speech.watch.sockets if one.kind == "listen"]:
                await socket.websocket.send_text(
                    '{"type": "Results", "channel": {"alternatives": [{"transcript": 7}]}}'
                )
                await socket.websocket.send_text("}{")
            await call.hears("Friday it is.")
            assert call.understood == [SENTENCE]
            assert call.speech.watch.count("listen") == 1
