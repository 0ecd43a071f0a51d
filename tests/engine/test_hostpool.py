"""The hosts of a replica: a spare, room for calls, and hosts that are given back; their processes are this one."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from engine.actor import Actor, Ref, spawn
from engine.clock import run_virtual
from engine.gauges import Gauges, gauges
from engine.host import CallHost, CallRuntime, HostLost
from engine.hostpool import CLOSE_ALL_LIMIT_S, HostPlacement, HostPool
from engine.link import LinkEnd
from engine.messages import Attach, CallInfo, Start, Tick
from engine.supervision import Hosts
from engine.wire import HostWire, NearWire
from tests.engine.wires import join

POLICY = Hosts(start_s=60.0, silent_s=0.75, make_again_s=1.0, resumed_s=1.0, empty_s=30.0, outage_s=1.0)


class Call(Actor):
    """A CallActor that attaches and then does nothing."""

    def __init__(self, stream: Ref) -> None:
        super().__init__()
        self._stream = stream

    async def started(self) -> None:
        self._stream.tell(Attach(1, 1, 0))

    async def receive(self, message: Any) -> None:
        raise ValueError(message)


class Process:
    """A host in this process: it runs a real CallHost, and notes how it is ended."""

    def __init__(self, hangs: bool, cold: bool, warms_in_s: float) -> None:
        self.name = "a host"
        self.calls: list[Call] = []
        self.ends: list[str] = []
        self.warm_now = False
        self.written = asyncio.Event()  # what its calls' log held
        self.written.set()
        self._hangs, self._cold, self._warms_in_s = hangs, cold, warms_in_s
        self._host = CallHost(self._open)

    async def _open(self) -> CallRuntime:
        return CallRuntime(self._make_call, self._close, self._settle)

    def _make_call(self, start: Start, ref: Callable[[str], Ref]) -> Actor:
        self.calls.append(Call(ref("stream")))
        return self.calls[-1]

    async def _settle(self) -> None:
        await self.written.wait()

    async def _close(self) -> None:
        assert all(call.over for call in self.calls)
        self.ends.append("closed")

    async def warm(self, end: LinkEnd) -> int:
        if self._cold:
            raise HostLost("not warm")
        await asyncio.sleep(self._warms_in_s)
        await self._host.warm()
        self._near = NearWire(end, b"", 0.75)
        join(self._near, HostWire(self._host.end))
        self.warm_now = True
        return id(self)

    def dies(self) -> None:
        """Is lost, as if it had been killed."""
        self._near.gone.set_result("killed")

    async def lost(self) -> str:
        try:
            return await self._near.gone
        finally:
            self._near.close()

    async def gauges(self) -> Gauges:
        if self._hangs:
            raise HostLost("no gauges")
        return gauges("host")

    async def settle(self, limit_s: float) -> None:
        try:
            async with asyncio.timeout(limit_s):
                await self._host.settle()
        except TimeoutError:
            raise HostLost("not all is written") from None

    async def close(self) -> None:
        if self._hangs:
            await asyncio.Event().wait()
        await self._host.close()

    def kill(self) -> None:
        self.ends.append("killed")


class Replica:
    """A pool and the processes that it has started."""

    def __init__(
        self,
        calls_per_host: int = 1,
        *,
        spares: int = 1,
        hang: bool = False,
        cold: int = 0,
        warms_in_s: float = 0.0,
    ) -> None:
        self.processes: list[Process] = []
        self.pool = HostPool(self._start, calls_per_host, spares, POLICY)
        self.most_at_once = 0
        self._hang, self._cold, self._warms_in_s = hang, cold, warms_in_s
        spawn(self.pool, "hosts")

    def _start(self) -> Process:
        self.processes.append(Process(self._hang, len(self.processes) < self._cold, self._warms_in_s))
        self.most_at_once = max(self.most_at_once, sum(not process.warm_now for process in self.processes))
        return self.processes[-1]

    async def place(self, call: str) -> HostPlacement:
        """A call's stream finds a host; its CallActor has attached."""
        attached = asyncio.Event()
        start = Start(CallInfo(call, "anonymous", "", False, 0.0), "MZ1", 0)
        placement = await self.pool.place(start, lambda *_: attached.set(), lambda _: None)
        async with asyncio.timeout(10):
            await attached.wait()
        return placement

    async def peak(self, calls: int) -> None:
        """So many calls at once, of which none is left."""
        for placement in [await self.place(f"CA{n}") for n in range(calls)]:
            placement.leave()

    def ended(self) -> list[list[str]]:
        """How the processes that have ended did."""
        return [process.ends for process in self.processes if process.ends]


def played(story: Callable[[Replica], Awaitable[None]], *given: int, **more: Any) -> Replica:
    """A story in virtual time, and the end of its replica."""

    async def all_of_it() -> Replica:
        replica = Replica(*given, **more)
        try:
            await story(replica)
            await asyncio.sleep(0.1)  # of virtual time: what links still had to say is said
        finally:
            await replica.pool.kill()
        return replica

    return run_virtual(all_of_it())


def test_the_first_call_of_an_idle_replica_leaves_a_warm_host_beside_its_own() -> None:
    async def story(replica: Replica) -> None:
        await replica.pool.ready()
        await asyncio.sleep(1)
        made = len(replica.processes)
        call = await replica.place("CA1")
        assert len(set(replica.pool.pids) - {call.pid}) == 1
        assert len(replica.processes) == made, "it had to be made first"

    played(story)


def test_while_calls_of_a_lost_host_are_led_again_no_host_is_started_but_for_those_that_wait() -> None:
    async def story(replica: Replica) -> None:
        await replica.pool.ready()
        await replica.place("CA1")
        await asyncio.sleep(1)
        first, *_ = [one for one in replica.processes if one.calls]
        made = len(replica.processes)
        first.dies()
        await asyncio.sleep(0.01)  # it is known
        await replica.place("CA1")
        await asyncio.sleep(POLICY.resumed_s / 2)
        assert len(replica.processes) == made
        await asyncio.sleep(POLICY.resumed_s)
        assert len(replica.processes) == made + 1

        second, *_ = [one for one in replica.processes if one.calls and one is not first]
        second.dies()
        await asyncio.sleep(0.01)
        await replica.place("CA1")
        await replica.place("CA2")  # there is room on none
        assert len(replica.processes) > made + 1

    played(story)


def test_after_a_peak_two_hosts_are_left_and_the_others_are_closed_before_they_are_killed() -> None:
    async def story(replica: Replica) -> None:
        await replica.peak(5)
        await asyncio.sleep(POLICY.empty_s - 1)
        assert replica.ended() == []
        await asyncio.sleep(3)
        assert len(replica.pool.pids) == 2
        assert replica.ended() == [["closed", "killed"]] * (len(replica.processes) - 2)
        assert len(replica.processes) >= 5

    played(story)


def test_after_the_peak_calls_are_taken_as_before() -> None:
    async def story(replica: Replica) -> None:
        await replica.peak(3)
        await asyncio.sleep(2 * POLICY.empty_s)
        await replica.place("CA7")
        await replica.place("CA8")

    played(story)


def test_a_host_with_a_call_is_not_given_back_however_long_it_lasts() -> None:
    async def story(replica: Replica) -> None:
        kept = await replica.place("CA-long")
        await replica.peak(3)
        await asyncio.sleep(3 * POLICY.empty_s)
        assert kept.pid in replica.pool.pids
        assert len(replica.pool.pids) == 2  # that host and a spare
        [host] = [process for process in replica.processes if id(process) == kept.pid]
        assert not host.calls[0].over

    played(story)


def test_a_host_that_gets_a_call_again_in_time_is_kept() -> None:
    async def story(replica: Replica) -> None:
        first, second = await replica.place("CA1"), await replica.place("CA2")
        await asyncio.sleep(POLICY.empty_s)
        first.leave()
        await asyncio.sleep(POLICY.empty_s - 1)
        again = await replica.place("CA3")
        assert again.pid == first.pid
        second.leave()
        await asyncio.sleep(5)
        assert again.pid in replica.pool.pids
        [host] = [process for process in replica.processes if id(process) == again.pid]
        assert host.ends == []

    played(story)


def test_a_host_that_is_given_back_ends_when_its_log_is_written_or_has_waited_long_enough() -> None:
    async def story(replica: Replica) -> None:
        await replica.peak(3)
        for process in replica.processes:
            for call in process.calls:
                call.stop()
            process.written.clear()  # Postgres is away
        await asyncio.sleep(POLICY.empty_s + 0.5)
        patient, hopeless = [one for one in replica.processes if id(one) not in replica.pool.pids]
        assert (patient.ends, hopeless.ends) == ([], [])
        patient.written.set()
        await asyncio.sleep(0.1)
        assert (patient.ends, hopeless.ends) == (["closed", "killed"], [])
        await asyncio.sleep(1)
        assert hopeless.ends == ["closed", "killed"]

    played(story)


def test_hosts_that_are_shared_are_given_back_when_their_last_call_has_left() -> None:
    async def story(replica: Replica) -> None:
        calls = [await replica.place(f"CA{n}") for n in range(9)]
        assert len({call.pid for call in calls}) == 3
        for call in calls[:-1]:
            call.leave()
        await asyncio.sleep(2 * POLICY.empty_s)
        assert len(replica.pool.pids) == 2  # the last call's, and a spare
        assert calls[-1].pid in replica.pool.pids

    played(story, 4)


def test_leaving_twice_is_leaving_once() -> None:
    async def story(replica: Replica) -> None:
        call = await replica.place("CA1")
        call.leave()
        await asyncio.sleep(1)
        call.leave()
        await asyncio.sleep(2 * POLICY.empty_s)
        assert len(replica.pool.pids) == 2

    played(story)


def test_the_end_of_the_replica_closes_its_hosts_and_kills_them() -> None:
    async def story(replica: Replica) -> None:
        await replica.place("CA1")
        await replica.place("CA2")

    replica = played(story)
    assert replica.pool.pids == ()
    assert replica.ended() == [["closed", "killed"]] * len(replica.processes)


def test_a_host_that_hangs_at_its_end_is_killed_in_time() -> None:
    async def story(replica: Replica) -> None:
        await replica.place("CA1")
        await asyncio.sleep(0.1)
        loop = asyncio.get_running_loop()
        began = loop.time()
        await replica.pool.kill()
        assert loop.time() - began < CLOSE_ALL_LIMIT_S + 1

    replica = played(story, hang=True)
    assert replica.ended() == [["killed"]] * len(replica.processes)


def test_a_host_that_does_not_get_warm_is_killed_and_another_is_made(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def story(replica: Replica) -> None:
        await replica.place("CA1")
        assert [process.ends for process in replica.processes[:2]] == [["killed"], ["killed"]]

    played(story, cold=2)
    assert "no CallHost could be made" in caplog.text


def test_an_old_stream_that_leaves_late_does_not_harm_its_calls_new_one_on_the_same_host() -> None:
    async def story(replica: Replica) -> None:
        old = await replica.place("CA1")
        new = await replica.place("CA1")
        assert old.pid == new.pid
        old.call.tell(Tick("meant for the old one"))
        old.leave()
        await asyncio.sleep(1)
        [process] = [process for process in replica.processes if id(process) == new.pid]
        assert not process.calls[-1].over  # it fails at whatever it is told
        new.call.tell(Tick("meant for the new one"))
        await asyncio.sleep(1)
        assert process.calls[-1].over

    played(story, 4)


def test_what_hosts_hold_is_told_by_themselves() -> None:
    async def story(replica: Replica) -> None:
        await replica.pool.ready()
        await asyncio.sleep(1)  # until both are warm
        idle = await replica.pool.gauges()
        assert len(idle) == len(replica.pool.pids)
        await replica.place("CA1")
        busy = await replica.pool.gauges()
        assert [one.actors for one in busy] == [one.actors + 1 for one in idle]  # they share this process

    played(story)


def test_a_host_that_hangs_does_not_keep_the_others_numbers_back() -> None:
    async def story(replica: Replica) -> None:
        await replica.pool.ready()
        assert await replica.pool.gauges() == []

    played(story, hang=True)


def test_calls_that_come_at_once_wait_for_hosts_that_are_made_at_once() -> None:
    async def story(replica: Replica) -> None:
        loop = asyncio.get_running_loop()
        await replica.pool.ready()
        await asyncio.sleep(3)
        began = loop.time()
        calls = await asyncio.gather(*(replica.place(f"CA{n}") for n in range(10)))
        assert len({call.pid for call in calls}) == 10
        rounds = -(-(10 - POLICY.warm_least) // POLICY.making_most)
        assert loop.time() - began < rounds * 1.5 + 0.1
        await asyncio.sleep(3)
        assert len(replica.processes) == 11  # one to spare

    replica = played(story, warms_in_s=1.5)
    assert replica.most_at_once == POLICY.making_most


def test_an_idle_replica_makes_its_hosts_one_after_the_other() -> None:
    async def story(replica: Replica) -> None:
        await replica.pool.ready()
        await asyncio.sleep(5)
        assert len(replica.pool.pids) == POLICY.warm_least

    assert played(story, warms_in_s=1.5).most_at_once == 1


def test_calls_that_wait_share_the_hosts_that_are_made_for_them() -> None:
    async def story(replica: Replica) -> None:
        calls = await asyncio.gather(*(replica.place(f"CA{n}") for n in range(9)))
        assert len({call.pid for call in calls}) == 3
        await asyncio.sleep(3)
        assert len(replica.processes) == 4

    played(story, 4, warms_in_s=1.5)


def test_a_call_that_waits_is_given_the_place_of_one_that_leaves() -> None:
    async def story(replica: Replica) -> None:
        loop = asyncio.get_running_loop()
        calls = [await replica.place(f"CA{n}") for n in range(2)]
        waiting = asyncio.ensure_future(replica.place("CA2"))
        await asyncio.sleep(0.1)
        began = loop.time()
        calls[0].leave()
        assert (await waiting).pid == calls[0].pid
        assert loop.time() - began < 1

    played(story, warms_in_s=20.0)


def test_as_many_calls_as_there_are_spares_need_not_wait_and_spares_are_kept() -> None:
    async def story(replica: Replica) -> None:
        loop = asyncio.get_running_loop()
        await replica.pool.ready()
        await asyncio.sleep(10)
        began = loop.time()
        calls = await asyncio.gather(*(replica.place(f"CA{n}") for n in range(5)))
        assert loop.time() - began < 1
        await asyncio.sleep(10)
        assert len(set(replica.pool.pids) - {call.pid for call in calls}) == 5
        for call in calls:
            call.leave()
        await asyncio.sleep(2 * POLICY.empty_s)
        assert len(replica.pool.pids) == 5

    played(story, spares=5, warms_in_s=1.5)
