"""Cuts a model's stream of text into sentences to be spoken. Sans-I/O.

The first one leaves as soon as it is whole, or at a clause if it is long: what waits here is heard as silence.
"""

import re

CLAUSE_AFTER = 80  # characters after which the first sentence may be cut at a comma
LONGEST = 280  # characters after which any sentence is cut at a space; Deepgram takes 2,000 in a Speak

_END = re.compile(r"[.!?…]+[\"'”’)\]]*(?=\s)|\n+")
_CLAUSE = re.compile(r"[,;:–—](?=\s)")
_NOT_AN_END = re.compile(
    r"(?:\b(?:mr|mrs|ms|dr|st|no|vs|jr|sr|inc|co|corp|ave|dept|approx|e\.g|i\.e|etc|[ap]\.m|[a-z]\.[a-z])|\b[A-Z])\.$",
    re.IGNORECASE,
)
_MARKDOWN = re.compile(r"[*_#`]+")


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
        for match in _END.finditer(self._text):
            so_far = self._text[: match.end()]
            if not match.group().endswith(".") or not _NOT_AN_END.search(so_far.rstrip()):
                return match.end()
            if _starts_a_sentence(self._text[match.end() :]) and re.search(
                r"[ap]\.m\.$", so_far, re.IGNORECASE
            ):
                return match.end()
        if self._given == 0 and len(self._text) > CLAUSE_AFTER:
            clause = list(_CLAUSE.finditer(self._text, CLAUSE_AFTER // 2))
            if clause:
                return clause[0].end()
        if len(self._text) > LONGEST:
            return self._text.rfind(" ", 0, LONGEST) + 1 or LONGEST
        return None

    def _speakable(self, sentence: str) -> list[str]:
        sentence = _MARKDOWN.sub("", sentence).strip()
        if not re.search(r"\w", sentence):
            return []
        self._given += 1
        return [re.sub(r"\s+", " ", sentence)]


def _starts_a_sentence(rest: str) -> bool:
    following = rest.lstrip()
    return bool(following) and following[0].isupper()
