"""What is measured: the engine in its placements, the floor, a peer; each in a process tree of its own."""

import contextlib
import json
import os
import secrets
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx2

from bench.usage import MARK

ACCOUNT, AUTH_TOKEN = "AC" + "1" * 32, "bench-auth-token"
START_S = 120.0
ROOT = Path(__file__).resolve().parent.parent
PEERS = ROOT / ".trunkline" / "peers"
ENGINE: dict[str, dict[str, Any]] = {
    "split": {"placement": "split"},
    "packed": {"placement": "packed"},
    "host-per-call": {"placement": "split", "calls_per_host": 1},
}
"""The engine's placements, by the settings that make them."""


@dataclass(frozen=True)
class Vendors:
    """Base URLs of the stand-ins."""

    speech: str
    model: str
    cars: str


@dataclass(frozen=True)
class Running:
    """A running target; `mark` names its process tree. `database_url`: where the engine logs."""

    url: str
    mark: str
    database_url: str = ""


@contextlib.contextmanager
def running(name: str, vendors: Vendors, port: int, directory: Path, **more: Any) -> Iterator[Running]:
    """The target of this name, ready for calls; `more` are settings. Raises SystemExit if it does not start."""
    url = f"http://127.0.0.1:{port}"
    if name == "floor":
        command = [sys.executable, "-m", "bench.floor", str(port), vendors.speech, vendors.model]
    elif name == "pipecat":
        bot = ROOT / "bench" / "peers" / "pipecat_bot.py"
        command = [str(PEERS / "bin" / "python"), str(bot), str(port), vendors.speech, vendors.model]
    else:
        settings = _settings(vendors, port, directory) | ENGINE[name] | more
        command = [sys.executable, "-m", "bench.node", json.dumps(settings)]
    with _process(command, directory) as (process, mark):
        database_url = ""
        if name in ENGINE:
            assert process.stdout is not None
            ready = process.stdout.readline()
            if not ready:
                raise SystemExit(f"bench: {name} did not start:\n{_tail(directory)}")
            database_url = json.loads(ready)["database_url"]
        else:
            _wait_for(url, process, name, directory)
        yield Running(url, mark, database_url)


def _settings(vendors: Vendors, port: int, directory: Path) -> dict[str, Any]:
    """The whole app under Ray Serve and HAProxy: two ingress replicas, two tool replicas, hosts as they come."""
    return {
        "directory": str(directory),
        "port": port,
        "base_url": "",
        "database_url": "",
        "redis_url": "",
        "deepgram_api_key": "key",
        "deepgram_base_url": vendors.speech,
        "openai_api_key": "key",
        "openai_base_url": vendors.model,
        "nhtsa_base_url": vendors.cars,
        "twilio_account_sid": ACCOUNT,
        "twilio_auth_token": AUTH_TOKEN,
        "dealership_name": "Elm",
        "capacity": 400,  # the bench finds out how many hold
    }


def _wait_for(url: str, process: "subprocess.Popen[str]", name: str, directory: Path) -> None:
    deadline = time.monotonic() + START_S
    while True:
        with contextlib.suppress(httpx2.TransportError):
            httpx2.get(url, trust_env=False)
            return
        if process.poll() is not None or time.monotonic() > deadline:
            raise SystemExit(f"bench: {name} did not start:\n{_tail(directory)}")
        time.sleep(0.05)


def _tail(directory: Path) -> str:
    return (directory / "stderr.log").read_text(errors="replace")[-2000:]


@contextlib.contextmanager
def _process(command: list[str], directory: Path) -> Iterator[tuple["subprocess.Popen[str]", str]]:
    """A child whose tree is marked; its end is that of its input, or SIGTERM where it does not read any."""
    mark = secrets.token_hex(8)
    with (directory / "stderr.log").open("w") as log:
        process = subprocess.Popen(
            command,
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE if "bench.node" in command else log,
            stderr=log,
            text=True,
            env={**os.environ, MARK: mark},
        )
    try:
        yield process, mark
    finally:
        assert process.stdin is not None
        process.stdin.close()
        if "bench.node" not in command:
            process.terminate()
        try:
            process.wait(START_S)
        except subprocess.TimeoutExpired:
            process.kill()
