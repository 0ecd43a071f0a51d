"""NHTSA's vPIC service: what kind of car a VIN stands for.

Source: vPIC API page, DecodeVinValues. No key. HTTP is 200 for nearly everything; the outcome is in
`ErrorCode`, a list of numbers in a string, and data may be present with any of them.
"""

import asyncio
import re
import time
from collections import OrderedDict
from collections.abc import Callable
from types import TracebackType
from typing import Any, Self
from urllib.parse import quote

import httpx2
import msgspec

TIMEOUT_S = 2.0
ATTEMPTS = 2
_CACHE_SIZE = 2000
_KEEP_S = 30 * 86400.0
_KEEP_BAD_S = 86400.0
_USABLE = frozenset({0, 1, 6, 8, 12, 14})
_ABSENT = frozenset({"", "Not Applicable"})

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
    """What NHTSA knows. `usable`: good enough to name the car. A None is unknown, not absent from the car."""

    usable: bool
    year: int | None
    make: str | None
    model: str | None
    trim: str | None
    note: str


class NhtsaAway(Exception):
    """NHTSA did not answer in time, or with something else than an answer."""


class Nhtsa:
    """The client: 2 s for an answer, one retry, and a cache in memory (30 days; a day for bad VINs)."""

    def __init__(
        self, base_url: str, clock: Callable[[], float] = time.monotonic, *, timeout_s: float = TIMEOUT_S
    ) -> None:
        self._base = base_url.rstrip("/")
        self._clock = clock
        self._timeout_s = timeout_s
        self._http = httpx2.AsyncClient(timeout=timeout_s, follow_redirects=False)
        self._cache: OrderedDict[str, tuple[float, Decoded]] = OrderedDict()

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
        kept = self._cache.get(vin)
        if kept and kept[0] > self._clock():
            self._cache.move_to_end(vin)
            return kept[1]
        decoded = read_answer(await self._fetch(vin))
        keep_s = _KEEP_S if decoded.usable else _KEEP_BAD_S
        self._cache[vin] = (self._clock() + keep_s, decoded)
        while len(self._cache) > _CACHE_SIZE:
            self._cache.popitem(last=False)
        return decoded

    async def _fetch(self, vin: str) -> dict[str, Any]:
        why = ""
        for _ in range(ATTEMPTS):
            try:
                async with asyncio.timeout(self._timeout_s):
                    url = f"{self._base}/DecodeVinValues/{quote(vin, safe='')}"
                    response = await self._http.get(url, params={"format": "json"})
                return _first_result(response)
            except NhtsaAway as error:
                why = str(error)
            except (httpx2.HTTPError, httpx2.InvalidURL, TimeoutError) as error:
                why = f"{type(error).__name__}: {error}"
        raise NhtsaAway(f"NHTSA at {self._base} gave no answer ({why})")


def _first_result(response: httpx2.Response) -> dict[str, Any]:
    """The one flat object of the answer; throttling comes as 429, or as 403 with an HTML page."""
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
        note=_note(codes, usable, model, _value(result, "SuggestedVIN")),
    )


def _value(result: dict[str, Any], key: str) -> str | None:
    value = result.get(key)
    if value is None or str(value).strip() in _ABSENT:
        return None
    return str(value).strip()


def _spoken_make(make: str | None) -> str | None:
    """HONDA is Honda, but BMW and GMC stay."""
    return make if make is None or len(make) <= 3 else make.title()


def _note(codes: list[int], usable: bool, model: str | None, suggested: str | None) -> str:
    if usable and not any(codes):
        return "" if model else "The model is not known: ask for it."
    notes = [_NOTES[code] for code in codes if code in _NOTES]
    if not codes:
        notes = ["NHTSA does not know this VIN: ask for year, make and model."]
    if not usable and not notes:
        notes = [_NOTE_WRONG]
    if suggested and not usable:
        notes.append(f"It may be {suggested}, where an exclamation mark is an unknown character.")
    return " ".join(notes)
