"""Postgres and Valkey for as long as they are needed: one owner starts, watches and stops them.

with Services(Path(".trunkline")) as services:
    print(services.database_url, services.redis_url)
"""

import asyncio
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Self

from launcher.locks import DirectoryLock
from launcher.postgres import Postgres
from launcher.rundir import RunDirectory
from launcher.valkey import Valkey


class Services:
    """Starts what is asked for, in parallel, on free loopback ports, with passwords of their own.

    Works with `with` and with `async with`. `directory` keeps data for the next start; None is a private
    directory that is removed at the end. A second owner of the same directory is refused (`LaunchError`).
    """

    def __init__(self, directory: Path | None = None, *, postgres: bool = True, valkey: bool = True) -> None:
        self._throwaway = directory is None
        self._given = directory
        self._want_postgres = postgres
        self._want_valkey = valkey
        self._home: Path | None = None
        self._lock: DirectoryLock | None = None
        self._run: RunDirectory | None = None
        self._postgres: Postgres | None = None
        self._valkey: Valkey | None = None
        self.database_url = ""
        self.redis_url = ""

    @property
    def pids(self) -> dict[str, int]:
        """Process ids by name, of those that run."""
        servers = {"postgres": self._postgres, "valkey": self._valkey}
        return {name: server.pid for name, server in servers.items() if server and server.pid is not None}

    @property
    def logs(self) -> dict[str, Path]:
        """Log files by name."""
        servers = {"postgres": self._postgres, "valkey": self._valkey}
        return {name: server.log for name, server in servers.items() if server}

    def start(self) -> Self:
        """Starts and waits until both answer. Raises `LaunchError`; nothing is left running then."""
        try:
            self._home = self._own_home()
            self._lock = DirectoryLock(self._home)
            self._lock.acquire()
            self._start_servers(self._home)
        except BaseException:
            self.stop()
            raise
        return self

    def _own_home(self) -> Path:
        if self._given:
            home = self._given.resolve()
        else:
            self._run = RunDirectory()
            home = self._run.__enter__().path / "services"
        home.mkdir(parents=True, exist_ok=True)
        return home

    def _start_servers(self, home: Path) -> None:
        durable = not self._throwaway
        with ThreadPoolExecutor(max_workers=2, thread_name_prefix="services") as pool:
            starts = []
            if self._want_postgres:
                self._postgres = Postgres(home / "postgres", durable=durable)
                starts.append(pool.submit(self._postgres.start))
            if self._want_valkey:
                self._valkey = Valkey(home / "valkey", durable=durable)
                starts.append(pool.submit(self._valkey.start))
        urls = [start.result() for start in starts]
        self.database_url = urls[0] if self._want_postgres else ""
        self.redis_url = urls[-1] if self._want_valkey else ""

    def stop(self) -> None:
        """Stops both and gives the directory back. Safe to call twice."""
        with ThreadPoolExecutor(max_workers=2, thread_name_prefix="services") as pool:
            stops = [pool.submit(server.stop) for server in (self._postgres, self._valkey) if server]
        self._postgres = self._valkey = None
        if self._lock is not None:
            self._lock.release()
            self._lock = None
        if self._run is not None:
            self._run.__exit__()
            self._run = None
        for stopped in stops:
            stopped.result()

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *raised: object) -> None:
        self.stop()

    async def __aenter__(self) -> Self:
        return await asyncio.to_thread(self.start)

    async def __aexit__(self, *raised: object) -> None:
        await asyncio.to_thread(self.stop)
