"""Local stand-ins are children: ready before they are used, back where they were, never left behind."""

import os
import select
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from engine.settings import Settings
from launcher import processes
from launcher.children import ChildProcess
from launcher.errors import LaunchError
from launcher.stage import Stage
from launcher.vendors import LocalServer, local_receptionist

ROOT = Path(__file__).parents[2]


def test_a_stand_in_that_was_killed_is_started_again_on_its_port(tmp_path: Path) -> None:
    given = Settings(
        _env_file=None, deepgram_api_key="k", database_url="postgresql://x", redis_url="redis://x"
    )  # type: ignore[call-arg]
    with Stage(given, tmp_path, tmp_path, prepare=False) as stage:
        address = stage.settings().openai_base_url
        [killed] = stage.pids.values()
        os.kill(killed, signal.SIGKILL)

        # A process whose threads are still ending looks dead, and can't be waited for yet.
        revived_names: list[str] = []
        deadline = time.monotonic() + 30
        while not revived_names and time.monotonic() < deadline:
            revived_names = stage.revive()
        assert revived_names == ["receptionist"]
        [revived] = stage.pids.values()
        assert stage.settings().openai_base_url == address
        assert revived != killed
        assert stage.revive() == []
    assert not processes.alive(revived)


def test_a_stand_in_that_can_not_start_is_told_with_its_last_words(tmp_path: Path) -> None:
    server = LocalServer("nonesuch", "local.nonesuch", tmp_path / "nonesuch.log")

    with pytest.raises(LaunchError, match=r"nonesuch ended at its start .*No module named"):
        server.start()
    assert not server.running


def test_a_child_that_ignores_the_signal_is_killed(tmp_path: Path) -> None:
    deaf = "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('deaf'); signal.pause()"
    child = ChildProcess("deaf", [sys.executable, "-c", deaf], tmp_path / "deaf.log", stop_s=0.2)
    child.start()
    child.wait_for_line("^deaf$", 30)
    pid = child.pid

    child.stop()

    assert not processes.alive(pid)


def test_a_child_that_never_says_it_is_ready_is_given_up(tmp_path: Path) -> None:
    silent = [sys.executable, "-c", "input()"]
    child = ChildProcess("silent", silent, tmp_path / "silent.log")
    child.start()
    try:
        with pytest.raises(LaunchError, match=r"silent was not ready after 0\.05 s: see .*silent\.log"):
            child.wait_for_line("^ready$", 0.05)
    finally:
        child.stop()


@pytest.mark.skipif(sys.platform != "linux", reason="the kernel signals orphans on Linux only")
def test_a_child_ends_with_its_parent_however_that_ends(tmp_path: Path) -> None:
    code = f"""
import sys
import time
from pathlib import Path
from launcher.children import ChildProcess
child = ChildProcess("child", [sys.executable, "-c", "import signal; signal.pause()"], Path({str(tmp_path)!r}) / "log")
child.start()
print(child.pid, flush=True)
sys.stdin.read()
"""
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    parent = subprocess.Popen(
        [sys.executable, "-c", code],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env=environment,
    )
    assert parent.stdout is not None
    pid = int(parent.stdout.readline())
    assert processes.alive(pid)
    parent.kill()
    parent.communicate(timeout=30)

    watch = os.pidfd_open(pid) if processes.alive(pid) else None
    if watch is not None:
        ended, _, _ = select.select([watch], [], [], 30)
        os.close(watch)
        assert ended
    assert not processes.alive(pid)


def test_the_receptionist_is_ready_when_its_start_returns(tmp_path: Path) -> None:
    server = local_receptionist(tmp_path)
    server.start()
    try:
        assert server.running
        assert server.url == f"http://127.0.0.1:{server.port}"
    finally:
        server.stop()
    assert not server.running
