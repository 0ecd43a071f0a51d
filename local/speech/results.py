"""Listen v1's server messages as JSON objects, in the shapes of Deepgram's AsyncAPI description."""

from datetime import datetime
from typing import Any

from local.speech.ports import Completed, Interim

_CONFIDENCE = 0.99


def result(
    request_id: str,
    model: str,
    heard: Interim | Completed,
    span_start_s: float,
    *,
    is_final: bool,
    speech_final: bool,
    from_finalize: bool,
) -> dict[str, Any]:
    """A `Results`: covers from the last final's end to the end of these words, in seconds of audio."""
    return {
        "type": "Results",
        "channel_index": [0, 1],
        "start": round(span_start_s, 3),
        "duration": round(max(0.0, heard.end_s - span_start_s), 3),
        "is_final": is_final,
        "speech_final": speech_final,
        "from_finalize": from_finalize,
        "channel": {
            "alternatives": [
                {
                    "transcript": heard.text,
                    "confidence": _CONFIDENCE if heard.text else 0.0,
                    "words": words(heard.text, heard.start_s, heard.end_s),
                }
            ]
        },
        "metadata": {
            "request_id": request_id,
            "model_info": {"name": model, "version": "local", "arch": "local"},
            "model_uuid": request_id,
        },
    }


def metadata(request_id: str, sha256: str, created: datetime, duration_s: float) -> dict[str, Any]:
    """The `Metadata` that ends a stream."""
    return {
        "type": "Metadata",
        "transaction_key": "deprecated",
        "request_id": request_id,
        "sha256": sha256,
        "created": created.isoformat(timespec="milliseconds").replace("+00:00", "Z"),
        "duration": round(duration_s, 3),
        "channels": 1,
    }


def error(variant: str, description: str, message: str) -> dict[str, Any]:
    """The answer to a text message that makes no sense; the stream goes on."""
    return {"type": "Error", "variant": variant, "description": description, "message": message}


def words(text: str, start_s: float, end_s: float) -> list[dict[str, Any]]:
    """The words of a text spoken between these times. Recognisers behind the port don't time them: each gets its
    share by length.
    """
    spoken = text.split()
    share = (end_s - start_s) / max(1, sum(map(len, spoken)))
    timed, at = [], start_s
    for word in spoken:
        until = at + share * len(word)
        timed.append(
            {
                "word": word.strip(".,?!").lower(),
                "start": round(at, 3),
                "end": round(until, 3),
                "confidence": _CONFIDENCE,
                "punctuated_word": word,
            }
        )
        at = until
    return timed
