"""A real call goes on tape, and the tape into the real actors, in virtual time."""

import asyncio
import time
from pathlib import Path
from typing import Any

import pytest

from actors.call import CallActor
from actors.replay import Difference, replay
from engine.clock import run_virtual
from engine.messages import CallEnded, Hush
from engine.tape import TapeError, TapeLine, read_tape
from tests.whole.bench import Bench, eventually
from tests.whole.test_whole_call import booking_call

pytestmark = [pytest.mark.whole, pytest.mark.asyncio(loop_scope="session")]


class _NoHush(CallActor):
    """The engine with `Hush` taken out."""

    async def started(self) -> None:
        await super().started()
        media = self._ports.media

        class Deaf:
            def tell(self, message: Any) -> None:
                if not isinstance(message, Hush):
                    media.tell(message)

        object.__setattr__(self._ports, "media", Deaf())


def again(tape: list[TapeLine], actor_class: type[CallActor] = CallActor) -> Difference | None:
    return run_virtual(replay(tape, actor_class))


async def test_the_tape_of_a_whole_call_goes_the_same_way_again_a_hundred_times_faster(bench: Bench) -> None:
    talk = await booking_call(bench)
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
    without = await asyncio.to_thread(again, tape, _NoHush)
    assert without is not None
    assert "Hush" in without.expected
