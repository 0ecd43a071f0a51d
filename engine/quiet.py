"""Which of the caller's frames recognition can wait for: those in which nobody speaks.

Each send on a socket costs a system call and a wake-up at the other end, fifty times a second and call, and for most of
a call the caller listens. Deepgram asks for 20 to 250 ms of audio at once (github.com/orgs/deepgram/discussions/224),
so frames of a long quiet go ten at a time. What may be speech goes at once, with all before it, and so does the
silence after it, from which Deepgram tells that an utterance is over.
"""

from engine import audio

HOLD_BYTES = audio.bytes_of(200)
AFTER_SPEECH_MS = 200  # beyond the silence that ends a turn
_LOUD = 300  # of 32,124, 40 dB below full scale: speech peaks above it, a telephone line's noise does not
_QUIET_CODES = bytes(code for code, sample in enumerate(audio.decode_table()) if abs(sample) < _LOUD)
_CLICK = 8  # samples of a frame that may be loud: a millisecond


class Quiet:
    """The quiet of one stream, whose turns end after `endpointing_ms` of silence."""

    def __init__(self, endpointing_ms: int) -> None:
        self._after_speech_bytes = audio.bytes_of(endpointing_ms + AFTER_SPEECH_MS)
        self._quiet_bytes = 0  # since what may have been speech

    @property
    def quiet_ms(self) -> float:
        """How much audio there was since what may have been speech."""
        return self._quiet_bytes / audio.bytes_of(1)

    def hear(self, payload: bytes) -> bool:
        """Whether the next mu-law, one frame or more, may be speech."""
        if len(payload.translate(None, _QUIET_CODES)) > _CLICK:
            self._quiet_bytes = 0
            return True
        self._quiet_bytes += len(payload)
        return False

    def may_wait(self, held_bytes: int) -> bool:
        """Whether the last `held_bytes` need not be sent yet."""
        return self._quiet_bytes > self._after_speech_bytes and held_bytes < HOLD_BYTES
