"""A directory has one owner at a time; the lock goes with its owner, even after kill -9."""

import fcntl
import os
from pathlib import Path

from launcher.errors import LaunchError


class DirectoryLock:
    """An advisory lock (flock) on `directory/lock`, whose text is the owner's process id."""

    def __init__(self, directory: Path) -> None:
        self._path = directory / "lock"
        self._descriptor: int | None = None

    def acquire(self) -> None:
        """Takes the lock. Raises `LaunchError` if another process (or another owner in this one) has it."""
        if not self.try_acquire():
            raise LaunchError(
                f"{self._path.parent} is in use by process {owner_of(self._path.parent) or 'unknown'}: "
                "stop that one first, or use another directory."
            )

    def try_acquire(self) -> bool:
        """Takes the lock if nobody has it."""
        self._path.parent.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(descriptor)
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
    probe = DirectoryLock(directory)
    free = probe.try_acquire()
    probe.release()
    return not free


def owner_of(directory: Path) -> int | None:
    """The process id written in the lock; it means something only while the lock is held."""
    try:
        return int((directory / "lock").read_text())
    except (OSError, ValueError):
        return None
