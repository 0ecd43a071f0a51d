"""Many callers, one free place: four processes with fifty callers each, all at once, on real Postgres."""

import os
from collections.abc import Sequence
from typing import Any

import asyncpg
import msgspec
import pytest

from crm.tools import AWAY, UNKNOWN
from engine.messages import ToolRequest
from tests.crm.conftest import Ask
from tests.crm.crowd import Answered, Crowd, answers_of
from tests.crm.databases import emptied

BOOKING = {"service": "oil change", "date": "2026-11-27", "time": "09:00"}
BOOKED_BY_BO = BOOKING | {"vehicle": None, "name": "Bo Diaz"}
HALVES = (
    "08:00",
    "08:30",
    "09:30",
    "10:00",
    "10:30",
    "11:00",
    "11:30",
    "12:00",
    "12:30",
    "13:00",
    "13:30",
    "14:00",
)
PROCESSES, CALLERS = 4, 50
TWICE = """
SELECT count(*) FROM appointment AS a JOIN appointment AS b ON a.id < b.id
WHERE a.status = 'booked' AND b.status = 'booked'
  AND (a.bay_id = b.bay_id OR a.technician_id = b.technician_id)
  AND tstzrange(a.starts_at, a.ends_at) && tstzrange(b.starts_at, b.ends_at)
"""
AT_NINE = "SELECT count(*) FROM appointment WHERE status = 'booked' AND starts_at = '2026-11-27 15:00+00'"


def request(n: int, tool: str, key: str = "", **arguments: Any) -> ToolRequest:
    """Of caller `n`."""
    text = msgspec.json.encode(arguments).decode()
    return ToolRequest(f"CA{n}", 1, tool, text, f"+1312555{n:04d}", f"CA{n}:{key or tool}", attested=True)


def parts(requests: Sequence[ToolRequest]) -> list[list[ToolRequest]]:
    """Of all processes, dealt out in turns."""
    return [list(requests[n::PROCESSES]) for n in range(PROCESSES)]


def crowd() -> list[list[ToolRequest]]:
    """All want the same."""
    return parts([request(n, "book_appointment", **BOOKED_BY_BO) for n in range(PROCESSES * CALLERS)])


def sent_away(answered: Sequence[Answered]) -> list[str]:
    """What those were told of whom nothing is known."""
    errors = [one.answer.get("error") for one in answered if one.result.unknown]
    return [str(error) for error in errors] + [
        one.result.result for one in answered if one.answer.get("error") in (AWAY, UNKNOWN)
    ]


@pytest.fixture
async def seeded_url(shared_url: str) -> str:
    """One for all of these tests."""
    await emptied(shared_url)
    return shared_url


@pytest.fixture
async def one_place_left(ask: Ask) -> None:
    """Of the two at nine."""
    assert (await ask("book_appointment", **BOOKING))[0].ok


async def test_one_wins_and_all_others_are_told_kindly_and_offered_other_times(
    one_place_left: None, rows: asyncpg.Connection, seeded_url: str, capsys: Any
) -> None:
    answered = await answers_of(Crowd(seeded_url, crowd()))
    assert sent_away(answered) == []
    lost = [one.answer for one in answered if not one.result.ok]
    assert (len(answered), len(lost)) == (200, 199)
    assert await rows.fetchval(AT_NINE) == 2
    assert await rows.fetchval("SELECT count(*) FROM appointment") == 2
    # Who lost while somebody else was at it is told so; nobody hears of a lock, a row or a constraint.
    assert {one["error"] for one in lost} <= {"nine is already taken.", "nine was taken a moment ago."}
    assert all(one["booked"] is False and one["alternatives"] == ["08:00", "08:30", "09:30"] for one in lost)
    assert all(one["say"] for one in lost)
    if "ONCE_KILLS" in os.environ:
        with capsys.disabled():
            slowest_s = max(one.after_s for one in answered)
            print(
                f"\n200 callers at one place: 1 booked, 199 offered others, the last after {slowest_s:.1f} s"
            )


async def test_without_the_lock_of_the_day_nothing_is_booked_twice_either(
    one_place_left: None, rows: asyncpg.Connection, seeded_url: str
) -> None:
    answered = await answers_of(Crowd(seeded_url, crowd(), locks=False))
    assert await rows.fetchval(TWICE) == 0
    assert await rows.fetchval(AT_NINE) == 2
    assert sum(one.result.ok for one in answered) == 1
    assert {bool(one.answer.get("error")) for one in answered if not one.result.ok} == {True}


@pytest.mark.parametrize("locks", [True, False])
async def test_moves_cancellations_and_bookings_at_once_book_nothing_twice(
    ask: Ask, rows: asyncpg.Connection, seeded_url: str, locks: bool
) -> None:
    mine = []
    for n, time in enumerate(("09:00", *HALVES)):
        result, answer = await ask(
            "book_appointment", call=f"CA{n}", caller=f"+1312555{n:04d}", **BOOKED_BY_BO | {"time": time}
        )
        assert result.ok, answer
        mine.append(answer["appointment"]["id"])
    holder, *others = list(enumerate(mine))
    requests = [request(holder[0], "cancel_appointment", appointment_id=holder[1])]
    for n, number in others:  # each both wants to come at nine and not to come at all
        move = {"appointment_id": number, "date": BOOKING["date"], "time": "09:00"}
        requests.append(request(n, "reschedule_appointment", **move))
        if n % 3 == 0:
            requests.append(request(n, "cancel_appointment", appointment_id=number))
    requests += [request(n, "book_appointment", **BOOKED_BY_BO) for n in range(100, 120)]
    answered = await answers_of(Crowd(seeded_url, parts(requests), locks))
    assert await rows.fetchval(TWICE) == 0
    assert await rows.fetchval(AT_NINE) == 2, "who cancelled makes room"
    if locks:
        assert sent_away(answered) == []
        told = {one.answer["error"] for one in answered if not one.result.ok}
        assert told <= {
            "nine is already taken.",
            "nine was taken a moment ago.",
            "This appointment is already cancelled.",
        }
    # What was told is what is there.
    booked = {row["id"] for row in await rows.fetch("SELECT id FROM appointment WHERE status = 'booked'")}
    for one in answered:
        if one.result.ok and one.request.tool != "reschedule_appointment":
            number = one.answer["appointment"]["id"]
            assert (number in booked) == (one.request.tool == "book_appointment")
