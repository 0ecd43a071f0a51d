"""`python -m bench` (`make bench`): what a call costs, and how long the engine keeps a caller waiting."""

import argparse
import asyncio
import contextlib
import datetime as dt
import gc
import os
import platform
from collections.abc import AsyncIterator, Callable
from importlib.metadata import version
from pathlib import Path

import uvloop
from rich.console import Console

from bench.load import CALLS_PER_S
from bench.measure import Bench, Plan
from bench.peers.front import front
from bench.report import KEPT, ROOT, keep, show
from bench.results import NAMES, Run, store
from bench.targets import PEERS, Vendors
from bench.vendors import BenchModel, BenchSpeech
from local.serving import bound, serving_on
from simulators.vendors import CarServer

WINDOW_S = 40.0  # longer than a call, so that as many begin in it and are interrupted as should
LAST = ROOT / ".trunkline" / "bench"


async def measure(options: argparse.Namespace, console: Console) -> list[Run]:
    """All targets, one after the other."""
    runs: list[Run] = []
    async with listening(lambda text: console.print(text, highlight=False)) as bench:
        for name in options.targets:
            gc.collect()
            gc.freeze()  # what is here stays: no need to look through it while callers wait
            target = await bench.measure(name, _version(name), _plan(name, options))
            show(console, [target])
            runs.append(Run(f"{dt.datetime.now(dt.UTC):%-d %B %Y}", _machine(), target))
            store(runs[-1], LAST)
    return runs


def _plan(name: str, options: argparse.Namespace) -> Plan:
    """A process for each call is isolation, not density: few calls, as slowly as processes start, say what it costs."""
    if name == "host-per-call":
        few = [count for count in options.calls if count <= 10]
        return Plan(few, options.window_s, options.idle_s, climbs=False, calls_per_s=0.4)
    climbs = options.climb and name != "floor"
    return Plan(options.calls, options.window_s, options.idle_s, climbs, CALLS_PER_S)


@contextlib.asynccontextmanager
async def listening(say: Callable[[str], None]) -> AsyncIterator[Bench]:
    """Vendors that listen."""
    speech, model = BenchSpeech(), BenchModel()
    with contextlib.ExitStack() as held:
        sockets = [held.enter_context(bound()) for _ in range(3)]
        at = [f"http://127.0.0.1:{one.getsockname()[1]}" for one in sockets]
        async with (
            serving_on(sockets[0], front(speech)),
            serving_on(sockets[1], model.app),
            serving_on(sockets[2], CarServer().app),
        ):
            yield Bench(Vendors(at[0], f"{at[1]}/v1", f"{at[2]}/api/vehicles"), speech, model, say)


def _version(name: str) -> str:
    if name == "floor":
        return f"uvicorn {version('uvicorn')}, no Ray"
    if name == "pipecat":
        [found] = PEERS.glob("lib/python*/site-packages/pipecat_ai-*.dist-info")
        return found.name.removeprefix("pipecat_ai-").removesuffix(".dist-info")
    return f"{version('trunkline')}, Ray {version('ray')}"


def _numbers(text: str) -> list[int]:
    return [int(number) for number in text.split(",")]


def _machine() -> str:
    """What a reader has to know of the machine."""
    model = "unknown"
    with contextlib.suppress(OSError):
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        model = next(
            (line.partition(":")[2].strip() for line in lines if line.startswith("model name")), model
        )
    return f"{os.cpu_count()} CPUs ({model}), Python {platform.python_version()}"


def main() -> None:
    """Ends with 1 if a call went wrong."""
    parser = argparse.ArgumentParser(prog="bench", description=__doc__)
    parser.add_argument(
        "--calls", type=_numbers, default=[1, 10, 25, 50], help="calls at once, stage by stage"
    )
    parser.add_argument("--targets", nargs="+", choices=NAMES, default=list(NAMES[:4]))
    parser.add_argument("--window-s", type=float, default=WINDOW_S, help="in which each stage is measured")
    parser.add_argument("--idle-s", type=float, default=10.0)
    parser.add_argument("--climb", action="store_true", help="also as many calls as hold")
    parser.add_argument("--write", action="store_true", help="keep it in bench/results and bench/README.md")
    options = parser.parse_args()
    console = Console(width=200)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runs = runner.run(measure(options, console))
    if len(runs) > 1:
        show(console, [run.target for run in runs])
    if options.write:
        keep(runs)
    console.print(f"All figures: {KEPT if options.write else LAST}")
    raise SystemExit(any(stage.wrong for run in runs for stage in run.target.stages))


if __name__ == "__main__":
    main()
