"""What Moonshine writes, as Deepgram would write it."""

import re

_OLD_SPELLINGS = re.compile(r"\b(to)-(morrow|day|night)\b", re.IGNORECASE)


def worded(text: str) -> str:
    """Modern spellings, single spaces."""
    return " ".join(_OLD_SPELLINGS.sub(r"\1\2", text).split())
