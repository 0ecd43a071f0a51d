"""What decode_vin answers: the car, or the question that is left, each with the words to `say`.

How a caller gets through who is not understood: what was said with a word is not doubted again, so they are asked for
the few characters that differ; and after two misses for the keypad, one key for each character. What was said before
then closes nearly all that the keys leave open, since letters that sound alike are seldom on one key; else they read
it out once more, and only need to be heard well enough to tell the letters of each key apart.

    usable     the car is known well enough to name it
    vin        as understood; with a star for what is not
    partial    the service did not answer: year and maker are from the VIN itself
    say        what to tell or ask the caller
    note       what to do next; not for the caller
"""

from collections.abc import Iterable
from typing import Any

from crm import makers, saying, vin, vin_words
from crm.nhtsa import Decoded, Nhtsa, NhtsaAway
from crm.spoken_vin import Heard, hear
from crm.vin_reading import Doubt, Incomplete, Read, Reading, read

_AGAIN = (
    'Then call decode_vin with the same text and the answers after it, such as "fourth is D as in David", or with all '
    "of it if it is read out again."
)
_KEYPAD = f"If it has been misunderstood twice, {vin_words.KEYPAD}; give what was pressed with what was said."
_PARTIAL = (
    "The VIN service does not answer, so this is partial: only year and maker, from the VIN itself. Go on with the "
    "model that the caller says."
)
_UNCHECKED = (
    "The check digit does not match, as with cars made for other continents: read the VIN back and confirm it with the "
    "caller."
)
_ODD = "Confirm it with the caller, character by character."


async def answer(nhtsa: Nhtsa, said: str, this_year: int) -> dict[str, Any]:
    """Reads the VIN in what was said and pressed, and finds out which car it is."""
    heard = hear(said)
    reading = read(heard, this_year)
    if isinstance(reading, Read) and not reading.offered:
        return await _decoded(nhtsa, reading, this_year)
    return _not_read(heard, reading, this_year)


async def _decoded(nhtsa: Nhtsa, reading: Read, this_year: int) -> dict[str, Any]:
    number = reading.vin
    try:
        found = await nhtsa.decode(number)
    except NhtsaAway:
        return _from_itself(reading, this_year)
    notes = [found.note] if found.note else []
    if not reading.passes and found.usable and not found.note:
        notes.append(_UNCHECKED)
    if reading.changed:
        notes.append(_changed_note(reading))
    if found.suggested:
        notes.append(f"It may be {found.suggested}, where an exclamation mark is an unknown character.")
    if not found.usable:
        notes.append(_KEYPAD)
    opening = f"That is a {saying.car(_name(found))}. " if found.usable else ""
    return _answer(
        number,
        usable=found.usable,
        year=found.year,
        make=found.make,
        model=found.model,
        trim=found.trim,
        say=f"{opening}{_back(reading)}",
        note=" ".join(notes),
    )


def _from_itself(reading: Read, this_year: int) -> dict[str, Any]:
    """What the VIN says without anybody's help."""
    year, make = _common([reading.vin], this_year)
    known = " ".join(str(part) for part in (year, make) if part)
    opening = f"That is a {saying.car(known)}, as far as I can tell. " if known else ""
    return _answer(
        reading.vin,
        usable=False,
        partial=True,
        year=year,
        make=make,
        say=f"{opening}{_back(reading)} Which model is it?",
        note=_PARTIAL,
    )


def _back(reading: Read) -> str:
    worded = {*reading.unseen, *reading.changed}
    return f"I have {vin_words.read_back(reading.vin, worded)}. Is that right?"


def _changed_note(reading: Read) -> str:
    places = saying.listing([saying.ordinal(place + 1) for place in reading.changed])
    are = "characters are" if len(reading.changed) > 1 else "character is"
    return f"The {places} {are} not as heard but as the check digit wants it. {_ODD}"


def _name(found: Decoded) -> str:
    return " ".join(str(part) for part in (found.year, found.make, found.model) if part)


# ---------------------------------------------------------------- what is not read yet


def _not_read(heard: Heard, reading: Reading, this_year: int) -> dict[str, Any]:
    match reading:
        case Read():
            return _offer(reading, len(heard.symbols))
        case Doubt():
            year, make = _common(reading.fits, this_year)
            note = f"Ask that, and nothing else. {_AGAIN} {_KEYPAD}"
            return _answer(
                reading.so_far, year=year, make=make, say=vin_words.question(reading.places), note=note
            )
        case Incomplete():
            return _incomplete(reading, heard.strange)


def _offer(reading: Read, count: int) -> dict[str, Any]:
    one = "one is missing" if reading.offered == "missing" else "that is one too many"
    return _answer(
        reading.vin,
        say=f"I heard {saying.number(count)} characters; {one}. Is it {vin_words.read_back(reading.vin)}?",
        note=f"If the caller says yes, call decode_vin with exactly {reading.vin}. {_KEYPAD}",
    )


def _incomplete(reading: Incomplete, strange: tuple[str, ...]) -> dict[str, Any]:
    count = len(reading.text)
    if reading.keys:
        keys = "key" if count == 1 else "keys"
        what = f"That was {saying.number(count)} {keys} of seventeen."
        ask = "Please go on." if count < vin.LENGTH else "Please type it once more, from the start."
        note = (
            "Then call decode_vin with all keys from the start, those pressed before too, and what was said."
        )
    else:
        what = vin_words.counted(reading.text)
        few = count < vin.LENGTH
        ask = (
            f"A VIN has seventeen. {'Which are missing?' if few else 'Could you read it once more, slowly?'}"
        )
        note = f"A VIN has 17 characters; {count} were understood. Then call decode_vin with all of it. {_KEYPAD}"
    if strange:
        note += f" Not understood: {', '.join(strange[:5])}."
    return _answer(reading.text, say=f"{what} {ask}", note=note)


def _common(numbers: Iterable[str], this_year: int) -> tuple[int | None, str | None]:
    """Year and make, as far as these numbers agree on them. A year that has not come is none."""
    years = {vin.model_year(number) for number in numbers}
    makes = {makers.makes(number) for number in numbers}
    year = years.pop() if len(years) == 1 else None
    make = makes.pop() if len(makes) == 1 else ()
    return (year if year and year <= this_year + 1 else None), (make[0] if len(make) == 1 else None)


def _answer(
    number: str,
    *,
    say: str,
    note: str,
    usable: bool = False,
    partial: bool = False,
    year: int | None = None,
    make: str | None = None,
    model: str | None = None,
    trim: str | None = None,
) -> dict[str, Any]:
    return {
        "usable": usable,
        "partial": partial,
        "vin": number,
        "year": year,
        "make": make,
        "model": model,
        "trim": trim,
        "say": say,
        "note": note,
    }
