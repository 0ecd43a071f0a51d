"""Signatures: made by the SDK, as Twilio makes them, and checked by us."""

import base64
import hmac

import pytest
from hypothesis import given
from hypothesis import strategies as st
from multidict import MultiDict
from starlette.datastructures import FormData, UploadFile
from twilio.request_validator import RequestValidator

from engine.twilio.signature import public_url, stream_is_signed, webhook_is_signed

TOKEN = "0123456789abcdef"
URL = "https://voice.example.com/api/v1/voice/incoming?x=1"
FORM = {"CallSid": "CA1", "From": "+13125550142", "StirVerstat": "TN-Validation-Passed-A", "Empty": ""}


def signature(url: str, form: dict[str, str] | None = None, token: str = TOKEN) -> str:
    return RequestValidator(token).compute_signature(url, form or {})


def test_the_example_in_twilios_documentation_is_signed():
    url = "https://example.com/myapp.php?foo=1&bar=2"
    form = {
        "CallSid": "CA1234567890ABCDE",
        "Caller": "+14158675310",
        "Digits": "1234",
        "From": "+14158675310",
        "To": "+18005551212",
    }
    text = url + "".join(name + form[name] for name in sorted(form))
    by_hand = base64.b64encode(hmac.digest(b"12345", text.encode(), "sha1")).decode()
    assert webhook_is_signed("12345", url, form, by_hand)


@pytest.mark.parametrize("form", [FORM, MultiDict(FORM), FormData(FORM), {k: [v] for k, v in FORM.items()}])
def test_a_form_may_come_in_any_of_the_usual_types(form):
    assert webhook_is_signed(TOKEN, URL, form, signature(URL, FORM))


def test_several_values_of_one_name_are_signed_sorted_and_once_each():
    form = FormData([("E", "b"), ("E", "a"), ("E", "b")])
    by_hand = base64.b64encode(hmac.digest(TOKEN.encode(), f"{URL}EaEb".encode(), "sha1")).decode()
    assert webhook_is_signed(TOKEN, URL, form, by_hand)


@pytest.mark.parametrize(
    ("url", "form", "header"),
    [
        (URL, FORM, None),
        (URL, FORM, ""),
        (URL, FORM, "nonsense"),
        (URL, FORM, "k\u00e4se"),
        (URL, FORM, signature(URL, FORM, "another token")),
        (URL, FORM, signature(URL)),
        (URL, {**FORM, "From": "+13125550143"}, signature(URL, FORM)),
        (URL, {**FORM, "Added": "1"}, signature(URL, FORM)),
        (URL + "&y=2", FORM, signature(URL, FORM)),
        (URL.replace("https", "http"), FORM, signature(URL, FORM)),
        (URL, {"a": "\ud800"}, signature(URL, FORM)),
        (URL, FormData({"a": UploadFile(file=None, filename="x")}), signature(URL, FORM)),  # type: ignore[arg-type]
    ],
)
def test_what_twilio_did_not_sign_is_refused(url, form, header):
    assert not webhook_is_signed(TOKEN, url, form, header)


def test_what_stands_after_a_url_may_be_signed_with_it_or_not():
    url, fragment = "https://voice.example.com/ended?n=1", "rc=2&rp=ct"
    for signed in (url, f"{url}#{fragment}"):
        assert webhook_is_signed(TOKEN, url, {}, signature(signed), fragment)
    assert not webhook_is_signed(TOKEN, url, {}, signature(f"{url}#rc=5"), fragment)


def test_an_empty_token_signs_nothing():
    assert not webhook_is_signed("", URL, FORM, signature(URL, FORM, ""))
    assert not stream_is_signed("", "wss://h/p", signature("wss://h/p", token=""))


@pytest.mark.parametrize(
    ("asked", "signed"),
    [
        ("https://h.example/p?x=1", "https://h.example:443/p?x=1"),
        ("https://h.example:443/p", "https://h.example/p"),
        ("http://h.example/p", "http://h.example:80/p"),
        ("https://h.example:8443/p", "https://h.example:8443/p"),
        ("https://user:pw@h.example/p", "https://user:pw@h.example:443/p"),
        ("https://[::1]:443/p", "https://[::1]/p"),
        ("https://h.example/p#rc=2&rp=5xx", "https://h.example/p"),
        ("https://h.example/p?", "https://h.example/p?"),
    ],
)
def test_a_default_port_may_be_written_or_not(asked, signed):
    assert webhook_is_signed(TOKEN, asked, FORM, signature(signed, FORM))


def test_a_port_that_is_not_the_default_counts():
    assert not webhook_is_signed(
        TOKEN, "https://h.example:8443/p", FORM, signature("https://h.example/p", FORM)
    )


@pytest.mark.parametrize("asked", ["wss://h.example/media", "wss://h.example/media/"])
@pytest.mark.parametrize(
    "signed",
    [
        "wss://h.example/media",
        "wss://h.example/media/",
        "wss://h.example:443/media",
        "wss://h.example:443/media/",
    ],
)
def test_a_stream_is_signed_with_or_without_a_slash_and_a_port(asked, signed):
    assert stream_is_signed(TOKEN, asked, signature(signed))


@pytest.mark.parametrize(
    "signed", ["https://h.example/media", "wss://h.example/other", "wss://h.example:80/media"]
)
def test_a_stream_signed_for_elsewhere_is_refused(signed):
    assert not stream_is_signed(TOKEN, "wss://h.example/media", signature(signed))
    assert not stream_is_signed(TOKEN, "wss://h.example/media", None)


@given(st.text(), st.dictionaries(st.text(), st.text() | st.lists(st.text())), st.text())
def test_nothing_that_a_stranger_sends_raises_or_passes(url, form, header):
    assert not webhook_is_signed(TOKEN, url, form, header)
    assert not stream_is_signed(TOKEN, url, header)


CLEAN = st.text(st.characters(exclude_categories=["Cs"]))


@given(st.dictionaries(CLEAN, CLEAN), CLEAN)
def test_whatever_the_sdk_signs_is_accepted(form, query):
    url = f"https://voice.example.com/voice?{query.partition('#')[0]}"
    assert webhook_is_signed(TOKEN, url, form, signature(url, form))


@pytest.mark.parametrize(
    ("base", "scheme", "query", "expected"),
    [
        ("https://voice.example.com", "http", "", "https://voice.example.com/v%20x"),
        ("https://voice.example.com/", "http", b"a=%31", "https://voice.example.com/v%20x?a=%31"),
        ("https://voice.example.com:8443", "ws", "", "wss://voice.example.com:8443/v%20x"),
        ("http://127.0.0.1:8000", "ws", "", "ws://127.0.0.1:8000/v%20x"),
        ("", "http", "", "http://10.0.0.1:8000/v%20x"),
        ("", "wss", b"", "wss://10.0.0.1:8000/v%20x"),
    ],
)
def test_the_public_url_is_rebuilt_behind_a_proxy(base, scheme, query, expected):
    assert public_url(base, scheme, "10.0.0.1:8000", b"/v%20x", query) == expected
