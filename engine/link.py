"""Links: the messages of many calls between two processes, in order; no sockets here.

Every message carries (call, stream, epoch). The wire beneath (`engine.wire`) keeps order and loses nothing while both
ends live, and when one is lost so is all that was under way: what must not be lost is held by its sender until it is in
Redis, and is joined again by `Attach`. A newer epoch discards what an older one still says.
"""

from collections.abc import Callable
from typing import Any

import msgspec

from engine.messages import AnyMessage, Attach, Final, Noted, SpeechStarted, Start, Took

HOST = "host"
MAY_WAIT = (Took, Noted, SpeechStarted, Final)
"""Nobody waits for these: they go with what is told next, or after a moment."""


class Frame(msgspec.Struct, frozen=True, array_like=True):
    """One message on a link, and whose it is."""

    call: str
    stream: str
    epoch: int
    to: str
    message: AnyMessage


Batch = tuple[Frame, ...]
"""What is sent at once."""

encode = msgspec.msgpack.Encoder().encode
decode = msgspec.msgpack.Decoder(Batch).decode
"""A batch from MessagePack. Raises msgspec.DecodeError."""


class Channel:
    """One call on one end of a link."""

    def __init__(self, call: str, stream: str) -> None:
        self.call = call
        self.stream = stream
        self.epoch = 0

    def open(self, epoch: int) -> None:
        """Starts an epoch. An older or equal one changes nothing."""
        self.epoch = max(self.epoch, epoch)

    def takes(self, frame: Frame) -> bool:
        """Whether this frame is of this stream, and of the newest epoch, which it may begin."""
        if frame.stream != self.stream:
            return False  # the call has gone on in another stream
        self.open(frame.epoch)
        return frame.epoch == self.epoch


class LinkEnd:
    """One end of a link: the channels of all its calls, and what is to be sent next.

    Whoever carries it is told by `wake` that there is something to send, and by `later` that there is something
    that may wait.
    """

    def __init__(self, unknown: Callable[[Frame], None] = lambda _: None) -> None:
        """`unknown` is given frames to the host itself, and those of calls that are not open here."""
        self._channels: dict[str, tuple[Channel, Callable[[str, Any], None]]] = {}
        self._fresh: list[Frame] = []
        self._unknown = unknown
        self.wake: Callable[[], None] = lambda: None
        self.later: Callable[[], None] = lambda: None

    def open(self, call: str, stream: str, receive: Callable[[str, Any], None]) -> Channel:
        """Opens a call's channel; `receive(to, message)` is given what arrives, in order."""
        channel = Channel(call, stream)
        self._channels[call] = (channel, receive)
        return channel

    def is_open(self, channel: Channel) -> bool:
        """Whether this is its call's channel still: a call that goes on in a new stream has opened another."""
        current = self._channels.get(channel.call)
        return current is not None and current[0] is channel

    def close(self, call: str) -> None:
        """Forgets a call; what it has already sent still leaves with the next batch. Safe to run twice."""
        self._channels.pop(call, None)

    @property
    def calls(self) -> tuple[str, ...]:
        """The calls that are open here."""
        return tuple(self._channels)

    def tell(self, call: str, to: str, message: Any) -> None:
        """Sends a message; one for a call that is not open is lost, like one told to a stopped actor.

        An epoch begins with its `Attach`.
        """
        if call not in self._channels:
            return
        channel, _ = self._channels[call]
        if isinstance(message, Attach):
            channel.open(message.epoch)
        self._fresh.append(Frame(call, channel.stream, channel.epoch, to, message))
        if isinstance(message, MAY_WAIT):
            self.later()
        else:
            self.wake()

    def announce(self, start: Start) -> None:
        """Tells the host to start a call, whose channel is open here.

        What an earlier CallActor of the same call still says there is of an older epoch, and dropped.
        """
        channel, _ = self._channels[start.info.call]
        channel.open(start.last_epoch + 1)
        self._fresh.append(Frame(channel.call, channel.stream, 0, HOST, start))
        self.wake()

    def take(self) -> Batch:
        """What is to be sent now."""
        batch, self._fresh = tuple(self._fresh), []
        return batch

    def apply(self, batch: Batch) -> None:
        """Hands on what came."""
        for frame in batch:
            if frame.to == HOST or frame.call not in self._channels:
                self._unknown(frame)
                continue
            channel, receive = self._channels[frame.call]
            if channel.takes(frame):
                receive(frame.to, frame.message)


class Far:
    """A Ref to an actor at the other end of a link; bound to a `channel`, it tells nobody once that is closed."""

    def __init__(self, end: LinkEnd, call: str, to: str, channel: Channel | None = None) -> None:
        self._end = end
        self._call = call
        self._to = to
        self._channel = channel

    def tell(self, message: Any) -> None:
        if self._channel is None or self._end.is_open(self._channel):
            self._end.tell(self._call, self._to, message)
