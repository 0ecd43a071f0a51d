"""What is settled of a VIN that was heard and pressed, and what is asked for."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.vins import CASES, keys_of, tally
from crm import confusions, vin
from crm.spoken_vin import Heard, Symbol, hear
from crm.vin_reading import Doubt, Incomplete, Read, Reading, read
from crm.vin_words import question, read_back

CIVIC = "2HGFE2F58NH512345"
YEAR = 2026


def said(text: str) -> Reading:
    return read(hear(text), YEAR)


@pytest.mark.parametrize(
    "text",
    [
        "two h g, f as in frank, e two f five eight november h five one two three four five",  # as the issue says it
        "two hotel golf foxtrot echo two foxtrot five eight november hotel five one two three four five",
        "2 H G F E 2 F 5 8 N H 5 1 2 3 4 5",
        "two h g f e double u, no, two, f five eight n h five one two three four five",
        "2HGFE2F58NH512345",
    ],
)
def test_a_number_that_passes_is_taken_as_it_was_heard(text: str) -> None:
    reading = said(text)
    assert isinstance(reading, Read)
    assert (reading.vin, reading.changed, reading.passes, reading.offered) == (CIVIC, (), True, "")


def test_one_misheard_character_is_what_the_check_digit_says_if_only_one_fits() -> None:
    assert said("2HGFE2F58MH512345") == Read(CIVIC, changed=(9,), unseen=(1, 2, 4, 10))


def test_a_letter_where_only_a_digit_can_stand_is_the_digit_that_sounds_like_it() -> None:
    reading = said("two h g f e two f five eight n h five one two b four five")  # b for three
    assert isinstance(reading, Read)
    assert (reading.vin, reading.changed) == (CIVIC, (14,))


def test_what_the_check_digit_can_not_tell_is_asked_for() -> None:
    reading = said("2HGFB2F58NH512345")
    assert isinstance(reading, Doubt)
    assert reading.places == {4: "EV"}
    assert question(reading.places) == "The fifth character: is it E as in Edward or V as in Victor?"
    answered = said("2HGFB2F58NH512345, fifth is E as in Edward")
    assert isinstance(answered, Read)
    assert answered.vin == CIVIC


def test_several_places_are_asked_for_together_and_what_was_said_with_a_word_never() -> None:
    reading = said("two h g f d two f five eight n h five one two three four five")
    assert isinstance(reading, Doubt)
    assert question(reading.places) == (
        "Please say the fifth, eighth, and thirteenth characters again, letters with a word, such as B as in boy."
    )
    sure = said("two h g f d two f fife eight n h five one two three four five")
    assert isinstance(sure, Doubt)
    assert sure.places.keys() == {4, 12}


def test_two_places_are_asked_for_one_after_the_other() -> None:
    assert question({3: "BD", 11: "59"}) == (
        "The fourth character: is it B as in boy or D as in David? "
        "And the twelfth character: is it the number five or the number nine?"
    )


SAME_VALUE = [
    (one, other)
    for one in sorted(vin.ALPHABET)
    for other in confusions.of(one)
    if vin.value(one) == vin.value(other)
]


@pytest.mark.parametrize(("heard", "meant"), SAME_VALUE)
def test_characters_of_equal_value_are_not_claimed_to_be_told_apart(heard: str, meant: str) -> None:
    for number in (f"2HGF{c}2F50NH512345" for c in (heard, meant)):
        number = number[:8] + vin.check_digit(number) + number[9:]
        reading = said(number)
        assert isinstance(reading, Read)
        assert 4 in reading.unseen, "both pass, so the caller has to hear which was taken"
        sure = read(Heard(tuple(Symbol(c, sure=True) for c in number)), YEAR)
        assert isinstance(sure, Read)
        assert sure.unseen == ()


def test_the_pairs_that_nobody_can_tell_apart_are_those_that_are_known() -> None:
    assert {frozenset(pair) for pair in SAME_VALUE} == {
        frozenset(pair) for pair in ("CT", "3C", "3T", "EV", "AJ", "GP", "8H")
    }


def test_a_repair_makes_no_year_that_has_not_come_and_no_maker_that_nobody_knows() -> None:
    for number in ("2HGFE2F58MH512345", "2HGFB2F58NH512345", "2HGFE2F58NH512395"):
        reading = said(number)
        fits = (reading.vin,) if isinstance(reading, Read) else reading.fits  # type: ignore[union-attr]
        assert all((vin.model_year(fit) or 9999) <= YEAR + 1 and fit[:3] == "2HG" for fit in fits)
    nearer = said("2HGFE2F58XH512345")
    assert not isinstance(nearer, Read)


def test_what_is_sure_throughout_is_taken_although_it_fails() -> None:
    spelled = (
        "whiskey bravo alpha three alpha five charlie five one charlie foxtrot two five six niner eight seven"
    )
    reading = read(Heard(tuple(Symbol(s.char, sure=True) for s in hear(spelled).symbols)), YEAR)
    assert reading == Read("WBA3A5C51CF256987", passes=False)


def test_one_too_many_is_offered_without_it_if_that_is_the_only_way() -> None:
    reading = said("2HGFE2F58NH5112345")
    assert isinstance(reading, Read)
    assert (reading.vin, reading.offered) == (CIVIC, "extra")


def test_one_too_few_is_offered_with_it_if_that_is_the_only_way() -> None:
    offered = [said(CIVIC[:at] + CIVIC[at + 1 :]) for at in range(17)]
    assert Read(CIVIC, offered="missing") in offered
    assert all(isinstance(reading, Incomplete) or reading.vin == CIVIC for reading in offered), (
        "a wrong guess"
    )  # type: ignore[union-attr]


def test_a_number_that_is_much_too_short_is_only_counted() -> None:
    assert said("two h g f e") == Incomplete("2HGFE")
    assert said("hello") == Incomplete("")


# ---------------------------------------------------------------- the keypad


def test_keys_and_what_was_heard_badly_make_the_number() -> None:
    keys = keys_of(CIVIC)
    assert keys == "24433235864512345"
    for heard in (CIVIC, "2AGFE2S98MH512345", "2HGFE2F58NH51234", "2 H G F E 2 F 5 8 N H 5 1 1 2 3 4 5"):
        reading = said(f"keys {keys}, {heard}")
        assert isinstance(reading, Read), heard
        assert reading.vin == CIVIC
        assert not reading.offered


def test_a_key_counts_more_than_an_ear() -> None:
    reading = said(f"keys {keys_of(CIVIC)}, 9HGFE2F58NH512345")
    assert isinstance(reading, Read)
    assert (reading.vin, reading.changed) == (CIVIC, (0,))


def test_who_typed_is_not_understood_by_the_check_digit_alone() -> None:
    # One character is missing, and two are other ones on the same keys: a single number passes, and it is another one.
    reading = said(f"keys {keys_of(CIVIC)}, 2 H G F D 2 F 8 M H 5 1 2 3 4 5")
    assert isinstance(reading, Doubt)
    assert reading.places[7] >= "5"


def test_of_two_characters_on_one_key_it_is_not_known_which_was_heard() -> None:
    number = "2HGF32F58NH512345"
    number = number[:8] + vin.check_digit(number) + number[9:]
    for at in (3, 4):  # F and 3 are on the same key, and don't sound alike
        reading = said(f"keys {keys_of(number)}, {' '.join(number[:at] + number[at + 1 :])}")
        fits = (reading.vin,) if isinstance(reading, Read) else reading.fits  # type: ignore[union-attr]
        assert number in fits


def test_keys_alone_leave_letters_to_be_said_and_no_digit() -> None:
    reading = said(f"keys {keys_of(CIVIC)}")
    assert isinstance(reading, Doubt)
    assert not {0, 8, 12, 13, 14, 15, 16} & reading.places.keys()
    assert (
        question(reading.places) == "Please read it once more, each letter with a word, such as B as in boy."
    )
    spelled = said(
        f"keys {keys_of(CIVIC)}, two hotel golf foxtrot echo two foxtrot five eight november hotel 512345"
    )
    assert isinstance(spelled, Read)
    assert spelled.vin == CIVIC


@pytest.mark.parametrize("keys", ["2443", "244332335864512345"])
def test_too_few_or_too_many_keys_are_counted(keys: str) -> None:
    assert said(f"keys {keys}, {CIVIC}") == Incomplete(keys, keys=True)


# ---------------------------------------------------------------- many of them


@pytest.mark.parametrize(
    "case", ["as it is", "one misheard", "keys, one misheard", "keys, one missing", "keys alone"]
)
def test_no_vin_is_taken_for_another_one_without_the_caller_being_told(case: str) -> None:
    first, ends, questions = tally(case, 300)
    assert (ends["wrong"], ends["never settled"], ends["offered wrongly"]) == (0, 0, 0), ends
    right = ends["as heard"] + ends["resolved"]
    assert right >= 0.9 * 300, ends
    assert questions <= 1.1
    if case == "one misheard":
        assert first["resolved"] > 30, "the check digit told nothing"


def test_two_mistakes_in_one_number_are_seldom_taken_for_another_number() -> None:
    _, ends, _ = tally("two misheard", 300)
    assert ends["wrong"] <= 0.05 * 300, ends
    assert ends["never settled"] == 0


def test_all_cases_of_the_bench_run() -> None:
    for case in CASES:
        first, ends, _ = tally(case, 5)
        assert first.total() == ends.total() == 5


symbols = st.lists(st.builds(Symbol, st.sampled_from(sorted(vin.ALPHABET)), st.booleans()), max_size=20)


@given(
    symbols,
    st.dictionaries(st.integers(0, 16), st.builds(Symbol, st.sampled_from(sorted(vin.ALPHABET)))),
    st.just("") | st.text("0123456789", min_size=15, max_size=18),
)
def test_whatever_was_heard_can_be_read(heard: list[Symbol], placed: dict[int, Symbol], keys: str) -> None:
    reading = read(Heard(tuple(heard), placed, keys), YEAR)
    match reading:
        case Read():
            assert vin.is_one(reading.vin)
            assert reading.passes == vin.has_right_check_digit(reading.vin)
            assert read_back(reading.vin, reading.unseen)
        case Doubt():
            assert reading.places
            assert len(reading.so_far) == vin.LENGTH
            assert question(reading.places)
            assert all(vin.has_right_check_digit(fit) for fit in reading.fits)
        case Incomplete():
            assert len(reading.text) != vin.LENGTH
