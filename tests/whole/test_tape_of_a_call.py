"""A real call goes on tape, and the tape into the real actors, in virtual time."""

import asyncio
import time
from pathlib import Path

import pytest

from engine.messages import CallEnded
from engine.tape import TapeError, TapeLine, read_tape
from tests.virtual.replays import NoHush, again
from tests.whole.bench import Bench, Talk, eventually
from tests.whole.booking import sarah_books

pytestmark = [pytest.mark.whole, pytest.mark.asyncio(loop_scope="session")]


@pytest.mark.call(made_by=sarah_books)
async def test_the_tape_of_a_whole_call_goes_the_same_way_again_a_hundred_times_faster(
    bench: Bench, talk: Talk
) -> None:
    await talk.ended()
    path = Path(bench.app.settings.tape_dir) / f"{talk.sid}.jsonl"

    async def whole() -> list[TapeLine] | None:
        try:
            tape = await asyncio.to_thread(read_tape, path)
        except TapeError:
            return None
        return tape if any(isinstance(line.message, CallEnded) for line in tape) else None

    tape = await eventually(whole, "the tape's end")

    began = time.perf_counter()
    difference = await asyncio.to_thread(again, tape)
    took = time.perf_counter() - began

    assert difference is None, str(difference)
    print(f"{tape[-1].t:.1f} s of call in {took * 1000:.0f} ms: {tape[-1].t / took:.0f} times faster")
    assert tape[-1].t / took > 100
    without = await asyncio.to_thread(again, tape, NoHush)
    assert without is not None
    assert "Hush" in without.expected
