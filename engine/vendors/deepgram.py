"""Deepgram behind our own events: listen v1 and speak v1, by deepgram-sdk.

Facts of the protocol that the code leans on are from Deepgram's docs (Listen v1, Speak WebSocket) and from the SDK's
source: the SDK never reconnects and never sends KeepAlive, its messages are not validated (any field may be None), an
unknown listen message comes as None, and on speak every text message comes as one class: its `type` tells.
"""

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable
from contextlib import AsyncExitStack
from typing import Any, NamedTuple

import httpx
import msgspec
from deepgram import AsyncDeepgramClient
from deepgram.core.api_error import ApiError
from deepgram.environment import DeepgramClientEnvironment
from deepgram.speak.v1.types import SpeakV1Text
from websockets.exceptions import ConnectionClosed, InvalidHandshake

from engine import audio
from engine.settings import Settings
from engine.telemetry import count
from engine.text import well_formed

log = logging.getLogger("engine.vendors.deepgram")

CLOSE_LIMIT_S = 2.0  # nobody waits for it

# Of a handshake that is refused with these, a repetition is refused too (Deepgram, Errors).
FOR_GOOD = {400, 401, 402, 403, 404}


class VendorLost(Exception):
    """The socket is gone or was refused; the message says why.

    `refused`: the vendor said no, with an HTTP `status` (else 0). `for_good`: it would say so again.
    """

    def __init__(self, why: str, *, status: int = 0) -> None:
        super().__init__(why)
        self.status = status
        self.refused = status != 0
        self.for_good = status in FOR_GOOD


class Word(NamedTuple):
    """A word of a result, in seconds of audio sent."""

    text: str
    start_s: float
    end_s: float


class Heard(msgspec.Struct, frozen=True):
    """A `Results`, in seconds of audio sent: `end_s` is where its last word (or its span) ends, `until_s` its span.

    `words` are those of `text`, or none where they have no times.
    """

    text: str
    final: bool
    speech_final: bool
    from_finalize: bool
    end_s: float
    until_s: float = 0.0
    words: tuple[Word, ...] = ()


class VoiceBegan(msgspec.Struct, frozen=True):
    """A `SpeechStarted`."""


class GapHeard(msgspec.Struct, frozen=True):
    """An `UtteranceEnd`."""


class AudioCame(msgspec.Struct, frozen=True):
    """Audio of speak, mu-law, any length."""

    payload: bytes


class FlushDone(msgspec.Struct, frozen=True):
    """A `Flushed`: all audio of the oldest pending Flush has come."""


class ClearDone(msgspec.Struct, frozen=True):
    """A `Cleared`."""


class Warned(msgspec.Struct, frozen=True):
    """A `Warning`: a Flush too many is ignored with one."""

    text: str


def client(settings: Settings) -> AsyncDeepgramClient:
    """The process's client. `wss` goes to the same host as `https`."""
    base = settings.deepgram_base_url.rstrip("/")
    socket = base.replace("http", "ws", 1)
    environment = DeepgramClientEnvironment(base=base, production=socket, agent=socket, agent_rest=base)
    return AsyncDeepgramClient(api_key=settings.deepgram_api_key or "local", environment=environment)


class VendorSocket:
    """One SDK socket with deadlines of ours: the SDK's own are 10 to 30 s and can't be set."""

    def __init__(self, connecting: Any, open_limit_s: float, send_limit_s: float) -> None:
        self._connecting = connecting
        self._open_limit_s = open_limit_s
        self._send_limit_s = send_limit_s
        self._stack = AsyncExitStack()
        self._socket: Any = None

    async def open(self) -> None:
        """Raises `VendorLost`."""
        try:
            async with asyncio.timeout(self._open_limit_s):
                self._socket = await self._stack.enter_async_context(self._connecting)
        except ApiError as error:
            why = f"Deepgram refused the connection: {_refusal(error)}"
            raise VendorLost(why, status=error.status_code or 0) from error
        except TimeoutError as error:
            raise VendorLost(f"Deepgram's handshake took more than {self._open_limit_s:g} s") from error
        except (OSError, ConnectionClosed, InvalidHandshake, ValueError, EOFError) as error:
            raise VendorLost(f"Deepgram can't be reached: {type(error).__name__} {error}") from error

    async def close(self) -> None:
        """Says goodbye as the protocol asks, and closes. Never raises, never takes longer than `CLOSE_LIMIT_S`."""
        if self._socket is not None:
            await self._try_to(self._say_goodbye())
        await self._try_to(self._stack.aclose())  # also after a goodbye that nobody took

    async def _try_to(self, farewell: Awaitable[None]) -> None:
        try:
            async with asyncio.timeout(CLOSE_LIMIT_S / 2):
                await farewell
        except (TimeoutError, OSError, ConnectionClosed) as error:
            log.debug("closing a Deepgram socket: %s", type(error).__name__)

    async def _say_goodbye(self) -> None:
        raise NotImplementedError

    async def _do(self, sending: Any) -> None:
        try:
            async with asyncio.timeout(self._send_limit_s):
                await sending
        except (TimeoutError, OSError, ConnectionClosed) as error:
            raise took_nothing(error) from error

    async def _messages(self) -> AsyncIterator[Any]:
        try:
            async for message in self._socket:
                yield message
        except (OSError, ConnectionClosed) as error:
            raise VendorLost(f"Deepgram closed the socket: {error}") from error


class ListenSocket(VendorSocket):
    """One listen v1 socket."""

    def __init__(self, deepgram: AsyncDeepgramClient, settings: Settings) -> None:
        terms = [term.strip() for term in settings.stt_keyterms.split(",") if term.strip()]
        super().__init__(
            deepgram.listen.v1.connect(
                model=settings.stt_model,
                language=settings.stt_language,
                encoding="mulaw",
                sample_rate=audio.SAMPLE_RATE,
                channels=1,
                interim_results=True,
                smart_format=True,
                vad_events=True,
                endpointing=settings.stt_endpointing_ms,
                utterance_end_ms=settings.stt_utterance_end_ms,
                keyterm=terms or None,
            ),
            settings.stt_open_s,
            settings.deepgram_send_s,
        )
        self.stale_s = settings.stt_stale_s  # how long words may stay without an end of turn

    async def send(self, payload: bytes) -> None:
        """mu-law, not empty: an empty frame would close the stream. Raises `VendorLost`.

        Has no deadline: a timer for each frame costs more than the frame.
        """
        try:
            await self._socket.send_media(payload)
        except (OSError, ConnectionClosed) as error:
            raise took_nothing(error) from error

    async def keep_alive(self) -> None:
        """Holds the socket open while no audio flows. Raises `VendorLost`."""
        await self._do(self._socket.send_keep_alive())

    async def finalize(self) -> None:
        """Asks for what is buffered; an answer need not come. Raises `VendorLost`."""
        await self._do(self._socket.send_finalize())

    async def _say_goodbye(self) -> None:
        await self._socket.send_close_stream()

    async def events(self) -> AsyncIterator[Heard | VoiceBegan | GapHeard]:
        """What is heard, until the socket ends. Raises `VendorLost` unless it was closed tidily."""
        async for message in self._messages():
            kind = getattr(message, "type", None)
            if kind == "Results":
                event = _heard(message)
                if event is not None:
                    yield event
            elif kind == "SpeechStarted":
                yield VoiceBegan()
            elif kind == "UtteranceEnd":
                yield GapHeard()
            elif kind == "Error":
                raise VendorLost(f"Deepgram reports: {getattr(message, 'description', None) or message!r}")


def _heard(message: Any) -> Heard | None:
    """None for a message without alternatives, or one that is not what it should be: the SDK checks nothing."""
    try:
        alternatives = message.channel.alternatives
        if not alternatives:
            return None
        best = alternatives[0]
        until_s = seconds(message.start) + seconds(message.duration)
        last_word = best.words[-1].end if best.words else None
        if not isinstance(best.transcript or "", str):
            raise TypeError("transcript")
        return Heard(
            text=well_formed(best.transcript or ""),
            final=bool(message.is_final),
            speech_final=bool(getattr(message, "speech_final", None)),
            from_finalize=bool(getattr(message, "from_finalize", None)),
            end_s=until_s if last_word is None else seconds(last_word),
            until_s=until_s,
            words=timed(best.words),
        )
    except GARBAGE:
        count("stt_garbage")
        return None


GARBAGE = (AttributeError, TypeError, ValueError, IndexError, KeyError, OverflowError)
"""What reading a message may raise that is not as it should be: the SDK checks nothing."""

_LONGEST_S = 1e6  # no stream is as long


def seconds(value: Any) -> float:
    """A time in a message; none is 0. Raises one of `GARBAGE` for what can't be a time."""
    time_s = float(value or 0.0)
    if not 0.0 <= time_s <= _LONGEST_S:  # nor NaN
        raise ValueError(f"no time: {value!r}")
    return time_s


def timed(words: Any) -> tuple[Word, ...]:
    """The words of a result, as they are to be read; none if one of them has no times."""
    try:
        if any(word.end is None for word in words or ()):
            return ()
        return tuple(
            Word(
                well_formed(getattr(word, "punctuated_word", None) or word.word),
                seconds(word.start),
                seconds(word.end),
            )
            for word in words or ()
        )
    except GARBAGE:
        return ()


class SpeakSocket(VendorSocket):
    """One speak v1 socket."""

    def __init__(self, deepgram: AsyncDeepgramClient, settings: Settings) -> None:
        super().__init__(
            deepgram.speak.v1.connect(
                model=settings.tts_model, encoding="mulaw", sample_rate=audio.SAMPLE_RATE
            ),
            settings.tts_open_s,
            settings.deepgram_send_s,
        )

    async def say(self, text: str) -> None:
        """One sentence and its Flush. Raises `VendorLost`."""
        await self._do(self._socket.send_text(SpeakV1Text(text=text)))
        await self._do(self._socket.send_flush())

    async def clear(self) -> None:
        """Drops what is not yet sent; what is on its way still comes before `ClearDone`. Raises `VendorLost`."""
        await self._do(self._socket.send_clear())

    async def _say_goodbye(self) -> None:
        await self._socket.send_close()

    async def events(self) -> AsyncIterator[AudioCame | FlushDone | ClearDone | Warned]:
        """What comes, until the socket ends. Raises `VendorLost` unless it was closed tidily."""
        async for message in self._messages():
            if isinstance(message, bytes):
                yield AudioCame(message)
                continue
            kind = getattr(message, "type", None)
            if kind == "Flushed":
                yield FlushDone()
            elif kind == "Cleared":
                yield ClearDone()
            elif kind in ("Warning", "Error"):
                described = getattr(message, "description", None) or getattr(message, "warn_msg", None)
                if kind == "Error":
                    raise VendorLost(f"Deepgram reports: {described or message!r}")
                yield Warned(str(described or message))


class SpeakRequests:
    """Speak v1 by REST, with the face of a `SpeakSocket`: a request for each sentence, one after the other."""

    def __init__(self, deepgram: AsyncDeepgramClient, settings: Settings) -> None:
        self._speak = deepgram.speak.v1.audio
        self._model = settings.tts_model
        self._texts: asyncio.Queue[str] = asyncio.Queue()
        self._events: asyncio.Queue[AudioCame | FlushDone | ClearDone | VendorLost] = asyncio.Queue()
        self._speaking: asyncio.Task[None] | None = None

    async def open(self) -> None:
        """There is nothing to open."""

    async def close(self) -> None:
        """Ends the request that is under way. Safe to run twice."""
        speaking, self._speaking = self._speaking, None
        if speaking is not None:
            speaking.cancel()
            await asyncio.wait([speaking], timeout=CLOSE_LIMIT_S)

    async def say(self, text: str) -> None:
        """One sentence, after those before it."""
        self._texts.put_nowait(text)
        if self._speaking is None:
            self._speaking = asyncio.create_task(self._say_all(), name="speak by REST")

    async def clear(self) -> None:
        """Drops what is not yet told."""
        await self.close()
        for queue in (self._texts, self._events):
            while not queue.empty():
                queue.get_nowait()
        self._events.put_nowait(ClearDone())

    async def events(self) -> AsyncIterator[AudioCame | FlushDone | ClearDone]:
        """What comes, for ever. Raises `VendorLost` when a request fails."""
        while True:
            event = await self._events.get()
            if isinstance(event, VendorLost):
                raise event
            yield event

    async def _say_all(self) -> None:
        while True:
            text = await self._texts.get()
            try:
                await self._say(text)
            except VendorLost as lost:
                self._events.put_nowait(lost)
                return
            except ApiError as error:
                why = f"Deepgram refused to speak: HTTP {error.status_code} {error.body}"
                self._events.put_nowait(VendorLost(why, status=error.status_code or 0))
                return
            except (OSError, httpx.HTTPError) as error:
                self._events.put_nowait(
                    VendorLost(f"Deepgram can't be reached: {type(error).__name__} {error}")
                )
                return
            self._events.put_nowait(FlushDone())

    async def _say(self, text: str) -> None:
        """Raises `VendorLost` for an answer that is not speech, beside what the SDK raises."""
        came = 0
        async with self._speak.with_raw_response.generate(
            text=text,
            model=self._model,
            encoding="mulaw",
            sample_rate=audio.SAMPLE_RATE,
            container="none",  # else a header of 44 bytes is heard as a click
        ) as answer:
            kind = {name.lower(): value for name, value in answer.headers.items()}.get("content-type", "")
            if kind.startswith(("text/", "application/json")):
                raise VendorLost(f"what speaks by REST answered with {kind}")
            async for chunk in answer.data:
                came += len(chunk)
                self._events.put_nowait(AudioCame(chunk))
        if not came and any(character.isalnum() for character in text):
            raise VendorLost("what speaks by REST said nothing")


def took_nothing(error: Exception) -> VendorLost:
    """A send that failed."""
    return VendorLost(f"Deepgram took nothing: {type(error).__name__} {error}")


def _refusal(error: ApiError) -> str:
    """The reason in the handshake's answer, which the SDK keeps only in the exception's context."""
    headers = getattr(error.__context__, "headers", None) or {}
    reason = headers.get("dg-error", "") if hasattr(headers, "get") else ""
    return f"HTTP {error.status_code} {reason}".strip()
