import asyncio
import json
import os
import stat
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine import messages, tape
from engine.clock import outside, run_virtual
from engine.messages import Final, Interim, Message, ModelDelta, Respond, TurnEnded
from engine.tape import TapeError, TapeLine, TapeStarted, TapeWriter, read_tape

SAID = Interim(1, "an oil change")
ASKED = Respond(1, 2, 0, [{"role": "user", "content": "an “oil”\nchange"}], [{"type": "function"}])


def write(path: Path, *lines: tuple[str, str, Message]) -> None:
    async def call() -> None:
        writer = TapeWriter(path, "CA1")
        writer.start()
        for line in lines:
            writer.record(*line)
        await writer.close()

    asyncio.run(call())


# ---------------------------------------------------------------- there and back


def test_what_was_recorded_is_read_back_as_the_same_messages(tmp_path: Path) -> None:
    path = tmp_path / "tapes" / "CA1.jsonl"
    write(path, ("in", "stt", SAID), ("out", "llm", ASKED), ("model", "openai", ModelDelta(2, "Sure")))

    started, *lines = read_tape(path)
    assert isinstance(started.message, TapeStarted)
    assert started.message.call == "CA1"
    assert [(line.dir, line.peer, line.message) for line in lines] == [
        ("in", "stt", SAID),
        ("out", "llm", ASKED),
        ("model", "openai", ModelDelta(2, "Sure")),
    ]


def test_a_line_is_json_that_others_can_read(tmp_path: Path) -> None:
    path = tmp_path / "CA1.jsonl"
    write(path, ("in", "stt", SAID))
    line = path.read_text().splitlines()[1]
    assert json.loads(line)["message"] == {"type": "Interim", "utterance": 1, "text": "an oil change"}
    assert line.startswith('{"t":0.')
    assert len(line.split(",")[0].split(".")[1]) == 6


def test_every_message_of_the_vocabulary_can_be_on_a_tape() -> None:
    vocabulary = {
        kind
        for kind in vars(messages).values()
        if isinstance(kind, type) and issubclass(kind, Message) and kind is not Message
    }
    assert set(get_args(tape.AnyMessage)) == vocabulary | {TapeStarted}


@given(said=st.lists(st.tuples(st.text(), st.text(), st.text())))
def test_whatever_is_said_comes_back(tmp_path_factory: pytest.TempPathFactory, said: list[Any]) -> None:
    path = tmp_path_factory.mktemp("tape") / "CA1.jsonl"
    write(path, *((way, peer, Final(n, text)) for n, (way, peer, text) in enumerate(said)))
    found = [(line.dir, line.peer, line.message) for line in read_tape(path)[1:]]
    assert found == [(way, peer, Final(n, text)) for n, (way, peer, text) in enumerate(said)]


def test_times_are_those_of_the_calls_clock(tmp_path: Path) -> None:
    async def call() -> None:
        writer = TapeWriter(tmp_path / "CA1.jsonl", "CA1")
        writer.start()
        loop = asyncio.get_running_loop()
        for second in (0.25, 61.5, 3.0):
            later = loop.create_future()
            loop.call_later(second, later.set_result, None)
            await later
            writer.record("in", "stt", SAID)
        await writer.close()

    run_virtual(call(), wall_start=1_700_000_000.0)
    started, *lines = read_tape(tmp_path / "CA1.jsonl")
    assert started.message == TapeStarted("CA1", 1_700_000_000.0)
    assert [line.t for line in lines] == pytest.approx([0.25, 61.75, 64.75], abs=1e-3)


def test_a_resumed_call_goes_on_with_its_tape(tmp_path: Path) -> None:
    path = tmp_path / "CA1.jsonl"
    write(path, ("in", "stt", SAID))
    write(path, ("in", "stt", Final(1, "an oil change please")))
    kinds = [type(line.message).__name__ for line in read_tape(path)]
    assert kinds == ["TapeStarted", "Interim", "TapeStarted", "Final"]


def test_only_its_owner_can_read_a_tape(tmp_path: Path) -> None:
    write(tmp_path / "CA1.jsonl")
    assert stat.S_IMODE((tmp_path / "CA1.jsonl").stat().st_mode) == 0o600


# ---------------------------------------------------------------- tapes that can't be read

GOOD = b'{"t":0.1,"dir":"in","peer":"stt","message":{"type":"Interim","utterance":1,"text":"hi"}}\n'


@pytest.mark.parametrize(
    "bad",
    [
        b"\n",
        b"not json\n",
        b'{"t":0.1,"dir":"in","peer":"stt"}\n',
        b'{"t":"soon","dir":"in","peer":"stt","message":{"type":"Took","utterance":1}}\n',
        b'{"t":0.1,"dir":"in","peer":"stt","message":{"type":"Gossip","utterance":1}}\n',
        b'{"t":0.1,"dir":"in","peer":"stt","message":{"type":"Took","utterance":"one"}}\n',
        b'{"t":0.1,"dir":"in","peer":"stt","message":{"type":"Interim","utterance":1,"text":"\xff"}}\n',
        b"[" * 100_000 + b"\n",
    ],
)
def test_a_bad_line_is_named(tmp_path: Path, bad: bytes) -> None:
    path = tmp_path / "bad.jsonl"
    path.write_bytes(GOOD + GOOD + bad + GOOD)
    with pytest.raises(TapeError, match=r"bad\.jsonl, line 3: "):
        read_tape(path)


def test_a_tape_that_was_cut_off_is_told_from_a_whole_one(tmp_path: Path) -> None:
    path = tmp_path / "cut.jsonl"
    path.write_bytes(GOOD + GOOD[:-20])
    with pytest.raises(TapeError, match="line 2: cut off"):
        read_tape(path)
    path.write_bytes(GOOD)
    assert read_tape(path) == [TapeLine(0.1, "in", "stt", Interim(1, "hi"))]


@given(content=st.binary() | st.lists(st.sampled_from([GOOD, GOOD[:-1], b"{}", b"\n"])).map(b"".join))
def test_any_bytes_are_a_tape_or_an_error_that_says_where(
    tmp_path_factory: pytest.TempPathFactory, content: bytes
) -> None:
    path = tmp_path_factory.mktemp("tape") / "any.jsonl"
    path.write_bytes(content)
    if content == GOOD * content.count(b"\n"):
        assert len(read_tape(path)) == content.count(b"\n")
    else:
        with pytest.raises(TapeError, match=r"any\.jsonl, line \d+: "):
            read_tape(path)


def test_a_tape_that_is_not_there_is_an_error_of_ours(tmp_path: Path) -> None:
    with pytest.raises(TapeError, match="nowhere"):
        read_tape(tmp_path / "nowhere")


# ---------------------------------------------------------------- never in the call's way


async def written(path: Path, lines: int) -> None:
    """Waits until the file holds that many lines."""

    def watch() -> None:
        give_up = time.monotonic() + 30
        while not path.exists() or path.read_bytes().count(b"\n") < lines:
            assert time.monotonic() < give_up, "nothing was written"
            time.sleep(0.01)

    with ThreadPoolExecutor(1) as pool:
        await asyncio.get_running_loop().run_in_executor(pool, watch)


async def test_lines_are_on_disk_while_the_call_goes_on(tmp_path: Path) -> None:
    path = tmp_path / "CA1.jsonl"
    writer = TapeWriter(path, "CA1")
    writer.start()
    writer.record("in", "stt", SAID)
    await written(path, 2)
    writer.record("in", "stt", TurnEnded(1, "an oil change"))
    await written(path, 3)
    await writer.close()


def test_a_talkative_second_is_not_kept_in_memory_until_it_is_over(tmp_path: Path) -> None:
    """On a clock that stands still the second never ends, so only the bound in bytes can write."""

    async def call() -> None:
        path = tmp_path / "CA1.jsonl"
        writer = TapeWriter(path, "CA1")
        writer.start()
        for n in range(100):
            writer.record("in", "stt", Final(n, "x" * 1000))
        await outside(written(path, 60))
        await writer.close()
        assert len(read_tape(path)) == 101

    run_virtual(call())


async def test_a_disk_that_refuses_ends_the_tape_and_not_the_call(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    writer = TapeWriter(tmp_path / "file" / "CA1.jsonl", "CA1")
    writer.start()
    writer.record("in", "stt", SAID)
    await writer.close()
    assert writer.failed
    writer.record("in", "stt", SAID)
    await writer.close()


async def test_a_disk_that_hangs_costs_bounded_memory_and_holds_nobody_up(tmp_path: Path) -> None:
    path = tmp_path / "pipe"
    os.mkfifo(path)  # opening it to write blocks until somebody reads
    writer = TapeWriter(path, "CA1")
    writer.start()
    recorded = 0
    while not writer.failed:
        writer.record("in", "stt", Final(recorded, "x" * 100_000))
        recorded += 1
    assert 70 < recorded < 90
    await writer.close(timeout=0.2)
    assert not [task for task in asyncio.all_tasks() if task.get_name() == "tape"]


async def test_closing_does_not_wait_for_a_disk_that_hangs(tmp_path: Path) -> None:
    path = tmp_path / "pipe"
    os.mkfifo(path)
    writer = TapeWriter(path, "CA1")
    writer.start()
    writer.record("in", "stt", SAID)
    async with asyncio.timeout(30):
        await writer.close(timeout=0.2)
    assert writer.failed
    reader = os.open(path, os.O_RDONLY | os.O_NONBLOCK)  # lets the thread go
    os.close(reader)


async def test_a_message_that_is_no_json_ends_the_tape_and_not_the_call(tmp_path: Path) -> None:
    writer = TapeWriter(tmp_path / "CA1.jsonl", "CA1")
    writer.start()
    writer.record("in", "stt", Final(1, "\ud800"))
    assert writer.failed
    await writer.close()
