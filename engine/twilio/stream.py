"""Twilio Media Streams without sockets: text frames in, events out, and back.

Twilio is the WebSocket client and speaks in this order: `connected`, `start`, then `media`, `dtmf` and
`mark` in any order, then `stop`. We answer with `media`, `mark` and `clear` (Twilio, "Media Streams -
WebSocket Messages"). Until `start` is valid nobody is known to be at the other end, so anything odd
refuses the stream; after it, a caller is listening, so a bad frame is dropped and counted instead.
"""

from binascii import b2a_base64
from enum import Enum
from typing import Annotated

import msgspec

MAX_BYTES_BEFORE_START = 16 * 1024
MAX_BYTES = 64 * 1024
MAX_BAD_IN_A_ROW = 50
MAX_UNKNOWN_BEFORE_START = 8
_MAX_DIGITS = 18  # fits 64 bits; int() of an endless string of digits is slow or refused


class StreamRefused(Exception):
    """The stream can't be served; the message says why. Close the socket."""


# ---------------------------------------------------------------- what Twilio says


class Connected(msgspec.Struct, frozen=True):
    """The first message: the protocol's name and version, "Call" and "1.0.0"."""

    protocol: str
    version: str


class Start(msgspec.Struct, frozen=True):
    """The stream began. The ids are Twilio SIDs; `parameters` are the `<Parameter>`s of our own TwiML."""

    stream: str
    call: str
    account: str
    parameters: dict[str, str]


class Media(msgspec.Struct, frozen=True):
    """Audio of the caller's: 8 kHz mono mu-law, 160 bytes (20 ms) as a rule.

    `chunk` counts from 1; `timestamp_ms` is since the stream began.
    """

    payload: bytes
    chunk: int
    timestamp_ms: int


class Dtmf(msgspec.Struct, frozen=True):
    """A key: 0-9 * # A-D."""

    digit: str


class Mark(msgspec.Struct, frozen=True):
    """All that was sent before the mark of this name was played, or was dropped by a `clear`."""

    name: str


class Stop(msgspec.Struct, frozen=True):
    """The caller hung up, or the call was redirected. Nothing follows."""


class Unknown(msgspec.Struct, frozen=True):
    """An event that we don't know: Twilio may add some at any time. Ignore it."""

    event: str


Event = Connected | Start | Media | Dtmf | Mark | Stop | Unknown

# ---------------------------------------------------------------- the same, on the wire

_Sid = Annotated[str, msgspec.Meta(pattern=r"^[A-Z]{2}[0-9A-Za-z]{1,64}\Z")]


class _Wire(msgspec.Struct, frozen=True, tag_field="event", rename="camel"):
    stream_sid: str = ""


class _WireConnected(_Wire, frozen=True, tag="connected"):
    protocol: str = ""
    version: str = ""


class _Format(msgspec.Struct, frozen=True, rename="camel"):
    encoding: str
    sample_rate: int
    channels: int


class _StartBody(msgspec.Struct, frozen=True, rename="camel"):
    stream_sid: _Sid
    call_sid: _Sid
    account_sid: _Sid
    media_format: _Format
    custom_parameters: dict[str, str] = {}


class _WireStart(_Wire, frozen=True, tag="start", kw_only=True):
    start: _StartBody


class _MediaBody(msgspec.Struct, frozen=True):
    payload: bytes
    chunk: str
    timestamp: str
    track: str = "inbound"


class _WireMedia(_Wire, frozen=True, tag="media", kw_only=True):
    media: _MediaBody


class _DtmfBody(msgspec.Struct, frozen=True):
    digit: Annotated[str, msgspec.Meta(pattern=r"^[0-9*#A-D]\Z")]


class _WireDtmf(_Wire, frozen=True, tag="dtmf", kw_only=True):
    dtmf: _DtmfBody


class _MarkBody(msgspec.Struct, frozen=True):
    name: str


class _WireMark(_Wire, frozen=True, tag="mark", kw_only=True):
    mark: _MarkBody


class _WireStop(_Wire, frozen=True, tag="stop"):
    pass


class _Named(msgspec.Struct, frozen=True):
    event: str


_KNOWN = frozenset({"connected", "start", "media", "dtmf", "mark", "stop"})
_AnyWire = _WireConnected | _WireStart | _WireMedia | _WireDtmf | _WireMark | _WireStop
_decode = msgspec.json.Decoder(_AnyWire).decode
_decode_name = msgspec.json.Decoder(_Named).decode

# A lone surrogate in a `str` and nesting without end are what msgspec reports by other exceptions.
_MALFORMED = (msgspec.DecodeError, UnicodeError, RecursionError)

_Expecting = Enum("_Expecting", ["CONNECTED", "START", "ANYTHING", "NOTHING"])


class _Bad(Exception):
    """One frame is bad; the message says why."""


class StreamReader:
    """Decodes one stream, and keeps its order and its bounds.

    `bad` frames were dropped, `bad_in_a_row` of them just now; `lost` frames of audio never came (a gap in
    `chunk`); `repeated` came with a number that was already past, and were passed on all the same.
    """

    def __init__(self) -> None:
        self.bad = 0
        self.bad_in_a_row = 0
        self.last_bad = ""
        self.lost = 0
        self.repeated = 0
        self._stream = ""
        self._chunk = 0
        self._unknown = 0
        self._expecting = _Expecting.CONNECTED

    def receive(self, text: str | bytes) -> Event | None:
        """The event in one WebSocket message, or None where a bad frame was dropped.

        Raises `StreamRefused` for anything malformed, out of order or over 16 KiB before `start`, and
        after it for 50 bad frames in a row (over 64 KiB is bad).
        """
        try:
            event = self._event(text)
        except _Bad as bad:
            self._drop(str(bad))
            return None
        self.bad_in_a_row = 0
        return event

    def _drop(self, why: str) -> None:
        if self._expecting in (_Expecting.CONNECTED, _Expecting.START):
            raise StreamRefused(f"{why}, before the stream's start") from None
        self.bad += 1
        self.bad_in_a_row += 1
        self.last_bad = why
        if self.bad_in_a_row >= MAX_BAD_IN_A_ROW:
            raise StreamRefused(f"{self.bad_in_a_row} bad frames in a row, the last: {why}") from None

    def _event(self, text: str | bytes) -> Event:
        if len(text) > (MAX_BYTES if self._stream else MAX_BYTES_BEFORE_START):
            raise _Bad(f"a message of {len(text)} bytes is too long")
        try:
            wire = _decode(text)
        except _MALFORMED as error:
            return self._unknown_event(text, str(error))
        if self._expecting is not _Expecting.ANYTHING:
            return self._in_order(wire)
        if wire.stream_sid != self._stream:
            raise _Bad(f"streamSid {wire.stream_sid!r} is not this stream's")
        if type(wire) is _WireMedia:  # fifty times a second
            return self._media(wire.media)
        match wire:
            case _WireMark(mark=mark):
                return Mark(mark.name)
            case _WireDtmf(dtmf=dtmf):
                return Dtmf(dtmf.digit)
            case _WireStop():
                self._expecting = _Expecting.NOTHING
                return Stop()
        raise _Bad("a second connected or start came")

    def _in_order(self, wire: _AnyWire) -> Event:
        match self._expecting, wire:
            case _Expecting.CONNECTED, _WireConnected():
                self._expecting = _Expecting.START
                return Connected(wire.protocol, wire.version)
            case _Expecting.START, _WireStart():
                event = _start(wire)
                self._stream = event.stream
                self._expecting = _Expecting.ANYTHING
                return event
        raise _Bad(f"{type(wire).__struct_config__.tag} came out of order")

    def _media(self, media: _MediaBody) -> Media:
        if media.track != "inbound" or not media.payload:
            raise _Bad("media without audio of the caller's")
        chunk, timestamp_ms = _number(media.chunk), _number(media.timestamp)
        missing = chunk - self._chunk - 1
        if missing > 0:
            self.lost += missing
        elif missing < 0:
            self.repeated += 1
        self._chunk = chunk
        return Media(media.payload, chunk, timestamp_ms)

    def _unknown_event(self, text: str | bytes, why: str) -> Unknown:
        try:
            name = _decode_name(text).event
        except _MALFORMED:
            raise _Bad(f"not a message of Media Streams ({why})") from None
        if name in _KNOWN:
            raise _Bad(f"a malformed {name} ({why})")
        self._unknown += 1
        if not self._stream and self._unknown > MAX_UNKNOWN_BEFORE_START:
            raise _Bad("too many unknown events")
        return Unknown(name)


def _start(wire: _WireStart) -> Start:
    body = wire.start
    if wire.stream_sid not in ("", body.stream_sid):
        raise _Bad("start names two different streams")
    sound = body.media_format
    if (sound.encoding, sound.sample_rate, sound.channels) != ("audio/x-mulaw", 8000, 1):
        raise _Bad(f"media must be audio/x-mulaw, 8000 Hz, 1 channel, got {msgspec.structs.astuple(sound)}")
    return Start(body.stream_sid, body.call_sid, body.account_sid, body.custom_parameters)


def _number(digits: str) -> int:
    """Twilio writes its counters as strings of decimal digits."""
    if len(digits) <= _MAX_DIGITS and digits.isascii() and digits.isdigit():
        return int(digits)
    raise _Bad("a counter is not a string of digits")


# ---------------------------------------------------------------- what we say


def media(stream: str, payload: bytes) -> str:
    """Audio for the caller: mu-law, 8 kHz, mono, any length. Twilio queues it and plays it in real time."""
    audio = b2a_base64(payload, newline=False).decode("ascii")
    return f'{{"event":"media","streamSid":"{stream}","media":{{"payload":"{audio}"}}}}'


def mark(stream: str, name: str) -> str:
    """Asks to be told when all that was sent before it has been played."""
    quoted = msgspec.json.encode(name).decode()
    return f'{{"event":"mark","streamSid":"{stream}","mark":{{"name":{quoted}}}}}'


def clear(stream: str) -> str:
    """Drops what is queued; Twilio then echoes every mark that is outstanding, as if it had been played."""
    return f'{{"event":"clear","streamSid":"{stream}"}}'
