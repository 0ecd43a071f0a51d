"""What a run leaves for others to find: `run.json` while it runs, logs when it has ended."""

import contextlib
import json
import os
import shutil
import sys
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from launcher.errors import LaunchError
from launcher.locks import is_held

RUN_FILE = "run.json"


@contextlib.contextmanager
def write_run_file(directory: Path, facts: Mapping[str, Any]) -> Iterator[None]:
    """Writes `directory/run.json`, readable by its owner alone, and removes it at the end."""
    path = directory / RUN_FILE
    draft = path.with_suffix(".draft")
    draft.unlink(missing_ok=True)
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w") as file:
        json.dump(dict(facts), file, indent=2)
    draft.rename(path)
    try:
        yield
    finally:
        path.unlink(missing_ok=True)


def read_run_file(directory: Path) -> dict[str, Any]:
    """The facts of the app that runs with `directory`. Raises `LaunchError` when none does."""
    path = directory / RUN_FILE
    try:
        facts = dict(json.loads(path.read_text()))
    except (OSError, ValueError):
        raise LaunchError("Nothing is running here: start it with make serve.") from None
    if not is_held(directory / "serve"):
        raise LaunchError("The last run ended without tidying up: start it again with make serve.")
    return facts


@contextlib.contextmanager
def keep_logs(run_dir: Path, log_dir: Path, directory: Path | None) -> Iterator[None]:
    """Keeps Ray's logs: always with a `directory` of the user's, else only when the run failed."""
    try:
        yield
    except Exception:
        if directory is None:
            log_dir = Path(tempfile.mkdtemp(prefix="trunkline-logs-"))
            _copy(run_dir / "logs", log_dir)
            print(f"The logs of this run are in {log_dir}", file=sys.stderr)
        _copy_ray(run_dir, log_dir)
        raise
    if directory is not None:
        _copy_ray(run_dir, log_dir)


def _copy_ray(run_dir: Path, log_dir: Path) -> None:
    shutil.rmtree(log_dir / "ray", ignore_errors=True)
    for session in (run_dir / "r").glob("session_2*"):
        _copy(session / "logs", log_dir / "ray")


def _copy(source: Path, target: Path) -> None:
    if source.is_dir():
        shutil.copytree(source, target, dirs_exist_ok=True, ignore_dangling_symlinks=True)
