"""An HAProxy is killed: another takes over at once, and leaves when Serve has replaced it, but not before its calls."""

import asyncio
import contextlib
import os
import sys
import time
from asyncio.subprocess import PIPE
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from launcher import processes
from launcher.environment import ray_environment
from launcher.haproxy import haproxy_binary
from launcher.ports import free_ports
from launcher.rundir import RunDirectory
from launcher.understudy import understudy
from tests.launcher.test_haproxy_retries import port_of, post
from tests.whole.bench import eventually

BINARY = haproxy_binary() or ""
pytestmark = pytest.mark.skipif(not BINARY, reason="there is no HAProxy on this machine")

LIMIT_S = 60.0
# Serve's proxy actors, without an actor: one is told of the app and loses HAProxy; much later the next starts another.
ACT = """
import asyncio, sys
from ray.serve._private.haproxy import BackendConfig, HAProxyApi, HAProxyConfig, ServerConfig
from ray.serve.config import HTTPOptions
port, replica = map(int, sys.argv[1:])

async def told(step):
    print(step, flush=True)
    await asyncio.to_thread(sys.stdin.readline)

async def main():
    config = HAProxyConfig(http_options=HTTPOptions(host="127.0.0.1", port=port))
    server = ServerConfig(name="replica", host="127.0.0.1", port=replica)
    for step in ("knows the app", "is another"):
        api = HAProxyApi(config)
        await api.start()
        api.set_backend_configs({"app": BackendConfig(name="app", path_prefix="/", servers=[server])})
        await api.reload()
        await told(step)
        api._proc.kill()
        await api._proc.wait()
        await told("was killed")

asyncio.run(main())
"""


class Replica:
    """Answers, though not before it may."""

    def __init__(self) -> None:
        self.may_answer = asyncio.Event()
        self.may_answer.set()
        self.asked = asyncio.Event()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            while head := await reader.readuntil(b"\r\n\r\n"):
                if head.startswith(b"POST"):
                    await reader.readexactly(3)
                    self.asked.set()
                    await self.may_answer.wait()
                writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok")
        writer.close()


class Stage:
    """Serve's HAProxy, as `ACT` has it."""

    def __init__(self, process: asyncio.subprocess.Process, port: int, directory: Path) -> None:
        self._process = process
        self.port = port
        self.directory = directory

    async def reaches(self, step: str) -> None:
        assert self._process.stdout is not None
        assert (await self._process.stdout.readline()).decode().strip() == step

    def go_on(self) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(b"\n")

    def haproxies(self) -> list[int]:
        return processes.find(self.directory, {"haproxy"})

    async def answers(self) -> bool:
        with contextlib.suppress(OSError, asyncio.IncompleteReadError):
            return await post(self.port) == 200
        return False


@contextlib.asynccontextmanager
async def stage(replica: Replica) -> AsyncIterator[Stage]:
    [port] = free_ports(1)
    server = await asyncio.start_server(replica.serve, "127.0.0.1", 0)
    with RunDirectory() as run:
        environment = ray_environment(run.path, max_call_s=60, drain_s=0, haproxy=BINARY)
        command = [sys.executable, "-c", ACT, str(port), str(port_of(server))]
        process = await asyncio.create_subprocess_exec(
            *command, env={**os.environ, **environment}, stdin=PIPE, stdout=PIPE
        )
        async with server, asyncio.timeout(LIMIT_S):
            try:
                yield Stage(process, port, run.path / "h")
            finally:
                process.kill()
                await process.wait()


async def test_when_haproxy_is_killed_another_answers_and_leaves_when_serves_is_back() -> None:
    replica = Replica()
    async with stage(replica) as serves:
        await serves.reaches("knows the app")
        with understudy(serves.directory, BINARY):
            serves.go_on()
            await serves.reaches("was killed")
            await eventually(serves.answers, "an HAProxy of ours")
            [ours] = serves.haproxies()
            stays_until_s = time.monotonic() + 0.5  # it looks whether it is needed, all the time
            while time.monotonic() < stays_until_s:
                assert await post(serves.port) == 200
            assert serves.haproxies() == [ours]
            replica.asked.clear()
            replica.may_answer.clear()
            call = asyncio.create_task(post(serves.port))
            await replica.asked.wait()

            serves.go_on()
            await serves.reaches("is another")

            replica.may_answer.set()
            assert await call == 200

            async def left() -> bool:
                return ours not in serves.haproxies()

            await eventually(left, "its end")
            assert await post(serves.port) == 200
            assert serves.haproxies()


async def test_nothing_is_left_of_it() -> None:
    async with stage(Replica()) as serves:
        await serves.reaches("knows the app")
        with understudy(serves.directory, BINARY):
            assert len(serves.haproxies()) == 1  # while all is well there is none of ours
            serves.go_on()
            await serves.reaches("was killed")
            await eventually(serves.answers, "an HAProxy of ours")
        assert serves.haproxies() == []
