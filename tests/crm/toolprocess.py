"""A process that runs tools, and can be stopped at a point of a booking, to be killed there.

    python -m tests.crm.toolprocess    reads orders, a line of JSON each, and starts a process for each one

Starting is a fork: what is imported takes a second, and is imported once. A process answers on the socket that its
order names, one request a connection. It prints `PID ready`; and `PID stopped` when it has come to its order's point,
where nothing of it goes on any more until it is killed, or told to by SIGUSR1.
"""

import asyncio
import contextlib
import datetime as dt
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from typing import Any

import msgspec

from crm.context import House
from crm.nhtsa import Nhtsa
from crm.pgwork import PgWork
from crm.postgres import PostgresRecords
from crm.records import AppointmentRecord, NewAppointment, Stored
from crm.tools import DealershipTools
from engine.messages import ToolRequest

NOW = dt.datetime(2026, 11, 24, 16, 15, tzinfo=dt.UTC)
LIMIT_S = 60.0  # of a process that nobody killed

RUN = (
    "before the request",
    "before the transaction",
    "inside the transaction",
    "after the commit",
    "before the reply",
    "after the reply",
)
# The run is not done, or its reply is lost; then what became of it is asked for.
SETTLE = tuple(
    f"{lost}, settling: {point}" for point in RUN[:-1] for lost in ("the request lost", "the reply lost")
)
LOST = b"lost"


class Order(msgspec.Struct, frozen=True):
    """A process to start. `point`: where it stops, one of `RUN` and `SETTLE`, or "" for never."""

    database_url: str
    socket: str
    point: str = ""


class Stop:
    """Where this process stops, once. `door` is what is being served."""

    def __init__(self, point: str) -> None:
        self._settling = "settling" in point
        self._point = point.rpartition(": ")[2]
        self.loses_request = point.startswith("the request lost")
        self.loses_reply = point.startswith("the reply lost")
        self.door = ""

    def at(self, point: str) -> None:
        """Stops if this is the point."""
        if self._point == point and (self.door == "settle") == self._settling:
            self._point = ""
            print(os.getpid(), "stopped", flush=True)
            signal.sigwait({signal.SIGUSR1})


class StoppingWork(PgWork):
    """A unit of work that stops when its change is written and not committed."""

    stop: Stop

    async def book(self, new: NewAppointment) -> AppointmentRecord:
        row = await super().book(new)
        self.stop.at("inside the transaction")
        return row

    async def store(self, key: str, call: str, tool: str, stored: Stored) -> None:
        await super().store(key, call, tool, stored)
        self.stop.at("inside the transaction")

    async def stored(self, key: str) -> Stored | None:
        found = await super().stored(key)
        if found is not None:
            self.stop.at("inside the transaction")
        return found


class StoppingRecords(PostgresRecords):
    """Records that stop before a unit of work, inside it, and when it is committed."""

    def __init__(self, database_url: str, stop: Stop) -> None:
        super().__init__(database_url)
        self._stop = stop

    @contextlib.asynccontextmanager
    async def work(self) -> AsyncIterator[PgWork]:
        self._stop.at("before the transaction")
        async with super().work() as work:
            stopping = StoppingWork(work._session)
            stopping.stop = self._stop
            yield stopping
        self._stop.at("after the commit")


class Server:
    """Answers requests, each `run` or `settle`, and a `ToolRequest` as JSON."""

    def __init__(self, order: Order) -> None:
        self._order = order
        self._stop = Stop(order.point)

    async def serve(self) -> None:
        """Until it is killed."""
        stop = self._stop
        house = House("Trunkline Motors", "America/Chicago")
        records = StoppingRecords(self._order.database_url, stop)
        self._tools = DealershipTools(records, Nhtsa("http://127.0.0.1:9"), house, lambda: NOW)
        point, stop._point = stop._point, ""  # opening is not the booking
        await self._tools.open()
        stop._point = point
        async with await asyncio.start_unix_server(self._answer, self._order.socket):
            print(os.getpid(), "ready", flush=True)
            await asyncio.sleep(LIMIT_S)

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        stop = self._stop
        stop.door = (await reader.readline()).decode().strip()
        stop.at("before the request")
        asked = msgspec.json.decode(await reader.readline(), type=ToolRequest)
        if stop.door == "run" and stop.loses_request:
            answer = LOST
        else:
            tools = self._tools
            result = await (tools.run(asked) if stop.door == "run" else tools.settle(asked))
            stop.at("before the reply")
            answer = LOST if stop.door == "run" and stop.loses_reply else msgspec.json.encode(result)
        writer.write(answer + b"\n")
        await writer.drain()
        stop.at("after the reply")
        writer.close()


def main() -> None:
    """Starts a process for each order, until there are no more."""
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # nobody waits for them
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGUSR1})
    for line in sys.stdin:
        order = msgspec.json.decode(line, type=Order)
        if os.fork() == 0:
            sys.stdin.close()
            try:
                asyncio.run(Server(order).serve())
            finally:
                os._exit(1)


# ---------------------------------------------------------------- the side of who asks


class Starter:
    """The process that starts the others, for as long as it is wanted."""

    def __enter__(self) -> "Starter":
        command = [sys.executable, "-m", "tests.crm.toolprocess"]
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, bufsize=0)
        return self

    def __exit__(self, *_: object) -> None:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.close()
        self.process.stdout.close()
        self.process.wait(timeout=30)


class Processes:
    """Starts such processes, one after the other, and knows where the present one answers."""

    def __init__(self, starter: Starter, database_url: str, folder: str) -> None:
        self._starter = starter.process
        self._database_url = database_url
        self._folder = folder
        self._count = 0
        self.address = ""
        self.pid = 0

    async def __aenter__(self) -> "Processes":
        assert self._starter.stdout is not None
        self._lines = asyncio.StreamReader()
        self._pipe, _ = await asyncio.get_running_loop().connect_read_pipe(
            lambda: asyncio.StreamReaderProtocol(self._lines),
            os.fdopen(os.dup(self._starter.stdout.fileno())),
        )
        return self

    async def __aexit__(self, *_: object) -> None:
        self.kill()
        self._pipe.close()

    async def start(self, point: str = "") -> None:
        """A new process, which answers from now on."""
        self._count += 1
        address = f"{self._folder}/{self._count}"
        assert self._starter.stdin is not None
        self._starter.stdin.write(msgspec.json.encode(Order(self._database_url, address, point)) + b"\n")
        self.pid = await self._told("ready")
        self.address = address

    async def stopped(self) -> None:
        """Until the present process has come to its point."""
        assert await self._told("stopped") == self.pid

    async def _told(self, what: str) -> int:
        async with asyncio.timeout(600):
            while line := (await self._lines.readline()).decode().split():
                if line[1:] == [what]:
                    return int(line[0])
        raise AssertionError(f"nobody was {what}")

    def kill(self) -> None:
        """The present process is no more."""
        if self.pid:
            os.kill(self.pid, signal.SIGKILL)
        self.pid, self.address = 0, ""

    def go_on(self) -> None:
        """The present process goes on from where it stopped."""
        os.kill(self.pid, signal.SIGUSR1)


async def ask(address: str, door: str, request: ToolRequest) -> Any:
    """The answer's bytes; raises `OSError` or `EOFError` if none comes."""
    reader, writer = await asyncio.open_unix_connection(address)
    try:
        writer.write(door.encode() + b"\n" + msgspec.json.encode(request) + b"\n")
        await writer.drain()
        answer = await reader.readline()
        if not answer:
            raise EOFError
        return answer.strip()
    finally:
        writer.close()


if __name__ == "__main__":
    main()
