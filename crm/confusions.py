"""Which characters are taken for which on the telephone.

Of letters said alone over the telephone, people told 93 % right, and a recogniser 89 %: its band lacks what tells F
from S, P from T, B from D and V from Z (Fanty, Cole, Roginski: "English Alphabet Recognition with Telephone
Speech", NIPS 1991). B/P, D/T, T/G, C/Z, M/N and J/K are hard without a telephone already (Cole, Fanty: "Spoken
Letter Recognition", DARPA 1990). The sets are those of voice interface design (Speech Technology magazine, "The
Alpha Bail"): A H J K, B C D E G P T V Z, F S X, I Y, M N.

What digits add is ours: 3 rhymes with B, 8 with A and H, 2 with U, 6 ends as X does, and 1 is what is made of an I.
Five and nine are the pair for which pilots say "fife" and "niner" (ICAO, Annex 10, volume II).
"""

_SETS = ("BCDEGPTVZ3", "AHJK8", "FSX", "6X", "MN", "159Y", "U2")
_WORST = "BD BP DT TG PT CZ VZ MN JK FS 59 A8 BV DG BE DE 1Y"

LIKELY, POSSIBLE = 1, 2  # how far a character is from the one that was heard


def _read() -> dict[str, dict[str, int]]:
    near: dict[str, dict[str, int]] = {}
    for together in _SETS:
        for one in together:
            near.setdefault(one, {}).update({other: POSSIBLE for other in together if other != one})
    for pair in _WORST.split():
        one, other = pair[0], pair[1]
        near[one][other] = near[other][one] = LIKELY
    return near


_NEAR = _read()


def of(char: str) -> dict[str, int]:
    """What may have been said where this was heard, each with how far it is; without the character itself."""
    return _NEAR.get(char, {})
