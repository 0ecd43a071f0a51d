"""Words as recognition hears them, and when two are near enough to be the same.

Recognition spells what it hears: "Mitchel" for Mitchell, "o kafor" for O'Kafor, "f one fifty" for F-150. Text is cut
into words without case, accents and punctuation, numbers become digits part by part as they are said ("twenty
twenty-two" is 20 and 22), and words are compared by a rough skeleton of their sound.
"""

import functools
import re
import unicodedata
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

WORDS_MOST = 24  # of one answer; more is no answer
TEXT_MOST = 200  # characters of one answer
_SOUND_LETTERS = 5  # of a skeleton, from which on one letter may be wrong
_SOUND_LETTERS_TWO = 9  # and from which on two
_LETTERS_OFF = 5  # what spellings of one sound differ by at most

_UNITS = {
    name: value
    for value, name in enumerate(
        re.findall(
            r"\w+",
            "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen "
            "seventeen eighteen nineteen",
        )
    )
}
_TENS = {
    name: 10 * tens
    for tens, name in enumerate(
        ("twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety"), 2
    )
}
_JOINERS = str.maketrans("", "", "'\u2018\u2019\u02bc`\u00b4")
_WORD = re.compile(r"[^\W\d_]+|\d+")
_SOUNDS = (
    ("ph", "f"), ("ck", "k"), ("sch", "sh"), ("tch", "ch"), ("gh", ""), ("kn", "n"), ("wr", "r"),
    ("c", "k"), ("q", "k"), ("x", "ks"), ("z", "s"), ("y", "i"), ("kh", "ch"), ("ie", "i"), ("ei", "i"),
)  # fmt: skip


@dataclass(frozen=True)
class Word:
    """One word: letters in lower case, or digits. `capital`: it was written with one."""

    text: str
    capital: bool = False


def words(text: str) -> list[Word]:
    """The words of a text; numbers in words are digits, a part each."""
    plain = unicodedata.normalize("NFKD", text).translate(_JOINERS)
    plain = "".join(letter for letter in plain if not unicodedata.combining(letter))
    return list(_with_digits([Word(word.casefold(), word[0].isupper()) for word in _WORD.findall(plain)]))


def _with_digits(found: Sequence[Word]) -> Iterator[Word]:
    place = 0
    while place < len(found):
        value, length = _number(found, place)
        yield Word(value) if length else found[place]
        place += length or 1


def _number(found: Sequence[Word], place: int) -> tuple[str, int]:
    """The part of a number that begins there, as digits, and of how many words it is; 0: none begins."""

    def at(offset: int) -> str:
        return found[place + offset].text if place + offset < len(found) else ""

    if at(0) in ("oh", "o") and at(1) in _UNITS and _UNITS[at(1)] < 10:
        return f"0{_UNITS[at(1)]}", 2  # "oh eight"
    value, length = _below_hundred(at(0), at(1))
    if not length:
        return "", 0
    scale = {"hundred": 100, "thousand": 1000}.get(at(length), 0)
    if not scale:
        return str(value), length
    length += 1
    skip = at(length) == "and"
    rest, more = _below_hundred(at(length + skip), at(length + skip + 1))
    return str(value * scale + rest), length + (skip + more if more else 0)


def _below_hundred(first: str, second: str) -> tuple[int, int]:
    if first in _TENS:
        unit = _UNITS.get(second, 0)
        return (_TENS[first] + unit, 2) if 0 < unit < 10 else (_TENS[first], 1)
    return (_UNITS[first], 1) if first in _UNITS else (0, 0)


@functools.lru_cache(4096)
def sound(word: str) -> str:
    """How a word sounds, roughly: spellings of one sound are one, doubled letters single, a last e silent."""
    word = re.sub("c(?=[eiy])", "s", word)
    for spelling, said in _SOUNDS:
        word = word.replace(spelling, said)
    word = re.sub(r"(.)\1+", r"\1", word)
    return word.removesuffix("e") if len(word) > 3 else word


def near(one: str, other: str) -> bool:
    """Whether recognition may have made one of the other: they sound alike, but for a letter in five, two in nine.

    The first sound must be the same, and short words must sound alike to the letter, or a guess would come through.
    Digits are not heard wrong.
    """
    if one == other:
        return True
    if not one or not other or abs(len(one) - len(other)) > _LETTERS_OFF:
        return False
    if any(map(str.isdigit, one + other)):
        return False
    a, b = sound(one), sound(other)
    if a == b:
        return bool(a)
    shorter = min(len(a), len(b))
    most = 2 if shorter >= _SOUND_LETTERS_TWO else 1 if shorter >= _SOUND_LETTERS else 0
    return most > 0 and a[0] == b[0] and abs(len(a) - len(b)) <= most and _distance(a, b) <= most


def _distance(a: str, b: str) -> int:
    """How many letters were put in, left out, changed or swapped with the next (optimal string alignment)."""
    before: list[int] = []
    last = list(range(len(b) + 1))
    for i, letter in enumerate(a, 1):
        row = [i]
        for j, other in enumerate(b, 1):
            cost = min(last[j] + 1, row[j - 1] + 1, last[j - 1] + (letter != other))
            if i > 1 and j > 1 and letter == b[j - 2] and a[i - 2] == other:
                cost = min(cost, before[j - 2] + 1)
            row.append(cost)
        before, last = last, row
    return last[-1]
