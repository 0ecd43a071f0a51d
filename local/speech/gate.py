"""Whether there was a voice: recognisers hear words in silence and in noise, energy tells.

A voice stands out from the background: its syllables are louder than a threshold that is above the quietest
tenth of the last seconds, and above an absolute least. Steady noise never stands out from itself.
"""

import numpy as np
from numpy.typing import NDArray

from engine.audio import FRAME_BYTES, FRAME_MS
from local.speech.mulaw import Samples

_KEPT_FRAMES = 2000  # 40 s: longer than any line of a recogniser
_FLOOR_FRAMES = 500
_FLOOR_PERCENTILE = 10
_LEAST_DB = -48.0
_ABOVE_FLOOR_DB = 8.0
_LEAST_VOICE_MS = 100
_DIGITAL_SILENCE = 1e-10


class VoiceGate:
    """Keeps the loudness of each 20 ms of one stream, and judges spans of it."""

    def __init__(self) -> None:
        self._levels_db: NDArray[np.float32] = np.empty(0, dtype=np.float32)
        self._first = 0
        self._rest: Samples = np.empty(0, dtype=np.float32)

    def feed(self, samples: Samples) -> None:
        """The next samples of the stream."""
        samples = np.concatenate([self._rest, samples])
        whole = len(samples) // FRAME_BYTES * FRAME_BYTES
        self._rest = samples[whole:]
        power = np.square(samples[:whole].reshape(-1, FRAME_BYTES)).mean(axis=1) + _DIGITAL_SILENCE
        levels = np.concatenate([self._levels_db, (10 * np.log10(power)).astype(np.float32)])
        self._first += max(0, len(levels) - _KEPT_FRAMES)
        self._levels_db = levels[-_KEPT_FRAMES:]

    def is_voice(self, start_s: float, end_s: float) -> bool:
        """Whether at least 100 ms of that span, in seconds since the stream began, is a voice."""
        start = max(0, int(start_s * 1000 / FRAME_MS) - self._first)
        end = max(start, int(end_s * 1000 / FRAME_MS) + 1 - self._first)
        span = self._levels_db[start:end]
        if not len(span):
            return False
        recent = self._levels_db[max(0, end - _FLOOR_FRAMES) : end]
        floor = float(np.percentile(recent, _FLOOR_PERCENTILE))
        loud = np.count_nonzero(span > max(_LEAST_DB, floor + _ABOVE_FLOOR_DB))
        return int(loud) * FRAME_MS >= _LEAST_VOICE_MS
