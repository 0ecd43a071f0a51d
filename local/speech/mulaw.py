"""mu-law bytes to samples and back, in arrays. Samples are float32 from -1 to 1."""

import numpy as np
from numpy.typing import NDArray

from engine.audio import decode_table, encode_table

Samples = NDArray[np.float32]

_FULL_SCALE = 32768.0
_DECODE: Samples = (np.array(decode_table(), dtype=np.float32) / np.float32(_FULL_SCALE)).astype(np.float32)
_ENCODE = np.frombuffer(encode_table(), dtype=np.uint8)


def samples_of(audio: bytes) -> Samples:
    """One sample for each byte."""
    return _DECODE[np.frombuffer(audio, dtype=np.uint8)]


def mulaw_of(samples: Samples) -> bytes:
    """One byte for each sample; what is too loud is clipped."""
    linear = np.clip(samples * _FULL_SCALE, -_FULL_SCALE, _FULL_SCALE - 1).astype(np.int16)
    return bytes(_ENCODE[linear.view(np.uint16)].tobytes())
