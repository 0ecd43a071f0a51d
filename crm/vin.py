"""Vehicle identification numbers: the rules that every one of them keeps.

Source: 49 CFR Part 565 and ISO 3779. Places count from 0 here, and from 1 in what is said.
"""

LENGTH = 17
CHECK_PLACE, YEAR_PLACE = 8, 9
DIGITS = frozenset("0123456789")
ALPHABET = frozenset("ABCDEFGHJKLMNPRSTUVWXYZ") | DIGITS  # I, O and Q never occur
_SERIAL_DIGITS = 13  # from here on there are digits only
_WEIGHTS = (8, 7, 6, 5, 4, 3, 2, 10, 0, 9, 8, 7, 6, 5, 4, 3, 2)
_VALUES = {
    **{str(n): n for n in range(10)},
    **dict(zip("ABCDEFGH", range(1, 9), strict=True)),
    **dict(zip("JKLMN", range(1, 6), strict=True)),
    "P": 7,
    "R": 9,
    **dict(zip("STUVWXYZ", range(2, 10), strict=True)),  # S starts at 2: that row has no 1
}
_YEARS = "ABCDEFGHJKLMNPRSTVWXY123456789"  # position 10, a cycle of 30 years
_YEAR_CODES = frozenset(_YEARS)
_CHECK_DIGITS = DIGITS | {"X"}


def check_digit(vin: str) -> str:
    """What position 9 of a 17-character VIN must be: 0-9 or X. It does not depend on what stands there."""
    remainder = sum(_VALUES[c] * w for c, w in zip(vin, _WEIGHTS, strict=True)) % 11
    return "X" if remainder == 10 else str(remainder)


def has_right_check_digit(vin: str) -> bool:
    """Whether a VIN of the right form passes; only cars made for North America must."""
    return check_digit(vin) == vin[8]


def value(character: str) -> int:
    """What a character counts in the check digit. Those of equal value can't be told apart by it."""
    return _VALUES[character]


def allowed(place: int) -> frozenset[str]:
    """What may stand at a place, whatever kind of vehicle it is."""
    if place == CHECK_PLACE:
        return _CHECK_DIGITS
    if place == YEAR_PLACE:
        return _YEAR_CODES
    return DIGITS if place >= _SERIAL_DIGITS else ALPHABET


def usual(place: int) -> frozenset[str]:
    """What may stand at a place in the VIN of a car or a light truck: one digit more than of others."""
    return DIGITS if place == _SERIAL_DIGITS - 1 else allowed(place)


def is_one(text: str) -> bool:
    """Whether this has a VIN's length and characters, whatever stands where."""
    return len(text) == LENGTH and ALPHABET.issuperset(text)


def descriptor(vin: str) -> str:
    """What tells the kind of car: all but the check digit and the serial number. VINs that share it decode alike.

    Of makers of few cars, who have a 9 in third place, some of the serial's places name the maker.
    """
    maker = vin[11:14] if vin[2] == "9" else ""
    return vin[:CHECK_PLACE] + vin[YEAR_PLACE:11] + maker


def model_year(vin: str) -> int | None:
    """The model year that position 10 stands for, or None if it is no year code.

    Position 7 tells the cycle for cars and light trucks: a digit is 1980 to 2009, a letter 2010 to 2039.
    """
    index = _YEARS.find(vin[9])
    if index < 0:
        return None
    return (1980 if vin[6].isdigit() else 2010) + index
