"""LlmActor: the model's stream, cut into sentences and tool calls.

Told:  by Call   Respond, Cancel
       by model  ModelDelta, ModelDone (its decoded stream: a tape's lower edge)
Tells: Call      Sentence, ToolCalls, ReplyEnded, ReplyFailed
"""

import asyncio
from collections.abc import AsyncIterator
from typing import Any, Protocol

from engine.actor import Actor, Ref
from engine.clock import wall
from engine.messages import (
    Cancel,
    Down,
    ModelDelta,
    ModelDone,
    ReplyEnded,
    ReplyFailed,
    Respond,
    Sentence,
    Timings,
    ToolCall,
    ToolCalls,
    Usage,
)
from engine.sentences import SentenceCutter

CHARACTERS_A_TOKEN = 4  # of English (OpenAI): for the usage of a stream that was cut


class Model(Protocol):
    """A source of replies; `engine.vendors.openai.ChatModel` is the real one."""

    def stream(self, ask: Respond) -> AsyncIterator[ModelDelta | ModelDone]:
        """One reply. Its last piece is a `ModelDone`; cancelling the reader closes the connection."""


class _Reply:
    """One request under way."""

    def __init__(self, ask: Respond) -> None:
        self.ask = ask
        self.cutter = SentenceCutter()
        self.index = ask.first_index
        self.calls: dict[int, dict[str, str]] = {}
        self.characters = 0
        self.asked_at = wall()
        self.first_token_at = 0.0
        self.first_sentence_at = 0.0

    def timings(self) -> Timings:
        return Timings(self.asked_at, self.first_token_at, self.first_sentence_at)

    def estimate(self) -> Usage:
        """The tokens of a reply that was cut: the API gives no usage for it."""
        asked = sum(len(str(message.get("content") or "")) for message in self.ask.messages)
        return Usage(
            asked // CHARACTERS_A_TOKEN, 0, -(-self.characters // CHARACTERS_A_TOKEN), estimated=True
        )


class LlmActor(Actor):
    """Asks the model, one request at a time."""

    def __init__(self, model: Model, call: Ref, epoch: int) -> None:
        super().__init__()
        self._epoch = epoch
        self._model = model
        self._call = call
        self._reply: _Reply | None = None
        self._streaming: asyncio.Task[None] | None = None

    async def receive(self, message: Any) -> None:
        match message:
            case Respond():
                self._drop("replaced by a newer request")
                self._reply = _Reply(message)
                self._streaming = self.work(self._stream(message), f"stream-{message.request}")
            case Cancel(request):
                if self._reply is not None and self._reply.ask.request == request:
                    self._drop("cancelled")
            case ModelDelta(request) if self._reply is not None and request == self._reply.ask.request:
                self._delta(self._reply, message)
            case ModelDone(request) if self._reply is not None and request == self._reply.ask.request:
                self._done(self._reply, message)
            case Down(job, reason) if self._reply is not None:
                if job == f"stream-{self._reply.ask.request}":
                    self._fail(self._reply, reason)

    async def _stream(self, ask: Respond) -> None:
        pieces = self._model.stream(ask)
        try:
            async for piece in pieces:
                self.tell(piece)
        finally:
            close = getattr(pieces, "aclose", None)
            if close is not None:
                await close()

    def _drop(self, why: str) -> None:
        reply, self._reply = self._reply, None
        if self._streaming is not None:
            self._streaming.cancel()
            self._streaming = None
        if reply is not None:
            self._call.tell(ReplyFailed(reply.ask.request, why, reply.estimate(), reply.timings()))

    # --- the reply

    def _delta(self, reply: _Reply, delta: ModelDelta) -> None:
        reply.first_token_at = reply.first_token_at or wall()
        reply.characters += len(delta.text) + len(delta.tool_arguments)
        if delta.text:
            self._say(reply, reply.cutter.feed(delta.text))
        if delta.tool_index >= 0:
            call = reply.calls.setdefault(delta.tool_index, {"name": "", "arguments": ""})
            call["name"] = call["name"] or delta.tool_name
            call["arguments"] += delta.tool_arguments

    def _say(self, reply: _Reply, sentences: list[str]) -> None:
        for text in sentences:
            reply.first_sentence_at = reply.first_sentence_at or wall()
            self._call.tell(Sentence(reply.ask.request, reply.index, text))
            reply.index += 1

    def _done(self, reply: _Reply, done: ModelDone) -> None:
        if done.finish == "error":
            self._fail(reply, done.why)
            return
        self._reply = self._streaming = None
        self._say(reply, reply.cutter.flush())
        request = reply.ask.request
        if reply.calls:  # ids of our own: some servers repeat theirs, and a key must name one call for ever
            calls = tuple(
                ToolCall(f"call_{self._epoch}_{request}_{place}", call["name"], call["arguments"])
                for place, call in sorted(reply.calls.items())
            )
            self._call.tell(ToolCalls(request, calls))
        usage = done.usage if done.usage.prompt else reply.estimate()
        self._call.tell(ReplyEnded(request, usage, reply.timings(), done.model))

    def _fail(self, reply: _Reply, why: str) -> None:
        self._reply = self._streaming = None
        self._call.tell(ReplyFailed(reply.ask.request, why, reply.estimate(), reply.timings()))
