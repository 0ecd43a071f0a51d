"""Virtual time: it jumps, always the same way, and a deadlock is an error."""

import asyncio
import time

import pytest

from engine.clock import VIRTUAL_START_AT, now, outside, run_virtual, wall


def test_an_hour_of_sleep_takes_no_time() -> None:
    async def sleep() -> tuple[float, float]:
        await asyncio.sleep(3600)
        return now(), wall()

    began = time.monotonic()
    assert run_virtual(sleep()) == (3600.0, VIRTUAL_START_AT + 3600.0)
    assert time.monotonic() - began < 5


def test_wall_time_starts_where_it_is_told() -> None:
    async def ask() -> float:
        return wall()

    assert run_virtual(ask(), wall_start=42.0) == 42.0


async def _race() -> list[tuple[float, int]]:
    woke: list[tuple[float, int]] = []

    async def nap(name: int) -> None:
        for turn in range(5):
            await asyncio.sleep((name * 7919 + turn * 104729) % 13 / 10)
            woke.append((now(), name))

    await asyncio.gather(*(nap(name) for name in range(20)))
    return woke


def test_two_runs_go_the_same_way() -> None:
    first = run_virtual(_race())
    assert first == run_virtual(_race())
    assert [at for at, _ in first] == sorted(at for at, _ in first)


def test_tasks_that_wait_for_ever_are_an_error_and_no_hang() -> None:
    async def wait() -> None:
        await asyncio.Event().wait()

    with pytest.raises(RuntimeError, match="virtual time stands still"):
        run_virtual(wait())


def test_a_deadline_in_virtual_time_is_met() -> None:
    async def late() -> float:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(2.5):
                await asyncio.Event().wait()
        return now()

    assert run_virtual(late()) == pytest.approx(2.5)


async def _echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(await reader.readexactly(4))
    await writer.drain()
    writer.close()


def test_time_stands_still_for_what_happens_outside() -> None:
    async def ask() -> tuple[bytes, float, bool]:
        server = await asyncio.start_server(_echo, "127.0.0.1", 0)
        rang = asyncio.Event()
        asyncio.get_running_loop().call_later(0.001, rang.set)
        before = now()
        reader, writer = await outside(asyncio.open_connection(*server.sockets[0].getsockname()[:2]))
        writer.write(b"ping")
        answer = await outside(reader.readexactly(4))
        passed, early = now() - before, rang.is_set()
        writer.close()
        server.close()
        await asyncio.wait_for(rang.wait(), 1)
        return answer, passed, early

    answer, passed, early = run_virtual(ask())
    assert (answer, passed, early) == (b"ping", 0.0, False)


async def test_in_real_time_outside_is_a_plain_await() -> None:
    assert await outside(asyncio.sleep(0, "done")) == "done"
    assert abs(wall() - time.time()) < 10
