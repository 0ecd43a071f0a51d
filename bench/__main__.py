"""`python -m bench` (`make bench`): what a call costs, and how long the engine keeps a caller waiting."""

import argparse
import asyncio
import contextlib
import datetime as dt
import json
import tempfile
from collections.abc import AsyncIterator
from pathlib import Path
from time import monotonic

from rich.console import Console

from bench.load import Load, Measured
from bench.report import Stage, as_json, show
from bench.targets import ACCOUNT, AUTH_TOKEN, Target, Vendors, engine, floor
from bench.usage import Usage, usage_of
from bench.vendors import BenchModel, BenchSpeech
from launcher.ports import free_ports
from local.serving import bound, serving_on
from simulators.twilio import SimTwilio
from simulators.vendors import CarServer

SETTLE_S = 5.0  # after the start, until imports and first connections are over
RESULTS = Path(".trunkline") / "bench.json"


async def measure(options: argparse.Namespace, console: Console) -> list[Stage]:
    """All stages of all targets."""
    stages: list[Stage] = []
    speech, model = BenchSpeech(), BenchModel()
    async with _listening(speech, model) as vendors:
        for name in options.targets:
            [port] = free_ports(1)
            with contextlib.ExitStack() as running:
                directory = Path(running.enter_context(tempfile.TemporaryDirectory(prefix="bench-")))
                console.print(f"Starting: {name} ...")
                target = running.enter_context(
                    floor(vendors, port)
                    if name == "floor"
                    else engine(
                        vendors,
                        port,
                        directory,
                        placement=options.placement,
                        calls_per_host=options.calls_per_host,
                    )
                )
                mine = await _stages(target, speech, model, options, console)
            show(console, mine)
            stages += mine
    return stages


@contextlib.asynccontextmanager
async def _listening(speech: BenchSpeech, model: BenchModel) -> AsyncIterator[Vendors]:
    with contextlib.ExitStack() as held:
        sockets = [held.enter_context(bound()) for _ in range(3)]
        at = [f"http://127.0.0.1:{one.getsockname()[1]}" for one in sockets]
        async with (
            serving_on(sockets[0], speech.app),
            serving_on(sockets[1], model.app),
            serving_on(sockets[2], CarServer().app),
        ):
            yield Vendors(at[0], f"{at[1]}/v1", f"{at[2]}/api/vehicles")


async def _stages(
    target: Target, speech: BenchSpeech, model: BenchModel, options: argparse.Namespace, console: Console
) -> list[Stage]:
    await asyncio.sleep(SETTLE_S)
    before = usage_of(target.mark, monotonic())
    await asyncio.sleep(options.idle_s)
    stages = [Stage(target.name, 0, before, usage_of(target.mark, monotonic(), memory=True))]
    for calls in options.calls:
        console.print(f"{target.name}: {calls} calls at once ...")
        stages.append(await _stage(target, speech, model, calls, options))
    return stages


async def _stage(
    target: Target, speech: BenchSpeech, model: BenchModel, calls: int, options: argparse.Namespace
) -> Stage:
    monday = dt.datetime.now(dt.UTC).date()
    monday += dt.timedelta(days=7 - monday.weekday())
    usages: list[Usage] = []

    async def meter() -> None:
        """While all calls are up: they begin within the ramp, and none ends for good before the window does."""
        await asyncio.sleep(options.ramp_s)
        usages.append(usage_of(target.mark, monotonic()))
        await asyncio.sleep(options.window_s)
        usages.append(usage_of(target.mark, monotonic(), memory=True))

    async with SimTwilio(AUTH_TOKEN, ACCOUNT) as twilio:
        load = Load(target.url, twilio, speech, model, monday.isoformat())
        measured: Measured
        measured, _ = await asyncio.gather(load.run(calls, options.ramp_s, options.window_s), meter())
    return Stage(target.name, calls, usages[0], usages[1], measured)


def main() -> None:
    """Ends with 1 if a call went wrong."""
    parser = argparse.ArgumentParser(prog="bench", description=__doc__)
    numbers = {"type": lambda text: [int(number) for number in text.split(",")]}
    parser.add_argument("--calls", **numbers, default=[1, 10, 25, 50], help="calls at once, stage by stage")
    parser.add_argument("--targets", nargs="+", choices=("engine", "floor"), default=["floor", "engine"])
    parser.add_argument("--placement", choices=("split", "packed"), default="split")
    parser.add_argument("--calls-per-host", type=int, default=64)
    parser.add_argument("--ramp-s", type=float, default=25.0, help="in which the calls of a stage begin")
    parser.add_argument("--window-s", type=float, default=45.0, help="in which CPU is measured")
    parser.add_argument("--idle-s", type=float, default=20.0)
    options = parser.parse_args()
    console = Console(width=160)
    stages = asyncio.run(measure(options, console))
    RESULTS.parent.mkdir(exist_ok=True)
    RESULTS.write_text(json.dumps(as_json(stages), indent=2))
    console.print(f"All figures: {RESULTS}")
    raise SystemExit(any(stage.measured.wrong for stage in stages))


if __name__ == "__main__":
    main()
