"""Postgres hangs: the first who asks finds out, the others are told at once, and are served when it is back."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

from crm.postgres import PostgresRecords
from crm.tools import DealershipTools
from tests.stall import Stall, stall_before

LIMIT_S = 1.0


@asynccontextmanager
async def stalled(
    url: str, make_tools: Callable[..., DealershipTools]
) -> AsyncIterator[tuple[Stall, DealershipTools]]:
    async with stall_before(url) as (stall, there):
        toolbox = make_tools(database_url=there, postgres_s=LIMIT_S)
        await toolbox.open()
        try:
            stall.flowing.clear()
            yield stall, toolbox
        finally:
            stall.flowing.set()
            await toolbox.close()


async def test_one_tool_waits_for_a_postgres_that_hangs_and_the_others_say_at_once_that_it_is_away(
    seeded_url: str, make_tools: Callable[..., DealershipTools], ask_of: Any
) -> None:
    async with stalled(seeded_url, make_tools) as (_, toolbox):
        ask = ask_of(toolbox)
        _, answer = await ask("get_upcoming_appointments")
        assert "can't be reached" in answer["error"]
        began = time.monotonic()
        for _ in range(5):
            _, answer = await ask("book_appointment", service="oil change", date="2026-11-26", time="09:00")
            assert "can't be reached" in answer["error"]
            assert (await toolbox.context("+13125550142", "")).customer is None
        assert time.monotonic() - began < LIMIT_S, "they waited, too"
        _, car = await ask("decode_vin", vin="1HGCM82633A004352")
        assert car["year"] == 2003, "this needs no Postgres"


async def test_tools_work_again_when_postgres_does(
    seeded_url: str, make_tools: Callable[..., DealershipTools], ask_of: Any
) -> None:
    async with stalled(seeded_url, make_tools) as (stall, toolbox):
        ask = ask_of(toolbox)
        assert not (await ask("get_upcoming_appointments"))[0].ok
        stall.flowing.set()
        async with asyncio.timeout(30):
            while not (await ask("get_upcoming_appointments"))[0].ok:  # noqa: ASYNC110
                await asyncio.sleep(0.05)
        assert (await toolbox.context("+13125550142", "")).customer is not None


async def test_whoever_waits_for_their_turn_is_not_told_that_postgres_is_away(seeded_url: str) -> None:
    records = PostgresRecords(seeded_url, limit_s=0.3, pool_size=1)
    await records.open()
    try:

        async def second() -> int:
            async with records.work() as work:
                return await work.take_epoch("CA2", 1)

        async with records.work() as first:
            await first.take_epoch("CA1", 1)
            waiting = asyncio.create_task(second())
            for _ in range(5):  # longer than a connection may take, but never idle
                await asyncio.wait([waiting], timeout=0.2)
                await first.stored("K")
        async with asyncio.timeout(30):
            assert await waiting == 1
    finally:
        await records.close()
