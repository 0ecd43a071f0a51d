"""A directory has one owner at a time; the lock goes with its owner, even after kill -9."""

import fcntl
import os
import time
from pathlib import Path

from launcher.errors import LaunchError

# Who only asks whether the lock is held has it for a moment.
_PATIENCE_S = 0.5


class DirectoryLock:
    """An advisory lock (flock) on `directory/lock`, whose text is the owner's process id."""

    def __init__(self, directory: Path) -> None:
        self._path = directory / "lock"
        self._descriptor: int | None = None

    def acquire(self) -> None:
        """Takes the lock. Raises `LaunchError` if another process (or another owner in this one) has it."""
        deadline = time.monotonic() + _PATIENCE_S
        while not self.try_acquire():
            if time.monotonic() >= deadline:
                raise LaunchError(
                    f"{self._path.parent} is in use by process {owner_of(self._path.parent) or 'unknown'}: "
                    "stop that one first, or use another directory."
                )
            time.sleep(_PATIENCE_S / 20)

    def try_acquire(self) -> bool:
        """Takes the lock if nobody has it."""
        descriptor = _try(self._path, fcntl.LOCK_EX)
        if descriptor is None:
            return False
        os.ftruncate(descriptor, 0)
        os.write(descriptor, f"{os.getpid()}\n".encode())
        self._descriptor = descriptor
        return True

    def release(self) -> None:
        """Gives the lock back. Safe to call twice."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None


def is_held(directory: Path) -> bool:
    """Whether somebody owns the directory now."""
    if not (directory / "lock").exists():
        return False
    descriptor = _try(directory / "lock", fcntl.LOCK_SH)
    if descriptor is None:
        return True
    os.close(descriptor)
    return False


def _try(path: Path, kind: int) -> int | None:
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        return None
    return descriptor


def owner_of(directory: Path) -> int | None:
    """The process id written in the lock; it means something only while the lock is held."""
    try:
        return int((directory / "lock").read_text())
    except (OSError, ValueError):
        return None
