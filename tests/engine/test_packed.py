"""Calls inside the ingress process: who hears of whom, and for how long."""

import asyncio
import os
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

from engine.actor import Actor, Ref, spawn
from engine.clock import run_virtual
from engine.host import CallRuntime
from engine.hostpool import HostPlacement
from engine.messages import Attach, CallInfo, Down, Start, Tick
from engine.packed import PackedCalls

OPENS_IN_S = 2.0


class Call(Actor):
    """A CallActor that attaches, answers a Tick, and fails at anything else; ending takes it a while."""

    def __init__(self, stream: Ref, epoch: int, ends_in_s: float) -> None:
        super().__init__()
        self.stream, self._epoch, self._ends_in_s = stream, epoch, ends_in_s

    async def started(self) -> None:
        self.stream.tell(Attach(self._epoch, 1, 0))

    async def receive(self, message: Any) -> None:
        if not isinstance(message, Tick):
            raise ValueError(message)
        self.stream.tell(message)

    async def stopped(self) -> None:
        await asyncio.sleep(self._ends_in_s)
        self.stream.tell("last words")


@dataclass
class Stream:
    """What the stream of one placement has heard."""

    placement: HostPlacement
    heard: list[tuple[str, Any]]


class Replica:
    """An ingress's calls, and what has become of them in order."""

    def __init__(self, ends_in_s: float) -> None:
        self.made: list[Call] = []
        self.calls = PackedCalls(self._open, "a replica", 60.0)
        self.closed_with: list[bool] = []
        self._ends_in_s = ends_in_s
        spawn(self.calls, "calls")

    async def _open(self) -> CallRuntime:
        await asyncio.sleep(OPENS_IN_S)
        return CallRuntime(self._make, self._close, self._close)

    def _make(self, start: Start, ref: Callable[[str], Ref]) -> Call:
        self.made.append(Call(ref("stream"), start.last_epoch + 1, self._ends_in_s))
        return self.made[-1]

    async def _close(self) -> None:
        self.closed_with.append(all(call.over for call in self.made))

    async def place(self, call: str = "CA1", last_epoch: int = 0) -> Stream:
        heard: list[tuple[str, Any]] = []
        start = Start(CallInfo(call, "anonymous", "", False, 0.0), "MZ1", last_epoch)
        placement = await self.calls.place(
            start, lambda to, message: heard.append((to, message)), lambda _: None
        )
        assert heard == [], "it spoke before its stream knew where it is"
        await asyncio.sleep(0.001)
        return Stream(placement, heard)


def played(story: Callable[[Replica], Awaitable[None]], ends_in_s: float = 0.0) -> Replica:
    """A story in virtual time, and the end of its replica."""

    async def all_of_it() -> Replica:
        replica = Replica(ends_in_s)
        try:
            await story(replica)
        finally:
            await replica.calls.kill()
        return replica

    return run_virtual(all_of_it())


def test_a_call_waits_until_what_it_needs_is_connected_and_runs_in_this_process() -> None:
    async def story(replica: Replica) -> None:
        loop = asyncio.get_running_loop()
        began = loop.time()
        assert replica.calls.pids == ()
        stream = await replica.place()
        assert loop.time() - began >= OPENS_IN_S
        assert stream.heard == [("stream", Attach(1, 1, 0))]
        assert (stream.placement.host, stream.placement.pid) == ("a replica", os.getpid())
        assert replica.calls.pids == (os.getpid(),)

    played(story)


def test_a_call_that_fails_is_told_to_its_stream_alone() -> None:
    async def story(replica: Replica) -> None:
        failing, other = await replica.place("CA1"), await replica.place("CA2")
        failing.placement.call.tell("out of tune")
        await asyncio.sleep(0.001)
        assert failing.heard[1:] == [
            ("stream", "last words"),
            ("stream", Down("call", "ValueError: out of tune")),
        ]
        other.placement.call.tell(Tick("still there?"))
        await asyncio.sleep(0.001)
        assert other.heard[1:] == [("stream", Tick("still there?"))]

    played(story)


def test_after_a_failure_its_stream_places_the_call_again() -> None:
    async def story(replica: Replica) -> None:
        first = await replica.place()
        first.placement.call.tell("out of tune")
        await asyncio.sleep(0.001)
        second = await replica.place(last_epoch=1)
        assert second.heard == [("stream", Attach(2, 1, 0))]
        assert len(first.heard) == 3  # its Attach, its last words, its failure

    played(story)


def test_when_either_has_left_neither_hears_of_the_other() -> None:
    async def story(replica: Replica) -> None:
        stream = await replica.place()
        stream.placement.call.tell(Tick("goodbye"))
        stream.placement.leave()
        stream.placement.call.tell("out of tune")  # would make it fail
        await asyncio.sleep(0.001)
        replica.made[0].stream.tell("to nobody")
        assert not replica.made[0].over
        assert stream.heard == [("stream", Attach(1, 1, 0))]

    played(story)


def test_a_call_that_comes_again_has_one_actor_and_its_old_stream_hears_no_more() -> None:
    async def story(replica: Replica) -> None:
        old = await replica.place()
        new = await replica.place(last_epoch=1)
        assert [call.over for call in replica.made] == [True, False]
        old.placement.call.tell("meant for the old one")
        old.placement.leave()
        new.placement.call.tell(Tick("meant for the new one"))
        await asyncio.sleep(0.001)
        assert old.heard == [("stream", Attach(1, 1, 0))]
        assert new.heard == [("stream", Attach(2, 1, 0)), ("stream", Tick("meant for the new one"))]

    played(story, ends_in_s=0.5)


def test_a_call_that_is_wanted_by_two_streams_at_once_runs_once() -> None:
    async def story(replica: Replica) -> None:
        await replica.place()
        await asyncio.gather(replica.place(last_epoch=1), replica.place(last_epoch=1))
        assert [call.over for call in replica.made].count(False) == 1

    played(story, ends_in_s=0.5)


def test_the_failure_of_a_predecessor_is_not_taken_for_the_new_ones() -> None:
    async def story(replica: Replica) -> None:
        await replica.place()
        new = await replica.place(last_epoch=1)
        replica.calls.tell(Down("CA1", "of the old one, told late"))
        await asyncio.sleep(0.001)
        assert new.heard == [("stream", Attach(2, 1, 0))]

    played(story)


def test_the_end_of_the_replica_ends_its_calls_before_what_they_use_is_closed() -> None:
    async def story(replica: Replica) -> None:
        await replica.place("CA1")
        await replica.place("CA2")

    replica = played(story, ends_in_s=1.0)
    assert replica.closed_with == [True]
