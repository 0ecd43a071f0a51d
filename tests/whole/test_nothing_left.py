"""However two hundred calls end, what they needed is given back within moments of their end."""

import asyncio
import os
import signal
import time
from collections import Counter

import msgspec
import pytest
from ray import serve

from bench.held import processes_of
from bench.short_calls import WAYS, ShortCalls
from engine.gauges import Gauges
from serve_app import TOOL_ACTOR
from tests.whole.bench import Bench, eventually

pytestmark = [pytest.mark.whole, pytest.mark.asyncio(loop_scope="session")]

CALLS = 200
FIRST_CALLS = 3 * len(WAYS)  # they fill the pools of connections
LINES = 20
POOLS = LINES
"""How many sockets of one role the first calls may have left unopened in pools, which grow until each call that is up
has one: Redis, NHTSA, the model, HAProxy's. What each call of one kind leaves would be more."""
LIMIT_S = 10.0  # about ten times what was measured

Held = Counter[str]


async def gauges(bench: Bench) -> list[Gauges]:
    """What all replicas and hosts hold, by their own account."""
    found: dict[int, Gauges] = {}
    pool = serve.get_deployment_handle(TOOL_ACTOR, app_name="default")
    settings = bench.app.settings

    async def look() -> bool:
        answer = (await bench.http.get("/gauges")).raise_for_status().json()
        told = msgspec.convert(answer["gauges"], list[Gauges])
        async with asyncio.timeout(LIMIT_S):
            told.append(msgspec.json.decode(await pool.gauges.remote(), type=Gauges))
        found.update((one.pid, one) for one in told)
        roles = Counter(one.role for one in found.values())
        return (roles["ingress"], roles["tools"]) == (settings.ingress_replicas, settings.tool_replicas)

    await eventually(look, "an account of all replicas")
    return list(found.values())


async def held(bench: Bench) -> Held:
    """All that is counted, by role of the processes."""
    now: Held = Counter()
    for process in processes_of(str(bench.app.run_dir)).values():
        now[f"{process.role}: processes"] += 1
        now[f"{process.role}: descriptors"] += process.descriptors
        now[f"{process.role}: sockets"] += process.sockets
    for one in await gauges(bench):
        now[f"{one.role}: actors"] += one.actors
        for task, count in one.tasks.items():
            now[f"{one.role}: {task}"] += count
    [row] = await bench.rows("SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'client backend'")
    now["postgres: connections"] = row["count"]
    now["redis: slots"] = len(await bench.slots())
    now["speech: open streams"] = len(bench.speech.watch.sockets)
    return now


def left(before: Held, now: Held) -> dict[str, str]:
    """What is more than it was."""
    pooled = ("sockets", "descriptors", "connections")
    return {
        what: f"{before[what]} -> {count}"
        for what, count in now.items()
        if count > before[what] + (POOLS if what.endswith(pooled) else 0)
    }


async def kill_a_host(bench: Bench, calls: ShortCalls, after: int) -> None:
    """The one with most calls, when so many calls have been made."""

    async def busiest() -> int:
        if sum(calls.made.values()) < after:
            return 0
        hosts = Counter(one.host_pid for one in await bench.whereabouts() if one.host_pid)
        return hosts.most_common(1)[0][0] if hosts else 0

    os.kill(await eventually(busiest, "a host with calls", timeout_s=90.0), signal.SIGKILL)


async def test_calls_however_they_end_leave_nothing_behind(bench: Bench) -> None:
    calls = ShortCalls(bench.app.url, bench.twilio, bench.model, bench.cars, iter(bench.number, ""))
    await calls.run(FIRST_CALLS, LINES)
    await bench.quiet()
    before = await held(bench)
    calls.made.clear()
    began = time.monotonic()

    await asyncio.gather(calls.run(CALLS, LINES), kill_a_host(bench, calls, after=CALLS // 2))

    ended = time.monotonic()
    assert await bench.kept_for_ever() == []
    still: dict[str, str] = {}

    async def all_given_back() -> bool:
        still.clear()
        still.update(left(before, await held(bench)))
        return not still

    try:
        await eventually(all_given_back, "the end of all that calls need", LIMIT_S)
    except AssertionError as error:
        raise AssertionError(f"{error}: {still}") from None
    print(f"{CALLS} calls in {ended - began:.1f} s, nothing left {time.monotonic() - ended:.2f} s later")
    assert {way.__name__ for way in WAYS} == set(calls.made)
