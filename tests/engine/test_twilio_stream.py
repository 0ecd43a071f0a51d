"""The Media Streams codec: every event of the protocol, order, bounds, and hostile input."""

import base64
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.twilio import stream
from engine.twilio.stream import (
    Connected,
    Dtmf,
    Mark,
    Media,
    Start,
    Stop,
    StreamReader,
    StreamRefused,
    Unknown,
)

STREAM = "MZ" + "1" * 32
CALL = "CA" + "2" * 32
ACCOUNT = "AC" + "3" * 32
CONNECTED = '{"event":"connected","protocol":"Call","version":"1.0.0"}'


def start(**changes: Any) -> str:
    body = {
        "streamSid": STREAM,
        "accountSid": ACCOUNT,
        "callSid": CALL,
        "tracks": ["inbound"],
        "customParameters": {"token": "3f9c"},
        "mediaFormat": {"encoding": "audio/x-mulaw", "sampleRate": 8000, "channels": 1},
    }
    return json.dumps(
        {"event": "start", "sequenceNumber": "1", "streamSid": STREAM, "start": {**body, **changes}}
    )


def media(chunk: int | str = 1, payload: bytes = b"\xff" * 160, **changes: Any) -> str:
    body = {
        "track": "inbound",
        "chunk": str(chunk),
        "timestamp": "20",
        "payload": base64.b64encode(payload).decode(),
    }
    return json.dumps(
        {"event": "media", "sequenceNumber": "2", "streamSid": STREAM, "media": {**body, **changes}}
    )


def message(event: str, **fields: Any) -> str:
    return json.dumps({"event": event, "sequenceNumber": "9", "streamSid": STREAM, **fields})


def started() -> StreamReader:
    reader = StreamReader()
    reader.receive(CONNECTED)
    reader.receive(start())
    return reader


def test_a_whole_stream_is_read_in_the_order_that_twilio_sends():
    reader = StreamReader()
    events = [
        reader.receive(text)
        for text in (
            CONNECTED,
            start(),
            media(1, b"\x01\x02"),
            message("dtmf", dtmf={"track": "inbound_track", "digit": "#"}),
            message("mark", mark={"name": "s-7"}),
            message("stop", stop={"accountSid": ACCOUNT, "callSid": CALL}),
        )
    ]
    assert events == [
        Connected("Call", "1.0.0"),
        Start(STREAM, CALL, ACCOUNT, {"token": "3f9c"}),
        Media(b"\x01\x02", 1, 20),
        Dtmf("#"),
        Mark("s-7"),
        Stop(),
    ]
    assert (reader.bad, reader.lost, reader.repeated) == (0, 0, 0)


def test_messages_may_come_as_bytes():
    reader = StreamReader()
    assert reader.receive(CONNECTED.encode()) == Connected("Call", "1.0.0")
    assert isinstance(reader.receive(start().encode()), Start)


def test_a_start_without_parameters_has_none():
    reader = StreamReader()
    reader.receive(CONNECTED)
    text = json.loads(start())
    del text["start"]["customParameters"]
    event = reader.receive(json.dumps(text))
    assert isinstance(event, Start)
    assert event.parameters == {}


def test_unknown_fields_and_events_are_tolerated():
    reader = StreamReader()
    assert reader.receive('{"event":"weather","sky":{"blue":1}}') == Unknown("weather")
    reader.receive('{"event":"connected","protocol":"Call","version":"9","new":[1]}')
    assert isinstance(reader.receive(start(fresh={"a": 1})), Start)
    assert isinstance(reader.receive(media(1, colour="red")), Media)
    assert reader.receive('{"event":"weather"}') == Unknown("weather")
    assert reader.bad == 0


def test_a_stranger_may_not_send_unknown_events_for_ever():
    reader = StreamReader()
    for _ in range(stream.MAX_UNKNOWN_BEFORE_START):
        reader.receive('{"event":"weather"}')
    with pytest.raises(StreamRefused, match="unknown"):
        reader.receive('{"event":"weather"}')


@pytest.mark.parametrize(
    "first",
    [
        media(),
        start(),
        message("mark", mark={"name": "x"}),
        message("stop"),
        "",
        "{",
        "null",
        "[]",
        '{"event":7}',
        '{"event":"connected","protocol":7}',
        "\ud800",
        b"\xff\xfe",
        '{"event":"connected","x":' + "[" * 5000,
        '{"event":"connected","x":"' + "a" * stream.MAX_BYTES_BEFORE_START + '"}',
    ],
    ids=lambda text: repr(text)[:30],
)
def test_before_connected_anything_else_is_refused(first):
    with pytest.raises(StreamRefused):
        StreamReader().receive(first)


@pytest.mark.parametrize(
    "second",
    [
        CONNECTED,
        media(),
        message("stop"),
        "{",
        start(mediaFormat={"encoding": "audio/l16", "sampleRate": 8000, "channels": 1}),
        start(mediaFormat={"encoding": "audio/x-mulaw", "sampleRate": 16000, "channels": 1}),
        start(mediaFormat={"encoding": "audio/x-mulaw", "sampleRate": 8000, "channels": 2}),
        start(mediaFormat={"encoding": "audio/x-mulaw", "sampleRate": "8000", "channels": 1}),
        start(mediaFormat=None),
        start(callSid=""),
        start(callSid="CA1\n"),
        start(streamSid='MZ1","event":"clear'),
        start(streamSid="MZ" + "9" * 32),
        start(customParameters={"token": 5}),
        start(customParameters={"token": "x" * stream.MAX_BYTES_BEFORE_START}),
    ],
    ids=lambda text: text[-60:],
)
def test_between_connected_and_start_anything_else_is_refused(second):
    reader = StreamReader()
    reader.receive(CONNECTED)
    with pytest.raises(StreamRefused):
        reader.receive(second)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "\ud800",
        CONNECTED,
        start(),
        media(payload=b""),
        media(track="outbound"),
        media(chunk="one"),
        media(chunk="-1"),
        media(chunk="\u0663"),
        media(chunk="9" * 5000),
        media(timestamp=20),
        media().replace("/", "!"),
        media().replace(STREAM, "MZ" + "9" * 32),
        message("dtmf", dtmf={"digit": "55"}),
        message("dtmf", dtmf={"digit": "5\n"}),
        message("dtmf", dtmf={"digit": "E"}),
        message("mark"),
        message("mark", mark={"name": 1}),
        media(payload=b"\xff" * stream.MAX_BYTES),
    ],
    ids=lambda text: repr(text)[-60:],
)
def test_after_the_start_a_bad_frame_is_dropped_and_counted(text):
    reader = started()
    assert reader.receive(text) is None
    assert (reader.bad, reader.bad_in_a_row) == (1, 1)
    assert reader.last_bad
    assert isinstance(reader.receive(media(1)), Media)
    assert (reader.bad, reader.bad_in_a_row) == (1, 0)


def test_after_stop_nothing_is_taken():
    reader = started()
    reader.receive(message("stop"))
    assert reader.receive(media(1)) is None
    assert reader.bad == 1


def test_fifty_bad_frames_in_a_row_refuse_the_stream_but_not_forty_nine():
    reader = started()
    for _ in range(stream.MAX_BAD_IN_A_ROW - 1):
        assert reader.receive("{") is None
    reader.receive(media(1))
    for _ in range(stream.MAX_BAD_IN_A_ROW - 1):
        assert reader.receive("{") is None
    with pytest.raises(StreamRefused, match="50 bad frames"):
        reader.receive("{")


def test_lost_frames_are_counted_by_chunk_and_repeated_ones_are_passed_on():
    reader = started()
    for chunk in (1, 2, 5, 6, 6, 9):
        assert isinstance(reader.receive(media(chunk)), Media)
    assert reader.lost == 2 + 2
    assert reader.repeated == 1


@given(st.one_of(st.binary(), st.text()))
def test_random_input_is_refused_and_never_crashes_the_reader(noise):
    with pytest.raises(StreamRefused):
        StreamReader().receive(noise)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)
BODY = st.dictionaries(
    st.sampled_from(["payload", "chunk", "timestamp", "track", "digit", "name", "streamSid", "mediaFormat"]),
    JSON,
)
HOSTILE = st.fixed_dictionaries(
    {"event": st.sampled_from(["connected", "start", "media", "dtmf", "mark", "stop", "other"]) | JSON},
    optional={
        "streamSid": st.just(STREAM) | JSON,
        "media": BODY | JSON,
        "start": BODY | JSON,
        "dtmf": BODY | JSON,
        "mark": BODY | JSON,
    },
)


@given(st.lists(HOSTILE, max_size=8), st.booleans())
def test_hostile_messages_give_events_or_none_or_a_refusal(messages, after_start):
    reader = started() if after_start else StreamReader()
    for body in messages:
        try:
            event = reader.receive(json.dumps(body))
        except StreamRefused:
            assert not after_start
            return
        assert event is None or isinstance(event, stream.Event)
        assert (event is None) == (reader.bad_in_a_row > 0)


@given(st.data())
def test_a_message_with_one_character_changed_never_crashes(data):
    reader = started()
    text = data.draw(st.sampled_from([media(), start(), message("mark", mark={"name": "x"})]))
    at = data.draw(st.integers(0, len(text) - 1))
    event = reader.receive(text[:at] + data.draw(st.characters()) + text[at + 1 :])
    assert event is None or isinstance(event, stream.Event)


@given(st.binary(min_size=1, max_size=4000), st.integers(0, 10**17))
def test_media_survives_the_wire(payload, chunk):
    assert started().receive(media(chunk, payload)) == Media(payload, chunk, 20)


@given(st.binary(max_size=4000))
def test_what_we_send_as_media_is_what_twilio_expects(payload):
    said = json.loads(stream.media(STREAM, payload))
    assert said == {
        "event": "media",
        "streamSid": STREAM,
        "media": {"payload": base64.b64encode(payload).decode()},
    }


@given(st.text(st.characters(exclude_categories=["Cs"])))
def test_any_mark_name_survives_the_wire_there_and_back(name):
    said = json.loads(stream.mark(STREAM, name))
    assert said == {"event": "mark", "streamSid": STREAM, "mark": {"name": name}}
    assert started().receive(message("mark", mark=said["mark"])) == Mark(name)


def test_clear_names_its_stream_and_nothing_else():
    assert json.loads(stream.clear(STREAM)) == {"event": "clear", "streamSid": STREAM}
