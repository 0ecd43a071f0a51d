"""Links: each message in order, once, and a newer epoch discards what an older one still says."""

from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from engine.link import Far, Frame, LinkEnd, decode, encode
from engine.messages import Attach, CallInfo, Cancel, Start, Took

CALL = "CA1"


class Ends:
    """Two ends with one call, joined by batches that the test carries when it likes."""

    def __init__(self) -> None:
        self.stream, self.host = LinkEnd(), LinkEnd()
        self.at_stream: list[tuple[str, Any]] = []
        self.at_host: list[tuple[str, Any]] = []
        self.stream.open(CALL, "MZ1", lambda to, message: self.at_stream.append((to, message)))
        self.host.open(CALL, "MZ1", lambda to, message: self.at_host.append((to, message)))
        self.carry()

    def carry(self) -> None:
        self.host.apply(decode(encode(self.stream.take())))
        self.stream.apply(decode(encode(self.host.take())))


class Traffic:
    """Plays steps and remembers what was told in which epoch."""

    def __init__(self) -> None:
        self.ends = Ends()
        self.flying: dict[str, list[bytes]] = {"stream": [], "host": []}  # by who is to get them
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
        self.told.setdefault((who, end._channels[CALL][0].epoch), []).append(message)

    def step(self, name: str) -> None:
        who, _, what = name.partition(" ")
        if what == "tells":
            self.n += 1
            self.tell(who, Cancel(self.n))
        elif what == "takes":
            end, to = (self.ends.host, "stream") if who == "host" else (self.ends.stream, "host")
            self.flying[to].append(encode(end.take()))
        elif what == "gets":
            if self.flying[who]:
                end = self.ends.host if who == "host" else self.ends.stream
                end.apply(decode(self.flying[who].pop(0)))
        else:
            self.new_epoch()


STEPS = st.lists(
    st.sampled_from(
        [f"{who} {what}" for who in ("stream", "host") for what in ("tells", "takes", "gets")] + ["new epoch"]
    ),
    max_size=80,
)


@settings(max_examples=300, deadline=None)
@given(steps=STEPS)
def test_each_message_arrives_in_order_once_and_a_new_epoch_discards_the_rest(steps: list[str]) -> None:
    traffic = Traffic()
    for name in steps:
        traffic.step(name)
    for _ in range(2):
        for who in ("stream", "host"):
            traffic.step(f"{who} takes")
        for who in ("stream", "host"):
            while traffic.flying[who]:
                traffic.step(f"{who} gets")
    # The host begins epochs: all that it told comes, in order.
    by_host = [m for epoch in range(1, traffic.epoch + 1) for m in traffic.told.get(("host", epoch), [])]
    assert [message for _, message in traffic.ends.at_stream] == by_host
    # What the stream told in an epoch that the host had left by then is dropped; of the last epoch it has all.
    at_host = [message.request for _, message in traffic.ends.at_host]
    assert at_host == sorted(set(at_host))
    last = [message.request for message in traffic.told.get(("stream", traffic.epoch), [])]
    assert at_host[len(at_host) - len(last) :] == last


def test_what_was_told_in_an_older_epoch_is_dropped() -> None:
    ends = Ends()
    ends.host.tell(CALL, "stream", Attach(1, 1, 0))
    ends.carry()
    ends.stream.tell(CALL, "call", Cancel(1))
    late = ends.stream.take()
    ends.host.tell(CALL, "stream", Attach(2, 1, 0))
    ends.host.apply(late)
    assert ends.at_host == []
    ends.carry()
    ends.stream.tell(CALL, "call", Cancel(2))
    ends.carry()
    assert ends.at_host == [("call", Cancel(2))]


def test_what_was_told_in_the_calls_older_stream_is_dropped() -> None:
    ends = Ends()
    ends.host.tell(CALL, "stream", Attach(1, 1, 0))
    ends.carry()
    ends.host.tell(CALL, "stream", Cancel(1))
    newer: list[Any] = []
    ends.stream.open(CALL, "MZ2", lambda _, message: newer.append(message))
    ends.stream.apply(ends.host.take())
    assert newer == []


def test_an_announced_start_silences_the_calls_earlier_actor_on_this_host() -> None:
    ends = Ends()
    ends.host.tell(CALL, "stream", Attach(1, 1, 0))
    ends.carry()
    ends.host.tell(CALL, "stream", Cancel(7))
    ends.stream.announce(Start(CallInfo(CALL, "anonymous", "", False, 0.0), "MZ1", 1))
    ends.stream.apply(ends.host.take())
    assert ends.at_stream == [("stream", Attach(1, 1, 0))]


def test_a_frame_of_no_open_call_goes_to_whoever_takes_those() -> None:
    strange: list[Frame] = []
    end = LinkEnd(strange.append)
    start = Frame(CALL, "MZ1", 0, "host", Start(CallInfo(CALL, "anonymous", "", False, 0.0), "MZ1", 0))
    end.apply((start, Frame("CA9", "MZ9", 1, "media", Cancel(1))))
    assert [frame.call for frame in strange] == [CALL, "CA9"]
    LinkEnd().apply((start,))  # nobody takes them: nothing breaks


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


def test_what_may_wait_asks_for_no_hurry() -> None:
    asked: list[str] = []
    end = LinkEnd()
    end.wake, end.later = lambda: asked.append("wake"), lambda: asked.append("later")
    end.open(CALL, "MZ1", lambda *_: None)
    end.tell(CALL, "stt", Took(1))
    end.tell(CALL, "media", Cancel(1))
    assert asked == ["later", "wake"]
