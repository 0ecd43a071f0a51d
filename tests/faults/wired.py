"""A call in real time, in this process: the real actors and SDKs, and over sockets vendors that can be made to fail.

Nothing of it is Ray's: what is measured is what the engine does about a vendor.
"""

import asyncio
import itertools
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import redis.asyncio

from engine import audio
from engine.callrows import LogEvent, LogTranscript, Speaker
from engine.clock import now
from engine.messages import CallerAudio
from engine.routes import Routes
from engine.vendors import ways
from local.serving import serving
from local.speech.params import Refusal
from simulators.marks import MarkReader, mark_audio, text_of
from simulators.vendors import Speech
from tests.virtual.rig import Rig, Voice, new_settings

DOWN = Refusal(503, "UNAVAILABLE", "down for maintenance")


class Marks(Voice):
    """What the caller hears, read from the marks in it."""

    def text_of(self, audio: bytes) -> str:
        return text_of(MarkReader().feed(audio))


@dataclass
class Wired(Rig):
    """One call, whose hearing and speaking are `speech`'s, by sockets. See `wired`."""

    voice: Voice = field(default_factory=Marks)
    speech: Speech = field(default_factory=Speech)
    _frames: list[bytes] = field(default_factory=list)
    _numbers: Any = field(default_factory=itertools.count)

    def listen_routes(self) -> Routes[Any]:
        return ways.listen_routes(self.settings)

    def speak_routes(self) -> Routes[Any]:
        return ways.speak_routes(self.settings)

    async def talk(self) -> None:
        """The caller's line: a frame every 20 ms, of speech if there is some."""
        due_s = now()
        while True:
            assert self.stream is not None
            frame = self._frames.pop(0) if self._frames else audio.SILENCE * audio.FRAME_BYTES
            self.stream.audio.tell(CallerAudio(frame))
            due_s += audio.FRAME_MS / 1000
            await asyncio.sleep(due_s - now())

    def begins_to_say(self, text: str) -> None:
        """The caller speaks, after what they are saying."""
        sound = mark_audio(text, 77, next(self._numbers))
        self._frames += [sound[at : at + audio.FRAME_BYTES] for at in range(0, len(sound), audio.FRAME_BYTES)]

    async def has_said(self, frames_left: int = 0) -> None:
        """Until the caller has only that many frames left to say."""
        while len(self._frames) > frames_left:  # noqa: ASYNC110 - paced by the clock
            await asyncio.sleep(0.005)

    async def greeted(self) -> None:
        """Until the greeting is over."""
        await self.hears("Hello.")
        await self.quiet()

    async def event(self, kind: str, count: int = 1) -> float:
        """Until the call log has that event for the `count`th time; when that was (seconds of `now`)."""

        def found() -> list[LogEvent]:
            return [entry for entry in self.log.of(LogEvent) if entry.kind == kind]

        await self.until(lambda: len(found()) >= count)
        return now()

    @property
    def understood(self) -> list[str]:
        """The caller's turns, as they were understood."""
        return [entry.text for entry in self.log.of(LogTranscript) if entry.speaker is Speaker.CALLER]

    async def cut(self, kind: str) -> float:
        """The vendor ends all sockets of that kind; when."""
        at_s = now()
        for socket in [one for one in self.speech.watch.sockets if one.kind == kind]:
            await socket.close(1011, "NET-0000 internal error")
        return at_s


@asynccontextmanager
async def wired(
    redis_url: str,
    *rules: dict[str, Any],
    speech: Speech | None = None,
    fallback: Speech | None = None,
    **chosen: Any,
) -> AsyncIterator[Wired]:
    """A call that is answered; `fallback` hears and speaks for a `speech` that can't. `chosen` are settings."""
    speech = speech or Speech()
    async with AsyncExitStack() as stack:
        first = await stack.enter_async_context(serving(speech.app))
        if fallback is not None:
            second = await stack.enter_async_context(serving(fallback.app))
            chosen |= {"stt_fallback": second.http_url, "tts_fallback": second.http_url}
        settings = new_settings(deepgram_base_url=first.http_url, **chosen)
        async with redis.asyncio.from_url(redis_url) as client:
            await client.flushdb()  # each trial is a call of its own, by the same name
        call = Wired(redis_url, list(rules), settings, speech=speech, greeting="Hello.")
        await call.open()
        stack.push_async_callback(call.close)
        line = asyncio.create_task(call.talk())
        stack.callback(line.cancel)
        await call.greeted()
        yield call
