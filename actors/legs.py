"""The latency legs of each turn, as the engine itself sees them, for the call log.

All from wall times: the media plane and the control plane may be different machines.
"""

from dataclasses import dataclass, field

from engine.calllog import CallLog
from engine.callrows import Leg
from engine.messages import SpeechPlayed, Timings


@dataclass
class _Turn:
    final_at: float = 0.0
    spoke_until: float = 0.0
    first_sentence_at: float = 0.0
    told: set[Leg] = field(default_factory=set)


class Legs:
    """Tells the call log each leg of a turn, once."""

    def __init__(self, log: CallLog, call: str) -> None:
        self._log = log
        self._call = call
        self._turns: dict[int, _Turn] = {}
        self._requests: dict[int, int] = {}  # the first of each turn

    def turn_began(self, turn: int, final_at: float, spoke_until: float) -> None:
        """The caller's turn ended at `final_at` (transcript) and `spoke_until` (last word)."""
        self._turns[turn] = _Turn(final_at, spoke_until)

    def asked(self, turn: int, request: int) -> None:
        """The model is asked in this turn; only its first reply answers the caller's words."""
        if turn in self._turns and turn not in self._requests.values():
            self._requests[request] = turn

    def replied(self, request: int, timings: Timings) -> None:
        """A reply is whole, or as much of it as there will be."""
        turn = self._requests.get(request)
        state = self._turns.get(turn) if turn is not None else None
        if turn is not None and state is not None:
            self._tell(turn, Leg.FINAL_TO_REQUEST, state.final_at, timings.asked_at)
            self._tell(turn, Leg.FIRST_TOKEN, timings.asked_at, timings.first_token_at)

    def sentence(self, turn: int, at: float) -> None:
        """The turn's first sentence was whole at `at`."""
        state = self._turns.setdefault(turn, _Turn())
        state.first_sentence_at = state.first_sentence_at or at

    def playing(self, played: SpeechPlayed) -> None:
        """A sentence began to play; only the turn's first is measured."""
        state = self._turns.get(played.turn)
        if state is None or not played.at or Leg.AUDIO_TO_CALLER in state.told:
            return
        self._tell(played.turn, Leg.FIRST_SENTENCE_TO_TTS, state.first_sentence_at, played.asked_at)
        self._tell(played.turn, Leg.TTS_FIRST_AUDIO, played.asked_at, played.audio_at)
        self._tell(played.turn, Leg.AUDIO_TO_CALLER, played.audio_at, played.at)
        self._tell(played.turn, Leg.VOICE_TO_VOICE, state.spoke_until, played.at)

    def greeting(self, turn: int, started_at: float, first_frame_at: float) -> None:
        """The greeting's first frame was sent."""
        self._turns.setdefault(turn, _Turn())
        self._tell(turn, Leg.GREETING, started_at, first_frame_at)

    def cleared(self, turn: int, interim_at: float, clear_at: float) -> None:
        """An interim interrupted, and `clear` was sent."""
        self._turns.setdefault(turn, _Turn())
        self._tell(turn, Leg.INTERIM_TO_CLEAR, interim_at, clear_at)

    def tool(self, turn: int, n: int, took_ms: float, at: float) -> None:
        """The `n`th tool of a turn answered."""
        self._log.log_performance_metric(self._call, turn, Leg.TOOL, took_ms, at, n)

    def _tell(self, turn: int, leg: Leg, start_at: float, end_at: float) -> None:
        state = self._turns[turn]
        if start_at and end_at and leg not in state.told:
            state.told.add(leg)
            took_ms = (
                max(0.0, end_at - start_at) * 1000
            )  # two clocks' wall times may differ by more than a leg
            self._log.log_performance_metric(self._call, turn, leg, took_ms, end_at)
