"""Cuts a model's stream of text into sentences to be spoken. Sans-I/O.

The first one leaves as soon as it is whole, or at a clause if it is long: what waits here is heard as silence.
"""

import re

CLAUSE_AFTER = 80  # characters after which the first sentence may be cut at a comma
LONGEST = 280  # characters after which any sentence is cut at a space; Deepgram takes 2,000 in a Speak

_END = re.compile(r"[.!?…]+[\"'”’)\]*_`]*(?=\s)|\n+")
_CLAUSE = re.compile(r"[,;:–—](?=\s)")
_NOT_AN_END = re.compile(
    r"(?:\b(?:mr|mrs|ms|dr|st|no|vs|jr|sr|inc|co|corp|ave|dept|approx|e\.g|i\.e|etc|[ap]\.m|[a-z]\.[a-z])|\b[A-Z])\.$",
    re.IGNORECASE,
)
_TIME = re.compile(r"[ap]\.m\.$", re.IGNORECASE)
_MARKDOWN = re.compile(r"[*_#`]+")
_WHOLE = re.compile(r"[.!?…][\"'”’)\]]*$")


def is_whole(sentence: str) -> bool:
    """Whether that is a sentence's end, and not a clause's or where a long one was cut."""
    return bool(_WHOLE.search(sentence))


class SentenceCutter:
    """Feed it text as it comes; it gives sentences back, stripped, none empty."""

    def __init__(self) -> None:
        self._text = ""
        self._given = 0

    def feed(self, text: str) -> list[str]:
        """The sentences that are whole now."""
        self._text += text
        sentences = []
        while (end := self._cut()) is not None:
            sentence, self._text = self._text[:end], self._text[end:]
            sentences += self._speakable(sentence)
        return sentences

    def flush(self) -> list[str]:
        """What is left when the text has ended."""
        rest, self._text = self._text, ""
        return self._speakable(rest)

    def _cut(self) -> int | None:
        """Where to cut: where the least text suffices to know it, so that the pieces it comes in don't matter."""
        cuts = [cut for cut in (self._at_an_end(), self._at_a_clause(), self._at_the_longest()) if cut]
        return min(cuts)[1] if cuts else None

    # Each gives (characters that are needed to know of the cut, where it is).

    def _at_an_end(self) -> tuple[int, int] | None:
        for match in _END.finditer(self._text):
            so_far, end = self._text[: match.end()], match.end()
            if not match.group().endswith(".") or not _NOT_AN_END.search(so_far.rstrip()):
                return end + (not match.group().endswith("\n")), end
            following = re.search(r"\S", self._text[end:])
            if following and following.group().isupper() and _TIME.search(so_far):
                return end + following.end(), end
        return None

    def _at_a_clause(self) -> tuple[int, int] | None:
        clause = _CLAUSE.search(self._text, CLAUSE_AFTER // 2)
        if self._given or clause is None or len(self._text) <= CLAUSE_AFTER:
            return None
        return max(CLAUSE_AFTER + 1, clause.end() + 1), clause.end()

    def _at_the_longest(self) -> tuple[int, int] | None:
        if len(self._text) <= LONGEST:
            return None
        return LONGEST + 1, self._text.rfind(" ", 0, LONGEST) + 1 or LONGEST

    def _speakable(self, sentence: str) -> list[str]:
        sentence = _MARKDOWN.sub("", sentence).strip()
        if not re.search(r"\w", sentence):
            return []
        self._given += 1
        return [re.sub(r"\s+", " ", sentence)]
