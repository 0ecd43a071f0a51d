"""Times of day as people say them."""

import datetime as dt

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crm import saying
from crm.heard import MAX_SAID
from crm.times import Hours, Part, Unclear, clock

OFFICE: Hours = [(dt.time(8), dt.time(17))]
LONG: Hours = [(dt.time(7), dt.time(20))]
LUNCH_BREAK: Hours = [(dt.time(8), dt.time(12)), (dt.time(13), dt.time(17))]
MORNING: Part = (dt.time(0), dt.time(12))
EVENING: Part = (dt.time(17), dt.time.max)


def unclear(said: str, hours: Hours = OFFICE) -> Unclear:
    found = clock(said, hours)
    assert isinstance(found, Unclear), found
    return found


@pytest.mark.parametrize(
    ("said", "time"),
    [
        ("09:30", "09:30"),
        ("9:30", "09:30"),
        ("09:30:00", "09:30"),
        ("9.30", "09:30"),
        ("930", "09:30"),
        ("0930", "09:30"),
        ("13:30", "13:30"),
        ("1330", "13:30"),
        ("130", "13:30"),
        ("3:00", "15:00"),
        ("03:00", "03:00"),
        ("nine thirty", "09:30"),
        ("nine-thirty", "09:30"),
        ("nine oh five", "09:05"),
        ("half past nine", "09:30"),
        ("half nine", "09:30"),
        ("a quarter past four", "16:15"),
        ("quarter to ten", "09:45"),
        ("quarter of four", "15:45"),
        ("twenty to ten", "09:40"),
        ("ten past four", "16:10"),
        ("ten minutes to eleven", "10:50"),
        ("quarter to one", "12:45"),
        ("nine", "09:00"),
        ("at three", "15:00"),
        ("let's say around 2ish", "14:00"),
        ("five", "17:00"),
        ("twelve", "12:00"),
        ("twelve thirty", "12:30"),
        ("noon", "12:00"),
        ("12 noon", "12:00"),
        ("midnight", "00:00"),
        ("ten a.m.", "10:00"),
        ("ten a m", "10:00"),
        ("3pm", "15:00"),
        ("12 am", "00:00"),
        ("12:30 pm", "12:30"),
        ("15:00 pm", "15:00"),
        ("8 o'clock", "08:00"),
        ("8 o’clock in the morning", "08:00"),
        ("three thirty in the afternoon", "15:30"),
        ("nine in the evening", "21:00"),
        ("eleven at night", "23:00"),
        ("six in the morning", "06:00"),
    ],
)
def test_a_time_is_understood_as_people_say_it(said: str, time: str) -> None:
    assert clock(said, OFFICE) == dt.time.fromisoformat(time)


@pytest.mark.parametrize(
    ("said", "why", "candidates"),
    [
        ("morning", "part of the day", []),
        ("first thing", "part of the day", []),
        ("after two", "part of the day", []),
        ("between two and four", "part of the day", []),
        ("nine to eleven", "part of the day", []),
        ("seven", "open from eight to five in the afternoon: ask which", ["07:00", "19:00"]),
        ("two or three", "Several times", ["14:00", "15:00"]),
        ("25:00", "no time 25:00", []),
        ("9:75", "no time 9:75", []),
        ("14:30 am", "not in the morning", ["14:30"]),
        ("between four and two", "is no time", []),
        ("", "not understood", []),
        ("zero", "not understood", []),
        ("blue", "not understood", []),
        ("three days", "not understood", []),
        ("1" * 50, "not understood", []),
        ("9 " * MAX_SAID, "too long", []),
    ],
)
def test_what_is_no_one_time_says_why(said: str, why: str, candidates: list[str]) -> None:
    found = unclear(said)
    assert why in found.why
    assert [f"{time:%H:%M}" for time in found.candidates] == candidates


def test_hours_tell_the_halves_of_the_day_apart_only_where_they_can() -> None:
    assert clock("seven thirty", [(dt.time(7), dt.time(17))]) == dt.time(7, 30)
    assert clock("seven thirty", [(dt.time(12), dt.time(20))]) == dt.time(19, 30)
    assert unclear("seven thirty", LONG).candidates == (dt.time(7, 30), dt.time(19, 30))
    assert clock("twelve thirty", LUNCH_BREAK) == dt.time(12, 30)
    assert clock("nine", []) == dt.time(9)


def test_the_part_of_the_day_that_is_known_decides_before_the_hours() -> None:
    assert clock("seven", OFFICE, MORNING) == dt.time(7)
    assert clock("seven", OFFICE, EVENING) == dt.time(19)
    assert clock("seven in the evening", OFFICE, MORNING) == dt.time(19)
    assert clock("three", OFFICE, EVENING) == dt.time(15)


@given(st.integers(8 * 60, 17 * 60))
def test_every_time_in_office_hours_that_we_say_is_understood_as_the_same(minute: int) -> None:
    time = dt.time(minute // 60, minute % 60)
    assert clock(saying.clock(time), OFFICE) == time


@given(st.times())
def test_a_written_time_of_24_hours_is_taken_as_it_is(time: dt.time) -> None:
    minute = time.replace(second=0, microsecond=0)
    hours = (
        OFFICE if time.hour in (10, 11, 12) else LONG
    )  # two digits, but people say these of the evening too
    assert clock(f"{time:%H:%M}", hours) == minute


_WORDS = (
    "at 9 9:30 99:99 930 00 0 oh half quarter past to of after before between and or from in the morning "
    "afternoon night am pm oclock noon midnight twenty thirty five 1th thing end day a minutes 24 12 13 first"
)


@given(
    st.lists(st.sampled_from(_WORDS.split()), max_size=12).map(" ".join) | st.text(st.characters(codec=None)),
    st.sampled_from([OFFICE, LONG, LUNCH_BREAK, []]),
    st.sampled_from([None, MORNING, EVENING]),
)
def test_no_text_breaks_it(said: str, hours: Hours, part: Part | None) -> None:
    found = clock(said, hours, part)
    if isinstance(found, Unclear):
        assert found.why.endswith(".")
        found.why.encode()
