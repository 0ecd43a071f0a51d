"""HAProxy as Serve starts it: nobody gets an answer that is not the app's, whatever Serve has told it so far."""

import asyncio
import os
import sys
from asyncio.subprocess import PIPE, Process
from pathlib import Path

import pytest

from launcher.environment import ray_environment
from launcher.haproxy import haproxy_binary
from launcher.ports import free_ports
from launcher.rundir import RunDirectory
from tests.launcher.test_haproxy_retries import answers, port_of, post

pytestmark = pytest.mark.skipif(not haproxy_binary(), reason="there is no HAProxy on this machine")

LIMIT_S = 60.0
# What Serve's proxy actors do, without an actor: one starts HAProxy, is told of an app, and loses HAProxy; the next one
# starts another, and is told that there is no app any more.
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
    api = HAProxyApi(config)
    await api.start()
    await told("knows nothing")
    server = ServerConfig(name="replica", host="127.0.0.1", port=replica)
    app = BackendConfig(name="app", path_prefix="/", servers=[server])
    api.set_backend_configs({"app": app})
    await api.reload()
    await told("knows the app")
    api._proc.kill()
    await api._proc.wait()
    api = HAProxyApi(config)
    await api.start()
    await told("is another")
    api.set_backend_configs({})
    await api.reload()
    await told("knows nothing")
    await api.stop()

asyncio.run(main())
"""


async def reaches(process: Process, step: str) -> None:
    assert process.stdout is not None
    assert (await process.stdout.readline()).decode().strip() == step


def go_on(process: Process) -> None:
    assert process.stdin is not None
    process.stdin.write(b"\n")


async def test_who_comes_is_answered_by_the_app_or_not_at_all(tmp_path: Path) -> None:
    [port] = free_ports(1)
    replica = await asyncio.start_server(answers, "127.0.0.1", 0)
    with RunDirectory() as run:
        environment = ray_environment(run.path, max_call_s=60, drain_s=0, haproxy=haproxy_binary())
        async with replica, asyncio.timeout(LIMIT_S):
            process = await asyncio.create_subprocess_exec(
                sys.executable,
                "-c",
                ACT,
                str(port),
                str(port_of(replica)),
                env={**os.environ, **environment},
                stdin=PIPE,
                stdout=PIPE,
            )
            try:
                await reaches(process, "knows nothing")
                with pytest.raises(ConnectionRefusedError):
                    await post(port)
                go_on(process)
                await reaches(process, "knows the app")
                assert await post(port) == 200
                go_on(process)
                await reaches(process, "is another")
                assert await post(port) == 200
                go_on(process)
                await reaches(process, "knows nothing")
                with pytest.raises(ConnectionRefusedError):
                    await post(port)
                go_on(process)
                assert await process.wait() == 0
            finally:
                if process.returncode is None:
                    process.kill()
                await process.wait()
