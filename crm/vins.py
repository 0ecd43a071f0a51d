"""The tool that knows VINs: what was heard, made into a number, and what NHTSA knows of it."""

from typing import Any

from crm import vin as numbers
from crm.desk import TOOLS
from crm.nhtsa import Nhtsa, NhtsaAway


@TOOLS.tool()
async def decode_vin(nhtsa: Nhtsa, vin: str) -> dict[str, Any]:
    """Finds out year, make and model from a vehicle identification number.

    Args:
        vin: The 17 characters as the caller said them
    """
    number = numbers.normalise(vin)
    wrong = numbers.problem(number)
    if wrong:
        return _decoded(number, usable=False, note=wrong)
    try:
        found = await nhtsa.decode(number)
    except NhtsaAway:
        note = "The VIN service does not answer: go on with the year, make and model that the caller says."
        return _decoded(number, usable=False, note=note, year=numbers.model_year(number))
    note = found.note
    if found.usable and not note and not numbers.has_right_check_digit(number):
        note = "The check digit does not match: read the VIN back and confirm it with the caller."
    return _decoded(
        number,
        usable=found.usable,
        note=note,
        year=found.year,
        make=found.make,
        model=found.model,
        trim=found.trim,
    )


def _decoded(
    number: str,
    *,
    usable: bool,
    note: str,
    year: int | None = None,
    make: str | None = None,
    model: str | None = None,
    trim: str | None = None,
) -> dict[str, Any]:
    return {
        "usable": usable,
        "vin": number,
        "year": year,
        "make": make,
        "model": model,
        "trim": trim,
        "note": note,
    }
