"""What decode_vin answers the model, and has it say to the caller."""

from collections.abc import AsyncIterator
from typing import Any

import httpx2
import pytest
from hypothesis import given
from hypothesis import strategies as st

from crm.nhtsa import Nhtsa, NhtsaAway
from crm.vin_answers import answer
from crm.vin_words import read_back

CIVIC = "2HGFE2F58NH512345"
KEYS = "24433235864512345"
YEAR = 2026
BACK = (
    "two, H as in Henry, G as in George; F, E as in Edward, two; F, five, eight; N, H as in Henry, five, one; "
    "two, three, four, five"
)


@pytest.fixture
async def nhtsa(nhtsa_url: str) -> AsyncIterator[Nhtsa]:
    async with Nhtsa(nhtsa_url) as client:
        yield client


@pytest.fixture
async def away() -> AsyncIterator[Nhtsa]:
    async with Nhtsa("http://127.0.0.1:9") as client:
        yield client


async def test_a_vin_that_is_understood_is_named_and_read_back(nhtsa: Nhtsa) -> None:
    told = await answer(
        nhtsa, "one h g, c m eight two six three three a double zero four three five two", YEAR
    )
    assert told == {
        "usable": True,
        "partial": False,
        "vin": "1HGCM82633A004352",
        "year": 2003,
        "make": "Honda",
        "model": "Accord",
        "trim": "EX-V6",
        "say": (
            "That is a two thousand three Honda Accord. I have one, H as in Henry, G as in George; C as in Charlie, M, "
            "eight; two, six, three; three, A as in Adam, zero, zero; four, three, five, two. Is that right?"
        ),
        "note": "",
    }


# What was heard, and of the answer: the VIN, whether it is usable, a part of what is said, and of the note.
TABLE = [
    ("one h g c m eight two six three three a zero zero four three five two", "1HGCM82633A004352", True, "Accord", ""),
    ("two hotel golf foxtrot echo two foxtrot five eight november hotel 5 one two three 4 5", CIVIC, True, "Civic", ""),
    ("two h g, f as in frank, e two f five eight n h five one two three four five", CIVIC, True, "Civic", ""),
    ("1 H G C M 8 2 6 double 3 A oh oh 4 3 5 2", "1HGCM82633A004352", True, "Accord", ""),
    ("2HGFE2F58MH512345", CIVIC, True, "N as in Nancy", "tenth character is not as heard"),
    ("2HGFB2F58NH512345", "2HGFB2F58NH512345", False, "fifth character: is it E as in Edward or V", "fourth is D"),
    ("2HGFB2F58NH512345, fifth E as in Edward", CIVIC, True, "Civic", ""),
    ("2HGFE2F58NH51234", "2HGFE2F58NH51234", False, "I have sixteen characters", "16 were understood"),
    ("2HGFE2F58NH5112345", CIVIC, False, "I heard eighteen characters; that is one too many", f"exactly {CIVIC}"),
    ("hello sandwich", "", False, "I have no character yet", "Not understood: hello, sandwich"),
    (f"keys {KEYS}", "2*******8***12345", False, "read it once more", "keypad"),
    (f"keys {KEYS}, 2 A G F E 2 F 5 8 M H 5 1 2 3 4", CIVIC, True, "Civic", ""),
    ("[The caller pressed 24433# on the keypad.]", "24433", False, "five keys of seventeen. Please go on", "the start"),
    (f"keys {KEYS}77", f"{KEYS}77", False, "nineteen keys of seventeen. Please type it once more", ""),
]  # fmt: skip


@pytest.mark.parametrize(("said", "number", "usable", "say", "note"), TABLE)
async def test_what_was_heard_has_its_answer(
    nhtsa: Nhtsa, said: str, number: str, usable: bool, say: str, note: str
) -> None:
    told = await answer(nhtsa, said, YEAR)
    assert (told["vin"], told["usable"], told["partial"]) == (number, usable, False)
    assert say in told["say"]
    assert note in told["note"]
    assert not any(c.isdigit() for c in told["say"]), "voices read digits out as they like"
    if not usable:
        assert "keys" in told["note"] or "keypad" in told["note"], "there is a way out"


async def test_a_vin_that_fails_and_is_sure_is_asked_to_be_confirmed(nhtsa: Nhtsa) -> None:
    spelled = "2 hotel golf foxtrot echo 2 foxtrot fife 7 november hotel fife 1 2 3 4 fife"
    told = await answer(nhtsa, f"{spelled}, ninth is 7", YEAR)
    assert (told["vin"], told["usable"], told["model"]) == ("2HGFE2F57NH512345", True, "Civic")
    assert "read the VIN back" in told["note"]


async def test_a_question_is_asked_with_what_is_known_already(nhtsa: Nhtsa) -> None:
    told = await answer(nhtsa, "2HGFB2F58NH512345", YEAR)
    assert (told["year"], told["make"], told["model"]) == (2022, "Honda", None)


async def test_without_nhtsa_year_and_maker_are_known_and_it_is_said_that_this_is_partial(
    away: Nhtsa,
) -> None:
    told = await answer(away, CIVIC, YEAR)
    assert (told["usable"], told["partial"]) == (False, True)
    assert (told["year"], told["make"], told["model"]) == (2022, "Honda", None)
    assert "twenty twenty-two Honda, as far as I can tell" in told["say"]
    assert "Which model is it?" in told["say"]
    assert "partial" in told["note"]
    assert "does not answer" in told["note"]


async def test_without_nhtsa_a_maker_that_has_several_makes_is_not_guessed(away: Nhtsa) -> None:
    told = await answer(away, "1C4RJEAG2EC476429", YEAR)
    assert (told["year"], told["make"]) == (2014, None)
    unknown = await answer(away, "1M8GDM9AXKP042788", YEAR)  # a maker of buses
    assert (unknown["partial"], unknown["make"]) == (True, None)


async def test_a_year_that_has_not_come_is_none(away: Nhtsa) -> None:
    told = await answer(away, "2HGFE2FA6YH512345", YEAR)
    assert told["year"] is None


@pytest.mark.parametrize(
    "fault",
    [{"status": 429}, {"status": 403}, {"status": 503}, {"cut": True}, {"delay_s": 60.0}],
)
async def test_each_way_in_which_nhtsa_fails_is_partial(nhtsa_url: str, fault: dict[str, Any]) -> None:
    async with httpx2.AsyncClient(timeout=30) as http:
        await http.post(f"{nhtsa_url}/_faults", json=fault)
    async with Nhtsa(nhtsa_url, timeout_s=0.3) as client:
        told = await answer(client, CIVIC, YEAR)
        assert (told["partial"], told["make"]) == (True, "Honda")
    async with httpx2.AsyncClient(timeout=30) as http:
        await http.post(f"{nhtsa_url}/_faults", json={"times": 0})


async def test_what_nhtsa_does_not_know_is_not_usable_and_not_partial(nhtsa: Nhtsa, nhtsa_url: str) -> None:
    async with httpx2.AsyncClient(timeout=30) as http:
        await http.post(f"{nhtsa_url}/_faults", json={"empty": True})
    told = await answer(nhtsa, CIVIC, YEAR)
    assert (told["usable"], told["partial"], told["make"]) == (False, False, None)
    assert "does not know" in told["note"]


def test_a_vin_is_read_back_in_groups_with_words_where_they_are_needed() -> None:
    assert read_back(CIVIC) == "two, H, G; F, E, two; F, five, eight; N, H, five, one; two, three, four, five"
    assert read_back(CIVIC, {1, 2, 4, 10}) == BACK


class _Nobody(Nhtsa):
    """Is away, and costs nothing to make."""

    def __init__(self) -> None: ...

    async def decode(self, vin: str) -> Any:
        raise NhtsaAway("nobody")


@given(st.text(max_size=300))
async def test_any_text_has_an_answer_to_be_said(said: str) -> None:
    told = await answer(_Nobody(), said, YEAR)
    assert told["say"]
    assert told["note"]
    assert not told["usable"]
