"""The two ports behind the speech server: a recogniser for each listen socket, a voice for each speak socket.

Audio is 8 kHz mono mu-law, one byte a sample, in pieces of any length. Times are seconds of audio since the
socket's first byte, as in Deepgram's results.
"""

from collections.abc import AsyncGenerator, Callable
from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True, slots=True)
class ListenParams:
    """What a listen socket was opened with. `endpointing_ms` and `utterance_end_ms` are None when off."""

    model: str
    language: str
    interim_results: bool
    endpointing_ms: int | None
    utterance_end_ms: int | None
    vad_events: bool
    keyterms: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class SpeakParams:
    """What a speak socket or request was opened with: `model` names the voice."""

    model: str


@dataclass(frozen=True, slots=True)
class Started:
    """Somebody began to speak."""

    at_s: float


@dataclass(frozen=True, slots=True)
class Interim:
    """All words since the last `Completed`; they may still change. Spoken from `start_s` to `end_s`."""

    text: str
    start_s: float
    end_s: float


@dataclass(frozen=True, slots=True)
class Completed:
    """Words that will not change any more; `ended` says that the speaker paused after them."""

    text: str
    start_s: float
    end_s: float
    ended: bool = True


Heard = Started | Interim | Completed
Tell = Callable[[Heard], None]


class Recogniser(Protocol):
    """Hears one caller. All methods are called on the server's event loop and must not block it."""

    async def open(self, tell: Tell) -> None:
        """Called once, before any audio. `tell` must be called on the event loop."""

    def feed(self, audio: bytes) -> None:
        """The next audio."""

    async def flush(self) -> None:
        """Completes what is open now; returns when it has been told."""

    async def close(self) -> None:
        """Frees what `open` took; nothing is told afterwards. Safe to run twice."""


class Voice(Protocol):
    """Speaks for one socket. `say` is never called again before its last stream has ended or been closed."""

    def say(self, text: str) -> AsyncGenerator[bytes, None]:
        """Audio of `text` in pieces of any length, the first as early as possible.

        Closing the generator must stop the work.
        """
        ...
