"""`python -m bench` (`make bench`): what a call costs, and how long the engine keeps a caller waiting."""

import argparse
import asyncio
import contextlib
import datetime as dt
import json
import os
import secrets
import socket
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from time import monotonic
from typing import Any

from bench.load import LEGS, Load, Measured, Window
from bench.usage import MARK, NOT_COUNTED, Usage, usage_of
from bench.vendors import BenchModel, BenchSpeech
from simulators.twilio import SimTwilio
from tests.whole.vendors import CarServer, listening

ACCOUNT, AUTH_TOKEN = "AC" + "1" * 32, "bench-auth-token"
READY_S = 120.0


class Metered(Window):
    """What the tree used while all calls were up."""

    def __init__(self, mark: str) -> None:
        self._mark = mark

    def begins(self, live: int) -> None:
        self.first = usage_of(self._mark, monotonic())

    def ends(self, live: int) -> None:
        self.last = usage_of(self._mark, monotonic(), memory=True)

    @property
    def seconds(self) -> float:
        return self.last.at - self.first.at

    def cpu(self) -> dict[str, float]:
        """Cores used, by role."""
        return {
            role: (self.last.cpu_s[role] - self.first.cpu_s.get(role, 0.0)) / self.seconds for role in self.last.cpu_s
        }


@contextlib.contextmanager
def engine(settings: dict[str, Any], mark: str, cpus: str = "") -> Iterator[dict[str, Any]]:
    """The app in a process tree of its own."""
    command = [sys.executable, "-m", "bench.node", json.dumps(settings)]
    if cpus:
        command = ["taskset", "-c", cpus, *command]
    node = subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env={**os.environ, MARK: mark}
    )
    try:
        assert node.stdout is not None
        line = node.stdout.readline()
        if not line:
            raise SystemExit("the engine did not start")
        yield json.loads(line)
    finally:
        assert node.stdin is not None
        node.stdin.close()
        node.wait(READY_S)


async def measure(options: argparse.Namespace) -> None:
    with contextlib.ExitStack() as held:
        sockets = [held.enter_context(socket.socket()) for _ in range(4)]
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        speech, model, cars, own = (one.getsockname()[1] for one in sockets)
        sockets[3].close()
        directory = held.enter_context(tempfile.TemporaryDirectory(prefix="bench-"))
        mark = secrets.token_hex(8)
        settings = dict(
            directory=directory,
            port=own,
            base_url="",
            database_url="",
            redis_url="",
            deepgram_api_key="key",
            deepgram_base_url=f"http://127.0.0.1:{speech}",
            openai_api_key="key",
            openai_base_url=f"http://127.0.0.1:{model}/v1",
            nhtsa_base_url=f"http://127.0.0.1:{cars}/api/vehicles",
            twilio_account_sid=ACCOUNT,
            twilio_auth_token=AUTH_TOKEN,
            dealership_name="Elm",
            ingress_replicas=options.replicas,
            tool_replicas=2,
            log_level=options.log_level,
        )
        bench_speech, bench_model, bench_cars = BenchSpeech(), BenchModel(), CarServer()
        async with (
            listening(bench_speech.app, sockets[0]),
            listening(bench_model.app, sockets[1]),
            listening(bench_cars.app, sockets[2]),
        ):
            with engine(settings, mark) as ready:
                await asyncio.sleep(5.0)
                await idle(mark, options.idle_s)
                for calls in options.calls:
                    await stage(ready["url"], bench_speech, bench_model, mark, calls, options)


def threads(pid: int) -> dict[str, float]:
    found = {}
    for t in Path(f"/proc/{pid}/task").glob("*"):
        f = (t / "stat").read_text().rpartition(")")[2].split()
        found[(t / "comm").read_text().strip() + t.name] = (int(f[11]) + int(f[12])) / 100
    return found


async def idle(mark: str, seconds: float) -> None:
    meter = Metered(mark)
    meter.begins(0)
    await asyncio.sleep(seconds)
    meter.ends(0)
    show(0, meter, None)


async def stage(
    url: str, speech: BenchSpeech, model: BenchModel, mark: str, calls: int, options: argparse.Namespace
) -> None:
    date = (dt.date.today() + dt.timedelta(days=7 - dt.date.today().weekday())).isoformat()
    async with SimTwilio(AUTH_TOKEN, ACCOUNT) as twilio:
        load = Load(url, twilio, speech, model, date)
        meter = Metered(mark)
        profile = None
        if options.profile and calls == options.calls[-1]:
            profile = options.profile
        task = asyncio.create_task(load.run(calls, options.ramp_s, options.window_s, meter))
        if profile:
            await asyncio.sleep(options.ramp_s + 2)
            for role in profile.split(","):
                pids = usage_of(mark, 0.0).pids[role]
                pid = max(pids, key=lambda p: sum(threads(p).values()))
                before, at = threads(pid), monotonic()
                await asyncio.sleep(5)
                gone = monotonic() - at
                after = threads(pid)
                print(role, {k: round(100 * (v - before.get(k, 0)) / gone, 1) for k, v in after.items() if v - before.get(k, 0) > 0.02 * gone})
                await (
                    await asyncio.create_subprocess_exec(
                        "py-spy", "record", "-p", str(pid), "-d", str(int(options.window_s / 2)), "-r", "300", "--gil", "-f", "raw", "-o", f"/tmp/prof-{role}.txt"
                    )
                ).wait()
        measured = await task
    show(calls, meter, measured)


def percentile(values: list[float], share: float) -> float:
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))] if ordered else float("nan")


def show(calls: int, meter: Metered, measured: Measured | None) -> None:
    cpu = meter.cpu()
    counted = sum(v for r, v in cpu.items() if r not in NOT_COUNTED)
    print(f"\n== {calls} calls: {100 * counted:.1f} % of a core", f"= {1000 * counted / calls:.1f} ms/call-s" if calls else "")
    print("  cpu %:", {r: round(100 * v, 1) for r, v in sorted(cpu.items(), key=lambda i: -i[1])})
    print("  pss MB:", {r: round(v) for r, v in meter.last.pss_mb.items()}, round(sum(v for r, v in meter.last.pss_mb.items() if r not in NOT_COUNTED)))
    own = os.times()
    print("  own cpu s", own.user + own.system)
    if measured:
        print(f"  {measured.calls} calls, gaps {measured.gaps}, stalls {measured.stalls}")
        for leg in LEGS:
            v = measured.legs[leg]
            print(f"  {leg:22} p50 {percentile(v, .5):7.1f} p95 {percentile(v, .95):7.1f} p99 {percentile(v, .99):7.1f} of {len(v)}")
        for wrong in measured.wrong[:5]:
            print("  !", wrong[:600])
    sys.stdout.flush()


def main() -> None:
    parser = argparse.ArgumentParser(prog="bench", description=__doc__)
    parser.add_argument("--calls", type=lambda t: [int(n) for n in t.split(",")], default=[1, 10, 25, 50])
    parser.add_argument("--ramp-s", type=float, default=15.0)
    parser.add_argument("--window-s", type=float, default=30.0)
    parser.add_argument("--idle-s", type=float, default=10.0)
    parser.add_argument("--replicas", type=int, default=2)
    parser.add_argument("--profile", default="")
    parser.add_argument("--log-level", default="info")
    asyncio.run(measure(parser.parse_args()))


if __name__ == "__main__":
    main()
