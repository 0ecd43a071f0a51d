"""An HAProxy of ours takes the calls while Serve replaces one that was killed.

Serve needs 3 to 8 seconds for that: three failed health checks, then a process of its own. Twilio's webhooks about the
calls that were cut come at once. So HAProxy's admin socket is tried ten times a second, and when nobody is there, an
HAProxy with what Serve's last one knew takes over. When Serve's next one is there, ours takes no more calls, and keeps
those it has.
"""

import contextlib
import logging
import signal
import socket
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path

from launcher.haproxy import ADMIN, KNOWN

_LOOK_S = 0.1
_ANSWER_S = 1.0
_AGAIN_S = 1.0  # after a start that failed

log = logging.getLogger("launcher.understudy")


@contextlib.contextmanager
def understudy(directory: Path, binary: str) -> Iterator[None]:
    """Watches the HAProxy of this directory (`launcher.environment`), for as long as the context lasts.

    It must be entered when that one knows the app. Our processes end with it.
    """
    over = threading.Event()
    watcher = threading.Thread(target=_watch, args=(over, directory, binary), name="understudy", daemon=True)
    watcher.start()
    try:
        yield
    finally:
        over.set()
        watcher.join()


def _watch(over: threading.Event, directory: Path, binary: str) -> None:
    on_stage: list[subprocess.Popen[bytes]] = []
    leaving: list[subprocess.Popen[bytes]] = []
    pause_s = _LOOK_S
    try:
        while not over.wait(pause_s):
            on_stage, leaving = _running(on_stage), _running(leaving)
            pause_s = _LOOK_S
            try:
                if any(_is_there(socket_path) for socket_path in directory.rglob(ADMIN)):
                    for one in on_stage:
                        one.send_signal(signal.SIGUSR1)
                    on_stage, leaving = [], on_stage + leaving
                elif not on_stage:
                    on_stage = _started(directory, binary)
            except OSError:  # no process, no room on the disk: those that carry calls are left alone
                log.exception("HAProxy is gone, and the understudy can't take over yet")
                pause_s = _AGAIN_S
    finally:
        for one in on_stage + leaving:
            one.kill()
            one.wait()


def _running(some: list[subprocess.Popen[bytes]]) -> list[subprocess.Popen[bytes]]:
    return [one for one in some if one.poll() is None]


def _is_there(admin: Path) -> bool:
    """Whether somebody listens at this socket; one who is slow does."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as caller:
        caller.settimeout(_ANSWER_S)
        try:
            caller.connect(str(admin))
        except TimeoutError:
            return True
        except OSError:
            return False
    return True


def _started(directory: Path, binary: str) -> list[subprocess.Popen[bytes]]:
    """An HAProxy with what the last one of this directory knew; none, if it knew no app."""
    started = []
    for known in directory.rglob(f"*{KNOWN}"):
        ours = known.with_suffix(".understudy")
        with contextlib.suppress(FileNotFoundError):  # it was told just now that there is no app
            ours.write_text(_without_what_is_serves(known.read_text()))
            started.append(_run([binary, "-db", "-f", str(ours)], directory / "understudy.log"))
    return started


def _run(command: list[str], log: Path) -> subprocess.Popen[bytes]:
    with log.open("ab") as end:  # in a session of its own: Ctrl-C is for the launcher
        return subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=end, stderr=end, start_new_session=True
        )


def _without_what_is_serves(configuration: str) -> str:
    """Only the app's port is left: Serve tells by the others whether its own HAProxy lives."""
    kept, section = [], ""
    for line in configuration.splitlines(keepends=True):
        words = line.split()
        if words and not line[0].isspace():
            section = " ".join(words)
        others = words[:1] == ["bind"] and section != "frontend http_frontend"
        if words[:2] != ["stats", "socket"] and not others:
            kept.append(line)
    return "".join(kept)
