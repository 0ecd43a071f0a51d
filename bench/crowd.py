"""`python -m bench.crowd URL ...`: callers and strangers who come to an app all at once.

A process of its own, so that those who are measured don't wait for it. All that is sent is made beforehand. Each line
on standard input sends one crowd, and when all of them have been answered or turned away, a line of JSON tells what
came of it: a `Blow`. Whoever was let in gives the slot back at once. Nothing here holds a connection for ever.
"""

import argparse
import asyncio
import itertools
import json
import os
import sys
from asyncio.subprocess import PIPE, Process
from collections import Counter, defaultdict
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from time import monotonic
from urllib.parse import urlencode, urlsplit

import msgspec
import uvloop
from twilio.request_validator import RequestValidator

from simulators.twilio.fields import Identity, new_sid

VOICE = "/api/v1/voice"
LIMIT_S = 30.0  # of one visit
START_S = 60.0
CALLERS, UNSIGNED = "signed webhook", "unsigned webhook"
MUTE, BAD_TOKEN, GARBAGE, HALF_OPEN = (
    "mute socket",
    "socket, bad token",
    "socket, garbage",
    "half-open socket",
)
SOCKETS = (MUTE, BAD_TOKEN, GARBAGE, HALF_OPEN)
LET_IN, REFUSED = "let in", "refused with a sentence"
_TEXT, _CLOSE = 1, 8
_CONNECTED = '{"event":"connected","protocol":"Call","version":"1.0.0"}'


class Blow(msgspec.Struct):
    """What came of one crowd. Times are of the monotonic clock, which all processes of a machine share.

    `outcomes`: by kind of visitor, how often what came of it. `answered_ms`: each webhook. `closed_s`: each socket,
    from its upgrade to its end.
    """

    began: float
    ended: float
    outcomes: dict[str, dict[str, int]]
    answered_ms: list[float]
    closed_s: list[float]

    def of(self, kind: str) -> dict[str, int]:
        """What came of visitors of this kind."""
        return self.outcomes.get(kind, {})


@dataclass
class _Notes:
    outcomes: defaultdict[str, Counter[str]] = field(default_factory=lambda: defaultdict(Counter))
    answered_ms: list[float] = field(default_factory=list)
    closed_s: list[float] = field(default_factory=list)


@dataclass(frozen=True)
class Caller:
    """One webhook, and that which gives its slot back."""

    ring: bytes
    leave: bytes


class Crowd:
    """Everybody, with all that they are going to send."""

    def __init__(self, url: str, auth_token: str, account: str) -> None:
        place = urlsplit(url)
        self._url = url
        self._host, self._port = place.hostname or "", place.port or 80
        self._account = account
        self._validator = RequestValidator(auth_token)
        # A range that is fictional in every area code.
        self._numbers = itertools.cycle(
            f"+1{area}55501{n:02}" for area in range(212, 990) for n in range(100)
        )

    async def come(self, callers: int, unsigned: int, sockets: int) -> Blow:
        """All at once."""
        notes = _Notes()
        ringing = [self._caller() for _ in range(callers)]
        strangers = [
            self._form("incoming", self._identity().voice("ringing"), signed=False) for _ in range(unsigned)
        ]
        kinds = [SOCKETS[n % len(SOCKETS)] for n in range(sockets)]
        upgrades = [(kind, *self._socket(kind)) for kind in kinds]
        visits = [
            self._callers(ringing, notes),
            *(self._webhook(UNSIGNED, body, notes) for body in strangers),
            *(self._visit(kind, upgrade, said, notes) for kind, upgrade, said in upgrades),
        ]
        began = monotonic()
        await asyncio.gather(*visits)
        outcomes = {kind: dict(counts) for kind, counts in notes.outcomes.items()}
        return Blow(began, monotonic(), outcomes, notes.answered_ms, notes.closed_s)

    # --- webhooks

    async def _callers(self, ringing: list[Caller], notes: _Notes) -> None:
        """When the last has been answered, those who were let in hang up."""
        answers = await asyncio.gather(*(self._webhook(CALLERS, one.ring, notes) for one in ringing))
        left = [one.leave for one, answer in zip(ringing, answers, strict=True) if answer == LET_IN]
        await asyncio.gather(*(self._exchange(body) for body in left))

    async def _webhook(self, kind: str, request: bytes, notes: _Notes) -> str:
        began = monotonic()
        outcome = _meaning(await self._exchange(request))
        notes.answered_ms.append(1000 * (monotonic() - began))
        notes.outcomes[kind][outcome] += 1
        return outcome

    async def _exchange(self, request: bytes) -> bytes:
        """What is answered, b"" if nothing is."""
        with suppress(OSError, TimeoutError):
            async with asyncio.timeout(LIMIT_S):
                reader, writer = await asyncio.open_connection(self._host, self._port)
                try:
                    writer.write(request)
                    return await reader.read()
                finally:
                    writer.close()
        return b""

    def _identity(self) -> Identity:
        return Identity(self._account, next(self._numbers), "+13125550100", "TN-Validation-Passed-A")

    def _caller(self) -> Caller:
        who = self._identity()
        return Caller(
            self._form("incoming", who.voice("ringing"), signed=True),
            self._form("status", who.ended("canceled", 0), signed=True),
        )

    def _form(self, webhook: str, fields: dict[str, str], *, signed: bool) -> bytes:
        path = f"{VOICE}/{webhook}"
        body = urlencode(fields)
        head = [
            f"POST {path} HTTP/1.1",
            f"Host: {self._host}:{self._port}",
            "Connection: close",
            "Content-Type: application/x-www-form-urlencoded",
            f"Content-Length: {len(body)}",
        ]
        if signed:
            signature = self._validator.compute_signature(f"{self._url}{path}", fields)
            head.append(f"X-Twilio-Signature: {signature}")
        return ("\r\n".join(head) + "\r\n\r\n" + body).encode()

    # --- sockets

    async def _visit(self, kind: str, upgrade: bytes, said: list[bytes], notes: _Notes) -> None:
        began = monotonic()
        outcome = "no answer"
        with suppress(OSError, TimeoutError):
            async with asyncio.timeout(LIMIT_S):
                reader, writer = await asyncio.open_connection(self._host, self._port)
                try:
                    outcome = await _talk(reader, writer, upgrade, said)
                finally:
                    writer.close()
        notes.closed_s.append(monotonic() - began)
        notes.outcomes[kind][outcome] += 1

    def _socket(self, kind: str) -> tuple[bytes, list[bytes]]:
        """The upgrade, and what is said once it is answered."""
        head = [
            f"GET {VOICE}/media-stream HTTP/1.1",
            f"Host: {self._host}:{self._port}",
            "Upgrade: websocket",
            "Connection: Upgrade",
            "Sec-WebSocket-Version: 13",
            "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
        ]
        upgrade = ("\r\n".join(head) + "\r\n\r\n").encode()
        said = {BAD_TOKEN: [_CONNECTED, _start("x" * 32)], GARBAGE: ["no JSON at all " * 50]}
        head_ends = kind != HALF_OPEN
        return upgrade if head_ends else upgrade[:-2], [_frame(text) for text in said.get(kind, [])]


async def _talk(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, upgrade: bytes, said: list[bytes]
) -> str:
    """What the other end does with a socket, in the end."""
    writer.write(upgrade)
    try:
        status = (await reader.readuntil(b"\r\n\r\n")).split(b" ", 2)[1].decode()
        if status != "101":
            return f"HTTP {status}"
        writer.writelines(said)
        while True:
            opcode, length = await reader.readexactly(2)
            if length == 126:
                length = int.from_bytes(await reader.readexactly(2))
            payload = await reader.readexactly(length)
            if opcode & 0x0F == _CLOSE:
                return f"closed, {int.from_bytes(payload[:2])}"
    except asyncio.IncompleteReadError:
        return "cut"


def _frame(text: str) -> bytes:
    """A text message as a client sends it: masked (RFC 6455, 5.3)."""
    body, mask = text.encode(), os.urandom(4)
    length = bytes([0x80 | len(body)]) if len(body) < 126 else bytes([0x80 | 126]) + len(body).to_bytes(2)
    return bytes([0x80 | _TEXT]) + length + mask + bytes(b ^ mask[n % 4] for n, b in enumerate(body))


def _start(token: str) -> str:
    stream = new_sid("MZ")
    body = {
        "streamSid": stream,
        "accountSid": "AC" + "1" * 32,
        "callSid": new_sid("CA"),
        "tracks": ["inbound"],
        "customParameters": {"token": token},
        "mediaFormat": {"encoding": "audio/x-mulaw", "sampleRate": 8000, "channels": 1},
    }
    return json.dumps({"event": "start", "sequenceNumber": "1", "streamSid": stream, "start": body})


def _meaning(answer: bytes) -> str:
    """A webhook's answer, in words."""
    status = answer[:12].partition(b" ")[2].decode() or "no answer"
    if status != "200":
        return status
    return LET_IN if b"<Connect" in answer else REFUSED if b"<Say" in answer else "200"


# ---------------------------------------------------------------- from another process


class CrowdProcess:
    """A crowd in a process of its own, ready to come."""

    def __init__(self, process: Process) -> None:
        self._process = process

    async def comes(self, *, callers: int = 0, unsigned: int = 0, sockets: int = 0) -> Blow:
        """All at once; returns when the last is gone."""
        assert self._process.stdin is not None
        self._process.stdin.write(f"{callers} {unsigned} {sockets}\n".encode())
        await self._process.stdin.drain()
        return msgspec.json.decode(await self._told(2 * LIMIT_S), type=Blow)

    async def _told(self, limit_s: float) -> bytes:
        assert self._process.stdout is not None
        async with asyncio.timeout(limit_s):
            line = await self._process.stdout.readline()
        if not line:
            raise RuntimeError("the crowd's process has ended: see its stderr")
        return line


@asynccontextmanager
async def crowd(url: str, auth_token: str, account: str) -> AsyncIterator[CrowdProcess]:
    """Whoever may come to the app at `url`."""
    command = (sys.executable, "-m", "bench.crowd", url, auth_token, account)
    process = await asyncio.create_subprocess_exec(*command, stdin=PIPE, stdout=PIPE, limit=2**20)
    try:
        gathered = CrowdProcess(process)
        await gathered._told(START_S)
        yield gathered
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


async def _blows(options: argparse.Namespace) -> None:
    gathered = Crowd(options.url, options.auth_token, options.account)
    print("ready", flush=True)
    loop = asyncio.get_running_loop()
    while line := await loop.run_in_executor(None, sys.stdin.readline):
        callers, unsigned, sockets = (int(number) for number in line.split())
        blow = await gathered.come(callers, unsigned, sockets)
        print(msgspec.json.encode(blow).decode(), flush=True)


def main() -> None:
    """Ends when its input ends."""
    parser = argparse.ArgumentParser(prog="bench.crowd", description=__doc__)
    for name in ("url", "auth_token", "account"):
        parser.add_argument(name)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(_blows(parser.parse_args()))


if __name__ == "__main__":
    main()
