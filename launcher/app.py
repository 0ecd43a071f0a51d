"""A whole app on this machine, for as long as a context lasts; `serve`, the demo and tests all use it.

with running_app(settings) as app:
    print(app.url)
"""

import contextlib
import json
import os
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx2
import redis

from engine.settings import Settings
from launcher import cluster
from launcher.environment import haproxy_available, ray_environment
from launcher.rundir import RunDirectory
from launcher.stage import Stage
from launcher.tracks import keep_logs, write_run_file

DRAINING_KEY = "trunkline:draining"
_READY_S = 90.0
_LOOK_S = 0.25

Build = Callable[[Settings], Any]


@dataclass
class RunningApp:
    """An app that answers at `url`; `settings` hold the addresses of all that it uses."""

    url: str
    settings: Settings
    stage: Stage
    run_dir: Path
    log_dir: Path
    ray_environment: dict[str, str]

    def calls(self) -> list[Any]:
        """The calls under way. Raises `httpx2.HTTPError` when the app does not say."""
        answer = httpx2.get(f"{self.url}/calls", timeout=5.0)
        answer.raise_for_status()
        return list(json.loads(answer.text)["calls"])

    def drain(self, seconds: float, hurry: threading.Event) -> int:
        """Stops admission, then waits for the last call, `seconds`, or `hurry`; returns how many are left.

        Admission is a key in Redis, because every replica on every node has to see it.
        """
        with redis.Redis.from_url(self.settings.redis_url, socket_timeout=5.0) as client:
            client.set(DRAINING_KEY, "1", ex=int(seconds) + 60)
        deadline = time.monotonic() + seconds
        left = len(self.calls())
        while left and time.monotonic() < deadline and not hurry.wait(_LOOK_S):
            left = len(self.calls())
        return left

    def admit(self) -> None:
        """Takes calls (again): clears what an interrupted drain left behind."""
        with redis.Redis.from_url(self.settings.redis_url, socket_timeout=5.0) as client:
            client.delete(DRAINING_KEY)


@contextlib.contextmanager
def running_app(
    settings: Settings,
    *,
    directory: Path | None = None,
    build: Build | None = None,
    drain_s: float = 0.0,
    control_loop_s: float = 0.1,
    num_cpus: int = 8,
    prepare: bool = True,
) -> Iterator[RunningApp]:
    """Starts everything, yields when `/readyz` says 200, and leaves no process behind.

    `directory` keeps data, logs and `run.json`; None uses a private one, gone at the end. `build` makes the
    Serve application from the final settings; None takes `serve_app.build`. `drain_s` is how long a replica
    that is replaced keeps its calls. `control_loop_s` is the pace of Serve's controller: quick to start at
    0.1, lighter at 0.5. `num_cpus` bounds how many processes Ray starts at once; ours claim none of them.
    Raises `LaunchError`.
    """
    with contextlib.ExitStack() as stack:
        run = stack.enter_context(RunDirectory())
        log_dir = (directory.resolve() if directory else run.path) / "logs"
        log_dir.mkdir(parents=True, exist_ok=True)
        stack.enter_context(keep_logs(run.path, log_dir, directory))
        stage = stack.enter_context(Stage(settings, directory, log_dir, prepare=prepare))
        environment = ray_environment(
            run.path, max_call_s=settings.max_call_s, drain_s=drain_s, haproxy=haproxy_available()
        )
        environment["RAY_SERVE_CONTROL_LOOP_INTERVAL_S"] = f"{control_loop_s:g}"
        stack.enter_context(cluster.ray_cluster(run.path, environment, num_cpus=num_cpus))
        cluster.start_serve(settings.host, settings.port)
        stack.callback(cluster.stop_serve, run.path)
        final = stage.settings()
        app = RunningApp(_url(settings), final, stage, run.path, log_dir, environment)
        app.admit()
        cluster.run_application((build or _build)(final))
        cluster.wait_until_ready(f"{app.url}/readyz", _READY_S)
        if directory is not None:
            stack.enter_context(write_run_file(directory, _facts(app)))
        yield app


def _build(settings: Settings) -> Any:
    """Late, because `serve_app` imports Ray Serve, which reads the environment once."""
    import serve_app  # type: ignore[import-not-found, unused-ignore]

    return serve_app.build(settings)


def _url(settings: Settings) -> str:
    host = "127.0.0.1" if settings.host in {"0.0.0.0", "::"} else settings.host
    return f"http://{f'[{host}]' if ':' in host else host}:{settings.port}"


def _facts(app: RunningApp) -> dict[str, Any]:
    """What other commands need to find this app; holds passwords, so its file is the owner's alone."""
    return {
        "pid": os.getpid(),
        "url": app.url,
        "database_url": app.settings.database_url,
        "redis_url": app.settings.redis_url,
        "deepgram_base_url": app.settings.deepgram_base_url,
        "openai_base_url": app.settings.openai_base_url,
        "ray_auth_token": cluster.enable_token(),
        "run_dir": str(app.run_dir),
        "logs": str(app.log_dir),
        "pids": app.stage.pids,
    }
