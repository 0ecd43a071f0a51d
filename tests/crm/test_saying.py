"""What is said, in words."""

import datetime as dt

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from crm import saying

TODAY = dt.date(2026, 11, 28)  # a Saturday
DATES = st.dates(dt.date(1, 1, 1), dt.date(9999, 12, 31))


def no_digit(text: str) -> bool:
    return not any(letter.isdigit() or letter.isnumeric() for letter in text)


@pytest.mark.parametrize(
    ("date", "said"),
    [
        ("2026-11-28", "Saturday the twenty-eighth"),
        ("2026-12-01", "Tuesday the first"),
        ("2026-12-04", "Friday the fourth"),
        ("2026-12-05", "Saturday, December fifth"),
        ("2026-11-27", "Friday, November twenty-seventh"),
        ("2027-03-02", "Tuesday, March second, twenty twenty-seven"),
        ("2024-02-29", "Thursday, February twenty-ninth, twenty twenty-four"),
    ],
)
def test_a_day_has_its_month_when_it_is_not_coming_and_its_year_when_that_is_another(
    date: str, said: str
) -> None:
    assert saying.day(dt.date.fromisoformat(date), TODAY) == said


@pytest.mark.parametrize(
    ("time", "said"),
    [
        ("00:00", "midnight"),
        ("00:30", "twelve thirty in the morning"),
        ("07:30", "seven thirty in the morning"),
        ("08:00", "eight"),
        ("09:05", "nine oh five"),
        ("09:30", "nine thirty"),
        ("11:59", "eleven fifty-nine"),
        ("12:00", "noon"),
        ("12:30", "twelve thirty in the afternoon"),
        ("14:00", "two in the afternoon"),
        ("18:00", "six in the evening"),
        ("21:15", "nine fifteen at night"),
    ],
)
def test_a_time_says_its_part_of_the_day_where_the_hour_is_not_enough(time: str, said: str) -> None:
    assert saying.clock(dt.time.fromisoformat(time)) == said


@pytest.mark.parametrize(
    ("times", "said"),
    [
        ([], ""),
        (["09:00"], "nine"),
        (["09:00", "09:30", "14:00"], "nine, nine thirty, or two in the afternoon"),
        (["13:00", "14:00"], "one or two in the afternoon"),
        (["12:00", "13:30", "14:00"], "noon, one thirty, or two in the afternoon"),
        (["09:00", "12:00"], "nine or noon"),
        (["14:00", "18:00"], "two in the afternoon or six in the evening"),
    ],
)
def test_several_times_share_their_part_of_the_day(times: list[str], said: str) -> None:
    assert saying.clocks([dt.time.fromisoformat(time) for time in times]) == said


def test_a_slot_and_slots_on_several_days() -> None:
    slots = [dt.datetime(2026, 12, 1, 9, 30), dt.datetime(2026, 12, 1, 10), dt.datetime(2026, 12, 2, 14)]  # noqa: DTZ001
    assert saying.slot(slots[0], TODAY) == "Tuesday the first at nine thirty"
    said = "Tuesday the first at nine thirty or ten, or Wednesday the second at two in the afternoon"
    assert saying.slots(slots, TODAY) == said


@pytest.mark.parametrize(
    ("cents", "said"),
    [
        (0, "no charge"),
        (1, "one cent"),
        (100, "one dollar"),
        (5950, "fifty-nine dollars and fifty cents"),
        (8000, "eighty dollars"),
        (123400, "one thousand two hundred thirty-four dollars"),
    ],
)
def test_a_price(cents: int, said: str) -> None:
    assert saying.price(cents) == said


@pytest.mark.parametrize(
    ("low", "high", "said"),
    [
        (6000, 8000, "between sixty and eighty dollars"),
        (6000, 6000, "sixty dollars"),
        (100, 200, "between one dollar and two dollars"),
        (5950, 8000, "between fifty-nine dollars and fifty cents and eighty dollars"),
        (0, 8000, "up to eighty dollars"),
    ],
)
def test_a_price_range(low: int, high: int, said: str) -> None:
    assert saying.price_range(low, high) == said


@pytest.mark.parametrize(
    ("minutes", "said"),
    [
        (1, "one minute"),
        (30, "half an hour"),
        (45, "forty-five minutes"),
        (60, "an hour"),
        (75, "an hour and fifteen minutes"),
        (90, "an hour and a half"),
        (120, "two hours"),
        (150, "two and a half hours"),
    ],
)
def test_a_duration(minutes: int, said: str) -> None:
    assert saying.duration(minutes) == said


def test_a_list_of_things() -> None:
    assert saying.listing([]) == ""
    assert saying.listing(["oil"]) == "oil"
    assert saying.listing(["oil", "tires"]) == "oil and tires"
    assert saying.listing(["oil", "tires", "brakes"], "or") == "oil, tires, or brakes"


@pytest.mark.parametrize(
    ("n", "cardinal", "ordinal"),
    [
        (1, "one", "first"),
        (2, "two", "second"),
        (3, "three", "third"),
        (5, "five", "fifth"),
        (8, "eight", "eighth"),
        (9, "nine", "ninth"),
        (12, "twelve", "twelfth"),
        (20, "twenty", "twentieth"),
        (31, "thirty-one", "thirty-first"),
        (100, "one hundred", "one hundredth"),
        (45012, "forty-five thousand twelve", "forty-five thousand twelfth"),
        (-3, "minus three", "minus third"),
    ],
)
def test_numbers(n: int, cardinal: str, ordinal: str) -> None:
    assert (saying.number(n), saying.ordinal(n)) == (cardinal, ordinal)


@pytest.mark.parametrize(
    ("n", "said"),
    [
        (1905, "nineteen oh five"),
        (1900, "nineteen hundred"),
        (1999, "nineteen ninety-nine"),
        (2000, "two thousand"),
        (2005, "two thousand five"),
        (2010, "twenty ten"),
        (2022, "twenty twenty-two"),
    ],
)
def test_years(n: int, said: str) -> None:
    assert saying.year(n) == said


def test_a_phone_number_is_read_in_groups() -> None:
    assert saying.phone("+13125550142") == "three one two, five five five, zero one four two"
    assert saying.phone("+4930123") == "four nine three, zero one two, three"


@pytest.mark.parametrize(
    ("car", "said"),
    [
        ("2022 Honda Civic", "twenty twenty-two Honda Civic"),
        ("2015 Ford F-150", "twenty fifteen Ford F one fifty"),
        ("2020 Toyota RAV4", "twenty twenty Toyota RAV four"),
        ("Mazda CX-5", "Mazda CX five"),
        ("BMW 328i", "BMW three twenty-eight i"),
        ("Fiat 500", "Fiat five hundred"),
        ("RAM 1500", "RAM fifteen hundred"),
        ("Peugeot 208", "Peugeot two oh eight"),
        ("Saab 9-3", "Saab nine three"),
    ],
)
def test_a_car(car: str, said: str) -> None:
    assert saying.car(car) == said


@given(DATES, DATES, st.times())
def test_no_digit_is_in_a_slot(date: dt.date, today: dt.date, time: dt.time) -> None:
    assert no_digit(saying.slot(dt.datetime.combine(date, time), today))


@given(st.integers(0, 10**9), st.integers(0, 10**9))
def test_no_digit_is_in_prices_durations_and_numbers(a: int, b: int) -> None:
    assert no_digit(saying.price(a) + saying.price_range(a, b) + saying.duration(a) + saying.ordinal(a))


@given(st.text())
@example("Lada ٢١٠٧ ½ ² ፩")
def test_no_digit_of_any_script_is_in_a_car_or_phone_number(text: str) -> None:
    assert not any(letter.isdigit() for letter in saying.car(text) + saying.phone(text))
