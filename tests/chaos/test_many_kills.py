"""A host with about ten calls on it is killed again and again, at any moment: none of its callers notices.

`KILLS` is how many (`make chaos`: 100, about nine minutes).
"""

import asyncio
import os
import random
import secrets
import time
from collections import defaultdict

import pytest

from engine.settings import Settings
from simulators.caller import Caller, Gap
from simulators.model import Rule, says, tool
from tests.chaos.trials import Row, Trials
from tests.chaos.victims import (
    GREETING,
    Victim,
    heard,
    heard_in_order,
    in_one_stream,
    note_heard,
    spares,
)
from tests.whole.bench import Bench, Talk, audible, eventually
from tests.whole.booking import next_tuesday

pytestmark = [pytest.mark.whole, pytest.mark.asyncio(loop_scope="session")]

KILLS = int(os.environ.get("KILLS", "3"))
LINES = 20  # over two replicas, each of which has its calls on one host
ROUND_S = 3.0  # kills come at any moment of the first so many seconds in which there is a spare host
AFTERMATH_S = 2.0  # of a blow
UNSTEADY_S = (
    Settings.model_fields["host_steady_s"].default + 1.0
)  # from a blow; three that come faster give a call up
LIMIT_S = 5.0  # more than ten times what was measured

STORY = ("It was cold.", "The car stood still.", "Nobody knew.")
LOOKING, FREE = "Let me look.", "There is nine and ten."
RECALLED = "You asked for a story."
EXPECTED = [*GREETING, *STORY, LOOKING, FREE, RECALLED]


async def person(c: Caller) -> None:
    """Asks for a story, for free times, and what it was that they asked for."""
    await c.hears("help you today?")
    await c.quiet(0.2)
    await c.say("Tell me a story")
    await c.hears("Nobody knew.")
    await c.quiet(0.2)
    await c.say("Any free times")
    await c.hears("nine and ten.")
    await c.quiet(0.2)
    await c.say("What was it")
    await c.hears("for a story.")
    await c.quiet(0.2)


def rules() -> tuple[Rule, ...]:
    """A model that thinks for as long as real ones do, and speaks as fast."""
    pace = {"first_token_s": 0.4, "gap_s": 0.05}
    looks = tool("get_available_slots", service="oil change", date=next_tuesday().isoformat())
    return (
        says(" ".join(STORY), user="tell me", **pace),
        says(LOOKING, looks, user="free times", **pace),
        says(FREE, after="get_available_slots", **pace),
        says(RECALLED, user="what was", **pace),
    )


class Lines:
    """People who call again and again, until they are told to stop."""

    def __init__(self, bench: Bench, dice: random.Random) -> None:
        self.talks: list[Talk] = []
        self._bench = bench
        self._dice = dice
        self._enough = asyncio.Event()

    async def run(self) -> None:
        """Returns when the last call has ended."""
        async with asyncio.TaskGroup() as lines:
            for _ in range(LINES):
                lines.create_task(self._line(self._dice.uniform(0, ROUND_S)))

    def stop(self) -> None:
        """Calls that are up go on to their end."""
        self._enough.set()

    async def _line(self, first_s: float) -> None:
        await asyncio.sleep(first_s)
        while not self._enough.is_set():
            talk = await self._bench.dial(person, *rules())
            self.talks.append(talk)
            await talk.call.settled()


async def busiest_now(bench: Bench, talks: list[Talk], victims: list[Victim]) -> Victim:
    """The host with most of the calls that run at this moment, of those whose calls have been led steadily."""
    by_sid = {talk.sid: talk for talk in talks}

    async def look() -> tuple[int, list[Talk]] | None:
        since = time.time() - UNSTEADY_S
        shaken = {talk.sid for victim in victims if victim.struck_at > since for talk in victim.talks}
        by_pid: dict[int, list[Talk]] = defaultdict(list)
        for one in await bench.whereabouts():
            if one.state == "running" and one.call in by_sid:
                by_pid[one.host_pid].append(by_sid[one.call])
        fit = [(pid, on) for pid, on in by_pid.items() if not shaken.intersection(one.sid for one in on)]
        return max(fit, key=lambda item: len(item[1]), default=None)

    pid, on_it = await eventually(look, "a host with calls that may lose it")
    return Victim(pid, on_it, [])


async def attached_after(bench: Bench, victim: Victim) -> dict[str, float]:
    """The time from the blow to the successor's `Attached`, by SID, of those that have one."""
    rows = await bench.rows(
        "SELECT call, min(at) AS at FROM call_event"
        " WHERE call = ANY($1) AND kind = 'call_resumed' AND at > to_timestamp($2) GROUP BY call",
        [talk.sid for talk in victim.talks],
        victim.struck_at,
    )
    return {row["call"]: row["at"].timestamp() - victim.struck_at for row in rows}


async def test_hosts_that_are_killed_again_and_again_are_not_missed(bench: Bench, trials: Trials) -> None:
    seed = int(os.environ.get("SEED") or secrets.randbelow(10**6))
    print(f"SEED={seed}")
    dice = random.Random(seed)
    lines, victims = Lines(bench, dice), []
    calling = asyncio.create_task(lines.run())

    try:
        while len(victims) < KILLS:
            await spares(bench)
            await asyncio.sleep(dice.uniform(0, ROUND_S))
            victim = await busiest_now(bench, lines.talks, victims)
            victim.strike()
            victims.append(victim)
            trials.one("host killed, again and again")
    finally:
        lines.stop()
        await calling

    row = trials.rows["host killed, again and again"]
    await all_attached_again(bench, row, victims)
    await nobody_noticed(row, lines.talks, victims)


async def nobody_noticed(row: Row, talks: list[Talk], victims: list[Victim]) -> None:
    """Every call is one stream in which each sentence was heard whole and once, and no blow made a pause in one."""
    amiss = []
    for talk in talks:
        note_heard(row, talk, EXPECTED)
        try:
            await talk.ended()
            heard_in_order(talk, EXPECTED)
            in_one_stream(talk)
            assert [gap for gap in talk.gaps() if made_by_a_blow(gap, talk, talks, victims)] == []
        except (AssertionError, TimeoutError) as error:
            amiss.append(f"{talk.sid}: {error}\n{story_of(talk, victims)}")
    print(f"{sum(len(talk.gaps()) for talk in talks)} pauses in sentences of {len(talks)} calls")
    assert not amiss, f"{len(amiss)} of {len(talks)} calls:\n" + "\n".join(amiss)


def made_by_a_blow(gap: Gap, talk: Talk, talks: list[Talk], victims: list[Victim]) -> bool:
    """Whether this call had just lost its host, and calls that had not knew no pause at that moment.

    After each blow a host starts, which takes a core of what may be two: that may make anybody's frames late.
    """
    if not audible(gap):
        return False
    struck = [one for one in victims if 0 < gap.at - on_our_clock(one.struck_at) < AFTERMATH_S]
    if not any(talk in one.talks for one in struck):
        return False
    spared = [other for other in talks if not any(other in one.talks for one in struck)]
    return not any(abs(other.at - gap.at) < AFTERMATH_S / 2 for one in spared for other in one.gaps())


async def all_attached_again(bench: Bench, row: Row, victims: list[Victim]) -> None:
    """Every call that went on after a blow had a new CallActor soon."""
    took_s: list[float] = []
    for victim in victims:
        attached = await attached_after(bench, victim)
        for talk in victim.talks:
            if talk.sid in attached:
                took_s.append(attached[talk.sid])
            else:  # its caller hung up at that moment
                assert talk.call.journal.all("ended")[0].at < on_our_clock(victim.struck_at) + LIMIT_S
    row.recovered_s += took_s
    took_s.sort()
    print(
        f"{len(victims)} kills of hosts with {len(took_s) / len(victims):.1f} calls:"
        f" attached again after {took_s[len(took_s) // 2]:.3f} s p50,"
        f" {took_s[int(len(took_s) * 0.99)]:.3f} s p99, {took_s[-1]:.3f} s at most"
    )
    assert took_s[-1] < LIMIT_S


def on_our_clock(wall_s: float) -> float:
    """A wall time as a journal would have it."""
    return wall_s - time.time() + time.monotonic()


def story_of(talk: Talk, victims: list[Victim]) -> str:
    """What to look at when something is amiss: what was heard, when, and the blows."""
    began = talk.call.journal.events[0].at
    lines = [(one.began_at - began, f"{one.text!r} {'' if one.whole else 'cut'}") for one in heard(talk)]
    lines += [(gap.at - began, str(gap)) for gap in talk.gaps()]
    struck = [victim for victim in victims if talk in victim.talks]
    lines += [(on_our_clock(one.struck_at) - began, f"host {one.pid} was killed") for one in struck]
    return "\n".join(f"    {at:7.3f} {what}" for at, what in sorted(lines))
