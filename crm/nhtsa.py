"""NHTSA's vPIC service: what kind of car a VIN stands for.

Source: vPIC API page, DecodeVinValues. No key. HTTP is 200 for nearly everything; the outcome is in
`ErrorCode`, a list of numbers in a string, and data may be present with any of them.

Answers are kept by what they depend on, and not by VIN: the kind of car, and whether the check digit is right. So the
next Civic of that year is known too, and nobody's VIN is in the cache. An answer that suggests another VIN is not
kept.
"""

import asyncio
import re
from types import TracebackType
from typing import Any, Self
from urllib.parse import quote

import httpx2
import msgspec

from crm import vin as rules
from crm.cache import Cache, NoCache
from engine.routes import Route

TIMEOUT_S = 2.0
ATTEMPTS = 2
KEEP_S = 30 * 86400.0  # what is known of a kind of car hardly changes
KEEP_BAD_S = 86400.0  # what is not known yet may be tomorrow
_USABLE = frozenset({0, 1, 6, 8, 12, 14})
_ABSENT = frozenset({"", "Not Applicable"})
_THROTTLED = frozenset({403, 429})  # asked again at once, it would be for longer

_NOTES = {
    1: "The check digit does not match: read the VIN back and confirm it with the caller.",
    6: "The VIN is incomplete: confirm the car with the caller.",
    8: "Only make and year are known: ask for the model.",
    12: "The model year does not match: ask for the year.",
    14: "Some characters could not be decoded: confirm the car with the caller.",
    11: "Character ten is no model year: ask for that character again.",
    7: "The first three characters are not registered in the United States: ask for them again.",
    400: "There are characters that no VIN has: ask again.",
}
_NOTE_WRONG = "Something in it is wrong: read the VIN back and ask again."


class Decoded(msgspec.Struct, frozen=True):
    """What NHTSA knows. `usable`: good enough to name the car. A None is unknown, not absent from the car.

    `suggested` is the VIN that it takes this one for; an exclamation mark in it is an unknown character.
    """

    usable: bool
    year: int | None
    make: str | None
    model: str | None
    trim: str | None
    note: str
    suggested: str | None = None


class NhtsaAway(Exception):
    """NHTSA did not answer in time, or with something else than an answer."""


class _Throttled(NhtsaAway):
    """It asks to be left alone."""


class Nhtsa:
    """The client: a deadline for each of two tries, answers kept in `cache`, and a breaker.

    `route` tells whether NHTSA is worth asking: when it has failed in a row, nobody waits for it until it has rested.
    """

    def __init__(
        self,
        base_url: str,
        cache: Cache | None = None,
        route: Route[None] | None = None,
        *,
        timeout_s: float = TIMEOUT_S,
    ) -> None:
        self._base = base_url.rstrip("/")
        self._cache = cache or NoCache()
        self._route = route or Route("NHTSA", None)
        self._timeout_s = timeout_s
        self._http = httpx2.AsyncClient(timeout=timeout_s, follow_redirects=False)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Closes the connections; safe to run twice."""
        await self._http.aclose()

    async def decode(self, vin: str) -> Decoded:
        """Decodes a VIN of 17 characters. Raises `NhtsaAway`."""
        key = _key(vin)
        kept = _read_kept(await self._cache.get(key))
        if kept is not None:
            return kept
        decoded = read_answer(await self._fetch(vin))
        if decoded.suggested is None:
            keep_s = KEEP_S if decoded.usable else KEEP_BAD_S
            await self._cache.put(key, msgspec.json.encode(decoded), keep_s)
        return decoded

    async def _fetch(self, vin: str) -> dict[str, Any]:
        if not (self._route.well or self._route.may_be_tried()):
            raise NhtsaAway(f"NHTSA at {self._base} has just failed, and is left alone for a while")
        why = ""
        for _ in range(ATTEMPTS):
            try:
                result = await self._ask(vin)
            except (NhtsaAway, httpx2.HTTPError, httpx2.InvalidURL, TimeoutError) as error:
                why = f"{type(error).__name__}: {error}"
                self._route.failed(why, at_once=isinstance(error, _Throttled))
                if not self._route.well:
                    break
            else:
                self._route.worked()
                return result
        raise NhtsaAway(f"NHTSA at {self._base} gave no answer ({why})")

    async def _ask(self, vin: str) -> dict[str, Any]:
        url = f"{self._base}/DecodeVinValues/{quote(vin, safe='')}"
        async with asyncio.timeout(self._timeout_s):
            return _first_result(await self._http.get(url, params={"format": "json"}))


def _key(vin: str) -> str:
    checked = "right" if rules.has_right_check_digit(vin) else "wrong"
    return f"vin:{rules.descriptor(vin)}:{checked}"


def _read_kept(kept: bytes | None) -> Decoded | None:
    """None too for what another version of ours has kept in another form."""
    if kept is None:
        return None
    try:
        return msgspec.json.decode(kept, type=Decoded)
    except msgspec.MsgspecError:
        return None


def _first_result(response: httpx2.Response) -> dict[str, Any]:
    """The one flat object of the answer; throttling comes as 429, or as 403 with an HTML page."""
    if response.status_code in _THROTTLED:
        raise _Throttled(f"HTTP {response.status_code}")
    if response.status_code != 200:
        raise NhtsaAway(f"HTTP {response.status_code}")
    try:
        body = msgspec.json.decode(response.content)
    except msgspec.DecodeError:
        raise NhtsaAway("the answer is not JSON") from None
    results = body.get("Results") if isinstance(body, dict) else None
    if not isinstance(results, list):
        raise NhtsaAway("the answer has no Results")
    return results[0] if results and isinstance(results[0], dict) else {}


def read_answer(result: dict[str, Any]) -> Decoded:
    """Judges one flat object of `Results`, by code and by what was filled in; {} is an unknown VIN."""
    codes = [int(n) for n in re.findall(r"(?:^|[,;]\s*)(\d{1,4})\b", str(result.get("ErrorCode") or ""))]
    make, model, year_text = (_value(result, key) for key in ("Make", "Model", "ModelYear"))
    year = int(year_text) if year_text and re.fullmatch(r"(?:19|20)\d\d", year_text) else None
    usable = bool(codes) and _USABLE.issuperset(codes) and make is not None and year is not None
    return Decoded(
        usable=usable,
        year=year,
        make=_spoken_make(make),
        model=model,
        trim=_value(result, "Trim"),
        note=_note(codes, usable, model),
        suggested=None if usable else _value(result, "SuggestedVIN"),
    )


def _value(result: dict[str, Any], key: str) -> str | None:
    value = result.get(key)
    if value is None or str(value).strip() in _ABSENT:
        return None
    return str(value).strip()


def _spoken_make(make: str | None) -> str | None:
    """HONDA is Honda, but BMW and GMC stay."""
    return make if make is None or len(make) <= 3 else make.title()


def _note(codes: list[int], usable: bool, model: str | None) -> str:
    if usable and not any(codes):
        return "" if model else "The model is not known: ask for it."
    notes = [_NOTES[code] for code in codes if code in _NOTES]
    if not codes:
        notes = ["NHTSA does not know this VIN: ask for year, make and model."]
    if not usable and not notes:
        notes = [_NOTE_WRONG]
    return " ".join(notes)
