"""Calls that something is done to in their midst, and what their callers then heard."""

import asyncio
import contextlib
import datetime as dt
import itertools
import os
import signal
import time
from collections import Counter, defaultdict
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from zoneinfo import ZoneInfo

from crm import pgwork
from engine.phrases import FILLERS
from engine.session import Whereabouts
from simulators.caller import Caller, HeardSentence
from tests.chaos.trials import Row
from tests.whole.bench import Bench, Talk, audible, eventually

ZONE = ZoneInfo("America/Chicago")
GREETING = ("Thanks for calling Elm.", "How can I help you today?")


class Moments:
    """Where the callers of one trial are in their scripts."""

    def __init__(self) -> None:
        self._reached: Counter[str] = Counter()
        self._changed = asyncio.Event()

    def reached(self, moment: str) -> None:
        """One more caller is there."""
        self._reached[moment] += 1
        self._changed.set()

    async def all(self, calls: int, moment: str) -> None:
        """Waits until all of them have been there."""
        async with asyncio.timeout(30):
            while self._reached[moment] < calls:
                self._changed.clear()
                await self._changed.wait()


@dataclass
class Victim:
    """A process, the calls that it runs, and those that run elsewhere."""

    pid: int
    talks: list[Talk]
    others: list[Talk]
    struck_at: float = field(default=0.0)  # wall time

    def strike(self, number: signal.Signals = signal.SIGKILL) -> None:
        """Sends the signal, and notes when."""
        self.struck_at = time.time()
        os.kill(self.pid, number)


async def where(bench: Bench, talks: list[Talk], min_epoch: int = 1) -> dict[str, Whereabouts]:
    """Where these calls run, by SID; waits until each does, under this epoch or a later one."""

    async def look() -> dict[str, Whereabouts] | None:
        found = {one.call: one for one in await bench.whereabouts()}
        mine = {talk.sid: found[talk.sid] for talk in talks if talk.sid in found}
        running = [one for one in mine.values() if one.state == "running" and one.epoch >= min_epoch]
        return mine if len(running) == len(talks) else None

    return await eventually(look, f"CallActors of {len(talks)} calls")


async def busiest(bench: Bench, talks: list[Talk], role: Callable[[Whereabouts], int]) -> Victim:
    """The process with most of these calls; `role` picks a pid of a call's whereabouts."""
    places = await where(bench, talks)
    by_pid: dict[int, list[Talk]] = defaultdict(list)
    for talk in talks:
        by_pid[role(places[talk.sid])].append(talk)
    pid = max(by_pid, key=lambda pid: len(by_pid[pid]))
    return Victim(pid, by_pid[pid], [talk for talk in talks if talk not in by_pid[pid]])


async def spares(bench: Bench) -> set[int]:
    """Waits until every ingress replica has a host for calls, and another for those that lose theirs; their pids."""
    seen: dict[int, bool] = {}

    async def look() -> bool:
        answer = (await bench.http.get("/calls")).raise_for_status().json()
        seen[answer["pid"]] = len(answer["hosts"]) >= max(2, bench.app.settings.spare_hosts)
        return sum(seen.values()) >= bench.app.settings.ingress_replicas

    await eventually(look, "a spare host of every replica", timeout_s=60.0)
    return set(seen)


async def recovered_s(bench: Bench, victim: Victim) -> list[float]:
    """For each of its calls, the time from the blow to the successor's `Attached`, from the call log."""
    found: list[float] = []
    for talk in victim.talks:

        async def look(sid: str = talk.sid) -> list[float]:
            rows = await bench.rows(
                "SELECT at FROM call_event WHERE call = $1 AND kind = 'call_resumed' ORDER BY at", sid
            )
            return [row["at"].timestamp() - victim.struck_at for row in rows]

        resumed = await eventually(look, "the successor's line in the log")
        found += [one for one in resumed if one > 0][:1]
    return found


# ---------------------------------------------------------------- what was heard


def heard(talk: Talk) -> list[HeardSentence]:
    """What was heard, but for what the agent says while it is at work."""
    return [one for one in talk.person.heard.sentences if " ".join(one.text.split()) not in FILLERS]


def silences(talk: Talk) -> list[float]:
    """The silence before each of the agent's sentences, since its last or the caller's last word."""
    spoken = [event.at for event in talk.call.journal.all("spoken")]
    sentences = talk.person.heard.sentences
    return [
        then.began_at - max([before.ended_at + 0.02, *(at for at in spoken if at < then.began_at)])
        for before, then in itertools.pairwise(sentences)
    ]


def note_heard(row: Row, talk: Talk, expected: list[str], cuts: int = 0) -> None:
    """Counts what this caller heard, and what was wrong with it; so many sentences had to be cut."""
    row.calls += 1
    said = Counter(" ".join(one.text.split()) for one in heard(talk) if one.whole)
    row.sentences += said.total()
    cut = sum(not one.whole for one in heard(talk))
    row.broken += (
        abs(cut - cuts)
        + len(talk.gaps())
        + (said - Counter(expected)).total()
        + (Counter(expected) - said).total()
    )
    row.silence_s = max([row.silence_s, *silences(talk)])


def heard_in_order(talk: Talk, expected: list[str]) -> None:
    """Every sentence, whole, in order, once; nothing else; no frame of any is missing, though one may be late."""
    assert [" ".join(one.text.split()) for one in heard(talk)] == expected
    assert all(one.whole for one in talk.person.heard.sentences)
    assert [gap for gap in talk.gaps() if gap.missing_frames] == []
    assert talk.call.errors == []


def heard_all_once(talk: Talk, expected: list[str]) -> None:
    """As `heard_in_order`, and without a pause in any sentence."""
    heard_in_order(talk, expected)
    heard = [gap for gap in talk.gaps() if audible(gap)]
    assert heard == [], (heard, talk.call.journal.all("stalled"))


def in_one_stream(talk: Talk) -> None:
    """Twilio never noticed."""
    assert len(talk.call.journal.all("stream_opened")) == 1


def turns_of(messages: list[dict[str, object]], role: str) -> list[str]:
    """What this role said, in a request to the model."""
    return [str(one["content"]) for one in messages if one["role"] == role and one.get("content")]


# ---------------------------------------------------------------- bookings


def a_tuesday() -> dt.date:
    """Some day on which nobody else books: far ahead, and another in each trial."""
    day = dt.datetime.now(ZONE).date() + dt.timedelta(days=next(_WEEKS) * 7)
    return day + dt.timedelta(days=(1 - day.weekday()) % 7)


_WEEKS = itertools.count(2)


@contextlib.asynccontextmanager
async def held_day(bench: Bench, day: dt.date) -> AsyncIterator[None]:
    """Nobody can book on this day meanwhile: bookings wait, as in a crowd."""
    key = (pgwork._DAY_LOCK, day.toordinal())
    await bench.rows("SELECT pg_advisory_lock($1, $2)", *key)
    try:
        yield
    finally:
        await bench.rows("SELECT pg_advisory_unlock($1, $2)", *key)


async def waiting_bookings(bench: Bench, count: int) -> list[int]:
    """The ports, at the tools' end, of connections on which bookings wait for a day; waits for so many."""

    async def look() -> list[int]:
        rows = await bench.rows("SELECT client_port FROM pg_stat_activity WHERE wait_event = 'advisory'")
        return [row["client_port"] for row in rows] if len(rows) >= count else []

    return await eventually(look, f"{count} bookings under way")


async def note_bookings(bench: Bench, row: Row, talks: list[Talk]) -> list[int]:
    """How often each of these calls has booked."""
    booked = []
    for talk in talks:
        rows = await bench.rows("SELECT 1 FROM appointment WHERE call = $1 AND status = 'booked'", talk.sid)
        booked.append(len(rows))
        row.bookings += 1
        row.double += max(0, len(rows) - 1)
        row.lost += not rows
    return booked


Script = Callable[[Caller], Awaitable[None]]
