"""A call as a WAV: the caller left, the agent right, as both were on the line, aligned in time."""

import wave
from array import array
from pathlib import Path

from engine.audio import FRAME_BYTES, SAMPLE_RATE, SILENCE, decode_table

_SILENT_FRAME = SILENCE * FRAME_BYTES


class Recording:
    """Both directions of a line, 20 ms at a time, as mu-law."""

    def __init__(self) -> None:
        self.caller = bytearray()
        self.agent = bytearray()

    def add(self, caller: bytes, agent: bytes | None) -> None:
        """One frame of each side; None where the agent played nothing."""
        self.caller += caller
        self.agent += agent or _SILENT_FRAME

    def write(self, path: Path | str) -> None:
        """Writes stereo, 8 kHz, 16-bit linear."""
        table = decode_table()
        samples = array("h", bytes(4 * len(self.caller)))
        samples[0::2] = array("h", [table[code] for code in self.caller])
        samples[1::2] = array("h", [table[code] for code in self.agent])
        with wave.open(str(path), "wb") as file:
            file.setnchannels(2)
            file.setsampwidth(2)
            file.setframerate(SAMPLE_RATE)
            file.writeframes(samples.tobytes())
