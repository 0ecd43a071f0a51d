"""What Moonshine writes, as Deepgram would write it: modern spellings, and key terms by their sound."""

import re

_OLD_SPELLINGS = re.compile(r"\b(to)-(morrow|day|night)\b", re.IGNORECASE)
_SOUNDS = (("wh", "w"), ("ph", "f"), ("ck", "k"), ("c", "k"), ("q", "k"), ("x", "ks"), ("z", "s"))
_NOT_LETTERS = re.compile(r"[^a-z]")
_DOUBLED = re.compile(r"(.)\1+")
_VOWELS = re.compile(r"(?<=.)[aeiouy]")
# With fewer consonants, too many words sound alike.
_LEAST_CONSONANTS = 4


class Wording:
    """Rewrites transcripts. A `keyterm` replaces words that sound like it: "break inspection" becomes
    "brake inspection". Terms of fewer than four consonants are left alone."""

    def __init__(self, keyterms: tuple[str, ...]) -> None:
        self._terms: list[tuple[list[str], list[str]]] = []
        for term in keyterms:
            words = term.split()
            keys = [_sound(word) for word in words]
            if sum(map(len, keys)) >= _LEAST_CONSONANTS:
                self._terms.append((words, keys))

    def __call__(self, text: str) -> str:
        """`text`, reworded, with single spaces."""
        words = _OLD_SPELLINGS.sub(r"\1\2", text).split()
        sounds = [_sound(word) for word in words]
        for term, keys in self._terms:
            for at in range(len(words) - len(keys) + 1):
                if sounds[at : at + len(keys)] == keys:
                    pairs = zip(words[at : at + len(keys)], term, strict=True)
                    words[at : at + len(keys)] = [_like(heard, meant) for heard, meant in pairs]
        return " ".join(words)


def _sound(word: str) -> str:
    sound = _NOT_LETTERS.sub("", word.lower())
    for letters, heard in _SOUNDS:
        sound = sound.replace(letters, heard)
    return _VOWELS.sub("", _DOUBLED.sub(r"\1", sound))


def _like(heard: str, meant: str) -> str:
    """`meant` with the capital and the punctuation of `heard`."""
    tail = heard[len(heard.rstrip(".,?!;:")) :]
    return (meant[:1].upper() + meant[1:] if heard[:1].isupper() else meant) + tail
