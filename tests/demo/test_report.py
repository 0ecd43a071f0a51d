"""The verdict on what Postgres holds."""

import dataclasses
import datetime as dt
from zoneinfo import ZoneInfo

import pytest

from demo.dial import CALLER
from demo.report import Booking, Record, fault
from demo.scenario import scenario

CHICAGO = ZoneInfo("America/Chicago")
WISH = scenario(7, dt.datetime(2026, 11, 24, 12, tzinfo=CHICAGO), CHICAGO)
RIGHT = Booking(WISH.service, WISH.starts_at, CALLER, "Sarah Mitchell", "2022 Honda Civic", 1, "booked")


def test_the_wished_for_booking_and_no_other_is_right() -> None:
    assert fault(Record(bookings=[RIGHT]), WISH, CALLER, mute=False) == ""


@pytest.mark.parametrize(
    "bookings",
    [
        [],
        [RIGHT, dataclasses.replace(RIGHT, bay=2)],
        [dataclasses.replace(RIGHT, starts_at=RIGHT.starts_at + dt.timedelta(minutes=30))],
        [dataclasses.replace(RIGHT, service="engine swap")],
        [dataclasses.replace(RIGHT, phone="+13125550117")],
        [dataclasses.replace(RIGHT, status="cancelled")],
    ],
)
def test_anything_else_is_a_fault_that_says_what_was_expected(bookings: list[Booking]) -> None:
    assert WISH.service in fault(Record(bookings=bookings), WISH, CALLER, mute=False)


def test_a_mute_caller_must_have_booked_nothing() -> None:
    assert fault(Record(), WISH, CALLER, mute=True) == ""
    assert "no appointment" in fault(Record(bookings=[RIGHT]), WISH, CALLER, mute=True)
