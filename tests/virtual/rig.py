"""A whole call in virtual time: the real actors, link, turn-taking and session, with scripted vendor events.

What is scripted is what enters and leaves the actors as decoded vendor events: Twilio's frames, Deepgram's results and
audio, the model's deltas, a tool's answer. Redis is real; virtual time stands still while it answers.
"""

import asyncio
import base64
import itertools
import json
import re
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from actors.call import CallActor
from actors.parts import CallPorts
from actors.stream import StreamActor, StreamPorts
from actors.toolport import ToolPort
from engine.actor import Actor, Ref, spawn
from engine.calllog import CallLog
from engine.callrows import Entry
from engine.clock import now
from engine.host import CallRuntime, Calls
from engine.link import Far, LinkEnd, decode, encode
from engine.messages import (
    CallerContext,
    CallerGone,
    CallInfo,
    Down,
    HangUp,
    MarkEchoed,
    ModelDelta,
    ModelDone,
    Respond,
    Start,
    ToolRequest,
    ToolResult,
    Transfer,
    Trouble,
    Usage,
)
from engine.models import ModelFailed, RoutedModel
from engine.packed import PackedCalls
from engine.record import Store
from engine.routes import Route, Routes
from engine.session import Order, SessionStore, Stored, Written
from engine.settings import Settings
from engine.tools import ToolSpec
from engine.vendors.deepgram import (
    AudioCame,
    ClearDone,
    FlushDone,
    GapHeard,
    Heard,
    VendorLost,
    VoiceBegan,
)
from engine.vendors.flux import EndLikely, WentOn
from engine.vendors.ways import SpeakWay
from local.chat import Call, CutShort, Finish, Refused, Text
from simulators.model import ScriptedModel, load_script

CALL = "CA" + "0" * 32
CALLER = "+13125550142"
GREETING = "Hello, this is the garage. How can I help?"
MS_A_CHARACTER = 60
REFUSALS = {400: Trouble.UNFIT, 401: Trouble.FOR_GOOD, 404: Trouble.FOR_GOOD}
VOID = '{"error":"this was not done, and will not be"}'
_RUN = re.compile(rb"(.)\1*", re.DOTALL)


def new_settings(**changes: Any) -> Settings:
    """Settings of a test, whatever the environment and .env say."""
    return Settings(_env_file=None, **changes)  # type: ignore[call-arg]


SPECS = (
    ToolSpec("book", "Books.", {}, changes=True, outcome="booked", logged=("day",)),
    ToolSpec("get_slots", "Finds.", {}),
    ToolSpec("who", "Tells who it is.", {}, wants_spoken=True),
)


class Ear:
    """Twilio and the caller's ear: plays what it is sent at real time, echoes marks, obeys clear."""

    def __init__(self, tell: Callable[[Any], None]) -> None:
        self._tell = tell
        self._free_s = 0.0
        self._pieces: list[tuple[float, float, bytes]] = []  # from, to, audio
        self._marks: list[tuple[str, asyncio.TimerHandle]] = []
        self.clears: list[float] = []
        self.gone = False

    async def send(self, texts: Sequence[str]) -> None:
        """Text frames of the server's."""
        for text in texts:
            self._hear(json.loads(text))

    def _hear(self, message: dict[str, Any]) -> None:
        if message["event"] == "media":
            payload = base64.b64decode(message["media"]["payload"])
            begin = max(self._free_s, now())
            self._free_s = begin + len(payload) / 8000
            self._pieces.append((begin, self._free_s, payload))
        elif message["event"] == "mark":
            name = message["mark"]["name"]
            loop = asyncio.get_running_loop()
            self._marks.append((name, loop.call_at(max(self._free_s, now()), self._echo, name)))
        else:
            self.clears.append(now())
            self._cut()
            for name, timer in list(self._marks):
                timer.cancel()
                self._echo(name)

    def _echo(self, name: str) -> None:
        self._marks = [(n, timer) for n, timer in self._marks if n != name]
        if not self.gone:
            self._tell(MarkEchoed(name))

    def _cut(self) -> None:
        kept = []
        for begin, end, payload in self._pieces:
            if begin < now():
                kept.append((begin, min(end, now()), payload[: round((now() - begin) * 8000)]))
        self._pieces = kept
        self._free_s = now()

    def hang_up(self) -> None:
        """Nothing more is heard."""
        self._cut()
        self.gone = True

    def speaking(self) -> bool:
        """Whether something is playing."""
        return self._free_s > now()

    def heard(self, voice: "Voice") -> str:
        """The characters that were played so far, in order."""
        played = b"".join(
            payload[: max(0, round((now() - begin) * 8000))]
            for begin, _, payload in self._pieces
            if begin <= now()
        )
        return voice.text_of(played)

    def longest_gap_s(self, since_s: float) -> float:
        """The longest break between pieces of audio since then."""
        pieces = [(begin, end) for begin, end, _ in self._pieces if end > since_s]
        return max((b - a for (_, a), (b, _) in itertools.pairwise(pieces)), default=0.0)

    def longest_silence_s(self, since_s: float) -> float:
        """The longest stretch without audio from `since_s` until now."""
        edges = [
            since_s,
            *itertools.chain.from_iterable((b, e) for b, e, _ in self._pieces if e > since_s),
            now(),
        ]
        return max((b - a for a, b in zip(edges[::2], edges[1::2], strict=True)), default=0.0)


class Voice:
    """Deepgram speak, scripted: audio whose bytes say which character of which sentence they are."""

    def __init__(self, first_audio_s: float = 0.2) -> None:
        self.first_audio_s = first_audio_s
        self.said: list[str] = []
        self.cleared = 0
        self._alphabet: dict[int, str] = {}

    def audio_of(self, text: str) -> bytes:
        """mu-law of a sentence, `MS_A_CHARACTER` a character."""
        for character in text:
            self._alphabet[ord(character) % 255] = character
        return b"".join(bytes([ord(character) % 255]) * (8 * MS_A_CHARACTER) for character in text)

    def text_of(self, audio: bytes) -> str:
        """The characters in audio of this voice; one is heard when half of it is."""
        out = ""
        for run in _RUN.finditer(audio):
            code = run.group()[0]
            if code != 0xFF:
                out += self._alphabet[code] * round(len(run.group()) / (8 * MS_A_CHARACTER))
        return out

    def socket(self) -> Any:
        """A new, unopened speak socket."""
        return _SpeakSocket(self)


class _Socket:
    def __init__(self) -> None:
        self._events: asyncio.Queue[Any] = asyncio.Queue()

    async def open(self) -> None:
        await asyncio.sleep(0.05)

    async def close(self) -> None:
        pass

    def lose(self, status: int = 0) -> None:
        """The vendor ends it."""
        self._events.put_nowait(VendorLost("the vendor is gone", status=status))

    async def events(self) -> AsyncIterator[Any]:
        while True:
            event = await self._events.get()
            if isinstance(event, VendorLost):
                raise event
            yield event


class _SpeakSocket(_Socket):
    def __init__(self, voice: Voice) -> None:
        super().__init__()
        self._voice = voice
        self._free_s = 0.0
        self._timers: list[asyncio.TimerHandle] = []

    async def say(self, text: str) -> None:
        self._voice.said.append(text.strip())
        loop = asyncio.get_running_loop()
        audio = self._voice.audio_of(text.strip())
        at = max(now() + self._voice.first_audio_s, self._free_s)
        for start in range(0, len(audio), 3001):  # not aligned to frames, ten times real time
            piece = audio[start : start + 3001]
            self._timers.append(loop.call_at(at, self._events.put_nowait, AudioCame(piece)))
            at += len(piece) / 80_000
        self._timers.append(loop.call_at(at, self._events.put_nowait, FlushDone()))
        self._free_s = at

    async def clear(self) -> None:
        self._voice.cleared += 1
        for timer in self._timers:
            timer.cancel()
        self._free_s = now()
        self._events.put_nowait(ClearDone())


class Mouth:
    """Deepgram listen, scripted: the caller's words as results."""

    def __init__(self, final_s: float = 0.3, eager_s: float | None = None) -> None:
        """`eager_s`: how long after the last word the end is expected; None: it never is."""
        self._final_s = final_s
        self._eager_s = eager_s
        self._sockets: list[_ListenSocket] = []
        self.refuses: VendorLost | None = None

    def socket(self) -> Any:
        """A new, unopened listen socket."""
        self._sockets.append(_ListenSocket(self))
        return self._sockets[-1]

    def lose(self, refuses: VendorLost | None = None) -> None:
        """The vendor ends the socket, and opens no other while it `refuses`."""
        self.refuses = refuses
        self._sockets[-1].lose()

    async def say(self, text: str, word_s: float = 0.25) -> None:
        """Speaks a word at a time; returns when the turn's end has been told."""
        await self._speak(text, word_s)
        if self._eager_s is not None:
            await asyncio.sleep(self._eager_s)
            self.expect_end(text)
        await asyncio.sleep(self._final_s - (self._eager_s or 0.0))
        self.end(text)

    async def may_end(self, text: str, word_s: float = 0.25) -> None:
        """Speaks a word at a time, and is expected to have ended (Flux)."""
        await self._speak(text, word_s)
        self.expect_end(text)

    def expect_end(self, text: str) -> None:
        """The turn is expected to have ended."""
        self._tell(EndLikely(text, 0.0, 0.0))

    def go_on(self) -> None:
        """The turn has not ended, as was expected."""
        self._tell(WentOn())

    def end(self, text: str) -> None:
        """The turn has ended."""
        self._tell(Heard(text, True, True, False, 0.0))

    async def _speak(self, text: str, word_s: float) -> None:
        self._tell(VoiceBegan())
        words = text.split()
        for count in range(1, len(words) + 1):
            await asyncio.sleep(word_s)
            self._tell(Heard(" ".join(words[:count]), False, False, False, 0.0))

    def noise(self) -> None:
        """Voice activity without words, and the vendor's note that nothing came of it."""
        self._tell(VoiceBegan())
        self._tell(GapHeard())

    def _tell(self, event: Any) -> None:
        self._sockets[-1]._events.put_nowait(event)


class _ListenSocket(_Socket):
    stale_s = 2.0

    def __init__(self, mouth: Mouth) -> None:
        super().__init__()
        self._mouth = mouth

    async def open(self) -> None:
        await super().open()
        if self._mouth.refuses is not None:
            raise self._mouth.refuses

    async def send(self, payload: bytes) -> None:
        pass

    async def keep_alive(self) -> None:
        pass

    async def finalize(self) -> None:
        pass


class Brain:
    """A vendor's model, scripted by `simulators.model` rules."""

    def __init__(self, rules: list[dict[str, Any]], name: str = "scripted") -> None:
        self.name = name
        self._scripted = ScriptedModel(load_script({"rules": rules}))
        self.asked: list[Respond] = []
        self.cancelled = 0

    async def stream(self, ask: Respond) -> AsyncGenerator[ModelDelta | ModelDone, None]:
        """One reply."""
        self.asked.append(ask)
        calls, finish = 0, ""
        try:
            async for piece in self._scripted.reply({"messages": ask.messages, "model": self.name}):
                if isinstance(piece, Text):
                    yield ModelDelta(ask.request, text=piece.text)
                elif isinstance(piece, Call):
                    yield ModelDelta(
                        ask.request,
                        tool_index=calls,
                        tool_id=f"vendor-{calls}",
                        tool_name=piece.name,
                        tool_arguments=piece.arguments,
                    )
                    calls += 1
                else:
                    assert isinstance(piece, Finish)
                    finish = piece.reason
            finish = finish or ("tool_calls" if calls else "stop")
            yield ModelDone(ask.request, finish, Usage(100, 64, 10), self.name)
        except Refused as refused:
            trouble = REFUSALS.get(refused.status, Trouble.PASSING)
            wait_s = float(refused.headers.get("retry-after", 0))
            raise ModelFailed(f"HTTP {refused.status}", trouble, wait_s) from None
        except CutShort:
            raise ModelFailed("the stream broke off") from None
        except (asyncio.CancelledError, GeneratorExit):
            self.cancelled += 1
            raise


class Tools:
    """The tool pool, scripted: the first run of a key does the work, later ones get its stored result.

    `reply_s` is how long a result is on its way back; `settle_s` how long it takes to settle a change.
    """

    def __init__(self, took_s: float = 0.5, reply_s: float = 0.0, settle_s: float = 0.1) -> None:
        self.took_s = took_s
        self.reply_s = reply_s
        self.settle_s = settle_s
        self.asked: list[ToolRequest] = []
        self.settled: list[ToolRequest] = []
        self.done: dict[str, str] = {}

    async def run(self, request: ToolRequest) -> ToolResult:
        """Runs one tool; work that was begun is finished although nobody waits for it."""
        self.asked.append(request)
        if request.key in self.done:
            return self._stored(request, replayed=True)
        return await asyncio.shield(asyncio.ensure_future(self._work(request)))

    async def settle(self, request: ToolRequest) -> ToolResult:
        """Reads the result back; if there is none, makes the key void."""
        self.settled.append(request)
        await asyncio.sleep(self.settle_s)
        self.done.setdefault(request.key, VOID)
        return self._stored(request, replayed=True)

    async def _work(self, request: ToolRequest) -> ToolResult:
        await asyncio.sleep(self.took_s)
        self.done.setdefault(request.key, json.dumps({"done": request.tool}))
        await asyncio.sleep(self.reply_s)
        return self._stored(request)

    def _stored(self, request: ToolRequest, *, replayed: bool = False) -> ToolResult:
        result = self.done[request.key]
        return ToolResult(request.key, result != VOID, result, replayed=replayed, settled=request.unsettled)


class Log(CallLog):
    """A call log that keeps its entries."""

    def __init__(self) -> None:
        self.entries: list[Entry] = []

    def write(self, entry: Entry) -> None:
        self.entries.append(entry)

    def of(self, kind: type) -> list[Any]:
        """The entries of one kind."""
        return [entry for entry in self.entries if isinstance(entry, kind)]


class AwayStore:
    """A store whose writes can be made to fail, as they do when Redis is away."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self.away = False

    async def take(self, call: str, last_epoch: int) -> Stored:
        return await self._store.take(call, last_epoch)

    async def write(self, call: str, order: Order, fields: dict[str, bytes]) -> Written:
        return Written.AWAY if self.away else await self._store.write(call, order, fields)


@dataclass
class _Spot:
    """One CallHost of the rig."""

    near: LinkEnd
    far: LinkEnd
    calls: Calls
    lost: Callable[[str], None] | None = None


@dataclass
class LocalPlacement:
    """A call on a host of the rig."""

    call: Ref
    leave: Callable[[], None]
    host: str = "here"
    pid: int = 0


@dataclass
class Rig:
    """One call's world. Make it inside `run_virtual`; `await open()` starts the stream."""

    redis_url: str
    rules: list[dict[str, Any]]
    settings: Settings = field(default_factory=new_settings)
    stream_sid: str = "MZ1"
    tools: Any = field(default_factory=Tools)
    voice: Voice = field(default_factory=Voice)
    mouth: Mouth = field(default_factory=Mouth)
    log: Log = field(default_factory=Log)
    greeting: str = GREETING
    observe: Callable[[Start, CallPorts], CallPorts] | None = None
    packed: bool = False
    spare_rules: list[dict[str, Any]] | None = None
    specs: tuple[ToolSpec, ...] = SPECS

    def __post_init__(self) -> None:
        self.sessions = SessionStore(self.redis_url, 3600, 2000, 60)
        self.store = AwayStore(self.sessions)
        self.brain = Brain(self.rules)
        self.spare = Brain(self.spare_rules or [], "spare")
        models = [self.brain] if self.spare_rules is None else [self.brain, self.spare]
        self.model = RoutedModel(models, self.settings)
        self.spots: list[_Spot] = []
        self.actors: list[CallActor] = []
        self.closed = asyncio.Event()
        self.unclosed = asyncio.Event()
        self.goodbyes: list[HangUp | Transfer] = []  # after which it was made sure that the call ends so
        self.sure = asyncio.Event()  # cleared, nobody is ever sure
        self.sure.set()
        self.close_hangs = False
        self.stream: StreamActor | None = None
        self.calls: PackedCalls | None = None

    async def open(self) -> None:
        """The caller's stream begins."""
        info = CallInfo(CALL, CALLER, "+13125550100", True, 0.0)
        self.ear = Ear(lambda message: self.stream.tell(message) if self.stream else None)
        ports = StreamPorts(
            send=self.ear.send,
            close=self._close,
            make_sure=self._make_sure,
            unclosed=self.unclosed.set,
            gave_up=self.sessions.gave_up,
            used=self.log.write,
            moved=self.sessions.moved,
            hosts=self._pack() if self.packed else self,
            listen=self.listen_routes(),
            speak=self.speak_routes(),
        )
        self.stream = StreamActor(info, self.stream_sid, ports, self.settings)
        spawn(self.stream, "stream")

    def listen_routes(self) -> Routes[Any]:
        """Who hears."""
        return Routes([Route("mouth", self.mouth.socket)])

    def speak_routes(self) -> Routes[Any]:
        """Who speaks."""
        return Routes([Route("voice", SpeakWay("voice", self.voice.socket))])

    async def _make_sure(self, call: str, goodbye: HangUp | Transfer) -> None:
        assert call == CALL
        self.goodbyes.append(goodbye)
        await self.sure.wait()

    async def _close(self) -> None:
        if self.close_hangs:
            await asyncio.Event().wait()
        self.closed.set()
        assert self.stream is not None
        self.ear.hang_up()
        self.stream.tell(CallerGone("dropped"))

    async def hang_up(self, why: str = "stop") -> None:
        """The caller hangs up (or the stream is `dropped`); waits until the call is over."""
        assert self.stream is not None
        self.ear.hang_up()
        self.stream.tell(CallerGone(why))
        await self.stream.ended()

    async def close(self) -> None:
        """Ends what still runs."""
        if self.stream is not None:
            await self.stream.kill()
        for spot in self.spots:
            await spot.calls.kill()
        if self.calls is not None:
            await self.calls.kill()
        await self.model.close()
        await self.sessions.close()

    # --- waiting, in virtual time

    async def until(self, condition: Callable[[], bool], limit_s: float = 60.0) -> None:
        """Lets virtual time pass until `condition` holds. Raises TimeoutError."""
        async with asyncio.timeout(limit_s):
            while not condition():  # noqa: ASYNC110 - virtual time costs nothing
                await asyncio.sleep(0.02)

    async def hears(self, words: str, limit_s: float = 60.0) -> None:
        """Until the caller has heard these words."""
        try:
            await self.until(lambda: words in self.heard, limit_s)
        except TimeoutError:
            raise AssertionError(f"{words!r} was not heard, but {self.heard!r}") from None

    async def quiet(self, limit_s: float = 60.0) -> None:
        """Until the agent has fallen silent."""
        await self.until(lambda: not self.ear.speaking(), limit_s)

    @property
    def heard(self) -> str:
        """What the caller has heard so far."""
        return self.ear.heard(self.voice)

    # --- hosts

    async def place(
        self, start: Start, receive: Callable[[str, Any], None], lost: Callable[[str], None]
    ) -> LocalPlacement:
        """`actors.stream.Placer`, in this process: each attempt gets a host of its own."""
        near = LinkEnd()
        far = LinkEnd(lambda frame: calls.announced(frame))
        calls = Calls(far, self._make_call)
        _join(near, far)
        spawn(calls, "calls")
        spot = _Spot(near, far, calls, lost)
        self.spots.append(spot)
        near.open(start.info.call, start.stream, receive)
        near.announce(start)
        return LocalPlacement(Far(near, start.info.call, "call"), lambda: near.close(start.info.call))

    def _pack(self) -> PackedCalls:
        """The same for all streams of the call."""

        async def open_runtime() -> CallRuntime:
            return CallRuntime(self._make_call, self._nothing, self._nothing)

        if self.calls is None:
            self.calls = PackedCalls(open_runtime, "here", 60.0)
            spawn(self.calls, "calls")
        return self.calls

    async def _nothing(self) -> None: ...

    def _make_call(self, start: Start, ref: Callable[[str], Ref]) -> Actor:
        def port(call: Ref) -> Ref:
            assert isinstance(call, CallActor)
            settings = self.settings
            limits_s = settings.tool_timeout_s, settings.tool_settle_s
            changing = {spec.name for spec in self.specs if spec.changes}
            return call.spawn(ToolPort(self.tools, changing, *limits_s, call), "tools")

        ports = CallPorts(
            stream=ref("stream"),
            media=ref("media"),
            stt=ref("stt"),
            store=self.store,
            model=self.model,
            log=self.log,
            tools=port,
            specs=self.specs,
            context=CallerContext(self.greeting, "You answer a garage's telephone."),
        )
        actor = CallActor(start, self.observe(start, ports) if self.observe else ports, self.settings)
        self.actors.append(actor)
        return actor

    async def crash(self) -> None:
        """The host of the call is gone with all that it held, as after kill -9; the link tells 8 ms later.

        Packed, there is no host to lose: the CallActor fails.
        """
        if self.packed:
            self.actors[-1].tell(Down("llm", "a fault of ours"))
            await self.actors[-1].ended()
            return
        spot = self.spots[-1]
        spot.near.wake = spot.far.wake = spot.near.later = spot.far.later = lambda: None
        await self.actors[-1].kill()
        await asyncio.sleep(0.008)
        assert spot.lost is not None
        spot.lost("ActorDiedError")

    def partition(self) -> CallActor:
        """The link breaks while the CallActor lives on: the stream looks for another."""
        spot, actor = self.spots[-1], self.actors[-1]
        assert spot.lost is not None
        spot.lost("TimeoutError: no answer for 750 ms")
        return actor


def _join(near: LinkEnd, far: LinkEnd) -> None:
    """A link inside this process: every batch is encoded and decoded, and takes a turn of the loop."""

    def pump(here: LinkEnd, there: LinkEnd) -> Callable[[], None]:
        def move() -> None:
            there.apply(decode(encode(here.take())))

        return lambda: (asyncio.get_running_loop().call_soon(move), None)[1]

    near.wake = near.later = pump(near, far)
    far.wake = far.later = pump(far, near)


async def with_rig(rig: Rig, story: Callable[[Rig], Awaitable[None]]) -> None:
    """Runs a story in a rig and cleans up."""
    try:
        await rig.open()
        await story(rig)
    finally:
        await rig.close()
