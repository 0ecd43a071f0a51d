"""Deepgram's query parameters, parsed once into the ports' types.

Only 8 kHz mono mu-law is offered: what telephones speak. Anything else is refused as Deepgram refuses a bad
parameter, with HTTP 400 (Deepgram, "Errors").
"""

from dataclasses import dataclass

from starlette.datastructures import QueryParams

from engine.audio import SAMPLE_RATE
from local.speech.ports import ListenParams, SpeakParams

DEFAULT_ENDPOINTING_MS = 10
DEFAULT_VOICE = "aura-asteria-en"


@dataclass(slots=True, eq=False)
class Refusal(Exception):
    """A handshake or request turned away: HTTP status, Deepgram's error code, and a sentence."""

    status: int
    code: str
    message: str


def listen_params(query: QueryParams) -> ListenParams:
    """Parses `GET /v1/listen`. Raises `Refusal`."""
    _only_telephone_audio(query)
    interim_results = _flag(query, "interim_results")
    utterance_end_ms = _milliseconds(query, "utterance_end_ms", None)
    if utterance_end_ms is not None and not interim_results:
        raise _bad("utterance_end_ms needs interim_results=true")
    return ListenParams(
        model=query.get("model", "general"),
        language=query.get("language", "en"),
        interim_results=interim_results,
        endpointing_ms=_milliseconds(query, "endpointing", DEFAULT_ENDPOINTING_MS),
        utterance_end_ms=utterance_end_ms,
        vad_events=_flag(query, "vad_events"),
        keyterms=tuple(query.getlist("keyterm")),
    )


def speak_params(query: QueryParams) -> SpeakParams:
    """Parses `/v1/speak`. Raises `Refusal`."""
    _only_telephone_audio(query)
    return SpeakParams(model=query.get("model", DEFAULT_VOICE))


def _only_telephone_audio(query: QueryParams) -> None:
    if query.get("encoding") != "mulaw":
        raise _bad(f"encoding must be mulaw here, got {query.get('encoding')!r}")
    if query.get("sample_rate", str(SAMPLE_RATE)) != str(SAMPLE_RATE):
        raise _bad(f"sample_rate must be {SAMPLE_RATE} here, got {query['sample_rate']!r}")
    if query.get("channels", "1") != "1":
        raise _bad(f"channels must be 1 here, got {query['channels']!r}")


def _flag(query: QueryParams, name: str) -> bool:
    value = query.get(name, "false").lower()
    if value not in {"true", "false"}:
        raise _bad(f"{name} must be true or false, got {value!r}")
    return value == "true"


def _milliseconds(query: QueryParams, name: str, default: int | None) -> int | None:
    value = query.get(name, "")
    if value == "false":
        return None
    if value in {"", "true"}:
        return default
    if not (value.isascii() and value.isdigit()):
        raise _bad(f"{name} must be a number of milliseconds or false, got {value!r}")
    return int(value)


def _bad(message: str) -> Refusal:
    return Refusal(400, "Bad Request", message)
