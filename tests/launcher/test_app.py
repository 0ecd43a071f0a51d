"""A whole app through HAProxy, and what is left of it afterwards: nothing."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import httpx2
import pytest
import redis
from websockets.sync.client import connect

from engine.settings import Settings
from launcher import processes
from launcher.app import DRAINING_KEY, RunningApp, running_app
from launcher.ports import free_ports, is_free
from launcher.rundir import RunDirectory, sweep
from launcher.stage import Stage
from tests.launcher.tiny_app import build

OWNER = """
import sys
from pathlib import Path
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


def draining_app(redis_url: str) -> RunningApp:
    given = settings(9).model_copy(update={"redis_url": redis_url})
    stage = Stage(given, None, Path("unused"), prepare=False)
    return RunningApp("http://127.0.0.1:9", given, stage, Path(), Path(), {})


def test_a_drain_waits_for_the_last_call_and_no_longer(
    redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    answers = [["one", "two"], ["one"], []]
    app = draining_app(redis_url)
    monkeypatch.setattr(app, "calls", lambda: answers.pop(0))

    assert app.drain(60, threading.Event()) == 0
    assert answers == []


def test_a_second_signal_ends_the_wait_for_calls(redis_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    hurry = threading.Event()
    hurry.set()
    app = draining_app(redis_url)
    monkeypatch.setattr(app, "calls", lambda: ["endless"])

    assert app.drain(3600, hurry) == 1


def test_a_drain_is_seen_by_every_replica_until_calls_are_taken_again(redis_url: str) -> None:
    app = draining_app(redis_url)
    with contextlib.suppress(httpx2.HTTPError):
        app.drain(0, threading.Event())  # nobody answers on that port

    with redis.Redis.from_url(redis_url) as client:
        assert client.get(DRAINING_KEY) == b"1"
        app.admit()
        assert client.get(DRAINING_KEY) is None
