"""`python -m launcher.reset` (`make reset`): empties the local data of `make serve`."""

import shutil
import sys
from pathlib import Path

from launcher.errors import LaunchError
from launcher.locks import is_held, owner_of
from launcher.postgres import Postgres
from launcher.serve import HOME
from launcher.valkey import Valkey


def reset(home: Path) -> list[str]:
    """Removes databases and logs under `home`; says what was there. `LaunchError` while they are in use."""
    home = home.resolve()
    for owned in (home / "serve", home):
        if is_held(owned):
            raise LaunchError(f"make serve is running (process {owner_of(owned)}): stop it first.")
    for server in (Postgres(home / "postgres", durable=True), Valkey(home / "valkey", durable=True)):
        server.clear_stale()
    removed = [name for name in ("postgres", "valkey", "logs", "run.json") if (home / name).exists()]
    for name in removed:
        path = home / name
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink()
    return removed


def main() -> None:
    """Resets, and says so."""
    try:
        removed = reset(HOME)
    except LaunchError as error:
        print(error, file=sys.stderr)
        sys.exit(1)
    print(f"Removed {', '.join(removed)} from {HOME}." if removed else f"There is nothing in {HOME}.")


if __name__ == "__main__":
    main()
