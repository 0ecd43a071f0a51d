"""Who is known by what they say: near enough for what recognition makes of it, and no guess comes through."""

import itertools
import time

import msgspec
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from crm.access import proven, trusted
from crm.likeness import near, words
from crm.records import CustomerRecord, VehicleRecord

PHONE = "+13125550142"
_ids = itertools.count(1)


def customer(name: str, *cars: VehicleRecord) -> CustomerRecord:
    return CustomerRecord(next(_ids), name, 2020, phones=(PHONE,), vehicles=cars)


def car(year: int, make: str, model: str, vin: str = "2HGFE2F59NH504567") -> VehicleRecord:
    return VehicleRecord(next(_ids), year, make, model, vin)


SARAH = customer("Sarah Mitchell", car(2022, "Honda", "Civic"))
OKAFOR = customer("Daniel O'Kafor", car(2019, "Ford", "F-150", "1FTEW1EP5KFA12890"))
MARIA = customer("María de la Cruz", car(2008, "Honda", "CR-V", "JHLRE48578C012345"))
GREETING = "Hi Sarah, this is Trunkline Motors. How can I help you today?"


@pytest.mark.parametrize(
    ("policy", "attested", "phone", "enough"),
    [
        ("attested", True, PHONE, True),
        ("attested", False, PHONE, False),
        ("always", False, PHONE, True),
        ("always", True, PHONE, True),
        ("never", True, PHONE, False),
        *(("always", True, nobody, False) for nobody in (None, "", "anonymous", "+1", "sip:x@y")),
    ],
)
def test_a_number_is_enough_as_the_dealership_wants_it_and_never_where_there_is_none(
    policy: str, attested: bool, phone: str | None, enough: bool
) -> None:
    assert trusted(policy, attested, phone) is enough


@pytest.mark.parametrize(
    ("who", "name"),
    [
        (SARAH, "Sarah Mitchell"),
        (SARAH, "sarah mitchel"),
        (SARAH, "Mitchell"),
        (SARAH, "MITCHELL."),
        (SARAH, "Sara Michell"),
        (SARAH, "It's Sarah Mitchell."),
        (SARAH, "my name is Sarah Jane Mitchell"),
        (SARAH, "Mrs. Mitchell speaking"),
        (SARAH, "Mitchell, M I T C H E L L"),
        (SARAH, "M. I. T. C. H. E. L. L."),
        (OKAFOR, "Okafor"),
        (OKAFOR, "o kafor"),
        (OKAFOR, "O\u2019Kafor"),
        (OKAFOR, "Dan Okafor"),
        (MARIA, "Maria de la Cruz"),
        (MARIA, "delacruz"),
        (MARIA, "Cruz"),
        (customer("Ann Smith-Jones"), "Ann Smith Jones"),
        (customer("Robert Clarke Jr."), "clark"),
        (customer("Robert Clarke Jr."), "Robert Clark junior"),
        (customer("Li Ng"), "Ng"),
    ],
)
def test_the_name_on_the_account_proves_as_recognition_hears_it(who: CustomerRecord, name: str) -> None:
    assert proven([who], name, None, [GREETING]) is who


@pytest.mark.parametrize(
    ("who", "name"),
    [
        (SARAH, "Sarah"),
        (SARAH, "Sara"),
        (SARAH, "M"),
        (SARAH, "Tom Mitchell"),
        (SARAH, "Miller"),
        (SARAH, "Sarah Miller"),
        (SARAH, "Sarah Mitchum Smith"),
        (SARAH, "Smith Jones Mitchell Miller"),
        (SARAH, "Smith Jones Miller Mitchell"),
        (SARAH, "Mitchell or Miller"),
        (SARAH, "Miller M I T C H E L L"),
        (SARAH, "yes"),
        (SARAH, "yes that's me"),
        (SARAH, "the account owner"),
        (SARAH, "SELECT name FROM customer"),
        (SARAH, "%"),
        (SARAH, ".*"),
        (SARAH, "itchell"),
        (customer("Sarah"), "Sarah"),
        (customer("Sarah M."), "Sarah M"),
        (customer("Walk-in Customer"), "customer"),
        (customer("Unknown Caller"), "unknown caller"),
        (customer("Acme Inc."), "Acme Inc"),
        (customer("James James"), "James"),
        (customer("James James"), "James James"),
        (customer("Sarah Lee"), "Sarah Kim"),
        (customer("Sarah Lee"), "Sarah Law"),
        (customer("Sarah Kim"), "Sarah Tim"),
        (customer("Ann Lane"), "Ann Lake"),
        (customer("Ann Miller"), "Ann Hiller"),
        (customer(""), ""),
        (customer("!!!"), "!!!"),
    ],
)
def test_no_other_name_proves_and_no_part_that_anybody_has(who: CustomerRecord, name: str) -> None:
    assert proven([who], name, None, [GREETING]) is None


@pytest.mark.parametrize(
    ("who", "heard"),
    [
        (SARAH, "2022 Honda Civic"),
        (SARAH, "a twenty twenty two civic"),
        (SARAH, "the '22 Civic"),
        (SARAH, "I drive a blue 2022 Honda Civic EX-L"),
        (SARAH, "honda sivic twenty twenty-two"),
        (SARAH, "my Civic, a two thousand twenty two"),
        (SARAH, "a four door 2022 Civic"),
        (OKAFOR, "Ford F one fifty, twenty nineteen"),
        (OKAFOR, "2019 F-150"),
        (OKAFOR, "2019 F150 4x4"),
        (OKAFOR, "nineteen f one hundred fifty"),
        (MARIA, "oh eight Honda CRV"),
        (MARIA, "two thousand eight C R V"),
        (customer("A", car(2019, "Ram", "1500")), "2019 Ram fifteen hundred"),
        (customer("A", car(2019, "Chevrolet", "Silverado 1500")), "2019 Chevy Silverado"),
        (customer("A", car(2021, "BMW", "3 Series")), "twenty twenty one BMW three series"),
        (customer("A", car(2020, "Tesla", "Model 3")), "2020 Tesla model three"),
        (customer("A", car(2020, "Toyota", "RAV4")), "2020 rav four"),
        (customer("A", car(2018, "Porsche", "911")), "twenty eighteen Porsche nine eleven"),
        (customer("A", car(2018, "Volkswagen", "Golf")), "2018 VW golf"),
        (SARAH, "4567"),
        (SARAH, "the VIN ends in four five six seven"),
        (SARAH, "last four are 4 5 6 7"),
        (SARAH, "504567"),
        (SARAH, "H 5 oh 4567"),
        (SARAH, "2HGFE2F59NH504567"),
        (SARAH, "Honda Civic ending 4567"),
    ],
)
def test_a_detail_of_the_car_proves_as_recognition_hears_it(who: CustomerRecord, heard: str) -> None:
    assert proven([who], None, heard, [GREETING]) is who


@pytest.mark.parametrize(
    ("who", "heard"),
    [
        (SARAH, "a Honda"),
        (SARAH, "the Honda"),
        (SARAH, "Honda Civic"),  # every fourth customer of a Honda dealership
        (SARAH, "Civic"),
        (SARAH, "2022"),
        (SARAH, "2022 Honda"),
        (SARAH, "my car"),
        (SARAH, "yes"),
        (SARAH, "car"),
        (SARAH, "2021 Honda Civic"),
        (SARAH, "2022 Toyota Civic"),
        (SARAH, "2022 Civic Accord Pilot"),
        (SARAH, "2021 2022 2023 Civic"),
        (SARAH, "twenty one twenty two Civic"),
        (SARAH, "2020 Civic or 2022 Civic"),
        (SARAH, "567"),
        (SARAH, "4568"),
        (SARAH, "4566 4567"),
        (SARAH, "0000 4567"),
        (OKAFOR, "2019 F-250"),
        (OKAFOR, "2019 F"),
        (OKAFOR, "2019 Ford truck"),
        (customer("A", car(2020, "Tesla", "Model 3")), "2020 Tesla model"),
        (customer("A", car(2020, "Unknown", "Unknown", "UNKNOWN")), "2020 unknown"),
        (customer("A", car(2020, "Unknown", "Unknown", "UNKNOWN")), "unknown"),
        (customer("A", car(0, "", "", "")), "0"),
        (customer("A", car(2020, "Honda", "Fit", "0" * 17)), "0000"),
        (customer("A", car(2020, "Honda", "Fit", "")), ""),
    ],
)
def test_no_other_car_proves_and_nothing_that_anybody_can_guess(who: CustomerRecord, heard: str) -> None:
    assert proven([who], None, heard, [GREETING]) is None


@pytest.mark.parametrize(
    ("name", "heard", "spoken"),
    [
        ("Mitchell", None, "Thank you, Sarah Mitchell."),
        ("Sarah Mitchell", None, "Is that Ms. Mitchel?"),
        ("Mitchell", None, "thanks mitchell"),
        (None, "2022 Honda Civic", "How is the Civic running?"),
        (None, "2022 Honda Civic", "How is your twenty twenty-two Honda?"),
        (None, "2022 Honda Civic", "your 2022 car"),
        (None, "2022 Honda Civic", "the honda civic"),
        (None, "4567", "It ends in four five six seven."),
        (None, "504567", "It ends in 45-67."),
    ],
)
def test_what_we_have_said_ourselves_proves_nothing(name: str | None, heard: str | None, spoken: str) -> None:
    assert proven([SARAH], name, heard, [GREETING]) is SARAH
    assert proven([SARAH], name, heard, [GREETING, spoken, "Anything else?"]) is None


def test_the_end_of_a_long_last_name_that_was_said_takes_the_whole_of_it() -> None:
    assert proven([MARIA], "de la Cruz", None, ["Hello Ms. Cruz."]) is None


def test_ordinary_words_are_no_cars_and_no_names_when_we_say_them() -> None:
    fit = customer("Ella Day", car(2018, "Honda", "Fit"))
    said = ["I can fit you in that day, for twenty dollars."]
    assert proven([fit], None, "2018 Fit", said) is fit
    assert proven([fit], "Ella Day", None, said) is fit
    assert proven([fit], None, "2018 Fit", ["How is the Fit?"]) is None


TOM = customer("Tom Mitchell", car(2018, "Ford", "Escape", "1FMCU0GD5JUA98765"))


@pytest.mark.parametrize(
    ("name", "heard", "who"),
    [
        ("Sarah Mitchell", None, SARAH),
        ("Tom Mitchell", None, TOM),
        ("Mitchell", None, None),  # fits both
        (None, "2018 Ford Escape", TOM),
        ("Sarah Mitchell", "2018 Ford Escape", None),  # one fits one, the other another
        ("Sarah Mitchell", "2022 Civic", SARAH),
        ("Mitchell", "2022 Civic", None),
    ],
)
def test_a_shared_number_needs_a_proof_of_exactly_one(
    name: str | None, heard: str | None, who: CustomerRecord | None
) -> None:
    assert proven([SARAH, TOM], name, heard, []) is who


def test_the_name_that_a_customer_is_greeted_by_may_stand_for_the_first_and_proves_nothing_itself() -> None:
    sally = msgspec.structs.replace(SARAH, preferred_name="Sally")
    assert proven([sally], "Sally Mitchell", None, []) is sally
    assert proven([sally], "Sally", None, []) is None
    by_last_name = msgspec.structs.replace(SARAH, preferred_name="Mitchell")
    assert proven([by_last_name], "Mitchell", None, []) is None


def test_a_car_without_a_vin_is_known_by_model_and_year() -> None:
    plain = customer("Ann Lee", msgspec.structs.replace(car(2018, "Honda", "Fit"), vin=None))
    assert proven([plain], None, "2018 Fit", []) is plain
    assert proven([plain], None, "4567", []) is None


def test_nobody_is_proven_where_nobody_is_known() -> None:
    assert proven([], "Sarah Mitchell", "2022 Honda Civic", []) is None


# ---------------------------------------------------------------- whatever is said

WORDS = (
    "sarah",
    "honda",
    "my",
    "the",
    "civic",
    "2022",
    "twenty",
    "two",
    "22",
    "yes",
    "is",
    "car",
    "i",
    "oh",
    "'",
)
HOSTILE = st.one_of(
    st.text(max_size=400),
    st.text(alphabet="0123456789 -'.,%*;\u0000\ud800\u0301", max_size=400),
    st.lists(
        st.sampled_from(WORDS),
        max_size=40,
    ).map(" ".join),
    st.sampled_from(
        ["\u202e" * 10_000, "x" * 10_000, "Mitchell " * 1_200, "2022 Civic " * 1_000, "a b " * 2_500]
    ),
)


@settings(max_examples=300, deadline=None)
@given(name=HOSTILE, heard=HOSTILE, spoken=st.lists(HOSTILE, max_size=5))
@example(name="", heard="", spoken=[])
def test_hostile_text_never_raises_and_proves_nothing_but_what_fits(
    name: str, heard: str, spoken: list[str]
) -> None:
    found = proven([SARAH], name, heard, spoken)
    if found is not None:
        said = [word.text for word in words(name + " " + heard)]
        named = any(
            near("".join(said[a:b]), "mitchell") for a, b in itertools.combinations(range(len(said) + 1), 2)
        )
        has_car = any(near(word, "civic") for word in said) and "22" in "".join(said)
        assert named or has_car or "4567" in "".join(said)


@settings(max_examples=200, deadline=None)
@given(name=HOSTILE, make=HOSTILE, vin=HOSTILE, heard=HOSTILE, year=st.integers(-(2**40), 2**40))
def test_hostile_records_raise_nothing(name: str, make: str, vin: str, heard: str, year: int) -> None:
    who = customer(name, car(year, make, name, vin))
    assert proven([who], name, heard, [make]) in (None, who)
    assert proven([who], "", "", []) is None
    assert proven([who], None, None, []) is None


def test_a_long_call_is_judged_while_nobody_notices() -> None:
    said = [f"The next free time is on Tuesday at {n}, shall I book it for you then?" for n in range(300)]
    began = time.perf_counter()
    assert proven([SARAH], "Sarah Mitchell", "2022 Honda Civic", said) is SARAH
    took = time.perf_counter() - began
    print(f"{took * 1000:.0f} ms")
    assert took < 5.0
