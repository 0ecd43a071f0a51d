"""What becomes of VINs that are misheard: `python -m bench.vins` prints how many are read, asked for, or wrong.

The VINs are made up: a maker that we know, a year that has been, the rest by chance, so harder than real ones. A caller
answers what is asked, each letter with a word, until there is nothing left to ask. Nothing is left out: `wrong` counts
those in which no read-back had a word for what was misheard.
"""

import argparse
import random
from collections import Counter
from collections.abc import Callable

from rich.console import Console
from rich.table import Table

from crm import confusions, makers, vin
from crm.spoken_vin import Heard, Symbol
from crm.vin_reading import KEYS, Doubt, Read, read

THIS_YEAR = 2026
ROUNDS = 5
_NEW, _OLD = "ABCDEFGHJKLMNPRST", "SVWXY123456789"  # year codes of 2010 to 2026, and of 1995 to 2009
_WMIS = sorted(makers.wmis())
_LETTERS = sorted(vin.ALPHABET - vin.DIGITS)
_ALPHABET = sorted(vin.ALPHABET)


def made_up(chance: random.Random) -> str:
    """A VIN that keeps to all rules."""
    new = chance.random() < 0.75
    some = "".join(chance.choice(_ALPHABET) for _ in range(6))
    seventh = chance.choice(_LETTERS if new else sorted(vin.DIGITS))
    year = chance.choice(_NEW if new else _OLD)
    serial = f"{chance.randrange(100_000):05}"
    unchecked = f"{chance.choice(_WMIS)}{some[:3]}{seventh}{some[3]}0{year}{some[4:]}{serial}"
    return unchecked[:8] + vin.check_digit(unchecked) + unchecked[9:]


def misheard(number: str, chance: random.Random, times: int = 1) -> str:
    """The same with other characters at some places, the worst confusions four times as often as others."""
    places = [at for at, c in enumerate(number) if confusions.of(c)]
    for at in chance.sample(places, min(times, len(places))):
        near = confusions.of(number[at])
        weights = [4 if far == confusions.LIKELY else 1 for far in near.values()]
        number = number[:at] + chance.choices(list(near), weights)[0] + number[at + 1 :]
    return number


def changed_anyhow(number: str, chance: random.Random) -> str:
    """The same with any other character somewhere, as by a slip of the tongue."""
    at = chance.randrange(vin.LENGTH)
    return number[:at] + chance.choice([c for c in _ALPHABET if c != number[at]]) + number[at + 1 :]


def keys_of(number: str) -> str:
    """What a caller presses for it."""
    return "".join(next(key for key, chars in KEYS.items() if c in chars) for c in number)


def story(number: str, heard: str, keys: str = "") -> tuple[str, str, int]:
    """What the first reading was, how it ended, and how often the caller was asked meanwhile."""
    placed: dict[int, Symbol] = {}
    for asked in range(ROUNDS):
        reading = read(Heard(tuple(Symbol(c) for c in heard), placed, keys), THIS_YEAR)
        if not isinstance(reading, Doubt):
            end = _name(number, reading)
            return "asked" if asked else end, end, asked
        placed = placed | {at: Symbol(number[at], sure=True) for at in reading.places}
    return "asked", "never settled", ROUNDS


def _name(number: str, reading: object) -> str:
    if not isinstance(reading, Read):
        return "read again"
    if reading.offered:
        return "offered" if reading.vin == number else "offered wrongly"
    if reading.vin == number:
        return "resolved" if reading.changed else "as heard"
    wrong = [at for at in range(vin.LENGTH) if reading.vin[at] != number[at]]
    told = not reading.passes or any(at in reading.unseen or at in reading.changed for at in wrong)
    return "told" if told or reading.changed else "wrong"


Case = Callable[[random.Random], tuple[str, str, str]]


def _case(change: Callable[[str, random.Random], str], typed: bool = False) -> Case:
    def make(chance: random.Random) -> tuple[str, str, str]:
        number = made_up(chance)
        return number, change(number, chance), keys_of(number) if typed else ""

    return make


def _missing(number: str, chance: random.Random) -> str:
    at = chance.randrange(vin.LENGTH)
    return number[:at] + number[at + 1 :]


def _extra(number: str, chance: random.Random) -> str:
    at = chance.randrange(vin.LENGTH)
    return number[:at] + chance.choice(_ALPHABET) + number[at:]


CASES: dict[str, Case] = {
    "as it is": _case(lambda number, _: number),
    "one misheard": _case(misheard),
    "two misheard": _case(lambda number, chance: misheard(number, chance, 2)),
    "one changed anyhow": _case(changed_anyhow),
    "one missing": _case(_missing),
    "one too many": _case(_extra),
    "keys, one misheard": _case(misheard, typed=True),
    "keys, four misheard": _case(lambda number, chance: misheard(number, chance, 4), typed=True),
    "keys, one missing": _case(_missing, typed=True),
    "keys alone": _case(lambda _number, _: "", typed=True),
}


def tally(case: str, count: int, seed: int = 1) -> tuple[Counter[str], Counter[str], float]:
    """First readings, ends, and questions for each VIN."""
    chance = random.Random(f"{seed} {case}")
    first: Counter[str] = Counter()
    ends: Counter[str] = Counter()
    questions = 0
    for _ in range(count):
        number, heard, keys = CASES[case](chance)
        name, name_at_last, asked = story(number, heard, keys)
        first[name] += 1
        ends[name_at_last] += 1
        questions += asked
    return first, ends, questions / count


def main() -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser(description="what becomes of VINs that are misheard")
    parser.add_argument("--count", type=int, default=2000)
    parser.add_argument("--seed", type=int, default=1)
    chosen = parser.parse_args()
    table = Table("what was heard", "at first", "in the end", "questions each", title=f"{chosen.count} VINs")
    for case in CASES:
        first, ends, questions = tally(case, chosen.count, chosen.seed)
        shown = [", ".join(f"{n} {name}" for name, n in names.most_common()) for names in (first, ends)]
        table.add_row(case, *shown, f"{questions:.2f}")
    Console().print(table)


if __name__ == "__main__":
    main()
