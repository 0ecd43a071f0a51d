"""`python -m doctor` (`make doctor`): tries settings, vendors' keys, what stands beside the app, and the app itself."""

import argparse
import asyncio
import logging
import sys
from urllib.parse import urlsplit

from rich.console import Console

from doctor.examination import examine
from doctor.report import print_findings, print_for_twilio
from engine.door import PREFIX

LIMIT_S = 5.0


def main() -> None:
    """Prints what it finds; ends with code 1 when something is wrong."""
    parser = argparse.ArgumentParser(prog="doctor", description="Finds what keeps calls from working.")
    parser.add_argument("--url", type=address, default="", help="the app's, e.g. https://voice.example.com")
    parser.add_argument(
        "--limit-s", type=float, default=LIMIT_S, help="longest time of each check, in seconds"
    )
    options = parser.parse_args()
    logging.getLogger().addHandler(logging.NullHandler())  # what is logged is in the table, in better words
    examined = asyncio.run(examine(options.url, options.limit_s))
    console = Console()
    print_findings(examined.findings, console)
    print_for_twilio(examined.webhook, console)
    sys.exit(any(one.is_wrong for one in examined.findings))


def address(text: str) -> str:
    """The app's address, also out of the webhook's. Raises `ArgumentTypeError`."""
    if text and (urlsplit(text).scheme not in ("http", "https") or not urlsplit(text).hostname):
        raise argparse.ArgumentTypeError(f"{text!r} is no address: give e.g. https://voice.example.com")
    return text.partition(PREFIX)[0].rstrip("/")


if __name__ == "__main__":
    main()
