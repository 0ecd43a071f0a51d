"""python -m local.receptionist: serves the receptionist in OpenAI's protocol."""

import argparse
import logging
import sys

from local.chat import chat_app
from local.receptionist.brain import WORD_GAP_S, Receptionist
from local.serving import serve_forever


def main() -> int:
    """Serves until SIGTERM; 1 if the port can't be had."""
    parser = argparse.ArgumentParser(
        prog="local.receptionist", description="A receptionist that works by rules, in OpenAI's protocol."
    )
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on")
    parser.add_argument("--port", type=int, default=0, help="port to listen on; 0: a free one")
    parser.add_argument("--with-parent", action="store_true", help="end when stdin ends")
    parser.add_argument("--word-gap-ms", type=float, default=WORD_GAP_S * 1000, help="pause between words")
    options = parser.parse_args()
    logging.basicConfig(stream=sys.stderr, level=logging.WARNING, format="%(levelname)s %(name)s %(message)s")
    app = chat_app(Receptionist(max(0.0, options.word_gap_ms) / 1000))
    try:
        serve_forever(app, options.host, options.port, with_parent=options.with_parent)
    except OSError as error:
        print(f"Can't listen on {options.host}:{options.port}: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
