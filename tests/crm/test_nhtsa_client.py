"""The client for NHTSA, against the simulator on a socket."""

import asyncio
import time
from collections.abc import AsyncIterator
from typing import Any

import httpx2
import pytest
from hypothesis import given
from hypothesis import strategies as st

from crm.nhtsa import ATTEMPTS, TIMEOUT_S, Decoded, Nhtsa, NhtsaAway, read_answer

CIVIC = "2HGFE2F58NH512345"


@pytest.fixture
async def nhtsa(nhtsa_url: str) -> AsyncIterator[Nhtsa]:
    async with Nhtsa(nhtsa_url) as client:
        yield client


async def set_faults(url: str, **faults: Any) -> None:
    async with httpx2.AsyncClient(timeout=30) as http:
        answer = await http.post(f"{url}/_faults", json=faults)
    assert answer.status_code == 204, answer.text


async def asked(url: str) -> list[str]:
    async with httpx2.AsyncClient(timeout=30) as http:
        return list((await http.get(f"{url}/_requests")).json())


async def test_a_clean_vin_names_the_car(nhtsa: Nhtsa) -> None:
    assert await nhtsa.decode(CIVIC) == Decoded(True, 2022, "Honda", "Civic", "Sport", "")


async def test_an_answer_is_asked_for_once(nhtsa: Nhtsa, nhtsa_url: str) -> None:
    first = await nhtsa.decode(CIVIC)
    assert await nhtsa.decode(CIVIC) == first
    assert await asked(nhtsa_url) == [CIVIC]


async def test_a_good_answer_is_kept_for_a_month_and_a_bad_one_for_a_day(nhtsa_url: str) -> None:
    now_s = 0.0
    async with Nhtsa(nhtsa_url, clock=lambda: now_s) as client:
        for at_s in (0.0, 86399.0, 86401.0, 30 * 86400.0 - 1, 30 * 86400.0 + 1):
            now_s = at_s
            await client.decode(CIVIC)
            await client.decode("99912345678901234")
    requests = await asked(nhtsa_url)
    assert requests.count(CIVIC) == 2
    assert requests.count("99912345678901234") == 3


@pytest.mark.parametrize("status", [429, 403, 500, 503])
async def test_one_refusal_is_retried(nhtsa: Nhtsa, nhtsa_url: str, status: int) -> None:
    await set_faults(nhtsa_url, status=status, times=1)
    assert (await nhtsa.decode(CIVIC)).usable
    assert await asked(nhtsa_url) == [CIVIC, CIVIC]


@pytest.mark.parametrize("fault", [{"status": 429}, {"status": 403}, {"status": 503}, {"cut": True}])
async def test_refusals_and_cut_connections_are_away_and_not_cached(
    nhtsa: Nhtsa, nhtsa_url: str, fault: dict[str, Any]
) -> None:
    await set_faults(nhtsa_url, **fault, times=ATTEMPTS)
    with pytest.raises(NhtsaAway):
        await nhtsa.decode(CIVIC)
    assert len(await asked(nhtsa_url)) == ATTEMPTS
    assert (await nhtsa.decode(CIVIC)).usable


async def test_a_slow_nhtsa_is_given_up_after_its_attempts(nhtsa: Nhtsa, nhtsa_url: str) -> None:
    await set_faults(nhtsa_url, delay_s=600.0, times=ATTEMPTS)
    started = time.monotonic()
    async with asyncio.timeout(TIMEOUT_S * ATTEMPTS * 10):
        with pytest.raises(NhtsaAway, match=r"TimeoutError|ReadTimeout"):
            await nhtsa.decode(CIVIC)
    assert time.monotonic() - started >= TIMEOUT_S * ATTEMPTS * 0.9


async def test_a_port_where_nobody_listens_is_away() -> None:
    async with Nhtsa("http://127.0.0.1:9") as client:
        with pytest.raises(NhtsaAway, match=r"127\.0\.0\.1:9"):
            await client.decode(CIVIC)


async def test_no_results_means_unknown_not_away(nhtsa: Nhtsa, nhtsa_url: str) -> None:
    await set_faults(nhtsa_url, empty=True)
    decoded = await nhtsa.decode(CIVIC)
    assert not decoded.usable
    assert "does not know" in decoded.note


async def test_missing_keys_and_nulls_are_unknown_values(nhtsa: Nhtsa, nhtsa_url: str) -> None:
    await set_faults(nhtsa_url, missing=["Model", "Trim"], nulls=True)
    assert await nhtsa.decode(CIVIC) == Decoded(
        True, 2022, "Honda", None, None, "The model is not known: ask for it."
    )


@pytest.mark.parametrize(
    ("code", "usable"),
    [
        ("0", True),
        ("1", True),
        ("6,14", True),
        ("8", True),
        ("12", True),
        ("2", False),
        ("5", False),
        ("7", False),
        ("1,11,14,400", False),
        ("", False),
        ("0 - VIN decoded clean. Check Digit (9th position) is correct", True),
        ("1 - Check Digit does not calculate properly; 14 - Unable to provide information", True),
    ],
)
def test_codes_decide_together(code: str, usable: bool) -> None:
    decoded = read_answer({"ErrorCode": code, "Make": "HONDA", "Model": "Civic", "ModelYear": "2022"})
    assert decoded.usable is usable
    assert bool(decoded.note) == (not code.startswith("0"))


def test_a_clean_code_without_make_or_year_is_not_usable() -> None:
    assert not read_answer({"ErrorCode": "0", "Make": "HONDA", "ModelYear": "Not Applicable"}).usable
    assert not read_answer({"ErrorCode": "0", "Make": "", "ModelYear": "2022"}).usable


def test_a_suggestion_is_passed_on_when_the_vin_is_unusable() -> None:
    decoded = read_answer({"ErrorCode": "4", "SuggestedVIN": "2HGFE2F58NH51!345"})
    assert "2HGFE2F58NH51!345" in decoded.note


@pytest.mark.parametrize(
    ("make", "spoken"), [("HONDA", "Honda"), ("BMW", "BMW"), ("MERCEDES-BENZ", "Mercedes-Benz")]
)
def test_makes_are_written_as_they_are_spoken(make: str, spoken: str) -> None:
    assert read_answer({"ErrorCode": "0", "Make": make, "ModelYear": "2022"}).make == spoken


values = st.none() | st.integers() | st.text(max_size=20) | st.lists(st.integers(), max_size=2)


@given(
    st.dictionaries(
        st.sampled_from(["ErrorCode", "Make", "Model", "ModelYear", "Trim", "SuggestedVIN"]), values
    )
)
def test_any_object_can_be_read(result: dict[str, Any]) -> None:
    decoded = read_answer(result)
    assert not decoded.usable or (decoded.make and decoded.year)
