"""A model's stream that goes on for ever is cut, and what it would have held is not held."""

import asyncio
import tracemalloc
from collections.abc import AsyncGenerator, AsyncIterator

import msgspec
import pytest

from engine.clock import run_virtual
from engine.messages import ModelDelta, ModelDone, Respond, Usage
from engine.models import RoutedModel
from engine.overlong import CALLS_MOST, OVERLONG, TEXT_MOST
from engine.settings import Settings
from engine.tools import wrong_arguments
from engine.vendors.openai import EVENT_MOST, _events

ASK = Respond(1, 7, 0, [], [])
FLOOD = 10_000


class Flood:
    """A model that says the same for ever, and counts how often it was listened to."""

    name = "flood"

    def __init__(self, *pieces: ModelDelta) -> None:
        self.pieces = pieces
        self.read = 0
        self.left = False

    async def stream(self, ask: Respond) -> AsyncGenerator[ModelDelta | ModelDone, None]:
        try:
            for self.read in range(FLOOD):
                piece = self.pieces[min(self.read, len(self.pieces) - 1)]
                index = self.read if piece.tool_index == 99 else piece.tool_index
                yield msgspec.structs.replace(piece, tool_index=index)
            yield ModelDone(ask.request, "stop", Usage())
        finally:
            self.left = True


def pieces_of(flood: Flood) -> list[ModelDelta | ModelDone]:
    async def run() -> list[ModelDelta | ModelDone]:
        model = RoutedModel([flood], Settings(_env_file=None))  # type: ignore[call-arg]
        pieces = [piece async for piece in model.stream(ASK)]
        await model.close()
        return pieces

    return run_virtual(run())


def part(**of: object) -> ModelDelta:
    return ModelDelta(7, tool_index=0, **of)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "pieces",
    [
        (part(tool_name="book", tool_arguments="x" * 1000),),
        (part(tool_name="book"), part(tool_arguments="x" * 200)),
        (part(tool_name="book", tool_arguments="x" * 10_000_000),),
        (part(tool_name="b" * 10_000_000),),
        (part(tool_name="book", tool_arguments="\U0001f697" * 1000),),
        (part(tool_name="book", tool_arguments="\ud800" * 1000),),
        (ModelDelta(7, tool_index=99, tool_name="a"),),  # each a call of its own
    ],
    ids=["parts", "small parts", "one", "a name", "wide", "no text", "many calls"],
)
def test_calls_of_tools_over_the_limit_are_not_read_on(pieces: tuple[ModelDelta, ...]) -> None:
    flood = Flood(*pieces)
    *deltas, done = pieces_of(flood)
    assert isinstance(done, ModelDone)
    assert done.finish == OVERLONG
    assert flood.left
    assert flood.read < FLOOD / 10
    held = "".join(d.tool_name + d.tool_arguments for d in deltas if isinstance(d, ModelDelta))
    assert len(held.encode("utf-8", "surrogatepass")) <= CALLS_MOST
    assert held  # the model is told which call it was


def test_words_without_end_are_cut_like_a_reply_whose_tokens_ran_out() -> None:
    flood = Flood(ModelDelta(7, text="blah " * 100))
    *deltas, done = pieces_of(flood)
    assert isinstance(done, ModelDone)
    assert done.finish == "length"
    assert sum(len(d.text) for d in deltas if isinstance(d, ModelDelta)) <= TEXT_MOST
    assert flood.left


def test_calls_within_the_limit_pass_as_they_are() -> None:
    arguments = "x" * (CALLS_MOST - 300)

    class One(Flood):
        async def stream(self, ask: Respond) -> AsyncGenerator[ModelDelta | ModelDone, None]:
            yield part(tool_name="book", tool_arguments=arguments)
            yield ModelDone(ask.request, "tool_calls", Usage())

    delta, done = pieces_of(One())
    assert isinstance(delta, ModelDelta)
    assert isinstance(done, ModelDone)
    assert (delta.tool_arguments, done.finish) == (arguments, "tool_calls")


def test_the_mark_of_arguments_that_were_cut_is_none_that_a_tool_takes() -> None:
    assert "too long" in wrong_arguments(OVERLONG)


@pytest.mark.parametrize("line", [b"x" * 4096, b"data: " + b"x" * 4096 + b"\n"], ids=["one line", "many"])
async def test_an_event_without_end_is_not_held(line: bytes) -> None:
    sent = 0

    async def body() -> AsyncIterator[bytes]:
        nonlocal sent
        yield b"data: "
        while sent < 10_000_000:
            sent += len(line)
            await asyncio.sleep(0)
            yield line

    tracemalloc.start()
    try:
        with pytest.raises(msgspec.DecodeError, match="an event is over"):
            [event async for event in _events(body())]
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert sent < 2 * EVENT_MOST
    assert peak < 1_000_000
