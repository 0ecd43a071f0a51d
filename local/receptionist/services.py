"""Which service a caller means, mishearings included: "all change" is an oil change, but worth asking."""

import difflib
from collections.abc import Sequence
from dataclasses import dataclass

SURE = 0.9
LIKELY = 0.75

# Words that, alone, name no service: other things are changed and checked too.
_GENERIC_WORDS = "change service check replacement repair visit multi point full test"
_GENERIC = frozenset(_GENERIC_WORDS.split())
# Words that are never a misheard part of a service.
_PLAIN_WORDS = (
    "a an the to for my your our his her its it i you we they me us and or of on at in is are was be do does "
    "can could would will shall should want wanted like need please just also have has had make made get got "
    "any some this that these those with when what how about change changed appointment day time"
)
_PLAIN = frozenset(_PLAIN_WORDS.split())


@dataclass(frozen=True)
class Match:
    """A service named by `words[start:end]`. Not `sure`: it was guessed."""

    name: str
    start: int
    end: int
    sure: bool


def find_services(words: list[str], names: Sequence[str]) -> list[Match]:
    """The services that were named, in order; none that overlap."""
    exact = [m for name in names for m in _windows(words, name)]
    exact.sort(key=lambda match: (not match.sure, match.start - match.end))
    found: list[Match] = []
    for match in exact:
        if all(match.end <= other.start or other.end <= match.start for other in found):
            found.append(match)
    found = [m for m in found if m.sure] or found[:1]
    if not found:
        found = _by_parts(words, names)
    return sorted({m.name: m for m in reversed(found)}.values(), key=lambda match: match.start)


def could_be(words: list[str], names: Sequence[str]) -> list[str]:
    """Services that share a word with what was said, where that is not enough to tell them apart."""
    stems = {_stem(word) for word in words} - {_stem(word) for word in _GENERIC | _PLAIN}
    hits = [name for name in names if stems & {_stem(word) for word in name.split()}]
    return hits if len(hits) > 1 else []


def _windows(words: list[str], name: str) -> list[Match]:
    """Runs of words that sound like the name."""
    parts = name.lower().replace("-", " ").split()
    found = []
    for start in range(len(words) - len(parts) + 1):
        window = words[start : start + len(parts)]
        if all(_stem(word) == _stem(part) for word, part in zip(window, parts, strict=True)):
            found.append(Match(name, start, start + len(parts), True))
            continue
        misheard = [w for w, p in zip(window, parts, strict=True) if _stem(w) != _stem(p)]
        if len(parts) < 2 or any(word in _PLAIN or len(word) < 3 for word in misheard):
            continue
        if words[start + len(parts) : start + len(parts) + 1] in (["my"], ["it"], ["our"]):
            continue  # "to change my": a verb, not a service
        likeness = difflib.SequenceMatcher(None, " ".join(map(_singular, window)), " ".join(parts)).ratio()
        if likeness >= LIKELY:
            found.append(Match(name, start, start + len(parts), likeness >= SURE))
    return found


def _by_parts(words: list[str], names: Sequence[str]) -> list[Match]:
    """Services whose words are scattered ("my oil changed"), else one that owns a word that was said."""
    places = {_stem(word): at for at, word in reversed(list(enumerate(words)))}
    whole = []
    for name in names:
        at = [places.get(_stem(part), -1) for part in name.lower().replace("-", " ").split()]
        if len(at) > 1 and min(at) >= 0 and max(at) - min(at) <= 3:
            whole.append(Match(name, min(at), max(at) + 1, True))
    if whole:
        return whole[:1]
    found = []
    for word in words:
        if word in _GENERIC or word in _PLAIN or len(word) < 3:
            continue
        owners = [name for name in names if _stem(word) in {_stem(part) for part in name.split()}]
        if len(owners) == 1:
            at_word = words.index(word)
            found.append(Match(owners[0], at_word, at_word + 1, False))
    return found[:1]


def _singular(word: str) -> str:
    return word[:-1] if word.endswith("s") and len(word) > 3 else word


def _stem(word: str) -> str:
    """Close enough: "rotated" and "rotation", "brakes" and "brake", "aligned" and "alignment"."""
    word = _singular(word)
    for ending in ("ation", "ating", "ated", "ate", "ment", "ion", "ing", "ed", "e"):
        if word.endswith(ending) and len(word) - len(ending) >= 3:
            return word[: -len(ending)]
    return word
