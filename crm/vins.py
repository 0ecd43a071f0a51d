"""The tool that knows VINs."""

from dataclasses import dataclass
from typing import Annotated, Any

from msgspec import Meta

from crm import vin_answers
from crm.desk import TOOLS
from crm.nhtsa import Nhtsa

MAX_SPELLED = 800  # characters: a word for each letter, and keys


@dataclass(frozen=True)
class Cars:
    """What is known of cars: by NHTSA, and the year, as no car is of one that is far ahead."""

    nhtsa: Nhtsa
    this_year: int


@TOOLS.tool()
async def decode_vin(cars: Cars, vin: Annotated[str, Meta(max_length=MAX_SPELLED)]) -> dict[str, Any]:
    """Finds out year, make and model from a vehicle identification number, or what to ask for.

    Args:
        vin: All the caller said of the 17 characters, words such as "B as in boy" too, and what they pressed, as
            "keys 2443..."
    """
    return await vin_answers.answer(cars.nhtsa, vin, cars.this_year)
