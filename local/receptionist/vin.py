"""A VIN as it is spoken: letters, digits, spelling words, "double five", "B as in boy"."""

import re

from local.receptionist.words import TENS, UNITS, cardinal

LENGTH = 17

_NATO = (
    "alpha bravo charlie delta echo foxtrot golf hotel india juliet kilo lima mike november oscar papa "
    "quebec romeo sierra tango uniform victor whiskey xray yankee zulu"
)
_SOUNDS = {
    "bee": "b", "be": "b", "see": "c", "sea": "c", "dee": "d", "gee": "g", "aitch": "h", "jay": "j",
    "kay": "k", "okay": "k", "el": "l", "ell": "l", "em": "m", "en": "n", "pee": "p", "cue": "q",
    "queue": "q", "are": "r", "ess": "s", "tee": "t", "tea": "t", "you": "u", "vee": "v", "ex": "x",
    "why": "y", "zee": "z", "zed": "z", "oh": "0", "ate": "8", "for": "4", "to": "2", "too": "2", "won": "1",
    "juliett": "j", "alfa": "a", "whisky": "w",
}  # fmt: skip
# No VIN has I, O or Q: they are heard where 1 and 0 are meant.
_NOT_IN_A_VIN = str.maketrans({"i": "1", "o": "0", "q": "0"})
_SPELLED = {word: word[0] for word in _NATO.split()} | _SOUNDS


def says_vin(words: list[str]) -> bool:
    """Whether a VIN is spoken of, or most of one is said."""
    return "vin" in words or any(_is_run(word, 11) for word in words)


def _is_run(word: str, least: int) -> bool:
    mixed = bool(re.search(r"\d", word)) and bool(re.search(r"[a-z]", word))
    return mixed and least <= len(word) <= LENGTH and word.isascii() and word.isalnum()


def characters(words: list[str], least: int = 4) -> str:
    """The VIN's characters among the words, in capitals; "" if fewer than `least` are spelled. May be more than 17."""
    if "vin" in words:
        words = words[len(words) - words[::-1].index("vin") :]
    spelled = sum(1 for word in words if _piece(word))
    if spelled < least and not any(_is_run(word, 4) for word in words):
        return ""
    out: list[str] = []
    at, times = 0, 1
    while at < len(words):
        word = words[at]
        if words[at : at + 2] == ["as", "in"] or (word == "like" and out):
            at += 3 if word == "as" else 2
            continue
        if word in ("double", "triple"):
            times, at = (2 if word == "double" else 3), at + 1
            continue
        piece, at = _next(words, at)
        out.append(piece * times)
        times = 1 if piece else times
    return "".join(out).translate(_NOT_IN_A_VIN).upper()


def _next(words: list[str], at: int) -> tuple[str, int]:
    if words[at] in TENS or words[at] in UNITS:
        number = cardinal(words, at)
        if number:
            return str(number[0]), number[1]
    return _piece(words[at]), at + 1


def _piece(word: str) -> str:
    if word in _SPELLED:
        return _SPELLED[word]
    if word in UNITS or word in TENS:
        return str(UNITS.get(word, TENS.get(word)))
    if len(word) == 1 or (word.isascii() and word.isdigit()) or _is_run(word, 2):
        return word if word.isascii() and word.isalnum() else ""
    return ""
