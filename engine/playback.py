"""What plays to the caller, and what they have heard of it. Sans-I/O: audio and times in, what to send out.

Twilio queues what it is sent and plays it in order at real time. We keep it `lead_ms` ahead of the caller's ear, no
more, so that a `clear` has little to drop; the rest waits here, sentence by sentence, in a ledger. A burst is audio
that plays without a break: it starts when something is sent to an empty queue. What was heard follows from the
clock since the burst began (8 bytes are a millisecond), is confirmed by echoed marks, and never goes past a mark that
has not come back (Twilio, Media Streams: `mark` returns when all media before it has been played).

All times are seconds on one monotonic clock, except `*_at`, which are wall time.
"""

from collections import deque
from dataclasses import dataclass, field

from engine import audio
from engine.messages import LedgerEntry, Playback

Key = tuple[int, int]  # (turn, index)


@dataclass
class _Line:
    """One sentence in the ledger."""

    turn: int
    index: int
    text: str
    chunks: deque[bytes] = field(default_factory=deque)
    held_bytes: int = 0  # received, not sent
    sent_bytes: int = 0
    whole: bool = False
    state: Playback = Playback.QUEUED
    at: float = 0.0
    start_ms: float = 0.0  # where it starts in the burst
    played_before_ms: float = 0.0  # heard in bursts before this one
    burst_bytes: int = 0  # sent in this burst
    final_ms: float | None = None
    asked_at: float = 0.0
    audio_at: float = 0.0

    dropped_bytes: int = 0  # received, never to be sent

    @property
    def audio_ms(self) -> float | None:
        """All of its audio, once that is known; what was dropped counts, or a cut would be out of proportion."""
        return audio.ms_of(self.sent_bytes + self.held_bytes + self.dropped_bytes) if self.whole else None


@dataclass(frozen=True)
class SendAudio:
    """Send this mu-law, whole 20 ms frames."""

    payload: bytes


@dataclass(frozen=True)
class SendMark:
    """Send a mark of this name, after the audio before it."""

    name: str


@dataclass(frozen=True)
class Changed:
    """A sentence's state changed: tell the conversation."""

    turn: int
    index: int
    state: Playback
    played_ms: float
    audio_ms: float | None
    at: float
    asked_at: float
    audio_at: float


Step = SendAudio | SendMark | Changed


class PlaybackLedger:
    """The ledger of one stream's playback and the pacing of its audio."""

    def __init__(self, lead_ms: float, wall_offset_s: float, chunk_ms: float = 100.0) -> None:
        """`wall_offset_s`: wall time less monotonic time. Chunks are `chunk_ms`, or half the lead if that is less."""
        self._lead_ms = lead_ms
        self._wall_offset_s = wall_offset_s
        self._chunk_bytes = max(1, int(min(chunk_ms, lead_ms / 2)) // audio.FRAME_MS) * audio.FRAME_BYTES
        self._chunk_ms = audio.ms_of(self._chunk_bytes)
        self._lines: dict[Key, _Line] = {}
        self._order: deque[_Line] = deque()  # not wholly sent, in the order to be played
        self._unplayed: deque[tuple[str, _Line]] = deque()  # marks that are out, with their sentences
        self._burst_s = 0.0
        self._burst_ms = 0.0  # sent in this burst
        self._marked = 0
        self._quiet_since_s = 0.0
        self.paused = False

    # --- what is to be played

    def expect(self, turn: int, index: int, text: str) -> bool:
        """A sentence will be synthesised. False: it is in the ledger already."""
        if (turn, index) in self._lines:
            return False
        line = _Line(turn, index, text)
        self._lines[turn, index] = line
        self._order.append(line)
        return True

    def add(
        self, turn: int, index: int, payload: bytes, asked_at: float = 0.0, audio_at: float = 0.0
    ) -> None:
        """Audio of an expected sentence; what belongs to a dropped one is dropped."""
        line = self._lines.get((turn, index))
        if line is None or line.state is Playback.DROPPED or line.whole:
            return
        if not line.audio_at:
            line.asked_at, line.audio_at = asked_at, audio_at
        line.chunks.append(payload)
        line.held_bytes += len(payload)

    def finish(self, turn: int, index: int, now_s: float) -> list[Step]:
        """All audio of this sentence has been added; the last frame is filled up with silence."""
        line = self._lines.get((turn, index))
        if line is None or line.whole or line.state is Playback.DROPPED:
            return []
        short = -(line.sent_bytes + line.held_bytes) % audio.FRAME_BYTES
        if short:
            self.add(turn, index, audio.SILENCE * short)
        line.whole = True
        return [self._changed(line, now_s)] if line.state is Playback.PLAYING else []

    # --- the clock

    def due(self, now_s: float) -> list[Step]:
        """What is to be sent now to keep the lead."""
        steps: list[Step] = []
        while not self.paused and self._order:
            line = self._order[0]
            if line.held_bytes >= audio.FRAME_BYTES and self._behind_ms(now_s) >= 0:
                if self._ahead_ms(now_s) <= 0:
                    self._new_burst(now_s)
                steps += self._send(line, now_s)
            if line.whole and not line.held_bytes:
                self._order.popleft()
                steps.append(self._close(line))
            elif line.held_bytes < audio.FRAME_BYTES or self._behind_ms(now_s) < 0:
                break
        return steps

    def next_s(self, now_s: float) -> float | None:
        """When `due` has something to send, if nothing is added; None: not before something is."""
        if self.paused or not self._order or self._order[0].held_bytes < audio.FRAME_BYTES:
            return None
        return now_s + max(0.0, -self._behind_ms(now_s)) / 1000

    def echoed(self, name: str, now_s: float) -> list[Step]:
        """A mark came back: all before it has been played. Unknown names (from before a clear) prove nothing."""
        if not any(mark == name for mark, _ in self._unplayed):
            return []
        steps: list[Step] = []
        while self._unplayed:
            mark, line = self._unplayed.popleft()
            line.state = Playback.PLAYED
            line.final_ms = audio.ms_of(line.sent_bytes)
            self._quiet_since_s = now_s
            steps.append(self._changed(line, now_s))
            if mark == name:
                break
        return steps

    def assume_played(self, now_s: float, late_s: float) -> list[Step]:
        """Marks that are `late_s` after the clock's end of playback will not come: what they stand for was played."""
        if self._order or not self._unplayed or now_s < self.unconfirmed_until_s() + late_s:
            return []
        return self.echoed(self._unplayed[-1][0], now_s)

    def clear(self, now_s: float) -> list[Step]:
        """Playback stops here: every sentence that was not played to its end is dropped."""
        steps: list[Step] = []
        unconfirmed = [line for _, line in self._unplayed]
        for line in self._lines.values():
            if line.state in (Playback.QUEUED, Playback.PLAYING):
                past_a_mark = bool(unconfirmed) and line is not unconfirmed[0]
                line.final_ms = 0.0 if past_a_mark else self._heard_ms(line, now_s)
                line.state = Playback.DROPPED
                line.chunks.clear()
                line.dropped_bytes, line.held_bytes = line.held_bytes, 0
                steps.append(self._changed(line, now_s))
        if steps:
            self._quiet_since_s = now_s
        self._order.clear()
        self._unplayed.clear()
        self._burst_ms = 0.0
        self._burst_s = now_s
        self.paused = False
        return steps

    # --- what is known

    @property
    def idle(self) -> bool:
        """Whether nothing is queued or playing."""
        return not self._order and not self._unplayed

    @property
    def all_sent(self) -> bool:
        """Whether nothing waits here to be sent."""
        return not self._order

    def dry_at_s(self, now_s: float) -> float | None:
        """When the caller hears nothing if nothing is added, though a sentence is awaited.

        None: none is, or there is something to send.
        """
        if self.paused or not self._order or self._order[0].held_bytes >= audio.FRAME_BYTES:
            return None
        return now_s + max(0.0, self._ahead_ms(now_s)) / 1000

    def unconfirmed_until_s(self) -> float:
        """When the last audio sent will have been played, by the clock."""
        return self._burst_s + self._burst_ms / 1000

    def quiet_ms(self, now_s: float) -> float:
        """How long nothing has been playing."""
        return 0.0 if not self.idle else max(0.0, (now_s - self._quiet_since_s) * 1000)

    def ledger(self, now_s: float) -> tuple[LedgerEntry, ...]:
        """All sentences, in order."""
        return tuple(
            LedgerEntry(c.turn, c.index, line.text, c.state, c.played_ms, c.audio_ms, c.at)
            for line in self._lines.values()
            for c in (self._changed(line, now_s),)
        )

    # --- inside

    def _ahead_ms(self, now_s: float) -> float:
        return self._burst_ms - (now_s - self._burst_s) * 1000

    def _behind_ms(self, now_s: float) -> float:
        """By how much the lead has shrunk since there was room for a chunk; negative: there is none yet.

        Within a hundredth counts as room: a timer may ring early by a rounding error, far less than a sample.
        """
        behind_ms = self._lead_ms - self._chunk_ms - self._ahead_ms(now_s)
        return 0.0 if -0.01 < behind_ms < 0 else behind_ms

    def _new_burst(self, now_s: float) -> None:
        for line in [line for _, line in self._unplayed] + list(self._order)[:1]:
            line.played_before_ms = self._heard_ms(line, now_s)
            line.burst_bytes = 0
        self._burst_s = now_s
        self._burst_ms = 0.0

    def _send(self, line: _Line, now_s: float) -> list[Step]:
        payload = _take(line, self._chunk_bytes)
        steps: list[Step] = [SendAudio(payload)]
        if not line.burst_bytes:
            line.start_ms = self._burst_ms
        self._burst_ms += audio.ms_of(len(payload))
        line.sent_bytes += len(payload)
        line.burst_bytes += len(payload)
        if line.state is Playback.QUEUED:
            line.state = Playback.PLAYING
            line.at = now_s + self._wall_offset_s
            steps.append(self._changed(line, now_s))
        return steps

    def _close(self, line: _Line) -> SendMark:
        self._marked += 1
        name = f"{line.turn}.{line.index}.{self._marked}"
        self._unplayed.append((name, line))
        return SendMark(name)

    def _heard_ms(self, line: _Line, now_s: float) -> float:
        if line.final_ms is not None:
            return line.final_ms
        if not line.sent_bytes:
            return 0.0
        in_burst = (now_s - self._burst_s) * 1000 - line.start_ms
        heard = line.played_before_ms + min(max(in_burst, 0.0), audio.ms_of(line.burst_bytes))
        return min(heard, audio.ms_of(line.sent_bytes))

    def _changed(self, line: _Line, now_s: float) -> Changed:
        heard = self._heard_ms(line, now_s)
        return Changed(
            line.turn, line.index, line.state, heard, line.audio_ms, line.at, line.asked_at, line.audio_at
        )


def _take(line: _Line, limit: int) -> bytes:
    """Whole frames from the front of a sentence's audio, at most `limit` bytes."""
    want = min(limit, line.held_bytes // audio.FRAME_BYTES * audio.FRAME_BYTES)
    parts = []
    missing = want
    while missing:
        chunk = line.chunks.popleft()
        if len(chunk) > missing:
            line.chunks.appendleft(chunk[missing:])
            chunk = chunk[:missing]
        parts.append(chunk)
        missing -= len(chunk)
    line.held_bytes -= want
    return b"".join(parts)
