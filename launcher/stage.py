"""What an app needs beside Ray, started in the background all at once: services, stand-ins, schema, rows."""

import asyncio
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Self

from engine.settings import Settings
from launcher.database import migrate, seed
from launcher.plan import Addresses, Plan, plan_for, settled
from launcher.services import Services
from launcher.vendors import LocalServer, local_receptionist, local_speech

MIGRATION_S = 120.0


class Stage:
    """What runs beside the app. `start` returns at once; `settings` waits and gives the addresses."""

    def __init__(
        self, settings: Settings, directory: Path | None, log_dir: Path, *, prepare: bool = True
    ) -> None:
        """`directory` keeps data, None throws it away; `prepare` migrates (and seeds a local database)."""
        self._given = settings
        self._prepare = prepare
        self.plan: Plan = plan_for(settings)
        self.services = Services(directory, postgres=self.plan.postgres, valkey=self.plan.valkey)
        self.speech = local_speech(log_dir) if self.plan.starts_speech else None
        self.receptionist = local_receptionist(log_dir) if self.plan.starts_receptionist else None
        self._pool = ThreadPoolExecutor(max_workers=3, thread_name_prefix="stage")
        self._starts: list[Future[None]] = []

    def __enter__(self) -> Self:
        work = [self._start_state, *(server.start for server in self.stand_ins)]
        self._starts = [self._pool.submit(part) for part in work]
        return self

    def __exit__(self, *raised: object) -> None:
        self._pool.shutdown(wait=True, cancel_futures=True)
        for server in self.stand_ins:
            server.stop()
        self.services.stop()

    @property
    def stand_ins(self) -> list[LocalServer]:
        """The local servers of this stage."""
        return [server for server in (self.speech, self.receptionist) if server]

    @property
    def pids(self) -> dict[str, int]:
        """Process ids by name, of those that run."""
        servers = {server.name: server.pid for server in self.stand_ins}
        return {**self.services.pids, **{name: pid for name, pid in servers.items() if pid is not None}}

    @property
    def addresses(self) -> Addresses:
        """Where what was started is reached. Waits; raises the first failure (`LaunchError`)."""
        for start in self._starts:
            start.result()
        return Addresses(
            self.services.database_url,
            self.services.redis_url,
            self.speech.url if self.speech else "",
            self.receptionist.url if self.receptionist else "",
        )

    def settings(self) -> Settings:
        """The settings with the addresses of what was started. Raises as `addresses` does."""
        return settled(self._given, self.addresses)

    def revive(self) -> list[str]:
        """Starts stand-ins that ended, on their old ports; returns their names."""
        ended = [server for server in self.stand_ins if not server.running]
        for server in ended:
            server.stop()
            server.start()
        return [server.name for server in ended]

    def _start_state(self) -> None:
        if self.plan.postgres or self.plan.valkey:
            self.services.start()
        if self._prepare:
            asyncio.run(self._prepare_database(self.services.database_url or self._given.database_url))

    async def _prepare_database(self, url: str) -> None:
        async with asyncio.timeout(MIGRATION_S):
            await migrate(url)
            if self.plan.postgres:
                await seed(url, self._given.timezone)
