"""Speech that is exact and nearly free: text hidden in the audio itself.

A 20 ms frame of mu-law has 160 least significant bits, which is 20 bytes: room for a mark that says whose
speech this is and which characters are spoken during the frame. So hearing a frame is hearing its text, and a
sentence cut short is heard exactly as far as it was played.

    sync 2 | source 4 | number 2 | index 2 | total 2 | length 1 | text 5 | checksum 2      (bytes, big-endian)

`source` names a call or a synthesis, `number` an utterance of it, `index` of `total` the frame. Text is laid
out evenly over an utterance's frames. The carrier is 0xA0 and 0xA1, as loud as speech, because there is code that
listens for that.
"""

import argparse
import asyncio
import random
import secrets
import struct
from binascii import crc_hqx
from collections.abc import AsyncGenerator, Iterable
from dataclasses import dataclass, fields

from starlette.applications import Starlette

from engine.audio import FRAME_BYTES, SAMPLE_RATE
from local.serving import serve_forever
from local.speech.app import speech_app
from local.speech.ports import Completed, Interim, ListenParams, SpeakParams, Started, Tell
from local.speech.watch import Limits

CHARACTERS_PER_S = 15.0
_FRAMES_PER_S = SAMPLE_RATE // FRAME_BYTES
_SYNC = b"\xa5\x3c"
_HEAD = struct.Struct(">IHHHB5s")
_TEXT_BYTES = 5  # one character of UTF-8 has at most 4
_MOST_FRAMES = 0xFFFF
_CARRIER = 0xA0
# Eight samples for each byte of a mark; its bits, most significant first, as ASCII digits on the way back.
_SAMPLES = tuple(bytes(_CARRIER | (byte >> bit & 1) for bit in range(7, -1, -1)) for byte in range(256))
_TO_DIGITS = bytes(ord("0") + (byte & 1) for byte in range(256))
_SYNC_DIGITS = b"".join(_SAMPLES[byte] for byte in _SYNC).translate(_TO_DIGITS)
# Where the next frame may begin: before this one's end if samples were lost and its last bits are the next's.
_STEP = FRAME_BYTES - len(_SYNC_DIGITS) + 1


@dataclass(frozen=True, slots=True)
class MarkedFrame:
    """One frame as it was heard. `at` is the offset of its first byte in all that the reader was fed."""

    source: int
    number: int
    index: int
    total: int
    text: str
    at: int

    @property
    def last(self) -> bool:
        """Whether the utterance ends with this frame."""
        return self.index == self.total - 1


def mark_audio(text: str, source: int, number: int, characters_per_s: float = CHARACTERS_PER_S) -> bytes:
    """Whole frames of mu-law that say `text`; none for an empty text.

    `source` has 32 bits, `number` 16. At most 50 characters a second (one a frame) and 65,535 frames fit;
    raises `ValueError` beyond.
    """
    if not 0 < characters_per_s <= _FRAMES_PER_S:
        raise ValueError(
            f"characters_per_s must be above 0 and at most {_FRAMES_PER_S}, got {characters_per_s}"
        )
    total = -int(-len(text) * _FRAMES_PER_S // characters_per_s)
    if total > _MOST_FRAMES:
        raise ValueError(f"a text of {len(text)} characters needs {total} frames, more than {_MOST_FRAMES}")
    spoken = [b""] * total
    for position, character in enumerate(text):
        spoken[position * total // len(text)] = character.encode("utf-8", errors="replace")
    return b"".join(_frame(source, number, index, total, said) for index, said in enumerate(spoken))


def _frame(source: int, number: int, index: int, total: int, said: bytes) -> bytes:
    head = _HEAD.pack(source, number, index, total, len(said), said)
    mark = _SYNC + head + crc_hqx(head, 0).to_bytes(2, "big")
    return b"".join([_SAMPLES[byte] for byte in mark])


class MarkReader:
    """Finds marked frames in a stream of mu-law, at any alignment, between silence, after losses."""

    def __init__(self) -> None:
        self._digits = b""
        self._at = 0

    def feed(self, audio: bytes) -> list[MarkedFrame]:
        """The frames that these bytes complete, in order."""
        digits = self._digits + audio.translate(_TO_DIGITS)
        frames: list[MarkedFrame] = []
        at = digits.find(_SYNC_DIGITS)
        while at >= 0 and at + FRAME_BYTES <= len(digits):
            frame = _read(digits[at : at + FRAME_BYTES], self._at + at)
            if frame is not None:
                frames.append(frame)
            at = digits.find(_SYNC_DIGITS, at + (_STEP if frame is not None else 1))
        # What may still begin a frame: from its sync on, or fewer bytes than a sync has.
        if at < 0:
            done = frames[-1].at + _STEP - self._at if frames else 0
            at = max(done, len(digits) - len(_SYNC_DIGITS) + 1, 0)
        self._digits = digits[at:]
        self._at += at
        return frames


def _read(digits: bytes, at: int) -> MarkedFrame | None:
    mark = int(digits, 2).to_bytes(FRAME_BYTES // 8, "big")
    head = mark[2:-2]
    if crc_hqx(head, 0) != int.from_bytes(mark[-2:], "big"):
        return None
    source, number, index, total, length, text = _HEAD.unpack(head)
    return MarkedFrame(source, number, index, total, text[:length].decode("utf-8", errors="replace"), at)


def text_of(frames: Iterable[MarkedFrame]) -> str:
    """The characters in these frames, in the order given."""
    return "".join(frame.text for frame in frames)


@dataclass(frozen=True, slots=True)
class MarksDelays:
    """How long recognition and synthesis take, in seconds; `voice_speed` is times real time.

    `final_s` counts from the arrival of an utterance's last frame, `first_audio_s` from the moment at which
    the voice is asked. `interim_every_s` is audio time.
    """

    interim_every_s: float = 0.25
    final_s: float = 0.3
    first_audio_s: float = 0.2
    voice_speed: float = 10.0


class _Utterance:
    """The utterance that is being heard."""

    def __init__(self, frame: MarkedFrame) -> None:
        self.source = frame.source
        self.number = frame.number
        self.start_s = frame.at / SAMPLE_RATE
        self.end_s = self.start_s
        self.text = ""
        self.whole = False
        self.told_words = 0
        self.told_s = float("-inf")

    def hear(self, frame: MarkedFrame) -> None:
        self.text += frame.text
        self.end_s = (frame.at + FRAME_BYTES) / SAMPLE_RATE
        self.whole = frame.last

    def words(self) -> list[str]:
        """The words that are complete: all but the last, unless the text ends with a space or is whole."""
        words = self.text.split()
        return words if self.whole or self.text[-1:].isspace() else words[:-1]


class MarksRecogniser:
    """Hears marks. A new utterance while an earlier one waits for its final makes that final come at once,
    without the pause that ends a turn, as a recogniser does with a caller who goes on."""

    def __init__(self, endpointing_ms: int | None, delays: MarksDelays) -> None:
        self._endpointing_bytes = None if endpointing_ms is None else endpointing_ms * SAMPLE_RATE // 1000
        self._delays = delays
        self._reader = MarkReader()
        self._heard_bytes = 0
        self._utterance: _Utterance | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._tell: Tell | None = None

    async def open(self, tell: Tell) -> None:
        """See `Recogniser`."""
        self._tell = tell

    def feed(self, audio: bytes) -> None:
        """See `Recogniser`."""
        self._heard_bytes += len(audio)
        for frame in self._reader.feed(audio):
            self._hear(frame)
        utterance = self._utterance
        if utterance is None or self._timer is not None or self._endpointing_bytes is None:
            return
        if self._heard_bytes - utterance.end_s * SAMPLE_RATE >= self._endpointing_bytes:
            self._complete_later()

    async def flush(self) -> None:
        """See `Recogniser`."""
        self._complete(ended=True)

    async def close(self) -> None:
        """See `Recogniser`."""
        self._cancel_timer()
        self._utterance = self._tell = None

    def _hear(self, frame: MarkedFrame) -> None:
        utterance = self._utterance
        if utterance is None or (utterance.source, utterance.number) != (frame.source, frame.number):
            self._complete(ended=False)
            utterance = self._utterance = _Utterance(frame)
            if self._tell is not None:
                self._tell(Started(utterance.start_s))
        self._cancel_timer()
        utterance.hear(frame)
        self._tell_interim(utterance)
        if utterance.whole:
            self._complete_later()

    def _tell_interim(self, utterance: _Utterance) -> None:
        words = utterance.words()
        due = utterance.end_s - utterance.told_s >= self._delays.interim_every_s
        second = utterance.told_words < 2 <= len(words)
        if self._tell is not None and len(words) > utterance.told_words and (due or second):
            utterance.told_words, utterance.told_s = len(words), utterance.end_s
            self._tell(Interim(" ".join(words), utterance.start_s, utterance.end_s))

    def _complete_later(self) -> None:
        loop = asyncio.get_running_loop()
        self._timer = loop.call_later(self._delays.final_s, lambda: self._complete(ended=True))

    def _complete(self, *, ended: bool) -> None:
        self._cancel_timer()
        utterance, self._utterance = self._utterance, None
        if utterance is not None and self._tell is not None:
            text = " ".join(utterance.text.split())
            self._tell(Completed(text, utterance.start_s, utterance.end_s, ended))

    def _cancel_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None


class MarksVoice:
    """Speaks marks under a source of its own; each `say` is the next number, from 0."""

    def __init__(self, source: int, delays: MarksDelays) -> None:
        self._source = source
        self._delays = delays
        self._number = 0
        self._sizes = random.Random(source)

    async def say(self, text: str) -> AsyncGenerator[bytes, None]:
        """See `Voice`. Pieces of 401 to 999 bytes, as unaligned as a real voice's."""
        loop = asyncio.get_running_loop()
        start = loop.time() + self._delays.first_audio_s
        number, self._number = self._number, self._number + 1
        audio = mark_audio(text, self._source, number & 0xFFFF)
        at = 0
        while at < len(audio):
            wait_s = start + at / SAMPLE_RATE / self._delays.voice_speed - loop.time()
            if (
                wait_s > 0
            ):  # what is due goes at once: a busy loop must not slow a fast voice down to its own pace
                await asyncio.sleep(wait_s)
            size = self._sizes.randrange(401, 1000, 2)
            yield audio[at : at + size]
            at += size


def marks_app(delays: MarksDelays | None = None, limits: Limits | None = None) -> Starlette:
    """A speech server that hears and speaks marks. Sources of its voices have the top bit set."""
    pace = delays or MarksDelays()
    first_source = secrets.randbits(31)
    opened = 0

    def listen(params: ListenParams) -> MarksRecogniser:
        return MarksRecogniser(params.endpointing_ms, pace)

    def voice(params: SpeakParams) -> MarksVoice:
        nonlocal opened
        opened += 1
        return MarksVoice(0x80000000 | (first_source + opened) & 0x7FFFFFFF, pace)

    return speech_app(listen, voice, limits)


def main() -> None:
    """`python -m simulators.marks --port N`: serves marks in a process of its own."""
    parser = argparse.ArgumentParser(prog="simulators.marks", description=main.__doc__)
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=0, help="0 takes a free one")
    parser.add_argument("--with-parent", action="store_true", help="stop when standard input ends")
    parser.add_argument("--flush-limit", type=int, default=Limits().flush_limit)
    for field in fields(MarksDelays):
        parser.add_argument(f"--{field.name.replace('_', '-')}", type=float, default=field.default)
    options = parser.parse_args()
    delays = MarksDelays(**{field.name: getattr(options, field.name) for field in fields(MarksDelays)})
    app = marks_app(delays, Limits(flush_limit=options.flush_limit))
    serve_forever(app, options.host, options.port, with_parent=options.with_parent)


if __name__ == "__main__":
    main()
