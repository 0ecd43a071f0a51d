"""HAProxy is what carries a call, not Serve's own proxy."""

import asyncio
import os
from pathlib import Path

import pytest

from launcher import processes
from simulators.caller import Caller
from tests.whole.bench import Bench, eventually

pytestmark = [pytest.mark.whole, pytest.mark.asyncio(loop_scope="session")]


def ancestors(pid: int) -> list[int]:
    """The process's parents, the nearest first."""
    found = []
    while pid > 1:
        pid = int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
        found.append(pid)
    return found


REPLICA = "http-default,SERVE_REPLICA"  # in HAProxy's table, before an ingress replica's name


async def haproxy_says(bench: Bench, command: str) -> str:
    """What HAProxy's stats socket answers. Raises `OSError` while there is no HAProxy."""
    name = Path(bench.app.ray_environment["RAY_SERVE_HAPROXY_SOCKET_PATH"]).name
    [socket] = (bench.app.run_dir / "h").glob(f"*/{name}")
    async with asyncio.timeout(10):
        reader, writer = await asyncio.open_unix_connection(socket)
        writer.write(f"{command}\n".encode())
        answer = await reader.read()
        writer.close()
        await writer.wait_closed()
    return answer.decode()


async def test_haproxy_carries_the_call(bench: Bench) -> None:
    listing = []

    async def knows_all_replicas() -> bool:
        table = await haproxy_says(bench, "show stat")
        return table.count(REPLICA) == bench.app.settings.ingress_replicas

    # Until then it is restarted with a new configuration, and calls of before are with the old process.
    await eventually(knows_all_replicas, "all ingress replicas in HAProxy's table")

    async def person(c: Caller) -> None:
        await c.hears("help you today")
        assert c.line.leg is not None
        assert c.line.leg._socket is not None
        own_port = c.line.leg._socket.local_address[1]
        sessions = await haproxy_says(bench, "show sess")
        listing.extend(line for line in sessions.splitlines() if f"src=127.0.0.1:{own_port} " in line)

    talk = await bench.dial(person)
    await talk.ended()

    haproxies = processes.find(bench.app.run_dir, {"haproxy"})
    assert haproxies
    assert all(os.getpid() in ancestors(pid) for pid in haproxies)
    [session] = listing
    assert "be=http-default" in session
    assert "Ingress" in session
