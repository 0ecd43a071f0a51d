"""A call's record as its CallActor holds it: the history and counters, written to the session under its epoch."""

import itertools
import logging
from collections.abc import Iterator
from typing import Protocol

import msgspec

from engine.clock import wall
from engine.history import AnyItem, Called, Item, Returned, Said
from engine.messages import LedgerEntry, Playback, SpeechPlayed, ToolCall
from engine.session import Order, Stored, Written, item_field
from engine.telemetry import count

log = logging.getLogger("engine.record")

FIELDS_LIMIT = 1000  # of one write: Lua hands a command no more than about 8,000 words


class Fenced(Exception):
    """A newer epoch has the call: whoever holds this record must stop, silently."""


class Store(Protocol):
    """Where sessions are kept; `engine.session.SessionStore` is the real one."""

    async def take(self, call: str, last_epoch: int) -> Stored:
        """Takes the next epoch and reads the session."""

    async def write(self, call: str, order: Order, fields: dict[str, bytes]) -> Written:
        """Writes fields, unless others are gone that were written before."""


class CallRecord:
    """What is known of one call. Change it, then `save`: nothing is acted on before it is saved."""

    def __init__(self, store: Store, call: str, stored: Stored) -> None:
        self._store = store
        self.call = call
        self.epoch = stored.epoch
        self.meta = stored.meta
        self.next = self._stored_next = stored.next
        self._broken_at = stored.broken_at
        self._info, self._context = stored.info, stored.context
        self._number = self._since = stored.writes
        self._items = dict(sorted(stored.items.items()))
        self._numbers = {id(item): number for number, item in self._items.items()}
        self._dirty: dict[str, bytes] = {}
        self.protected = True

    # --- the history

    @property
    def items(self) -> list[AnyItem]:
        """The history, in order."""
        return list(self._items.values())

    def add(self, item: AnyItem) -> None:
        """Puts an item at the end."""
        number = max(self._items, default=0) + 1
        self._items[number] = item
        self._numbers[id(item)] = number
        self.changed(item)

    def changed(self, item: Item) -> None:
        """An item of the history was changed."""
        self._dirty[item_field(self._numbers[id(item)])] = msgspec.json.encode(item)

    def sentence(self, turn: int, index: int) -> Said | None:
        """That sentence of the agent's, if it is in the history."""
        return next((s for s in self.sentences(turn) if s.index == index), None)

    def sentences(self, turn: int) -> Iterator[Said]:
        """The agent's sentences in that turn."""
        return (item for item in self._items.values() if isinstance(item, Said) and item.turn == turn)

    def unsettled(self) -> list[Said]:
        """Sentences that are queued or playing."""
        return [item for item in self._items.values() if isinstance(item, Said) and not item.settled]

    def next_index(self, turn: int) -> int:
        """One past the highest index of that turn."""
        return max((sentence.index for sentence in self.sentences(turn)), default=-1) + 1

    def called(self, turn: int) -> list[tuple[ToolCall, ...]]:
        """The tools that were called in that turn, by each reply that called some."""
        return [item.calls for item in self._items.values() if isinstance(item, Called) and item.turn == turn]

    def calls_made(self) -> int:
        """How many calls of tools there were."""
        return sum(len(item.calls) for item in self._items.values() if isinstance(item, Called))

    def has_result(self, call_id: str) -> bool:
        """Whether that tool call has its result."""
        return any(isinstance(item, Returned) and item.id == call_id for item in self._items.values())

    def unknown(self) -> list[str]:
        """The ids of tool calls of which it is not known, by now, whether they were done."""
        returned = [item for item in self._items.values() if isinstance(item, Returned)]
        settled = {id for item in returned for id in item.settled}
        return [item.id for item in returned if item.unknown and item.id not in settled]

    # --- the stream, and what was heard in it

    def attach(self, stream: str, ledger: tuple[LedgerEntry, ...]) -> bool:
        """The call begins, or goes on, in `stream`, whose Media holds this ledger; whether another stream was lost."""
        meta = self.meta
        new_stream = meta.stream != stream
        lost_another = new_stream and bool(meta.stream)
        if new_stream:
            meta.stream = stream
            meta.answered_at = meta.answered_at or wall()
            meta.ending, meta.ended_at = "", 0.0
        if lost_another:
            self._settle_by_clock()
        self._merge(ledger)
        return lost_another

    def _merge(self, ledger: tuple[LedgerEntry, ...]) -> None:
        """What Media's ledger knows: of sentences whose fate is not known here, and of some that are not here at all
        (Redis was away). No number of theirs is given again."""
        for entry in ledger:
            sentence = self.sentence(entry.turn, entry.index)
            if sentence is None:
                sentence = Said(entry.turn, entry.index, entry.text)
                self.add(sentence)
            if not sentence.settled:
                self.heard(sentence, entry)
            self.meta.turn = max(self.meta.turn, entry.turn)

    def heard(self, sentence: Said, played: LedgerEntry | SpeechPlayed) -> None:
        """Playback's news of a sentence."""
        sentence.state, sentence.played_ms = played.state, played.played_ms
        sentence.audio_ms, sentence.at = played.audio_ms, played.at
        self.changed(sentence)

    def _settle_by_clock(self) -> None:
        """The stream is gone and its ledger with it: heard is what was written, plus the clock until it broke."""
        broken_at = self._broken_at
        for sentence in self.unsettled():
            if sentence.state is Playback.PLAYING and sentence.at and broken_at:
                sentence.played_ms = max(sentence.played_ms, (broken_at - sentence.at) * 1000)
                if sentence.audio_ms is not None:
                    sentence.played_ms = min(sentence.played_ms, sentence.audio_ms)
            sentence.state = Playback.DROPPED
            self.changed(sentence)

    # --- the session

    async def save(self) -> None:
        """Writes all changes. Raises `Fenced`. While Redis is away changes are kept for the next write; all that was
        written before is written again if it is gone.
        """
        outcome = await self._write_changes()
        if outcome is Written.LOST:
            count("sessions_lost")
            log.warning("session of %s was lost, and is written again", self.call)
            self._forget_written()
            outcome = await self._write_changes()
        if outcome is Written.FENCED:
            raise Fenced(f"{self.call}: epoch {self.epoch} is over")
        self.protected = outcome is Written.OK
        if not self.protected:
            count("session_writes_unprotected")

    async def _write_changes(self) -> Written:
        fields = dict(self._dirty)
        fields["meta"] = msgspec.json.encode(self.meta)
        if self.next != self._stored_next:  # else it stays as it is: the stream may have given the call up
            fields["next"] = self.next.encode()
        for part in _parts(fields):
            self._number += 1
            outcome = await self._store.write(self.call, Order(self.epoch, self._number, self._since), part)
            if outcome is not Written.OK:
                return outcome
            self._since = self._number
        self._stored_next = fields.get("next", self._stored_next.encode()).decode()
        self._dirty = {name: value for name, value in self._dirty.items() if fields.get(name) != value}
        return Written.OK

    def _forget_written(self) -> None:
        """Nothing is taken for written."""
        self._since, self._stored_next = 0, ""
        self._dirty = {item_field(n): msgspec.json.encode(item) for n, item in self._items.items()}
        for name, value in (("info", self._info), ("context", self._context)):
            if value is not None:
                self._dirty[name] = msgspec.json.encode(value)


def _parts(fields: dict[str, bytes]) -> Iterator[dict[str, bytes]]:
    left = iter(fields.items())
    while part := dict(itertools.islice(left, FIELDS_LIMIT)):
        yield part
