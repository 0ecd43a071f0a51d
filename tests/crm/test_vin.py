"""Vehicle identification numbers, written and spoken."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crm.demo_data import CUSTOMERS
from crm.vin import check_digit, has_right_check_digit, model_year, normalise, problem

LETTERS = "ABCDEFGHJKLMNPRSTUVWXYZ0123456789"
GROUPS = ("0", "1AJ", "2BKS", "3CLT", "4DMU", "5ENV", "6FW", "7GPX", "8HY", "9RZ")
vins = st.text(LETTERS, min_size=17, max_size=17).map(lambda v: v[:8] + check_digit(v) + v[9:])


@pytest.mark.parametrize(
    "vin",
    ["1HGCM82633A004352", "1M8GDM9AXKP042788", "11111111111111111", "2HGFC2F58JH512345", "JHMCM56557C404453"],
)
def test_known_good_numbers_pass(vin: str) -> None:
    assert problem(vin) is None
    assert has_right_check_digit(vin)


@pytest.mark.parametrize(("vin", "right"), [("4T1BF1FK5HU382930", "4"), ("WBA3A5C51CF256987", "7")])
def test_known_bad_numbers_fail(vin: str, right: str) -> None:
    assert not has_right_check_digit(vin)
    assert check_digit(vin) == right


def test_the_demo_cars_have_valid_numbers_of_their_model_year() -> None:
    for person in CUSTOMERS:
        for car in person.cars:
            assert problem(car.vin) is None
            assert has_right_check_digit(car.vin)
            assert model_year(car.vin) == car.year


@given(vins, st.integers(0, 16), st.sampled_from(LETTERS))
def test_one_wrong_character_is_caught_unless_its_value_is_the_same(vin: str, at: int, other: str) -> None:
    wrong = vin[:at] + other + vin[at + 1 :]
    same_value = at != 8 and any(vin[at] in group and other in group for group in GROUPS)
    assert has_right_check_digit(wrong) == (other == vin[at] or same_value)


@pytest.mark.parametrize(
    ("vin", "year"),
    [
        ("1HGCM82633A004352", 2003),
        ("JHMCM56557C404453", 2007),
        ("2HGFC2F58JH512345", 2018),
        ("2HGFE2F58NH512345", 2022),
        ("1HGCM82630A004352", None),
    ],
)
def test_position_ten_tells_the_year_and_position_seven_the_cycle(vin: str, year: int | None) -> None:
    assert model_year(vin) == year


@pytest.mark.parametrize(
    "said",
    [
        "1HGCM82633A004352",
        "1hgcm-8263 3a00 4352",
        "It's one H G C M eight two six three three A zero zero four three five two.",
        "one hotel golf charlie mike eight two six double three alpha oh oh four three five two",
        "1 H G C as in Charlie M as in Mike 8 2 6 3 3 A 0 0 4 3 5 2",
        "one aitch gee see em eight two six thirty three A double zero forty three fifty two",
        "1HGCM82633AOO4352",
    ],
)
def test_a_spoken_number_is_understood(said: str) -> None:
    assert normalise(said) == "1HGCM82633A004352"


@pytest.mark.parametrize(
    ("said", "heard"),
    [
        ("double u", "W"),
        ("double you x-ray", "WX"),
        ("triple nine", "999"),
        ("I O Q", "100"),
        ("twenty", "20"),
        ("twenty oh", "200"),
        ("seventeen", "17"),
    ],
)
def test_words_become_characters(said: str, heard: str) -> None:
    assert normalise(said) == heard


@given(vins, st.data())
def test_a_number_read_out_character_by_character_comes_back(vin: str, data: st.DataObject) -> None:
    names = ["zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine"]
    said = " ".join(names[int(c)] if c.isdigit() and data.draw(st.booleans()) else c for c in vin)
    assert normalise(said) == vin


@given(st.text(max_size=200))
def test_whatever_is_heard_is_judged_and_never_raises(said: str) -> None:
    number = normalise(said)
    if problem(number) is None:
        assert set(number) <= set(LETTERS)
        has_right_check_digit(number)
        model_year(number)


def test_a_short_number_is_asked_for_again() -> None:
    assert "16 were understood" in (problem("1HGCM82633A00435") or "")
    assert "* can't be in one" in (problem("1HGCM82633A00435*") or "")
