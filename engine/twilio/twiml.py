"""The TwiML documents that we answer Twilio's webhooks with, as XML text.

Twilio, "TwiML Voice". Answer them with `Content-Type: text/xml` (`CONTENT_TYPE`).
"""

import re
from collections.abc import Mapping

from twilio.twiml.voice_response import VoiceResponse

CONTENT_TYPE = "text/xml"
MAX_PARAMETER = 500

# What XML 1.0 can't hold, escaped or not: one such character, and Twilio refuses the document (12100).
_NOT_XML = re.compile("[^\t\n\r\u0020-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def connect_stream(ws_url: str, action_url: str, parameters: Mapping[str, str]) -> str:
    """Streams the call to `ws_url`; when the stream ends, Twilio asks `action_url` what comes next.

    Raises ValueError for a `ws_url` that Twilio refuses (a query string is error 31920) and for parameters
    whose name and value have 500 characters or more.
    """
    if not ws_url.startswith(("wss://", "ws://")) or "?" in ws_url or "#" in ws_url:
        raise ValueError(f"a stream's URL is wss:// with no query, got {ws_url!r}: use parameters")
    response = VoiceResponse()
    stream = response.connect(action=_clean(action_url), method="POST").stream(url=_clean(ws_url))
    for name, value in parameters.items():
        if len(name) + len(value) >= MAX_PARAMETER:
            raise ValueError(f"stream parameter {name!r} is too long: Twilio takes {MAX_PARAMETER - 1}")
        stream.parameter(name=_clean(name), value=_clean(value))
    return str(response)


def say_and_hang_up(text: str) -> str:
    """Twilio's own voice says `text`, then the call ends."""
    response = VoiceResponse()
    response.say(_clean(text))
    response.hangup()
    return str(response)


def say_and_dial(text: str, number: str) -> str:
    """Twilio's own voice says `text`, then the caller is put through to `number` (E.164)."""
    response = VoiceResponse()
    response.say(_clean(text))
    response.dial(_clean(number))
    return str(response)


def dial(number: str) -> str:
    """Puts the caller through to `number` (E.164); the call ends when that one does."""
    response = VoiceResponse()
    response.dial(_clean(number))
    return str(response)


def hang_up() -> str:
    """Ends the call."""
    response = VoiceResponse()
    response.hangup()
    return str(response)


def _clean(text: str) -> str:
    return _NOT_XML.sub(" ", text)
