"""The demo itself, as `make demo` runs it: real speech both ways, a booking in Postgres, nothing left behind."""

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


class Demo:
    """One under way, in a directory of its own; what it prints is read by a thread."""

    def __init__(self, home: Path, *options: str) -> None:
        self._home, self._result = home, home / "result.json"
        self._run = secrets.token_hex(16)
        self._lines: list[str] = []
        self._greeted = threading.Event()  # or it is over
        self._process = subprocess.Popen(
            [sys.executable, "-u", "-m", "demo", "--plain", "--json", str(self._result), *options],
            cwd=home,
            env={**os.environ, "PYTHONPATH": str(ROOT), _MARK: self._run},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        self._limit = threading.Timer(LIMIT_S, self._process.kill)
        self._limit.start()
        self._reader = threading.Thread(target=self._read)
        self._reader.start()

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            self._lines.append(line)
            if "How can I help you today?" in line:
                self._greeted.set()
        self._greeted.set()

    def wait_for_the_greeting(self) -> None:
        """Until its start, which takes both cores, is done, and the agent has greeted the caller."""
        self._greeted.wait()

    def over(self) -> Run:
        """Waits for its end."""
        self._reader.join()
        status = self._process.wait()
        self._limit.cancel()
        output = "".join(self._lines)
        assert _left_running(self._run) == [], output
        assert self._result.exists(), output
        return Run(self._home, status, output, json.loads(self._result.read_text()))


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> tuple[Run, Run]:
    """The demo with a caller who speaks, and with one who is mute: the second starts while the first waits in vain."""
    seed = random.SystemRandom().randrange(100_000)
    mute = Demo(tmp_path_factory.mktemp("mute"), "--seed", "1", "--mute")
    mute.wait_for_the_greeting()
    speaking = Demo(tmp_path_factory.mktemp("speaking"), "--seed", str(seed))
    return speaking.over(), mute.over()


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


def test_a_caller_who_speaks_and_hears_gets_exactly_the_booking_they_wished_for(
    runs: tuple[Run, Run],
) -> None:
    speaking, _ = runs
    result, output = speaking.result, speaking.output
    assert speaking.status == 0, output
    assert [(b["service"], b["starts_at"]) for b in result["bookings"]] == [
        (result["wish"]["service"], result["wish"]["starts_at"])
    ]
    assert result["outcome"] == "completed", output
    assert "said goodbye" in result["stages"], output
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
    assert result["outcome"] == "silent", output
    assert "Are you still there?" in result["agent_said"], output
    assert result["agent_said"][-1] == "Goodbye.", output
    assert result["caller_heard_as"] == [], output
