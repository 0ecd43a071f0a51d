"""How a VIN is read back, and asked about: characters with a word where the telephone could hide them."""

from collections.abc import Collection, Mapping

from crm.saying import digits, listing, number, ordinal
from crm.vin import LENGTH

_NAMES = (
    "Adam boy Charlie David Edward Frank George Henry John king Lincoln Mary Nancy Peter Robert Sam Tom union "
    "Victor William x-ray yellow zebra"
)
WORDS = {name[0].upper(): name for name in _NAMES.split()}
KEYPAD = (
    "ask the caller to type the VIN on the telephone's keypad: one key for each character, for a letter the key that "
    "it is printed on, star to take back the last one, and the hash key at the end"
)
_GROUPS = (3, 3, 3, 4, 4)
_FEW = 2  # more questions than this are not asked one after the other


def spoken(char: str) -> str:
    """ "five", or a letter as it is."""
    return digits(char) if char.isdigit() else char


def with_word(char: str) -> str:
    """ "B as in boy", or "the number five"."""
    return f"the number {digits(char)}" if char.isdigit() else f"{char} as in {WORDS[char]}"


def read_back(vin: str, worded: Collection[int] = ()) -> str:
    """A VIN in groups of three and four; the letters at `worded` with a word."""
    said = [
        with_word(char) if at in worded and char.isalpha() else spoken(char) for at, char in enumerate(vin)
    ]
    groups, at = [], 0
    for size in _GROUPS:
        groups.append(", ".join(said[at : at + size]))
        at += size
    return "; ".join(group for group in groups if group)


def question(places: Mapping[int, str]) -> str:
    """Asks for the characters at these places, one by one if they are few and so are the choices."""
    if len(places) <= _FEW and all(1 < len(options) <= 3 for options in places.values()):
        asked = [_choice(at, options) for at, options in places.items()]
        return " And ".join([asked[0], *(f"the {rest[4:]}" for rest in asked[1:])])
    if len(places) > LENGTH // 2:
        return "Please read it once more, each letter with a word, such as B as in boy."
    which = listing([ordinal(at + 1) for at in places])
    characters = "character" if len(places) == 1 else "characters"
    return f"Please say the {which} {characters} again, letters with a word, such as B as in boy."


def _choice(at: int, options: str) -> str:
    return f"The {ordinal(at + 1)} character: is it {listing([with_word(c) for c in options], 'or')}?"


def counted(text: str) -> str:
    """What there is of a VIN that is too short or too long."""
    characters = "character" if len(text) == 1 else "characters"
    return (
        f"I have {number(len(text))} {characters}: {read_back_any(text)}."
        if text
        else "I have no character yet."
    )


def read_back_any(text: str) -> str:
    """Any number of characters, in threes."""
    return "; ".join(", ".join(spoken(c) for c in text[at : at + 3]) for at in range(0, len(text), 3))
