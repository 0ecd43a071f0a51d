"""Finds and ends what a killed launcher left behind, by what a process was started with and where it works.

A process id alone proves nothing (ids are used again), so a process counts only if our directory stands in
what it was started with, and its program is one that we start; or if it writes its log there.
"""

import os
import signal
import stat
import subprocess
import time
from collections.abc import Collection, Iterator
from pathlib import Path

_PROC = Path("/proc")


def find(directory: Path, programs: Collection[str]) -> list[int]:
    """Ids of running processes of `programs` (base names) that were started in or with `directory`."""
    wanted = str(directory)
    found = []
    for pid, command, cwd in _processes():
        if pid == os.getpid() or not command or os.path.basename(command[0]).rstrip(":") not in programs:
            continue
        if any(_inside(word, wanted) for word in [*command[1:], cwd]):
            found.append(pid)
    return found


def find_writers(directory: Path) -> list[int]:
    """Ids of running processes that have a file in `directory` open for writing.

    It tells Ray's processes, which rename themselves and lose even their environment by it, and HAProxy. Where
    there is no /proc, only programs with the directory in their command line are found.
    """
    if not _PROC.joinpath("self").exists():
        return find(directory, {"raylet", "gcs_server", "haproxy"})
    pids = [int(entry.name) for entry in _PROC.iterdir() if entry.name.isdigit()]
    return [pid for pid in pids if pid != os.getpid() and _writes_in(pid, f"{directory}/")]


def _writes_in(pid: int, directory: str) -> bool:
    """Whether it has a file there open for writing; a link in /proc/PID/fd has the open file's modes."""
    try:
        for link in (_PROC / str(pid) / "fd").iterdir():
            if os.readlink(link).startswith(directory) and link.lstat().st_mode & stat.S_IWUSR:
                return True
    except OSError:  # it ended, closed one meanwhile, or belongs to another user
        return False
    return False


def end(pids: Collection[int], first: signal.Signals, patience_s: float) -> None:
    """Sends `first`, then SIGKILL to those still there after `patience_s`; returns when all are gone."""
    for wave in (first, signal.SIGKILL):
        for pid in pids:
            _send(pid, wave)
        deadline = time.monotonic() + patience_s
        while any(alive(pid) for pid in pids):
            if time.monotonic() >= deadline:
                break
            time.sleep(0.01)
        else:
            return


def alive(pid: int) -> bool:
    """Whether the process runs; a zombie, which holds nothing, counts as gone."""
    try:
        status = (_PROC / str(pid) / "stat").read_text()
    except OSError:
        if _PROC.joinpath("self").exists():
            return False
        return _send(pid, 0)
    return status.rpartition(")")[2].split()[0] not in {"Z", "X"}


def _send(pid: int, number: int) -> bool:
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def _inside(word: str, directory: str) -> bool:
    """`--conf=/a/b` and `/a/b/c` lie in `/a/b`; `/a/bc` does not."""
    start = word.find(directory)
    return start >= 0 and word[start + len(directory) :][:1] in {"", "/", " "}


def _processes() -> Iterator[tuple[int, list[str], str]]:
    """(id, command line, working directory or empty) of each process; `ps` where there is no /proc."""
    if not _PROC.joinpath("self").exists():
        command_line = ["ps", "-axww", "-o", "pid=,command="]
        listing = subprocess.run(command_line, capture_output=True, text=True, timeout=10)
        for line in listing.stdout.splitlines():
            pid, _, command = line.strip().partition(" ")
            yield int(pid), command.split(), ""
        return
    for entry in _PROC.iterdir():
        if not entry.name.isdigit():
            continue
        try:
            command = (entry / "cmdline").read_bytes().decode(errors="replace").rstrip("\0")
            # A program that renames itself (postgres: walwriter) leaves one string with spaces.
            words = command.split("\0") if "\0" in command else command.split(" ")
            cwd = os.readlink(entry / "cwd")
        except OSError:  # it ended, or belongs to another user
            continue
        yield int(entry.name), words, cwd
