"""When the workshop can take a car."""

import datetime as dt
from typing import Any
from zoneinfo import ZoneInfo

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from crm.demo_data import workshop as demo_workshop
from crm.slots import Taken, instant, open_slots, open_windows, place, refuse, why_no_day
from crm.workshop import Bay, Closure, Holiday, ServiceType, Technician, Workshop

CHICAGO = ZoneInfo("America/Chicago")
NOW = dt.datetime(2026, 11, 24, 10, 15, tzinfo=CHICAGO)  # a Tuesday
FRIDAY = dt.date(2026, 11, 27)
SHOP = demo_workshop()
OIL, BRAKES = SHOP.services[0], SHOP.services[2]
ALL_DAY = ((dt.time(0), dt.time(23, 30)),)


def at(day: dt.date, hour: int, minute: int = 0) -> dt.datetime:
    return dt.datetime.combine(day, dt.time(hour, minute), CHICAGO)


def taken(start: dt.datetime, minutes: int, bay: int, technician: int | None = None) -> Taken:
    start = start.astimezone(dt.UTC)
    return Taken(start, start + dt.timedelta(minutes=minutes), bay, technician)


def shop(**changes: Any) -> Workshop:
    return msgspec.structs.replace(SHOP, **changes)


def texts(slots: tuple[dt.datetime, ...]) -> list[str]:
    return [f"{slot:%H:%M}" for slot in slots]


def why_not(
    start: dt.datetime, service: ServiceType = OIL, others: tuple[Taken, ...] = (), at_: Workshop = SHOP
) -> str:
    refusal = refuse(at_, service, start, others, NOW)
    return refusal.why if refusal else ""


def test_a_free_weekday_has_every_half_hour_that_ends_before_closing() -> None:
    slots = texts(open_slots(SHOP, BRAKES, FRIDAY, (), NOW))
    assert slots[0] == "08:00"
    assert slots[-1] == "16:00"
    assert len(slots) == 17


def test_saturday_is_short_and_sunday_is_closed() -> None:
    saturday, sunday = dt.date(2026, 11, 28), dt.date(2026, 11, 29)
    assert texts(open_slots(SHOP, OIL, saturday, (), NOW)) == [
        "09:00", "09:30", "10:00", "10:30", "11:00", "11:30", "12:00", "12:30",
    ]  # fmt: skip
    assert open_slots(SHOP, OIL, sunday, (), NOW) == ()
    why = why_not(at(sunday, 10))
    assert "closed on Sundays" in why
    assert "Monday" in why


def test_on_a_holiday_nothing_is_done_but_what_its_own_hours_allow() -> None:
    thanksgiving, eve = dt.date(2026, 11, 26), dt.date(2026, 12, 24)
    why = why_no_day(SHOP, thanksgiving, NOW) or ""
    assert "Thanksgiving" in why
    assert "Friday" in why
    assert texts(open_slots(SHOP, OIL, eve, (), NOW))[-1] == "11:30"
    assert "outside our hours" in why_not(at(eve, 13))


def test_today_begins_with_the_notice_that_the_workshop_needs() -> None:
    assert texts(open_slots(SHOP, OIL, NOW.date(), (), NOW))[0] == "11:30"
    refusal = refuse(SHOP, OIL, at(NOW.date(), 11), (), NOW)
    assert refusal is not None
    assert "notice of an hour" in refusal.why
    assert texts(refusal.alternatives) == ["11:30", "12:00", "12:30"]
    assert texts(open_slots(shop(notice_minutes=0), OIL, NOW.date(), (), NOW))[0] == "10:30"


def test_a_time_is_taken_when_all_bays_are_or_nobody_is_left_who_can_do_it() -> None:
    one = (taken(at(FRIDAY, 9), 60, 1, 1),)
    found = place(SHOP, OIL, at(FRIDAY, 9, 30), one)
    assert found is not None
    assert (found.bay, found.technician) == (2, 3)  # who can only change oil does it
    both = (*one, taken(at(FRIDAY, 9, 30), 30, 2, 3))
    refusal = refuse(SHOP, OIL, at(FRIDAY, 9, 30), both, NOW)
    assert refusal is not None
    assert refusal.why.endswith("is already taken.")
    assert texts(refusal.alternatives) == ["08:30", "09:00", "10:00"]
    without_people = (taken(at(FRIDAY, 9), 60, 3, 1), taken(at(FRIDAY, 9), 60, 4, 2))  # bays that are no more
    assert "taken" in why_not(at(FRIDAY, 9, 30), BRAKES, without_people)
    assert not why_not(at(FRIDAY, 9, 30), OIL, without_people)


def test_who_is_not_there_does_nothing() -> None:
    lunch = place(SHOP, OIL, at(FRIDAY, 8), ())
    assert lunch is not None
    assert lunch.technician == 3
    afternoon = place(SHOP, OIL, at(FRIDAY, 13), ())  # she has Friday afternoons off
    assert afternoon is not None
    assert afternoon.technician == 1
    nobody = shop(technicians=(SHOP.technicians[2],))
    assert "nobody is there" in why_not(at(FRIDAY, 13), OIL, (), nobody)


def test_closures_take_a_bay_a_technician_or_all() -> None:
    start, end = at(FRIDAY, 9), at(FRIDAY, 12)
    one_bay = shop(bays=SHOP.bays[:1], closures=(Closure(start, end, bay=1),))
    assert texts(open_slots(one_bay, OIL, FRIDAY, (), NOW))[:3] == ["08:00", "08:30", "12:00"]
    alone = shop(technicians=SHOP.technicians[:1], closures=(Closure(start, end, technician=1),))
    assert texts(open_slots(alone, OIL, FRIDAY, (), NOW))[:3] == ["08:00", "08:30", "12:00"]
    stocktaking = shop(closures=(Closure(start, end),))
    assert texts(open_slots(stocktaking, OIL, FRIDAY, (), NOW))[:3] == ["08:00", "08:30", "12:00"]
    closed = shop(closures=(Closure(at(FRIDAY, 0), at(FRIDAY, 23)),))
    assert "closed" in (why_no_day(closed, FRIDAY, NOW) or "")
    assert not why_no_day(one_bay, FRIDAY, NOW)


@pytest.mark.parametrize(
    ("hour", "minute", "service", "why"),
    [
        (7, 30, OIL, "outside our hours"),
        (17, 0, OIL, "outside our hours"),
        (16, 30, BRAKES, "too late"),
        (9, 15, OIL, "between our starting times"),
    ],
)
def test_a_refusal_says_why_and_what_is_near(hour: int, minute: int, service: ServiceType, why: str) -> None:
    refusal = refuse(SHOP, service, at(FRIDAY, hour, minute), (), NOW)
    assert refusal is not None
    assert why in refusal.why
    assert len(refusal.alternatives) == 3
    assert not any(letter.isdigit() for letter in refusal.why), "it is spoken"


def test_the_past_and_the_far_future_are_refused() -> None:
    assert "past" in why_not(at(dt.date(2026, 11, 23), 9))
    assert "six months" in why_not(at(dt.date(9999, 12, 31), 9))


def test_the_change_of_the_clocks_leaves_opening_hours_alone() -> None:
    monday = dt.date(2027, 3, 15)  # the day after clocks go forward
    slots = open_slots(SHOP, OIL, monday, (), NOW)
    assert texts(slots)[0] == "08:00"
    assert slots[0].astimezone(dt.UTC).hour == 13  # UTC-5 now, it was UTC-6


@pytest.mark.parametrize(
    ("said", "meant"),
    [
        ("Oil  change", "oil change"),
        ("two oil changes please", "oil change"),
        ("an alignment", "wheel alignment"),
        ("alignment", "wheel alignment"),
        ("brakes inspection", "brake inspection"),
        ("tire-rotation", "tire rotation"),
        ("a synthetic oil change please", "synthetic oil change"),
        ("inspection", None),
        ("y", None),
        ("", None),
    ],
)
def test_a_service_is_meant_by_its_name_as_it_is_said(said: str, meant: str | None) -> None:
    more = ServiceType(9, "synthetic oil change", 45, 0, 0)
    found = shop(services=(*SHOP.services, more)).service(said)
    assert (found.name if found else None) == meant


def test_hours_without_a_break_between_them_are_one() -> None:
    noon = shop(
        week={4: ((dt.time(12), dt.time(17)), (dt.time(8), dt.time(12)))}, technicians=SHOP.technicians[:1]
    )
    assert not why_not(at(FRIDAY, 11, 30), BRAKES, (), noon)
    slots = texts(open_slots(noon, OIL, FRIDAY, (), NOW))
    assert len(slots) == len(set(slots)) == 18


def test_an_hour_that_does_not_exist_and_one_that_comes_twice_have_no_slots() -> None:
    night = shop(week=dict.fromkeys(range(7), ALL_DAY), technicians=SHOP.technicians[:2])
    spring, autumn = dt.date(2027, 3, 14), dt.date(2027, 11, 7)
    march = dt.datetime(2027, 3, 1, tzinfo=CHICAGO)
    november = dt.datetime(2027, 11, 1, tzinfo=CHICAGO)
    gap = texts(open_slots(night, OIL, spring, (), march))
    assert gap[2:6] == ["01:00", "01:30", "03:00", "03:30"]
    twice = texts(open_slots(night, OIL, autumn, (), november))
    assert twice[:4] == ["00:00", "00:30", "02:00", "02:30"]
    assert len(set(twice)) == len(twice)
    # An hour's work from half past twelve ends at half past one, by any clock; the clock shows 01:30 again an hour
    # later.
    work = place(night, BRAKES, at(autumn, 0, 30), ())
    assert work is not None
    assert work.end - work.start == dt.timedelta(hours=1)
    after = taken(work.end, 60, work.bay, work.technician)
    assert place(shop(week=night.week, bays=SHOP.bays[:1]), OIL, work.end, (after,)) is None


services = st.builds(
    ServiceType,
    id=st.just(1),
    name=st.just("something"),
    minutes=st.integers(10, 240),
    price_from_cents=st.just(0),
    price_to_cents=st.just(0),
    skills=st.frozensets(st.sampled_from(["a", "b"])),
)
times = st.times().map(lambda time: time.replace(second=0, microsecond=0))
spans = st.tuples(times, times).map(sorted).filter(lambda span: span[0] < span[1]).map(tuple)
weeks = st.dictionaries(st.integers(0, 6), st.tuples(spans), max_size=7)
days = st.dates(dt.date(2026, 10, 25), dt.date(2027, 4, 5))
zones = st.sampled_from(["America/Chicago", "Australia/Lord_Howe", "Asia/Kathmandu", "Pacific/Apia", "UTC"])


@st.composite
def worlds(draw: st.DrawFn) -> tuple[Workshop, ServiceType, dt.date, tuple[Taken, ...], dt.datetime]:
    """Any workshop in any zone, a day, what is taken, and a time from which one looks at it."""
    zone = draw(zones)
    own = st.none() | weeks
    day = draw(days)
    there = Workshop(
        time_zone=zone,
        week=draw(weeks),
        bays=tuple(Bay(n, str(n), draw(own)) for n in range(1, draw(st.integers(0, 3)) + 1)),
        technicians=tuple(
            Technician(n, str(n), draw(st.frozensets(st.sampled_from("ab"))), draw(own))
            for n in range(1, draw(st.integers(0, 3)) + 1)
        ),
        services=(),
        holidays=draw(
            st.lists(st.builds(Holiday, st.just(day), st.just("H"), st.tuples(spans)), max_size=1).map(tuple)
        ),
        step_minutes=draw(st.sampled_from([10, 15, 30, 45, 60])),
        notice_minutes=draw(st.integers(0, 3000)),
    )
    midnight = instant(day, dt.time(0), there)

    def moment(low: int = -120, high: int = 1600) -> dt.datetime:
        return midnight + dt.timedelta(minutes=draw(st.integers(low, high)))

    busy = tuple(
        taken(
            moment(), draw(st.integers(1, 300)), draw(st.integers(1, 3)), draw(st.none() | st.integers(1, 3))
        )
        for _ in range(draw(st.integers(0, 8)))
    )
    closures = tuple(
        Closure(
            start,
            start + dt.timedelta(minutes=draw(st.integers(1, 900))),
            *draw(st.sampled_from([(None, None), (1, None), (None, 1)])),
        )
        for start in [moment() for _ in range(draw(st.integers(0, 2)))]
    )
    there = msgspec.structs.replace(there, closures=closures)
    return there, draw(services), day, busy, moment(-6000)


World = tuple[Workshop, ServiceType, dt.date, tuple[Taken, ...], dt.datetime]


@given(worlds())
def test_every_open_slot_can_be_had_and_keeps_the_rules(world: World) -> None:
    there, service, day, busy, now = world
    for slot in open_slots(there, service, day, busy, now):
        assert slot.date() == day
        assert slot.tzinfo is there.zone
        found = place(there, service, slot, busy)
        assert found is not None
        assert found.end - found.start == dt.timedelta(minutes=service.minutes)
        assert any(opens <= found.start and found.end <= closes for opens, closes in open_windows(there, day))
        assert found.start - now >= dt.timedelta(minutes=there.notice_minutes)
        for other in busy:
            if other.start < found.end and found.start < other.end:
                assert found.bay != other.bay
                assert found.technician != other.technician
        for shut in there.closures:
            if shut.start < found.end and found.start < shut.end:
                assert shut.bay is not None or shut.technician is not None
                assert shut.bay != found.bay
                assert shut.technician != found.technician
        who = next(one for one in there.technicians if one.id == found.technician)
        assert service.skills <= who.skills
        assert refuse(there, service, slot, busy, now) is None


@given(worlds(), times)
def test_a_time_is_refused_exactly_when_it_is_no_open_slot(world: World, time: dt.time) -> None:
    there, service, day, busy, now = world
    start = instant(day, time, there)
    slots = open_slots(there, service, day, busy, now)
    refusal = refuse(there, service, start, busy, now)
    same_day = start.astimezone(there.zone).date() == day
    if same_day:
        assert (refusal is None) == (start in [slot.astimezone(dt.UTC) for slot in slots])
    if refusal is not None and same_day:
        assert set(refusal.alternatives) <= set(slots)
        assert list(refusal.alternatives) == sorted(refusal.alternatives)


@given(worlds())
def test_booking_one_slot_after_another_never_takes_anything_twice(world: World) -> None:
    there, service, day, busy, now = world
    mine: list[Taken] = []
    while slots := open_slots(there, service, day, (*busy, *mine), now):
        found = place(there, service, slots[len(slots) // 2], (*busy, *mine))
        assert found is not None
        mine.append(Taken(found.start, found.end, found.bay, found.technician))
        assert len(mine) < 500
    for n, one in enumerate(mine):
        for other in (*busy, *mine[:n]):
            if one.start < other.end and other.start < one.end:
                assert one.bay != other.bay
                assert one.technician != other.technician


@given(st.dates(), st.integers(0, 150 * 24 * 60))
def test_any_day_of_the_calendar_can_be_asked_for(day: dt.date, later: int) -> None:
    now = NOW + dt.timedelta(minutes=later)
    open_slots(SHOP, OIL, day, (), now)
    refuse(SHOP, OIL, dt.datetime.combine(day, dt.time(9), CHICAGO), (), now)
