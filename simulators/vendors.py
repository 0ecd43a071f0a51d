"""The app's vendors, scripted by tests: speech that is marks, a model that follows a script, NHTSA.

Everything runs on one event loop and notes with its clock what it was asked and what it told, so that a test can
look at a call from the vendors' side too.
"""

import asyncio
import re
import secrets
import time
from collections.abc import AsyncGenerator, Callable, Iterator
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import Any

import httpx2
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from local.chat import Piece, Record, chat_app
from local.speech.app import speech_app
from local.speech.ports import Completed, Heard, Interim, ListenParams, SpeakParams, Tell
from local.speech.watch import Limits, Watch
from simulators import nhtsa
from simulators.marks import MarkedFrame, MarksDelays, MarksRecogniser, MarksVoice
from simulators.model import SNAPSHOT, Rule, Script, ScriptedModel

CACHED_TOKENS = 7  # what the model says of each prompt
_CALLER = re.compile(r"Caller's number: (\S+?)\.")


# ---------------------------------------------------------------- speech


@dataclass(frozen=True)
class Told:
    """What the recogniser told, and when (monotonic)."""

    text: str
    at: float
    final: bool


@dataclass(frozen=True)
class Asked:
    """A sentence that reached the voice; `request_id` is its socket's, `source` its voice's."""

    text: str
    at: float
    source: int
    request_id: str


class Speech:
    """Deepgram's place. `on_frame` is told the source of each frame of speech; it and `delays` count from the next
    socket on.
    """

    def __init__(self, delays: MarksDelays | None = None, limits: Limits | None = None) -> None:
        self.delays = delays or MarksDelays()
        self.on_frame: Callable[[int], None] = lambda _: None
        self.told: list[Told] = []
        self.asked: list[Asked] = []
        self.app = speech_app(self._listen, self._voice, limits or Limits())
        self.watch: Watch = self.app.state.watch
        self._sources: Iterator[int] = iter(range(0x80000000 | secrets.randbits(30), 0xFFFFFFFF))

    def interim(self, words: int, of: str) -> Told:
        """The first interim with at least so many words of this utterance."""
        return next(
            t for t in self.told if not t.final and of.startswith(t.text) and len(t.text.split()) >= words
        )

    def final(self, text: str) -> Told:
        """The final of this utterance."""
        return next(t for t in self.told if t.final and t.text == text)

    def asked_of(self, sources: set[int]) -> list[Asked]:
        """What was asked of these voices."""
        return [asked for asked in self.asked if asked.source in sources]

    def controls_of(self, sources: set[int]) -> dict[str, list[str]]:
        """The types of all messages on each of these voices' sockets, by request id."""
        ids = dict.fromkeys(asked.request_id for asked in self.asked_of(sources))
        return {
            one: [str(c.message.get("type")) for c in self.watch.controls if c.request_id == one]
            for one in ids
        }

    def _listen(self, params: ListenParams) -> MarksRecogniser:
        return NotedRecogniser(params.endpointing_ms, self)

    def _voice(self, params: SpeakParams) -> MarksVoice:
        return NotedVoice(next(self._sources), self, params)


class NotedRecogniser(MarksRecogniser):
    def __init__(self, endpointing_ms: int | None, speech: Speech) -> None:
        super().__init__(endpointing_ms, speech.delays)
        self._told = speech.told
        self._on_frame = speech.on_frame

    async def open(self, tell: Tell) -> None:
        def note(heard: Heard) -> None:
            if isinstance(heard, Interim | Completed):
                self._told.append(Told(heard.text, time.monotonic(), isinstance(heard, Completed)))
            tell(heard)

        await super().open(note)

    def _hear(self, frame: MarkedFrame) -> None:
        self._on_frame(frame.source)
        super()._hear(frame)


class NotedVoice(MarksVoice):
    def __init__(self, source: int, speech: Speech, params: SpeakParams) -> None:
        super().__init__(source, speech.delays)
        self._of = source
        self._speech = speech
        self._params = params

    async def say(self, text: str) -> AsyncGenerator[bytes, None]:
        sockets = self._speech.watch.sockets
        request_id = next((one.request_id for one in sockets if one.params is self._params), "REST")
        self._speech.asked.append(Asked(text.strip(), time.monotonic(), self._of, request_id))
        async with aclosing(super().say(text)) as pieces:
            async for piece in pieces:
                yield piece


# ---------------------------------------------------------------- the model


def caller_of(request: dict[str, Any]) -> str:
    """The caller's number, as the system prompt tells it."""
    found = _CALLER.search(str(request["messages"][0]["content"]))
    return found[1] if found else ""


class ModelServer:
    """OpenAI's place: a script for each caller's number."""

    model = SNAPSHOT

    def __init__(self) -> None:
        self.record = Record()
        self.app: ASGIApp = _SayingCached(chat_app(self, self.record))
        self._scripts: dict[str, ScriptedModel] = {}

    def answers(self, caller: str, *rules: Rule) -> None:
        """What this caller's calls are answered from now on."""
        self._scripts[caller] = ScriptedModel(Script(rules))

    def reply(self, request: dict[str, Any]) -> AsyncGenerator[Piece, None]:
        """See `local.chat.Brain`."""
        return self._scripts[caller_of(request)].reply(request)


class _SayingCached:
    """Says of every prompt that some of it was cached, as OpenAI does of long ones."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def told(message: Message) -> None:
            if message["type"] == "http.response.body" and message.get("body"):
                was, now = b'"cached_tokens":0', b'"cached_tokens":%d' % CACHED_TOKENS
                message = {**message, "body": message["body"].replace(was, now)}
            await send(message)

        await self._app(scope, receive, told)


# ---------------------------------------------------------------- NHTSA


@dataclass
class CarServer:
    """NHTSA's place. `most_at_once`: how many requests it has had to answer at the same time."""

    app: ASGIApp = field(init=False)
    asked: list[str] = field(default_factory=list)
    most_at_once: int = 0
    _now: int = 0
    _changed: asyncio.Event = field(default_factory=asyncio.Event)

    def __post_init__(self) -> None:
        inner = nhtsa.create_app()

        async def counted(scope: Scope, receive: Receive, send: Send) -> None:
            if scope["type"] != "http" or "Decode" not in scope["path"]:
                await inner(scope, receive, send)
                return
            self.asked.append(scope["path"].rpartition("/")[2])
            self._now += 1
            self.most_at_once = max(self.most_at_once, self._now)
            self._changed.set()
            self._changed = asyncio.Event()
            try:
                await inner(scope, receive, send)
            finally:
                self._now -= 1

        self.app = counted

    async def faults(self, **faults: Any) -> None:
        """Sets `simulators.nhtsa.Faults`."""
        transport = httpx2.ASGITransport(app=self.app)
        async with httpx2.AsyncClient(transport=transport, base_url="http://nhtsa") as client:
            answer = await client.post("/_faults", json=faults)
        assert answer.status_code == 204, answer.text

    async def until_asked(self, vin: str, timeout_s: float = 20.0) -> None:
        """Waits until this VIN is asked for."""
        async with asyncio.timeout(timeout_s):
            while vin not in self.asked:
                await self._changed.wait()
