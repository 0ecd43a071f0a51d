"""What a call cost, from the rows of what it used."""

from collections.abc import AsyncIterator

import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

from engine.callcost import Prices
from engine.calllog import CallLog
from engine.callrows import Entry, FinalizeCall, LogUsage, OpenCall, Part
from engine.messages import Usage
from engine.outcomes import End
from tests.engine.logged import NOON, PATIENCE, info, the_call

PRICES = Prices(2.5, 1.25, 10.0, recognition=0.006, speech=0.03, telephone=0.0085)

# Told by the ingress and by two hosts, in any order; the second speech row of MZ1 is the whole of the first.
ENTRIES: list[Entry] = [
    OpenCall(info(), NOON + 1),
    LogUsage("CA1", Part.MODEL, "1", NOON + 5, "gpt-4o", Usage(1000, 400, 50)),
    LogUsage("CA1", Part.MODEL, "2", NOON + 9, "gpt-4o", Usage(2000, 1800, 10)),
    LogUsage("CA1", Part.SPEECH, "MZ1", NOON + 30, heard_ms=30_000, spoken_chars=500),
    LogUsage("CA1", Part.SPEECH, "MZ1", NOON + 40, heard_ms=40_000, spoken_chars=900),
    LogUsage("CA1", Part.SPEECH, "MZ2", NOON + 90, heard_ms=20_000, spoken_chars=100),
    FinalizeCall("CA1", End.COMPLETED, NOON + 92, "answered", 3, 0, 0, Usage(3000, 2200, 60)),
]


@pytest.fixture
async def priced(pg: AsyncEngine) -> AsyncIterator[CallLog]:
    writer = CallLog(pg, prices=PRICES)
    writer.start()
    yield writer
    await writer.close()


@pytest.mark.parametrize(
    "order", [(0, 1, 2, 3, 4, 5, 6), (6, 0, 1, 2, 3, 4, 5), (1, 2, 6, 3, 4, 0, 5), (3, 4, 5, 6, 2, 1, 0)]
)
async def test_whatever_comes_last_the_cost_is_of_all_that_was_used(
    pg: AsyncEngine, priced: CallLog, order: tuple[int, ...]
) -> None:
    for n in order:
        priced.write(ENTRIES[n])
        assert await priced.flush(PATIENCE)
    call = await the_call(pg)
    assert (call["prompt_tokens"], call["cached_tokens"], call["completion_tokens"]) == (3000, 2200, 60)
    assert (call["heard_ms"], call["spoken_chars"]) == (60_000, 1000)
    tokens = 800 * 2.5 + 2200 * 1.25 + 60 * 10
    assert call["cost_micros"] == tokens + 6000 + 30_000 + 2 * 8500


async def test_rows_that_were_lost_cost_no_tokens(pg: AsyncEngine, priced: CallLog) -> None:
    """A full spool keeps room for the ends of calls, and drops what each request used."""
    for entry in (ENTRIES[0], ENTRIES[2], ENTRIES[6]):
        priced.write(entry)
    assert await priced.flush(PATIENCE)
    call = await the_call(pg)
    assert (call["prompt_tokens"], call["cached_tokens"]) == (3000, 2200)


async def test_a_call_that_goes_on_has_no_cost_yet(pg: AsyncEngine, priced: CallLog) -> None:
    priced.write(ENTRIES[0])
    priced.write(ENTRIES[1])
    assert await priced.flush(PATIENCE)
    assert (await the_call(pg))["cost_micros"] is None


async def test_with_no_prices_nothing_costs_anything(pg: AsyncEngine, log: CallLog) -> None:
    for entry in ENTRIES:
        log.write(entry)
    assert await log.flush(PATIENCE)
    assert (await the_call(pg))["cost_micros"] == 0
