"""The conversation as it was: what the caller said, what the caller heard, what tools did.

A history is a list of items, each with its number. It is what the session keeps, what a resume starts from, and what
the model is shown: an assistant's message holds only words that were played to the caller, or still will be.
"""

import re
from enum import StrEnum
from typing import Any

import msgspec

from engine.messages import Playback, ToolCall, Usage
from engine.tools import wrong_arguments

MS_A_CHARACTER = (
    65.0  # speech of about 15 characters a second, where synthesis was cut before its length was known
)
NOT_THE_MODEL = -1  # the `request` of a sentence that the engine put into a reply by itself
_NOT_IN_A_NAME = re.compile(r"[^a-zA-Z0-9_-]")
GO_ON = "Go on after the words you have just said. Do not repeat them, and do not greet again."


class Cause(StrEnum):
    """Why a turn of the conversation began."""

    GREETING = "greeting"
    SPEECH = "speech"
    KEYS = "keys"
    PROMPT = "prompt"
    RESUMED = "resumed"


class Item(msgspec.Struct, tag=True, omit_defaults=True):
    """Base of all items."""

    turn: int


class TurnBegan(Item):
    """A turn: what the caller said or pressed, "" where the agent begins. `at`: wall time."""

    cause: Cause
    text: str
    at: float
    utterance: int = 0


class Said(Item):
    """One sentence of the agent's, and how much of it was heard. `at`: wall time of its first frame, 0: not yet."""

    index: int
    text: str
    request: int = 0
    state: Playback = Playback.QUEUED
    played_ms: float = 0.0
    audio_ms: float | None = None
    at: float = 0.0

    @property
    def settled(self) -> bool:
        """Whether its fate is known."""
        return self.state in (Playback.PLAYED, Playback.DROPPED)

    def heard(self) -> str:
        """The words that were played, or still will be; cut at a word, in proportion to time, when it was dropped."""
        if self.state is not Playback.DROPPED:
            return self.text
        whole_ms = self.audio_ms or len(self.text) * MS_A_CHARACTER
        return cut_at_word(self.text, self.played_ms / whole_ms if whole_ms else 0.0)

    @property
    def begun(self) -> bool:
        """Whether the caller has heard, or will hear, at least its first sounds."""
        return self.state is not Playback.DROPPED or self.played_ms > 0


class Called(Item):
    """Tools that the model asked for, in one reply."""

    request: int
    calls: tuple[ToolCall, ...]


class Returned(Item):
    """What one of them answered."""

    id: str
    result: str
    ok: bool
    unknown: bool = False  # whether it was done
    settled: tuple[str, ...] = ()  # ids of those that were unknown before, and no longer are


class ReplyDone(Item):
    """The model's reply to `request` is whole."""

    request: int
    usage: Usage


AnyItem = TurnBegan | Said | Called | Returned | ReplyDone


def cut_at_word(text: str, share: float) -> str:
    """The words of `text` that began and mostly sounded within its first `share` (0 to 1), by characters."""
    limit = len(text) * min(max(share, 0.0), 1.0)
    end = 0
    for word in re.finditer(r"\S+", text):
        if (word.start() + word.end()) / 2 > limit:
            break
        end = word.end()
    return text[:end]


def was_interrupted(items: list[AnyItem], turn: int) -> bool:
    """Whether a sentence of that turn was cut or dropped."""
    return any(
        isinstance(item, Said) and item.turn == turn and item.state is Playback.DROPPED for item in items
    )


def unanswered(items: list[AnyItem]) -> list[tuple[int, ToolCall]]:
    """Tool calls without a result, with their turns, in order."""
    done = {item.id for item in items if isinstance(item, Returned)}
    calls = [(item.turn, call) for item in items if isinstance(item, Called) for call in item.calls]
    return [(turn, call) for turn, call in calls if call.id not in done]


def reply_is_whole(items: list[AnyItem], turn: int) -> bool:
    """Whether the model's last word in that turn was an answer, not a call of tools."""
    last = next(
        (i for i in reversed(items) if i.turn == turn and isinstance(i, ReplyDone | Called | Returned)), None
    )
    return isinstance(last, ReplyDone)


def unfinished_turn(items: list[AnyItem]) -> int | None:
    """The turn whose reply a successor has to go on with: the last one, if the caller began it, its reply is not
    whole, and nothing of it was cut."""
    last = next((item for item in reversed(items) if isinstance(item, TurnBegan)), None)
    if last is None or last.cause not in (Cause.SPEECH, Cause.KEYS) or was_interrupted(items, last.turn):
        return None
    waits = any(turn == last.turn for turn, _ in unanswered(items))
    return last.turn if waits or not reply_is_whole(items, last.turn) else None


def spoken(items: list[AnyItem], before: int) -> tuple[str, ...]:
    """The agent's sentences that were begun before that turn, oldest first: what the caller had heard when they said
    what it answers. Each is whole: where one was cut is an estimate, and who may have heard a word is taken to have
    heard it."""
    said = (item for item in items if isinstance(item, Said))
    return tuple(item.text for item in said if item.turn < before and item.begun)


def model_messages(items: list[AnyItem]) -> list[dict[str, Any]]:
    """The history as chat messages. Every tool call is answered right after it, as the API demands.

    What the model said in one turn, up to its calls, is one assistant message, even when a request was broken off
    and another went on after it; what the engine put in by itself is another. A reply of which nothing was heard
    and that called nothing makes none.
    """
    messages: list[dict[str, Any]] = []
    results = {item.id: item for item in items if isinstance(item, Returned)}
    open_reply: dict[str, Any] | None = None
    ours = False
    calling: dict[str, Any] | None = None
    for item in items:
        if isinstance(item, TurnBegan):
            open_reply = calling = None
            if item.text:
                messages.append({"role": "user", "content": item.text})
        elif isinstance(item, Said) and item.heard():
            our_own = item.request == NOT_THE_MODEL
            if our_own and calling is not None:
                _add(calling, item.heard())  # said while the tools ran: the last message stays their result
            elif open_reply is None or ours is not our_own:
                open_reply, ours = {"role": "assistant", "content": item.heard()}, our_own
                messages.append(open_reply)
            else:
                _add(open_reply, item.heard())
        elif isinstance(item, Called):
            if open_reply is None or ours:
                open_reply, ours = {"role": "assistant", "content": None}, False
                messages.append(open_reply)
            calling, open_reply = open_reply, None
            calling["tool_calls"] = [_call(call) for call in item.calls]
            messages += [_result(call, results.get(call.id)) for call in item.calls]
    return messages


def going_on(messages: list[dict[str, Any]], said: list[str]) -> list[dict[str, Any]]:
    """The messages of a request whose reply broke off after these sentences: asks for the rest of it."""
    if not said:
        return messages
    partial = {"role": "assistant", "content": " ".join(said)}
    if messages[-1].get("content") == GO_ON:  # it went on after others already
        messages = messages[:-1]
        before = messages[-1]
        if before["role"] == "assistant" and before.get("content") and not before.get("tool_calls"):
            messages = messages[:-1]
            partial["content"] = f"{before['content']} {partial['content']}"
    return [*messages, partial, {"role": "system", "content": GO_ON}]


def _add(message: dict[str, Any], words: str) -> None:
    message["content"] = f"{message['content']} {words}" if message["content"] else words


def _call(call: ToolCall) -> dict[str, Any]:
    """A model may have named or filled in what no tool takes: it was told so, but a server that is shown it again
    refuses the whole request (OpenAI checks names, vLLM reads arguments)."""
    name = _NOT_IN_A_NAME.sub("_", call.name)[:64] or "unknown"
    arguments = call.arguments if not wrong_arguments(call.arguments) else "{}"
    return {"id": call.id, "type": "function", "function": {"name": name, "arguments": arguments or "{}"}}


def _result(call: ToolCall, returned: Returned | None) -> dict[str, Any]:
    content = returned.result if returned else '{"error": "no result was recorded"}'
    return {"role": "tool", "tool_call_id": call.id, "content": content}
