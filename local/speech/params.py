"""Deepgram's query parameters, parsed once into the ports' types.

Only 8 kHz mono mu-law is offered: what telephones speak. Anything else is refused as Deepgram refuses a bad
parameter, with HTTP 400 (Deepgram, "Errors").
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from starlette.datastructures import QueryParams

from engine.audio import SAMPLE_RATE
from local.speech.ports import ListenParams, SpeakParams
from local.speech.turns import NEVER, Thresholds

DEFAULT_ENDPOINTING_MS = 10
DEFAULT_VOICE = "aura-asteria-en"
FLUX = "flux-"
FLUX_MODELS = (f"{FLUX}general-en", f"{FLUX}general-multi")
# Of audio: the pause of which a recogniser is to tell. Flux has no such parameter, its thresholds are longer.
FLUX_PAUSE_MS = 200


@dataclass(slots=True, eq=False)
class Refusal(Exception):
    """A handshake or request turned away: HTTP status, Deepgram's error code, and a sentence."""

    status: int
    code: str
    message: str


def listen_params(query: QueryParams) -> ListenParams:
    """Parses `GET /v1/listen`. Raises `Refusal`."""
    _only_telephone_audio(query)
    if query.get("model", "").startswith(FLUX):
        raise _bad(f"{query['model']} is served at /v2/listen")
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


@dataclass(frozen=True, slots=True)
class FluxParams:
    """What a Flux socket was opened with; `hearing` is for the recogniser behind it."""

    hearing: ListenParams
    thresholds: Thresholds


def flux_params(query: QueryParams) -> FluxParams:
    """Parses `GET /v2/listen`. Raises `Refusal`."""
    _only_telephone_audio(query)
    if query.get("model") not in FLUX_MODELS:
        raise _bad(f"model must be {' or '.join(FLUX_MODELS)} at /v2/listen, got {query.get('model')!r}")
    hearing = ListenParams(
        model=query["model"],
        language=query.get("language_hint", "en"),
        interim_results=True,
        endpointing_ms=FLUX_PAUSE_MS,
        utterance_end_ms=None,
        vad_events=True,
        keyterms=tuple(query.getlist("keyterm")),
    )
    return FluxParams(hearing, checked_thresholds(query, Thresholds()))


def checked_thresholds(wanted: Mapping[str, Any], present: Thresholds) -> Thresholds:
    """These thresholds, where they are given, in place of the present ones. Raises `Refusal`."""
    eot = _within(wanted, "eot_threshold", 0.5, NEVER, present.eot)
    eager = _within(wanted, "eager_eot_threshold", 0.3, 0.9, present.eager_eot)
    timeout_ms = _within(wanted, "eot_timeout_ms", 500, 60_000, present.timeout_ms)
    assert eot is not None
    assert timeout_ms is not None
    if eager is not None and eager > eot:
        raise _bad(f"eager_eot_threshold must be at most eot_threshold ({eot:g}), got {eager:g}")
    return Thresholds(eot, eager, int(timeout_ms))


def _within(
    wanted: Mapping[str, Any], name: str, least: float, most: float, default: float | None
) -> float | None:
    value = wanted.get(name)
    if value is None:
        return default
    try:
        number = float(value)
    except (TypeError, ValueError):
        number = float("nan")
    if not least <= number <= most:
        raise _bad(f"{name} must be from {least:g} to {most:g}, got {value!r}")
    return number


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
