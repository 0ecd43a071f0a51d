"""The wire of a link: messages cross at once, a dead host is known at once, a hung one soon; strangers stay out."""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any

import pytest
import uvloop
from hypothesis import given
from hypothesis import strategies as st

from engine import wire
from engine.clock import now, run_virtual
from engine.link import LinkEnd, encode
from engine.messages import Attach, Cancel, Noted, SttBack, Took
from engine.wire import Address, Door, HostWire, NearWire, connect, new_token
from tests.engine.wires import join

SILENT_S = 0.75
BEAT_S = SILENT_S / wire.MISSED_BEATS

CALL = "CA1"


LOST_LIMIT_S = 60.0  # of virtual time: a link that is never lost fails the test


class Linked:
    """Two ends with one call on a wire."""

    def __init__(self) -> None:
        self.near, self.far = LinkEnd(), LinkEnd()
        self.at_near: list[Any] = []
        self.at_far: list[Any] = []
        self.near.open(CALL, "MZ1", lambda _, message: self.at_near.append(message))
        self.far.open(CALL, "MZ1", lambda _, message: self.at_far.append(message))
        self.wire = NearWire(self.near, b"", SILENT_S)
        self.out, self.back = join(self.wire, HostWire(self.far))

    async def lost(self) -> str:
        """Waits until the near half says that it has lost the host; why."""
        return await asyncio.wait_for(asyncio.shield(self.wire.gone), LOST_LIMIT_S)

    async def attached(self) -> None:
        self.far.tell(CALL, "stream", Attach(1, 1, 0))
        await asyncio.sleep(0.001)
        assert self.at_near == [Attach(1, 1, 0)]


def played(story: Callable[[Linked], Awaitable[None]]) -> None:
    async def all_of_it() -> None:
        linked = Linked()
        await linked.attached()
        await story(linked)
        linked.wire.close()
        await asyncio.sleep(0.001)

    run_virtual(all_of_it())


def test_messages_cross_at_once_both_ways_and_a_quiet_link_lives() -> None:
    async def story(linked: Linked) -> None:
        linked.near.tell(CALL, "call", SttBack(1))
        await asyncio.sleep(0.001)
        assert linked.at_far == [SttBack(1)]
        await asyncio.sleep(60)
        assert not linked.wire.gone.done()

    played(story)


def test_what_is_told_in_one_turn_of_the_loop_is_one_write() -> None:
    async def story(linked: Linked) -> None:
        before = len(linked.out.writes)
        for n in range(5):
            linked.near.tell(CALL, "call", SttBack(n))
        await asyncio.sleep(0.001)
        assert linked.at_far == [SttBack(n) for n in range(5)]
        assert len(linked.out.writes) == before + 1

    played(story)


def test_what_may_wait_goes_with_the_next_message_or_after_a_moment() -> None:
    async def story(linked: Linked) -> None:
        linked.near.tell(CALL, "call", Took(1))
        linked.far.tell(CALL, "media", Noted(1))
        await asyncio.sleep(wire.LINGER_S / 2)
        assert linked.at_far == []
        assert linked.at_near[1:] == []
        await asyncio.sleep(wire.LINGER_S)
        assert linked.at_far == [Took(1)]
        assert linked.at_near[1:] == [Noted(1)]

        linked.near.tell(CALL, "call", Took(2))
        linked.near.tell(CALL, "call", SttBack(1))
        linked.near.tell(CALL, "call", Took(3))
        await asyncio.sleep(0.001)
        assert linked.at_far[1:] == [Took(2), SttBack(1), Took(3)]

    played(story)


def test_a_dead_host_is_known_at_once() -> None:
    async def story(linked: Linked) -> None:
        died = now()
        linked.back.abort()
        assert "ended" in await linked.lost()
        assert now() - died < 0.01
        linked.near.tell(CALL, "call", SttBack(1))  # nobody is woken, nothing breaks

    played(story)


def test_a_host_that_hangs_is_lost_after_its_time() -> None:
    async def story(linked: Linked) -> None:
        await asyncio.sleep(10)
        hangs_since = now()
        linked.back.stuck = True
        assert "no answer" in await linked.lost()
        assert SILENT_S - BEAT_S <= now() - hangs_since <= SILENT_S + BEAT_S

    played(story)


def test_a_stall_of_our_own_loop_is_no_evidence_about_the_host() -> None:
    async def story(linked: Linked) -> None:
        loop: Any = asyncio.get_running_loop()
        for _ in range(20):
            loop.jump(30.0)  # half a minute passes in which nothing of ours runs
            await asyncio.sleep(0)
            await asyncio.sleep(BEAT_S)
        assert not linked.wire.gone.done()

    played(story)


def test_a_host_that_hangs_is_found_although_our_own_loop_stalls() -> None:
    async def story(linked: Linked) -> None:
        linked.back.stuck = True
        loop: Any = asyncio.get_running_loop()
        for _ in range(8):
            loop.jump(1.0)
            await asyncio.sleep(BEAT_S)
        assert linked.wire.gone.done()

    played(story)


@given(st.lists(st.integers(1, 9), min_size=1, max_size=60))
def test_pieces_of_any_size_are_put_together(sizes: list[int]) -> None:
    async def story() -> None:
        end, heard = LinkEnd(), []
        end.open(CALL, "MZ1", lambda _, message: heard.append(message))
        half = HostWire(end)
        told = [Cancel(n) for n in range(len(sizes))]
        sender = LinkEnd()
        sender.open(CALL, "MZ1", lambda *_: None)
        data = b""
        for message in told:
            sender.tell(CALL, "call", message)
            batch = encode(sender.take())
            data += len(batch).to_bytes(4) + batch
        at = 0
        for size in [*sizes, len(data)]:
            half.data_received(data[at : at + size])
            at += size
        assert heard == told

    asyncio.run(story())


@pytest.mark.parametrize("data", [b"\xff\xff\xff\xff", b"\0\0\0\x03abc"], ids=["too long", "not a batch"])
def test_what_is_no_batch_ends_the_link(data: bytes) -> None:
    async def story(linked: Linked) -> None:
        linked.wire.data_received(data)
        assert linked.wire.gone.done()

    played(story)


# ---------------------------------------------------------------- real sockets


Run = Callable[[Coroutine[Any, Any, None]], None]


@pytest.fixture(params=[asyncio.new_event_loop, uvloop.new_event_loop], ids=["asyncio", "uvloop"])
def run(request: pytest.FixtureRequest) -> Run:
    """Runs a story on a loop of asyncio's, and on one of uvloop's, which is what Ray's workers have."""

    def run_it(story: Coroutine[Any, Any, None]) -> None:
        with asyncio.Runner(loop_factory=request.param) as runner:
            runner.run(story)

    return run_it


class Heard:
    """An end with one call, and what comes to it."""

    def __init__(self) -> None:
        self.end = LinkEnd()
        self.end.open(CALL, "MZ1", lambda _, message: self._messages.put_nowait(message))
        self._messages: asyncio.Queue[Any] = asyncio.Queue()

    async def next(self) -> Any:
        return await asyncio.wait_for(self._messages.get(), 10)


async def all_of(reader: asyncio.StreamReader) -> bytes:
    """What comes until the connection ends, in order or by a reset."""
    try:
        return await asyncio.wait_for(reader.read(), 10)
    except ConnectionResetError:
        return b""


async def open_door(end: LinkEnd) -> tuple[Address, bytes]:
    token = new_token()
    return await Door(end).open("127.0.0.1", token), token


def test_a_replica_with_the_token_is_let_in_and_the_door_is_shut_behind_it(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(wire, "LINGER_S", 3600.0)

    async def story() -> None:
        near, host = Heard(), Heard()
        near.end.tell(CALL, "call", SttBack(1))  # before there is a wire: it is not lost
        address, token = await open_door(host.end)
        half = await connect(near.end, address, token, SILENT_S)
        assert await host.next() == SttBack(1)
        host.end.tell(CALL, "stream", Attach(1, 1, 0))
        assert await near.next() == Attach(1, 1, 0)
        host.end.tell(CALL, "stream", Noted(1))  # for an hour, but for what is told next
        host.end.tell(CALL, "stream", Cancel(1))
        assert [await near.next(), await near.next()] == [Noted(1), Cancel(1)]
        with pytest.raises(ConnectionError):
            await asyncio.open_connection(*address)
        half.close()

    run(story())


def test_a_stranger_is_shown_out_and_hears_nothing(run: Run) -> None:
    async def story() -> None:
        host = Heard()
        address, token = await open_door(host.end)
        host.end.tell(CALL, "stream", Attach(1, 1, 0))
        reader, writer = await asyncio.open_connection(*address)
        writer.write(b"x" * wire.TOKEN_BYTES)
        assert await all_of(reader) == b""
        writer.close()
        near = Heard()
        half = await connect(near.end, address, token, SILENT_S)  # who is waited for still gets in
        assert await near.next() == Attach(1, 1, 0)
        half.close()

    run(story())


def test_a_connection_that_shows_nothing_is_ended_in_time(monkeypatch: pytest.MonkeyPatch, run: Run) -> None:
    monkeypatch.setattr(wire, "SHOW_LIMIT_S", 0.2)

    async def story() -> None:
        address, _ = await open_door(LinkEnd())
        reader, writer = await asyncio.open_connection(*address)
        assert await all_of(reader) == b""
        writer.close()

    run(story())
