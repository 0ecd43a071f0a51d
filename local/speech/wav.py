"""The header that makes mu-law bytes a WAV file (RIFF, format tag 7)."""

import struct

from engine.audio import SAMPLE_RATE

_MULAW = 7
_UNKNOWN = 0xFFFFFFFF


def mulaw_wav_header(byte_count: int | None = None) -> bytes:
    """44 bytes; without a count the sizes say "unknown", as a stream's must."""
    riff = _UNKNOWN if byte_count is None else byte_count + 36
    size = _UNKNOWN if byte_count is None else byte_count
    fmt = struct.pack("<HHIIHH", _MULAW, 1, SAMPLE_RATE, SAMPLE_RATE, 1, 8)
    chunks = b"WAVEfmt " + struct.pack("<I", len(fmt)) + fmt + b"data" + struct.pack("<I", size)
    return b"RIFF" + struct.pack("<I", riff) + chunks
