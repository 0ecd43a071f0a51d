"""The call log, as the office reads it."""

import datetime as dt
import json
from collections.abc import AsyncIterator

import asyncpg
import pytest
from sqlalchemy.ext.asyncio import create_async_engine

from crm.console import days
from crm.database import async_url
from engine.calllog import CallLog
from engine.callrows import Leg, LogTool, Speaker
from engine.messages import CallInfo
from engine.outcomes import End
from tests.office.conftest import Crm

WAIT_S = 30.0
# 9:30 in Chicago; the day before in nobody's.
AT = dt.datetime(2026, 12, 1, 15, 30, tzinfo=dt.UTC)
T = AT.timestamp()
SARAH = "+13125550142"


@pytest.fixture(autouse=True)
def _clock(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(days, "now", lambda: AT)


@pytest.fixture
async def log(postgres_url: str) -> AsyncIterator[CallLog]:
    engine = create_async_engine(async_url(postgres_url))
    log = CallLog(engine)
    log.start()
    yield log
    await log.close()
    await engine.dispose()


@pytest.fixture
async def booked(log: CallLog, rows: asyncpg.Connection, seeded: None) -> None:
    """Sarah's call, in which she interrupts and books, and one of nobody known."""
    log.open_call(CallInfo("CA1", SARAH, "+13125550100", True, T), T + 1)
    log.log_transcript("CA1", 1, 0, Speaker.AGENT, "Hello \x1b[31mSarah, how can", T + 1, interrupted=True)
    log.log_transcript("CA1", 2, 0, Speaker.CALLER, "An oil change tomorrow at nine", T + 3)
    arguments = {"service": "oil change", "vin": "2HGFE2F58NH512345"}
    log.write(
        LogTool(
            "CA1",
            "call_1_0",
            2,
            "book_appointment",
            arguments,
            T + 5,
            True,
            False,
            made="booked",
            took_ms=41.6,
        )
    )
    log.log_transcript("CA1", 2, 1, Speaker.AGENT, "You are booked.", T + 6)
    log.log_performance_metric("CA1", 2, Leg.VOICE_TO_VOICE, 812.4, T + 6)
    log.log_performance_metric("CA1", 2, Leg.FIRST_TOKEN, 300.2, T + 5, 0)
    log.log_performance_metric("CA1", 2, Leg.FIRST_TOKEN, 350.9, T + 5.5, 1)
    log.log_performance_metric("CA1", 1, Leg.GREETING, 20, T + 1)
    log.finalize_call_log(
        "CA1", End.CALLER_HUNG_UP, T + 64.6, "booked", turns=2, interruptions=1, tool_calls=1
    )
    log.open_call(CallInfo("CA2", None, "+13125550100", False, T + 600))
    log.open_call(CallInfo("CA3", "+13125550175", "+13125550100", False, T - 86400))
    assert await log.flush(WAIT_S)
    await rows.execute("UPDATE call_log SET cost_micros = 12345 WHERE call = 'CA1'")


@pytest.mark.usefixtures("booked")
async def test_the_calls_of_a_day_are_listed_with_what_came_of_them(crm: Crm) -> None:
    lines = [line.split("\t") for line in (await crm("calls")).stdout.splitlines()]
    assert lines == [
        ["time", "caller", "customer", "duration", "outcome", "ending", "cost", "call"],
        ["09:30", SARAH, "Sarah Mitchell", "1:04", "booked", "caller_hung_up", "$0.0123", "CA1"],
        ["09:40", "withheld", "", "", "", "", "", "CA2"],
    ]
    [shared] = json.loads((await crm("calls", "yesterday", "--json")).stdout)
    assert (shared["customer"], shared["time"]) == ("Priya Raman or Arjun Raman", "2026-11-30T09:30:00-06:00")
    [first, _] = json.loads((await crm("calls", "2026-12-01", "--json")).stdout)
    assert (first["duration"], first["cost"]) == (63.6, 0.012345)
    assert "no calls on Saturday, November 28, 2026" in (await crm("calls", "2026-11-28")).stderr


@pytest.mark.usefixtures("booked")
async def test_a_call_is_shown_as_it_was_heard_with_tools_and_timings(crm: Crm) -> None:
    out = (await crm("call", "CA1")).stdout
    head, _, rest = out.partition("\n\n")
    said, _, timings = rest.partition("\n\n")
    assert "CA1: from +13125550142 (Sarah Mitchell), attested" in head
    assert (
        "2026-12-01 09:30, 1:04, booked, caller_hung_up, $0.0123, 2 turns, 1 interruptions, 1 tool calls"
        in head
    )
    assert said.splitlines() == [
        "09:30:01  agent   Hello  [31mSarah, how can  [interrupted]",
        "09:30:03  caller  An oil change tomorrow at nine",
        '09:30:05  tool    book_appointment {"service": "oil change", "vin": "..."}: done, booked in 42 ms',
        "09:30:06  agent   You are booked.",
    ]
    assert [line.split("\t") for line in timings.splitlines()] == [
        ["turn", "first token", "voice to voice", "greeting"],
        ["1", "", "", "20"],
        ["2", "300 351", "812", ""],
    ]
    assert "\x1b" not in out
    as_json = (await crm("call", "CA1", "--json")).stdout
    assert [line["text"] for line in json.loads(as_json)[0]["lines"]][1:] == [
        "An oil change tomorrow at nine",
        "You are booked.",
    ]
    assert "2HGFE2F58NH512345" not in out + as_json


async def test_a_call_that_is_not_in_the_log_is_told(crm: Crm) -> None:
    assert "no call 'CA9'" in (await crm("call", "CA9", code=1)).stderr


@pytest.mark.usefixtures("booked")
async def test_what_is_old_is_purged_by_the_settings(
    crm: Crm, rows: asyncpg.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KEEP_TRANSCRIPTS_DAYS", "1")
    monkeypatch.setenv("KEEP_CALLS_DAYS", "0")
    await rows.execute("UPDATE call_transcript SET at = now() - interval '2 days' WHERE speaker = 'caller'")
    await rows.execute("UPDATE call_transcript SET at = now() WHERE speaker = 'agent'")
    assert "call_transcript: 1 rows removed" in (await crm("purge")).stdout
    assert await rows.fetchval("SELECT count(*) FROM call_transcript") == 2
    await rows.execute("SELECT pg_advisory_lock($1)", 0x7472756E6B70)
    assert "purging at this moment" in (await crm("purge")).stdout
