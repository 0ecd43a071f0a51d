"""The rules of vehicle identification numbers, and who made what."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crm import makers
from crm.demo_data import CUSTOMERS
from crm.vin import (
    ALPHABET,
    DIGITS,
    allowed,
    check_digit,
    descriptor,
    has_right_check_digit,
    is_one,
    model_year,
    usual,
    value,
)

LETTERS = "".join(sorted(ALPHABET))
GROUPS = ("0", "1AJ", "2BKS", "3CLT", "4DMU", "5ENV", "6FW", "7GPX", "8HY", "9RZ")
vins = st.text(LETTERS, min_size=17, max_size=17).map(lambda v: v[:8] + check_digit(v) + v[9:])

# From the tests of python-libvin, where they come from dealers' pages and NHTSA's.
KNOWN = """
19XFC1F7XGE028370 2016 Honda      1C4RJEAG2EC476429 2014 Jeep         1D7RB1CP8BS798034 2011 Dodge
JF1GPAD60D1803590 2013 Subaru     137ZA903X1E412677 2001 Hummer       1HGCM82633A004352 2003 Honda
JHMCM56557C404453 2007 Honda      2HGFC2F58JH512345 2018 Honda
"""
KNOWN_CARS = list(zip(*[iter(KNOWN.split())] * 3, strict=True))


@pytest.mark.parametrize(
    "vin",
    ["1HGCM82633A004352", "1M8GDM9AXKP042788", "11111111111111111", "2HGFC2F58JH512345", "JHMCM56557C404453"],
)
def test_known_good_numbers_pass(vin: str) -> None:
    assert is_one(vin)
    assert has_right_check_digit(vin)


@pytest.mark.parametrize(("vin", "right"), [("4T1BF1FK5HU382930", "4"), ("WBA3A5C51CF256987", "7")])
def test_known_bad_numbers_fail(vin: str, right: str) -> None:
    assert not has_right_check_digit(vin)
    assert check_digit(vin) == right


def test_the_demo_cars_have_valid_numbers_of_their_model_year_and_make() -> None:
    for person in CUSTOMERS:
        for car in person.cars:
            assert has_right_check_digit(car.vin)
            assert model_year(car.vin) == car.year
            assert car.make in makers.makes(car.vin)


@pytest.mark.parametrize(("vin", "year", "make"), KNOWN_CARS)
def test_year_and_make_of_real_cars_are_known_from_the_number_alone(vin: str, year: str, make: str) -> None:
    assert model_year(vin) == int(year)
    assert make in makers.makes(vin)
    assert all(c in usual(place) for place, c in enumerate(vin))


def test_who_is_not_in_the_table_is_nobody() -> None:
    assert makers.makes("999") == ()
    assert makers.makes("") == ()
    assert all(len(wmi) == 3 and ALPHABET.issuperset(wmi) for wmi in makers.wmis())


def test_each_place_has_its_characters() -> None:
    assert allowed(8) == set("0123456789X")
    assert not allowed(9) & set("IOQUZ0")
    assert all(allowed(place) == DIGITS for place in (13, 14, 15, 16))
    assert (usual(12), allowed(12)) == (DIGITS, ALPHABET)


@given(vins, st.integers(0, 16), st.sampled_from(LETTERS))
def test_one_wrong_character_is_caught_unless_its_value_is_the_same(vin: str, at: int, other: str) -> None:
    wrong = vin[:at] + other + vin[at + 1 :]
    same_value = at != 8 and any(vin[at] in group and other in group for group in GROUPS)
    assert has_right_check_digit(wrong) == (other == vin[at] or same_value)
    assert at == 8 or same_value == (value(vin[at]) == value(other))


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


@given(vins, vins)
def test_a_descriptor_has_no_serial_number_and_tells_two_kinds_of_car_apart(vin: str, other: str) -> None:
    same = vin[:8] + other[8] + vin[9:11] + other[11:]
    if vin[2] != "9":
        assert descriptor(vin) == descriptor(same)
        assert len(descriptor(vin)) == 10
    if vin[:8] + vin[9:11] != other[:8] + other[9:11]:
        assert descriptor(vin) != descriptor(other)


def test_the_maker_of_few_cars_is_named_by_its_serial_number() -> None:
    assert descriptor("1A9AB2C37DE123456") != descriptor("1A9AB2C37DE124456")
    assert descriptor("1A9AB2C37DE123456") == descriptor("1A9AB2C37DE123999")
