"""What callers are told of their bookings is true although processes are killed under them: `kill -9`, real Postgres.

The conversation is a whole call in virtual time, up to the socket of the process that runs its tools
(`tests.crm.toolprocess`). That process is stopped at a point of the booking, and killed there; a new one takes its
place, or the call's actor is lost beside, or in its stead. Then what the caller heard is compared with the rows.
"""

import asyncio
import os
from collections.abc import Awaitable, Callable, Iterator
from typing import Any

import asyncpg
import msgspec
import pytest
import redis

from actors.toolport import Unanswered
from crm.tools import DealershipTools
from engine.clock import outside, run_virtual
from engine.messages import ToolRequest, ToolResult
from engine.models import RoutedModel
from tests.crm.databases import emptied
from tests.crm.spoken import AGAIN, BOOK, BOOKED, LATER, MAYBE_BOOKED, NOT_BOOKED, Teller, claims, lies
from tests.crm.toolprocess import LOST, RUN, SETTLE, Processes, Starter, ask
from tests.virtual.rig import Rig, with_rig

KILLS = int(os.environ.get("ONCE_KILLS", "1"))  # at each point; `make once` tries ten
POINTS = {point: (point,) for point in RUN} | {"during the read-back": SETTLE}
ALL = (*RUN[:-1], *SETTLE)  # but after the reply, when nobody asks any more
SOME = ALL if KILLS > 1 else (RUN[2], RUN[3], SETTLE[1], SETTLE[-2])
Trouble = Callable[["Garage"], Awaitable[None]]


class Garage:
    """A call in a rig, and the process that runs its tools (`actors.toolport.Pool`)."""

    def __init__(self, rig: Rig, processes: Processes) -> None:
        self.rig = rig
        self.processes = processes
        self._stopped = asyncio.Event()

    async def stopped(self) -> None:
        """Until the process has come to its point. Time goes on: the caller is yet to ask for it."""
        await self.processes.stopped()
        self._stopped.set()

    async def has_stopped(self) -> None:
        """The same, at once: what leads to it is done."""
        await outside(self._stopped.wait())

    async def run(self, request: ToolRequest) -> ToolResult:
        return await self._ask("run", request)

    async def settle(self, request: ToolRequest) -> ToolResult:
        return await self._ask("settle", request)

    async def _ask(self, door: str, request: ToolRequest) -> ToolResult:
        try:
            answer = await outside(ask(self.processes.address, door, request))
        except (OSError, EOFError) as error:
            raise Unanswered(repr(error)) from error
        if answer == LOST:
            await asyncio.sleep(3600.0)
        return msgspec.json.decode(answer, type=ToolResult)

    async def until_answered(self, answers: int) -> None:
        """Until the caller has heard so many words about the booking."""
        await self.rig.until(lambda: len(claims(self.rig.heard)) >= answers, 120.0)
        await self.rig.quiet()


# ---------------------------------------------------------------- what befalls it


async def another_comes(garage: Garage) -> None:
    """The process is killed, and another one takes its place."""
    await _killed(garage)
    await outside(garage.processes.start())


async def both_are_lost(garage: Garage) -> None:
    """The same, and the call's actor is lost with it."""
    await _killed(garage)
    await outside(garage.processes.start())
    await garage.rig.crash()


async def the_actor_is_lost(garage: Garage) -> None:
    """Only the call's actor is lost; the process goes on."""
    await garage.stopped()
    await garage.rig.crash()
    garage.processes.go_on()


async def nobody_comes(garage: Garage) -> None:
    """No process takes its place until the caller has been told something, and asks again."""
    await _killed(garage)
    await garage.until_answered(1)
    await outside(garage.processes.start())


async def _killed(garage: Garage) -> None:
    await garage.stopped()
    garage.processes.kill()


# ---------------------------------------------------------------- the trials


async def trial(
    garage: Garage, database_url: str, point: str, trouble: Trouble, wishes: tuple[str, ...]
) -> tuple[list[tuple[str, int]], dict[int, bool]]:
    """What was told, and the rows in the end."""
    garage.processes.kill()
    await outside(emptied(database_url))
    await outside(garage.processes.start(point))
    rig = garage.rig

    async def story(rig: Rig) -> None:
        await rig.hears("How can I help?")
        happening = asyncio.create_task(trouble(garage))
        try:
            for answers, wish in enumerate(wishes, 1):
                await rig.quiet()
                await rig.mouth.say(wish)
                await garage.until_answered(answers)
                if answers == 1:
                    await garage.has_stopped()
                    await happening
        finally:
            happening.cancel()

    await with_rig(rig, story)
    return claims(rig.heard), await outside(rows_in(database_url))


async def rows_in(database_url: str) -> dict[int, bool]:
    connection = await asyncpg.connect(database_url, timeout=30)
    try:
        found = await connection.fetch("SELECT id, status = 'booked' AS booked FROM appointment")
        return {row["id"]: row["booked"] for row in found}
    finally:
        await connection.close(timeout=10)


@pytest.fixture(scope="module")
def starter() -> Iterator[Starter]:
    with Starter() as starter:
        yield starter


@pytest.fixture
def play(
    redis_url: str, shared_url: str, starter: Starter, tmp_path_factory: pytest.TempPathFactory
) -> Callable[..., None]:
    """Plays trials, one after the other, and gives the points with what was told in each, and the rows."""

    def play(points: tuple[str, ...], trouble: Trouble, *wishes: str) -> Any:
        def fresh(processes: Processes) -> Garage:
            with redis.Redis.from_url(redis_url, socket_timeout=30) as client:
                client.flushdb()
            return garage(redis_url, processes)

        async def all_of_them() -> Any:
            folder = str(tmp_path_factory.mktemp("p"))
            async with Processes(starter, shared_url, folder) as processes:
                return [
                    (point, *await trial(fresh(processes), shared_url, point, trouble, wishes))
                    for point in points
                ]

        return run_virtual(all_of_them())

    return play


def garage(redis_url: str, processes: Processes) -> Garage:
    rig = Rig(redis_url, [], specs=DealershipTools.specs)
    rig.model = RoutedModel([Teller()], rig.settings)
    rig.tools = found = Garage(rig, processes)
    return found


Play = Callable[..., list[tuple[str, list[tuple[str, int]], dict[int, bool]]]]


@pytest.mark.parametrize("at", POINTS)
def test_one_booking_and_the_truth_after_a_kill(at: str, play: Play, capsys: Any) -> None:
    points = [POINTS[at][n % len(POINTS[at])] for n in range(KILLS)]
    for point, told, rows in play(tuple(points), another_comes, BOOK):
        assert lies(told, rows) == [], (point, told, rows)
        assert [text for text, _ in told] in ([BOOKED], [NOT_BOOKED]), (point, told)
    if "ONCE_KILLS" in os.environ:
        with capsys.disabled():
            print(f"\n{KILLS} of {KILLS} killed {at}: one booking or none, and the caller was told which")


@pytest.mark.parametrize("trouble", [both_are_lost, the_actor_is_lost])
def test_the_same_if_the_calls_actor_is_lost(trouble: Trouble, play: Play) -> None:
    for point, told, rows in play(SOME, trouble, BOOK):
        assert lies(told, rows) == [], (point, told, rows)
        assert [text for text, _ in told] in ([BOOKED], [NOT_BOOKED]), (point, told)


@pytest.mark.parametrize("again", [AGAIN, LATER])
def test_who_was_told_that_it_is_not_certain_and_asks_again_is_booked_once(play: Play, again: str) -> None:
    for point, told, rows in play(SOME, nobody_comes, BOOK, again):
        assert lies(told, rows) == [], (point, told, rows)
        assert [text for text, _ in told] == [MAYBE_BOOKED, BOOKED], (point, told)
        assert list(rows.values()) == [True], point
