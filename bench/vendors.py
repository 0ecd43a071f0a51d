"""Vendors with fixed delays that note, on the callers' clock, what reached them when.

All notes are kept by call, and thrown away with it: a long run must not get slower by what it remembers.
"""

from collections import defaultdict, deque
from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import dataclass, field
from time import monotonic
from typing import Any

from local.chat import Exchange, Piece
from local.speech.ports import Completed, Heard, Interim, ListenParams, SpeakParams, Tell
from simulators.marks import MarkedFrame, MarksDelays, MarksRecogniser, MarksVoice
from simulators.vendors import ModelServer, Speech, Told, caller_of

DELAYS = MarksDelays(final_s=0.3, first_audio_s=0.2)
FIRST_TOKEN_S = 0.4


@dataclass
class Spoken:
    """The caller's frames of speech under way, and how long the others took: (when spoken, ms)."""

    waiting: defaultdict[int, deque[float]] = field(default_factory=lambda: defaultdict(deque))
    arrived: list[tuple[float, float]] = field(default_factory=list)
    surplus: int = 0  # frames that arrived and were never spoken

    def say(self, source: int, at: float) -> None:
        """A frame is handed to the stream."""
        self.waiting[source].append(at)

    def hear(self, source: int) -> None:
        """The next frame of this caller has reached the recogniser."""
        waiting = self.waiting[source]
        if not waiting:
            self.surplus += 1
            return
        at = waiting.popleft()
        self.arrived.append((at, 1000 * (monotonic() - at)))

    def lost(self, source: int) -> int:
        """How many frames of this caller, whose call is over, never arrived."""
        return len(self.waiting.pop(source, ()))


@dataclass
class Notes:
    """What reached the speech vendor of one call: `asked` and `voiced` are times by sentence."""

    told: list[Told] = field(default_factory=list)
    asked: dict[str, float] = field(default_factory=dict)
    voiced: dict[str, float] = field(default_factory=dict)


class BenchSpeech(Speech):
    """Deepgram's place. `notes` by the first word of what is said, which is the call's name."""

    def __init__(self) -> None:
        super().__init__()
        self.delays = DELAYS
        self.frames = Spoken()
        self.notes: defaultdict[str, Notes] = defaultdict(Notes)

    def note(self, text: str) -> Notes:
        """The notes of the call that this text names."""
        return self.notes[text.split(" ", 1)[0].rstrip(",")]

    def recogniser(self, endpointing_ms: int | None) -> MarksRecogniser:
        """A recogniser that notes what it hears."""
        return _Recogniser(endpointing_ms, self)

    def _listen(self, params: ListenParams) -> MarksRecogniser:
        return self.recogniser(params.endpointing_ms)

    def _voice(self, params: SpeakParams) -> MarksVoice:
        return _Voice(next(self._sources), self)


class _Recogniser(MarksRecogniser):
    def __init__(self, endpointing_ms: int | None, speech: BenchSpeech) -> None:
        super().__init__(endpointing_ms, speech.delays)
        self._speech = speech

    async def open(self, tell: Tell) -> None:
        def note(heard: Heard) -> None:
            if isinstance(heard, Interim | Completed):
                told = Told(heard.text, monotonic(), isinstance(heard, Completed))
                self._speech.note(heard.text).told.append(told)
            tell(heard)

        await super().open(note)

    def _hear(self, frame: MarkedFrame) -> None:
        self._speech.frames.hear(frame.source)
        super()._hear(frame)


class _Voice(MarksVoice):
    def __init__(self, source: int, speech: BenchSpeech) -> None:
        super().__init__(source, speech.delays)
        self._speech = speech

    async def say(self, text: str) -> AsyncGenerator[bytes, None]:
        notes, words = self._speech.note(text.strip()), text.strip()
        notes.asked.setdefault(words, monotonic())
        async with aclosing(super().say(text)) as pieces:
            async for piece in pieces:
                notes.voiced.setdefault(words, monotonic())
                yield piece


class BenchModel(ModelServer):
    """OpenAI's place. `pieces_at`: when each word of an answer left, by the identity of its request."""

    def __init__(self) -> None:
        super().__init__()
        self.pieces_at: dict[int, list[float]] = {}

    async def reply(self, request: dict[str, Any]) -> AsyncGenerator[Piece, None]:
        """See `local.chat.Brain`."""
        at = self.pieces_at.setdefault(id(request), [])
        async with aclosing(super().reply(request)) as pieces:
            async for piece in pieces:
                at.append(monotonic())
                yield piece

    def take(self, caller: str) -> list[tuple[Exchange, list[float]]]:
        """The exchanges of this caller's call, which is over, with their pieces; they are forgotten here."""
        mine: list[Exchange] = []
        others: list[Exchange] = []
        for exchange in self.record.exchanges:
            (mine if caller_of(exchange.request) == caller else others).append(exchange)
        self.record.exchanges = others
        self._scripts.pop(caller, None)
        return [(e, self.pieces_at.pop(id(e.request), [])) for e in mine]
