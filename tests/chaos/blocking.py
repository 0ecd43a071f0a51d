"""Holds the thread in which another process's event loop runs, as a call that blocks would; its other threads go on.

Linux, by ptrace, which a machine may allow only on one's own descendants.
"""

import contextlib
import ctypes
import os
from collections.abc import Iterator
from pathlib import Path

_libc = ctypes.CDLL(None, use_errno=True)
_libc.ptrace.argtypes = [ctypes.c_long, ctypes.c_int, ctypes.c_void_p, ctypes.c_void_p]
_libc.ptrace.restype = ctypes.c_long
_SEIZE, _INTERRUPT, _DETACH = 0x4206, 0x4207, 17  # linux/ptrace.h
_WALL = 0x40000000  # linux/wait.h: threads, too
_EPOLL_WAITS = {
    "232",
    "281",
    "441",
    "22",
}  # x86-64: epoll_wait, epoll_pwait, epoll_pwait2; aarch64: epoll_pwait


def loop_thread(pid: int, port: int) -> int | None:
    """The thread of `pid` whose event loop has a connection to this port and waits; None if it runs just now."""
    for epoll in _epolls_with(pid, _connected_to(pid, port)):
        for task in Path(f"/proc/{pid}/task").iterdir():
            with contextlib.suppress(OSError):  # it ended meanwhile
                call, *arguments = (task / "syscall").read_text().split()
                if call in _EPOLL_WAITS and int(arguments[0], 16) == epoll:
                    return int(task.name)
    return None


@contextlib.contextmanager
def held(thread: int) -> Iterator[None]:
    """Lets this thread do nothing. Raises PermissionError. The process may be killed meanwhile."""
    _ptrace(_SEIZE, thread)
    try:
        _ptrace(_INTERRUPT, thread)
        os.waitpid(thread, _WALL)  # until it stands
        yield
    finally:
        try:
            _ptrace(_DETACH, thread)
        except ProcessLookupError:  # it was killed, and its process has no end until we know
            with contextlib.suppress(ChildProcessError):
                os.waitpid(thread, _WALL)


def _ptrace(request: int, thread: int) -> None:
    if _libc.ptrace(request, thread, None, None) < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))


def _connected_to(pid: int, port: int) -> set[int]:
    """Descriptors of TCP connections to this port."""
    lines = [line.split() for line in Path(f"/proc/{pid}/net/tcp").read_text().splitlines()[1:]]
    sockets = {f"socket:[{line[9]}]" for line in lines if int(line[2].rpartition(":")[2], 16) == port}
    return {number for number, link in _descriptors(pid) if link in sockets}


def _epolls_with(pid: int, descriptors: set[int]) -> Iterator[int]:
    """Descriptors of epolls that watch one of these."""
    for number, link in _descriptors(pid):
        if link == "anon_inode:[eventpoll]":
            watched = Path(f"/proc/{pid}/fdinfo/{number}").read_text().splitlines()
            if descriptors & {int(line.split()[1]) for line in watched if line.startswith("tfd:")}:
                yield number


def _descriptors(pid: int) -> Iterator[tuple[int, str]]:
    for one in Path(f"/proc/{pid}/fd").iterdir():
        with contextlib.suppress(FileNotFoundError):  # closed meanwhile
            yield int(one.name), os.readlink(one)
