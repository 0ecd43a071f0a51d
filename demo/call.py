"""`python -m demo.call "..."` (`make call SAY="..."`): says one sentence to the app that `make serve` runs."""

import argparse
import asyncio
import contextlib
import sys
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

from rich.console import Console

from demo.board import Board
from demo.dial import CALLER, Telephone, place_call
from demo.view import print_row, shown
from demo.voice import Ear, Mouth
from demo.watch import Watch
from engine.settings import SettingsError, load_settings
from launcher.errors import LaunchError
from launcher.tracks import read_run_file
from launcher.vendors import local_speech
from simulators.twilio import CallOver, Line

HOME = Path(".trunkline")
SENTENCE = "What are your opening hours?"
GREETING_S = 30.0
ANSWER_S = 60.0
SILENT_S = 4.0  # after an answer; a tool may be running during a shorter pause
CALL_S = 120.0
MODEL = "nova-3"  # of the caller's own ear, whatever the app's is
# An app without Twilio's settings checks no signature: any account will do.
_NO_ACCOUNT, _NO_TOKEN = "AC" + "0" * 32, "none"
_LOOPBACK = {"127.0.0.1", "::1", "localhost"}


class OneSentence:
    """A person who says `text` after the greeting, hears the answer out, and hangs up."""

    def __init__(self, text: str, mouth: Mouth, ear: Ear) -> None:
        self._text = text
        self._mouth = mouth
        self._ear = ear

    async def __call__(self, line: Line) -> None:
        """The person of one call."""
        line.on_frame(self._ear.hear)
        try:
            sound = await self._mouth.sound_of(self._text)
            await line.journal.until(self._ear.turn_over, GREETING_S, "a greeting")
            line.journal.note("says", text=self._text)
            await line.say_audio(sound)
            self._ear.forget()
            await line.journal.until(self._answered, ANSWER_S, "an answer")
        except CallOver:
            return  # the app hung up, which the page shows

    def _answered(self) -> bool:
        return self._ear.turn_over() and self._ear.silent_s >= SILENT_S


def main() -> None:
    """Ends with 0 if the call was answered and nothing went wrong."""
    parser = argparse.ArgumentParser(prog="demo.call", description=main.__doc__)
    parser.add_argument("say", nargs="?", default="", help=f"what the caller says; {SENTENCE!r} by default")
    parser.add_argument("--caller", default=CALLER, help="number that calls, as +13125550142")
    options = parser.parse_args()
    try:
        settings = load_settings()
        facts = read_run_file(HOME)
        telephone = Telephone(
            facts["url"],
            settings.twilio_account_sid or _NO_ACCOUNT,
            settings.twilio_auth_token or _NO_TOKEN,
            options.caller,
        )
        with _speech(facts["deepgram_base_url"]) as speech_url:
            failure = asyncio.run(call(telephone, facts["redis_url"], speech_url, options.say or SENTENCE))
    except (SettingsError, LaunchError) as error:
        sys.exit(str(error))
    except KeyboardInterrupt:
        sys.exit(130)
    sys.exit(1 if failure else 0)


@contextlib.contextmanager
def _speech(url: str) -> Iterator[str]:
    """A local speech server for the caller: the app's own, or one for this call if the app uses Deepgram."""
    if urlsplit(url).hostname in _LOOPBACK:
        yield url
        return
    server = local_speech(HOME / "logs")
    server.start()
    try:
        yield server.url
    finally:
        server.stop()


async def call(telephone: Telephone, redis_url: str, speech_url: str, text: str) -> str:
    """Calls, shows the call, and returns what went wrong."""
    console = Console()
    live = console.is_terminal
    board = Board((lambda row: None) if live else (lambda row: print_row(console, row)))
    watch = Watch(board, "Caller")
    ear = Ear(watch.caller_hears)
    person = OneSentence(text, Mouth(speech_url), ear)
    async with (
        ear.open(load_settings(deepgram_base_url=speech_url, deepgram_api_key="local", stt_model=MODEL)),
        shown(board, console) if live else contextlib.nullcontext(),
    ):
        ended = await place_call(telephone, person, watch, redis_url, max_s=CALL_S)
        board.settle_all()
    return ended.failure


if __name__ == "__main__":
    main()
