"""`make reset` empties what is not in use; `make logs` follows what is; both find the run by its file."""

import json
from pathlib import Path

import pytest

from launcher.errors import LaunchError
from launcher.locks import DirectoryLock
from launcher.logs import Follower
from launcher.reset import reset
from launcher.tracks import read_run_file, write_run_file


def test_a_reset_removes_data_and_logs_and_nothing_else(tmp_path: Path) -> None:
    for name in ("postgres", "valkey", "logs", "kept"):
        (tmp_path / name).mkdir()

    assert reset(tmp_path) == ["postgres", "valkey", "logs"]
    assert (tmp_path / "kept").is_dir()
    assert not (tmp_path / "postgres").exists()


@pytest.mark.parametrize("owned", [".", "serve"])
def test_a_reset_is_refused_while_the_data_is_in_use(tmp_path: Path, owned: str) -> None:
    (tmp_path / "postgres").mkdir()
    lock = DirectoryLock(tmp_path / owned)
    lock.acquire()
    try:
        with pytest.raises(LaunchError, match="stop it first"):
            reset(tmp_path)
    finally:
        lock.release()
    assert (tmp_path / "postgres").is_dir()


def test_the_run_file_is_its_owners_alone_and_goes_with_the_run(tmp_path: Path) -> None:
    lock = DirectoryLock(tmp_path / "serve")
    lock.acquire()
    with write_run_file(tmp_path, {"url": "http://127.0.0.1:8000"}):
        path = tmp_path / "run.json"
        assert path.stat().st_mode & 0o777 == 0o600
        assert read_run_file(tmp_path) == {"url": "http://127.0.0.1:8000"}
    lock.release()

    with pytest.raises(LaunchError, match="make serve"):
        read_run_file(tmp_path)


def test_the_run_file_of_a_killed_run_is_not_believed(tmp_path: Path) -> None:
    (tmp_path / "run.json").write_text(json.dumps({"url": "http://127.0.0.1:8000"}))

    with pytest.raises(LaunchError, match="without tidying up"):
        read_run_file(tmp_path)


def test_logs_are_followed_line_by_line_into_files_that_appear_later(tmp_path: Path) -> None:
    logs = tmp_path / "logs"
    logs.mkdir()
    follower = Follower(tmp_path, tmp_path / "run")
    (logs / "speech.log").write_text("one\ntw")
    assert list(follower.lines()) == ["speech | one"]

    with (logs / "speech.log").open("a") as log:
        log.write("o\n")
    (logs / "receptionist.log").write_text("three\n")

    assert sorted(follower.lines()) == ["receptionist | three", "speech | two"]
    assert list(follower.lines()) == []


def test_a_log_that_was_emptied_is_read_from_its_beginning(tmp_path: Path) -> None:
    (tmp_path / "logs").mkdir()
    log = tmp_path / "logs" / "speech.log"
    follower = Follower(tmp_path, tmp_path / "run")
    log.write_text("a long line of the first start\n")
    assert list(follower.lines())
    log.write_text("two\n")

    assert list(follower.lines()) == ["speech | two"]
