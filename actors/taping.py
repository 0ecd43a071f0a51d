"""Puts a call's control plane on tape: what reaches and leaves its CallActor, the model's pieces, Redis's answers.

dir      peer                      message
in       call                      what the CallActor took from its mailbox, in that order
out      stream media stt tools    what it told
model    asked | piece             Respond as it was sent; ModelDelta, ModelDone as they came
redis    take | write              the outcome
"""

import dataclasses
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import msgspec

from actors.call import CallActor
from actors.llm import Model
from actors.parts import CallPorts
from engine.actor import Taped
from engine.messages import (
    Message,
    ModelDelta,
    ModelDone,
    Respond,
    SessionTaken,
    SessionWritten,
    Start,
    TapedSettings,
)
from engine.record import Store
from engine.session import Order, Stored, Written
from engine.settings import Settings
from engine.tape import TapeWriter

CONVERSATION_SETTINGS = (
    "barge_in_min_words",
    "backchannels",
    "silence_prompt_s",
    "silence_prompts",
    "filler_s",
    "filler_again_s",
    "llm_budget_s",
    "llm_reply_s",
    "llm_first_token_s",
    "llm_pause_s",
    "llm_attempts",
    "max_call_s",
    "tool_timeout_s",
    "tool_calls_per_turn",
    "max_tool_calls",
    "transfer_number",
)
"""What a conversation depends on. Nothing secret is among it: tapes are shown to people."""


class _TapedStore:
    def __init__(self, store: Store, tape: TapeWriter) -> None:
        self._store = store
        self._tape = tape

    async def take(self, call: str, last_epoch: int) -> Stored:
        stored = await self._store.take(call, last_epoch)
        self._tape.record("redis", "take", SessionTaken(msgspec.json.encode(stored).decode()))
        return stored

    async def write(self, call: str, order: Order, fields: dict[str, bytes]) -> Written:
        outcome = await self._store.write(call, order, fields)
        self._tape.record("redis", "write", SessionWritten(outcome.value))
        return outcome


class _TapedModel:
    def __init__(self, model: Model, tape: TapeWriter) -> None:
        self._model = model
        self._tape = tape

    async def stream(self, ask: Respond) -> AsyncIterator[ModelDelta | ModelDone]:
        self._tape.record("model", "asked", ask)
        async for piece in self._model.stream(ask):
            self._tape.record("model", "piece", piece)
            yield piece


def make_taped_call(start: Start, ports: CallPorts, settings: Settings, directory: Path) -> CallActor:
    """A CallActor whose call is recorded in `directory`, in a file named for it."""
    tape = TapeWriter(directory / f"{start.info.call}.jsonl", start.info.call)
    tape.start()
    tape.record("tape", "settings", taped_settings(settings, ports))
    tape.record("tape", "start", start)

    def out(peer: str) -> Callable[[Message], None]:
        return lambda message: tape.record("out", peer, message)

    taped = dataclasses.replace(
        ports,
        stream=Taped(ports.stream, out("stream")),
        media=Taped(ports.media, out("media")),
        stt=Taped(ports.stt, out("stt")),
        tools=lambda call: Taped(ports.tools(call), out("tools")),
        store=_TapedStore(ports.store, tape),
        model=_TapedModel(ports.model, tape),
    )
    actor = _TapedCall(start, taped, settings)
    actor.tape = tape
    actor.observe = lambda message: tape.record("in", "call", message)
    return actor


class _TapedCall(CallActor):
    """A CallActor that closes its tape at its end."""

    tape: TapeWriter

    async def stopped(self) -> None:
        await self.tape.close()


def taped_settings(settings: Settings, ports: CallPorts) -> TapedSettings:
    """What a replay needs to know beside the messages."""
    values = {name: getattr(settings, name) for name in CONVERSATION_SETTINGS}
    tools = [msgspec.to_builtins(spec) for spec in ports.specs]
    return TapedSettings(values, tools, ports.context.greeting, ports.context.prompt)
