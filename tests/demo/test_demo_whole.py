"""The demo itself, as `make demo` runs it: real speech both ways, a booking made, moved and cancelled, nothing left."""

import json
import os
import random
import secrets
import subprocess
import sys
import threading
import wave
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("moonshine_voice")
pytest.importorskip("piper")

pytestmark = [pytest.mark.whole, pytest.mark.speech]

ROOT = Path(__file__).resolve().parents[2]
LIMIT_S = 300
_MARK = "TRUNKLINE_DEMO_RUN"


@dataclass(frozen=True)
class Run:
    """A demo that is over; `result` is what it wrote with `--json`."""

    home: Path
    status: int
    output: str
    result: dict[str, Any]


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> tuple[Run, Run]:
    """The demo with a caller who speaks, and with one who is mute, one after the other: a start takes both cores."""
    seed = random.SystemRandom().randrange(100_000)
    return (
        _demo(tmp_path_factory.mktemp("speaking"), "--seed", str(seed)),
        _demo(tmp_path_factory.mktemp("mute"), "--seed", "1", "--mute"),
    )


def _demo(home: Path, *options: str) -> Run:
    """Runs the demo in a directory of its own."""
    run = secrets.token_hex(16)
    result = home / "result.json"
    process = subprocess.Popen(
        [sys.executable, "-m", "demo", "--plain", "--json", str(result), *options],
        cwd=home,
        env={**os.environ, "PYTHONPATH": str(ROOT), _MARK: run},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    limit = threading.Timer(LIMIT_S, process.kill)
    limit.start()
    try:
        output, _ = process.communicate()
    finally:
        limit.cancel()
    assert _left_running(run) == [], output
    assert result.exists(), output
    return Run(home, process.returncode, output, json.loads(result.read_text()))


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


def test_a_caller_who_speaks_and_hears_books_moves_and_cancels_as_they_wished(runs: tuple[Run, Run]) -> None:
    speaking, _ = runs
    result, output = speaking.result, speaking.output
    assert speaking.status == 0, output
    wish = result["wish"]
    assert [(b["service"], b["starts_at"], b["status"]) for b in result["bookings"]] == [
        (wish["service"], wish["moves_to"], "cancelled")
    ]
    assert result["changes"][0]["what"] == "booked", output
    assert result["changes"][-1]["what"] == "cancelled", output
    assert wish["starts_at"] in [c["starts_at"] for c in result["changes"]], output
    assert wish["starts_at"] != wish["moves_to"]
    assert (result["ending"], result["outcome"]) == ("completed", "cancelled"), output
    told = ["heard that it is booked", "heard that it is moved", "heard that it is cancelled", "said goodbye"]
    assert [stage for stage in result["stages"] if stage in told] == told, output
    assert "Sarah" in result["agent_said"][0], output
    assert len(result["caller_heard_as"]) >= 3, output
    with wave.open(str(speaking.home / result["wav"])) as wav:
        assert wav.getnchannels() == 2
        assert wav.getnframes() / wav.getframerate() > 10


def test_a_mute_caller_books_nothing_and_is_asked_and_told_goodbye(runs: tuple[Run, Run]) -> None:
    _, mute = runs
    result, output = mute.result, mute.output
    assert mute.status == 0, output
    assert result["bookings"] == [], output
    assert (result["ending"], result["outcome"]) == ("silent", "abandoned"), output
    assert "Are you still there?" in result["agent_said"], output
    assert result["agent_said"][-1] == "Goodbye.", output
    assert result["caller_heard_as"] == [], output
