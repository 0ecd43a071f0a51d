"""A tape: every message that crossed a call's edge, a line of JSON each, written while the call runs.

A line is `{"t": 1.234567, "dir": "in", "peer": "stt", "message": {"type": "Interim", ...}}`: `t` in seconds
since the recording began, `dir` the direction or plane (in, out, redis, model, ...), `peer` who it came from
or went to. A recording begins with a `TapeStarted`; a call that was resumed has several on one tape. Tapes
hold what was said: they are made only where `TAPE_DIR` is set, and only their owner can read them.
"""

import asyncio
import contextlib
import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Union

import msgspec
import structlog

from engine import messages
from engine.clock import now, outside, wall
from engine.messages import Message
from engine.telemetry import count

_log = structlog.get_logger(__name__)


class TapeError(Exception):
    """A tape can't be read; the message names the file and the line."""


class TapeStarted(Message, frozen=True):
    """The first line of a recording. `started_at` is the wall time at which its `t` is 0."""

    call: str
    started_at: float


class TapeLine(msgspec.Struct, frozen=True):
    """One line of a tape; `t` is seconds since the last `TapeStarted`."""

    t: float
    dir: str
    peer: str
    message: Message


def _kinds(base: type[Message]) -> list[type[Message]]:
    """The vocabulary's messages: those that other modules derive for themselves never cross an actor's edge."""
    found: list[type[Message]] = []
    for kind in base.__subclasses__():
        found += ([kind] if kind.__module__ == messages.__name__ else []) + _kinds(kind)
    return found


# A union of all of them, for msgspec to choose from by their tags; for a type checker each is a `Message`.
AnyMessage: Any = Union[(TapeStarted, *_kinds(Message))]

_encoder = msgspec.json.Encoder()
_decoder: msgspec.json.Decoder[Any] = msgspec.json.Decoder(
    msgspec.defstruct("TapeLine", [("t", float), ("dir", str), ("peer", str), ("message", AnyMessage)])
)


def read_tape(path: Path) -> list[TapeLine]:
    """All lines of a tape, in order. Raises `TapeError` at the first that is not one, with its number."""
    try:
        content = path.read_bytes()
    except OSError as error:
        raise TapeError(f"{path} can't be read: {error.strerror}") from error
    lines = content.split(b"\n")
    if lines.pop():
        raise TapeError(f"{path}, line {len(lines) + 1}: cut off, the recording did not end well")
    return [_line(path, number, line) for number, line in enumerate(lines, 1)]


def _line(path: Path, number: int, line: bytes) -> TapeLine:
    try:
        found = _decoder.decode(line)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise TapeError(f"{path}, line {number}: {error}") from error
    return TapeLine(found.t, found.dir, found.peer, found.message)


def _encode(t: float, dir: str, peer: str, message: Message) -> bytes:
    head = f'{{"t":{t:.6f},"dir":'.encode()
    names = (_encoder.encode(dir), b',"peer":', _encoder.encode(peer))
    return b"".join((head, *names, b',"message":', _encoder.encode(message), b"}\n"))


_FLUSH_S = 1.0
_FLUSH_BYTES = 64 * 1024
_LIMIT_BYTES = 8 * 1024 * 1024  # what a disk that hangs may cost in memory


class TapeWriter:
    """Records one call. `record` only appends to memory; one task writes, in a thread, what has gathered.

    Lines are written after 1 s or 64 KB, whichever is first, at the end of the file. A tape with a hole can't
    be replayed, so the first failure (a full disk, or 8 MB that wait for it) ends the recording: logged once,
    `failed` is true, what follows is counted as `tape_lines_lost`.
    """

    def __init__(self, path: Path, call: str) -> None:
        self.failed = False
        self._path = path
        self._call = call
        self._lines: list[bytes] = []
        self._bytes = 0
        self._some = asyncio.Event()
        self._hurry = asyncio.Event()
        self._closing = False
        self._task: asyncio.Task[None] | None = None
        # Of its own: a disk that hangs must not hold the loop's threads, which look names up.
        self._thread = ThreadPoolExecutor(1, "tape")
        self._began = 0.0

    def start(self) -> None:
        """Begins the recording on the running loop."""
        if self._task is None:
            self._began = now()
            self._task = asyncio.get_running_loop().create_task(self._run(), name="tape")
            self.record("tape", "", TapeStarted(self._call, wall()))

    def record(self, dir: str, peer: str, message: Message) -> None:
        """Adds one line. Never waits, never raises."""
        if self.failed or self._closing or self._task is None:
            count("tape_lines_lost")
            return
        try:
            line = _encode(now() - self._began, dir, peer, message)
        except (TypeError, ValueError, RecursionError) as error:
            self._fail(f"a {type(message).__name__} can't be written as JSON ({type(error).__name__})")
            return
        if self._bytes + len(line) > _LIMIT_BYTES:
            self._fail("the disk is too slow")
            return
        self._lines.append(line)
        self._bytes += len(line)
        self._some.set()
        if self._bytes >= _FLUSH_BYTES:
            self._hurry.set()

    async def close(self, timeout: float = 5.0) -> None:
        """Writes what is left, for at most `timeout` seconds, and ends the recording. Safe to call twice."""
        self._closing = True
        self._some.set()
        self._hurry.set()
        task = self._task
        if task is None:
            return
        try:
            await outside(asyncio.wait({task}, timeout=timeout))
        finally:
            task.cancel()
            self._thread.shutdown(wait=False, cancel_futures=True)
        if not task.done():
            self._fail("the disk is too slow")
            await asyncio.wait({task}, timeout=timeout)
        elif not task.cancelled():
            task.result()

    async def _run(self) -> None:
        while not self.failed:
            await self._some.wait()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_FLUSH_S):
                    await self._hurry.wait()
            if not self._lines:
                return  # closing, and all is written
            chunk = b"".join(self._lines)
            self._lines.clear()
            if not self._closing:
                self._some.clear()
                self._hurry.clear()
            try:
                await outside(asyncio.get_running_loop().run_in_executor(self._thread, self._append, chunk))
            except OSError as error:
                self._fail(str(error.strerror))
                return
            self._bytes -= len(chunk)

    def _append(self, chunk: bytes) -> None:
        self._path.parent.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(self._path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        with os.fdopen(descriptor, "ab") as file:
            file.write(chunk)

    def _fail(self, why: str) -> None:
        self.failed = True
        count("tape_lines_lost", len(self._lines))
        self._lines.clear()
        self._some.set()
        self._hurry.set()
        _log.error("tape_ended", call=self._call, path=str(self._path), why=why)
