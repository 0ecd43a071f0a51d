"""Whatever stands in a row, it is rejected, or is what the tables take."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crm.importing.csvfile import BadRow, Row
from crm.importing.customers import Customers
from crm.importing.vehicles import Vehicles

text = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=60)
numbers = st.from_regex(r"[-+ (\d.,;]{1,30}|[1-9]\d{0,20}|\d+\.\d+", fullmatch=True)
vins = st.from_regex(r"[A-Za-z0-9 -]{15,20}", fullmatch=True)
anything = st.one_of(text, numbers, vins, st.just(""))


def row(**values: str) -> Row:
    return Row(7, tuple(values.values()), values)


@given(anything, anything, anything, anything)
def test_customers(name: str, phone: str, preferred_name: str, since: str) -> None:
    read = Customers(2026).read(row(name=name, phone=phone, preferred_name=preferred_name, since=since))
    if isinstance(read, BadRow):
        assert read.line == 7
        assert read.todo
        return
    assert read.name.strip() == read.name != ""
    assert "\n" not in read.name
    assert read.phones
    assert all(re.fullmatch(r"[+][1-9][0-9]{6,14}", one, re.ASCII) for one in read.phones)
    assert read.since is None or 1900 <= read.since <= 2026


@given(st.tuples(*[anything] * 4), st.sampled_from(["", "2020", "2027", "20", "1e3"]), anything, anything)
def test_vehicles(values: tuple[str, ...], year: str, make: str, model: str) -> None:
    phone, customer, vin, mileage = values
    read = Vehicles(2026).read(
        row(phone=phone, customer=customer, vin=vin, year=year, make=make, model=model, mileage=mileage)
    )
    if isinstance(read, BadRow):
        assert read.line == 7
        assert read.todo
        return
    assert read.phones or read.customer
    assert read.vin is None or re.fullmatch(r"[A-HJ-NPR-Z0-9]{17}", read.vin)
    assert 1900 <= read.year <= 2028
    assert read.mileage is None or 0 <= read.mileage < 2**31


@pytest.mark.parametrize(
    ("phone", "read"),
    [
        ("+1 (312) 555-0142", "+13125550142"),
        ("312.555.0142", "+13125550142"),
        ("13125550142.0", "+13125550142"),
        ("312-555-0142 x5", "+13125550142"),
        ("+44 20 7946 0018", "+442079460018"),
        ("555-0142", None),
        ("+49 123", None),
        ("+49 22222222222222", None),
        ("1.31E+10", None),
        ("0123", None),
    ],
)
def test_numbers(phone: str, read: str | None) -> None:
    found = Customers(2026).read(row(name="Ann", phone=phone))
    assert (None if isinstance(found, BadRow) else found.phones[0]) == read
