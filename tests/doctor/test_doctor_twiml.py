"""What a call that rings is answered, as the doctor reads it."""

import pytest

from doctor.twiml import NotStreamed, Streamed, read_answer
from engine.twilio import twiml


def test_our_own_answer_is_read_and_where_twilio_asks_over_https_it_must_stream_to_wss() -> None:
    ours = twiml.connect_stream("wss://voice.example.com/m", "https://voice.example.com/e", {"token": "a<b"})
    assert read_answer("text/xml; charset=utf-8", ours.encode(), secure=True) == Streamed(
        "wss://voice.example.com/m", "a<b"
    )
    plain = twiml.connect_stream("ws://voice.example.com/m", "https://voice.example.com/e", {})
    assert read_answer("text/xml", plain.encode(), secure=False).url == "ws://voice.example.com/m"
    with pytest.raises(NotStreamed, match="wss") as refused:
        read_answer("text/xml", plain.encode(), secure=True)
    assert refused.value.code == 31920


def test_a_query_in_the_streams_address_is_refused_as_twilio_does() -> None:
    document = b"<Response><Connect action='/a'><Stream url='wss://x/m?t=1'/></Connect></Response>"
    with pytest.raises(NotStreamed) as refused:
        read_answer("application/xml", document, secure=True)
    assert refused.value.code == 31920
