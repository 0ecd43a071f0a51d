"""LlmActor: the model's stream, cut into sentences and tool calls.

Told:  by Call   Respond, Cancel
       by model  ModelDelta, ModelDone (its decoded stream: a tape's lower edge)
Tells: Call      Sentence, ToolCalls, AttemptFailed, ReplyEnded, ReplyFailed

A reply may take several attempts (`engine/attempts.py` decides). An attempt that failed leaves nothing behind but its
whole sentences: half a sentence and tools that it had begun to call are dropped, and the next one goes on after what
was told.
"""

import asyncio
import random
from collections.abc import AsyncIterator
from typing import Any, Protocol

import msgspec

from engine import phrases
from engine.actor import Actor, Ref
from engine.attempts import Attempts, Patience
from engine.clock import EARLY_S, now, wall
from engine.history import going_on
from engine.messages import (
    AttemptFailed,
    Cancel,
    Down,
    Failure,
    ModelDelta,
    ModelDone,
    ReplyEnded,
    ReplyFailed,
    Respond,
    Sentence,
    Tick,
    Timings,
    ToolCall,
    ToolCalls,
    Trouble,
    Usage,
)
from engine.overlong import NAME_MOST, OVERLONG
from engine.sentences import SentenceCutter, is_whole
from engine.text import well_formed

CHARACTERS_A_TOKEN = 4  # of English (OpenAI): for the usage of a stream that was cut


class Model(Protocol):
    """A source of replies; `engine.models.RoutedModel` is the real one."""

    def stream(self, ask: Respond) -> AsyncIterator[ModelDelta | ModelDone]:
        """One attempt at a reply. Its last piece is a `ModelDone`; cancelling the reader closes the connection."""


class _Reply:
    """One request under way, in its present attempt."""

    def __init__(self, ask: Respond, attempts: Attempts) -> None:
        self.ask = ask
        self.attempts = attempts
        self.avoid = ""
        self.told: list[str] = []
        self.usage = Usage()  # of the attempts that failed
        self.asked_at = wall()
        self.first_token_at = 0.0
        self.first_sentence_at = 0.0
        self.number = 0

    def begin(self) -> Respond:
        """A new attempt: nothing is left of the last one but what was told."""
        self.number += 1
        self.cutter = SentenceCutter()
        self.calls: dict[int, dict[str, str]] = {}
        self.characters = 0
        self.before = frozenset(self.told)
        return msgspec.structs.replace(
            self.ask, messages=going_on(self.ask.messages, self.told), avoid=self.avoid
        )

    @property
    def job(self) -> str:
        """The name of its present stream."""
        return f"stream-{self.ask.request}-{self.number}"

    def timings(self) -> Timings:
        return Timings(self.asked_at, self.first_token_at, self.first_sentence_at)

    def estimate(self) -> Usage:
        """The tokens of an attempt that was cut: the API gives no usage for it."""
        asked = sum(len(str(message.get("content") or "")) for message in self.ask.messages)
        return Usage(
            asked // CHARACTERS_A_TOKEN, 0, -(-self.characters // CHARACTERS_A_TOKEN), estimated=True
        )


class LlmActor(Actor):
    """Asks the model, for one reply at a time. `seed` makes the pauses between attempts repeatable."""

    def __init__(self, model: Model, call: Ref, epoch: int, patience: Patience, seed: str = "") -> None:
        super().__init__()
        self._epoch = epoch
        self._model = model
        self._call = call
        self._patience = patience
        self._seed = seed
        self._reply: _Reply | None = None
        self._streaming: asyncio.Task[None] | None = None

    async def receive(self, message: Any) -> None:
        match message:
            case Respond():
                self._drop("replaced by a newer request")
                self._begin(message)
            case Cancel(request):
                if self._asked(request) is not None:
                    self._drop("cancelled")
            case ModelDelta(request):
                if (reply := self._asked(request)) is not None:
                    self._delta(reply, message)
            case ModelDone(request):
                if (reply := self._asked(request)) is not None:
                    self._done(reply, message)
            case Tick("again", request):
                if (reply := self._asked(request)) is not None:
                    self._ask(reply)
            case Tick("due", request):
                if (reply := self._asked(request)) is not None:
                    self._look(reply)
            case Down(job, reason) if self._reply is not None and job == self._reply.job:
                self._failed(self._reply, reason, Failure())

    def _asked(self, request: int) -> _Reply | None:
        reply = self._reply
        return reply if reply is not None and reply.ask.request == request else None

    # --- attempts

    def _begin(self, ask: Respond) -> None:
        chance = random.Random(f"{self._seed}{self._epoch}.{ask.request}")
        self._reply = _Reply(ask, Attempts(self._patience, now(), chance))
        self._ask(self._reply)
        self._look(self._reply)

    def _ask(self, reply: _Reply) -> None:
        ask = reply.begin()
        self._streaming = self.work(self._stream(ask), reply.job)

    async def _stream(self, ask: Respond) -> None:
        pieces = self._model.stream(ask)
        try:
            async for piece in pieces:
                self.tell(piece)
        finally:
            close = getattr(pieces, "aclose", None)
            if close is not None:
                await close()

    def _look(self, reply: _Reply) -> None:
        """Gives the reply up if the caller has waited long enough, else looks again when that will be so."""
        left_s = reply.attempts.due_s - now()
        if left_s > EARLY_S:
            self.after(left_s, Tick("due", reply.ask.request))
        else:
            self._drop("nothing more was said in time")

    def _failed(self, reply: _Reply, why: str, failure: Failure) -> None:
        again = reply.attempts.failed(now(), failure, broke=reply.characters > 0)
        if again is None:
            self._drop(why)
            return
        self._call.tell(AttemptFailed(reply.ask.request, why, failure.route))
        reply.usage += reply.estimate()
        reply.avoid = failure.route if again.elsewhere else reply.avoid
        self._streaming = None
        if again.pause_s:
            self.after(again.pause_s, Tick("again", reply.ask.request))
        else:
            self._ask(reply)

    def _drop(self, why: str) -> None:
        reply, self._reply = self._reply, None
        if self._streaming is not None:
            self._streaming.cancel()
            self._streaming = None
        if reply is not None:
            usage = reply.usage + reply.estimate()
            self._call.tell(ReplyFailed(reply.ask.request, why, usage, reply.timings()))

    # --- the reply

    def _delta(self, reply: _Reply, delta: ModelDelta) -> None:
        reply.first_token_at = reply.first_token_at or wall()
        reply.characters += len(delta.text) + len(delta.tool_arguments)
        if delta.text:
            self._say(reply, reply.cutter.feed(well_formed(delta.text)))
        if delta.tool_index >= 0:
            call = reply.calls.setdefault(delta.tool_index, {"name": "", "arguments": ""})
            call["name"] = call["name"] or delta.tool_name
            call["arguments"] += delta.tool_arguments

    def _say(self, reply: _Reply, sentences: list[str]) -> None:
        for text in sentences:
            if text in reply.before:
                continue  # it was asked to go on after that, and says it again
            reply.first_sentence_at = reply.first_sentence_at or wall()
            reply.attempts.told(now())
            index = reply.ask.first_index + len(reply.told)
            reply.told.append(text)
            self._call.tell(Sentence(reply.ask.request, index, text))

    def _done(self, reply: _Reply, done: ModelDone) -> None:
        if done.finish == "error":
            self._failed(reply, done.why, done.failure)
            return
        self._last_words(reply, done.finish)
        if reply.calls and not reply.ask.tools:
            self._useless(reply, done, Trouble.UNFIT, "it called tools although none were offered")
            return
        if not (reply.calls or reply.told or reply.ask.maybe_whole):
            again = Trouble.UNFIT if done.finish == "length" else Trouble.PASSING
            self._useless(reply, done, again, "the model said nothing")
            return
        self._reply = self._streaming = None
        request = reply.ask.request
        if reply.calls:  # ids of our own: some servers repeat theirs, and a key must name one call for ever
            calls = tuple(
                ToolCall(
                    f"call_{self._epoch}_{request}_{place}",
                    well_formed(call["name"])[:NAME_MOST],
                    OVERLONG if done.finish == OVERLONG else well_formed(call["arguments"]),
                )
                for place, call in sorted(reply.calls.items())
            )
            self._call.tell(ToolCalls(request, calls))
        usage = reply.usage + (done.usage if done.usage.prompt else reply.estimate())
        self._call.tell(ReplyEnded(request, usage, reply.timings(), done.model, done.fallback))

    def _useless(self, reply: _Reply, done: ModelDone, trouble: Trouble, why: str) -> None:
        """The attempt ended well, but there is nothing in it."""
        self._failed(reply, why, msgspec.structs.replace(done.failure, trouble=trouble))

    def _last_words(self, reply: _Reply, finish: str) -> None:
        """The rest of a whole reply; of one that was cut short, what says so in place of half a sentence."""
        rest = reply.cutter.flush()
        if finish == "content_filter":
            reply.calls.clear()
            if reply.told:
                rest = [phrases.FILTERED_MORE if is_whole(reply.told[-1]) else phrases.FILTERED_MIDWAY]
            else:
                rest = [phrases.FILTERED]
        elif finish == "length":
            reply.calls.clear()
            if not all(map(is_whole, rest or reply.told[-1:])):
                rest = [phrases.SHALL_I_GO_ON] if reply.told else []
        self._say(reply, rest)
