"""One child process: started, watched until it is ready, stopped, and never outliving its parent."""

import os
import re
import signal
import subprocess
import sys
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

from launcher.errors import LaunchError

T = TypeVar("T")

_BOUND = Path(__file__).with_name("bound.py")
_POLL_S = 0.01

# The kernel signals a child when the *thread* that forked it ends, so all children come from one that stays.
_spawner = ThreadPoolExecutor(max_workers=1, thread_name_prefix="spawner")


class ChildProcess:
    """A child with a log file, in a session of its own: Ctrl-C in a terminal does not reach it.

    It ends with its parent, however that ends: by the kernel's signal on Linux, and for children that
    watch their standard input (`--with-parent`) by its end of file everywhere.
    """

    def __init__(
        self,
        name: str,
        command: Sequence[str],
        log: Path,
        *,
        env: Mapping[str, str] | None = None,
        cwd: Path | None = None,
        user: str | None = None,
        stop_signal: signal.Signals = signal.SIGTERM,
        stop_s: float = 10.0,
    ) -> None:
        """`command[0]` is an absolute path; `user` is an operating-system user to run as (needs root)."""
        self.name = name
        self.log = log
        self._command = list(command)
        self._env = dict(os.environ if env is None else env)
        self._cwd = cwd
        self._user = user
        self._stop_signal = stop_signal
        self._stop_s = stop_s
        self._process: subprocess.Popen[bytes] | None = None
        self._log_start = 0

    @property
    def pid(self) -> int:
        """The process id. Raises `LaunchError` before `start`."""
        return self._running().pid

    def start(self) -> None:
        """Starts the process; it is not ready yet."""
        if self._process is not None:
            raise LaunchError(f"{self.name} was started already: stop it first.")
        self.log.parent.mkdir(parents=True, exist_ok=True)
        self._process = _spawner.submit(self._spawn).result(timeout=30)

    def _spawn(self) -> "subprocess.Popen[bytes]":
        bound = [sys.executable, "-I", "-S", str(_BOUND), str(int(self._stop_signal)), str(os.getpid())]
        with self.log.open("ab") as log:
            self._log_start = log.tell()
            return subprocess.Popen(
                [*bound, self._user or "-", *self._command],
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=subprocess.STDOUT,
                env={**self._env, "PYTHONUNBUFFERED": "1"},
                cwd=self._cwd,
                start_new_session=True,
            )

    def wait_for(self, look: Callable[[], T | None], timeout_s: float) -> T:
        """Looks until `look` finds something; `LaunchError` if the process ends or time is up first."""
        process = self._running()
        deadline = time.monotonic() + timeout_s
        while True:
            code = process.poll()  # before the look, which may be for the end
            if (found := look()) is not None:
                return found
            if code is not None:
                raise LaunchError(f"{self.name} ended at its start (exit code {code}): {self.last_words()}")
            if time.monotonic() >= deadline:
                raise LaunchError(f"{self.name} was not ready after {timeout_s:g} s: see {self.log}.")
            time.sleep(_POLL_S)

    def wait_for_line(self, pattern: str, timeout_s: float) -> "re.Match[str]":
        """Waits for a line of this start's output that matches `pattern` (a regular expression)."""
        compiled = re.compile(pattern, re.MULTILINE)
        return self.wait_for(lambda: compiled.search(self.output()), timeout_s)

    def running(self) -> bool:
        """Whether the process was started and has not ended."""
        return self._process is not None and self._process.poll() is None

    def output(self) -> str:
        """What the process has written since its start."""
        with self.log.open("rb") as log:
            log.seek(self._log_start)
            return log.read().decode(errors="replace")

    def last_words(self) -> str:
        """The last lines of the output, in one, and where the rest is."""
        tail = deque((line.strip() for line in self.output().splitlines() if line.strip()), maxlen=3)
        return f"{' / '.join(tail) or 'it wrote nothing'} (log: {self.log})"

    def stop(self, stop_signal: signal.Signals | None = None) -> None:
        """Asks the process to end, then kills it. Safe to call twice, and before `start`."""
        process, self._process = self._process, None
        if process is None:
            return
        try:
            if process.poll() is None:
                process.send_signal(stop_signal or self._stop_signal)
                process.wait(self._stop_s)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait(10)
        finally:
            if process.stdin is not None:
                process.stdin.close()

    def _running(self) -> "subprocess.Popen[bytes]":
        if self._process is None:
            raise LaunchError(f"{self.name} is not running: start it first.")
        return self._process
