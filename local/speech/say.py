"""`python -m local.speech.say "text" out.wav`: one sentence to a file, to hear what the voices are like."""

import argparse
import sys
from pathlib import Path

from local.speech.extra import MissingExtra
from local.speech.wav import mulaw_wav_header


def speak(text: str, voice: str) -> bytes:
    """8 kHz mu-law of `text`. Loads Piper into this process; raises `MissingExtra`.

    A program that must stay free of Piper's licence asks a speech server instead: `POST /v1/speak` with
    `model=joe-shifted&encoding=mulaw&sample_rate=8000&container=none`.
    """
    from local.speech.piper import Piper

    return b"".join(Piper().sentences(text, voice))


def main() -> None:
    """Writes a WAV file."""
    parser = argparse.ArgumentParser(prog="local.speech.say", description=__doc__)
    parser.add_argument("text")
    parser.add_argument("file", type=Path)
    parser.add_argument("--voice", choices=["joe", "joe-shifted"], default="joe")
    options = parser.parse_args()
    try:
        audio = speak(options.text, options.voice)
    except MissingExtra as missing:
        sys.exit(str(missing))
    options.file.write_bytes(mulaw_wav_header(len(audio)) + audio)


if __name__ == "__main__":
    main()
