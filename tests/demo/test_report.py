"""The verdict on what Postgres holds."""

import dataclasses
import datetime as dt
from zoneinfo import ZoneInfo

import pytest

from demo.dial import CALLER
from demo.report import Booking, Change, Record, fault
from demo.scenario import scenario

CHICAGO = ZoneInfo("America/Chicago")
WISH = scenario(7, dt.datetime(2026, 11, 24, 12, tzinfo=CHICAGO), CHICAGO)
RIGHT = Booking(WISH.service, WISH.moves_to, CALLER, "Sarah Mitchell", "2022 Honda Civic", "1", "cancelled")
BOOKED = Change("booked", WISH.service, WISH.starts_at)
MOVED = Change("moved", WISH.service, WISH.moves_to)
CANCELLED = Change("cancelled", WISH.service, WISH.moves_to)


def _record(
    *changes: Change, bookings: tuple[Booking, ...] = (RIGHT,), made: list[str] | None = None
) -> Record:
    told = [change.what for change in changes] if made is None else made
    return Record(ending="completed", bookings=list(bookings), changes=list(changes), made=told)


def test_what_was_booked_moved_and_cancelled_as_wished_for_is_right() -> None:
    assert fault(_record(BOOKED, MOVED, CANCELLED), WISH, CALLER, mute=False) == ""


def test_what_was_misheard_on_the_way_and_put_right_is_no_fault() -> None:
    late = WISH.moves_to + dt.timedelta(minutes=30)
    misheard = dataclasses.replace(BOOKED, starts_at=WISH.starts_at + dt.timedelta(days=1))
    right = dataclasses.replace(BOOKED, what="moved")
    assert fault(_record(misheard, right, MOVED, CANCELLED), WISH, CALLER, mute=False) == ""
    wrong = dataclasses.replace(MOVED, starts_at=late)
    assert fault(_record(BOOKED, wrong, MOVED, CANCELLED), WISH, CALLER, mute=False) == ""
    assert fault(_record(BOOKED, MOVED, MOVED, CANCELLED), WISH, CALLER, mute=False) == ""


@pytest.mark.parametrize(
    "bookings",
    [
        (),
        (RIGHT, dataclasses.replace(RIGHT, bay="2")),
        (dataclasses.replace(RIGHT, starts_at=WISH.starts_at),),
        (dataclasses.replace(RIGHT, service="engine swap"),),
        (dataclasses.replace(RIGHT, phone="+13125550117"),),
        (dataclasses.replace(RIGHT, status="booked"),),
    ],
)
def test_any_other_row_is_a_fault_that_says_what_was_expected(bookings: tuple[Booking, ...]) -> None:
    record = _record(BOOKED, MOVED, CANCELLED, bookings=bookings)
    assert WISH.service in fault(record, WISH, CALLER, mute=False)


@pytest.mark.parametrize(
    "changes",
    [
        (),
        (BOOKED, CANCELLED),
        (BOOKED, MOVED),
        (MOVED, CANCELLED),
        (MOVED, BOOKED, CANCELLED),
        (BOOKED, CANCELLED, MOVED),
        (BOOKED, dataclasses.replace(MOVED, starts_at=WISH.starts_at), CANCELLED),
        (BOOKED, MOVED, CANCELLED, dataclasses.replace(BOOKED, starts_at=WISH.moves_to)),
    ],
)
def test_a_step_that_is_missing_or_out_of_order_is_a_fault(changes: tuple[Change, ...]) -> None:
    assert "in this order" in fault(_record(*changes), WISH, CALLER, mute=False)


def test_a_call_log_that_tells_another_story_is_a_fault() -> None:
    record = _record(BOOKED, MOVED, CANCELLED, made=["booked", "cancelled"])
    assert "call log" in fault(record, WISH, CALLER, mute=False)


@pytest.mark.parametrize("ending", ["dropped", None])
def test_a_call_that_did_not_come_to_its_goodbye_is_a_fault(ending: str | None) -> None:
    record = dataclasses.replace(_record(BOOKED, MOVED, CANCELLED), ending=ending)
    assert "goodbye" in fault(record, WISH, CALLER, mute=False)


def test_a_mute_caller_must_have_booked_nothing() -> None:
    assert fault(Record(), WISH, CALLER, mute=True) == ""
    assert "no appointment" in fault(Record(bookings=[RIGHT]), WISH, CALLER, mute=True)
