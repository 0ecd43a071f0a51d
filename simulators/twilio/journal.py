"""What happened on one call, with times, and a way to wait for it.

Kinds of events, in the order of a usual call (`detail` in brackets):

    webhook (url, status, ms)      twiml (url, verbs)        answered
    stream_opened (stream, url)    start_sent (stream)       stream_failed (why)
    audio (stream, after_ms)       first audio of a burst arrived: the queue was empty before it
    dry (stream)                   all that was queued has been played: the end of a burst, or a gap in it
    mark_received, mark_echoed (name)                        clear (dropped_ms, marks)
    spoke (ms), spoken, dtmf (digit)                         the caller's doing
    say (text)   dial (number)   pause (s)   play (url)   redirect (url)   hangup   reject (reason)
    stop_sent, cut, closed (stream, code, by)
    error (code, why)              what Twilio's debugger would show, by its error code
    stalled (ms)                   this simulator itself was late: what was heard just then is no evidence
    status (status)                ended (status)
"""

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any


class CallOver(Exception):
    """The call ended while someone on it still waited for something."""


@dataclass(frozen=True, slots=True)
class CallEvent:
    """One thing that happened; `at` is in seconds of the monotonic clock."""

    at: float
    kind: str
    detail: dict[str, Any] = field(default_factory=dict)


class Journal:
    """The events of a call, and the one place where its state is waited for."""

    def __init__(self) -> None:
        self.events: list[CallEvent] = []
        self.over = ""
        self._hooks: list[Callable[[CallEvent], None]] = []
        self._changed: asyncio.Future[None] | None = None

    def on_event(self, hook: Callable[[CallEvent], None]) -> None:
        """Calls `hook` with every event from now on, at once, in the order in which they happen."""
        self._hooks.append(hook)

    def note(self, kind: str, **detail: Any) -> CallEvent:
        """Records an event and wakes all who wait."""
        event = CallEvent(time.monotonic(), kind, detail)
        self.events.append(event)
        for hook in self._hooks:
            hook(event)
        self.changed()
        return event

    def changed(self) -> None:
        """Wakes all who wait, to look again."""
        if self._changed is not None and not self._changed.done():
            self._changed.set_result(None)
        self._changed = None

    def end(self, why: str) -> None:
        """Nothing will happen any more: those who wait get `CallOver`."""
        self.over = self.over or why
        self.changed()

    def all(self, kind: str) -> list[CallEvent]:
        """The events of one kind so far."""
        return [event for event in self.events if event.kind == kind]

    async def until(self, condition: Callable[[], bool], timeout_s: float, what: str) -> None:
        """Waits until `condition` holds. Raises `TimeoutError`, or `CallOver` when the call ends first."""
        deadline = time.monotonic() + timeout_s
        while not condition():
            if self.over:
                raise CallOver(f"the call ended ({self.over}) before {what}")
            left = deadline - time.monotonic()
            if left <= 0:
                raise TimeoutError(f"{what} did not come in {timeout_s} s")
            if self._changed is None:
                self._changed = asyncio.get_running_loop().create_future()
            await asyncio.wait([self._changed], timeout=left)

    async def wait_for(self, kind: str, timeout_s: float = 30.0, count: int = 1) -> CallEvent:
        """The `count`th event of this kind, past or to come."""
        await self.until(lambda: len(self.all(kind)) >= count, timeout_s, f"event {kind!r} number {count}")
        return self.all(kind)[count - 1]
