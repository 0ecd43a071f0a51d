"""The caller's audio, kept until recognition has made words of it for good. Sans-I/O.

A listen socket may be lost at any moment, and with it all that it had heard and not told. So audio is forgotten only
when a final result covers it; the next socket is given the rest again, from where the last final ended (Deepgram,
Interim Results: a final ends its span, and the next span begins there). What was told of that rest, interims, is told
again: no word is lost, none comes twice.

A new socket counts time from zero. Positions here are bytes, which are samples of mu-law at 8 kHz, since the stream
began; `position` maps a socket's seconds to them.

Quiet before speech is kept for `LEAD_MS` only: it holds no words, and a new socket that is given much audio at once
falls behind (Deepgram reads at most 1.25 times as fast as people speak).
"""

from collections import deque

from engine import audio

LEAD_MS = 500


class KeptAudio:
    """One stream's audio for its recognition; at most `limit_ms` of it is kept."""

    def __init__(self, limit_ms: float) -> None:
        self._limit = audio.bytes_of(limit_ms)
        self._lead = audio.bytes_of(LEAD_MS)
        self._kept: deque[tuple[bytes, bool]] = deque()  # audio, and whether it may be speech
        self._first = 0  # position of the first byte that is kept
        self._end = 0
        self._loud = 0  # pieces kept that may be speech
        self._waiting: deque[bytes] = deque()  # the last ones kept: not given to the present socket yet
        self.waiting_bytes = 0
        self.loud_waiting = 0  # of those, bytes that may be speech
        self._given = 0  # bytes that the present socket has
        self.bytes_given = 0  # that any socket was given, what was given again too
        self._marks: list[tuple[int, int]] = []  # from this byte of the socket on, from this position on
        self.dropped = 0  # pieces lost to the limit

    @property
    def bytes_kept(self) -> int:
        """How much is kept."""
        return self._end - self._first

    @property
    def start(self) -> int:
        """The position of the first byte that is kept."""
        return self._first

    @property
    def end(self) -> int:
        """The position at which the next audio will be."""
        return self._end

    @property
    def quiet(self) -> bool:
        """Whether nothing that is kept may be speech."""
        return not self._loud

    def hear(self, payload: bytes, *, loud: bool) -> None:
        """The caller's next audio, not empty; `loud`: it may be speech."""
        self._kept.append((payload, loud))
        self._end += len(payload)
        self._loud += loud
        self._waiting.append(payload)
        self.waiting_bytes += len(payload)
        self.loud_waiting += len(payload) * loud
        while self._end - self._first > self._limit:
            self._drop_first()
            self.dropped += 1
        self._drop_quiet()

    def begin(self) -> None:
        """A new socket: it is to be given all that is kept."""
        while not self._loud and self.bytes_kept > self._lead:
            self._drop_first()
        self._waiting = deque(payload for payload, _ in self._kept)
        self.waiting_bytes = self._end - self._first
        self.loud_waiting = sum(len(payload) for payload, loud in self._kept if loud)
        self._given = 0
        self._marks = []

    def take(self) -> tuple[bytes, int]:
        """All that the socket has not been given yet, and how many bytes of it may be speech."""
        payload, loud = b"".join(self._waiting), self.loud_waiting
        position = self._end - self.waiting_bytes
        if not self._marks or self._position(self._given) != position:
            self._marks.append((self._given, position))
        self._given += len(payload)
        self.bytes_given += len(payload)
        self._waiting.clear()
        self.waiting_bytes = self.loud_waiting = 0
        return payload, loud

    def position(self, socket_s: float) -> int:
        """Where the socket's audio of that time, in seconds of what it was given, is in the stream."""
        return self._position(round(socket_s * audio.SAMPLE_RATE))

    def _position(self, of_socket: int) -> int:
        """A new mark begins where audio in between was never given."""
        for given, position in reversed(self._marks):
            if given <= of_socket:
                return position + of_socket - given
        return self._first + of_socket

    def forget(self, position: int) -> None:
        """All before that position has become words for good."""
        while self._kept and self._first + len(self._kept[0][0]) <= position and self._given_first():
            self._drop_first()
        if position > self._first and self._kept and self._given_first():
            payload, loud = self._kept[0]
            self._kept[0] = payload[position - self._first :], loud
            self._first = position
        self._drop_quiet()

    def _drop_quiet(self) -> None:
        """The present socket needs all quiet, to tell when words are over; the next one a moment of it."""
        while not self._loud and self.bytes_kept > self._lead and self._given_first():
            self._drop_first()

    def _given_first(self) -> bool:
        """Whether the socket has the first piece: what it has not heard can't be words."""
        return len(self._kept) > len(self._waiting)

    def _drop_first(self) -> None:
        if not self._given_first():
            waiting = self._waiting.popleft()
            self.waiting_bytes -= len(waiting)
            self.loud_waiting -= len(waiting) * self._kept[0][1]
        payload, loud = self._kept.popleft()
        self._first += len(payload)
        self._loud -= loud
