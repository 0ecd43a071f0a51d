"""`python -m launcher.logs` (`make logs`): follows the logs of the running `make serve`."""

import os
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from launcher.errors import LaunchError
from launcher.locks import is_held
from launcher.serve import HOME
from launcher.tracks import read_run_file

_LOOK_S = 0.3
_FIRST_BYTES = 2000


class Follower:
    """New lines of all log files that are there, also of those that appear later."""

    def __init__(self, home: Path, run_dir: Path) -> None:
        self._home = home
        self._run_dir = run_dir
        self._offsets: dict[Path, int] = {}

    def lines(self) -> Iterator[str]:
        """What was written since the last look, each line after its file's name."""
        for path in self._files():
            try:
                size = path.stat().st_size
                start = self._offsets.setdefault(path, max(0, size - _FIRST_BYTES))
                if size < start:  # emptied or replaced
                    start = 0
                with path.open("rb") as file:
                    file.seek(start)
                    new = file.read(size - start)
            except OSError:  # rotated away between listing and reading
                self._offsets.pop(path, None)
                continue
            whole = new[: new.rfind(b"\n") + 1]
            self._offsets[path] = start + len(whole)
            for line in whole.decode(errors="replace").splitlines():
                yield f"{_short(path)} | {line}"

    def _files(self) -> list[Path]:
        ray = self._run_dir / "r"
        return [
            *self._home.glob("logs/*.log"),
            *self._home.glob("postgres/*.log"),
            *self._home.glob("valkey/*.log"),
            *ray.glob("session_2*/logs/serve/*.log"),
            *ray.glob("session_2*/logs/worker-*.err"),
        ]


def _short(path: Path) -> str:
    """`worker-<node>-<job>-<pid>` says no more than its process id."""
    return f"worker {path.stem.rpartition('-')[2]}" if path.stem.startswith("worker-") else path.stem


def main() -> None:
    """Follows until Ctrl-C, or until `make serve` ends."""
    try:
        facts = read_run_file(HOME)
        follower = Follower(HOME, Path(str(facts["run_dir"])))
        while True:
            running = is_held(HOME / "serve")
            for line in follower.lines():
                print(line)
            if not running:
                print("make serve has ended.")
                return
            sys.stdout.flush()
            time.sleep(_LOOK_S)
    except LaunchError as error:
        print(error, file=sys.stderr)
        sys.exit(1)
    except BrokenPipeError:  # piped into head
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except KeyboardInterrupt:
        print()


if __name__ == "__main__":
    main()
