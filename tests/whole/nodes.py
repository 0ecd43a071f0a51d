"""Apps beside the shared one: each in a process of its own, because Ray runs once in a process."""

import asyncio
import contextlib
import json
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from engine.settings import Settings, load_settings
from launcher.ports import free_ports
from local.serving import bound, serving_on
from simulators.vendors import CarServer, ModelServer, Speech
from tests.whole.bench import USUAL, Bench

START_LIMIT_S = 180.0
ROOT = Path(__file__).resolve().parents[2]


@dataclass(frozen=True)
class Node:
    """A running app; `settings` hold the addresses of all that it uses, `run_dir` marks its processes."""

    url: str
    settings: Settings
    run_dir: Path


@contextlib.asynccontextmanager
async def node_bench(chosen: dict[str, Any], directory: Path) -> AsyncIterator[Bench]:
    """An app with `USUAL` settings but these, ready for calls, with vendors of its own; gone at the end."""
    with contextlib.ExitStack() as held:
        speech, model, cars = (held.enter_context(bound()) for _ in range(3))
        addresses = {
            "deepgram_base_url": f"http://127.0.0.1:{speech.getsockname()[1]}",
            "openai_base_url": f"http://127.0.0.1:{model.getsockname()[1]}/v1",
            "nhtsa_base_url": f"http://127.0.0.1:{cars.getsockname()[1]}/api/vehicles",
            "port": free_ports(1)[0],
        }
        async with _node(USUAL | addresses | chosen, directory) as node:
            bench = Bench(node, Speech(), ModelServer(), CarServer())
            async with (
                serving_on(speech, bench.speech.app),
                serving_on(model, bench.model.app),
                serving_on(cars, bench.cars.app),
            ):
                await bench.open()
                yield bench
                await bench.close()


@contextlib.asynccontextmanager
async def _node(chosen: dict[str, Any], directory: Path) -> AsyncIterator[Node]:
    given = json.dumps({k: v for k, v in chosen.items() if k != "_env_file"} | {"directory": str(directory)})
    with (directory / "stderr.log").open("w") as errors:
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "bench.node", given, cwd=ROOT, stdin=PIPE, stdout=PIPE, stderr=errors
        )
    try:
        assert process.stdout is not None
        line = await asyncio.wait_for(process.stdout.readline(), START_LIMIT_S)
        assert line, (directory / "stderr.log").read_text()[-2000:]
        told = json.loads(line)
        url, run_dir = told.pop("url"), Path(told.pop("run_dir"))
        yield Node(url, load_settings(**(chosen | told)), run_dir)
    finally:
        await _ended(process)


async def _ended(process: Process) -> None:
    """Its input ends, and so does it."""
    assert process.stdin is not None
    process.stdin.close()
    try:
        await asyncio.wait_for(process.wait(), START_LIMIT_S)
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
