"""One sentence on its way through synthesis, and how it goes on when a voice is lost in its middle. Sans-I/O.

The same voice is asked for the whole sentence again, and as many whole frames as were had already are dropped: the
words and their timing are the same. Another voice is asked for the rest of the text only, from the beginning of the
word that was under way, found in proportion: by how long this voice took for earlier sentences. Digits take many times
as long as letters ("$1,249.50" is eleven words), so they count for more.
"""

import re
from dataclasses import dataclass

from engine import audio
from engine.messages import Speak

USUAL_PACE = audio.SAMPLE_RATE / 15  # bytes a letter, of a voice that has said nothing yet
_WORD = re.compile(r"\S+")
_SPOKEN = dict.fromkeys("0123456789", 6.0) | {"$": 8.0, "%": 8.0, ",": 5.0, "-": 4.0}  # letters that it takes


@dataclass
class SentenceAudio:
    """A sentence that is queued, or asked for. `text` is what its voice is asked for."""

    speak: Speak
    text: str
    voice: str = ""  # whose audio has been passed on
    told_bytes: int = 0  # of `text`, passed on
    skip_bytes: int = 0  # to be dropped yet: they were passed on before
    asked_at: float = 0.0  # wall time, the first time
    audio_at: float = 0.0
    asked_s: float = 0.0

    @classmethod
    def of(cls, speak: Speak) -> "SentenceAudio":
        """A sentence that nobody has been asked for."""
        return cls(speak, speak.text)

    def ask(self, voice: str, pace: float) -> str:
        """The text to ask that voice for. `pace`: bytes a letter of the voice that spoke so far."""
        if self.told_bytes and voice != self.voice:
            self.text = rest_of(self.text, self.told_bytes / pace)
            self.told_bytes = 0
        self.voice = voice
        self.skip_bytes = self.told_bytes = self.told_bytes - self.told_bytes % audio.FRAME_BYTES
        return self.text

    def hear(self, payload: bytes) -> bytes:
        """The next audio of the present voice: what of it is to be passed on."""
        if self.skip_bytes:
            dropped = min(self.skip_bytes, len(payload))
            self.skip_bytes -= dropped
            payload = payload[dropped:]
        self.told_bytes += len(payload)
        return payload


def letters(text: str) -> float:
    """How long it takes to say, in letters of plain text."""
    return sum(_SPOKEN.get(character, 1.0) for character in text)


def rest_of(text: str, said: float) -> str:
    """`text` from the beginning of the word in which so many of its `letters` have been spoken; never nothing."""
    starts = [word.start() for word in _WORD.finditer(text)]
    begun = [start for start in starts if letters(text[:start]) <= said]
    return text[begun[-1] :] if begun else text
