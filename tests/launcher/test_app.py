"""A whole app through HAProxy, and what is left of it afterwards: nothing."""

import asyncio
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx2
import pytest
import redis
from websockets.sync.client import connect

from engine.messages import CallInfo
from engine.session import DRAINING, SessionStore, Whereabouts
from engine.settings import Settings
from launcher import processes
from launcher.app import _LOOK_S, RunningApp, running_app
from launcher.ports import free_ports, is_free
from launcher.rundir import RunDirectory, sweep
from launcher.stage import Stage
from tests.launcher.tiny_app import build

OWNER = """
import sys
from pathlib import Path
from typing import Any
from engine.settings import Settings
from launcher.app import running_app
from tests.launcher.tiny_app import build
settings = Settings(_env_file=None, port=int(sys.argv[2]), deepgram_api_key="x", openai_api_key="x")
with running_app(settings, directory=Path(sys.argv[1]), build=build, prepare=False) as app:
    print(app.run_dir, flush=True)
    sys.stdin.read()
"""


def settings(port: int) -> Settings:
    return Settings(_env_file=None, port=port, deepgram_api_key="x", openai_api_key="x")  # type: ignore[call-arg]


@pytest.mark.whole
def test_an_app_answers_through_haproxy_and_leaves_nothing_behind(tmp_path: Path) -> None:
    [port] = free_ports(1)
    home = tmp_path / "home"

    with running_app(settings(port), directory=home, build=build, prepare=False) as app:
        haproxies = processes.find(app.run_dir, {"haproxy"})
        started = processes.find_writers(app.run_dir)
        facts = json.loads((home / "run.json").read_text())
        with connect(f"ws://127.0.0.1:{port}/echo", open_timeout=30) as socket:
            socket.send("hello")
            echoed = socket.recv(timeout=30)
        admitted = app.drain(0, threading.Event())
        socket_modes = (app.run_dir / "h").stat().st_mode & 0o777

    assert haproxies
    assert set(haproxies) < set(started)
    assert echoed == "hello"
    assert facts["url"] == app.url
    assert facts["pid"] == os.getpid()
    assert admitted == 0
    assert socket_modes == 0o700
    assert not any(processes.alive(pid) for pid in [*started, *facts["pids"].values()])
    assert not app.run_dir.exists()
    assert not (home / "run.json").exists()
    assert is_free(port)
    assert list((home / "logs" / "ray").glob("serve/*.log"))


@pytest.mark.whole
def test_after_kill_9_of_the_owner_the_next_run_clears_up(tmp_path: Path) -> None:
    [port] = free_ports(1)
    owner = subprocess.Popen(
        [sys.executable, "-c", OWNER, str(tmp_path), str(port)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert owner.stdout is not None
    run_dir = Path(owner.stdout.readline().strip())
    started = processes.find_writers(run_dir)
    assert httpx2.get(f"http://127.0.0.1:{port}/readyz", timeout=30).status_code == 200
    owner.send_signal(signal.SIGKILL)
    owner.communicate(timeout=30)

    with RunDirectory():
        assert not run_dir.exists()
        assert started
        assert not any(processes.alive(pid) for pid in started)
        assert is_free(port)


def test_a_sweep_leaves_running_owners_alone(tmp_path: Path) -> None:
    with RunDirectory(tmp_path) as running:
        assert sweep(tmp_path) == []
        assert running.path.is_dir()


def draining_app(redis_url: str, **changed: Any) -> RunningApp:
    given = settings(9).model_copy(update={"redis_url": redis_url} | changed)
    stage = Stage(given, None, Path("unused"), prepare=False)
    return RunningApp("http://127.0.0.1:9", given, stage, Path(), Path(), {})


async def with_store(redis_url: str, act: Callable[[SessionStore], Awaitable[object]]) -> None:
    store = SessionStore(redis_url, 3600, 2000, 60)
    try:
        await act(store)
    finally:
        await store.close()


def a_call(redis_url: str, act: Callable[[SessionStore], Awaitable[object]]) -> None:
    """What the app does about a call."""
    asyncio.run(with_store(redis_url, act))


CALL = "CA1"
RINGS = CallInfo(CALL, "+13125550142", "+13125550100", True, 0.0)
HURRIED = threading.Event()
HURRIED.set()


def test_a_drain_waits_for_calls_that_ring_or_run_and_until_twilio_has_asked_what_comes_next(
    redis_url: str,
) -> None:
    app = draining_app(redis_url)
    a_call(redis_url, lambda store: store.ring(RINGS, 10))
    ringing = app.drain(60, HURRIED)
    a_call(redis_url, lambda store: store.live(Whereabouts(CALL, "MZ1", "starting", 0, 1)))
    running = app.drain(60, HURRIED)
    a_call(redis_url, lambda store: store.over(CALL, "MZ1"))
    unasked = app.drain(60, HURRIED)
    a_call(redis_url, lambda store: store.asked(CALL))

    assert (ringing, running, unasked) == (1, 1, 1)
    assert app.drain(3600, threading.Event()) == 0


def test_a_drain_does_not_wait_for_a_question_that_came_before_the_streams_end(redis_url: str) -> None:
    app = draining_app(redis_url)
    a_call(redis_url, lambda store: store.ring(RINGS, 10))
    a_call(redis_url, lambda store: store.live(Whereabouts(CALL, "MZ1", "starting", 0, 1)))
    a_call(redis_url, lambda store: store.asked(CALL))
    a_call(redis_url, lambda store: store.over(CALL, "MZ1"))

    assert app.drain(60, HURRIED) == 0


def test_a_drain_goes_on_waiting_when_redis_breaks_off(redis_url: str) -> None:
    app = draining_app(redis_url)
    a_call(redis_url, lambda store: store.ring(RINGS, 10))
    with ThreadPoolExecutor() as pool, redis.Redis.from_url(redis_url) as client:
        left = pool.submit(app.drain, 3600, threading.Event())
        for _ in range(3):
            while not client.get(DRAINING) or not client.client_kill_filter(_type="normal", skipme=True):
                assert not left.done(), "it gave up"
        a_call(redis_url, lambda store: store.hung_up(CALL))
        assert left.result(timeout=60) == 0


def test_a_redis_that_has_lost_all_does_not_end_a_drain_before_calls_can_have_taken_their_slots_again(
    redis_url: str,
) -> None:
    app = draining_app(redis_url, slot_lease_s=60.0)
    a_call(redis_url, lambda store: store.ring(RINGS, 10))
    hurry = threading.Event()
    with ThreadPoolExecutor() as pool, redis.Redis.from_url(redis_url) as client:
        left = pool.submit(app.drain, 3600, hurry)
        while not client.get(DRAINING):
            assert not left.done(), "it gave up"
        client.flushdb()
        while not client.get(DRAINING):
            assert not left.done(), "it gave up"
        until_s = float(client.get(DRAINING))
        with pytest.raises(TimeoutError):
            left.result(timeout=2 * _LOOK_S)
        hurry.set()
        assert left.result(timeout=60) == 0
    assert until_s == pytest.approx(time.time() + 3600, abs=30)


def test_a_drain_that_never_hears_of_redis_says_so() -> None:
    [nobody] = free_ports(1)
    assert draining_app(f"redis://127.0.0.1:{nobody}/0").drain(60, HURRIED) == -1


def test_a_drain_is_seen_by_every_replica_until_calls_are_taken_again(redis_url: str) -> None:
    app = draining_app(redis_url)
    app.drain(40, threading.Event())

    with redis.Redis.from_url(redis_url) as client:
        assert float(client.get(DRAINING)) == pytest.approx(time.time() + 40, abs=10)
        assert client.ttl(DRAINING) > 0
        app.admit()
        assert client.get(DRAINING) is None
