"""What callers are called and drive, as it is kept and told: nothing in it can be taken for anything but a name.

A caller says what they like, and it is stored, put into the next call's prompt, spoken, and printed in the office.
"""

import unicodedata

NAME_MOST = 60  # characters
CAR_MOST = 60
_KEPT = frozenset("'\u2019.,-&/")
_MARKS_MOST = 2  # in a row; a letter of a real name has no more


def plain(text: str, most: int) -> str:
    """Letters, digits and what joins them, with single spaces, cut after `most` characters; "" without any letter or
    digit."""
    found: list[str] = []
    marks = 0
    for letter in unicodedata.normalize("NFKC", text):
        kind = unicodedata.category(letter)
        marks = marks + 1 if kind == "Mn" else 0
        if kind == "Cf" or marks > _MARKS_MOST:  # invisible, or piled up
            continue
        found.append(letter if kind[0] in "LNM" or letter in _KEPT else " ")
    cut = " ".join("".join(found).split())[:most].strip()
    return cut if any(letter.isalnum() for letter in cut) else ""
