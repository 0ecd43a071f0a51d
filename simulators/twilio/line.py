"""The caller's telephone: a clock of 20 ms, a mouth, an ear, and what a script of a person may do with them.

A script is `async def person(line)`. It starts when the call is answered; when it returns, the person hangs
up. Waiting raises `TimeoutError`, or `CallOver` when the call ends first.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable

from engine.audio import FRAME_BYTES, FRAME_MS, SILENCE, linear_of, ms_of
from simulators.twilio.journal import CallEvent, CallOver, Journal
from simulators.twilio.leg import Leg
from simulators.twilio.recording import Recording

FRAME_S = FRAME_MS / 1000
WAIT_S = 30.0
KEYS = frozenset("0123456789*#ABCD")
_SILENT_FRAME = SILENCE * FRAME_BYTES
_LATE_FRAMES = 3  # late by more than this is this process' own stall, worth a line in the journal

Person = Callable[["Line"], Awaitable[None]]
FrameHook = Callable[[bytes, float], None]


class Line:
    """A telephone on one call. `frames` counts the 20 ms steps since the call was answered."""

    def __init__(
        self,
        journal: Journal,
        on_hang_up: Callable[[], None],
        recording: Recording | None,
        quiet_below: int,
    ) -> None:
        self.journal = journal
        self.frames = 0
        self.leg: Leg | None = None  # the stream that the line is on; the call sets it
        self._on_hang_up = on_hang_up
        self._recording = recording
        self._hooks: list[FrameHook] = []
        self._spoken_hooks: list[Callable[[float], None]] = []
        # What is left of a frame without these bytes is sound.
        self._inaudible = bytes(code for code in range(256) if abs(linear_of(code)) < quiet_below)
        self._mouth = bytearray()
        self._said = 0  # bytes, since the call was answered
        self._talk = 0  # rises when the mouth is shut, so that `say_audio` knows that it was cut
        self._heard_frames = 0  # frames of sound since the caller last spoke
        self._silent_frames = 0  # frames without sound since the last with sound

    # ---------------------------------------------------------------- what a script does

    async def say_audio(self, mulaw: bytes) -> bool:
        """Speaks, after what is being said. Returns when it is spoken: False if `stop_talking` cut it off."""
        self._still_on()
        until, talk = self._said + len(self._mouth) + len(mulaw), self._talk
        self._mouth += mulaw
        self.journal.note("spoke", ms=ms_of(len(mulaw)))
        limit_s = ms_of(len(self._mouth)) / 1000 + WAIT_S
        await self.journal.until(
            lambda: self._said >= until or self._talk != talk, limit_s, "the end of the caller's speech"
        )
        whole = self._talk == talk
        self.journal.note("spoken", whole=whole)
        return whole

    def stop_talking(self) -> None:
        """Shuts the mouth at the next frame."""
        self._mouth.clear()
        self._talk += 1
        self.journal.changed()

    async def press(self, digits: str) -> None:
        """Presses keys, one after the other."""
        self._still_on()
        if not set(digits) <= KEYS:
            raise ValueError(f"a telephone has the keys 0-9 * # A-D, got {digits!r}")
        for digit in digits:
            self.journal.note("dtmf", digit=digit)
            if self.leg is not None:
                self.leg.press(digit)

    async def hang_up(self) -> None:
        """Puts the receiver down."""
        self._on_hang_up()

    async def cut(self) -> None:
        """Breaks the stream's connection without a word; the call itself goes on."""
        self._still_on()
        if self.leg is None:
            raise CallOver("no stream is open that could be cut")
        self.leg.cut()

    async def quiet(self, s: float, timeout_s: float = WAIT_S) -> None:
        """Waits until the agent spoke since the caller last did, and has then been silent for `s` seconds."""
        await self.journal.until(
            lambda: bool(self._heard_frames) and self._silent_frames * FRAME_S >= s,
            timeout_s,
            f"{s} s of silence after the agent's speech",
        )

    async def heard_audio(self, s: float, timeout_s: float = WAIT_S) -> None:
        """Waits until `s` seconds of sound were played since the caller last spoke."""
        await self.journal.until(
            lambda: self._heard_frames * FRAME_S >= s, timeout_s, f"{s} s of the agent's speech"
        )

    async def event(self, kind: str, timeout_s: float = WAIT_S, count: int = 1) -> CallEvent:
        """The `count`th event of this kind on the call, past or to come (kinds: see `journal`)."""
        return await self.journal.wait_for(kind, timeout_s, count)

    async def ended(self, timeout_s: float = WAIT_S) -> None:
        """Waits until the other side ends the call."""
        try:
            await self.journal.until(lambda: False, timeout_s, "the end of the call")
        except CallOver:
            return

    def on_frame(self, hook: FrameHook) -> None:
        """Calls `hook(frame, at)` with every 20 ms that the caller hears, silence included."""
        self._hooks.append(hook)

    def on_spoken(self, hook: Callable[[float], None]) -> None:
        """Calls `hook(at)` for every 20 ms of the caller's speech, as it is handed to the stream."""
        self._spoken_hooks.append(hook)

    # ---------------------------------------------------------------- what the call does

    async def tick_on(self) -> None:
        """Steps the line 50 times a second, against the clock and without drift, until it is cancelled."""
        began = time.monotonic()
        while True:
            wait_s = began + self.frames * FRAME_S - time.monotonic()
            if wait_s < -_LATE_FRAMES * FRAME_S:
                self.journal.note("stalled", ms=-wait_s * 1000)
                await self._catch_breath()
            await asyncio.sleep(max(0.0, wait_s))
            self._tick()

    async def _catch_breath(self) -> None:
        """Lets audio that arrived meanwhile be read, so that our own stall isn't heard as the agent's gap."""
        for _ in range(10):
            await asyncio.sleep(0)

    def _tick(self) -> None:
        self.frames += 1
        speaking = bool(self._mouth)
        caller = bytes(self._mouth[:FRAME_BYTES]).ljust(FRAME_BYTES, SILENCE) if speaking else _SILENT_FRAME
        if speaking:
            self._said += min(FRAME_BYTES, len(self._mouth))
            del self._mouth[:FRAME_BYTES]
            for spoken in self._spoken_hooks:
                spoken(time.monotonic())
        leg = self.leg
        agent = leg.step(caller) if leg is not None and leg.is_open else None
        if self._recording is not None:
            self._recording.add(caller, agent)
        self._hear(agent, speaking)

    def _hear(self, agent: bytes | None, speaking: bool) -> None:
        if speaking:
            self._heard_frames = 0
        if agent is not None and agent.translate(None, self._inaudible):
            self._heard_frames += 1
            self._silent_frames = 0
        else:
            self._silent_frames += 1
        now = time.monotonic()
        for hook in self._hooks:
            hook(agent or _SILENT_FRAME, now)
        self.journal.changed()

    def _still_on(self) -> None:
        if self.journal.over:
            raise CallOver(f"the call is over ({self.journal.over})")
