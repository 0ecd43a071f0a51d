"""TwiML documents, read back as XML."""

from xml.etree import ElementTree

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.twilio import twiml

NUMBER = "+13125550142"


def test_a_stream_is_connected_with_its_action_and_parameters():
    root = ElementTree.fromstring(
        twiml.connect_stream(
            "wss://a.example.com/media", "https://a.example.com/after?x=1&y=2", {"token": "3f9c"}
        )
    )
    connect = root.find("Connect")
    assert root.tag == "Response"
    assert connect is not None
    assert connect.attrib == {"action": "https://a.example.com/after?x=1&y=2", "method": "POST"}
    assert [(noun.tag, noun.attrib) for noun in connect] == [("Stream", {"url": "wss://a.example.com/media"})]
    assert [one.attrib for one in connect.iter("Parameter")] == [{"name": "token", "value": "3f9c"}]


@pytest.mark.parametrize(
    "url", ["wss://a.example.com/media?token=1", "wss://a/m#x", "https://a.example.com/m", ""]
)
def test_a_url_that_twilio_would_refuse_is_refused_first(url):
    with pytest.raises(ValueError, match="stream's URL"):
        twiml.connect_stream(url, "https://a.example.com/after", {})


def test_a_parameter_of_499_characters_fits_and_one_of_500_does_not():
    twiml.connect_stream("wss://a/m", "/after", {"n": "v" * 498})
    with pytest.raises(ValueError, match="too long"):
        twiml.connect_stream("wss://a/m", "/after", {"n": "v" * 499})


def test_saying_something_is_followed_by_hanging_up_or_by_a_person():
    goodbye = ElementTree.fromstring(twiml.say_and_hang_up("Bye."))
    transfer = ElementTree.fromstring(twiml.say_and_dial("One moment.", NUMBER))
    assert [(verb.tag, verb.text) for verb in goodbye] == [("Say", "Bye."), ("Hangup", None)]
    assert [(verb.tag, verb.text) for verb in transfer] == [("Say", "One moment."), ("Dial", NUMBER)]


def test_dialling_and_hanging_up_stand_alone():
    assert [(verb.tag, verb.text) for verb in ElementTree.fromstring(twiml.dial(NUMBER))] == [
        ("Dial", NUMBER)
    ]
    assert [verb.tag for verb in ElementTree.fromstring(twiml.hang_up())] == ["Hangup"]


@given(st.text())
def test_no_text_can_break_the_document(text):
    say = ElementTree.fromstring(twiml.say_and_hang_up(text).encode()).find("Say")
    assert say is not None
    assert printable(say.text or "") == printable(text)


def printable(text: str) -> str:
    return "".join(one for one in text if one.isprintable() and not one.isspace())
