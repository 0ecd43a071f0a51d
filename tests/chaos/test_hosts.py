"""A CallHost is killed with calls on it, or hangs: its callers notice nothing but, at most, a pause."""

import asyncio
import datetime as dt
import os
import signal
import time
from urllib.parse import urlsplit

import pytest

from engine.session import Whereabouts
from launcher import processes
from simulators.caller import Caller
from simulators.model import Rule, says, tool
from tests.chaos.blocking import held, loop_thread
from tests.chaos.trials import Row, Trials
from tests.chaos.victims import (
    GREETING,
    Moments,
    Script,
    Victim,
    a_tuesday,
    busiest,
    heard_all_once,
    held_day,
    in_one_stream,
    note_bookings,
    note_heard,
    recovered_s,
    spares,
    turns_of,
    waiting_bookings,
    where,
)
from tests.whole.bench import Bench, Talk, eventually

pytestmark = [pytest.mark.whole, pytest.mark.asyncio(loop_scope="session")]

CALLS = 6  # over two replicas
BOOKINGS = 12  # so that those of a killed host would hold up all, were each of them to wait for it
LIMIT_S = 5.0  # ten times what was measured
STORY = ("It was cold.", "The car stood still.", "Nobody knew.")
RECALLED = "A story."
EXPECTED = [*GREETING, *STORY, RECALLED]


def host_pid(one: Whereabouts) -> int:
    return one.host_pid


def wants_a_story(moments: Moments) -> Script:
    """A caller who asks for a story, and then what it was that they asked for."""

    async def person(c: Caller) -> None:
        await c.hears("Thanks for")
        moments.reached("greeting")
        await c.hears("help you today?")
        await c.quiet(0.2)
        await c.say("Tell me a story")
        await c.hears("was cold.")
        moments.reached("sentence")
        await c.hears("Nobody knew.")
        await c.quiet(0.2)
        await c.say("What was it")
        await c.hears("a story.")
        await c.quiet(0.2)

    return person


async def dial_all(bench: Bench, script: Script, *rules: Rule) -> list[Talk]:
    return list(await asyncio.gather(*(bench.dial(script, *rules) for _ in range(CALLS))))


def a_story(**how: float) -> tuple[Rule, ...]:
    return says(" ".join(STORY), user="tell me", **how), says(RECALLED, user="what was")


async def moved(bench: Bench, row: Row, victim: Victim) -> None:
    """The victim's calls have a new CallActor in the same stream; nobody else was disturbed."""
    took_s = await recovered_s(bench, victim)
    row.recovered_s += took_s
    print(f"{len(victim.talks)} calls attached again after {min(took_s):.3f} to {max(took_s):.3f} s")
    assert max(took_s) < LIMIT_S
    for talk in [*victim.talks, *victim.others]:
        in_one_stream(talk)
        resumed = await bench.events(talk.sid, "call_resumed")
        assert len(resumed) == (talk in victim.talks)


async def heard_the_story(bench: Bench, row: Row, victim: Victim) -> None:
    """All callers heard everything once, and the model was told the whole history."""
    talks = [*victim.talks, *victim.others]
    for talk in talks:
        await talk.ended()
        note_heard(row, talk, EXPECTED)
    for talk in talks:
        heard_all_once(talk, EXPECTED)
        asked = talk.exchanges()[-1].request["messages"]
        assert turns_of(asked, "user") == ["Tell me a story", "What was it"]
        assert " ".join(turns_of(asked, "assistant")) == " ".join([*GREETING, *STORY])
    await moved(bench, row, victim)


@pytest.mark.parametrize("moment", ["greeting", "sentence"])
async def test_a_host_that_is_killed_while_the_agent_speaks_is_not_missed(
    bench: Bench, trials: Trials, moment: str
) -> None:
    for row in trials.of(f"host killed, mid-{moment}"):
        await spares(bench)
        moments = Moments()
        talks = await dial_all(bench, wants_a_story(moments), *a_story(gap_s=0.15))
        await moments.all(CALLS, moment)
        victim = await busiest(bench, talks, host_pid)
        assert len(victim.talks) >= CALLS // 2

        victim.strike()

        await heard_the_story(bench, row, victim)


async def all_asked(bench: Bench, talks: list[Talk]) -> None:
    """Waits until the model has been asked on each of these calls, and has not said a word."""

    async def look() -> bool:
        return all(talk.exchanges() for talk in talks)

    await eventually(look, "the model's being asked on each call")
    assert all(talk.exchanges()[0].first_s is None for talk in talks), (
        "it has answered: too late for this test"
    )


async def test_a_host_that_is_killed_while_the_model_thinks_asks_it_again(
    bench: Bench, trials: Trials
) -> None:
    for row in trials.of("host killed, mid-turn"):
        await spares(bench)
        talks = await dial_all(bench, wants_a_story(Moments()), *a_story(first_token_s=1.5))
        victim = await busiest(bench, talks, host_pid)
        await all_asked(bench, talks)

        victim.strike()

        await heard_the_story(bench, row, victim)
        for talk in victim.talks:
            assert len(talk.exchanges()) == 3


async def test_a_host_that_hangs_is_replaced_and_does_no_harm_when_it_wakes(
    bench: Bench, trials: Trials
) -> None:
    for row in trials.of("host hangs, then wakes"):
        await spares(bench)
        moments = Moments()
        talks = await dial_all(bench, wants_a_story(moments), *a_story(gap_s=0.15))
        await moments.all(CALLS, "sentence")
        victim = await busiest(bench, talks, host_pid)

        victim.strike(signal.SIGSTOP)
        await where(bench, victim.talks, min_epoch=2)
        if processes.alive(victim.pid):  # stopped, it can't be told to end: that comes when it wakes
            os.kill(victim.pid, signal.SIGCONT)

        async def gone(pid: int = victim.pid) -> bool:
            return not processes.alive(pid)

        await eventually(gone, "the end of the host that hung")
        await heard_the_story(bench, row, victim)


async def test_a_host_whose_loop_is_blocked_is_replaced_though_it_lives(bench: Bench, trials: Trials) -> None:
    redis = urlsplit(bench.app.settings.redis_url).port
    for row in trials.of("host's loop blocked"):
        await spares(bench)
        moments = Moments()
        talks = await dial_all(bench, wants_a_story(moments), *a_story(gap_s=0.15))
        await moments.all(CALLS, "sentence")
        victim = await busiest(bench, talks, host_pid)

        async def at_rest(pid: int = victim.pid) -> int | None:
            return loop_thread(pid, redis)

        with held(await eventually(at_rest, "the thread of the host's loop")):
            victim.struck_at = time.time()
            await where(bench, victim.talks, min_epoch=2)
        await heard_the_story(bench, row, victim)


# ---------------------------------------------------------------- in the midst of a tool


def books(answer: str) -> Script:
    async def person(c: Caller) -> None:
        await c.hears("help you today?")
        await c.quiet(0.2)
        await c.say("Book it please")
        await c.hears(answer)
        await c.quiet(0.2)

    return person


BOOKED = "You are booked."


def books_at(day: dt.date, time: str) -> tuple[Rule, ...]:
    """The model books, and says what came of it."""
    wanted = {"service": "oil change", "date": day.isoformat(), "time": time, "vehicle": None, "name": "Ann"}
    return (
        says("Let me see.", tool("book_appointment", **wanted), user="book it"),
        says(BOOKED, after="book_appointment", result='"booked":true'),
        says("It did not work.", after="book_appointment"),
    )


async def test_a_host_that_is_killed_while_tools_book_has_booked_once_and_says_so(
    bench: Bench, trials: Trials
) -> None:
    for row in trials.of("host killed, mid-tool"):
        await spares(bench)
        day = a_tuesday()
        times = [f"{9 + half // 2:02}:{30 * (half % 2):02}" for half in range(BOOKINGS)]
        async with held_day(bench, day):
            talks = list(
                await asyncio.gather(*(bench.dial(books(BOOKED), *books_at(day, time)) for time in times))
            )
            victim = await busiest(bench, talks, host_pid)
            await waiting_bookings(bench, 1)
            await all_called(bench, talks)

            victim.strike()

            await where(bench, victim.talks, min_epoch=2)

        for talk in talks:
            await talk.ended()
            note_heard(row, talk, [*GREETING, "Let me see.", BOOKED])
        assert await note_bookings(bench, row, talks) == [1] * BOOKINGS
        for talk in talks:
            heard_all_once(talk, [*GREETING, "Let me see.", BOOKED])
        await moved(bench, row, victim)


async def all_called(bench: Bench, talks: list[Talk]) -> None:
    """Waits until a tool was called on each of these calls."""

    async def look() -> bool:
        sids = [talk.sid for talk in talks]
        rows = await bench.rows(
            "SELECT DISTINCT call FROM call_event WHERE call = ANY($1) AND kind = 'tool_called'", sids
        )
        return len(rows) == len(sids)

    await eventually(look, "a tool on each call")
