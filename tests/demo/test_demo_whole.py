"""The demo itself, as `make demo` runs it: real speech both ways, a booking in Postgres, nothing left behind."""

import json
import os
import random
import secrets
import subprocess
import sys
import wave
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("moonshine_voice")
pytest.importorskip("piper")

pytestmark = [pytest.mark.whole, pytest.mark.speech]

ROOT = Path(__file__).resolve().parents[2]
LIMIT_S = 300
_MARK = "TRUNKLINE_DEMO_RUN"


def _demo(home: Path, *options: str) -> tuple[int, str, dict[str, Any]]:
    """Runs the demo in a directory of its own; returns exit status, output and result."""
    run = secrets.token_hex(16)
    result = home / "result.json"
    done = subprocess.run(
        [sys.executable, "-m", "demo", "--plain", "--json", str(result), *options],
        cwd=home,
        env={**os.environ, "PYTHONPATH": str(ROOT), _MARK: run},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=LIMIT_S,
        check=False,
    )
    assert _left_running(run) == [], done.stdout
    assert result.exists(), done.stdout
    return done.returncode, done.stdout, json.loads(result.read_text())


def _left_running(run: str) -> list[str]:
    """Command lines of processes that the run started and that are still there."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if f"{_MARK}={run}".encode() in (process / "environ").read_bytes():
                found.append((process / "cmdline").read_bytes().replace(b"\0", b" ").decode())
        except OSError:
            continue  # it ended meanwhile, or belongs to somebody else
    return [command for command in found if command]


def test_a_caller_who_speaks_and_hears_gets_exactly_the_booking_they_wished_for(tmp_path: Path) -> None:
    seed = random.SystemRandom().randrange(100_000)
    status, output, result = _demo(tmp_path, "--seed", str(seed))
    assert status == 0, output
    assert [(b["service"], b["starts_at"]) for b in result["bookings"]] == [
        (result["wish"]["service"], result["wish"]["starts_at"])
    ]
    assert result["outcome"] == "completed", output
    assert "said goodbye" in result["stages"], output
    assert "Sarah" in result["agent_said"][0], output
    assert len(result["caller_heard_as"]) >= 3, output
    with wave.open(
        result["wav"] if Path(result["wav"]).is_absolute() else str(tmp_path / result["wav"])
    ) as wav:
        assert wav.getnchannels() == 2
        assert wav.getnframes() / wav.getframerate() > 10


def test_a_mute_caller_books_nothing_and_is_asked_and_told_goodbye(tmp_path: Path) -> None:
    status, output, result = _demo(tmp_path, "--seed", "1", "--mute")
    assert status == 0, output
    assert result["bookings"] == [], output
    assert result["outcome"] == "silent", output
    assert "Are you still there?" in result["agent_said"], output
    assert result["agent_said"][-1] == "Goodbye.", output
    assert result["caller_heard_as"] == [], output
