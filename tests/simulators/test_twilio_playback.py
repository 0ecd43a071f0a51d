"""Playback, back-pressure and documents of the simulated Twilio, without sockets."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.audio import FRAME_BYTES, SILENCE
from simulators.twilio.journal import Journal
from simulators.twilio.leg import MAX_UNSENT, Leg, StreamIds
from simulators.twilio.playback import Playback
from simulators.twilio.twiml import Connect, Dial, Hangup, Say, TwimlError, read
from simulators.twilio.webhook import Overrides

BASE = "https://app.example.com/voice/in"


def test_a_mark_is_echoed_when_its_audio_is_over_and_not_when_it_begins():
    playback = Playback()
    playback.put(b"\x01" * FRAME_BYTES)
    assert playback.mark("a") == []
    first, second = playback.step(), playback.step()
    assert (first.frame, first.echoes) == (b"\x01" * FRAME_BYTES, [])
    assert (second.frame, second.echoes, second.ran_dry) == (None, ["a"], True)


def test_a_mark_is_echoed_at_once_when_nothing_is_queued_but_not_while_the_last_frame_plays():
    playback = Playback()
    assert playback.mark("idle") == ["idle"]
    playback.put(b"\x01")
    playback.step()
    assert playback.mark("in the air") == []
    assert playback.step().echoes == ["in the air"]


def test_a_short_last_frame_is_filled_with_silence():
    playback = Playback()
    playback.put(b"\x01" * 10)
    assert playback.step().frame == b"\x01" * 10 + SILENCE * (FRAME_BYTES - 10)


ACTIONS = st.lists(
    st.one_of(
        st.binary(min_size=1, max_size=500),
        st.just("mark"),
        st.just("clear"),
        st.just("step"),
    ),
    max_size=60,
)


@given(ACTIONS)
def test_every_mark_is_echoed_once_in_order_and_never_before_its_audio(actions):
    playback = Playback()
    marks: list[int] = []  # where each stands in what is not dropped; its name is its number
    echoed: list[str] = []
    put = taken = finished = 0
    for action in [*actions, *["step"] * 200]:
        if isinstance(action, bytes):
            playback.put(action)
            put += len(action)
        elif action == "mark":
            marks.append(put)
            echoed += playback.mark(str(len(marks) - 1))
        elif action == "clear":
            fell, names = playback.clear()
            put -= fell
            echoed += names
            marks = [min(mark, finished) for mark in marks]
        else:
            finished = taken
            step = playback.step()
            taken += min(FRAME_BYTES, put - taken) if step.frame else 0
            echoed += step.echoes
        assert echoed == [str(number) for number in range(len(echoed))]
        assert [mark <= finished for mark in marks] == [number < len(echoed) for number in range(len(marks))]
    assert (taken, playback.idle, len(echoed)) == (put, True, len(marks))


def test_a_server_that_does_not_read_loses_the_callers_audio_and_the_chunk_numbers_show_it():
    journal = Journal()
    leg = Leg(StreamIds("MZ1", "CA1", "AC1"), journal)
    for _ in range(MAX_UNSENT + 3):
        leg.step(SILENCE * FRAME_BYTES)
    unsent = leg._outbox  # what the writer would send, were the socket to take it
    chunks = [json.loads(unsent.get_nowait() or "")["media"]["chunk"] for _ in range(MAX_UNSENT)]
    assert chunks == [str(number + 1) for number in range(MAX_UNSENT)]
    assert unsent.empty()
    leg.step(SILENCE * FRAME_BYTES)
    assert json.loads(unsent.get_nowait() or "")["media"]["chunk"] == str(MAX_UNSENT + 4)
    assert [event.detail["code"] for event in journal.all("error")] == [31930]


def test_a_documents_urls_are_relative_to_where_it_came_from():
    document = b"""<Response><Connect action="after"><Stream url="wss://a/m" name="n" statusCallback="/s">
        <Parameter name="a" value="b"/></Stream></Connect><Dial action="/d"><Number>+13125550199</Number></Dial>
        <Say voice="x"> Hello. </Say><Hangup/></Response>"""
    assert read(document, BASE) == [
        Connect(
            "wss://a/m", "https://app.example.com/voice/after", {"a": "b"}, "https://app.example.com/s", "n"
        ),
        Dial("+13125550199", "https://app.example.com/d"),
        Say("Hello."),
        Hangup(),
    ]


@pytest.mark.parametrize(
    ("document", "code"),
    [
        (b"", 12100),
        (b"<Response>", 12100),
        (b"<Hangup/>", 12100),
        (b"<Response><Connect><Stream/></Connect></Response>", 12200),
        (b"<Response><Dial/></Response>", 12200),
        (b'<Response><Pause length="long"/></Response>', 12200),
        (b"<Response><Say>x</Say><Reject/></Response>", 12200),
        (b"<Response><Say>" + b"x" * 65536 + b"</Say></Response>", 11750),
        (
            b'<Response><Connect><Stream url="wss://a"><Parameter name="a" value="%s"/></Stream></Connect></Response>'
            % (b"x" * 499),
            12200,
        ),
    ],
)
def test_a_document_that_twilio_refuses_is_refused_with_its_code(document, code):
    with pytest.raises(TwimlError) as refused:
        read(document, BASE)
    assert refused.value.code == code


def test_overrides_are_read_from_the_fragment():
    assert Overrides.of("") == Overrides()
    assert Overrides.of("ct=2000&rt=5000&rc=2&rp=5xx,ct") == Overrides(
        2000, 5000, 15000, 2, frozenset({"5xx", "ct"})
    )
    assert Overrides.of("rp=all").retry_on == {"4xx", "5xx", "ct", "rt"}
