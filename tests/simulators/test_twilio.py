"""The simulated Twilio, against an app that speaks the server's side with the engine's codec."""

import asyncio
import socket
import time
import wave
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from starlette.responses import Response

from engine.audio import FRAME_BYTES, SILENCE, linear_of
from engine.twilio.stream import Connected, Dtmf, Start
from simulators.caller import Caller, MarksPerson
from simulators.marks import mark_audio
from simulators.twilio import CallFailed, CallOver, Line, SimCall, SimTwilio
from tests.simulators.far_side import TOKEN, FarSide, Stream, far_side

ACCOUNT = "AC" + "3" * 32
SOUND = b"\x10"


@pytest.fixture
async def far() -> AsyncIterator[FarSide]:
    async with far_side() as app:
        app.answers["/voice"] = [app.connect()]
        yield app


@pytest.fixture
async def twilio() -> AsyncIterator[SimTwilio]:
    async with SimTwilio(TOKEN, ACCOUNT) as simulator:
        yield simulator


def sound(frames: int) -> bytes:
    return SOUND * (FRAME_BYTES * frames)


def names(call: SimCall, kind: str) -> list[str]:
    return [event.detail["name"] for event in call.journal.all(kind)]


def kinds(call: SimCall) -> list[str]:
    return [event.kind for event in call.events]


async def test_a_call_rings_streams_and_ends_as_twilio_does_it(far, twilio):
    async def talk(stream: Stream) -> None:
        await stream.frames(3)
        await stream.close()

    far.talk = talk
    far.answers["/after"] = ["<Response><Hangup/></Response>"]
    call = await twilio.dial(far.http + "/voice?x=1", status_url=far.http + "/status")
    assert await call.ended() == "completed"

    ringing, after, status = far.forms("/voice")[0], far.forms("/after")[0], far.forms("/status")[0]
    assert ringing["CallStatus"] == "ringing"
    assert (ringing["From"], ringing["To"]) == ("+13125550142", "+13125550100")
    assert ringing["StirVerstat"] == "TN-Validation-Passed-A"
    assert (after["CallStatus"], after["CallSid"]) == ("in-progress", call.sid)
    assert (status["CallStatus"], status["CallDuration"]) == ("completed", "0")
    [stream] = far.streams
    assert stream.signed
    assert isinstance(stream.events[0], Connected)
    assert isinstance(stream.events[1], Start)
    assert stream.start == Start(stream.sid, call.sid, ACCOUNT, {"token": "3f9c"})
    assert [media.chunk for media in stream.media] == [1, 2, 3]
    assert [media.timestamp_ms for media in stream.media] == [20, 40, 60]
    assert stream.caller == SILENCE * FRAME_BYTES * 3
    assert not stream.stopped
    assert [form["StreamEvent"] for form in far.forms("/stream")] == ["stream-started", "stream-stopped"]
    assert kinds(call)[-1] == "ended"


async def test_without_an_attested_number_there_is_no_stir_field(far, twilio):
    far.answers["/voice"] = ["<Response/>"]
    await (await twilio.dial(far.http + "/voice", stir=None)).ended()
    assert "StirVerstat" not in far.forms("/voice")[0]


async def test_media_comes_fifty_times_a_second_without_drift(far, twilio):
    times: list[float] = []

    async def talk(stream: Stream) -> None:
        for _ in range(101):
            await stream.frames(1)
            times.append(time.monotonic())

    far.talk = talk
    await (await twilio.dial(far.http + "/voice")).ended()
    assert far.streams[0].reader.lost == 0
    assert 1.8 < times[-1] - times[0] < 2.8


async def test_marks_come_back_in_order_when_what_is_before_them_was_played(far, twilio):
    async def talk(stream: Stream) -> None:
        await stream.play(sound(5))
        await stream.mark("a")
        await stream.play(sound(5) + SOUND * 7)
        await stream.mark("b")
        await stream.mark("c")
        await stream.echo("a")
        await stream.echo("b")
        await stream.echo("c")
        await stream.mark("at once")
        await stream.echo("at once")

    far.talk = talk
    call = await twilio.dial(far.http + "/voice")
    await call.ended()
    assert names(call, "mark_echoed") == ["a", "b", "c", "at once"]
    began = call.journal.all("audio")[0].at
    a, b, c, at_once = (event.at - began for event in call.journal.all("mark_echoed"))
    assert a > 0.08
    assert b - a > 0.08
    assert c - b < 0.02
    assert at_once - c < 2.0
    assert call.recording is not None
    played = bytes(call.recording.agent)
    assert played.strip(SILENCE) == sound(10) + SOUND * 7


async def test_clear_drops_the_queue_and_echoes_every_outstanding_mark(far, twilio):
    async def talk(stream: Stream) -> None:
        for name in ("a", "b", "c"):
            await stream.play(sound(500))
            await stream.mark(name)
        await stream.frames(5)
        await stream.clear()
        await stream.mark("after the clear")
        await stream.play(sound(2))
        await stream.mark("d")
        await stream.echo("d")

    far.talk = talk
    call = await twilio.dial(far.http + "/voice")
    began = time.monotonic()
    await call.ended()
    assert time.monotonic() - began < 20
    assert names(call, "mark_echoed") == ["a", "b", "c", "after the clear", "d"]
    [cleared] = call.journal.all("clear")
    assert cleared.detail["marks"] == ["a", "b", "c"]
    assert 0 < cleared.detail["dropped_ms"] < 30_000
    assert call.recording is not None
    assert bytes(call.recording.agent).count(SOUND) < 500 * FRAME_BYTES


async def test_the_queue_running_dry_is_an_event_of_its_own(far, twilio):
    async def talk(stream: Stream) -> None:
        for name in ("a", "b"):
            await stream.play(sound(2))
            await stream.mark(name)
            await stream.echo(name)
            await stream.frames(3)

    far.talk = talk
    call = await twilio.dial(far.http + "/voice")
    await call.ended()
    assert [kind for kind in kinds(call) if kind in ("audio", "dry")] == ["audio", "dry", "audio", "dry"]


async def test_when_the_server_closes_the_action_is_followed_and_the_rest_dropped(far, twilio):
    far.talk = lambda stream: stream.frames(1)
    far.answers["/voice"] = [far.connect("<Say>never</Say>")]
    far.answers["/after"] = [
        far.connect(),
        "<Response><Say>One moment.</Say><Dial>+13125550199</Dial></Response>",
    ]
    call = await twilio.dial(far.http + "/voice")
    assert await call.ended() == "completed"
    assert len(far.streams) == 2
    assert far.streams[0].sid != far.streams[1].sid
    assert [media.chunk for media in far.streams[1].media] == [1]
    assert [event.detail for event in call.journal.all("say")] == [{"text": "One moment."}]
    assert [event.detail for event in call.journal.all("dial")] == [{"number": "+13125550199"}]


async def test_without_an_action_the_next_verb_runs(far, twilio):
    far.talk = lambda stream: stream.frames(1)
    far.answers["/voice"] = [far.connect("<Say>Goodbye.</Say>", action=None)]
    call = await twilio.dial(far.http + "/voice")
    await call.ended()
    assert [event.detail["text"] for event in call.journal.all("say")] == ["Goodbye."]


async def test_hanging_up_sends_stop_and_closes_and_asks_for_no_action(far, twilio):
    call = await twilio.dial(far.http + "/voice", status_url=far.http + "/status")
    await call.journal.wait_for("start_sent")
    await call.hang_up()
    assert await call.ended() == "completed"
    await settled(far)
    assert far.streams[0].stopped
    assert far.forms("/after") == []
    assert far.forms("/status")[0]["CallStatus"] == "completed"
    assert kinds(call).index("stop_sent") < kinds(call).index("closed")


async def settled(far: FarSide) -> None:
    """Waits until the app has seen the ends of its streams."""
    for stream in far.streams:
        await asyncio.wait_for(stream.over.wait(), 20)


async def test_an_action_that_twilio_asks_for_after_a_hang_up_is_not_run(far, twilio):
    far.answers["/after"] = ["<Response><Say>never</Say></Response>"]
    call = await twilio.dial(far.http + "/voice", action_on_hang_up=True)
    await call.journal.wait_for("start_sent")
    await call.hang_up()
    await call.ended()
    assert far.forms("/after")[0]["CallStatus"] == "completed"
    assert call.journal.all("say") == []


async def test_hanging_up_while_it_rings_opens_no_stream(far, twilio):
    asked, may_answer = asyncio.Event(), asyncio.Event()

    async def slow() -> str:
        asked.set()
        await may_answer.wait()
        return far.connect()

    far.answers["/voice"] = [slow]
    call = await twilio.dial(far.http + "/voice", status_url=far.http + "/status")
    await asyncio.wait_for(asked.wait(), 20)
    await call.hang_up()
    await call.journal.wait_for("webhook")
    assert far.forms("/status")[0]["CallStatus"] == "canceled"
    may_answer.set()
    assert await call.ended() == "canceled"
    assert far.streams == []
    assert len(far.forms("/status")) == 1
    assert "answered" not in kinds(call)


async def test_a_cut_is_seen_without_a_stop_and_the_call_goes_on(far, twilio):
    async def person(line: Line) -> None:
        await line.event("start_sent")
        await line.cut()
        await line.ended()

    far.answers["/after"] = ["<Response><Say>Still there?</Say></Response>"]
    call = await twilio.dial(far.http + "/voice", person=person)
    assert await call.ended() == "completed"
    await settled(far)
    assert far.streams[0].ended in ("closed 1005", "closed 1006")  # no close frame was seen
    assert not far.streams[0].stopped
    assert len(call.journal.all("say")) == 1


async def test_invalid_messages_are_errors_and_the_call_goes_on(far, twilio):
    async def talk(stream: Stream) -> None:
        for text in ("{", '{"event":"sing"}', '{"event":"clear","streamSid":"MZ1"}', '{"event":"media"}'):
            await stream.send(text)
        await stream.play(sound(1))
        await stream.mark("heard")
        await stream.echo("heard")

    far.talk = talk
    call = await twilio.dial(far.http + "/voice")
    await call.ended()
    assert [event.detail["code"] for event in call.errors] == [31951] * 4
    assert names(call, "mark_echoed") == ["heard"]


@pytest.mark.parametrize(
    ("answer", "code"),
    [
        (Response(status_code=500), 11200),
        (Response(status_code=404), 11200),
        (Response(status_code=204), 12300),
        ("<Response><Say>", 12100),
        ("<Answer/>", 12100),
        ("<Response><Sing/></Response>", 12200),
        ("<Response><Connect/></Response>", 12200),
        ("<Response><Say/></Response>", 12200),
        (Response("<Response/>", media_type="application/json"), 12300),
    ],
)
async def test_a_document_that_is_no_use_sends_the_call_to_the_fallback_url(far, twilio, answer, code):
    far.answers["/voice"] = [answer]
    far.answers["/fallback"] = ["<Response><Dial>+13125550199</Dial></Response>"]
    call = await twilio.dial(far.http + "/voice", fallback_url=far.http + "/fallback")
    assert await call.ended() == "completed"
    assert far.forms("/fallback")[0]["ErrorCode"] == str(code)
    assert far.forms("/fallback")[0]["ErrorUrl"] == far.http + "/voice"
    assert len(far.forms("/voice")) == 1
    assert len(call.journal.all("dial")) == 1


async def test_a_failed_connection_is_tried_once_more_and_then_the_caller_hears_an_error(twilio):
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        call = await twilio.dial(f"http://127.0.0.1:{nobody.getsockname()[1]}/voice")
        assert await call.ended() == "completed"
    assert [event.detail["code"] for event in call.errors] == [11205]
    assert len(call.journal.all("webhook")) == 2


async def test_the_urls_fragment_asks_for_more_retries(far, twilio):
    far.answers["/voice"] = [
        Response(status_code=503),
        Response(status_code=502),
        "<Response><Hangup/></Response>",
    ]
    call = await twilio.dial(far.http + "/voice#rc=2&rp=ct,rt,5xx")
    assert await call.ended() == "completed"
    assert call.errors == []
    assert len(far.forms("/voice")) == 3


async def test_an_actions_fragment_does_so_too(far, twilio):
    far.talk = lambda stream: stream.frames(1)
    far.answers["/voice"] = [far.connect(action="/after?n=1#rc=1&amp;rp=5xx")]
    far.answers["/after"] = [Response(status_code=500), "<Response><Hangup/></Response>"]
    call = await twilio.dial(far.http + "/voice")
    assert await call.ended() == "completed"
    assert call.errors == []
    assert len(far.forms("/after")) == 2
    assert far.unsigned == []


async def test_an_answer_that_comes_too_late_is_none(far, twilio):
    never = asyncio.Event()

    async def slow() -> str:
        await never.wait()
        return ""

    far.answers["/voice"] = [slow]
    far.answers["/fallback"] = ["<Response><Say>Sorry.</Say></Response>"]
    call = await twilio.dial(far.http + "/voice#tt=300", fallback_url=far.http + "/fallback")
    await call.ended()
    never.set()
    assert len(call.journal.all("say")) == 1
    assert far.forms("/fallback")[0]["ErrorCode"] == "11205"


async def test_a_refused_handshake_is_an_ended_stream(far, twilio):
    far.answers["/voice"] = [far.connect(path="/nowhere")]
    far.answers["/after"] = ["<Response><Say>Sorry.</Say></Response>"]
    call = await twilio.dial(far.http + "/voice")
    await call.ended()
    assert [event.detail["code"] for event in call.errors] == [31920]
    assert [form["StreamEvent"] for form in far.forms("/stream")] == ["stream-error"]
    assert len(call.journal.all("say")) == 1


async def test_a_stream_url_with_a_query_is_refused(far, twilio):
    far.answers["/voice"] = [far.connect(path="?token=1", action=None)]
    call = await twilio.dial(far.http + "/voice")
    await call.ended()
    assert [event.detail["code"] for event in call.errors] == [31920]
    assert far.streams == []


async def test_redirect_pause_and_reject(far, twilio):
    far.answers["/voice"] = [
        '<Response><Pause length="0.05"/><Redirect>/next</Redirect><Say>no</Say></Response>'
    ]
    far.answers["/next"] = ["<Response><Say>Here.</Say></Response>"]
    far.answers["/busy"] = ['<Response><Reject reason="busy"/></Response>']
    call = await twilio.dial(far.http + "/voice")
    busy = await twilio.dial(far.http + "/busy")
    await call.ended()
    assert [event.detail["text"] for event in call.journal.all("say")] == ["Here."]
    assert await busy.ended() == "busy"
    assert "answered" not in kinds(busy)


async def test_documents_that_go_in_a_circle_end_the_call_as_a_failure(far, twilio):
    far.answers["/voice"] = ["<Response><Redirect>/voice</Redirect></Response>"]
    call = await twilio.dial(far.http + "/voice")
    with pytest.raises(CallFailed, match="circle"):
        await call.ended()


async def test_what_the_person_says_and_presses_reaches_the_app(far, twilio):
    speech = bytes(range(1, 251)) * 2

    async def person(line: Line) -> None:
        await line.event("start_sent")
        assert await line.say_audio(speech)
        await line.press("5#")
        await line.event("mark_echoed")

    async def talk(stream: Stream) -> None:
        await stream.until(lambda event: event == Dtmf("#"))
        await stream.mark("pressed")
        await stream.rest()

    far.talk = talk
    await (await twilio.dial(far.http + "/voice", person=person)).ended()
    [stream] = far.streams
    assert stream.caller.strip(SILENCE) == speech
    assert [event.digit for event in stream.events if isinstance(event, Dtmf)] == ["5", "#"]


async def test_a_person_who_stops_talking_is_cut_off(far, twilio):
    async def person(line: Line) -> None:
        speaking = asyncio.create_task(line.say_audio(sound(1000)))
        await line.event("mark_echoed")
        line.stop_talking()
        assert not await speaking

    async def talk(stream: Stream) -> None:
        await stream.until(lambda event: SOUND in getattr(event, "payload", b""))
        await stream.mark("heard you")
        await stream.rest()

    far.talk = talk
    await (await twilio.dial(far.http + "/voice", person=person)).ended()
    assert 0 < far.streams[0].caller.count(SOUND) < 500 * FRAME_BYTES


async def test_a_person_waits_for_the_agents_silence(far, twilio):
    async def person(line: Line) -> None:
        await line.heard_audio(0.1)
        await line.quiet(0.2)
        frames.append(line.frames)

    async def talk(stream: Stream) -> None:
        await stream.frames(3)
        await stream.play(sound(10))
        await stream.rest()

    frames: list[int] = []
    far.talk = talk
    await (await twilio.dial(far.http + "/voice", person=person)).ended()
    assert frames[0] >= 3 + 10 + 10


async def test_the_listener_hears_exactly_what_was_played(far, twilio):
    async def script(caller: Caller) -> None:
        await caller.hears("thank you for CALLING", timeout_s=20)
        await caller.say("An oil change, please.")
        await caller.hears("Tuesday")

    async def talk(stream: Stream) -> None:
        await stream.play(mark_audio("Hello, thank you for calling.", 7, 0))
        await stream.play(mark_audio("Is Tuesday fine?", 7, 1))
        await stream.rest()

    far.talk = talk
    person = MarksPerson(script)
    await (await twilio.dial(far.http + "/voice", person=person)).ended()
    assert person.heard.text().startswith("Hello, thank you for calling. Is Tuesday")
    assert person.heard.gaps == []
    assert person.heard.sources == {7}
    assert person.heard.echoed_frames == 0


async def test_a_sentence_that_is_cleared_was_heard_as_far_as_it_was_played(far, twilio):
    text = "We have openings on Monday, Tuesday, Wednesday, Thursday, Friday and Saturday."

    async def talk(stream: Stream) -> None:
        await stream.play(mark_audio(text, 7, 0))
        await stream.frames(20)
        await stream.clear()
        await stream.frames(5)

    async def script(caller: Caller) -> None:
        await caller.ended()

    far.talk = talk
    person = MarksPerson(script)
    await (await twilio.dial(far.http + "/voice", person=person)).ended()
    [sentence] = person.heard.sentences
    assert not sentence.whole
    assert 0 < len(sentence.text) < len(text)
    assert text.startswith(sentence.text)


async def test_silence_and_missing_frames_in_a_sentence_are_gaps(far, twilio):
    audio = mark_audio("We open at seven.", 7, 0)
    third = len(audio) // FRAME_BYTES // 3 * FRAME_BYTES

    async def talk(stream: Stream) -> None:
        await stream.play(audio[:third])
        await stream.mark("played")
        await stream.echo("played")
        await stream.frames(3)
        await stream.play(audio[third : 2 * third] + audio[2 * third + FRAME_BYTES :])
        await stream.mark("all")
        await stream.echo("all")

    async def script(caller: Caller) -> None:
        await caller.ended()

    far.talk = talk
    person = MarksPerson(script)
    await (await twilio.dial(far.http + "/voice", person=person)).ended()
    silent, missing = person.heard.gaps
    assert silent.missing_frames == 0
    assert silent.silent_ms >= 40
    assert (missing.missing_frames, missing.silent_ms) == (1, 0)


async def test_the_recording_is_stereo_and_aligned_in_time(far, twilio, tmp_path: Path):
    async def person(line: Line) -> None:
        await line.heard_audio(0.1)
        await line.say_audio(b"\x90" * FRAME_BYTES * 5)
        await line.ended()

    async def talk(stream: Stream) -> None:
        await stream.play(sound(5))
        await stream.until(lambda event: b"\x90" in getattr(event, "payload", b""))
        await stream.frames(6)

    far.talk = talk
    call = await twilio.dial(far.http + "/voice", person=person)
    await call.ended()
    call.record(tmp_path / "call.wav")
    with wave.open(str(tmp_path / "call.wav")) as file:
        assert (file.getnchannels(), file.getframerate(), file.getsampwidth()) == (2, 8000, 2)
        samples = memoryview(file.readframes(file.getnframes())).cast("h")
    caller, agent = list(samples[0::2]), list(samples[1::2])
    assert caller.count(linear_of(0x90)) == agent.count(linear_of(SOUND[0])) == 5 * FRAME_BYTES
    assert len(caller) == len(agent)
    assert caller.index(linear_of(0x90)) >= agent.index(linear_of(SOUND[0])) + 5 * FRAME_BYTES


async def test_an_error_in_the_persons_script_ends_the_call_and_surfaces(far, twilio):
    async def person(line: Line) -> None:
        raise ValueError("lost for words")

    call = await twilio.dial(far.http + "/voice", person=person)
    with pytest.raises(CallFailed, match="lost for words"):
        await call.ended()


async def test_a_person_who_still_waits_when_the_call_ends_is_told(far, twilio):
    async def person(line: Line) -> None:
        await line.heard_audio(5)

    far.talk = lambda stream: stream.frames(1)
    call = await twilio.dial(far.http + "/voice", person=person)
    with pytest.raises(CallFailed) as failed:
        await call.ended()
    assert isinstance(failed.value.__cause__, CallOver)


async def test_a_call_that_nobody_ends_is_ended_as_a_failure(far, twilio):
    call = await twilio.dial(far.http + "/voice", max_s=0.2)
    with pytest.raises(CallFailed, match="TimeoutError"):
        await call.ended()
    assert kinds(call)[-1] == "ended"


async def test_leaving_the_simulator_hangs_up_and_raises_what_went_unnoticed(far):
    async def person(line: Line) -> None:
        await line.event("start_sent")
        raise ValueError("lost for words")

    async def two_calls() -> None:
        async with SimTwilio(TOKEN, ACCOUNT) as simulator:
            calls.append(await simulator.dial(far.http + "/voice"))
            calls.append(await simulator.dial(far.http + "/voice", person=person))
            await calls[0].journal.wait_for("start_sent")
            await calls[1].settled()

    calls: list[SimCall] = []
    before = asyncio.all_tasks()
    with pytest.raises(CallFailed, match="lost for words"):
        await two_calls()
    fine, wrong = calls
    assert fine.status == wrong.status == "completed"
    await settled(far)
    mine = [
        task
        for task in asyncio.all_tasks() - before
        if "call" in task.get_name() or "line" in task.get_name()
    ]
    assert mine == []


async def test_twenty_calls_at_once_keep_apart(far, twilio):
    async def talk(stream: Stream) -> None:
        assert stream.start is not None
        number = int(stream.start.call[2:8], 16)
        await stream.play(mark_audio(f"You are {number}.", number, 0))
        await stream.rest()

    people = []
    calls = []

    async def script(caller: Caller) -> None:
        await caller.hears("you are")
        await caller.quiet(0.1)

    far.talk = talk
    for _ in range(20):
        person = MarksPerson(script)
        people.append(person)
        calls.append(await twilio.dial(far.http + "/voice", person=person, keep_audio=False))
    for call, person in zip(calls, people, strict=True):
        await call.ended()
        number = int(call.sid[2:8], 16)
        assert person.heard.text() == f"You are {number}."
        assert person.heard.sources == {number}
