"""`python -m local.speech --port N`: real recognition and synthesis in a process of its own."""

import argparse
import logging
import sys

from local.serving import serve_forever
from local.speech.app import speech_app
from local.speech.extra import MissingExtra
from local.speech.watch import Limits


def main() -> None:
    """Serves Deepgram's protocol; prints `listening on <port>` to standard output when ready."""
    parser = argparse.ArgumentParser(prog="local.speech", description=main.__doc__)
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=0, help="0 takes a free one")
    parser.add_argument("--engine", choices=["local"], default="local", help="what hears and speaks")
    parser.add_argument("--with-parent", action="store_true", help="stop when standard input ends")
    parser.add_argument("--flush-limit", type=int, default=Limits().flush_limit, help="Flushes in 60 s")
    options = parser.parse_args()
    logging.basicConfig(stream=sys.stderr, level=logging.INFO, format="%(levelname)s %(name)s: %(message)s")
    try:
        from local.speech.models import load_models

        models = load_models()
    except MissingExtra as missing:
        sys.exit(str(missing))
    app = speech_app(models.recogniser, models.voice, Limits(flush_limit=options.flush_limit))
    try:
        serve_forever(app, options.host, options.port, with_parent=options.with_parent)
    except OSError as error:
        sys.exit(f"can't listen on {options.host}:{options.port} ({error}): choose another --port")


if __name__ == "__main__":
    main()
