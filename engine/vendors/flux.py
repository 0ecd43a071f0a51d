"""Deepgram's Flux (listen v2) behind our own events, by deepgram-sdk: recognition that knows when a turn is over.

With `FLUX_EAGER_EOT_THRESHOLD` it also tells when a turn may be over (`EndLikely`), and takes that back when the caller
goes on (`WentOn`).

Facts that the code leans on (Deepgram, "Flux Quickstart", "Understanding the Flux State Machine", "Force End Turn"):
`Connected` comes before all else; audio is best sent 80 ms at a time; a transcript is the whole turn so far; an
`Update` comes for each quarter of a second of audio, whether or not there are new words. Its clock is the audio it
gets: when the caller's frames stop, no turn would ever end, so silence goes in their place, as fast as time passes. It
has no KeepAlive, and needs none: the silence is one.
"""

import asyncio
import logging
from collections.abc import AsyncIterator, Iterator
from typing import Any

import msgspec
from deepgram import AsyncDeepgramClient
from websockets.exceptions import ConnectionClosed

from engine import audio
from engine.clock import now
from engine.settings import Settings
from engine.telemetry import count
from engine.text import well_formed
from engine.vendors.deepgram import (
    GARBAGE,
    Heard,
    VendorLost,
    VendorSocket,
    VoiceBegan,
    Word,
    seconds,
    timed,
    took_nothing,
)

log = logging.getLogger("engine.vendors.flux")

CHUNK_MS = 80  # what Deepgram asks for ("Flux Quickstart")
CHUNK_BYTES = audio.bytes_of(CHUNK_MS)
MULTILINGUAL = "flux-general-multi"
ANY_LANGUAGE = "multi"  # as `STT_LANGUAGE` has it for Nova


class EndLikely(msgspec.Struct, frozen=True):
    """An `EagerEndOfTurn`: the turn's text, unless it goes on. Times as in `Heard`."""

    text: str
    end_s: float
    until_s: float


class WentOn(msgspec.Struct, frozen=True):
    """A `TurnResumed`: the end was not one."""


Event = Heard | VoiceBegan | EndLikely | WentOn


class FluxSocket(VendorSocket):
    """One listen v2 socket. What a turn's `Heard` tells is the whole turn: its one final comes at its end.

    Times in events are seconds of the audio that was given to `send`: silence of our own is not counted.
    """

    def __init__(self, deepgram: AsyncDeepgramClient, settings: Settings) -> None:
        terms = [term.strip() for term in settings.stt_keyterms.split(",") if term.strip()]
        hinted = settings.stt_model == MULTILINGUAL and settings.stt_language != ANY_LANGUAGE
        super().__init__(
            deepgram.listen.v2.connect(
                model=settings.stt_model,
                encoding="mulaw",
                sample_rate=audio.SAMPLE_RATE,
                eot_threshold=settings.flux_eot_threshold,
                eager_eot_threshold=settings.flux_eager_eot_threshold,
                eot_timeout_ms=settings.flux_eot_timeout_ms,
                keyterm=terms or None,
                language_hint=settings.stt_language.partition("-")[0] if hinted else None,
            ),
            settings.stt_open_s,
            settings.deepgram_send_s,
        )
        # Flux waits for the rest of a sentence, up to its own time-out; only after that is an end missing.
        self.stale_s = settings.flux_eot_timeout_ms / 1000 + settings.stt_stale_s
        self._gap_s = settings.flux_silence_after_ms / 1000
        self._incoming: AsyncIterator[Any] | None = None
        self._clock: asyncio.Task[None] | None = None
        self._sending = asyncio.Lock()  # between the caller's audio and silence
        self._rest = bytearray()  # of the caller's audio, less than a chunk
        self._given_s = 0.0  # when there last was some
        self._inserted = _Inserted()
        self._text = ""  # of the turn, as it was last told

    async def open(self) -> None:
        """Returns when Flux is connected, not only its socket. Raises `VendorLost`."""
        await super().open()
        self._incoming = self._messages()
        try:
            async with asyncio.timeout(self._open_limit_s):
                await self._connected(self._incoming)
        except TimeoutError as error:
            raise VendorLost(f"Deepgram did not connect Flux in {self._open_limit_s:g} s") from error
        self._given_s = now()
        self._clock = asyncio.create_task(self._keep_time(), name="flux silence")

    async def _connected(self, incoming: AsyncIterator[Any]) -> None:
        async for message in incoming:
            kind = getattr(message, "type", None)
            if kind == "Connected":
                return
            _raise_if_error(message)
            log.warning("before Connected, Flux told %s", kind)
        raise VendorLost("Deepgram ended the stream before Flux was connected")

    async def close(self) -> None:
        """See `VendorSocket.close`."""
        if self._clock is not None:
            self._clock.cancel()
            await asyncio.gather(self._clock, return_exceptions=True)
        await super().close()

    async def _say_goodbye(self) -> None:
        await self._socket.send_close_stream()

    # --- audio

    async def send(self, payload: bytes) -> None:
        """mu-law, of which less than 80 ms may wait for the next. Raises `VendorLost`. Has no deadline."""
        async with self._sending:
            self._given_s = now()
            self._rest += payload
            try:
                while len(self._rest) >= CHUNK_BYTES:
                    await self._send_chunk()
            except (OSError, ConnectionClosed) as error:
                raise took_nothing(error) from error

    async def _send_chunk(self) -> None:
        chunk = bytes(self._rest[:CHUNK_BYTES])
        del self._rest[:CHUNK_BYTES]
        self._inserted.sent(CHUNK_BYTES)
        await self._socket.send_media(chunk)

    async def _keep_time(self) -> None:
        """While no audio comes, sends silence in its place. Ends with the socket, of which its reader tells."""
        silent_until_s = 0.0
        try:
            while True:
                due_s = max(self._given_s + self._gap_s, silent_until_s)
                if (wait_s := due_s - now()) > 0:
                    await asyncio.sleep(wait_s)
                    continue
                async with self._sending:
                    missing = CHUNK_BYTES - len(self._rest)
                    self._rest += audio.SILENCE * missing
                    self._inserted.insert(CHUNK_BYTES - missing, missing)
                    await self._send_chunk()
                silent_until_s = due_s + CHUNK_MS / 1000
        except (OSError, ConnectionClosed) as error:
            log.debug("silence for Flux: %s", type(error).__name__)

    async def keep_alive(self) -> None:
        """Nothing to do: silence has kept it open."""

    async def finalize(self) -> None:
        """Ends the turn that is under way; without one, nothing comes of it. Raises `VendorLost`."""
        await self._do(self._socket.send_force_end_turn())

    # --- words

    async def events(self) -> AsyncIterator[Event]:
        """What is heard, until the socket ends. Raises `VendorLost` unless it was closed tidily.

        An `Update` without new words is a `Heard` without words: a sign of life.
        """
        assert self._incoming is not None, "not open"
        async for message in self._incoming:
            kind = getattr(message, "type", None)
            if kind == "TurnInfo":
                for event in self._of_turn(message):
                    yield event
            elif kind == "Warning":
                log.warning("Flux warns: %s", getattr(message, "description", None) or message)
            else:
                _raise_if_error(message)

    def _of_turn(self, message: Any) -> Iterator[Event]:
        parsed = _parsed(message)
        if parsed is None:
            count("stt_garbage")
            return
        text, words_until_s, window_until_s = parsed
        end_s, until_s = self._inserted.given_s(words_until_s), self._inserted.given_s(window_until_s)
        what = getattr(message, "event", None)
        if what == "EndOfTurn":
            words = self._words(message)
            self._text = ""
            self._inserted.forget(window_until_s)
            manual = getattr(message, "trigger", None) == "manual"
            yield Heard(text, True, True, manual, end_s, until_s, words)
            return
        new, self._text = text != self._text, text
        if what == "EagerEndOfTurn" and text:
            yield EndLikely(text, end_s, until_s)
            return
        if what == "StartOfTurn":
            yield VoiceBegan()
        elif what == "TurnResumed":
            yield WentOn()
        if new:
            yield Heard(text, False, False, False, end_s, until_s, self._words(message))
        else:
            yield Heard("", False, False, False, end_s, until_s)

    def _words(self, message: Any) -> tuple[Word, ...]:
        given = self._inserted.given_s
        return tuple(Word(word.text, given(word.start_s), given(word.end_s)) for word in timed(message.words))


class _Inserted:
    """Where silence of ours is in what was sent, in bytes."""

    def __init__(self) -> None:
        self._sent = 0
        self._before = 0  # how much there is before those that are still known
        self._pieces: list[tuple[int, int]] = []  # from this byte on, so many

    def sent(self, size: int) -> None:
        """So much was sent, silence or not."""
        self._sent += size

    def insert(self, after: int, size: int) -> None:
        """Silence follows what will be sent next, which are `after` bytes."""
        start = self._sent + after
        if self._pieces and sum(self._pieces[-1]) == start:
            self._pieces[-1] = self._pieces[-1][0], self._pieces[-1][1] + size
        else:
            self._pieces.append((start, size))

    def given_s(self, socket_s: float) -> float:
        """The socket's time, without the silence."""
        at = socket_s * audio.SAMPLE_RATE
        silent = sum(min(max(at - start, 0.0), size) for start, size in self._pieces)
        return (at - self._before - silent) / audio.SAMPLE_RATE

    def forget(self, socket_s: float) -> None:
        """Nothing before that time will be asked for."""
        at = socket_s * audio.SAMPLE_RATE
        while self._pieces and sum(self._pieces[0]) <= at:
            self._before += self._pieces.pop(0)[1]


def _parsed(message: Any) -> tuple[str, float, float] | None:
    """Text, where its last word ends, and where the audio ends; None for what is not as it should be."""
    try:
        text, until_s = message.transcript or "", seconds(message.audio_window_end)
        last_word_s = getattr(message.words[-1], "end", None) if message.words else None
        if not isinstance(text, str):
            raise TypeError("transcript")
        end_s = until_s if last_word_s is None else seconds(last_word_s)
        return well_formed(text.strip()), end_s, until_s
    except GARBAGE:
        return None


def _raise_if_error(message: Any) -> None:
    if getattr(message, "type", None) == "Error":
        raise VendorLost(f"Deepgram reports: {getattr(message, 'description', None) or message!r}")
