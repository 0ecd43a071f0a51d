"""When the workshop can take a car."""

import datetime as dt
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crm.booking import BAYS, HORIZON_DAYS, LEAD, Taken, free_bay, hours_of, open_slots, refuse

CHICAGO = ZoneInfo("America/Chicago")
NOW = dt.datetime(2026, 11, 24, 10, 15, tzinfo=CHICAGO)  # a Tuesday
THURSDAY = dt.date(2026, 11, 26)


def at(day: dt.date, hour: int, minute: int = 0) -> dt.datetime:
    return dt.datetime.combine(day, dt.time(hour, minute), CHICAGO)


def taken(start: dt.datetime, minutes: int, bay: int) -> Taken:
    return Taken(start, start + dt.timedelta(minutes=minutes), bay)


def texts(slots: tuple[dt.datetime, ...]) -> list[str]:
    return [f"{slot:%H:%M}" for slot in slots]


def test_a_free_weekday_has_every_half_hour_that_ends_before_closing() -> None:
    slots = texts(open_slots(THURSDAY, 60, [], NOW, CHICAGO))
    assert slots[0] == "08:00"
    assert slots[-1] == "16:00"
    assert len(slots) == 17


def test_saturday_is_short_and_sunday_is_closed() -> None:
    saturday, sunday = dt.date(2026, 11, 28), dt.date(2026, 11, 29)
    assert texts(open_slots(saturday, 30, [], NOW, CHICAGO)) == [
        "09:00", "09:30", "10:00", "10:30", "11:00", "11:30", "12:00", "12:30",
    ]  # fmt: skip
    assert open_slots(sunday, 30, [], NOW, CHICAGO) == ()
    refusal = refuse(at(sunday, 10), 30, [], NOW, CHICAGO)
    assert refusal is not None
    assert "closed on Sundays" in refusal.why
    assert "Monday, 2026-11-30" in refusal.why


def test_today_begins_an_hour_from_now() -> None:
    assert texts(open_slots(NOW.date(), 30, [], NOW, CHICAGO))[0] == "11:30"
    refusal = refuse(at(NOW.date(), 11), 30, [], NOW, CHICAGO)
    assert refusal is not None
    assert "an hour's notice" in refusal.why
    assert texts(refusal.alternatives) == ["11:30", "12:00", "12:30"]


def test_a_time_is_taken_only_when_both_bays_are() -> None:
    one = [taken(at(THURSDAY, 9), 60, 1)]
    assert refuse(at(THURSDAY, 9, 30), 30, one, NOW, CHICAGO) is None
    assert free_bay(at(THURSDAY, 9, 30), 30, one) == 2
    both = [*one, taken(at(THURSDAY, 9, 30), 30, 2)]
    refusal = refuse(at(THURSDAY, 9, 30), 30, both, NOW, CHICAGO)
    assert refusal is not None
    assert refusal.why == "09:30 is already taken."
    assert texts(refusal.alternatives) == ["08:30", "09:00", "10:00"]


@pytest.mark.parametrize(
    ("hour", "minute", "minutes", "why"),
    [
        (7, 30, 30, "outside our hours"),
        (17, 0, 30, "outside our hours"),
        (16, 30, 60, "too late"),
        (9, 15, 30, "on the hour or the half hour"),
    ],
)
def test_a_refusal_says_why_and_what_is_near(hour: int, minute: int, minutes: int, why: str) -> None:
    refusal = refuse(at(THURSDAY, hour, minute), minutes, [], NOW, CHICAGO)
    assert refusal is not None
    assert why in refusal.why
    assert len(refusal.alternatives) == 3


def test_the_past_and_the_far_future_are_refused() -> None:
    past = refuse(at(dt.date(2026, 11, 23), 9), 30, [], NOW, CHICAGO)
    assert past is not None
    assert "past" in past.why
    far = refuse(at(dt.date(9999, 12, 31), 9), 30, [], NOW, CHICAGO)
    assert far is not None
    assert f"{HORIZON_DAYS} days" in far.why


minutes_of_service = st.sampled_from([30, 60, 90])
some_days = st.dates(dt.date(2026, 11, 1), dt.date(2027, 6, 30))
moments = st.integers(0, 150 * 24 * 60).map(lambda minutes: NOW + dt.timedelta(minutes=minutes))


@st.composite
def busy_days(draw: st.DrawFn) -> tuple[dt.date, list[Taken]]:
    day = draw(some_days)
    slots = draw(
        st.lists(st.tuples(st.integers(0, 47), st.integers(1, 4), st.sampled_from(BAYS)), max_size=20)
    )
    return day, [taken(at(day, half // 2, half % 2 * 30), 30 * length, bay) for half, length, bay in slots]


@given(busy_days(), minutes_of_service, moments)
def test_every_open_slot_can_be_had_and_keeps_the_rules(
    busy: tuple[dt.date, list[Taken]], minutes: int, now: dt.datetime
) -> None:
    day, others = busy
    for slot in open_slots(day, minutes, others, now, CHICAGO):
        hours = hours_of(day, CHICAGO)
        assert hours is not None
        assert hours[0] <= slot
        assert slot + dt.timedelta(minutes=minutes) <= hours[1]
        assert slot.minute in {0, 30}
        assert slot - now >= LEAD
        bay = free_bay(slot, minutes, others)
        mine = taken(slot, minutes, bay or 0)
        assert not [t for t in others if t.bay == bay and t.start < mine.end and mine.start < t.end]
        assert refuse(slot, minutes, others, now, CHICAGO) is None


@given(busy_days(), minutes_of_service, moments, st.times())
def test_a_time_is_refused_exactly_when_it_is_no_open_slot(
    busy: tuple[dt.date, list[Taken]], minutes: int, now: dt.datetime, time: dt.time
) -> None:
    day, others = busy
    start = at(day, time.hour, time.minute)
    slots = open_slots(day, minutes, others, now, CHICAGO)
    refusal = refuse(start, minutes, others, now, CHICAGO)
    assert (refusal is None) == (start in slots)
    if refusal is not None:
        assert set(refusal.alternatives) <= set(slots)
        assert list(refusal.alternatives) == sorted(refusal.alternatives)
        assert len(refusal.alternatives) == min(3, len(slots))


@given(st.dates(), moments)
def test_any_day_of_the_calendar_can_be_asked_for(day: dt.date, now: dt.datetime) -> None:
    open_slots(day, 30, [], now, CHICAGO)
    refuse(dt.datetime.combine(day, dt.time(9), CHICAGO), 30, [], now, CHICAGO)


def test_the_change_of_the_clocks_leaves_opening_hours_alone() -> None:
    monday = dt.date(2027, 3, 15)  # the day after clocks go forward
    slots = open_slots(monday, 30, [], NOW, CHICAGO)
    assert texts(slots)[0] == "08:00"
    assert slots[0].astimezone(dt.UTC).hour == 13  # UTC-5 now, it was UTC-6
