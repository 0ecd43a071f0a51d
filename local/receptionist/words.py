"""What was heard, as a list of plain words, and the numbers among them.

Recognisers differ: "9:30 a.m.", "nine thirty AM" and "Twenty-seventh" all become lower-case words without
punctuation, so that the parsers see one spelling.
"""

import re

_UNITS = (
    "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen "
    "seventeen eighteen nineteen"
)
_TENS = "twenty thirty forty fifty sixty seventy eighty ninety"
_ORDINALS = (
    "first second third fourth fifth sixth seventh eighth ninth tenth eleventh twelfth thirteenth fourteenth "
    "fifteenth sixteenth seventeenth eighteenth nineteenth"
)
UNITS = {word: value for value, word in enumerate(_UNITS.split())}
TENS = {word: 10 * value for value, word in enumerate(_TENS.split(), 2)}
ORDINALS = {word: value for value, word in enumerate(_ORDINALS.split(), 1)} | {
    f"{word[:-1]}ieth": value for word, value in TENS.items()
}

_CLOCK_MARK = re.compile(r"\b([ap])\s?\.\s?m\b\.?")
_OCLOCK = re.compile(r"o\s?['’]?\s?clock\b")
_WORD = re.compile(r"\d+(?:[:./]\d+)+(?=[ap]m|\b)|\d{4}-\d\d?-\d\d?|[^\W_]+")
_GLUED = re.compile(r"(\d{1,2}(?::\d\d)?)([ap]m)")


def words_of(text: str) -> list[str]:
    """Lower-case words; "am", "pm" and "oclock" stand alone; apostrophes vanish, hyphens part."""
    text = _CLOCK_MARK.sub(r"\1m ", text.lower())
    text = _OCLOCK.sub("oclock", text).replace("'", "").replace("’", "")
    words: list[str] = []
    for word in _WORD.findall(text):
        glued = _GLUED.fullmatch(word)
        words += glued.groups() if glued else [word]
    return words


def cardinal(words: list[str], at: int) -> tuple[int, int] | None:
    """The number that starts at `words[at]` ("twenty seven", "27") and the index after it; 0 to 9999."""
    if at >= len(words):
        return None
    word = words[at]
    if word.isascii() and word.isdigit() and len(word) <= 4:
        return int(word), at + 1
    if word in UNITS:
        return UNITS[word], at + 1
    if word in TENS:
        unit = UNITS.get(words[at + 1], 0) if at + 1 < len(words) else 0
        return (TENS[word] + unit, at + 2) if 1 <= unit <= 9 else (TENS[word], at + 1)
    return None


def ordinal(words: list[str], at: int) -> tuple[int, int] | None:
    """The ordinal that starts at `words[at]` ("twenty seventh", "27th") and the index after it; 1 to 99."""
    if at >= len(words):
        return None
    word = words[at]
    written = re.fullmatch(r"(\d{1,2})(?:st|nd|rd|th)", word, re.ASCII)
    if written and int(written[1]):
        return int(written[1]), at + 1
    if word in ORDINALS:
        return ORDINALS[word], at + 1
    if word in TENS and at + 1 < len(words):
        unit = ORDINALS.get(words[at + 1], 0)
        if 1 <= unit <= 9:
            return TENS[word] + unit, at + 2
    return None
