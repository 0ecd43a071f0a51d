"""How a car, work on it and a day in the past are said in half a sentence: "the Civic", "its oil change", "on
Tuesday".

Files are written by many hands. What would not read well is left out, or said more generally.
"""

import datetime as dt
import re
from collections.abc import Sequence

from crm import saying
from crm.records import VehicleRecord

VISIT = "visit"
"""Said for work that would not read well after "its"."""

_NOT_A_NAME = frozenset({"unknown", "other", "n a", "na", "none", "tbd", "misc", "-"})
_HEAD_WORDS = """
    change rotation inspection check checkup check-up alignment service replacement repair flush tune-up tuneup recall
    cleaning wash detail detailing diagnosis swap installation balancing balance recharge test maintenance overhaul
    refill upgrade update job appointment visit
"""
_LONGEST_MODEL, _LONGEST_WORK = 4, 5  # words
_JOINED = frozenset({"oil and filter change"})
_HEADS = frozenset(_HEAD_WORDS.split())
_SHORT = {"a/c": "air conditioning", "ac": "air conditioning", "&": "and", "mi": "mile", "miles": "mile"}
_SAID = re.compile(r"[a-z'-]*[aeiouy][a-z'-]*(?: [a-z'-]*[aeiouy][a-z'-]*)*")  # words that a voice can say
_MILES = re.compile(r"(?<!\S)(\d+k|\d{1,3},\d{3}|\d{4,6}) (service|maintenance|inspection)$")
_NUMBER = re.compile(r"(?<![\w.])(\d{1,3}(?:,\d{3})+|\d{1,6})(k?)(?=\s|-[a-z]|$)", re.IGNORECASE)

_OLD_DAYS = 730  # after two years nobody is asked how a car is since then
_WITH_YEAR_DAYS = 330  # beyond this, a month's name alone would mean the wrong year


def car(vehicle: VehicleRecord, others: Sequence[VehicleRecord] = ()) -> str:
    """What follows "the": "Civic", or with the make where the model begins with a number ("Mazda three"), or with the
    year where one of the `others` has the same name. "" if there is no name for it.
    """
    make, name = _name(vehicle.make), _name(vehicle.model)
    if len(name.split()) > _LONGEST_MODEL:
        name = ""
    if not name[:1].isalpha():
        name = f"{make} {name}".strip() if make else ""
    if name and any(car(one) == saying.car(name) for one in others):
        name = f"{vehicle.year} {name}"
    return saying.car(name)


def work(service: str) -> str:
    """What follows "its": "oil change", "thirty thousand mile service"; `VISIT` if that would not read well."""
    words = [_SHORT.get(word, word) for word in service.lower().split()]
    text = _MILES.sub(r"\1 mile \2", " ".join(words))
    text = _NUMBER.sub(_in_words, text)
    fits = _SAID.fullmatch(text) and len(words) <= _LONGEST_WORK and text.split()[-1] in _HEADS
    joined = {"and", "or", "with", "plus"} & set(words) and text not in _JOINED
    return text if fits and not joined else VISIT


def since(what: str, day: dt.date, today: dt.date) -> str:
    """ "since its oil change on Tuesday", of a day that was; "" of one to come, or of long ago."""
    ago = (today - day).days
    if ago < 0 or ago >= _OLD_DAYS:
        return ""
    return f"after its {what} today" if ago == 0 else f"since its {what} {_when(day, today, ago)}"


def _when(day: dt.date, today: dt.date, ago: int) -> str:
    if ago == 1:
        return "yesterday"
    if ago < 7:
        return f"on {day:%A}"
    if ago < 28:
        weeks = (ago + day.weekday()) // 7  # Mondays between the two
        return "last week" if weeks == 1 else f"{saying.number(weeks)} weeks ago"
    if (day.year, day.month) == (today.year, today.month):
        return "earlier this month"
    return f"in {day:%B}" if ago < _WITH_YEAR_DAYS else f"in {day:%B} {saying.year(day.year)}"


def _in_words(found: re.Match[str]) -> str:
    return saying.number(int(found[1].replace(",", "")) * (1000 if found[2] else 1))


def _name(text: str) -> str:
    """As it is said; "CIVIC" and "civic" are "Civic", and "CR-V", "RAV4" and "GTI" are as they are."""
    words = re.sub(r"\(.*?\)|[^\w' .&-]|_", " ", text).split()
    if " ".join(words).lower() in _NOT_A_NAME:
        return ""
    return " ".join(
        word.capitalize()
        if word.isalpha() and (word.islower() or (word.isupper() and len(word) > 3))
        else word
        for word in words
    )
