"""HAProxy, with the configuration that Serve writes from our environment, before a replica that was just killed."""

import asyncio
import contextlib
import os
import socket
import struct
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path

import pytest

from launcher.environment import ray_environment
from launcher.haproxy import haproxy_binary
from launcher.ports import free_ports
from launcher.rundir import RunDirectory

pytestmark = pytest.mark.skipif(not haproxy_binary(), reason="there is no HAProxy on this machine")

LIMIT_S = 20.0
# What Serve's proxy actor does, without an actor.
WRITE_CONFIG = """
import sys
from ray.serve._private.haproxy import BackendConfig, HAProxyApi, HAProxyConfig, ServerConfig, get_haproxy_binary
from ray.serve.config import HTTPOptions
port, *servers = map(int, sys.argv[1:])
servers = [ServerConfig(name=f"replica{n}", host="127.0.0.1", port=one) for n, one in enumerate(servers)]
config = HAProxyConfig(http_options=HTTPOptions(host="127.0.0.1", port=port))
api = HAProxyApi(config, {"app": BackendConfig(name="app", path_prefix="/", servers=servers)})
api._generate_config_file_internal()
print(get_haproxy_binary(), api.config_file_path)
"""


async def answers(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """A replica that lives."""
    with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
        while head := await reader.readuntil(b"\r\n\r\n"):
            await reader.readexactly(3 if head.startswith(b"POST") else 0)
            writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok")
    writer.close()


class Dies:
    """A replica that is killed as soon as it has got a request: its sockets are reset one after the other."""

    def __init__(self) -> None:
        self.killed = asyncio.Event()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        if head.startswith(b"GET /-/healthz"):
            writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\nconnection: close\r\n\r\n")
            await writer.drain()
        else:
            self.killed.set()
            at_once = struct.pack("ii", 1, 0)
            writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, at_once)
        writer.close()


@contextlib.contextmanager
def haproxy(*servers: int) -> Iterator[int]:
    """HAProxy before these servers, by port, once it listens; its own port."""
    [port] = free_ports(1)
    with RunDirectory() as run:
        environment = {
            **os.environ,
            **ray_environment(run.path, max_call_s=60, drain_s=0, haproxy=haproxy_binary()),
        }
        command = [sys.executable, "-c", WRITE_CONFIG, str(port), *map(str, servers)]
        written = subprocess.run(command, env=environment, check=True, capture_output=True, timeout=60)
        binary, config = written.stdout.decode().split()
        assert Path(config).is_relative_to(run.path)
        with subprocess.Popen([binary, "-db", "-f", config], stderr=subprocess.DEVNULL) as process:
            try:
                wait_until_it_listens(port)
                yield port
            finally:
                process.kill()


def wait_until_it_listens(port: int) -> None:
    deadline = time.monotonic() + LIMIT_S
    while True:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=LIMIT_S).close()
            return
        except ConnectionRefusedError:
            assert time.monotonic() < deadline, "HAProxy doesn't listen"
            time.sleep(0.02)


def port_of(server: asyncio.Server) -> int:
    return int(server.sockets[0].getsockname()[1])


async def post(port: int, before_the_body: Callable[[], Awaitable[None]] | None = None) -> int:
    """The status of a request whose body comes in a packet of its own."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(b"POST /webhook HTTP/1.1\r\nhost: x\r\ncontent-length: 3\r\n\r\n")
    if before_the_body is not None:
        await before_the_body()
    writer.write(b"a=b")
    status = int((await reader.readuntil(b"\r\n\r\n")).split()[1])
    writer.close()
    return status


async def test_a_request_that_a_dying_replica_did_not_answer_is_answered_by_the_other() -> None:
    dying = Dies()

    async def has_the_head() -> None:
        """Long enough for HAProxy to pass the head on, if it does."""
        dying.killed.clear()
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(dying.killed.wait(), 0.2)

    killed = await asyncio.start_server(dying.serve, "127.0.0.1", 0)
    alive = await asyncio.start_server(answers, "127.0.0.1", 0)
    async with killed, alive, asyncio.timeout(LIMIT_S):
        with haproxy(port_of(killed), port_of(alive)) as port:
            statuses = [await post(port, has_the_head) for _ in range(4)]
            await dying.killed.wait()

    assert statuses == [200] * 4


async def test_many_requests_at_once_do_not_wait_for_a_replica_that_is_gone() -> None:
    checked = asyncio.Event()

    async def is_well(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Until it is gone. A server whose first check fails is down at once, any other's after the second."""
        checked.set()
        await answers(reader, writer)

    gone = await asyncio.start_server(is_well, "127.0.0.1", 0)
    alive = await asyncio.start_server(answers, "127.0.0.1", 0)
    async with gone, alive, asyncio.timeout(LIMIT_S):
        with haproxy(port_of(gone), port_of(alive)) as port:
            await checked.wait()
            gone.close()
            began_s = time.monotonic()
            statuses = await asyncio.gather(*(post(port) for _ in range(30)))
            took_s = time.monotonic() - began_s

    assert statuses == [200] * 30
    assert took_s < 0.9  # HAProxy's pause before it tries the last server again is 1 s


# ---------------------------------------------------------------- connections on which nothing comes


async def echoes(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """A replica that answers, and that says again what it is told on a socket."""
    with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
        while b"upgrade" not in await reader.readuntil(b"\r\n\r\n"):
            await reader.readexactly(3)
            writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok")
        writer.write(b"HTTP/1.1 101 Switching Protocols\r\nupgrade: echo\r\nconnection: upgrade\r\n\r\n")
        writer.write(await reader.readexactly(1))
    writer.close()


async def test_a_connection_on_which_no_whole_request_comes_is_closed_and_others_may_be_quiet() -> None:
    head, body = b"POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 3\r\n\r\n", b"a=b"
    replica = await asyncio.start_server(echoes, "127.0.0.1", 0)
    with haproxy(port_of(replica)) as port:
        async with replica, asyncio.timeout(LIMIT_S):
            idle, call = [await asyncio.open_connection("127.0.0.1", port) for _ in range(2)]
            idle[1].write(head + body)
            assert (await idle[0].readuntil(b"ok")).startswith(b"HTTP/1.1 200")
            call[1].write(b"GET / HTTP/1.1\r\nhost: x\r\nupgrade: echo\r\nconnection: upgrade\r\n\r\n")
            assert b" 101 " in await call[0].readuntil(b"\r\n\r\n")
            silent, half, body_to_come = [await asyncio.open_connection("127.0.0.1", port) for _ in range(3)]
            half[1].write(head[:-2])
            body_to_come[1].write(head)

            ends = await asyncio.gather(*(reader.read() for reader, _ in (silent, half, body_to_come)))

            assert [b" 200 " in end for end in ends] == [False] * 3
            await asyncio.sleep(0.5)  # they have been quiet for longer than any of those
            idle[1].write(head + body)
            assert (await idle[0].readuntil(b"ok")).startswith(b"HTTP/1.1 200")
            call[1].write(b"!")
            assert await call[0].readexactly(1) == b"!"
            for _, writer in (idle, call, silent, half, body_to_come):
                writer.close()


async def test_a_sender_on_this_machine_is_not_told_of_so_that_calls_can_be_asked_for_here() -> None:
    heads: list[bytes] = []

    async def remembers(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        heads.append(await reader.readuntil(b"\r\n\r\n"))
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\nconnection: close\r\n\r\n")
        writer.close()

    alive = await asyncio.start_server(remembers, "127.0.0.1", 0)
    async with alive, asyncio.timeout(LIMIT_S):
        with haproxy(port_of(alive)) as port:
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(b"GET /calls HTTP/1.1\r\nhost: x\r\n\r\n")
            await reader.readuntil(b"\r\n\r\n")
            writer.close()
    [head] = [one for one in heads if one.startswith(b"GET /calls")]
    assert b"forwarded" not in head.lower()
