"""Telephone audio: 8 kHz mono mu-law (G.711), one byte a sample, in frames of 20 ms.

Twilio and Deepgram both speak this format, so the engine passes bytes on as they are; only
`local` and `simulators` ever look at samples.
"""

from functools import cache

SAMPLE_RATE = 8000
FRAME_MS = 20
FRAME_BYTES = SAMPLE_RATE * FRAME_MS // 1000
BYTES_PER_MS = SAMPLE_RATE // 1000
SILENCE = b"\xff"  # mu-law zero

_BIAS = 0x84
_CLIP = 32635


def ms_of(byte_count: int) -> float:
    """How long `byte_count` bytes of mu-law play, in milliseconds."""
    return byte_count / BYTES_PER_MS


def bytes_of(ms: float) -> int:
    """How many bytes of mu-law play for `ms` milliseconds, rounded down."""
    return int(ms * BYTES_PER_MS)


def silence(ms: float) -> bytes:
    """mu-law silence of that many milliseconds."""
    return SILENCE * bytes_of(ms)


def linear_of(code: int) -> int:
    """The 16-bit linear sample that one mu-law byte stands for (G.711)."""
    code = ~code & 0xFF
    magnitude = (((code & 0x0F) << 3) + _BIAS) << ((code & 0x70) >> 4)
    return _BIAS - magnitude if code & 0x80 else magnitude - _BIAS


def code_of(sample: int) -> int:
    """The mu-law byte for one 16-bit linear sample (G.711)."""
    sign = 0x80 if sample < 0 else 0
    magnitude = min(abs(sample), _CLIP) + _BIAS
    exponent = magnitude.bit_length() - 8
    return ~(sign | (exponent << 4) | ((magnitude >> (exponent + 3)) & 0x0F)) & 0xFF


@cache
def decode_table() -> tuple[int, ...]:
    """256 linear samples, indexed by mu-law byte."""
    return tuple(linear_of(code) for code in range(256))


@cache
def encode_table() -> bytes:
    """65,536 mu-law bytes, indexed by the sample as an unsigned 16-bit number (`sample & 0xFFFF`)."""
    return bytes(code_of(s if s < 0x8000 else s - 0x10000) for s in range(0x10000))
