"""An app whose Redis and Postgres are this test's own: they hang, end, and come back while calls go on."""

import asyncio
import contextlib
import os
import shutil
import signal
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from pathlib import Path

import psutil

from launcher.database import seed
from launcher.postgres import Postgres
from launcher.valkey import Valkey
from simulators.caller import Caller
from simulators.model import Rule, says, tool
from tests.chaos.trials import Row
from tests.chaos.victims import a_tuesday
from tests.whole.bench import Bench, Talk
from tests.whole.nodes import node_bench

AT_LENGTH = "CHAOS_TRIALS" in os.environ
REDIS_AWAY_S, POSTGRES_AWAY_S = (30.0, 60.0) if AT_LENGTH else (5.0, 5.0)
TIMES = ("09:00", "09:30", "10:00", "10:30", "11:00", "11:30")


@dataclass
class Stores:
    """An app and its stores."""

    bench: Bench
    pids: Callable[[], dict[str, int]]

    def redis(self, way: signal.Signals) -> None:
        """Stops Redis (SIGSTOP), lets it go on (SIGCONT), or kills it."""
        _signal(self.pids()["valkey"], way)

    def database(self, way: signal.Signals) -> None:
        """The same with all of Postgres's processes."""
        _signal(self.pids()["postgres"], way)

    async def ready(self) -> dict[str, str]:
        """What `/readyz` says of each part."""
        parts: dict[str, str] = (await self.bench.http.get("/readyz")).json()["parts"]
        return parts

    async def alive(self) -> bool:
        """Whether `/healthz` is well."""
        return (await self.bench.http.get("/healthz")).is_success


@dataclass
class OwnStores(Stores):
    """Those that can be started again."""

    valkey: Valkey
    postgres: Postgres

    async def redis_again(self, *, empty: bool) -> None:
        """Starts a Redis that was killed, where it was."""
        self.valkey.stop()
        if empty:
            shutil.rmtree(self.valkey.log.parent / "appendonlydir")
        await asyncio.to_thread(self.valkey.start)

    async def database_again(self) -> None:
        """Starts a Postgres that was killed, where it was; the test's own connection is a new one."""
        self.postgres.stop()
        await asyncio.to_thread(self.postgres.start)
        await self.bench.open()


def _signal(pid: int, way: signal.Signals) -> None:
    parent = psutil.Process(pid)
    for process in (parent, *parent.children(recursive=True)):  # the parent first: it makes no others then
        process.send_signal(way)


@contextlib.asynccontextmanager
async def stores_of(directory: Path) -> AsyncIterator[OwnStores]:
    """An app, with stores that keep their data; all gone at the end."""
    valkey, postgres = (
        Valkey(directory / "valkey", durable=True),
        Postgres(directory / "postgres", durable=True),
    )
    try:
        database_url = await asyncio.to_thread(postgres.start)
        chosen = {
            "redis_url": await asyncio.to_thread(valkey.start),
            "database_url": database_url,
            "ingress_replicas": 1,
            "silence_prompt_s": 8.0,
            "max_call_s": 300.0,
        }
        async with node_bench(chosen, directory) as bench:
            await seed(database_url, bench.app.settings.timezone)
            yield OwnStores(bench, lambda: _pids(valkey, postgres), valkey, postgres)
    finally:
        for pid in _pids(valkey, postgres).values():  # a test may have left one stopped
            with contextlib.suppress(psutil.NoSuchProcess):
                _signal(pid, signal.SIGCONT)
        valkey.stop()
        postgres.stop()


def _pids(valkey: Valkey, postgres: Postgres) -> dict[str, int]:
    servers = {"valkey": valkey.pid, "postgres": postgres.pid}
    return {name: pid for name, pid in servers.items() if pid is not None}


# ---------------------------------------------------------------- who calls

LONG = "It was a cold first. Then it was a colder second. Then it was a third day of snow and ice on all of the roads."


def rules() -> tuple[Rule, ...]:
    """What the model answers: it says what its tools tell it, and promises nothing else."""
    wanted = {"service": "oil change", "date": a_tuesday().isoformat(), "vehicle": None, "name": "Ann"}
    return (
        says("A story, once.", user="tell me"),
        says(LONG, user="a long one"),
        says("All right.", user="stop"),
        says("", tool("get_available_slots", service="oil change", date=wanted["date"]), user="when can"),
        says("You can come.", after="get_available_slots", result='"slots"'),
        says("I can't look it up.", after="get_available_slots", result="can't be reached"),
        says("I don't know.", after="get_available_slots"),
        *(says("", tool("book_appointment", time=time, **wanted), user=f"book {n}") for n, time in enumerate(TIMES)),
        says("You are booked.", after="book_appointment", result='"booked":true'),
        says("Nothing can be changed.", after="book_appointment", result="nothing can be changed"),
        says("I can't book it.", after="book_appointment", result="can't be reached"),
        says("That is not certain.", after="book_appointment", result="not known whether"),
        says("It did not work.", after="book_appointment"),
        says("Goodbye then.", tool("end_call"), user="that was all"),
    )  # fmt: skip


class Person:
    """A caller who says what the test wants."""

    talk: Talk
    caller: Caller

    def __init__(self) -> None:
        self._there = asyncio.Event()

    async def _script(self, c: Caller) -> None:
        await c.hears("help you today?")
        self.caller = c
        self._there.set()
        await c.ended(300.0)

    @classmethod
    async def calls(cls, bench: Bench) -> "Person":
        """Calls, and has been greeted."""
        person = cls()
        person.talk = await bench.dial(person._script, *rules(), max_s=300.0)
        await asyncio.wait_for(person._there.wait(), 60)
        await person.caller.quiet(0.2)
        return person

    async def asks(self, words: str, answer: str) -> float:
        """Says something and hears the answer; how long it took until the agent spoke."""
        before = len(self.talk.person.heard.sentences)
        await self.caller.say(words)
        said_at = self.talk.call.journal.all("spoken")[-1].at
        await self.caller.hears(answer)
        await self.caller.quiet(0.2)
        return self.talk.person.heard.sentences[before].began_at - said_at

    async def talks(self, seconds: float) -> list[float]:
        """Has a story told again and again, for so long; how long it took each time until the agent spoke."""
        clock, delays = Clock(), list[float]()
        while not delays or clock.s < seconds:
            delays.append(await self.asks("Tell me a story", "once."))
        return delays

    async def interrupts(self) -> None:
        """Lets the agent talk, and stops it."""
        await self.caller.say("Now a long one")
        await self.caller.hears("cold first.")
        await self.caller.say("Stop it please")
        await self.caller.hears("All right.")
        await self.caller.quiet(0.2)
        assert "of the roads" not in " ".join(self.talk.heard())

    async def says_goodbye(self) -> None:
        """Ends the call."""
        await self.caller.say("That was all")
        await self.talk.ended()


# ---------------------------------------------------------------- what was written


async def session_says(bench: Bench, talk: Talk) -> list[str]:
    """What the caller heard of each sentence, by the session."""
    items = (await bench.session(talk.sid)).items.values()
    return [" ".join(heard.split()) for item in items if (heard := getattr(item, "heard", str)())]


async def log_says(bench: Bench, talk: Talk) -> list[str]:
    """The same by the call log."""
    rows = await bench.rows(
        "SELECT text FROM call_transcript WHERE call = $1 AND speaker = 'agent' ORDER BY at", talk.sid
    )
    return [" ".join(row["text"].split()) for row in rows]


def same(written: list[str], heard: list[str]) -> bool:
    """Whether these are the same sentences; one that was cut may be told to a word of it, or to a letter."""
    return len(written) == len(heard) and all(
        one == other or (other in LONG and (one.startswith(other) or other.startswith(one)))
        for one, other in zip(written, heard, strict=True)
    )


def note(row: Row, person: Person, delays_s: list[float]) -> None:
    """Counts what this caller heard. None of the delays may be what a hanging store would have made of it."""
    row.calls += 1
    row.sentences += len(person.talk.heard())
    row.broken += len(person.talk.gaps())
    row.silence_s = max([row.silence_s, *delays_s])


class Clock:
    """Time since a store went away."""

    def __init__(self) -> None:
        self._began_s = time.monotonic()

    @property
    def s(self) -> float:
        """So many seconds."""
        return time.monotonic() - self._began_s

    async def until(self, seconds: float) -> None:
        """Waits until so many have passed."""
        await asyncio.sleep(max(0.0, seconds - self.s))
