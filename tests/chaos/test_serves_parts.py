"""What is Serve's own is killed: HAProxy, which cuts all calls at once, and the controller, which nobody notices."""

import asyncio
import contextlib
import os
import signal
import time
from pathlib import Path

import httpx2
import pytest
from ray import serve
from ray.exceptions import RayError

from launcher import processes
from simulators.caller import Caller
from simulators.holding import holding
from simulators.model import says
from tests.chaos.test_hosts import BOOKED, books, books_at
from tests.chaos.test_replicas import (
    AGAIN,
    APOLOGY,
    CALLS,
    STORY,
    apology_of,
    tool_pids,
    went_on_in_a_new_stream,
)
from tests.chaos.trials import Trials
from tests.chaos.victims import (
    GREETING,
    Moments,
    Script,
    a_tuesday,
    heard,
    heard_all_once,
    heard_in_order,
    in_one_stream,
    note_bookings,
    note_heard,
    spares,
)
from tests.whole.bench import Bench, eventually
from tests.whole.test_haproxy import REPLICA, haproxy_says

pytestmark = [pytest.mark.whole, pytest.mark.asyncio(loop_scope="session")]

HAPROXY_LIMIT_S = 40.0  # ten times what was measured


async def haproxy_pid(bench: Bench) -> int:
    """Serve's HAProxy, once it knows all replicas: until then it is replaced again."""

    async def look() -> int | None:
        with contextlib.suppress(OSError):
            if (await haproxy_says(bench, "show stat")).count(REPLICA) == bench.app.settings.ingress_replicas:
                told = (await haproxy_says(bench, "show info")).splitlines()
                return next(int(line.split()[1]) for line in told if line.startswith("Pid:"))
        return None

    return await eventually(look, "an HAProxy that knows all replicas")


def is_cut_off(moments: Moments) -> Script:
    async def person(c: Caller) -> None:
        await c.hears("help you today?")
        await c.quiet(0.2)
        await c.say("Tell me a story")
        await c.hears("was cold")
        moments.reached("sentence")
        await c.hears("say that again?")
        await c.quiet(0.2)
        await c.say("What was it")
        await c.hears("was a story.")
        await c.quiet(0.2)

    return person


async def hangs_up_once_greeted(c: Caller) -> None:
    await c.hears("help you today?")
    await c.quiet(0.2)


async def test_calls_go_on_and_others_come_when_haproxy_is_killed(bench: Bench, trials: Trials) -> None:
    rules = says(STORY, user="tell me"), says(AGAIN, user="what was")
    for row in trials.of("HAProxy killed", "the sentence cut, an apology, then every sentence"):
        await spares(bench)
        pid = await haproxy_pid(bench)
        moments = Moments()
        person = is_cut_off(moments)
        async with holding(bench.app.settings.port) as front:
            talks = list(
                await asyncio.gather(*(bench.dial(person, *rules, base=front) for _ in range(CALLS)))
            )
            await moments.all(CALLS, "sentence")

            struck_s = time.monotonic()
            os.kill(pid, signal.SIGKILL)

            new = await bench.dial(hangs_up_once_greeted, base=front)
            for talk in [*talks, new]:
                await talk.ended()
        for talk in talks:
            note_heard(row, talk, [*GREETING, *APOLOGY, AGAIN], cuts=1)
        note_heard(row, new, [*GREETING])
        took_s = [apology_of(talk).began_at - struck_s for talk in talks]
        row.recovered_s += took_s
        new_s = heard(new)[0].began_at - struck_s
        print(
            f"{len(talks)} calls, the apology after {[f'{s:.2f}' for s in took_s]} s; a new one {new_s:.2f} s"
        )
        assert max(*took_s, new_s) < HAPROXY_LIMIT_S
        heard_in_order(new, [*GREETING])
        in_one_stream(new)
        for talk in talks:
            await went_on_in_a_new_stream(bench, talk)


# ---------------------------------------------------------------- the controller


def controller_pids(bench: Bench) -> set[int]:
    """Serve's controller."""
    ours = processes.find_writers(bench.app.run_dir)
    return {pid for pid in ours if processes.alive(pid) and title(pid).startswith("ray::ServeController")}


def title(pid: int) -> str:
    """What the process calls itself."""
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/cmdline").read_text()
    return ""


async def controller_is_back(bench: Bench, killed: set[int]) -> bool:
    """Whether there is another, and it has found all that runs."""
    if not controller_pids(bench) - killed:
        return False
    try:
        app = (await asyncio.to_thread(serve.status)).applications["default"]
    except (RayError, KeyError):
        return False
    return app.status == "RUNNING" and all(one.status == "HEALTHY" for one in app.deployments.values())


def hears_a_story(moments: Moments) -> Script:
    async def person(c: Caller) -> None:
        await c.hears("help you today?")
        await c.quiet(0.2)
        await c.say("Tell me a story")
        await c.hears("was cold")
        moments.reached("sentence")
        await c.hears("would not start.")
        await c.quiet(0.2)

    return person


async def test_nobody_notices_that_serves_controller_is_killed(bench: Bench, trials: Trials) -> None:
    for row in trials.of("Serve's controller killed"):
        replicas, tools, day = await spares(bench), await tool_pids(), a_tuesday()
        moments = Moments()
        story = says(STORY, user="tell me")
        early = [await bench.dial(hears_a_story(moments), story) for _ in range(2)]
        await moments.all(len(early), "sentence")
        struck_s, killed = time.monotonic(), controller_pids(bench)
        [pid] = killed

        os.kill(pid, signal.SIGKILL)

        late = [await bench.dial(books(BOOKED), *books_at(day, at)) for at in ("09:00", "10:00")]
        asked = await healthy_until_controlled(bench, killed)
        print(
            f"the controller was back after {time.monotonic() - struck_s:.1f} s; {asked} requests meanwhile"
        )
        heard_by = [(talk, [*GREETING, STORY]) for talk in early]
        heard_by += [(talk, [*GREETING, "Let me see.", BOOKED]) for talk in late]
        for talk, expected in heard_by:
            await talk.ended()
            note_heard(row, talk, expected)
        assert await note_bookings(bench, row, late) == [1, 1]
        for talk, expected in heard_by:
            heard_all_once(talk, expected)
            in_one_stream(talk)
            assert await bench.events(talk.sid, "call_resumed") == []
        assert (await spares(bench), await tool_pids()) == (replicas, tools)


async def healthy_until_controlled(bench: Bench, killed: set[int]) -> int:
    """Asks again and again, on connections of their own as calls come, until there is another controller; how often."""
    asked = 0
    alone = httpx2.Limits(max_keepalive_connections=0)
    async with httpx2.AsyncClient(base_url=bench.app.url, limits=alone, trust_env=False) as client:

        async def look() -> bool:
            nonlocal asked
            asked += 1
            assert (await client.get("/healthz")).status_code == httpx2.codes.OK
            return await controller_is_back(bench, killed)

        await eventually(look, "another controller", timeout_s=60.0)
    return asked
