"""What a CallActor has beside its tools, simulated: session, telephone, and a log that keeps nothing."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import msgspec

from engine.actor import Actor
from engine.calllog import CallLog
from engine.callrows import Entry
from engine.history import AnyItem
from engine.messages import Attach, Attached, LedgerEntry, Playback, Speak, SpeechPlayed, TurnEnded, Utterance
from engine.session import Meta, Order, Stored, Written
from tests.crm.spoken import claims


class Sessions:
    """A call's session (`engine.record.Store`): one, fenced by epochs."""

    def __init__(self, step: Callable[[], Awaitable[None]], takes_s: Callable[[], float]) -> None:
        self._step = step
        self._takes_s = takes_s
        self._epoch = self._writes = 0
        self._fields: dict[str, bytes] = {}

    async def take(self, call: str, last_epoch: int) -> Stored:
        await asyncio.sleep(self._takes_s())
        self._epoch = max(self._epoch, last_epoch) + 1
        self._writes += 1
        meta = msgspec.json.decode(self._fields.get("meta", b"{}"), type=Meta)
        items = {
            int(name.partition(":")[2]): msgspec.json.decode(value, type=AnyItem)
            for name, value in self._fields.items()
            if name.startswith("item:")
        }
        return Stored(
            self._epoch, None, None, meta, items, self._fields.get("next", b"").decode(), 0.0, self._writes
        )

    async def write(self, call: str, order: Order, fields: dict[str, bytes]) -> Written:
        await self._step()
        await asyncio.sleep(self._takes_s())
        if order.epoch != self._epoch:
            return Written.FENCED
        self._writes = order.number
        self._fields |= fields
        await asyncio.sleep(self._takes_s())
        return Written.OK


class Telephone:
    """The caller's end: plays what it is told, keeps what was heard, and holds what was said until it is taken."""

    def __init__(self) -> None:
        self.line: Line | None = None
        self.ledger: list[LedgerEntry] = []
        self.said: list[Utterance] = []
        self._free_s = 0.0
        self._news = self._utterances = 0
        self.heard: list[str] = []

    def attached(self, line: "Line", attach: Attach) -> Attached:
        """From now on that line has the call."""
        self.line = line
        self.said = [one for one in self.said if one.utterance >= attach.next_utterance]
        return Attached(attach.epoch, "MZ1", tuple(self.said), tuple(self.ledger), (), 0.0)

    def speak(self, speak: Speak) -> None:
        """Plays a sentence after those before it."""
        if any((one.turn, one.index) == (speak.turn, speak.index) for one in self.ledger):
            return
        loop = asyncio.get_running_loop()
        begins_s = max(loop.time() + 0.1, self._free_s)
        self._free_s = begins_s + 0.2
        self.ledger.append(LedgerEntry(speak.turn, speak.index, speak.text, Playback.QUEUED, 0.0, None, 0.0))
        place = len(self.ledger) - 1
        loop.call_at(begins_s, self._playing, place, Playback.PLAYING)
        loop.call_at(self._free_s, self._playing, place, Playback.PLAYED)

    def _playing(self, place: int, state: Playback) -> None:
        done = state is Playback.PLAYED
        one = msgspec.structs.replace(
            self.ledger[place], state=state, played_ms=200.0 if done else 0.0, audio_ms=200.0, at=1.0
        )
        self.ledger[place] = one
        if done:
            self.heard.append(one.text)
        self._news += 1
        if self.line is not None:
            self.line.actor.tell(
                SpeechPlayed(self._news, one.turn, one.index, state, one.played_ms, one.audio_ms, one.at)
            )

    def say(self, text: str) -> None:
        """The caller says something."""
        self._utterances += 1
        self.said.append(Utterance(self._utterances, text, True, 0.0))
        if self.line is not None:
            self.line.actor.tell(TurnEnded(self._utterances, text, 1.0, 1.0))

    @property
    def told(self) -> list[tuple[str, int]]:
        """What was claimed in what was heard."""
        return claims(" ".join(self.heard))


class Line:
    """What one CallActor tells of; of one that was replaced nothing comes through."""

    actor: Actor

    def __init__(self, telephone: Telephone) -> None:
        self._telephone = telephone

    def tell(self, message: Any) -> None:
        if isinstance(message, Attach):
            self.actor.tell(self._telephone.attached(self, message))
        elif isinstance(message, Speak) and self._telephone.line is self:
            self._telephone.speak(message)


class NoLog(CallLog):
    """Keeps nothing."""

    def __init__(self) -> None: ...

    def write(self, entry: Entry) -> None: ...
