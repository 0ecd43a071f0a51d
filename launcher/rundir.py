"""A short private directory for one run: sockets of Ray and HAProxy, whose paths have at most 107 bytes.

Ray's sessions and HAProxy's admin socket (which HAProxy itself opens to every local user) lie in it, so its
mode 0700 is what keeps others out. Its lock tells a running owner from one that was killed.
"""

import contextlib
import os
import shutil
import signal
import tempfile
import time
from pathlib import Path
from typing import Self

from launcher import processes
from launcher.locks import DirectoryLock

_PREFIX = "tl-"
_PROGRAMS = {"postgres", "valkey-server"}
_LONGEST_BASE = 24
_YOUNG_S = 60.0


class RunDirectory:
    """Makes the directory, and first clears away those whose owners were killed."""

    def __init__(self, base: Path | None = None) -> None:
        """`base` is where it lies; None: the system's temporary directory, if that is short enough."""
        temporary = Path(tempfile.gettempdir())
        short = temporary if len(os.fsencode(temporary)) <= _LONGEST_BASE else Path("/tmp")
        self._base = base or short
        self._lock: DirectoryLock | None = None
        self.path = Path()

    def __enter__(self) -> Self:
        sweep(self._base)
        self.path = Path(tempfile.mkdtemp(prefix=_PREFIX, dir=self._base))
        self._lock = DirectoryLock(self.path)
        self._lock.acquire()
        return self

    def __exit__(self, *raised: object) -> None:
        _clear(self.path)
        if self._lock is not None:
            self._lock.release()


def sweep(base: Path) -> list[Path]:
    """Ends and removes what killed runs left in `base`; says which directories those were."""
    swept = []
    for directory in base.glob(f"{_PREFIX}*"):
        with contextlib.suppress(FileNotFoundError):  # another sweep was quicker
            if directory.stat().st_uid != os.geteuid() or not _abandoned(directory):
                continue
            _clear(directory)
            swept.append(directory)
    return swept


def _abandoned(directory: Path) -> bool:
    if not (directory / "lock").exists():
        # Its owner may be between making it and locking it.
        return time.time() - directory.stat().st_mtime > _YOUNG_S
    lock = DirectoryLock(directory)
    free = lock.try_acquire()
    lock.release()
    return free


def _clear(directory: Path) -> None:
    if left := [*processes.find_writers(directory), *processes.find(directory, _PROGRAMS)]:
        processes.end(left, signal.SIGTERM, 3.0)
    shutil.rmtree(directory, ignore_errors=True)
