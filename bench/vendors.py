"""Vendors with fixed delays that note, on the callers' clock, what reached them when."""

from collections import defaultdict
from collections.abc import AsyncGenerator
from contextlib import aclosing
from time import monotonic
from typing import Any

from local.chat import Piece
from local.speech.ports import ListenParams, SpeakParams
from simulators.marks import MarkedFrame, MarksDelays
from simulators.vendors import ModelServer, NotedRecogniser, NotedVoice, Speech

DELAYS = MarksDelays(final_s=0.3, first_audio_s=0.2)
FIRST_TOKEN_S = 0.4


class BenchSpeech(Speech):
    """Deepgram's place. `frames_at`: arrival of each frame of speech, by the caller's source; `voiced_at`: when the
    first piece of a sentence left, by its text."""

    def __init__(self) -> None:
        super().__init__()
        self.delays = DELAYS
        self.frames_at: defaultdict[int, list[float]] = defaultdict(list)
        self.voiced_at: dict[str, float] = {}

    def _listen(self, params: ListenParams) -> NotedRecogniser:
        return _Recogniser(params.endpointing_ms, self.delays, self.told, self.frames_at)

    def _voice(self, params: SpeakParams) -> NotedVoice:
        return _Voice(next(self._sources), self, params)


class _Recogniser(NotedRecogniser):
    def __init__(self, *arguments: object) -> None:
        *plain, frames_at = arguments
        super().__init__(*plain)  # type: ignore[arg-type]
        self._frames_at: defaultdict[int, list[float]] = frames_at  # type: ignore[assignment]

    def _hear(self, frame: MarkedFrame) -> None:
        self._frames_at[frame.source].append(monotonic())
        super()._hear(frame)


class _Voice(NotedVoice):
    async def say(self, text: str) -> AsyncGenerator[bytes, None]:
        speech = self._speech
        assert isinstance(speech, BenchSpeech)
        async with aclosing(super().say(text)) as pieces:
            async for piece in pieces:
                speech.voiced_at.setdefault(text.strip(), monotonic())
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
