"""One target, from its start to its end: idle, some numbers of calls, as many as hold, and the same on one core."""

import asyncio
import contextlib
import datetime as dt
import os
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import msgspec

from bench.climb import climb, steps_from
from bench.load import Load, Window
from bench.results import Climb, Stage, Target, spread_of
from bench.ringing import ringing
from bench.targets import ACCOUNT, AUTH_TOKEN, ENGINE, Running, Vendors, running
from bench.usage import APART, pin, pinned_here, usage_of
from bench.vendors import BenchModel, BenchSpeech
from launcher.ports import free_ports
from simulators.twilio import SimTwilio

SETTLE_S = 5.0  # after the start, until imports and first connections are over
CLIMB_WINDOW_S = 12.0
TARGET_CPU, OWN_CPU = 0, 1

T = TypeVar("T")


@dataclass(frozen=True)
class Plan:
    """What is to be measured. `climbs`: also as many calls as hold, with all cores and then with one.

    `calls_per_s`: how fast calls are added.
    """

    calls: list[int]
    window_s: float
    idle_s: float
    climbs: bool
    calls_per_s: float


@dataclass(frozen=True)
class Bench:
    """Vendors that listen; `say` tells whoever waits how far it is."""

    vendors: Vendors
    speech: BenchSpeech
    model: BenchModel
    say: Callable[[str], None]

    async def measure(self, name: str, version: str, plan: Plan) -> Target:
        """All that the plan wants to know of this target."""
        async with self._started(name) as target:
            _, cores, mb = await _metered(target, asyncio.sleep(plan.idle_s))
            self.say(f"{name}: calls that ring ...")
            legs = await ringing(target) if name in ENGINE else {}
            stages, shared = await self._stages(target, name, plan)
        found = Target(name, version, APART, [Stage(0, cores, mb, legs), *stages], shared)
        if plan.climbs and shared is None:
            async with self._started(name) as target:
                found = msgspec.structs.replace(
                    found, shared=await self._all_cores(target, name, found, plan)
                )
        shared = found.shared
        if shared is None or (os.cpu_count() or 1) < 2:
            return found
        async with self._started(name) as target:
            return msgspec.structs.replace(found, one_core=await self._one_core(target, name, found, plan))

    async def _stages(self, target: Running, name: str, plan: Plan) -> tuple[list[Stage], Climb | None]:
        """Calls are only ever added, so that no time is lost with ending them; so the climb goes on from the last
        stage, if that was clean. Else there is none yet.
        """
        met: list[tuple[int, Window, dict[str, float], dict[str, float]]] = []
        highest = None
        async with self._load(target, plan) as load:
            for calls in plan.calls:
                self.say(f"{name}: {calls} calls at once ...")
                await load.grow(calls)
                met.append((calls, *await _metered(target, load.watch(plan.window_s))))
            first = plan.calls[-1]
            if plan.climbs and Target(name, "", [], [_stage(load, *one) for one in met]).most_clean == first:
                self.say(f"{name}: as many calls as hold ...")
                highest = await climb(load, steps_from(first, max(1, first // 5)), CLIMB_WINDOW_S)
            await load.finish()
            return [_stage(load, *one) for one in met], highest

    async def _all_cores(self, target: Running, name: str, found: Target, plan: Plan) -> Climb:
        """From the last stage that was clean, to where the next one was not."""
        first = max(1, found.most_clean)
        by = max(1, (min(calls for calls in plan.calls if calls > found.most_clean) - first) // 5)
        self.say(f"{name}: as many calls as hold, from {first} by {by} ...")
        async with self._load(target, plan) as load:
            return await _climb_warm(load, first, by)

    async def _one_core(self, target: Running, name: str, found: Target, plan: Plan) -> Climb:
        """All processes of the target on one core, Postgres and Valkey too; callers and vendors on another."""
        guess = found.calls_of_a_core or 20
        if found.shared is not None and found.shared.held:
            guess = min(guess, 2 * found.shared.held)
        first, by = max(2, guess // 2), max(1, guess // 14)
        threads = pin(target.mark, TARGET_CPU)
        self.say(
            f"{name}: as many calls as one core holds, from {first} by {by}; {threads} threads are there ..."
        )
        with pinned_here(OWN_CPU):
            async with self._load(target, plan) as load:
                return await _climb_warm(load, first, by)

    @contextlib.asynccontextmanager
    async def _started(self, name: str) -> AsyncIterator[Running]:
        """Started and ended in a thread: while it warms up, the vendors have to answer."""
        self.say(f"{name}: starts ...")
        [port] = free_ports(1)
        with tempfile.TemporaryDirectory(prefix="bench-", ignore_cleanup_errors=True) as directory:
            context = running(name, self.vendors, port, Path(directory))
            target = await asyncio.to_thread(context.__enter__)
            try:
                await asyncio.sleep(SETTLE_S)
                yield target
            finally:
                await asyncio.to_thread(context.__exit__, None, None, None)

    @contextlib.asynccontextmanager
    async def _load(self, target: Running, plan: Plan) -> AsyncIterator[Load]:
        today = dt.datetime.now(dt.UTC).date()
        monday = today + dt.timedelta(days=7 - today.weekday())
        async with (
            SimTwilio(AUTH_TOKEN, ACCOUNT) as twilio,
            Load(target.url, twilio, self.speech, self.model, monday.isoformat(), plan.calls_per_s) as load,
        ):
            yield load


async def _climb_warm(load: Load, first: int, by: int) -> Climb:
    """A target that was just started has had a first call, which may load what others find, before it is judged."""
    await load.grow(1)
    await load.watch(CLIMB_WINDOW_S)
    return await climb(load, steps_from(first, by), CLIMB_WINDOW_S)


async def _metered(target: Running, work: Awaitable[T]) -> tuple[T, dict[str, float], dict[str, float]]:
    """What the work returned, the cores that the target's roles used meanwhile, and their memory afterwards."""
    before = await asyncio.to_thread(usage_of, target.mark)
    result = await work
    after = await asyncio.to_thread(usage_of, target.mark)
    memory = await asyncio.to_thread(usage_of, target.mark, memory=True)
    return result, after.cores_since(before), memory.mb()


def _stage(load: Load, calls: int, window: Window, cores: dict[str, float], mb: dict[str, float]) -> Stage:
    seen = load.seen(window)
    return Stage(
        calls,
        cores,
        mb,
        {leg: spread_of(values) for leg, values in seen.legs.items()},
        seen.calls,
        len(seen.gaps),
        len(seen.wrong),
        [*seen.gaps[:5], *seen.wrong[:5]],
        round(seen.own_core, 3),
        spread_of(seen.own_lag_ms),
        round(window.ended - window.began, 1),
    )
