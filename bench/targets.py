"""What is measured: the engine, or the floor, in a process tree of its own."""

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


@dataclass(frozen=True)
class Vendors:
    """Base URLs of the stand-ins."""

    speech: str
    model: str
    cars: str


@dataclass(frozen=True)
class Target:
    """A running target; `mark` names its process tree."""

    name: str
    url: str
    mark: str


@contextlib.contextmanager
def engine(vendors: Vendors, port: int, directory: Path, **settings: Any) -> Iterator[Target]:
    """The whole app under Ray Serve and HAProxy: two ingress replicas, two tool replicas, hosts as they come."""
    chosen = {
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
        **settings,
    }
    with _process("-m", "bench.node", json.dumps(chosen)) as (node, mark):
        assert node.stdout is not None
        if not node.stdout.readline():
            raise SystemExit("bench: the engine did not start")
        yield Target("engine", f"http://127.0.0.1:{port}", mark)


@contextlib.contextmanager
def floor(vendors: Vendors, port: int) -> Iterator[Target]:
    """The bare relay."""
    with _process("-m", "bench.floor", str(port), vendors.speech, vendors.model) as (node, mark):
        url = f"http://127.0.0.1:{port}"
        deadline = time.monotonic() + START_S
        while True:
            with contextlib.suppress(httpx2.TransportError):
                httpx2.get(url, trust_env=False)
                break
            if node.poll() is not None or time.monotonic() > deadline:
                raise SystemExit("bench: the floor did not start")
            time.sleep(0.05)
        yield Target("floor", url, mark)


@contextlib.contextmanager
def _process(*arguments: str) -> Iterator[tuple["subprocess.Popen[str]", str]]:
    """A child whose tree is marked; its end is that of its input, or SIGTERM where it does not read any."""
    mark = secrets.token_hex(8)
    node = subprocess.Popen(
        [sys.executable, *arguments],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, MARK: mark},
    )
    try:
        yield node, mark
    finally:
        assert node.stdin is not None
        node.stdin.close()
        if "bench.floor" in arguments:
            node.terminate()
        try:
            node.wait(START_S)
        except subprocess.TimeoutExpired:
            node.kill()
