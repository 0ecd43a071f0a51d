"""What Twilio does with the audio it is given, without sockets or clocks: one step each 20 ms.

Twilio, "Media Streams - WebSocket Messages": media is queued and played in order in real time; a mark is
echoed when all before it has been played, at once if nothing is queued; clear drops the queue and echoes
every outstanding mark.
"""

from collections import deque
from dataclasses import dataclass

from engine.audio import FRAME_BYTES, SILENCE


@dataclass(frozen=True, slots=True)
class Step:
    """20 ms of playback. `frame` is None when nothing plays; `echoes` are marks whose audio is over now."""

    frame: bytes | None
    echoes: list[str]
    ran_dry: bool


class Playback:
    """The queue of one stream. Positions are bytes since the stream began."""

    def __init__(self) -> None:
        self._queue = bytearray()
        self._taken = 0  # given out in frames, the one in the air included
        self._finished = 0
        self._playing = False
        self._marks: deque[tuple[int, str]] = deque()

    @property
    def idle(self) -> bool:
        """Nothing is queued and nothing is in the air."""
        return not self._queue and not self._playing

    def put(self, audio: bytes) -> None:
        """Queues audio of any length."""
        self._queue += audio

    def mark(self, name: str) -> list[str]:
        """Queues a mark; returns what is to be echoed at once."""
        self._marks.append((self._taken + len(self._queue), name))
        return self._due()

    def clear(self) -> tuple[int, list[str]]:
        """Drops the queue; returns how many bytes fell, and the marks to echo. 20 ms in the air play out."""
        dropped = len(self._queue)
        self._queue.clear()
        names = [name for _, name in self._marks]
        self._marks.clear()
        return dropped, names

    def step(self) -> Step:
        """20 ms later: what was in the air has been played, the next frame is taken."""
        self._finished = self._taken
        was_playing, self._playing = self._playing, bool(self._queue)
        frame = bytes(self._queue[:FRAME_BYTES]) if self._playing else None
        if frame is not None:
            del self._queue[:FRAME_BYTES]
            self._taken += len(frame)
            frame = frame.ljust(FRAME_BYTES, SILENCE)
        return Step(frame, self._due(), was_playing and not self._playing)

    def _due(self) -> list[str]:
        due = []
        while self._marks and self._marks[0][0] <= self._finished:
            due.append(self._marks.popleft()[1])
        return due
