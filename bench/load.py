"""Lines that call again and again, and what was seen in a window of time while so many calls were up."""

import asyncio
import itertools
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from time import monotonic, process_time
from typing import Self, TypeVar

from bench.call import LEGS, Part, gaps_of, measure, number_of
from bench.vendors import BenchModel, BenchSpeech
from simulators.caller import Caller, MarksPerson
from simulators.twilio import CallFailed, SimCall, SimTwilio

VOICE = "/api/v1/voice"
CALL_LIMIT_S = 120.0
CALLS_PER_S = 2.0  # about as fast as fifty lines redial, so that calls keep apart
LOOK_S = 0.02
FAILED_S = 2.0  # until a line whose call failed dials again
T = TypeVar("T")
TOLD = ("say", "dial", "error")  # events that explain why a call ended early
_SERIAL = itertools.count(1)  # of all runs: each call has a name of its own


@dataclass(frozen=True)
class Window:
    """A time in which the number of calls did not change. `own_core`: what callers and vendors used of a core."""

    began: float
    ended: float
    own_core: float

    def of(self, timed: Iterable[tuple[float, T]]) -> list[T]:
        """What lies in it."""
        return [what for at, what in timed if self.began <= at < self.ended]


@dataclass
class Seen:
    """What a window showed. `legs` in milliseconds; `wrong` says what a call found amiss, gaps apart.

    `own_lag_ms`: how late the callers' and vendors' own event loop was, looked at 50 times a second.
    """

    legs: dict[str, list[float]] = field(default_factory=dict)
    calls: int = 0
    gaps: list[str] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)
    own_lag_ms: list[float] = field(default_factory=list)
    own_core: float = 0.0


@dataclass
class _Log:
    """All that happened, each with its time."""

    samples: defaultdict[str, list[tuple[float, float]]] = field(default_factory=lambda: defaultdict(list))
    ends: list[tuple[float, float]] = field(default_factory=list)
    gaps: list[tuple[float, str]] = field(default_factory=list)
    wrong: list[tuple[float, str]] = field(default_factory=list)
    lags: list[tuple[float, float]] = field(default_factory=list)


class Load:
    """Calls at one app; leaving the context hangs up.

    async with Load(url, twilio, speech, model, date) as load:
        await load.grow(10)
        window = await load.watch(30)
        await load.finish()
    seen = load.seen(window)
    """

    def __init__(
        self,
        url: str,
        twilio: SimTwilio,
        speech: BenchSpeech,
        model: BenchModel,
        date: str,
        calls_per_s: float = CALLS_PER_S,
    ) -> None:
        """`calls_per_s`: how fast `grow` adds lines."""
        self._url = url
        self._apart_s = 1 / calls_per_s
        self._twilio = twilio
        self._speech = speech
        self._model = model
        self._date = date
        self._lines: list[asyncio.Task[None]] = []
        self._live: dict[str, tuple[MarksPerson, SimCall]] = {}
        self._log = _Log()
        self._redial = True
        self._cut = False
        self._lag: asyncio.Task[None] | None = None
        speech.frames.arrived.clear()

    async def __aenter__(self) -> Self:
        self._lag = asyncio.create_task(self._watch_own_lag(), name="own lag")
        return self

    async def __aexit__(self, *_: object) -> None:
        """Whoever still talks is cut off, which is nobody's fault."""
        self._redial, self._cut = False, True
        for _person, call in self._live.values():
            await call.hang_up()
        await self.finish()
        tasks: list[asyncio.Task[None]] = [*self._lines, *([self._lag] if self._lag else [])]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def grow(self, calls: int) -> None:
        """Adds lines, not all at once, until there are so many."""
        while len(self._lines) < calls:
            self._lines.append(asyncio.create_task(self._line(), name=f"line {len(self._lines)}"))
            await asyncio.sleep(self._apart_s)

    async def watch(self, seconds: float) -> Window:
        """The window from now on."""
        began, cpu = monotonic(), process_time()
        await asyncio.sleep(seconds)
        ended = monotonic()
        return Window(began, ended, (process_time() - cpu) / (ended - began))

    async def finish(self) -> None:
        """Nobody calls again; returns when the last call is over. Raises what a line did not expect."""
        self._redial = False
        if self._lines:
            done, _ = await asyncio.wait(self._lines, timeout=CALL_LIMIT_S)
            for line in done:
                line.result()

    def seen(self, window: Window) -> Seen:
        """What is known of this window: frames and gaps at once, other legs when the calls in it are over."""
        log = self._log
        legs = {leg: window.of(log.samples[leg]) for leg in LEGS}
        legs["frame to recogniser"] = window.of(self._speech.frames.arrived)
        gaps = log.gaps + [gap for person, call in self._live.values() for gap in _gaps(person, call)]
        return Seen(
            legs,
            len(window.of(log.ends)),
            window.of(gaps),
            window.of(log.wrong),
            window.of(log.lags),
            window.own_core,
        )

    async def _watch_own_lag(self) -> None:
        while True:
            due = monotonic() + LOOK_S
            await asyncio.sleep(LOOK_S)
            now = monotonic()
            self._log.lags.append((now, 1000 * (now - due)))

    async def _line(self) -> None:
        while self._redial:
            await self._one(next(_SERIAL))

    async def _one(self, serial: int) -> None:
        part, number = Part(f"Caller{serial:05}", self._date), number_of(serial)
        frames = self._speech.frames
        self._model.answers(number, *part.rules())

        async def script(caller: Caller) -> None:
            caller.line.on_spoken(lambda at: frames.say(caller.source, at))
            await part.play(caller)

        person = MarksPerson(script)
        dialled = monotonic()
        call = await self._twilio.dial(
            f"{self._url}{VOICE}/incoming",
            caller=number,
            person=person,
            status_url=f"{self._url}{VOICE}/status",
            max_s=CALL_LIMIT_S,
            keep_audio=False,
        )
        self._live[part.name] = person, call
        try:
            await call.ended(CALL_LIMIT_S + 10)
            self._judge(part, number, dialled, call, person)
        except (CallFailed, TimeoutError) as failed:
            if not self._cut:
                told = [f"{event.kind} {event.detail}" for event in call.events if event.kind in TOLD]
                self._log.wrong.append((monotonic(), f"{part.name}: {failed}; {told}"))
                await asyncio.sleep(FAILED_S)
        finally:
            self._log.gaps += _gaps(person, call)
            del self._live[part.name]
            self._twilio.calls.remove(call)
            self._speech.notes.pop(part.name, None)
            frames.lost(person.source)
            self._model.take(number)

    def _judge(self, part: Part, number: str, dialled: float, call: SimCall, person: MarksPerson) -> None:
        log, now = self._log, monotonic()
        log.ends.append((now, now))
        exchanges = self._model.take(number)
        try:
            wrong = measure(
                part,
                dialled,
                call,
                person,
                self._speech,
                exchanges,
                lambda leg, at, ms: log.samples[leg].append((at, ms)),
            )
        except (StopIteration, IndexError, KeyError) as error:
            wrong = [f"{part.name}: not measured: {error!r}"]
        log.wrong += [(now, what) for what in wrong]


def _gaps(person: MarksPerson, call: SimCall) -> list[tuple[float, str]]:
    return [
        (
            gap.at,
            f"{gap.missing_frames} frames missing, {gap.silent_ms:.0f} ms silent, in sentence {gap.number}",
        )
        for gap in gaps_of(person, call)
    ]
