"""A reply as pieces, and the pieces as OpenAI's server-sent events.

Source: OpenAI, "Streaming responses"; SDK `types/chat/chat_completion_chunk.py`, `types/completion_usage.py`.
"""

import json
import secrets
import time
from collections.abc import Iterator
from typing import Any

import msgspec

FRAGMENT = 9  # characters of a tool call's arguments in one chunk


class Text(msgspec.Struct, frozen=True):
    """Words of the reply, sent as one delta."""

    text: str


class Call(msgspec.Struct, frozen=True):
    """One whole tool call; `arguments` is JSON text. An empty `id` is filled in."""

    name: str
    arguments: str
    id: str = ""


class Finish(msgspec.Struct, frozen=True):
    """Overrides the finish_reason, e.g. "length"."""

    reason: str


Piece = Text | Call | Finish


def tokens_of(text: str) -> int:
    """About how many tokens a text has: four characters each, as English has on average."""
    return (len(text) + 3) // 4


class Chunks:
    """Turns the pieces of one reply into the bytes of server-sent events, or into one completion."""

    def __init__(self, model: str, request: dict[str, Any]) -> None:
        options = request.get("stream_options") or {}
        self._usage = bool(options.get("include_usage"))
        self._padded = options.get("include_obfuscation", True) is not False
        self._head = {"id": f"chatcmpl-{secrets.token_hex(12)}", "created": int(time.time()), "model": model}
        self._prompt = tokens_of(json.dumps(request["messages"]) + json.dumps(request.get("tools") or ""))
        self._begun = False
        self._finish = ""
        self.text = ""
        self.calls: list[dict[str, Any]] = []

    def of(self, piece: Piece) -> bytes:
        """The events of one piece, the role chunk before the first."""
        return b"".join(self._event(delta) for delta in self._deltas(piece))

    def _deltas(self, piece: Piece) -> Iterator[dict[str, Any]]:
        role = {} if self._begun else {"role": "assistant", "refusal": None}
        self._begun = True
        if isinstance(piece, Finish):
            self._finish = piece.reason
        elif isinstance(piece, Text):
            self.text += piece.text
            if role:
                yield role | {"content": ""}
            yield {"content": piece.text}
        else:
            index, call_id = len(self.calls), piece.id or f"call_{secrets.token_hex(12)}"
            call = {"id": call_id, "type": "function", "function": {"name": piece.name, "arguments": ""}}
            yield (role | {"content": None} if role else {}) | {"tool_calls": [{"index": index, **call}]}
            for at in range(0, len(piece.arguments), FRAGMENT):
                part = {"index": index, "function": {"arguments": piece.arguments[at : at + FRAGMENT]}}
                yield {"tool_calls": [part]}
            self.calls.append(call | {"function": {"name": piece.name, "arguments": piece.arguments}})

    def _event(self, delta: dict[str, Any], finish: str | None = None) -> bytes:
        choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish}
        chunk = self._head | {"object": "chat.completion.chunk", "choices": [choice]}
        if self._usage:
            chunk["usage"] = None
        if self._padded and delta:
            chunk["obfuscation"] = secrets.token_hex(1 + secrets.randbelow(6))
        return sse(chunk)

    def end(self) -> bytes:
        """The finish_reason, the usage if it was asked for, and [DONE]."""
        events = [self._event({}, self._reason())]
        if self._usage:
            whole = {"object": "chat.completion.chunk", "choices": [], "usage": self._tokens()}
            events.append(sse(self._head | whole))
        return b"".join([*events, b"data: [DONE]\n\n"])

    def completion(self) -> dict[str, Any]:
        """The whole reply as one body, for requests that don't stream."""
        message: dict[str, Any] = {"role": "assistant", "content": self.text or None, "refusal": None}
        if self.calls:
            message["tool_calls"] = self.calls
        elif message["content"] is None:
            message["content"] = ""
        choice = {"index": 0, "message": message, "logprobs": None, "finish_reason": self._reason()}
        return self._head | {"object": "chat.completion", "choices": [choice], "usage": self._tokens()}

    def _reason(self) -> str:
        return self._finish or ("tool_calls" if self.calls else "stop")

    def _tokens(self) -> dict[str, Any]:
        completion = tokens_of(self.text) + sum(tokens_of(json.dumps(c["function"])) for c in self.calls)
        return {
            "prompt_tokens": self._prompt,
            "completion_tokens": completion,
            "total_tokens": self._prompt + completion,
            "prompt_tokens_details": {"cached_tokens": 0, "audio_tokens": 0},
            "completion_tokens_details": {"reasoning_tokens": 0, "audio_tokens": 0},
        }


def sse(data: dict[str, Any]) -> bytes:
    """One server-sent event."""
    return b"data: " + json.dumps(data, separators=(",", ":")).encode() + b"\n\n"
