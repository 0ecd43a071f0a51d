"""Many callers at once, in several processes: each starts with the others, and tells what it was answered.

python -m tests.crm.crowd    reads a `Crowd` as JSON, prints `Answered` as JSON, a line for each request
"""

import asyncio
import datetime as dt
import multiprocessing
import sys
import time
from typing import Any

import msgspec
import structlog

from crm.context import House
from crm.nhtsa import Nhtsa
from crm.pgwork import PgWork
from crm.postgres import PostgresRecords
from crm.tools import DealershipTools, Limits
from engine.messages import ToolRequest, ToolResult

NOW = dt.datetime(2026, 11, 24, 16, 15, tzinfo=dt.UTC)
LIMIT_S = 120.0


class Crowd(msgspec.Struct, frozen=True):
    """Requests, in as many parts as there are processes. `locks` false: nobody waits for the day."""

    database_url: str
    parts: list[list[ToolRequest]]
    locks: bool = True


class Answered(msgspec.Struct, frozen=True):
    """What one of them was answered, `after_s` of its process's beginning."""

    request: ToolRequest
    result: ToolResult
    after_s: float

    @property
    def answer(self) -> dict[str, Any]:
        """The result, as the model reads it."""
        found: dict[str, Any] = msgspec.json.decode(self.result.result)
        return found


async def _no_lock(work: PgWork, day: dt.date) -> None:
    """In place of `PgWork.lock_day`."""


async def _all(crowd: Crowd, part: list[ToolRequest], start: Any) -> list[Answered]:
    house = House("Trunkline Motors", "America/Chicago")
    # Nobody is sent away for the machine's slowness: what is wanted is that none is for another reason.
    records, limits = PostgresRecords(crowd.database_url, LIMIT_S), Limits(run=LIMIT_S)
    tools = DealershipTools(records, Nhtsa("http://127.0.0.1:9"), house, lambda: NOW, limits)
    await tools.open()
    start.wait(LIMIT_S)
    began_s = time.perf_counter()

    async def one(request: ToolRequest) -> Answered:
        result = await tools.run(request)
        return Answered(request, result, time.perf_counter() - began_s)

    answered = await asyncio.gather(*map(one, part))
    await tools.close()
    return list(answered)


def _part(crowd: Crowd, part: list[ToolRequest], start: Any, answers: Any) -> None:
    if not crowd.locks:
        PgWork.lock_day = _no_lock  # type: ignore[method-assign]
    answers.put(msgspec.json.encode(asyncio.run(_all(crowd, part, start))))


def main() -> None:
    """Starts the processes, and prints what they were answered."""
    structlog.configure(logger_factory=structlog.PrintLoggerFactory(sys.stderr))
    crowd = msgspec.json.decode(sys.stdin.read(), type=Crowd)
    fork = multiprocessing.get_context("fork")
    start, answers = fork.Barrier(len(crowd.parts)), fork.Queue()
    processes = [fork.Process(target=_part, args=(crowd, part, start, answers)) for part in crowd.parts]
    for process in processes:
        process.start()
    for _ in processes:
        for one in msgspec.json.decode(answers.get(timeout=LIMIT_S), type=list[Answered]):
            sys.stdout.buffer.write(msgspec.json.encode(one) + b"\n")
    for process in processes:
        process.join(LIMIT_S)


async def answers_of(crowd: Crowd) -> list[Answered]:
    """Lets a crowd loose, in processes of their own."""
    pipe = asyncio.subprocess.PIPE
    running = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "tests.crm.crowd", stdin=pipe, stdout=pipe, limit=2**22
    )
    async with asyncio.timeout(2 * LIMIT_S):
        told, _ = await running.communicate(msgspec.json.encode(crowd))
    assert running.returncode == 0
    return [msgspec.json.decode(line, type=Answered) for line in told.splitlines()]


if __name__ == "__main__":
    main()
