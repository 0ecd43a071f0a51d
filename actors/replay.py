"""Replays a tape into the real CallActor, LlmActor and turn-taking, in virtual time, and tells where they differ.

    differences = run_virtual(replay(read_tape(path)), wall_start)

One cursor goes through the tape's lines, each at its time. What came from outside (from the media plane, from tools,
from the model, from Redis) is told again; what the call itself did (what it told, what it asked the model, its own
timers and its Llm's sentences) is waited for, and must be the same. What it tells itself reaches its mailbox when the
cursor comes to it: which of two messages came first by a hair was chance, and only the tape knows.
"""

import asyncio
from collections import deque
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any

import msgspec

from actors.call import CallActor
from actors.parts import CallPorts
from engine.actor import spawn
from engine.calllog import CallLog
from engine.callrows import Entry
from engine.clock import now
from engine.messages import (
    AttemptFailed,
    CallerContext,
    Down,
    Message,
    ModelDelta,
    ModelDone,
    ReplyEnded,
    ReplyFailed,
    Respond,
    Sentence,
    SessionTaken,
    SessionWritten,
    Start,
    TapedSettings,
    Tick,
    ToolCalls,
)
from engine.session import Order, Stored, Written
from engine.settings import Settings
from engine.tape import TapeLine, TapeStarted
from engine.tools import ToolSpec

GRACE_S = 1.0  # virtual seconds for a message that the tape has
_OWN = (
    Sentence,
    ToolCalls,
    AttemptFailed,
    ReplyEnded,
    ReplyFailed,
    Tick,
    Down,
)  # what a CallActor takes in from itself and its Llm


@dataclass(frozen=True)
class Difference:
    """The first place where a replay left its tape. `line` counts from 1."""

    line: int
    t: float
    expected: str
    got: str

    def __str__(self) -> str:
        return f"line {self.line}, at {self.t:.3f} s: the tape has {self.expected}, the replay {self.got}"


class _Quiet(CallLog):
    """A call log that keeps nothing: a replay is not a call."""

    def __init__(self) -> None:
        pass

    def write(self, entry: Entry) -> None:
        pass


class _Gate:
    """Holds what a CallActor and its Llm tell the CallActor until the cursor comes to it."""

    def __init__(self, actor: CallActor) -> None:
        self._tell = actor.tell
        self._held: list[Message] = []
        self._some = asyncio.Event()
        self._closed = False
        actor.tell = self.tell  # type: ignore[method-assign]

    def tell(self, message: Any) -> None:
        if isinstance(message, _OWN):
            if not self._closed:
                self._held.append(message)
                self._some.set()
            return
        self._closed = self._closed or not isinstance(message, Message)  # told to stop: the rest is not read
        self._tell(message)

    async def passes(self, taped: Message) -> Message | None:
        """Lets through what the tape has next, within the grace; else None, or what came in its place."""
        try:
            async with asyncio.timeout(GRACE_S):
                while (message := self._next(taped)) is None:
                    self._some.clear()
                    await self._some.wait()
        except TimeoutError:
            return None
        if _same(taped, message):
            self._held.remove(message)
            self._tell(message)
        return message

    def _next(self, taped: Message) -> Message | None:
        """Llm's messages have an order; a timer that rang and was then cancelled stays here for ever."""
        if isinstance(taped, Tick):
            return next((held for held in self._held if held == taped), None)
        return next((held for held in self._held if not isinstance(held, Tick)), None)

    def left(self) -> list[str]:
        return [f"in call: {held}" for held in self._held if not isinstance(held, Tick)]


@dataclass
class _Seen:
    """What the replayed call did, not yet compared, by (dir, peer)."""

    queues: dict[tuple[str, str], deque[Message]] = field(default_factory=dict)
    some: asyncio.Event = field(default_factory=asyncio.Event)

    def note(self, dir: str, peer: str, message: Message) -> None:
        self.queues.setdefault((dir, peer), deque()).append(message)
        self.some.set()

    def take(self, dir: str, peer: str) -> Message | None:
        queue = self.queues.get((dir, peer))
        return queue.popleft() if queue else None

    def left(self) -> list[str]:
        return [f"{dir} {peer}: {message}" for (dir, peer), queue in self.queues.items() for message in queue]


class _Out:
    def __init__(self, seen: _Seen, peer: str) -> None:
        self._seen = seen
        self._peer = peer

    def tell(self, message: Any) -> None:
        self._seen.note("out", self._peer, message)


class _TapeModel:
    """The model's pieces, when the cursor comes to them."""

    def __init__(self, seen: _Seen) -> None:
        self._seen = seen
        self._pieces: dict[int, asyncio.Queue[ModelDelta | ModelDone]] = {}

    def queue(self, request: int) -> asyncio.Queue[ModelDelta | ModelDone]:
        return self._pieces.setdefault(request, asyncio.Queue())

    async def stream(self, ask: Respond) -> AsyncIterator[ModelDelta | ModelDone]:
        self._seen.note("model", "asked", ask)
        while True:
            piece = await self.queue(ask.request).get()
            yield piece
            if isinstance(piece, ModelDone):
                return


class _TapeStore:
    """Redis's answers, in their order on the tape."""

    def __init__(self, lines: list[TapeLine]) -> None:
        redis = [line.message for line in lines if line.dir == "redis"]
        self._taken = deque(m for m in redis if isinstance(m, SessionTaken))
        self._written = deque(m for m in redis if isinstance(m, SessionWritten))

    async def take(self, call: str, last_epoch: int) -> Stored:
        return msgspec.json.decode(self._taken.popleft().stored, type=Stored)

    async def write(self, call: str, order: Order, fields: dict[str, bytes]) -> Written:
        return Written(self._written.popleft().outcome) if self._written else Written.OK


async def replay(lines: list[TapeLine], actor_class: type[CallActor] = CallActor) -> Difference | None:
    """Replays a call's first recording on the running (virtual) loop; None when it went the same way."""
    lines = _first_recording(lines)
    seen, start, taped = _Seen(), _the(lines, Start), _the(lines, TapedSettings)
    model = _TapeModel(seen)
    ports = CallPorts(
        stream=_Out(seen, "stream"),
        media=_Out(seen, "media"),
        stt=_Out(seen, "stt"),
        store=_TapeStore(lines),
        model=model,
        log=_Quiet(),
        tools=lambda _: _Out(seen, "tools"),
        specs=tuple(msgspec.convert(tool, ToolSpec) for tool in taped.tools),
        context=CallerContext(taped.plain_greeting, taped.plain_prompt),
    )
    settings = Settings(_env_file=None, **taped.values)  # type: ignore[call-arg]
    actor = actor_class(start, ports, settings)
    actor.observe = lambda message: seen.note("in", "call", message)
    gate = _Gate(actor)
    spawn(actor, "replayed")
    try:
        return await _follow(lines, gate, model, seen)
    finally:
        await actor.kill()


async def _follow(lines: list[TapeLine], gate: _Gate, model: _TapeModel, seen: _Seen) -> Difference | None:
    began = now()
    for number, line in enumerate(lines, 1):
        await asyncio.sleep(max(0.0, began + line.t - now()))
        message = line.message
        if line.dir in ("tape", "redis"):
            continue
        if line.dir == "model" and isinstance(message, ModelDelta | ModelDone):
            model.queue(message.request).put_nowait(message)
            continue
        if isinstance(message, _OWN):
            own = await gate.passes(message)
            if not _same(message, own):
                return Difference(number, line.t, f"{line.dir} {line.peer}: {message}", str(own))
        elif line.dir == "in":
            gate.tell(message)
        got = await _comes(seen, line)
        if not _same(message, got):
            return Difference(number, line.t, f"{line.dir} {line.peer}: {message}", str(got))
    left = seen.left() + gate.left()
    return Difference(len(lines), lines[-1].t, "nothing more", left[0]) if left else None


async def _comes(seen: _Seen, line: TapeLine) -> Message | None:
    """What the replayed call does next on that line's way, within the grace; None: nothing."""
    try:
        async with asyncio.timeout(GRACE_S):
            while (message := seen.take(line.dir, line.peer)) is None:
                seen.some.clear()
                await seen.some.wait()
            return message
    except TimeoutError:
        return None


def _same(taped: Message, got: Message | None) -> bool:
    """Whether two messages say the same; wall times are of the day."""
    if isinstance(taped, ReplyEnded | ReplyFailed) and type(taped) is type(got):
        return msgspec.structs.replace(taped, timings=got.timings) == got
    return taped == got


def _first_recording(lines: list[TapeLine]) -> list[TapeLine]:
    begins = [place for place, line in enumerate(lines) if isinstance(line.message, TapeStarted)]
    return lines[: begins[1]] if len(begins) > 1 else lines


def _the(lines: list[TapeLine], kind: type[Any]) -> Any:
    return next(line.message for line in lines if isinstance(line.message, kind))
