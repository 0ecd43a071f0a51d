"""Numbers, days, times and how they are said."""

import datetime as dt

import pytest
from hypothesis import given
from hypothesis import strategies as st

from local.receptionist import speech
from local.receptionist.dates import find_days
from local.receptionist.times import Window, find_times
from local.receptionist.words import cardinal, ordinal, words_of

TODAY = dt.date(2026, 11, 24)  # a Tuesday


def days(text: str, today: dt.date = TODAY) -> list[tuple[str, bool]]:
    return [(day.date.isoformat(), day.sure) for day in find_days(words_of(text), today)]


def times(text: str, asked: bool = False) -> tuple[list[tuple[str, bool]], Window | None]:
    words = words_of(text)
    taken = {at for day in find_days(words, TODAY) for at in range(day.start, day.end)}
    clocks, window = find_times(words, taken, asked)
    return [(f"{c.minutes // 60:02}:{c.minutes % 60:02}", c.sure) for c in clocks], window


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("At 9:30 a.m., please", ["at", "9:30", "am", "please"]),
        ("Twenty-seventh, o'clock", ["twenty", "seventh", "oclock"]),
        ("9am on 12/1", ["9", "am", "on", "12/1"]),
        ("I can’t", ["i", "cant"]),
    ],
)
def test_spellings_of_recognisers_become_one(text: str, words: list[str]) -> None:
    assert words_of(text) == words


@pytest.mark.parametrize(
    ("text", "date", "sure"),
    [
        ("today", "2026-11-24", True),
        ("tomorrow", "2026-11-25", True),
        ("the day after tomorrow", "2026-11-26", True),
        ("Friday", "2026-11-27", True),
        ("on Friday, November twenty-seventh", "2026-11-27", True),
        ("Monday the 30th", "2026-11-30", True),
        ("Tuesday", "2026-12-01", False),
        ("this Tuesday", "2026-11-24", True),
        ("next Tuesday", "2026-12-01", True),
        ("next Monday", "2026-11-30", True),
        ("next Friday", "2026-12-04", False),
        ("Friday next week", "2026-12-04", True),
        ("next week Thursday", "2026-12-03", True),
        ("sometime next week", "2026-11-30", False),
        ("a week from Friday", "2026-12-04", True),
        ("in two days", "2026-11-26", True),
        ("in a week", "2026-12-01", True),
        ("December first", "2026-12-01", True),
        ("the first of December", "2026-12-01", True),
        ("Dec. 1st", "2026-12-01", True),
        ("the twenty-seventh", "2026-11-27", True),
        ("the twentieth", "2026-12-20", True),
        ("the thirty-first", "2026-12-31", True),
        ("12/1", "2026-12-01", True),
        ("12/1/26", "2026-12-01", True),
        ("2026-12-01", "2026-12-01", True),
        ("January fifth", "2027-01-05", True),
        ("November first", "2027-11-01", False),
        ("fryday", "2026-11-27", False),
        ("wensday", "2026-11-25", False),
        ("Friday the twenty-sixth", "2026-11-26", False),
    ],
)
def test_a_day_is_understood_as_people_say_it(text: str, date: str, sure: bool) -> None:
    assert days(text) == [(date, sure)]


@pytest.mark.parametrize(
    "text",
    [
        "may I come",
        "the second one",
        "my birthday",
        "nine thirty",
        "two tires",
        "13/45",
        "yesterday",
        "February 30th",
    ],
)
def test_what_is_no_day_is_not_taken_for_one(text: str) -> None:
    assert days(text) == []


@pytest.mark.parametrize(
    ("text", "time", "sure"),
    [
        ("at nine", "09:00", True),
        ("nine thirty", "09:30", True),
        ("half past nine", "09:30", True),
        ("half nine", "09:30", True),
        ("quarter to ten", "09:45", True),
        ("ten past nine", "09:10", True),
        ("nine oh five", "09:05", True),
        ("9:30 a.m.", "09:30", True),
        ("9.30", "09:30", True),
        ("14:00", "14:00", True),
        ("930 am", "09:30", True),
        ("at 2", "14:00", True),
        ("two in the afternoon", "14:00", True),
        ("tomorrow morning at eleven", "11:00", True),
        ("noon", "12:00", True),
        ("twelve thirty", "12:30", True),
        ("at one", "13:00", True),
        ("how about two thirty", "14:30", True),
        ("make it ten", "10:00", True),
        ("tomorrow nine", "09:00", True),
        ("five p.m.", "17:00", True),
        ("around three", "15:00", False),
        ("at seven", "19:00", False),
        ("at seven in the morning", "07:00", True),
        ("eight o'clock", "08:00", True),
    ],
)
def test_a_time_is_understood_as_people_say_it(text: str, time: str, sure: bool) -> None:
    assert times(text)[0] == [(time, sure)]


@pytest.mark.parametrize(
    "text",
    ["that one", "the first one", "I have two cars", "in five minutes", "my 2021 Honda", "on December first"],
)
def test_what_is_no_time_is_not_taken_for_one(text: str) -> None:
    assert times(text, asked=True)[0] == times(text)[0] == []


def test_a_bare_number_is_a_time_only_where_one_was_asked_for() -> None:
    assert times("nine", asked=True)[0] == [("09:00", True)]
    assert times("nine")[0] == []


@pytest.mark.parametrize(
    ("text", "earliest", "latest"),
    [
        ("tomorrow morning", 0, 720),
        ("in the afternoon", 720, 1080),
        ("after two", 840, 1440),
        ("before ten thirty", 0, 630),
        ("between nine and eleven", 540, 660),
    ],
)
def test_a_part_of_the_day_is_no_time_but_a_window(text: str, earliest: int, latest: int) -> None:
    assert times(text) == ([], Window(earliest, latest))


@pytest.mark.parametrize(
    ("minutes", "alone", "listed"),
    [
        (540, "nine o'clock", "nine"),
        (570, "nine thirty", "nine thirty"),
        (545, "nine oh five", "nine oh five"),
        (720, "noon", "noon"),
        (0, "midnight", "midnight"),
        (870, "two thirty", "two thirty"),
    ],
)
def test_times_are_said_in_words(minutes: int, alone: str, listed: str) -> None:
    assert (speech.clock(minutes), speech.clock(minutes, alone=False)) == (alone, listed)


def test_what_was_written_is_made_for_hearing() -> None:
    text = (
        "2026-11-29 is in the past; today is Tuesday, 2026-11-24. 09:00 costs $59.50 for 30 min in an F-150."
    )
    assert speech.spoken(text) == (
        "Sunday, November twenty-ninth is in the past; today is Tuesday, November twenty-fourth. "
        "nine o'clock costs fifty-nine dollars and fifty cents for thirty minutes in an F-150."
    )
    assert speech.either(["nine", "ten", "noon"]) == "nine, ten or noon"
    assert [speech.year(y) for y in (2021, 2009, 2000, 1905)] == [
        "twenty twenty-one",
        "two thousand nine",
        "two thousand",
        "nineteen oh five",
    ]


@given(st.dates(dt.date(2026, 11, 24), dt.date(2027, 5, 1)))
def test_every_day_we_say_we_also_understand(date: dt.date) -> None:
    assert [found for found, _ in days(speech.day(date))] == [date.isoformat()]


@given(st.integers(8 * 12, 17 * 12).map(lambda n: n * 5))
def test_every_time_in_office_hours_that_we_say_we_also_understand(minutes: int) -> None:
    clocks, window = times(f"at {speech.clock(minutes)}")
    assert (clocks, window) == ([(f"{minutes // 60:02}:{minutes % 60:02}", True)], None)


@given(st.integers(0, 99))
def test_every_number_we_say_we_also_understand(value: int) -> None:
    words = words_of(speech.number(value))
    assert cardinal(words, 0) == (value, len(words))
    if value:
        words = words_of(speech.ordinal(value))
        assert ordinal(words, 0) == (value, len(words))


_VOCABULARY = (
    "at nine thirty the first of december twenty seventh next week tuesday 9:30 99:99 12/1 0 31 half past to in "
    "two days am pm a quarter 2026-02-30 between and after one oclock o'clock may 0000 ½ ٣ 9999 in"
)


@given(st.lists(st.sampled_from(_VOCABULARY.split()), max_size=12), st.dates(), st.booleans())
def test_no_order_of_words_breaks_the_parsers(parts: list[str], today: dt.date, asked: bool) -> None:
    words = words_of(" ".join(parts))
    found = find_days(words, today)
    assert all(day.date >= today or "-" in " ".join(words) or "/" in " ".join(words) for day in found)
    assert all(0 <= a.start < a.end <= len(words) for a in found)
    clocks, _ = find_times(words, set(), asked)
    assert all(0 <= clock.minutes < 24 * 60 and clock.start < clock.end <= len(words) for clock in clocks)


@given(st.text(max_size=80), st.dates())
def test_no_text_breaks_the_parsers(text: str, today: dt.date) -> None:
    words = words_of(text)
    find_days(words, today)
    find_times(words, set(), True)
    speech.spoken(text)
