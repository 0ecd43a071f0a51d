"""`python -m demo` (`make demo`): a whole app, a caller with a voice and an ear, and a call to watch."""

import argparse
import asyncio
import datetime as dt
import json
import os
import random
import re
import signal
import sys
from pathlib import Path
from zoneinfo import ZoneInfo

from rich.console import Console

from demo.closing import print_closing
from demo.dial import CALLER
from demo.performance import Performance, perform
from demo.report import fault
from demo.scenario import Scenario, scenario
from demo.stage import demo_stage
from demo.view import page_of
from engine.settings import Settings
from launcher.errors import LaunchError

HOME = Path(".trunkline") / "demo"
PICTURE_COLUMNS = 100
_INTERRUPTED = 130
_OPENING = (
    "Trunkline: a call from Sarah Mitchell to a dealership, on this machine alone.",
    "Nothing is downloaded now and nothing leaves this machine: no account, no telephone, no key.",
    "(make installed about 385 MB once; models for speech are in it.)",
    "GPL parts, each in a process of its own: Piper with espeak-ng (GPL-3.0) speaks, HAProxy (GPL-2.0)",
    "carries the connections. Recognition is Moonshine (MIT). The model's part is played by a receptionist",
    "that works by rules; Postgres and Valkey are real and thrown away afterwards.",
)


def main() -> None:
    """Ends with 0 if what Postgres holds is exactly what the seed asked for."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    options = _options()
    console = Console(force_terminal=False if options.plain else None)
    try:
        sys.exit(run(options, console))
    except LaunchError as error:
        print(error, file=sys.stderr)
        sys.exit(1)
    except KeyboardInterrupt:
        sys.exit(_INTERRUPTED)


def run(options: argparse.Namespace, console: Console) -> int:
    """Stages the call and judges it; returns the exit status."""
    zone = ZoneInfo(str(Settings.model_fields["timezone"].default))
    seed = random.SystemRandom().randrange(10_000) if options.seed is None else options.seed
    for line in _OPENING:
        console.print(line, style="dim", highlight=False, soft_wrap=True)
    HOME.mkdir(parents=True, exist_ok=True)
    console.print("Starting Postgres, Valkey, speech, receptionist, Ray Serve and HAProxy ...")
    with demo_stage(HOME) as stage:
        signal.signal(signal.SIGINT, signal.default_int_handler)  # Ray's own ends the process at once
        wish = scenario(seed, dt.datetime.now(zone), zone)
        wished = "nothing: the caller is mute" if options.mute else wish.wish
        console.print(f"SEED={seed}: the caller wants {wished}.", highlight=False)
        done = asyncio.run(perform(stage, wish, console, HOME / "call.wav", mute=options.mute))
    wrong = fault(done.record, wish, CALLER, mute=options.mute) or done.failure
    print_closing(console, done.record, done.wav, wished, wrong)
    if options.json:
        options.json.write_text(json.dumps(_facts(seed, wish, done, wrong, options.mute), indent=2))
    if options.svg:
        draw(options.svg, done, wished, wrong)
    return 1 if wrong else 0


def draw(path: Path, done: Performance, wished: str, wrong: str) -> None:
    """The final view as an SVG."""
    with Path(os.devnull).open("w") as nowhere:
        console = Console(record=True, width=PICTURE_COLUMNS, file=nowhere, force_terminal=True)
        console.print(page_of(done.board.rows))
        print_closing(console, done.record, done.wav, wished, wrong)
        picture = console.export_svg(title="make demo")
    # A picture in a README must not fetch fonts from elsewhere; what is installed will do.
    path.write_text(re.sub(r',\s*url\("https?://[^)]*\) format\("\w+"\)', "", picture), encoding="utf-8")


def _facts(seed: int, wish: Scenario, done: Performance, wrong: str, mute: bool) -> dict[str, object]:
    record = done.record
    return {
        "seed": seed,
        "mute": mute,
        "ok": not wrong,
        "fault": wrong,
        "wish": {
            "service": wish.service,
            "starts_at": wish.starts_at.isoformat(),
            "moves_to": wish.moves_to.isoformat(),
        },
        "bookings": [
            {"service": b.service, "starts_at": b.starts_at.isoformat(), "phone": b.phone, "status": b.status}
            for b in record.bookings
        ],
        "changes": [
            {"what": c.what, "service": c.service, "starts_at": c.starts_at.isoformat()}
            for c in record.changes
        ],
        "ending": record.ending,
        "outcome": record.outcome,
        "interruptions": record.interruptions,
        "agent_said": record.agent_said,
        "caller_heard_as": record.caller_said,
        "stages": [str(stage) for stage in done.stages],
        "turns": [{"heard": heard, "said": said} for heard, said in done.turns],
        "legs_ms": record.legs,
        "wav": str(done.wav),
        "call_s": done.call_s,
        "failure": done.failure,
    }


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="demo", description=main.__doc__)
    parser.add_argument("--seed", type=_seed, default=None, help="repeats the wish of an earlier call")
    parser.add_argument("--mute", action="store_true", help="the caller says nothing")
    parser.add_argument("--plain", action="store_true", help="a line at a time, as without a terminal")
    parser.add_argument("--json", type=Path, metavar="FILE", help="also writes the result there")
    parser.add_argument("--svg", type=Path, metavar="FILE", help="also draws the final view there")
    return parser.parse_args()


def _seed(text: str) -> int | None:
    if not text.strip():
        return None
    try:
        return int(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"a seed is a whole number, got {text!r}") from None


if __name__ == "__main__":
    main()
