"""What one utterance says: what the caller wants, and every service, day, time, name and number in it."""

import datetime as dt
import re
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from local.receptionist import vin
from local.receptionist.dates import Day, find_days
from local.receptionist.services import Match, could_be, find_services
from local.receptionist.times import Clock, Window, find_times
from local.receptionist.wants import Want, wants_in
from local.receptionist.words import ORDINALS, TENS, UNITS, words_of

_NAME = re.compile(r"\b(?:my name is|my names|name is|this is|i am called|its under|under the name)\s+(.+)")
_NO_NAMES = (
    "about calling for regarding a the to my and i with not wrong right fine it that please thanks sorry you"
)
_NO_NAME = frozenset(_NO_NAMES.split())
_MAKE_NAMES = (
    "acura audi bmw buick cadillac chevrolet chevy chrysler dodge ford gmc honda hyundai infiniti jeep kia lexus "
    "lincoln mazda mercedes mini mitsubishi nissan porsche ram subaru tesla toyota volkswagen volvo"
)
_MAKES = frozenset(_MAKE_NAMES.split())
_KEYS = re.compile(r"\bpressed [\d*#]+")
_CAR_WORDS = frozenset({"car", "drive", "driving", "truck", "model", "vin"})
_CHOICES = (["one"], ["option"], ["time"], ["slot"], ["appointment"])
# Beside these an utterance that answers "who is calling?" is a name.
_BESIDE_A_NAME = frozenset({Want.HELLO, Want.THANKS, Want.YES})
_LONGEST = 200  # letters of a car's detail
_PICKS = {"first": 0, "second": 1, "third": 2, "last": -1, "former": 0, "latter": -1}


@dataclass(frozen=True)
class Heard:
    """One utterance, understood as far as it goes."""

    wants: frozenset[Want]
    services: tuple[Match, ...] = ()
    could_be: tuple[str, ...] = ()
    days: tuple[Day, ...] = ()
    old_day: dt.date | None = None  # in "from Friday to Monday": Friday
    clock: Clock | None = None
    window: Window | None = None
    pick: int | None = None
    name: str = ""
    car: str = ""  # a detail of the caller's car, as they said it, where one was asked for
    vin: str = ""
    vin_said: str = ""  # the whole utterance, where it holds a VIN or a part of one
    make: str = ""

    @property
    def says_something(self) -> bool:
        """Whether anything but yes, no and politeness was understood."""
        polite = {Want.YES, Want.NO, Want.HELLO, Want.THANKS}
        things = (self.services, self.could_be, self.days, self.old_day, self.clock, self.window, self.name)
        known = (self.vin, self.make, self.car)
        return bool(self.wants - polite or any(things) or self.pick is not None or any(known))


def understand(
    text: str,
    services: Sequence[str],
    today: dt.date,
    *,
    time_asked: bool = False,
    name_asked: bool = False,
    vin_asked: bool = False,
    more_asked: bool = False,
    proof_asked: bool = False,
) -> Heard:
    """Understands one utterance. What was just asked decides what a bare number or name is."""
    words = words_of(re.sub(r"\bgood (morning|afternoon|evening)\b", "hello", text, flags=re.IGNORECASE))
    if proof_asked:
        shown = _shown(text, words)
        if shown:
            return shown
    least = 1 if more_asked and not wants_in(" ".join(words)) - _BESIDE_A_NAME else 4
    spelled = vin.characters(words, least) if vin_asked or vin.says_vin(words) else ""
    if spelled or (vin_asked and _KEYS.search(text)):
        return Heard(frozenset({Want.VIN}), vin=spelled, vin_said=text)
    matches = find_services(words, services)
    named = {at for match in matches for at in range(match.start, match.end)}
    days, old = _split_days([d for d in find_days(words, today) if d.start not in named], words)
    dated = {at for day in [*days, *old] for at in range(day.start, day.end)}
    unnamed = ["_" if at in named else word for at, word in enumerate(words)]
    clocks, window = find_times(unnamed, dated, time_asked)
    wants = wants_in(" ".join(unnamed)) | ({Want.VIN} if vin.says_vin(words) else frozenset())
    return Heard(
        wants=wants,
        services=tuple(matches),
        could_be=() if matches else tuple(could_be(words, services)),
        days=tuple(days),
        old_day=old[0].date if old else None,
        clock=clocks[-1] if clocks else None,
        window=window,
        pick=_pick(words),
        name=_name(text, name_asked and not wants - _BESIDE_A_NAME),
        make=next((word for word in words if word in _MAKES), ""),
    )


def _shown(text: str, words: list[str]) -> Heard | None:
    """What the caller says of themselves when asked: a name or a detail of their car; None if they say neither.

    One word may be either ("Mitchell", "Civic"): it is given as both.
    """
    wants = wants_in(" ".join(words))
    year = any(re.fullmatch(r"(?:19|20)\d\d", word) for word in words) or any(
        word == "twenty" and following in TENS.keys() | UNITS.keys() for word, following in pairwise(words)
    )
    if year or _MAKES.intersection(words) or _CAR_WORDS.intersection(words):
        return Heard(wants & {Want.YES, Want.NO}, name=_name(text, False), car=text.strip()[:_LONGEST])
    name = _name(text, not wants - _BESIDE_A_NAME)
    if not name:
        return None
    alone = " " not in name and not _NAME.search(" ".join(words))
    return Heard(wants, name=name, car=name if alone else "")


def _split_days(days: list[Day], words: list[str]) -> tuple[list[Day], list[Day]]:
    """Days that are wanted, and days that an existing appointment is on ("my Friday appointment")."""
    old = []
    for day in days:
        before = words[max(0, day.start - 2) : day.start]
        after = words[day.end : day.end + 1]
        owned = after in (["appointment"], ["booking"]) and before[-1:] not in (["a"], ["an"], ["any"])
        if "from" in before or owned or (before[-1:] == ["my"] and after in (["one"], ["visit"])):
            old.append(day)
    return [day for day in days if day not in old], old


def _pick(words: list[str]) -> int | None:
    """Which of the things offered: "the first one", "the second", "the last", "number two"."""
    for at, word in enumerate(words):
        alone = len(words) <= 3 or words[at + 1 : at + 2] in _CHOICES
        if word in _PICKS and alone and words[at + 1 : at + 2] != ["of"]:
            return _PICKS[word]
        if word in ("number", "option") and words[at + 1 : at + 2]:
            number = UNITS.get(words[at + 1], ORDINALS.get(words[at + 1], 0))
            if 1 <= number <= 3:
                return number - 1
    return None


def _name(text: str, asked: bool) -> str:
    """A person's name, where one was introduced or asked for."""
    plain = re.sub(r"[^\w\s'’-]", " ", text)
    found = _NAME.search(plain.lower())
    if found:
        said = plain[len(plain) - len(found[1]) :] if len(plain) == len(plain.lower()) else found[1]
    elif asked:
        said = re.sub(
            r"^\s*(?:(?:uh|um|hi|hello|hey|sure|yes|yeah|okay|it'?s|i'?m|it is|i am)\s+)+",
            "",
            plain,
            flags=re.I,
        )
    else:
        return ""
    words = re.split(r"\s+(?:and|i|im|i'm|for|but)\b", said.strip(), flags=re.IGNORECASE)[0].split()
    good = 1 <= len(words) <= 4 and all(re.fullmatch(r"[^\W\d_]+(?:['’-][^\W\d_]+)*", word) for word in words)
    if not good or _NO_NAME.intersection(word.lower() for word in words):
        return ""
    return " ".join(word if word[0].isupper() else word.capitalize() for word in words)
