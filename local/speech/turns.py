"""Flux's turns, from what a recogniser hears and how much audio has passed. Sans-I/O.

Theory (Deepgram, "Understanding the Flux State Machine", "End-of-Turn Detection Parameters", "Force End Turn"):

    idle ---StartOfTurn---> talking ---EagerEndOfTurn---> awaiting its end ---EndOfTurn---> idle, of the next turn
                               ^ \\                            |
                               |  \\--EndOfTurn--> idle       |
                               \\--------TurnResumed---------/

An `Update` is told for each quarter of a second of audio in which nothing else was. A transcript is always the whole
turn so far. `EagerEndOfTurn` has one that is not empty, and the `EndOfTurn` after it the same: before other words there
is a `TurnResumed`. The clock is the audio: without audio no turn ends.

Where the confidence that a turn is over comes from is this server's own. Flux's model listens to what is said; the
recognisers here tell no more than that the speaker paused. So it is 0 until they do, and then grows with the silence
after the last word, to 1 at `CERTAIN_S`: a threshold of 0.7 is 560 ms of silence, one of 0.4 is 320.
"""

from dataclasses import dataclass
from enum import Enum

from local.speech.ports import Completed, Heard, Interim, Started

CERTAIN_S = 0.8
UPDATE_S = 0.25
LATE_S = 1.0  # how late a recogniser may tell a word, while the speaker goes on
NEVER = 1.0  # the `eot_threshold` that leaves the end of turns to the client, and to the time-out


class State(Enum):
    """Where a turn is."""

    IDLE = "idle"
    TALKING = "talking"
    AWAITING_END = "awaiting its end"


class Event(Enum):
    """What is told of a turn."""

    UPDATE = "Update"
    START_OF_TURN = "StartOfTurn"
    EAGER_END_OF_TURN = "EagerEndOfTurn"
    TURN_RESUMED = "TurnResumed"
    END_OF_TURN = "EndOfTurn"


class Trigger(Enum):
    """Why a turn ended."""

    MODEL = "model"
    MANUAL = "manual"
    TIMEOUT = "timeout"


@dataclass(frozen=True, slots=True)
class Thresholds:
    """When a turn is over; `eager_eot` None: nothing is told before that."""

    eot: float = 0.7
    eager_eot: float | None = None
    timeout_ms: int = 5000


@dataclass(frozen=True, slots=True)
class Info:
    """One event of a turn. `spoken` are pieces of text with the seconds of audio from and to which they were said."""

    event: Event
    turn: int
    start_s: float
    end_s: float
    spoken: tuple[tuple[str, float, float], ...]
    confidence: float
    trigger: Trigger | None = None

    @property
    def transcript(self) -> str:
        """The whole turn so far."""
        return " ".join(text for text, _, _ in self.spoken if text)


class Turns:
    """The turns of one socket. Times are seconds of audio, and never go back."""

    def __init__(self, thresholds: Thresholds) -> None:
        self.thresholds = thresholds
        self._state = State.IDLE
        self._turn = 0
        self._start_s = 0.0
        self._completed: list[Completed] = []
        self._interim: Interim | None = None
        self._paused = False  # the recogniser says so
        self._words_s = 0.0  # where the last words ended, or a voice began
        self._told_s = 0.0

    @property
    def under_way(self) -> bool:
        """Whether somebody has the turn."""
        return self._state is not State.IDLE

    def heard(self, heard: Heard, now_s: float) -> list[Info]:
        """The recogniser's news."""
        told = self._goes_on(heard, now_s)
        match heard:
            case Started(at_s):
                self._paused = False
                self._words_s = max(self._words_s, at_s)
            case Interim():
                self._paused, self._interim = False, heard
                self._words_s = heard.end_s
            case Completed():
                self._paused, self._interim = heard.ended, None
                if heard.text:
                    self._completed.append(heard)
                    self._words_s = heard.end_s
        if told and told[-1].event is Event.START_OF_TURN:
            told[-1] = self._info(Event.START_OF_TURN, now_s)  # with the words that began it
        return told

    def _goes_on(self, heard: Heard, now_s: float) -> list[Info]:
        """Before it is noted: a voice begins a turn, or takes an expected end back."""
        if isinstance(heard, Completed) and not heard.text:
            return []
        if self._state is State.IDLE:
            self._state = State.TALKING
            return [self._info(Event.START_OF_TURN, now_s)]
        if self._state is State.AWAITING_END:
            self._state = State.TALKING
            return [self._info(Event.TURN_RESUMED, now_s)]
        return []

    def passed(self, now_s: float) -> list[Info]:
        """Audio has come, up to `now_s`."""
        sure, thresholds = self._confidence(now_s), self.thresholds
        if self._transcribed and thresholds.eot < NEVER and sure >= thresholds.eot:
            return [self.end(now_s, Trigger.MODEL)]
        eager = thresholds.eager_eot
        if self._state is State.TALKING and self._transcribed and eager is not None and sure >= eager:
            self._state = State.AWAITING_END
            return [self._info(Event.EAGER_END_OF_TURN, now_s)]
        return [self.update(now_s)] if now_s - self._told_s >= UPDATE_S else []

    def update(self, now_s: float) -> Info:
        """The turn as it stands."""
        return self._info(Event.UPDATE, now_s)

    def timed_out(self, now_s: float) -> bool:
        """Whether the turn is to be ended although nobody is sure."""
        silent_s = now_s - self._words_s - (0.0 if self._paused else LATE_S)
        return self.under_way and silent_s * 1000 >= self.thresholds.timeout_ms

    def end(self, now_s: float, trigger: Trigger) -> Info:
        """The turn is over, and the next one has the next number."""
        info = self._info(Event.END_OF_TURN, now_s, trigger)
        self._state = State.IDLE
        self._turn += 1
        self._start_s = now_s
        self._completed, self._interim, self._paused = [], None, False
        return info

    @property
    def _transcribed(self) -> bool:
        return bool(self._completed or self._interim)

    def _confidence(self, now_s: float) -> float:
        """That no more speech comes in this turn."""
        if not self._paused:
            return 0.0
        return min(1.0, max(0.0, now_s - self._words_s) / CERTAIN_S)

    def _info(self, event: Event, now_s: float, trigger: Trigger | None = None) -> Info:
        self._told_s = now_s
        pieces: list[Completed | Interim] = [*self._completed, *([self._interim] if self._interim else [])]
        spoken = tuple((piece.text, piece.start_s, piece.end_s) for piece in pieces)
        return Info(event, self._turn, self._start_s, now_s, spoken, self._confidence(now_s), trigger)
