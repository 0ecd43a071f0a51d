"""`python -m bench.soak` (`make soak`): short calls by the thousand, and whether the memory of any process grows.

Calls end in all the ways of `bench.short_calls`, in rounds; between rounds no call is left, and each process of the
app is looked at. After the first round it may grow by `GROWTH`, and no more.
"""

import argparse
import asyncio
import contextlib
import itertools
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from socket import socket

import httpx2
from rich.console import Console
from rich.table import Table

from bench.held import Process, processes_of
from bench.short_calls import ShortCalls
from engine.settings import load_settings
from launcher.app import RunningApp, running_app
from launcher.ports import free_ports
from local.serving import bound, serving_on
from simulators.marks import MarksDelays
from simulators.twilio import SimTwilio
from simulators.vendors import CarServer, ModelServer, Speech

ACCOUNT, AUTH_TOKEN = "AC" + "1" * 32, "soak-auth-token"
ROUND = 200
GROWTH = 0.02
GRAIN_KB = 1024
"""Less than that is how an allocator breathes: 2 % of a process as small as HAProxy would be a few pages."""
SESSION_TTL_S = 60  # sessions of finished calls are Redis's to forget
QUIET_LIMIT_S = 60.0


@dataclass(frozen=True)
class History:
    """One process that was there to the end, from the first round that it was there for."""

    pid: int
    role: str
    memory_kb: tuple[int, ...]

    @property
    def growth_kb(self) -> int:
        """From its first round to its last."""
        return self.memory_kb[-1] - self.memory_kb[0]

    @property
    def leaks(self) -> bool:
        """Whether it has grown by more than it may."""
        return self.growth_kb > max(GRAIN_KB, GROWTH * self.memory_kb[0])


def histories(rounds: list[dict[int, Process]]) -> list[History]:
    """What became of the processes, by role."""
    found = []
    for pid, process in rounds[-1].items():
        found.append(History(pid, process.role, tuple(one[pid].memory_kb for one in rounds if pid in one)))
    return sorted(found, key=lambda one: (one.role, one.pid))


def went(rounds: list[dict[int, Process]]) -> list[str]:
    """Roles of which a process was there in one round and not in the next: nothing of a soak ends any."""
    return sorted(
        before[pid].role
        for before, after in itertools.pairwise(rounds)
        for pid in before.keys() - after.keys()
    )


@contextlib.contextmanager
def _app(vendors: list[socket], directory: Path) -> Iterator[RunningApp]:
    """The app as it is shipped, with these vendors."""
    speech, model, cars = (f"http://127.0.0.1:{one.getsockname()[1]}" for one in vendors)
    [port] = free_ports(1)
    settings = load_settings(
        _env_file=None,
        port=port,
        base_url="",
        database_url="",
        redis_url="",
        deepgram_api_key="key",
        deepgram_base_url=speech,
        openai_api_key="key",
        openai_base_url=f"{model}/v1",
        nhtsa_base_url=f"{cars}/api/vehicles",
        twilio_account_sid=ACCOUNT,
        twilio_auth_token=AUTH_TOKEN,
        transfer_number="+13125550177",
        dealership_name="Elm",
        session_ttl_s=SESSION_TTL_S,
    )
    with running_app(settings, directory=directory, control_loop_s=0.5) as app:
        yield app


async def _soak(
    app: RunningApp, listening: list[socket], calls: int, lines: int, console: Console
) -> list[dict[int, Process]]:
    """Makes the calls; what the processes were after each round."""
    speech, model, cars = Speech(), ModelServer(), CarServer()
    speech.delays = MarksDelays(final_s=0.1, first_audio_s=0.05)
    async with contextlib.AsyncExitStack() as running:
        for at, served in zip(listening, (speech.app, model.app, cars.app), strict=True):
            await running.enter_async_context(serving_on(at, served))
        twilio = await running.enter_async_context(SimTwilio(AUTH_TOKEN, ACCOUNT))
        return await _rounds(app, ShortCalls(app.url, twilio, model, cars), calls, lines, console)


async def _rounds(
    app: RunningApp, short_calls: ShortCalls, calls: int, lines: int, console: Console
) -> list[dict[int, Process]]:
    rounds = []
    for done in range(ROUND, calls + 1, ROUND):
        began = time.monotonic()
        await short_calls.run(ROUND, lines)
        await _quiet(app)
        rounds.append(processes_of(str(app.run_dir)))
        total_mb = sum(one.memory_kb for one in rounds[-1].values()) / 1024
        console.print(f"{done} calls: {total_mb:.0f} MB, {time.monotonic() - began:.0f} s")
    return rounds


async def _quiet(app: RunningApp) -> None:
    """Waits until no call is live."""
    async with httpx2.AsyncClient(trust_env=False) as client, asyncio.timeout(QUIET_LIMIT_S):
        while True:
            if not (await client.get(f"{app.url}/calls")).raise_for_status().json()["calls"]:
                return
            await asyncio.sleep(0.1)


def table(processes: list[History]) -> Table:
    """A line for each process."""
    shown = Table(title="Anonymous memory of each process while there is no call, MB")
    for name in ("process", "pid", f"after {ROUND} calls", "half way", "at the end", "growth", ""):
        shown.add_column(name, justify="left" if name in ("process", "") else "right")
    for one in processes:
        first, half, last = (one.memory_kb[at] / 1024 for at in (0, len(one.memory_kb) // 2, -1))
        shown.add_row(
            one.role,
            str(one.pid),
            *(f"{mb:.1f}" for mb in (first, half, last)),
            f"{one.growth_kb / one.memory_kb[0]:+.1%}",
            "grows" if one.leaks else "flat",
        )
    return shown


def main() -> None:
    """Ends with 1 if a process has grown, or has ended."""
    parser = argparse.ArgumentParser(prog="bench.soak", description=__doc__)
    parser.add_argument("--calls", type=int, default=2000)
    parser.add_argument("--lines", type=int, default=20, help="calls at once")
    options = parser.parse_args()
    if options.calls < 2 * ROUND:
        parser.error(f"--calls {options.calls}: what grows is seen after two rounds of {ROUND}")
    console = Console(width=120)
    with contextlib.ExitStack() as running:
        directory = Path(running.enter_context(tempfile.TemporaryDirectory(prefix="soak-")))
        listening = [running.enter_context(bound()) for _ in range(3)]
        console.print("Starting the app ...")
        app = running.enter_context(_app(listening, directory))
        rounds = asyncio.run(_soak(app, listening, options.calls, options.lines, console))
    processes = histories(rounds)
    console.print(table(processes))
    ended = went(rounds)
    if ended:
        console.print(f"Ended between rounds: {', '.join(ended)}")
    raise SystemExit(bool(ended) or any(one.leaks for one in processes))


if __name__ == "__main__":
    main()
