"""An ingress replica or a ToolActor is killed with calls on it, or a call can't be resumed at all."""

import asyncio
import os
import signal
import time
from pathlib import Path

import pytest
from ray import serve

from engine import phrases
from engine.session import Whereabouts
from serve_app import TOOL_ACTOR
from simulators.caller import Caller, HeardSentence
from simulators.model import says
from tests.chaos.test_hosts import BOOKED, books, books_at
from tests.chaos.trials import Trials
from tests.chaos.victims import (
    GREETING,
    Moments,
    a_tuesday,
    busiest,
    heard,
    heard_all_once,
    heard_in_order,
    held_day,
    in_one_stream,
    note_bookings,
    note_heard,
    spares,
    turns_of,
    waiting_bookings,
)
from tests.whole.bench import FALLBACK, LIMIT_S, Bench, Talk, eventually

pytestmark = [pytest.mark.whole, pytest.mark.asyncio(loop_scope="session")]

CALLS = 4
APOLOGY_LIMIT_S = 10.0  # ten times what was measured
WORDS_OFF = 2  # heard is the clock's reckoning until the stream's end was told
APOLOGY = [f"{part}." for part in phrases.CUT_OFF.split(". ")[:1]] + phrases.CUT_OFF.split(". ")[1:]
STORY = "It was cold and dark and the car would not start."
AGAIN = "It was a story."


def ingress_pid(one: Whereabouts) -> int:
    return one.ingress_pid


async def test_a_replica_that_is_killed_has_its_calls_go_on_elsewhere_with_an_apology(
    bench: Bench, trials: Trials
) -> None:
    for row in trials.of("ingress killed", "the sentence cut, an apology, then every sentence"):
        await spares(bench)
        moments = Moments()

        async def person(c: Caller, moments: Moments = moments) -> None:
            await c.hears("help you today?")
            await c.quiet(0.2)
            await c.say("Tell me a story")
            await c.hears("was cold")
            moments.reached("sentence")
            await c.quiet(1.5)  # longer than the call is cut off for
            await c.say("What was it")
            await c.hears("was a story.")
            await c.quiet(0.2)

        rules = says(STORY, user="tell me"), says(AGAIN, user="what was")
        talks = list(await asyncio.gather(*(bench.dial(person, *rules) for _ in range(CALLS))))
        await moments.all(CALLS, "sentence")
        victim = await busiest(bench, talks, ingress_pid)

        struck_s = time.monotonic()
        victim.strike()

        for talk in talks:
            await talk.ended()
            if talk in victim.talks:
                note_heard(row, talk, [*GREETING, *APOLOGY, AGAIN], cuts=1)
            else:
                note_heard(row, talk, [*GREETING, STORY, AGAIN])
        took_s = [apology_of(talk).began_at - struck_s for talk in victim.talks]
        row.recovered_s += took_s
        print(f"{len(victim.talks)} calls, the apology after {[f'{s:.2f}' for s in took_s]} s")
        assert max(took_s) < APOLOGY_LIMIT_S
        for talk in victim.others:
            # A replica and its two hosts start at once, on what may be two cores: a frame may come late.
            heard_in_order(talk, [*GREETING, STORY, AGAIN])
            print(f"pauses in a call of the other replica: {talk.gaps()}")
            in_one_stream(talk)
        for talk in victim.talks:
            await went_on_in_a_new_stream(bench, talk)


def apology_of(talk: Talk) -> HeardSentence:
    return next(one for one in heard(talk) if one.text.split() == APOLOGY[0].split())


async def went_on_in_a_new_stream(bench: Bench, talk: Talk) -> None:
    """A second stream, an apology, and a history that ends where the caller last heard the agent."""
    sentences = heard(talk)
    told = [" ".join(one.text.split()) for one in sentences]
    [cut] = [text for one, text in zip(sentences, told, strict=True) if not one.whole]
    assert told == [*GREETING, cut, *APOLOGY, AGAIN]
    assert STORY.startswith(cut)
    assert [gap for gap in talk.gaps() if gap.missing_frames] == []  # though one may be late, as said above
    assert list(dict.fromkeys(talk.webhooks())) == ["incoming", "stream-ended", "status"]
    assert len(talk.call.journal.all("stream_opened")) == 2
    assert [event["cut_off"] for event in await bench.events(talk.sid, "call_resumed")] == [True]
    asked = talk.exchanges()[-1].request["messages"]
    assert turns_of(asked, "user") == ["Tell me a story", "What was it"]
    before = " ".join(turns_of(asked, "assistant")).partition(phrases.CUT_OFF)[0].strip()
    ear = " ".join([*GREETING, cut])  # which may have heard half a word
    assert ear.startswith(before) or before.startswith(ear)
    assert abs(len(before.split()) - len(ear.split())) <= WORDS_OFF


# ---------------------------------------------------------------- tools


def owner_of(port: int, pids: set[int]) -> int:
    """Which of these processes has a connection from this local port."""
    for pid in pids:
        lines = [line.split() for line in Path(f"/proc/{pid}/net/tcp").read_text().splitlines()[1:]]
        inodes = {line[9] for line in lines if int(line[1].rpartition(":")[2], 16) == port}
        for descriptor in Path(f"/proc/{pid}/fd").iterdir():
            if os.readlink(descriptor) in {f"socket:[{inode}]" for inode in inodes}:
                return pid
    raise AssertionError(f"none of {pids} has port {port}")


async def tool_pids() -> set[int]:
    """The processes of both ToolActors."""
    pool = serve.get_deployment_handle(TOOL_ACTOR, app_name="default")

    async def both() -> set[int]:
        async with asyncio.timeout(LIMIT_S):
            found = {await pool.pid.remote() for _ in range(12)}
        return found if len(found) == 2 else set()

    return await eventually(both, "two ToolActors", timeout_s=60.0)


async def test_a_tool_actor_that_is_killed_while_it_books_has_booked_once_and_the_caller_is_told_the_truth(
    bench: Bench, trials: Trials
) -> None:
    for row in trials.of("ToolActor killed, mid-booking"):
        pids, day = await tool_pids(), a_tuesday()
        async with held_day(bench, day):
            talk = await bench.dial(books(BOOKED), *books_at(day, "09:00"))
            [port] = await waiting_bookings(bench, 1)
            working = owner_of(port, pids)
            os.kill(working, signal.SIGKILL)
            await asked_again(bench, talk)

        await talk.ended()
        note_heard(row, talk, [*GREETING, "Let me see.", BOOKED])
        assert await note_bookings(bench, row, [talk]) == [1]
        heard_all_once(talk, [*GREETING, "Let me see.", BOOKED])
        in_one_stream(talk)
        [returned] = await bench.events(talk.sid, "tool_returned")
        assert returned["pid"] in pids - {working}


async def asked_again(bench: Bench, talk: Talk) -> None:
    """Waits until another replica works on the call's booking: it waits for the first, which has the call's row."""

    async def look() -> bool:
        rows = await bench.rows("SELECT wait_event FROM pg_stat_activity WHERE wait_event_type = 'Lock'")
        return len(rows) >= 2

    await eventually(look, "a second attempt to book")


# ---------------------------------------------------------------- what no CallActor can run


async def test_a_call_that_nobody_can_run_is_told_so_and_put_through(bench: Bench, trials: Trials) -> None:
    for row in trials.of("session unreadable, then host killed", "an apology, then the fallback"):
        await spares(bench)
        moments = Moments()

        async def person(c: Caller, moments: Moments = moments) -> None:
            await c.hears("help you today?")
            moments.reached("greeted")
            await c.ended()

        talk = await bench.dial(person)
        await moments.all(1, "greeted")
        victim = await busiest(bench, [talk], lambda one: one.host_pid)
        await bench.poison(talk.sid)

        victim.strike()

        await talk.ended()
        note_heard(row, talk, [*GREETING, phrases.UNAVAILABLE_DIALLING])
        heard_all_once(talk, [*GREETING, phrases.UNAVAILABLE_DIALLING])
        assert [event.detail["number"] for event in talk.call.journal.all("dial")] == [FALLBACK]
        assert talk.call.journal.all("say") == []
