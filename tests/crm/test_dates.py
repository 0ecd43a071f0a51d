"""Days as people say them, and the round trip with how we say them."""

import datetime as dt
import time
from zoneinfo import ZoneInfo

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from crm import saying
from crm.dates import Day, Unclear, day, moment
from crm.heard import MAX_SAID
from crm.times import Hours

CHICAGO = ZoneInfo("America/Chicago")


def at(text: str) -> dt.datetime:
    return dt.datetime.fromisoformat(text).replace(tzinfo=CHICAGO)


TUESDAY = at("2026-11-24 10:15")
CHRISTMAS = dt.date(2026, 12, 25)


def is_open(date: dt.date) -> bool:
    return date.weekday() < 6 and date != CHRISTMAS


def hours(date: dt.date) -> Hours:
    if not is_open(date):
        return []
    return [(dt.time(9), dt.time(13))] if date.weekday() == 5 else [(dt.time(8), dt.time(17))]


def understood(said: str, now: dt.datetime = TUESDAY) -> Day:
    found = day(said, now, is_open, hours)
    assert isinstance(found, Day), found
    return found


def unclear(said: str, now: dt.datetime = TUESDAY) -> Unclear:
    found = day(said, now, is_open, hours)
    assert isinstance(found, Unclear), found
    return found


DAYS = [
    ("2026-12-01", "2026-12-01"),
    ("12/3", "2026-12-03"),
    ("12/25/26", "2026-12-25"),
    ("12-3-2026", "2026-12-03"),
    ("today", "2026-11-24"),
    ("tomorrow", "2026-11-25"),
    ("tommorow", "2026-11-25"),
    ("the day after tomorrow", "2026-11-26"),
    ("Friday", "2026-11-27"),
    ("Sat", "2026-11-28"),
    ("this Friday", "2026-11-27"),
    ("this coming Monday", "2026-11-30"),
    ("this Tuesday", "2026-11-24"),
    ("this coming Tuesday", "2026-12-01"),
    ("next Tuesday", "2026-12-01"),
    ("next Monday", "2026-11-30"),
    ("Tuesday of next week", "2026-12-01"),
    ("next week Thursday", "2026-12-03"),
    ("sometime next week, maybe Thursday", "2026-12-03"),
    ("Friday of this week", "2026-11-27"),
    ("Thursday the week of the 7th", "2026-12-10"),
    ("Thursday week", "2026-12-03"),
    ("a week from Thursday", "2026-12-03"),
    ("a week Thursday", "2026-12-03"),
    ("two weeks from Monday", "2026-12-14"),
    ("a week from tomorrow", "2026-12-02"),
    ("three weeks from today", "2026-12-15"),
    ("two weeks after Christmas", "2027-01-08"),
    ("two Mondays from now", "2026-12-07"),
    ("in two weeks", "2026-12-08"),
    ("in a couple of weeks", "2026-12-08"),
    ("in three days", "2026-11-27"),
    ("two days from now", "2026-11-26"),
    ("in a month", "2026-12-24"),
    ("December third", "2026-12-03"),
    ("Dec. 3rd", "2026-12-03"),
    ("the 3rd of December", "2026-12-03"),
    ("3 December", "2026-12-03"),
    ("December 3, 2027", "2027-12-03"),
    ("December third, twenty twenty-seven", "2027-12-03"),
    ("December third two thousand twenty-seven", "2027-12-03"),
    ("on the fifth of May", "2027-05-05"),
    ("May 5th", "2027-05-05"),
    ("the third", "2026-12-03"),
    ("27th", "2026-11-27"),
    ("the twenty-fourth", "2026-11-24"),
    ("the fifteenth", "2026-12-15"),
    ("the thirty-first", "2026-12-31"),
    ("the fifth of next month", "2026-12-05"),
    ("Friday the 27th", "2026-11-27"),
    ("Monday 30th", "2026-11-30"),
    ("the 30th, that's a Monday", "2026-11-30"),
    ("Tuesday, December eighth", "2026-12-08"),
    ("next Tuesday, December first", "2026-12-01"),
    ("the second Tuesday of December", "2026-12-08"),
    ("the last Friday of the month", "2026-11-27"),
    ("Thanksgiving", "2026-11-26"),
    ("Christmas Eve", "2026-12-24"),
    ("New Year's Day", "2027-01-01"),
    ("the Fourth of July", "2027-07-04"),
    ("Labor Day", "2027-09-06"),
    ("the day after Christmas", "2026-12-26"),
    ("the Monday after Thanksgiving", "2026-11-30"),
    ("the Friday before Christmas", "2026-12-18"),
    ("February 29th", "2028-02-29"),
    ("I'd like to bring my 2022 Honda Civic in on Friday please", "2026-11-27"),
    ("Friday with the Mazda 3", "2026-11-27"),
    ("Friday for 2 cars", "2026-11-27"),
]


@pytest.mark.parametrize(("said", "date"), DAYS)
def test_a_day_is_understood_as_people_say_it(said: str, date: str) -> None:
    found = understood(said)
    assert (found.date.isoformat(), found.through, found.doubtful) == (date, None, False)
    assert (found.part, found.time) == (None, None)


@pytest.mark.parametrize(
    ("said", "date", "through"),
    [
        ("next week", "2026-11-30", "2026-12-06"),
        ("this week", "2026-11-24", "2026-11-29"),
        ("later this week", "2026-11-25", "2026-11-29"),
        ("early next week", "2026-11-30", "2026-12-01"),
        ("the middle of next week", "2026-12-02", "2026-12-03"),
        ("end of next week", "2026-12-04", "2026-12-06"),
        ("the week after next", "2026-12-07", "2026-12-13"),
        ("the week of the seventh", "2026-12-07", "2026-12-13"),
        ("the second week of December", "2026-12-08", "2026-12-14"),
        ("the week of the 23rd", "2026-12-21", "2026-12-27"),
        ("this weekend", "2026-11-28", "2026-11-29"),
        ("next month", "2026-12-01", "2026-12-31"),
        ("the end of the month", "2026-11-30", "2026-11-30"),
        ("early December", "2026-12-01", "2026-12-10"),
        ("in May", "2027-05-01", "2027-05-31"),
        ("within ten days", "2026-11-24", "2026-12-04"),
        ("in the next two weeks", "2026-11-24", "2026-12-08"),
        ("from Monday to Wednesday", "2026-11-30", "2026-12-02"),
        ("between Thursday and Monday", "2026-11-26", "2026-11-30"),
        ("after Christmas Eve", "2026-12-26", "2027-01-07"),
        ("by Friday", "2026-11-24", "2026-11-27"),
        ("before Friday", "2026-11-24", "2026-11-26"),
        ("Thursday or later", "2026-11-26", "2026-12-09"),
        ("any day next week", "2026-11-30", "2026-12-06"),
    ],
)
def test_of_a_range_the_first_open_day_is_taken_and_said(said: str, date: str, through: str) -> None:
    found = understood(said)
    assert found.through is not None
    assert (found.date.isoformat(), found.through.isoformat()) == (date, through)
    assert "we are open: say so" in found.note
    assert saying.day(found.date, TUESDAY.date()) in found.note


@pytest.mark.parametrize("said", ["as soon as possible", "ASAP", "the first available", "whenever"])
def test_as_soon_as_possible_is_the_first_day_on_which_we_are_still_open(said: str) -> None:
    assert understood(said).date == TUESDAY.date()
    assert understood(said, at("2026-11-24 17:00")).date.isoformat() == "2026-11-25"
    assert understood(said, at("2026-11-28 13:00")).date.isoformat() == "2026-11-30"


def test_a_range_without_an_open_day_tells_the_next_one() -> None:
    found = unclear("this weekend", at("2026-11-29 10:00"))
    assert found.candidates == (dt.date(2026, 11, 30),)
    assert "closed" in found.why
    assert "Monday the thirtieth" in found.why


@pytest.mark.parametrize(
    ("now", "said", "date", "other"),
    [
        # On a Monday the coming Tuesday is tomorrow; the one of next week is meant.
        ("2026-11-30 09:00", "next Tuesday", "2026-12-08", "2026-12-01"),
        ("2026-11-29 09:00", "next Tuesday", "2026-12-01", "2026-12-08"),
        ("2026-11-28 09:00", "next Tuesday", "2026-12-01", None),
        ("2026-11-27 09:00", "next Tuesday", "2026-12-01", None),
        ("2026-11-24 09:00", "next Tuesday", "2026-12-01", None),
        ("2026-11-28 09:00", "next Monday", "2026-11-30", "2026-12-07"),
        ("2026-11-24 09:00", "next Friday", "2026-12-04", "2026-11-27"),
        ("2026-12-30 09:00", "next Friday", "2027-01-08", "2027-01-01"),
        ("2026-11-24 09:00", "Tuesday", "2026-12-01", "2026-11-24"),
        ("2026-11-24 09:00", "Tuesday after next", "2026-12-08", "2026-12-01"),
    ],
)
def test_a_weekday_that_people_mean_differently_is_told_from_the_other(
    now: str, said: str, date: str, other: str | None
) -> None:
    found = understood(said, at(now))
    assert found.date.isoformat() == date
    assert found.doubtful == (other is not None)
    if other is None:
        assert found.note == ""
    else:
        assert found.other == dt.date.fromisoformat(other)
        today = at(now).date()
        assert f"{saying.day(found.date, today)}, not for {saying.day(found.other, today)}" in found.note


def test_a_date_that_is_named_too_leaves_no_doubt() -> None:
    monday = at("2026-11-30 09:00")
    assert not understood("next Tuesday, December eighth", monday).doubtful
    assert not understood("next Tuesday the first", monday).doubtful
    assert not understood("Tuesday of next week", monday).doubtful


def test_a_date_of_another_year_is_told_with_it() -> None:
    assert "twenty twenty-seven" in understood("November third").note
    assert understood("January fifth").note == ""


@pytest.mark.parametrize(
    ("said", "date", "part", "time"),
    [
        ("Monday morning", "2026-11-30", ("00:00", "12:00"), None),
        ("tomorrow afternoon", "2026-11-25", ("12:00", "18:00"), None),
        ("late morning tomorrow", "2026-11-25", ("10:00", "12:00"), None),
        ("this afternoon", "2026-11-24", ("12:00", "18:00"), None),
        ("first thing Monday", "2026-11-30", ("08:00", "09:00"), None),
        ("first thing Saturday", "2026-11-28", ("09:00", "10:00"), None),
        ("the end of the day tomorrow", "2026-11-25", ("15:00", "17:00"), None),
        ("tomorrow between two and four", "2026-11-25", ("14:00", "16:00"), None),
        ("tomorrow before ten", "2026-11-25", ("00:00", "10:00"), None),
        ("next Tuesday at nine thirty", "2026-12-01", None, "09:30"),
        ("next Tuesday morning at nine", "2026-12-01", ("00:00", "12:00"), "09:00"),
        ("half past nine on Monday", "2026-11-30", None, "09:30"),
        ("noon tomorrow", "2026-11-25", None, "12:00"),
        ("two thirty on the 3rd", "2026-12-03", None, "14:30"),
        ("the third at three", "2026-12-03", None, "15:00"),
        ("December 3 9:30", "2026-12-03", None, "09:30"),
        ("Monday 9", "2026-11-30", None, "09:00"),
        ("Friday around 2 please", "2026-11-27", None, "14:00"),
        ("today at three", "2026-11-24", None, "15:00"),
        ("tomorrow at 9 for 2 cars", "2026-11-25", None, "09:00"),
        ("2026-12-01T09:30", "2026-12-01", None, "09:30"),
        ("2026-12-01 09:30:00", "2026-12-01", None, "09:30"),
        ("2026-12-01T15:30:00Z", "2026-12-01", None, "09:30"),
    ],
)
def test_a_time_or_part_of_the_day_comes_along(
    said: str, date: str, part: tuple[str, str] | None, time: str | None
) -> None:
    found = understood(said)
    assert found.date.isoformat() == date
    assert (found.part and tuple(f"{edge:%H:%M}" for edge in found.part)) == part
    assert (found.time and f"{found.time:%H:%M}") == time


@pytest.mark.parametrize(
    ("said", "why", "candidates"),
    [
        ("", "No day is understood", []),
        ("blue", "No day is understood", []),
        ("nine thirty", "No day is understood", []),
        ("in the morning", "No day is understood", []),
        ("yesterday", "in the past", []),
        ("2020-01-01", "in the past; today is Tuesday the twenty-fourth", []),
        ("last Friday", "in the past", []),
        ("three days ago", "in the past", []),
        ("November third, twenty twenty-five", "in the past", []),
        ("Monday of this week", "in the past", []),
        ("February thirtieth", "February has no thirtieth", []),
        ("2026-02-30", "twenty-eight days and no thirtieth", []),
        ("February 29, 2027", "no twenty-ninth", []),
        ("the thirty-second", "No month has a thirty-second", []),
        ("13/5", "no month thirteen", ["2027-05-13"]),
        ("2026-13-01", "no month thirteen", []),
        ("0000-01-01", "no such year", []),
        ("Friday the 26th", "different days", ["2026-11-26", "2026-11-27"]),
        ("Tuesday, December third", "different days", ["2026-12-01", "2026-12-03"]),
        ("tomorrow, Friday", "different days", ["2026-11-25", "2026-11-27"]),
        ("Monday or Wednesday", "different days", ["2026-11-25", "2026-11-30"]),
        ("the third or the fourth", "different days", ["2026-12-03", "2026-12-04"]),
        ("the fourteenth, next week", "different days", ["2026-11-30", "2026-12-14"]),
        ("not Monday", "not meant", []),
        ("I can't do Monday", "not meant", []),
        ("any day but Friday", "not meant", []),
        ("every Tuesday", "not meant", []),
        ("in 9999 years", "No day is understood", []),
        ("9999-12-31 or a week after 9999-12-31", "beyond any calendar", []),
        ("today at nine", "nine is already past today", []),
        ("Sunday, between the third and the fifth", "no Sunday among", []),
        ("Monday or Tuesday next week", "different days", ["2026-11-30", "2026-12-01"]),
        ("x" * (MAX_SAID + 1), "far too long", []),
    ],
)
def test_what_can_not_be_taken_as_one_day_says_why(said: str, why: str, candidates: list[str]) -> None:
    found = unclear(said)
    assert why in found.why
    assert [str(candidate) for candidate in found.candidates] == candidates


def test_a_part_of_today_that_is_over_is_past() -> None:
    assert "already past today" in unclear("this morning", at("2026-11-24 12:00")).why
    assert understood("this morning", at("2026-11-24 11:59")).date == TUESDAY.date()


def test_a_time_that_is_unclear_makes_the_day_unclear() -> None:
    assert unclear("Monday at seven").candidates == (dt.time(7), dt.time(19))
    assert unclear("tomorrow at noon or one").candidates == (dt.time(12), dt.time(13))
    assert unclear("tomorrow at 25:00").candidates == ()


@pytest.mark.parametrize(
    ("now", "said", "date"),
    [
        ("2026-12-30 09:00", "the second", "2027-01-02"),
        ("2026-12-30 09:00", "next Tuesday", "2027-01-05"),
        ("2026-12-30 09:00", "Friday", "2027-01-01"),
        ("2026-12-30 09:00", "Christmas", "2027-12-25"),
        ("2026-12-30 09:00", "early January", "2027-01-01"),
        ("2027-01-31 09:00", "in a month", "2027-02-28"),
        ("2027-01-30 09:00", "the twenty-ninth", "2027-03-29"),
        # The night in which clocks change, on either side of it.
        ("2026-03-07 23:30", "tomorrow", "2026-03-08"),
        ("2026-03-08 00:30", "tomorrow", "2026-03-09"),
        ("2026-10-31 23:30", "in a week", "2026-11-07"),
        ("2026-11-01 23:30", "tomorrow", "2026-11-02"),
    ],
)
def test_years_end_and_clocks_change(now: str, said: str, date: str) -> None:
    assert understood(said, at(now)).date.isoformat() == date


def test_a_time_that_does_not_exist_or_exists_twice_has_a_reason() -> None:
    assert "put forward" in unclear("March 8th at 2:30 am", at("2026-03-05 09:00")).why
    assert "put back" in unclear("November first at 1:30 am", at("2026-10-30 09:00")).why
    assert understood("November first at 1:30", at("2026-10-30 09:00")).time == dt.time(13, 30)
    assert isinstance(moment(dt.date(2026, 3, 8), dt.time(1, 59), CHICAGO), dt.datetime)
    assert isinstance(moment(dt.date(2026, 3, 8), dt.time(2, 0), CHICAGO), Unclear)
    assert isinstance(moment(dt.date(2026, 3, 8), dt.time(3, 0), CHICAGO), dt.datetime)
    assert isinstance(moment(dt.date.min, dt.time(), ZoneInfo("Asia/Tokyo")), Unclear)
    # In the second 1:10 of the night, 1:50 is still to come and 1:00 has been twice.
    twice = at("2026-11-01 01:10").replace(fold=1)
    assert "put back" in unclear("today at 1:50 am", twice).why


def test_now_must_be_aware() -> None:
    with pytest.raises(ValueError, match="aware"):
        day("today", dt.datetime(2026, 11, 24), is_open, hours)  # noqa: DTZ001


# ------------------------------------------------------------ properties

NOWS = st.datetimes(dt.datetime(2000, 1, 1), dt.datetime(2090, 1, 1), timezones=st.just(CHICAGO))  # noqa: DTZ001
_WORDS = (
    "at nine thirty the first of december twenty seventh next week tuesday 9:30 99:99 12/1 13/13 0/0 31 31st half past "
    "to in two days am pm a an quarter 2026-02-30 9999-12-31 0001-01-01 between and after before by not from one "
    "oclock may 0000 zero thousand this last day weekend month end early later friday or until soon christmas tonight "
    "morning february 29th 32nd 999th year ago coming 20 - , : 100 1000 9999 hundred"
)
PHRASES = st.lists(st.sampled_from(_WORDS.split()), max_size=12).map(" ".join)


def holds(found: Day | Unclear, now: dt.datetime) -> None:
    """What is true of whatever day() gives."""
    today = now.date()
    if isinstance(found, Unclear):
        assert found.why.endswith(".")
        dates = [one for one in found.candidates if isinstance(one, dt.date)]
    else:
        dates = [one for one in (found.date, found.other, found.through) if one]
        assert found.through is None or found.date <= found.through
        assert found.part is None or found.part[0] < found.part[1]
        if found.date == today and found.time:
            assert moment(today, found.time, CHICAGO).timestamp() >= now.timestamp()  # type: ignore[union-attr]
    assert all(date >= today for date in dates)


@given(PHRASES, NOWS)
@example("the day after " * 28 + "tomorrow", TUESDAY)
def test_no_order_of_words_breaks_it_or_gives_the_past(said: str, now: dt.datetime) -> None:
    holds(day(said, now, is_open, hours), now)


@given(st.text(st.characters(codec=None), max_size=500), NOWS)
def test_no_text_breaks_it(said: str, now: dt.datetime) -> None:
    found = day(said, now, is_open, hours)
    holds(found, now)
    if isinstance(found, Unclear):
        found.why.encode()


@pytest.mark.parametrize(
    "piece",
    ["the day after ", "a week from ", "not on for ", "9 ", "1:", "2 to ", "monday to ", "-", " ", "twenty "],
)
@pytest.mark.parametrize("size", [MAX_SAID, 10_000])
def test_a_hostile_text_takes_no_time(piece: str, size: int) -> None:
    said = (piece * size)[:size]
    started = time.process_time()
    day(said, TUESDAY, is_open, hours)
    assert time.process_time() - started < 0.2


@given(NOWS, st.integers(0, 700))
def test_every_day_that_we_say_is_understood_as_the_same(now: dt.datetime, ahead: int) -> None:
    date = now.date() + dt.timedelta(days=ahead)
    found = understood(saying.day(date, now.date()), now)
    assert (found.date, found.through, found.doubtful) == (date, None, False)


@given(NOWS, st.integers(1, 700), st.integers(8 * 60, 17 * 60))
def test_every_slot_that_we_say_is_understood_as_the_same(now: dt.datetime, ahead: int, minute: int) -> None:
    date = now.date() + dt.timedelta(days=ahead)
    start = dt.datetime.combine(date, dt.time(minute // 60, minute % 60))
    found = day(saying.slot(start, now.date()), now, is_open, lambda _: [(dt.time(8), dt.time(17))])
    assert isinstance(found, Day)
    assert (found.date, found.time) == (date, start.time())
