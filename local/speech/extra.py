"""The one sentence for a machine on which the speech models are not installed."""

from collections.abc import Generator
from contextlib import contextmanager


class MissingExtra(Exception):
    """Packages of the `local-speech` extra are absent; the message says what to do."""


@contextmanager
def extra_needed() -> Generator[None, None, None]:
    """Turns an `ImportError` inside the block into `MissingExtra`."""
    try:
        yield
    except ImportError as error:
        missing = error.name or str(error)
        raise MissingExtra(
            f"speech on this machine needs {missing}, which is not installed: "
            "pip install 'trunkline[local-speech]', or set DEEPGRAM_API_KEY"
        ) from error
