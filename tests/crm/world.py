"""Bookings in a world where everything goes wrong, from a seed, in virtual time.

Real are the CallActor with its ToolRuns, LlmActor and ToolPort, and `DealershipTools` in each of the processes that run
tools. Simulated are the way between them, the records, the session and the caller's telephone. Each step that any of
them takes is counted, and faults come at steps, so that they hit what is short as well as what is long.
"""

import asyncio
import datetime as dt
import itertools
import random
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import msgspec

from actors.call import CallActor
from actors.parts import CallPorts
from actors.toolport import ToolPort, Unanswered
from crm import demo_data
from crm.context import House
from crm.nhtsa import Nhtsa
from crm.ports import RecordsAway
from crm.tools import DealershipTools
from engine.actor import spawn
from engine.clock import now, run_virtual
from engine.messages import (
    CallerContext,
    CallerGone,
    CallInfo,
    Start,
    ToolRequest,
    ToolResult,
)
from engine.models import RoutedModel
from tests.crm.callside import Line, NoLog, Sessions, Telephone
from tests.crm.simulated import Database, SimulatedRecords
from tests.crm.spoken import AGAIN, BOOK, CANCEL, LATER, TWICE, Belief, Teller, lies
from tests.virtual.rig import new_settings

CALL, CALLER = "CA1", "+13125550199"
NOW = dt.datetime(2026, 11, 24, 16, 15, tzinfo=dt.UTC)
LATE_S = 30.0  # the latest that anything comes
SETTINGS = new_settings()
WORKSHOP = demo_data.workshop()
_NHTSA = Nhtsa("http://127.0.0.1:9")  # nobody asks it


class Chance:
    """The seed's decisions. How bad a world is, is one of them."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)
        badness = self.random.choice((0.0, 0.02, 0.08, 0.25))
        self._rates = {
            name: badness * self.random.random()
            for name in (
                "statement",
                "commit lost",
                "commit told late",
                "request",
                "reply",
                "double",
                "late",
                "linger",
            )
        }

    def of(self, what: str) -> bool:
        """Whether that happens now."""
        return self.random.random() < self._rates[what]

    def short_s(self) -> float:
        """A way there, or a way back."""
        return self.random.uniform(0.001, 0.02)

    def long_s(self) -> float:
        """One that takes as long as people wait, or longer."""
        return (
            self.random.uniform(0.5, 12.0) if self.random.random() < 0.8 else self.random.uniform(5.0, LATE_S)
        )


class Sky:
    """The weather of all units of work (`tests.crm.simulated.Weather`)."""

    def __init__(self, world: "World") -> None:
        self._world = world
        self.away = False

    async def step(self) -> None:
        await self._world.step()
        await asyncio.sleep(self._world.chance.short_s() / 4)
        self._gone("statement")

    async def commit(self) -> bool:
        chance = self._world.chance
        late = chance.of("late")
        await asyncio.sleep(chance.random.uniform(0.1, 8.0) if late else chance.short_s())
        return not chance.of("commit lost")

    async def committed(self) -> None:
        await self._world.step()
        await asyncio.sleep(self._world.chance.short_s())
        self._gone("commit told late")

    def lingers_s(self) -> float:
        """How long it takes until the server notices that whoever held locks is gone."""
        return self._world.chance.random.uniform(0.1, 6.0) if self._world.chance.of("linger") else 0.0

    def _gone(self, what: str) -> None:
        if self.away or self._world.chance.of(what):
            raise RecordsAway("the connection broke", again=True)


class Process:
    """One that runs tools, until it is killed."""

    def __init__(self, world: "World") -> None:
        self._world = world
        self._running: dict[asyncio.Task[bytes], None] = {}  # in order, so that a seed is the same again
        self.alive = True
        self.start()

    def start(self) -> None:
        """A new process in its place."""
        self.alive = True
        records = SimulatedRecords(self._world.database, self._world.sky)
        house = House("Trunkline Motors", "America/Chicago")
        self._tools = DealershipTools(records, _NHTSA, house, lambda: NOW)

    def take(self, door: str, request: bytes) -> "asyncio.Task[bytes]":
        """Begins with a request."""
        task = asyncio.create_task(self._serve(door, request))
        self._running[task] = None
        task.add_done_callback(self._running.pop)
        return task

    async def _serve(self, door: str, request: bytes) -> bytes:
        asked = msgspec.json.decode(request, type=ToolRequest)
        await self._world.step()
        answer = await (self._tools.run(asked) if door == "run" else self._tools.settle(asked))
        await self._world.step()
        return msgspec.json.encode(answer)

    def kill(self) -> None:
        """Nothing of it goes on; another takes its place after a while."""
        if self.alive:
            self.alive = False
            for task in list(self._running):
                task.cancel()
            self._world.later(self._world.chance.random.choice((0.05, 0.3, 2.0, 15.0)), self.start)


class Wire:
    """The way to the processes (`actors.toolport.Pool`)."""

    def __init__(self, world: "World") -> None:
        self._world = world
        self._carrying: set[asyncio.Task[bytes]] = set()

    async def run(self, request: ToolRequest) -> ToolResult:
        return await self._ask("run", request)

    async def settle(self, request: ToolRequest) -> ToolResult:
        return await self._ask("settle", request)

    async def _ask(self, door: str, request: ToolRequest) -> ToolResult:
        self._world.tell(f"{door} {request.key}, epoch {request.epoch}, unsettled {request.unsettled}")
        result = await self._carried(door, request)
        self._world.tell(f"{door} {request.key}: {result.result}{' (unknown)' if result.unknown else ''}")
        return result

    async def _carried(self, door: str, request: ToolRequest) -> ToolResult:
        await self._world.step()
        chance, sent = self._world.chance, msgspec.json.encode(request)
        if chance.of("double"):
            self._carry(door, sent, chance.long_s())
        if chance.of("request"):
            await self._lost()
        carried = self._carry(door, sent, chance.long_s() if chance.of("late") else chance.short_s())
        try:
            answer = await asyncio.shield(carried)
        except asyncio.CancelledError:
            if carried.cancelled():
                await asyncio.sleep(chance.short_s())
                raise Unanswered("the process was killed") from None
            if chance.random.random() < 0.5:
                carried.cancel()
            raise
        if chance.of("reply"):
            await self._lost()
        await asyncio.sleep(chance.long_s() if chance.of("late") else chance.short_s())
        await self._world.step()
        return msgspec.json.decode(answer, type=ToolResult)

    async def _lost(self) -> None:
        if self._world.chance.random.random() < 0.5:
            await asyncio.sleep(2 * LATE_S)
        await asyncio.sleep(self._world.chance.short_s())
        raise Unanswered("lost")

    def _carry(self, door: str, request: bytes, after_s: float) -> "asyncio.Task[bytes]":
        task = asyncio.create_task(self._brought(door, request, after_s))
        self._carrying.add(task)
        task.add_done_callback(self._carrying.discard)
        task.add_done_callback(lambda done: done.cancelled() or done.exception())
        return task

    async def _brought(self, door: str, request: bytes, after_s: float) -> bytes:
        await asyncio.sleep(after_s)
        alive = [process for process in self._world.processes if process.alive]
        if not alive:
            raise Unanswered("no process")
        return await self._world.chance.random.choice(alive).take(door, request)


@dataclass
class Outcome:
    """What came of one seed. `unsure`: how often the caller was told that it is not certain."""

    seed: int
    told: list[tuple[str, int]]
    rows: dict[int, bool]
    lies: list[str]
    unsure: int
    steps: int
    faults: list[str]


@dataclass
class World:
    """One call, and all that befalls it."""

    seed: int
    tell: Callable[[str], None] = lambda _: None
    chance: Chance = field(init=False)
    database: Database = field(default_factory=lambda: Database(WORKSHOP))

    def __post_init__(self) -> None:
        self.chance = Chance(self.seed)
        self.steps = 0
        self.sky = Sky(self)
        self.processes = [Process(self), Process(self)]
        self.sessions = Sessions(self.step, lambda: self.chance.short_s() / 4)
        self.telephone = Telephone()
        self.calls: list[CallActor] = []
        self.happened: list[str] = []
        self._wire = Wire(self)
        self._model = RoutedModel([Teller()], SETTINGS)
        self._starting: set[asyncio.Task[None]] = set()
        faults: list[tuple[str, Callable[[], None]]] = [
            ("a process is killed", lambda: self.chance.random.choice(self.processes).kill()),
            ("all processes are killed", lambda: [process.kill() for process in self.processes] and None),
            ("the call's actor is killed", lambda: self._again(kill=True)),
            ("the call is taken over", lambda: self._again(kill=False)),
            ("the records go away", self._away),
        ]
        count = self.chance.random.choice((1, 1, 2, 3, 5))
        self._due = {
            self.chance.random.randrange(1, 220): self.chance.random.choice(faults) for _ in range(count)
        }

    async def step(self) -> None:
        """Something is done; a fault may be due. Whoever is killed by it, is so here."""
        self.steps += 1
        due = self._due.pop(self.steps, None)
        if due is not None:
            self.happened.append(due[0])
            self.tell(f"at step {self.steps} {due[0]}")
            due[1]()
            await asyncio.sleep(0)

    def later(self, seconds: float, what: Callable[[], None]) -> None:
        """Does something after a while."""
        asyncio.get_running_loop().call_later(seconds, what)

    def _away(self) -> None:
        self.sky.away = True
        self.later(self.chance.random.choice((0.1, 1.0, 6.0, 15.0)), self._back)

    def _back(self) -> None:
        self.sky.away = False

    # --- the call

    def _again(self, *, kill: bool) -> None:
        """A successor takes the call; the predecessor is dead, or does not know yet."""
        task = asyncio.create_task(self._successor(kill))
        self._starting.add(task)
        task.add_done_callback(self._starting.discard)

    async def _successor(self, kill: bool) -> None:
        if kill:
            await self.calls[-1].kill()
        await asyncio.sleep(0.05)
        self.start()

    def start(self) -> None:
        """A CallActor for the call."""
        line = Line(self.telephone)
        start = Start(CallInfo(CALL, CALLER, "+13125550100", True, 0.0), "MZ1", len(self.calls))

        def port(call: Any) -> Any:
            changing = {spec.name for spec in DealershipTools.specs if spec.changes}
            limits_s = SETTINGS.tool_timeout_s, SETTINGS.tool_settle_s
            return call.spawn(ToolPort(self._wire, changing, *limits_s, call), "tools")

        ports = CallPorts(
            stream=line,
            media=line,
            stt=line,
            store=self.sessions,
            model=self._model,
            log=NoLog(),
            tools=port,
            specs=DealershipTools.specs,
            context=CallerContext("Hello.", "You answer a garage's telephone."),
        )
        actor = CallActor(start, ports, SETTINGS)
        line.actor = actor
        self.calls.append(actor)
        spawn(actor, f"call {len(self.calls)}")

    async def live(self) -> Outcome:
        """The call from its greeting to its end, and until nothing of it is under way any more."""
        self.start()
        await self._until(lambda: "Hello." in self.telephone.heard)
        for wish in self._wishes():
            before = len(self.telephone.told)
            self.tell(f"the caller: {wish}")
            self.telephone.say(wish)
            await self._until(lambda count=before: len(self.telephone.told) > count)  # type: ignore[misc]
            self.tell(f"heard so far: {' '.join(self.telephone.heard)}")
            await asyncio.sleep(0.5)
        for actor in self.calls:
            actor.tell(CallerGone("stop"))
        await asyncio.sleep(3 * LATE_S)
        for actor in self.calls:
            await actor.kill()
        await self._model.close()
        rows = {row.id: row.booked for row in self.database.appointments.values()}
        told = self.telephone.told
        return Outcome(
            self.seed, told, rows, lies(told, rows), Belief.of(told).unsure, self.steps, self.happened
        )

    def _wishes(self) -> "itertools.chain[str]":
        def rest() -> Any:
            for _ in range(4):
                belief = Belief.of(self.telephone.told)
                mine = [number for number, booked in belief.numbers.items() if booked]
                if mine and self.chance.random.random() < 0.5:
                    yield CANCEL
                elif not mine and self.chance.random.random() < 0.7:
                    yield self.chance.random.choice((AGAIN, LATER))
                else:
                    return

        return itertools.chain([TWICE if self.chance.random.random() < 0.15 else BOOK], rest())

    async def _until(self, holds: Callable[[], bool]) -> None:
        async with asyncio.timeout(300.0):
            while not holds():  # noqa: ASYNC110 - virtual time costs nothing
                await asyncio.sleep(0.1)


def outcome_of(seed: int, tell: Callable[[str], None] = lambda _: None) -> Outcome:
    """Lives through one seed's world."""

    async def live() -> Outcome:
        return await World(seed, lambda text: tell(f"{now():8.3f} {text}")).live()

    return run_virtual(live())


if __name__ == "__main__":
    print(outcome_of(int(sys.argv[1]), print))
