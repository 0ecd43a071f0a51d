"""`python -m launcher.serve` (`make serve`): the whole app in the foreground, until Ctrl-C."""

import contextlib
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from types import FrameType

from rich.console import Console

from engine.settings import Settings, SettingsError, load_settings
from launcher.app import MODEST, RunningApp, running_app
from launcher.checks import check_before_start
from launcher.errors import LaunchError
from launcher.haproxy import NO_HAPROXY, haproxy_binary
from launcher.locks import DirectoryLock
from launcher.plan import parts_of, plan_for
from launcher.postgres import root_notice
from launcher.table import print_parts

HOME = Path(".trunkline")
WEBHOOK = "/api/v1/voice/incoming"
# A webhook that meets a broken connection, a time-out or a 5xx is tried again: Twilio, connection overrides.
RETRIES = "#rc=2&rp=ct,rt,5xx"
_WATCH_S = 1.0
_INTERRUPTED = 130


def main() -> None:
    """Runs the app; ends with code 1 and one sentence when something is wrong, never a traceback."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        settings = load_settings()
        check_before_start(settings)
        serve(settings, HOME, Console())
    except (SettingsError, LaunchError) as error:
        print(error, file=sys.stderr)
        sys.exit(1)
    except KeyboardInterrupt:
        sys.exit(_INTERRUPTED)


def serve(settings: Settings, home: Path, console: Console) -> None:
    """Starts, serves until a signal, drains, stops."""
    lock = DirectoryLock(home / "serve")
    lock.acquire()
    try:
        announce(settings, home, console)
        niceness = MODEST if plan_for(settings).starts_speech else 0
        with (
            running_app(
                settings, directory=home, drain_s=settings.drain_s, control_loop_s=0.5, niceness=niceness
            ) as app,
            _signals() as (stop, hurry),
        ):
            _tell_where(app, console)
            _watch(app, stop, console)
            _drain(app, hurry, console)
    finally:
        lock.release()


def announce(settings: Settings, home: Path, console: Console) -> None:
    """Says what is real before anything is started."""
    haproxy = haproxy_binary() is not None
    print_parts(parts_of(settings, haproxy=haproxy), console)
    if not haproxy:
        console.print(NO_HAPROXY, style="bold red")
    if plan_for(settings).postgres and (notice := root_notice(home.resolve())):
        console.print(notice, style="yellow")


def _tell_where(app: RunningApp, console: Console) -> None:
    public = app.settings.base_url or app.url
    console.print(f"Ready at {app.url}; logs are in {app.log_dir}. Ctrl-C stops after the last call.")
    console.print(f"Twilio webhook (A call comes in): {public}{WEBHOOK}{RETRIES}", soft_wrap=True)
    if not app.settings.base_url:
        console.print("Set BASE_URL to the https address that Twilio reaches before you give it to a number.")


@contextlib.contextmanager
def _signals() -> Iterator[tuple[threading.Event, threading.Event]]:
    """(stop, hurry): set by the first and by the second of Ctrl-C, SIGTERM or SIGHUP.

    Installed after Ray's own handlers, which end the process at once.
    """
    stop, hurry = threading.Event(), threading.Event()

    def received(number: int, frame: FrameType | None) -> None:
        (hurry if stop.is_set() else stop).set()

    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    before: list[tuple[int, Callable[..., object] | int | None]] = [
        (number, signal.signal(number, received)) for number in numbers
    ]
    try:
        yield stop, hurry
    finally:
        for number, handler in before:
            signal.signal(number, handler)


def _watch(app: RunningApp, stop: threading.Event, console: Console) -> None:
    """Waits for the signal; a stand-in that ends meanwhile is started again."""
    while not stop.wait(_WATCH_S):
        for name in app.stage.revive():
            console.print(f"{name} had ended and was started again: see {app.log_dir}", style="bold red")


def _drain(app: RunningApp, hurry: threading.Event, console: Console) -> None:
    drain_s = app.settings.drain_s
    console.print(
        f"No new calls are taken, and those that run have {drain_s:g} s. Ctrl-C again stops at once."
    )
    left = app.drain(drain_s, hurry)
    if left < 0:
        console.print("Redis did not say which calls are under way: stopping.", style="bold red")
        return
    console.print(f"{left} calls are cut off." if left else "No call is under way: stopping.")


if __name__ == "__main__":
    main()
