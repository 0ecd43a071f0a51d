"""The calls of one host and their supervisor, without a host."""

import asyncio
from typing import Any

from engine.actor import Actor, spawn
from engine.clock import run_virtual
from engine.host import Calls
from engine.link import LinkEnd
from engine.messages import Attach, CallInfo, Down, Start


class Call(Actor):
    """A CallActor that attaches; any further message makes it fail, and ending takes it a while."""

    def __init__(self, end: LinkEnd, call: str, ends_in_s: float) -> None:
        super().__init__()
        self._end, self._call, self._ends_in_s = end, call, ends_in_s

    async def started(self) -> None:
        self._end.tell(self._call, "stream", Attach(1, 1, 0))

    async def receive(self, message: Any) -> None:
        raise ValueError(message)

    async def stopped(self) -> None:
        await asyncio.sleep(self._ends_in_s)


class Host:
    """`Calls` and all that it sends."""

    def __init__(self, ends_in_s: float = 0.0) -> None:
        self.end = LinkEnd()
        self.made: dict[str, Call] = {}
        self._ends_in_s = ends_in_s
        self.calls = Calls(self.end, self._make)
        spawn(self.calls, "calls")

    def _make(self, start: Start, _: Any) -> Call:
        self.made[start.info.call] = Call(self.end, start.info.call, self._ends_in_s)
        return self.made[start.info.call]

    async def starts(self, call: str) -> None:
        self.calls.tell(Start(CallInfo(call, "anonymous", "", False, 0.0), "MZ1", 0))
        await asyncio.sleep(0.001)

    def said(self) -> list[tuple[str, Any]]:
        return [(frame.call, frame.message) for frame in self.end.take()]


def test_a_call_that_fails_is_told_to_its_stream_and_forgotten() -> None:
    async def story() -> None:
        host = Host()
        await host.starts("CA1")
        host.made["CA1"].tell("out of tune")
        await asyncio.sleep(0.001)
        assert host.said() == [("CA1", Attach(1, 1, 0)), ("CA1", Down("call", "ValueError: out of tune"))]
        assert host.calls.count == 0
        assert host.end.calls == ()
        await host.calls.kill()

    run_virtual(story())


def test_a_call_that_fails_before_it_attaches_is_told_in_the_epoch_that_its_stream_listens_to() -> None:
    class Poisoned(Call):
        async def started(self) -> None:
            raise ValueError("unreadable")

    async def story() -> None:
        host, heard = Host(), []
        host.calls._make_call = lambda *_: Poisoned(host.end, "CA1", 0.0)
        near = LinkEnd()
        near.open("CA1", "MZ1", lambda to, message: heard.append((to, message)))
        start = Start(CallInfo("CA1", "anonymous", "", False, 0.0), "MZ1", last_epoch=3)
        near.announce(start)
        host.calls.tell(start)
        await asyncio.sleep(0.001)
        near.apply(host.end.take())
        assert heard == [("stream", Down("call", "ValueError: unreadable"))]
        await host.calls.kill()

    run_virtual(story())


def test_a_failure_is_told_also_while_the_host_is_busy_with_another_call() -> None:
    async def story() -> None:
        host = Host(ends_in_s=1.0)
        await host.starts("CA1")
        await host.starts("CA2")
        await host.starts("CA2")  # again: the older one takes a second to end
        host.made["CA1"].tell("out of tune")
        await asyncio.sleep(3)
        assert ("CA1", Down("call", "ValueError: out of tune")) in host.said()
        assert host.end.calls == ("CA2",)
        await host.calls.kill()

    run_virtual(story())


def test_a_call_that_is_started_again_replaces_the_older_one() -> None:
    async def story() -> None:
        host = Host()
        await host.starts("CA1")
        first = host.made["CA1"]
        await host.starts("CA1")
        await asyncio.sleep(1)
        assert first.over
        assert not host.made["CA1"].over
        assert (host.calls.count, host.end.calls) == (1, ("CA1",))
        await host.calls.kill()
        assert host.made["CA1"].over

    run_virtual(story())
