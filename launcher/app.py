"""A whole app on this machine, for as long as a context lasts; `serve`, the demo and tests all use it.

with running_app(settings) as app:
    print(app.url)
"""

import contextlib
import logging
import math
import os
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import redis

from engine import scripts
from engine.session import ASKING, DRAINING, SLOTS
from engine.settings import Settings
from launcher import cluster
from launcher.environment import ray_environment
from launcher.haproxy import haproxy_binary
from launcher.rundir import RunDirectory
from launcher.stage import Stage
from launcher.tracks import keep_logs, write_run_file
from launcher.understudy import understudy

_READY_S = 90.0
# Until each replica knows, what is being said is over (30 s: actors/media.py), the sentence too, and Twilio has asked.
LAST_WORDS_S = 45.0
_KEY_MARGIN_S = 60
_LOOK_S = 0.25
MODEST = 5  # of two that want a CPU, the other gets three times as much

log = logging.getLogger("launcher.app")

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

    def drain(self, seconds: float, hurry: threading.Event) -> int:
        """Stops admission, waits for the last call or `hurry`, and returns how many calls are left; -1 if
        that could not be found out.

        Calls that still run after `seconds` are told so and put through, which takes up to `LAST_WORDS_S`. Every
        replica on every node reads in Redis when that is. While Redis is away calls go on, so it is asked again; one
        that has lost all is told again, and is not believed that no call is left before replicas have renewed slots.
        """
        limit_s = seconds + LAST_WORDS_S
        began_s = time.monotonic()
        left, told, certain_s = -1, False, began_s
        with redis.Redis.from_url(self.settings.redis_url, socket_timeout=5.0) as client:
            under_way = client.register_script(scripts.UNDER_WAY)
            drain = client.register_script(scripts.DRAIN)
            while True:
                spent_s = time.monotonic() - began_s
                try:
                    if not (told and client.exists(DRAINING)):
                        more_s = [max(0.0, seconds - spent_s), math.ceil(limit_s - spent_s) + _KEY_MARGIN_S]
                        drain(keys=[DRAINING], args=more_s)
                        certain_s = time.monotonic() + self.settings.slot_lease_s * told
                        told = True
                    left = len({call for calls in under_way(keys=[SLOTS, ASKING]) for call in calls})
                    if not (left or client.exists(DRAINING)):
                        left = -1  # it lost them a moment ago
                except redis.RedisError as error:
                    log.warning("Redis doesn't say which calls are under way, and is asked again: %s", error)
                over = not left and time.monotonic() >= certain_s
                if over or spent_s >= limit_s or hurry.wait(_LOOK_S):
                    break
        return left

    def admit(self) -> None:
        """Takes calls (again): clears what an interrupted drain left behind."""
        with redis.Redis.from_url(self.settings.redis_url, socket_timeout=5.0) as client:
            client.delete(DRAINING)


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
    niceness: int = 0,
) -> Iterator[RunningApp]:
    """Starts everything, yields when `/readyz` says 200, and leaves no process behind.

    `directory` keeps data, logs and `run.json`; None uses a private one, gone at the end. `build` makes the
    Serve application from the final settings; None takes `serve_app.build`. `drain_s` is how long a replica
    that is replaced keeps its calls. `control_loop_s` is the pace of Serve's controller: quick to start at
    0.1, lighter at 0.5. `num_cpus` bounds how many processes Ray starts at once; ours claim none of them.
    `niceness` is that of the app's processes: `MODEST` where callers or speech on this machine need the CPU sooner.
    Raises `LaunchError`.
    """
    with contextlib.ExitStack() as stack:
        run = stack.enter_context(RunDirectory())
        log_dir = (directory.resolve() if directory else run.path) / "logs"
        log_dir.mkdir(parents=True, exist_ok=True)
        stack.enter_context(keep_logs(run.path, log_dir, directory))
        stage = stack.enter_context(Stage(settings, directory, log_dir, prepare=prepare))
        haproxy = haproxy_binary()
        environment = ray_environment(
            run.path, max_call_s=settings.max_call_s, drain_s=drain_s, haproxy=haproxy
        )
        environment["RAY_SERVE_CONTROL_LOOP_INTERVAL_S"] = f"{control_loop_s:g}"
        environment["RAY_worker_niceness"] = f"{niceness}"
        stack.enter_context(cluster.ray_cluster(run.path, environment, num_cpus=num_cpus))
        cluster.start_serve(settings.host, settings.port)
        stack.callback(cluster.stop_serve, run.path)
        final = stage.settings()
        app = RunningApp(url_of(settings), final, stage, run.path, log_dir, environment)
        app.admit()
        cluster.run_application((build or build_app)(final))
        cluster.wait_until_ready(f"{app.url}/readyz", _READY_S)
        if haproxy is not None:
            stack.enter_context(understudy(run.path / "h", haproxy))
        if directory is not None:
            stack.enter_context(write_run_file(directory, _facts(app, drain_s)))
        yield app


def build_app(settings: Settings) -> Any:
    """The Serve application. Late, because `serve_app` imports Ray Serve, which reads the environment once."""
    import serve_app  # type: ignore[import-not-found, unused-ignore]

    return serve_app.build(settings)


def url_of(settings: Settings) -> str:
    """Where an app with these settings answers on this machine."""
    host = "127.0.0.1" if settings.host in {"0.0.0.0", "::"} else settings.host
    return f"http://{f'[{host}]' if ':' in host else host}:{settings.port}"


def _facts(app: RunningApp, drain_s: float) -> dict[str, Any]:
    """What other commands need to find this app; holds passwords, so its file is the owner's alone."""
    return {
        "pid": os.getpid(),
        "url": app.url,
        "database_url": app.settings.database_url,
        "redis_url": app.settings.redis_url,
        "deepgram_base_url": app.settings.deepgram_base_url,
        "openai_base_url": app.settings.openai_base_url,
        "addresses": asdict(app.stage.addresses),
        "drain_s": drain_s,
        "max_call_s": app.settings.max_call_s,
        "ray_address": cluster.address(),
        "ray_auth_token": cluster.enable_token(),
        "ray_environment": app.ray_environment,
        "run_dir": str(app.run_dir),
        "logs": str(app.log_dir),
        "pids": app.stage.pids,
    }
