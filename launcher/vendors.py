"""The local stand-ins for speech and the model, each a child process with a log and a port."""

import socket
import sys
from dataclasses import dataclass, field
from pathlib import Path

from launcher.children import ChildProcess
from launcher.errors import LaunchError

_READY_LINE = r"^listening on (\d+)$"


@dataclass
class LocalServer:
    """`python -m module --port N --with-parent`, which prints `listening on <port>` when it is ready.

    The port of the first start is kept, so that a restarted server is found where it was.
    """

    name: str
    module: str
    log: Path
    start_s: float = 60.0
    arguments: tuple[str, ...] = ()
    port: int = 0
    _child: ChildProcess | None = field(default=None, repr=False)

    def start(self) -> None:
        """Starts it and waits until it listens. Raises `LaunchError` with its last words."""
        command = [
            sys.executable,
            "-m",
            self.module,
            "--port",
            str(self.port),
            "--with-parent",
            *self.arguments,
        ]
        child = ChildProcess(self.name, command, self.log)
        child.start()
        try:
            self.port = int(child.wait_for_line(_READY_LINE, self.start_s).group(1))
            with socket.create_connection(("127.0.0.1", self.port), timeout=5):
                pass
        except OSError as error:
            child.stop()
            raise LaunchError(
                f"{self.name} does not answer on port {self.port} ({error}): see {self.log}."
            ) from None
        except BaseException:
            child.stop()
            raise
        self._child = child

    @property
    def running(self) -> bool:
        """Whether it was started and has not ended."""
        return self._child is not None and self._child.running()

    @property
    def pid(self) -> int | None:
        """Its process id while it is started."""
        return self._child.pid if self._child else None

    @property
    def url(self) -> str:
        """Where it listens."""
        return f"http://127.0.0.1:{self.port}"

    def stop(self) -> None:
        """Stops it. Safe to call twice."""
        child, self._child = self._child, None
        if child is not None:
            child.stop()


def local_speech(log_dir: Path) -> LocalServer:
    """Deepgram's protocol, spoken by Moonshine and Piper (GPL, hence a process of their own)."""
    return LocalServer("local speech", "local.speech", log_dir / "speech.log", start_s=120.0)


def local_receptionist(log_dir: Path) -> LocalServer:
    """OpenAI's protocol, answered by rules."""
    return LocalServer("receptionist", "local.receptionist", log_dir / "receptionist.log")
