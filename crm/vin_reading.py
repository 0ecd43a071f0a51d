"""A VIN out of what was heard and pressed: what is sure, what the check digit can tell, and what is left to ask.

The check digit finds any single wrong character whose value differs. So a number that passes is taken as it was heard.
One that does not is tried with each character that the telephone may have changed, one at a time: if exactly one
passes, and breaks no other rule, that is it; if several do, the caller is asked for the characters in which they
differ. What was said with a word, or asked for, is sure, and never tried: so each answer leaves less to ask, and what
is sure throughout is taken even if it fails, as the VINs of cars made for other continents may.

The check digit says nothing about characters of equal value (C and T, E and V, A and J, G and P, 8 and H): where one
of them may have been the other, `Read.unseen` tells, and it is read back with a word.

A key that is pressed stands for its digit or one of its letters (`KEYS`). Keys decide before ears: heard B and
pressed 3 is D, E, or 3. Keys alone leave letters open, of which the rules, the makers and the check digit close some.
"""

import itertools
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

from crm import confusions, makers, vin
from crm.spoken_vin import Heard, Symbol
from crm.vin import LENGTH

KEYS = {
    "0": "0", "1": "1", "2": "2ABC", "3": "3DEF", "4": "4GH", "5": "5JKL", "6": "6MN", "7": "7PRS", "8": "8TUV",
    "9": "9WXYZ",
}  # fmt: skip
_MOST = 4000  # numbers that are tried, in a few ms; with more left open, there is enough to ask for


@dataclass(frozen=True)
class Read:
    """A whole VIN. `changed`: places where it is not as heard. `passes`: its check digit is right. `unseen`: places
    where it could be another character, which the check digit can't see. `offered`: a guess, to be confirmed:
    "missing" or
    "extra" says what was wrong.
    """

    vin: str
    changed: tuple[int, ...] = ()
    passes: bool = True
    unseen: tuple[int, ...] = ()
    offered: str = ""


@dataclass(frozen=True)
class Doubt:
    """What to ask for: at each place one of these characters, or any if there are none. `so_far` has the characters as
    heard, and a star where nothing is known. `fits`: the numbers that it may be, if there are few.
    """

    places: dict[int, str]
    so_far: str
    fits: tuple[str, ...] = ()


@dataclass(frozen=True)
class Incomplete:
    """Not 17 characters, or not 17 keys: `text` is what there is. `keys`: it was pressed."""

    text: str
    keys: bool = False


Reading = Read | Doubt | Incomplete


@dataclass(frozen=True)
class _Place:
    """One of 17. `first`: what it is, if nothing was misheard; all that a key leaves, where nothing was. `others`:
    what else it may have been.
    """

    heard: str
    first: str
    others: tuple[str, ...] = ()
    keyed: bool = False


def read(heard: Heard, this_year: int) -> Reading:
    """Settles what can be settled. `this_year` limits model years, which are at most the next one's."""
    if heard.keys and len(heard.keys) != LENGTH:
        return Incomplete(heard.keys, keys=True)
    symbols: Sequence[Symbol | None] = heard.symbols
    if heard.keys:
        symbols = _beside(heard.keys, heard.symbols)
    elif len(symbols) != LENGTH:
        return _repaired(heard, this_year)
    places = [
        _place(at, heard.placed.get(at) or symbol, heard.keys[at] if heard.keys else "")
        for at, symbol in enumerate(symbols)
    ]
    return _settled(_of_known_makers(places), this_year)


def _of_known_makers(places: list[_Place]) -> list[_Place]:
    """Where the first three characters are open, those of makers that we know are left, if there are any."""
    if all(len(place.first) == 1 for place in places[:3]):
        return places
    known = [
        start
        for start in map("".join, itertools.product(*(p.first for p in places[:3])))
        if makers.makes(start)
    ]
    if not known:
        return places
    left = ["".join(dict.fromkeys(chars)) for chars in zip(*known, strict=True)]
    return [replace(place, first=first) for place, first in zip(places, left, strict=False)] + places[3:]


def _place(at: int, symbol: Symbol | None, key: str) -> _Place:
    on_key = [c for c in KEYS.get(key, "") if c in vin.usual(at)]
    if symbol is None:
        return _Place("", "".join(on_key), keyed=True)
    near = confusions.of(symbol.char)
    others = [c for c in sorted(near, key=lambda c: (near[c], c)) if c in vin.usual(at) and not symbol.sure]
    if on_key:
        if symbol.char in on_key:
            return _Place(symbol.char, symbol.char, tuple(c for c in others if c in on_key), keyed=True)
        return _Place(symbol.char, "".join([c for c in others if c in on_key] or on_key), keyed=True)
    if symbol.sure or symbol.char in vin.allowed(at):
        return _Place(symbol.char, symbol.char, tuple(others))
    return _Place(symbol.char, "".join(others))


def _settled(places: Sequence[_Place], this_year: int) -> Reading:
    so_far = "".join(place.heard or (place.first if len(place.first) == 1 else "*") for place in places)
    ways = 1
    for place in places:
        ways *= len(place.first)
    if not 0 < ways <= _MOST:
        open_ = {at: place.first for at, place in enumerate(places) if len(place.first) != 1}
        return Doubt(open_, so_far)
    passing = [number for number in _numbers(places) if vin.has_right_check_digit(number)]
    if ways == 1 and passing:
        return _as_read(passing[0], places)
    # One that can't be right where it stands is taken for the only mistake. Who types was misunderstood before.
    if not passing or any(place.keyed for place in places):
        passing += _one_changed(places, ways)
    fits = _best(passing, this_year, so_far)
    if len(fits) == 1:
        return _as_read(fits[0], places)
    if fits:
        return _doubt(fits, so_far)
    if ways == 1:
        return _as_read(next(_numbers(places)), places, passes=False)
    return Doubt({at: place.first for at, place in enumerate(places) if len(place.first) != 1}, so_far)


def _numbers(places: Sequence[_Place]) -> Iterator[str]:
    return map("".join, itertools.product(*(place.first for place in places)))


def _one_changed(places: Sequence[_Place], ways: int) -> list[str]:
    """Numbers that pass when one character is another than was heard, likelier ones first."""
    changes = [(at, other) for at, place in enumerate(places) for other in place.others]
    if ways * len(changes) > _MOST:
        return []
    tried = (number[:at] + other + number[at + 1 :] for number in _numbers(places) for at, other in changes)
    found = [number for number in tried if vin.has_right_check_digit(number)]
    return sorted(dict.fromkeys(found), key=lambda number: _distance(number, places))


def _distance(number: str, places: Sequence[_Place]) -> int:
    return sum(confusions.of(p.heard).get(c, 0) for c, p in zip(number, places, strict=True) if p.heard)


def _best(numbers: list[str], this_year: int, heard: str = "") -> list[str]:
    """Those that break no more rules than others, nor than what was heard: a repair must not make it worse."""
    if not numbers:
        return []
    oddities = {number: _oddities(number, this_year) for number in numbers}
    most = _oddities(heard, this_year) if vin.is_one(heard) else min(oddities.values())
    return [number for number in numbers if oddities[number] <= most]


def _oddities(number: str, this_year: int) -> int:
    """What is odd about a number: a maker that we don't know, a year that has not come."""
    year = vin.model_year(number)
    return (not makers.makes(number)) + (year is None or year > this_year + 1)


def _as_read(number: str, places: Sequence[_Place], passes: bool = True) -> Read:
    changed = tuple(
        at
        for at, place in enumerate(places)
        if (place.heard != number[at] if place.heard else len(place.first) > 1)
    )
    unseen = tuple(
        at
        for at, place in enumerate(places)
        if at != vin.CHECK_PLACE
        and any(vin.value(c) == vin.value(number[at]) for c in _else(place, number[at]))
    )
    return Read(number, changed, passes, unseen)


def _else(place: _Place, char: str) -> set[str]:
    return {*place.first, *place.others} - {char}


def _doubt(fits: Sequence[str], so_far: str) -> Doubt:
    places: dict[int, str] = {}
    for at, chars in enumerate(zip(*fits, strict=True)):
        options = "".join(dict.fromkeys(chars))
        if len(options) > 1:
            places[at] = options
    return Doubt(places, so_far, tuple(fits))


# ---------------------------------------------------------------- one too few or too many, and keys beside ears


def _repaired(heard: Heard, this_year: int) -> Reading:
    """A number with one character missing, or one too many; offered if only one repair passes."""
    text = heard.text
    if len(text) == LENGTH - 1:
        tries: Iterable[str] = (
            text[:at] + c + text[at:] for at in range(LENGTH) for c in sorted(vin.usual(at))
        )
    elif len(text) == LENGTH + 1:
        tries = (text[:at] + text[at + 1 :] for at in range(LENGTH + 1))
    else:
        return Incomplete(text)
    fits = {
        number
        for number in tries
        if vin.has_right_check_digit(number) and all(c in vin.usual(at) for at, c in enumerate(number))
    }
    best = _best(sorted(fits), this_year)
    if len(best) != 1:
        return Incomplete(text)
    return Read(best[0], offered="missing" if len(text) < LENGTH else "extra")


def _beside(keys: str, symbols: Sequence[Symbol]) -> list[Symbol | None]:
    """What was heard at each key: 17 keys count, however many characters were heard.

    The two are laid side by side so that as many as possible fit, as one does with two spellings of a word.
    """
    costs = [[0.0] * (len(symbols) + 1) for _ in range(LENGTH + 1)]
    for k, s in itertools.product(range(LENGTH + 1), range(len(symbols) + 1)):
        ways = [costs[k - 1][s - 1] + _misfit(keys[k - 1], symbols[s - 1])] if k and s else []
        ways += [costs[k - 1][s] + 1] if k else []
        ways += [costs[k][s - 1] + 1] if s else []
        costs[k][s] = min(ways, default=0.0)
    beside: list[Symbol | None] = []
    k, s = LENGTH, len(symbols)
    while k:
        if s and costs[k][s] == costs[k - 1][s - 1] + _misfit(keys[k - 1], symbols[s - 1]):
            k, s = k - 1, s - 1
            beside.append(symbols[s])
        elif costs[k][s] == costs[k - 1][s] + 1:
            k -= 1
            beside.append(None)
        else:
            s -= 1
    return _without_doubles(keys, beside[::-1])


def _without_doubles(keys: str, beside: list[Symbol | None]) -> list[Symbol | None]:
    """Where one of several equal keys has no character, it is not known which of them was heard."""
    runs = (list(run) for _, run in itertools.groupby(range(LENGTH), keys.__getitem__))
    unknown = {at for run in runs if any(beside[at] is None for at in run) for at in run}
    return [None if at in unknown else symbol for at, symbol in enumerate(beside)]


def _misfit(key: str, symbol: Symbol) -> float:
    """How badly a character fits a key; to leave both out would be 2."""
    if symbol.char in KEYS[key]:
        return 0.0
    return 0.5 if any(c in confusions.of(symbol.char) for c in KEYS[key]) else 1.5
