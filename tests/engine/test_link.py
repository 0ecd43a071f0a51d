"""Links: each message in order, once, whatever is lost, doubled or overtaken; and a host that is dead or hangs."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine import link
from engine.clock import now, run_virtual
from engine.link import Batch, Channel, Far, Frame, HostSide, LinkEnd, RayLink, Unknown, decode, encode
from engine.messages import Attach, CallInfo, Cancel, Noted, Start, SttBack, Took

CALL = "CA1"


class Ends:
    """Two ends with one call, joined by batches that the test carries as it likes."""

    def __init__(self) -> None:
        self.stream, self.host = LinkEnd(), LinkEnd()
        self.at_stream: list[tuple[str, Any]] = []
        self.at_host: list[tuple[str, Any]] = []
        self.stream.open(CALL, "MZ1", lambda to, message: self.at_stream.append((to, message)))
        self.host.open(CALL, "MZ1", lambda to, message: self.at_host.append((to, message)))

    def settle(self) -> None:
        """What a link does after losses: everything unacknowledged again, until all is quiet."""
        for _ in range(4):
            self.stream.again()
            self.host.again()
            while self.stream.pending or self.host.pending:
                self.host.apply(decode(encode(self.stream.take())))
                self.stream.apply(decode(encode(self.host.take())))


STEPS = st.lists(
    st.one_of(
        st.tuples(st.sampled_from(["stream tells", "host tells"]), st.just(0)),
        st.tuples(st.sampled_from(["stream takes", "host takes"]), st.just(0)),
        st.tuples(st.sampled_from(["deliver", "deliver twice", "lose"]), st.integers(0, 10)),
        st.tuples(st.sampled_from(["stream again", "host again"]), st.just(0)),
        st.tuples(st.just("new epoch"), st.just(0)),
    ),
    max_size=80,
)


class Traffic:
    """Plays steps and remembers what was told in which epoch."""

    def __init__(self) -> None:
        self.ends = Ends()
        self.flying: list[tuple[LinkEnd, bytes]] = []
        self.epoch = 0
        self.told: dict[tuple[str, int], list[Any]] = {}
        self.n = 0
        self.new_epoch()

    def new_epoch(self) -> None:
        self.epoch += 1
        self.tell("host", Attach(self.epoch, 1, 0))

    def tell(self, who: str, message: Any) -> None:
        end = self.ends.host if who == "host" else self.ends.stream
        end.tell(CALL, "media", message)
        channel = end._channels[CALL][0]
        self.told.setdefault((who, channel.epoch), []).append(message)

    def step(self, name: str, which: int) -> None:
        who, _, what = name.partition(" ")
        here, there = (
            (self.ends.host, self.ends.stream) if who == "host" else (self.ends.stream, self.ends.host)
        )
        if what == "tells":
            self.n += 1
            self.tell(who, Cancel(self.n))
        elif what == "takes":
            self.flying.append((there, encode(here.take())))
        elif what == "again":
            here.again()
        elif name == "new epoch":
            self.new_epoch()
        elif self.flying:
            place = which % len(self.flying)
            end, data = self.flying[place]
            if name != "deliver twice":
                del self.flying[place]
            if name != "lose":
                end.apply(decode(data))


@settings(max_examples=300, deadline=None)
@given(steps=STEPS)
def test_each_message_arrives_in_order_once_and_a_new_epoch_discards_the_rest(
    steps: list[tuple[str, int]],
) -> None:
    traffic = Traffic()
    for name, which in steps:
        traffic.step(name, which)
    traffic.ends.settle()
    at_stream = [message for _, message in traffic.ends.at_stream]
    # Of every epoch a beginning of what its host told, epoch after epoch; of the last one all.
    rest = at_stream
    for epoch in range(1, traffic.epoch + 1):
        told = traffic.told["host", epoch]
        count = next((n for n, (a, b) in enumerate(zip(told, rest, strict=False)) if a != b), None)
        mine = told[: min(len(told), len(rest)) if count is None else count]
        assert mine or epoch < traffic.epoch
        assert len(mine) == len(told) or epoch < traffic.epoch
        rest = rest[len(mine) :]
    assert rest == []
    told_by_stream = [m for (who, _), messages in traffic.told.items() if who == "stream" for m in messages]
    at_host = [message.request for _, message in traffic.ends.at_host]
    assert at_host == sorted(set(at_host))
    assert set(at_host) <= {message.request for message in told_by_stream}
    last = [message.request for message in traffic.told.get(("stream", traffic.epoch), [])]
    assert at_host[len(at_host) - len(last) :] == last


@given(order=st.permutations(range(1, 9)), twice=st.lists(st.integers(1, 8), max_size=8))
def test_a_channel_hands_on_in_order_once(order: list[int], twice: list[int]) -> None:
    channel = Channel(CALL, "MZ1")
    handed: list[int] = []
    for n in [*order, *twice]:
        handed += [frame.n for frame in channel.receive(Frame(CALL, "MZ1", 3, n, "media", Cancel(n)))]
    assert handed == list(range(1, 9))
    assert channel.ack().n == 8


def test_what_overtook_its_fellows_in_an_old_epoch_is_not_taken_for_the_new_ones() -> None:
    channel = Channel(CALL, "MZ1")
    assert channel.receive(Frame(CALL, "MZ1", 1, 2, "media", Cancel(12))) == []
    channel.open(2)
    ready = channel.receive(Frame(CALL, "MZ1", 2, 1, "media", Cancel(21)))
    assert [frame.message for frame in ready] == [Cancel(21)]


def test_what_came_twice_is_not_kept() -> None:
    channel = Channel(CALL, "MZ1")
    frame = Frame(CALL, "MZ1", 1, 1, "media", Cancel(1))
    assert channel.receive(frame) == [frame]
    assert channel.receive(frame) == []
    assert channel._early == {}


def test_what_is_acknowledged_is_not_sent_again() -> None:
    ends = Ends()
    ends.host.tell(CALL, "stream", Attach(1, 1, 0))
    ends.settle()
    ends.host.again()
    assert ends.host.take() == Batch()


def test_an_old_epochs_acknowledgement_proves_nothing() -> None:
    channel = Channel(CALL, "MZ1")
    channel.open(1)
    channel.send("media", Cancel(1))
    old = Channel(CALL, "MZ1").ack()
    channel.open(2)
    channel.send("media", Cancel(2))
    channel.acked(link.Ack(CALL, 1, 1))
    channel.acked(old)
    assert [frame.n for frame in channel.waiting()] == [1]


def test_too_much_that_is_not_acknowledged_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(link, "UNACKED_LIMIT", 3)
    channel = Channel(CALL, "MZ1")
    for n in range(3):
        channel.send("media", Cancel(n))
    with pytest.raises(link.Unacknowledged):
        channel.send("media", Cancel(4))


def test_a_frame_of_no_open_call_goes_to_whoever_takes_those() -> None:
    strange: list[Frame] = []
    end = LinkEnd(strange.append)
    start = Frame(CALL, "MZ1", 0, 0, "host", Start(CallInfo(CALL, "anonymous", "", False, 0.0), "MZ1", 0))
    end.apply(Batch((start, Frame("CA9", "MZ9", 1, 4, "media", Cancel(1)))))
    assert [frame.call for frame in strange] == [CALL, "CA9"]
    LinkEnd().apply(Batch((start,)))  # nobody takes them: nothing breaks


def test_a_closed_call_sends_what_it_told_and_hears_nothing_more() -> None:
    ends = Ends()
    ends.host.tell(CALL, "stream", Attach(1, 1, 0))
    far = Far(ends.host, CALL, "stream")
    far.tell(Cancel(7))
    ends.host.close(CALL)
    ends.host.close(CALL)
    far.tell(Cancel(8))
    ends.stream.apply(ends.host.take())
    assert [message for _, message in ends.at_stream] == [Attach(1, 1, 0), Cancel(7)]
    ends.stream.tell(CALL, "call", Cancel(9))
    ends.host.apply(ends.stream.take())
    assert ends.at_host == []


# ---------------------------------------------------------------- the host's two methods


def host_side() -> tuple[HostSide, LinkEnd, list[Any]]:
    heard: list[Any] = []
    end = LinkEnd()
    end.open(CALL, "MZ1", lambda _, message: heard.append(message))
    return HostSide(end), end, heard


def test_collect_waits_for_something_to_say() -> None:
    async def story() -> list[Any]:
        side, end, _ = host_side()
        parked = asyncio.ensure_future(side.collect())
        await asyncio.sleep(3.0)
        assert not parked.done()
        end.tell(CALL, "stream", Attach(1, 1, 0))
        return [frame.message for frame in decode(await parked).frames]

    assert run_virtual(story()) == [Attach(1, 1, 0)]


def test_a_parked_collect_comes_home_with_nothing_after_its_time() -> None:
    async def story() -> tuple[Batch, float]:
        side, _, _ = host_side()
        return decode(await side.collect()), now()

    batch, at = run_virtual(story())
    assert batch == Batch()
    assert at == pytest.approx(link.PARK_S)


def test_a_newer_collect_sends_the_older_one_home_and_gets_what_there_is() -> None:
    async def story() -> None:
        side, end, _ = host_side()
        older = asyncio.ensure_future(side.collect())
        await asyncio.sleep(1.0)
        newer = asyncio.ensure_future(side.collect())
        assert decode(await older) == Batch()
        assert now() == pytest.approx(1.0, abs=1e-3)
        end.tell(CALL, "stream", Attach(1, 1, 0))
        assert decode(await newer).frames

    run_virtual(story())


def test_deliver_answers_at_once_and_again_with_all_that_is_not_acknowledged() -> None:
    async def story() -> None:
        side, end, heard = host_side()
        end.tell(CALL, "stream", Attach(1, 1, 0))
        told = encode(Batch((Frame(CALL, "MZ1", 1, 1, "call", SttBack(1)),)))
        lost = decode(await side.deliver(told, False))
        again = decode(await side.deliver(told, True))
        assert lost.frames == again.frames
        assert again.acks
        assert heard == [SttBack(1)]
        assert decode(await side.deliver(encode(Batch()), False)) == Batch()

    run_virtual(story())


# ---------------------------------------------------------------- over Ray calls


class FakeHost:
    """The other process: a `HostSide`, with calls that go through `fate` first."""

    def __init__(self) -> None:
        self.side, self.end, self.heard = host_side()
        self.fate: Callable[[str], Awaitable[None]] | None = None
        self.after: Callable[[str], Awaitable[None]] | None = None

    async def _call(self, name: str, work: Callable[[], Awaitable[bytes]]) -> bytes:
        if self.fate is not None:
            await self.fate(name)
        answer = await work()
        if self.after is not None:
            await self.after(name)
        return answer

    async def deliver(self, data: bytes, again: bool) -> bytes:
        return await self._call("deliver", lambda: self.side.deliver(data, again))

    async def collect(self) -> bytes:
        return await self._call("collect", self.side.collect)


class Linked:
    """A running RayLink to a fake host."""

    def __init__(self) -> None:
        self.host = FakeHost()
        self.end = LinkEnd()
        self.heard: list[Any] = []
        self.end.open(CALL, "MZ1", lambda _, message: self.heard.append(message))
        self.lost_at: list[tuple[float, str]] = []
        self.link = RayLink(self.end, self.host, lambda why: self.lost_at.append((now(), why)))
        self.running = asyncio.create_task(self.link.run())

    async def attached(self) -> None:
        self.host.end.tell(CALL, "stream", Attach(1, 1, 0))
        await asyncio.sleep(0.01)
        assert self.heard == [Attach(1, 1, 0)]

    async def close(self) -> None:
        self.running.cancel()
        await asyncio.wait([self.running])


async def _never(_: str) -> None:
    await asyncio.Event().wait()


async def _dies(_: str) -> None:
    raise ConnectionResetError("the actor died")


def test_messages_cross_at_once_both_ways_and_a_quiet_link_lives() -> None:
    async def story() -> None:
        linked = Linked()
        await linked.attached()
        before = now()
        linked.end.tell(CALL, "call", SttBack(1))
        await asyncio.sleep(0.001)
        assert linked.host.heard == [SttBack(1)]
        assert now() - before < 0.01
        await asyncio.sleep(60)
        assert linked.lost_at == []
        await linked.close()

    run_virtual(story())


def test_what_nobody_waits_for_goes_with_the_next_batch_or_heartbeat_and_makes_no_call_of_its_own() -> None:
    async def story() -> None:
        linked = Linked()
        await linked.attached()
        await asyncio.sleep(link.BEAT_S * 2)
        batches: list[Batch] = []
        apply = linked.host.end.apply

        def noted(batch: Batch) -> None:
            batches.append(batch)
            apply(batch)

        linked.host.end.apply = noted  # type: ignore[method-assign]
        for n in range(5):
            linked.end.tell(CALL, "call", Took(n))
            linked.host.end.tell(CALL, "media", Noted(n))
            await asyncio.sleep(link.BEAT_S / 10)
        await asyncio.sleep(link.BEAT_S * 2)
        assert linked.host.heard == [Took(n) for n in range(5)]
        assert linked.heard[1:] == [Noted(n) for n in range(5)]
        assert sum(bool(batch.frames) for batch in batches) <= 2
        assert len(batches) <= 4

        linked.end.tell(CALL, "call", Took(6))
        linked.end.tell(CALL, "call", SttBack(1))
        await asyncio.sleep(0.001)
        assert linked.host.heard[5:] == [Took(6), SttBack(1)]
        await linked.close()

    run_virtual(story())


def test_a_dead_host_is_told_at_once_and_once() -> None:
    async def story() -> None:
        linked = Linked()
        await linked.attached()
        died = now()
        linked.host.fate = _dies
        await asyncio.wait([linked.running])
        [(at, why)] = linked.lost_at
        assert "the actor died" in why
        assert at - died <= link.BEAT_S + 0.01

    run_virtual(story())


def test_a_host_that_hangs_is_lost_within_three_beats() -> None:
    async def story() -> None:
        linked = Linked()
        await linked.attached()
        hangs_since = now()
        linked.host.fate = _never
        await asyncio.wait([linked.running])
        [(at, why)] = linked.lost_at
        assert "no answer" in why
        beats = link.BEAT_S * link.MISSED_BEATS
        assert beats * 0.9 <= at - hangs_since <= beats + link.BEAT_S + 0.1

    run_virtual(story())


def test_a_stall_of_our_own_loop_is_no_evidence_about_the_host() -> None:
    async def story() -> None:
        linked = Linked()
        await linked.attached()
        loop: Any = asyncio.get_running_loop()
        for _ in range(20):
            loop.jump(30.0)  # half a minute passes in which nothing of ours runs
            await asyncio.sleep(0)
            await asyncio.sleep(link.BEAT_S / 4)
        assert linked.lost_at == []
        await linked.close()

    run_virtual(story())


def test_a_host_that_hangs_is_found_although_our_own_loop_stalls() -> None:
    async def story() -> None:
        linked = Linked()
        await linked.attached()
        linked.host.fate = _never
        loop: Any = asyncio.get_running_loop()
        for _ in range(8):
            loop.jump(1.0)
            await asyncio.sleep(link.BEAT_S)
        assert len(linked.lost_at) == 1
        await linked.close()

    run_virtual(story())


class Unsteady:
    """Loses the outcome of some calls: before they run, or their answers."""

    def __init__(self, pattern: list[int]) -> None:
        self._pattern = pattern
        self._calls = 0

    async def __call__(self, _: str) -> None:
        self._calls += 1
        if self._calls <= len(self._pattern) and self._pattern[self._calls - 1]:
            raise Unknown("no outcome")


@settings(max_examples=60, deadline=None)
@given(
    before=st.lists(st.integers(0, 1), max_size=12),
    after=st.lists(st.integers(0, 1), max_size=12),
    pause_s=st.floats(0.001, 0.3),
)
def test_calls_without_an_outcome_lose_nothing_and_double_nothing(
    before: list[int], after: list[int], pause_s: float
) -> None:
    async def story() -> bool:
        linked = Linked()
        await linked.attached()
        linked.host.fate, linked.host.after = Unsteady(before), Unsteady(after)
        for n in range(1, 13):
            linked.end.tell(CALL, "call", SttBack(n))
            linked.host.end.tell(CALL, "stream", Cancel(n))
            await asyncio.sleep(pause_s)
        await asyncio.sleep(link.BEAT_S * 30)
        if linked.lost_at:  # too many in a row: the host counts as hung
            return False
        assert linked.host.heard == [SttBack(n) for n in range(1, 13)]
        assert linked.heard[1:] == [Cancel(n) for n in range(1, 13)]
        await linked.close()
        return True

    assert run_virtual(story()) or sum(before) + sum(after) > 2


def test_an_answer_of_collect_that_was_lost_is_given_again_soon() -> None:
    async def story() -> None:
        linked = Linked()
        await linked.attached()
        linked.host.after = Unsteady([1])
        linked.host.end.tell(CALL, "stream", Cancel(1))
        await asyncio.sleep(link.BEAT_S * 4)
        assert linked.heard[1:] == [Cancel(1)]
        await linked.close()

    run_virtual(story())


def test_what_a_forgotten_collect_still_takes_is_given_again_soon() -> None:
    async def story() -> None:
        linked = Linked()
        await linked.attached()
        forgotten: list[asyncio.Task[bytes]] = []

        async def stays_parked(name: str) -> None:
            if name == "collect" and not forgotten:
                forgotten.append(asyncio.create_task(linked.host.side.collect()))
                raise Unknown("no outcome, and it is still running there")

        linked.host.fate = stays_parked
        linked.host.end.tell(
            CALL, "stream", Cancel(0)
        )  # brings the parked one home, so that a new one is made
        await asyncio.sleep(link.BEAT_S / 2)
        linked.host.end.tell(CALL, "stream", Cancel(1))
        assert decode(await forgotten[0]).frames  # gone with it
        linked.heard.remove(Cancel(0))
        await asyncio.sleep(link.BEAT_S * 4)
        assert linked.heard[1:] == [Cancel(1)]
        await linked.close()

    run_virtual(story())


def test_closing_a_link_leaves_no_task_behind() -> None:
    async def story() -> None:
        linked = Linked()
        await linked.attached()
        await linked.close()
        assert asyncio.all_tasks() == {asyncio.current_task()}
        linked.end.tell(CALL, "call", SttBack(1))  # nobody is woken, nothing breaks

    run_virtual(story())
