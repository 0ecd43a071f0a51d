"""The steps to a car by its VIN. The tool reads what was said and pressed, and says what is still to be asked.

All that the caller said of the VIN is given to it each time, as they said it: it knows best what belongs together.
"""

import re
from collections.abc import Collection

from local.receptionist import speech
from local.receptionist.phrases import ANYTHING_ELSE, unable
from local.receptionist.talk import Ask, Reply, Talk
from local.receptionist.wants import Want
from local.receptionist.words import ORDINALS, words_of

MISSES = 2  # then it is typed
FEW = 14  # fewer characters than this are waited on without asking the tool
MOST = 800  # letters that the tool takes
_READ = "Please read me the VIN, all seventeen characters."
_AGAIN = "Please read it to me once more, slowly."
_TYPE = (
    "Please type it on your keypad: one key for each character, for a letter the key that it is printed on, and the "
    "hash key at the end."
)
_EXACTLY = re.compile(r"decode_vin with exactly ([A-HJ-NPR-Z0-9]{17})\b")


def vin_step(talk: Talk, tools: Collection[str]) -> Reply:
    """Gathers a VIN, and has it decoded."""
    if not talk.vin_said:
        return talk.ask(Ask.VIN, _READ)
    if talk.heard and talk.heard.vin and len(talk.vin) < FEW and not talk.vin_misses:
        return talk.ask(Ask.VIN, "Please go on.").after(
            f"I have {speech.number(len(talk.vin))} characters of seventeen."
        )
    if "decode_vin" not in tools:
        return unable(talk, "I can't look VINs up just now.")
    said = talk.vin_said if len(talk.vin_said) <= MOST else talk.vin[:MOST]
    return Reply("Let me look that up.", "decode_vin", {"vin": said})


def vin_told(talk: Talk) -> Reply:
    """Says which car a VIN belongs to, or asks what the tool asks for."""
    result = talk.fresh.result if talk.fresh else {}
    say, note = (str(result.get(key) or "") for key in ("say", "note"))
    if "error" in result:
        _forget(talk)
        return unable(talk, "I couldn't look the VIN up just now.")
    known = " ".join(str(result[key]) for key in ("year", "make", "model") if result.get(key))
    if result.get("usable") or result.get("partial"):
        talk.vehicle, talk.vin_misses = known or talk.vehicle, 0
        told = say or (f"That's {car_of(known)}." if known else "That VIN is good, but I know no more of it.")
        if "?" not in told:
            _forget(talk)
            return talk.ask(Ask.ELSE, ANYTHING_ELSE).after(told)
        return talk.ask(Ask.VIN_RIGHT, told)
    talk.vin_misses += 1
    if talk.vin_misses >= MISSES and "keypad" in note:
        talk.places = ()
        return talk.ask(Ask.VIN, _TYPE)
    return _ask(talk, say, note)


def _ask(talk: Talk, say: str, note: str) -> Reply:
    """The tool's own question."""
    offered = _EXACTLY.search(note)
    talk.offered_vin = offered[1] if offered else ""
    if offered:
        return talk.ask(Ask.VIN_RIGHT, say)
    talk.places = tuple(word for word in words_of(say) if word in ORDINALS) if "character" in say else ()
    if not say or "once more" in say:
        talk.vin_said = talk.vin = ""
    return talk.ask(Ask.VIN, say or f"That VIN doesn't seem to be right. {_AGAIN}")


def take_vin(talk: Talk, said: str, characters: str) -> None:
    """Adds what the caller said, or pressed, to what there is of the VIN."""
    if talk.places:
        said = _placed(talk.places, said)
    going_on = talk.asked is Ask.VIN and bool(talk.vin_said)
    talk.vin_said = f"{talk.vin_said}, {said}" if going_on else said
    talk.vin = talk.vin + characters if going_on else characters


def right_step(talk: Talk, tools: Collection[str]) -> Reply | str | None:
    """Goes on after the caller was asked whether a VIN is right; None if they did not say."""
    wants = talk.heard.wants if talk.heard else frozenset()
    if Want.NO in wants:
        _forget(talk)
        talk.vehicle = ""
        return talk.ask(Ask.VIN, _AGAIN)
    if Want.YES not in wants:
        return None
    offered = talk.offered_vin
    _forget(talk)
    if not offered:
        return "Thank you."
    talk.vin_said = offered
    return vin_step(talk, tools)


def _placed(places: tuple[str, ...], said: str) -> str:
    """Answers with the places that they belong to: "fourth is D as in David"."""
    words = words_of(said)
    if any(word in ORDINALS for word in words):
        return said
    parts = re.split(r"\s*(?:,|\band\b)\s*", said.strip(" .")) if len(places) > 1 else [said.strip(" .")]
    if len(parts) != len(places):
        return said
    return ", ".join(f"{place} is {part}" for place, part in zip(places, parts, strict=True))


def _forget(talk: Talk) -> None:
    talk.vin_said = talk.vin = talk.offered_vin = ""
    talk.places, talk.vin_misses = (), 0


def car_of(known: str) -> str:
    """ "a twenty twenty-two Honda Civic" """
    year, _, rest = known.partition(" ")
    spoken = f"{speech.year(int(year))} {rest}".strip() if year.isdigit() else known
    return speech.one_of(spoken)
