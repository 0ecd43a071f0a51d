"""Who may hear what, and change what. Pure: facts in, decisions out; the prompt decides nothing of it.

A number alone is enough to be greeted by first name, for caller ID can be forged. What is on file is read out and
changed for a caller who is known: by a number that can be relied on (`trusted`), or by a second fact that fits the
account of that number (`proven`), within as many tries as `crm.lookups` gives a call.

What counts as a second fact is what three guesses seldom hit, and what the caller can't have from us:

- **The name on the account**, if the last name is in it. The first name is no proof: the greeting says it. It need not
  be said, but another one must not be. One name an answer: what is said beside it must be a first or middle name.
- **A car's model with its year.** A make is a guess that anybody can make, and at a dealership of one make no guess at
  all. A model alone is every fourth customer's there, a year with a make every twelfth's. With both, three guesses hit
  about one customer in fifteen. The make need not be said, but another one must not be; nor another year, nor a word
  that is not said of cars, or answers could be lists.
- **The end of a car's VIN**, four characters or more, heard exactly.

A fact of which we have said any part in this call is no proof of it any more: who hears "your Civic" needs a dozen
guesses for the year, and who hears the year four for the model. "Yes", "my car" and "the Honda" are no facts. Each
answer counts by itself. If they fit several customers of a shared number, or each fits another one, none is proven.
"""

import itertools
import re
from collections.abc import Iterator, Sequence

from crm.likeness import TEXT_MOST, WORDS_MOST, Word, near, words
from crm.records import CustomerRecord, VehicleRecord, e164

_VIN_LEAST = 4  # characters of its end
_SPOKEN_LETTERS = 5  # a shorter word must be written as names are, with a capital: "fit" is not the Fit


def _set(text: str) -> frozenset[str]:
    return frozenset(text.split())


# Around a name, but not of it.
_POLITE = _set(
    "my name is its it this i im am the a on under for last first full account should be would uh um er yes yeah "
    "yep hi hello hey ok okay well sure mr mrs ms miss mister missus doctor dr calling speaking here that thats "
    "you have as and"
)
# What is written in place of a last name, or after it.
_NO_NAMES = _set(
    "customer client caller person guest unknown anonymous test demo none null na user owner account name walkin "
    "walk in jr sr junior senior ii iii iv inc llc ltd co corp corporation company incorporated limited"
)
# Around a car, but not of it: what is said of any car, and trims.
_ABOUT_CARS = _set(
    "my our his her the a an its it is i have drive driving own got bring bringing in for with and of on that "
    "this one by to car truck vehicle suv van minivan sedan coupe pickup hatchback hatch wagon convertible cab "
    "crew door doors wheel drive automatic manual hybrid electric diesel turbo awd fwd rwd wd black white silver "
    "gray grey blue red green gold brown beige tan orange yellow purple dark light old new model year make "
    "edition uh um er yes yeah yep well think about from lx ex exl dx si l s sport touring limited le se xle xse "
    "xl xlt lt ltz ls sl slt sr sv base premium lariat platinum denali laramie overland trailhawk rubicon sahara "
    "latitude titanium luxury 1500 2500 3500"
)
_NO_MODELS = _set(
    "unknown other none null na car truck vehicle auto automobile suv van minivan sedan coupe pickup model series "
    "class yes no base"
)
_OTHER_MAKES = {
    "chevrolet": ("chevy",),
    "volkswagen": ("vw",),
    "mercedesbenz": ("mercedes", "benz"),
    "bmw": ("beemer", "bimmer"),
    "cadillac": ("caddy",),
}
# Numbers that are said of any car, and of any VIN.
_ANY_CAR = re.compile(
    r"\b(?:4 ?x ?4|four by four|(?:two|four|five|[245])[ -]?doors?|[24] ?wd|four[ -]wheel)\b", re.IGNORECASE
)
_ANY_VIN = re.compile(r"\blast (?:few|four|five|six|seven|eight|[4-8])\b", re.IGNORECASE)
_ABOUT_VINS = (_ABOUT_CARS - _set("l s 1500 2500 3500")) | _set(
    "vin number numbers digits digit characters character letters ends ending end last are id"
)
_VIN_LOOKALIKES = str.maketrans("ioq", "100")
_VIN = re.compile(r"[a-hj-npr-z0-9]{17}")


def trusted(policy: str, attested: bool, phone: str | None) -> bool:
    """Whether a call's number is enough to know its caller. `policy`: attested, always or never (`TRUST_CALLER_ID`);
    `attested`: the carrier vouches for it (STIR level A).
    """
    if not phone or e164(phone) is None:
        return False
    return policy == "always" or (policy == "attested" and attested)


def proven(
    customers: Sequence[CustomerRecord], name: str | None, car: str | None, spoken: Sequence[str]
) -> CustomerRecord | None:
    """The one of a number's customers whom what the caller said picks out; None if it is none, or several.

    `name` and `car` are as recognition heard them. `spoken`: what we had said in this call before they were said.
    """
    said = [words(sentence) for sentence in set(spoken)]
    fit = [one for one in customers if _named(one, _answer(name), said) or _owns(one, car, said)]
    return fit[0] if len(fit) == 1 else None


def _answer(text: str | None) -> list[Word]:
    """The words of an answer; none of one that is too long to be one."""
    if not text or len(text) > TEXT_MOST:
        return []
    found = words(text)
    return found if len(found) <= WORDS_MOST else []


# ---------------------------------------------------------------- the name


def _named(customer: CustomerRecord, heard: list[Word], said: list[list[Word]]) -> bool:
    """Whether that is the customer's name, with the last name in it, which we have not said."""
    firsts, lasts = _names(customer)
    plain = _without_spelling(_without_politeness([word.text for word in heard]))
    fits = any(
        near("".join(plain[place:]), last) and _first_names(plain[:place], firsts)
        for last in lasts
        for place in range(len(plain))
    )
    return fits and not any(_was_said(last, said) for last in lasts)


def _without_politeness(heard: list[str]) -> list[str]:
    start, end = 0, len(heard)
    while start < end and heard[start] in _POLITE:
        start += 1
    while start < end and heard[end - 1] in _POLITE | _NO_NAMES:
        end -= 1
    return heard[start:end]


def _without_spelling(heard: list[str]) -> list[str]:
    """Without the letters that spell the word before them: "Okafor, O K A F O R"."""
    end = len(heard)
    while end and len(heard[end - 1]) == 1:
        end -= 1
    return heard[:end] if 0 < end < len(heard) and near("".join(heard[end:]), heard[end - 1]) else heard


def _names(customer: CustomerRecord) -> tuple[list[str], list[str]]:
    """What a customer is called first, and what may be their last name: "Cruz", "la Cruz", "de la Cruz"."""
    whole = customer.name[:TEXT_MOST]
    if "," in whole:  # Mitchell, Sarah
        whole = " ".join(reversed(whole.split(",", 1)))
    parts = [word.text for word in words(whole)]
    if not parts:
        return [], []
    while len(parts) > 1 and parts[-1] in _NO_NAMES:
        parts.pop()
    greeted = f"{customer.first_name} {customer.preferred_name or ''}"[:TEXT_MOST]
    firsts = [*parts[:1], *(word.text for word in words(greeted))]
    lasts = ["".join(parts[place:]) for place in range(1, len(parts))]
    if any(near(parts[-1], first) for first in firsts):
        return firsts, []  # the greeting says it
    return firsts, [last for last in lasts if len(last) > 1]


def _first_names(heard: list[str], firsts: list[str]) -> bool:
    """Whether these words before a last name are the customer's first name, perhaps short, perhaps with a middle name;
    or none."""
    if not heard:
        return True
    return len(heard) <= 2 and any(
        near(heard[0], first) or (min(len(heard[0]), len(first)) > 2 and _begins(heard[0], first))
        for first in firsts
    )


def _begins(one: str, other: str) -> bool:
    return one.startswith(other) or other.startswith(one)


# ---------------------------------------------------------------- the car


def _owns(customer: CustomerRecord, heard: str | None, said: list[list[Word]]) -> bool:
    """Whether that is a car of the customer's, by what we have not said of it."""
    if not heard:
        return False
    answer, ending = _answer(_ANY_CAR.sub(" ", heard)), _answer(_ANY_VIN.sub(" ", heard))
    return any(
        _is_model_and_year(car, answer, said) or _is_end_of_vin(car, ending, said)
        for car in customer.vehicles
    )


def _is_model_and_year(car: VehicleRecord, answer: list[Word], said: list[list[Word]]) -> bool:
    models, year = _models(car.model), str(car.year)
    if not re.fullmatch(r"(?:19|20)\d\d", year) or not _names_model_and_year(car, models, year, answer):
        return False
    return not any(_was_said(part, said) for part in (*models, year))


def _names_model_and_year(car: VehicleRecord, models: list[str], year: str, answer: list[Word]) -> bool:
    plain = [word.text for word in answer]
    return any(
        _explained(_without(_without(plain, model), when), car)
        for model in _windows(plain, models)
        for when in _windows(_without(plain, model), [year, year[2:]], exact=True)
    )


def _models(model: str) -> list[str]:
    """What a car may be called: its model, and that without a number or trim after it ("Silverado 1500")."""
    parts = [word.text for word in words(model[:TEXT_MOST])]
    names = ["".join(parts)]
    while len(parts) > 1 and (parts[-1].isdigit() or parts[-1] in _ABOUT_CARS):
        parts.pop()
        names.append("".join(parts))
    return [
        name
        for place, name in enumerate(names)
        if len(name) > (2 if place else 1) and (name.isdigit() or name not in _NO_MODELS | _ABOUT_CARS)
    ]


def _makes(car: VehicleRecord) -> list[str]:
    make = "".join(word.text for word in words(car.make[:TEXT_MOST]))
    return [make, *_OTHER_MAKES.get(make, ())] if make else []


def _windows(heard: list[str], wanted: list[str], *, exact: bool = False) -> Iterator[slice]:
    """Where in a row of words one of `wanted` is."""
    for start, length in itertools.product(range(len(heard)), range(1, 6)):
        if start + length <= len(heard):
            found = "".join(heard[start : start + length])
            if any(found == one or (not exact and near(found, one)) for one in wanted):
                yield slice(start, start + length)


def _without(heard: list[str], window: slice) -> list[str]:
    """A word that stands for no other keeps the rest apart."""
    return [*heard[: window.start], "", *heard[window.stop :]]


def _explained(rest: list[str], car: VehicleRecord) -> bool:
    """Whether what was said beside model and year is no second guess: the make, and what is said of any car."""
    for make in _windows(rest, _makes(car)):
        rest = _without(rest, make)
        break
    return all(not word or word in _ABOUT_CARS for word in rest)


def _is_end_of_vin(car: VehicleRecord, answer: list[Word], said: list[list[Word]]) -> bool:
    vin = (car.vin or "").casefold()
    if not _VIN.fullmatch(vin) or len(set(vin)) < 5:  # what is written where there is none
        return False
    known = {*_ABOUT_VINS, *_makes(car), *_models(car.model)}
    characters = ["0" if word.text == "oh" else word.text for word in answer if word.text not in known]
    heard = "".join(characters).translate(_VIN_LOOKALIKES)
    return len(heard) >= _VIN_LEAST and vin.endswith(heard) and not _was_spelled(vin[-_VIN_LEAST:], said)


# ---------------------------------------------------------------- what we have said


def _was_said(name: str, said: list[list[Word]]) -> bool:
    """Whether a word of ours, or a few in a row, may have been heard as that."""
    return any(
        "".join(word.text for word in row) == name or near("".join(word.text for word in row), name)
        for sentence in said
        for length in range(1, 6)
        for start in range(len(sentence) - length + 1)
        for row in [sentence[start : start + length]]
        if row[0].capital or row[0].text.isdigit() or len(name) >= _SPOKEN_LETTERS
    )


def _was_spelled(end: str, said: list[list[Word]]) -> bool:
    return any(end in "".join(word.text for word in row).translate(_VIN_LOOKALIKES) for row in said)
