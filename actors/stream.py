"""StreamActor: one Twilio socket. Keeps Media, Stt and Tts alive while a CallActor is found, lost and replaced.

Told:  by ingress  CallerAudio goes straight to `audio`; MarkEchoed, DtmfPressed, CallerGone, Drained
       by Call     Attach, CallEnded, Down (its host tells of its failure)
       by Media    MediaHeld, PlayedOut, Down        by Stt  SttHeld        by Tts  TtsHeld, Down
       by link     its end
Tells: host        Start
       Media, Stt, Tts  Adopt
       Call        Attached, Refused; what the three tell it passes through
"""

import asyncio
import contextlib
import logging
import os
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, Protocol

from actors.media import MediaActor, Send
from actors.stt import SttActor
from actors.switch import Switch
from actors.tts import TtsActor
from engine import phrases
from engine.actor import Actor, Ref
from engine.callrows import LogUsage, Part
from engine.clock import now, wall
from engine.messages import (
    Adopt,
    Attach,
    Attached,
    CallEnded,
    CallerGone,
    CallInfo,
    Clear,
    Down,
    Drained,
    DtmfPressed,
    HangUp,
    MarkEchoed,
    MediaHeld,
    PlayedOut,
    Refused,
    Speak,
    Start,
    SttHeld,
    Tick,
    Transfer,
    TtsHeld,
)
from engine.redis_client import SessionAway
from engine.routes import Routes
from engine.session import Whereabouts
from engine.settings import Settings
from engine.supervision import Losses, Supervision
from engine.telemetry import count
from engine.vendors.ways import Listening, SpeakWay

log = logging.getLogger("actors.stream")

USAGE_S = 30.0  # how often it is told what was used: a replica that is killed takes the rest with it
GIVE_UP_TURN = 1_000_000  # the last sentence's turn: past any of the conversation's


class Placement(Protocol):
    """Where a call runs: its CallActor, and the way to leave."""

    call: Ref
    host: str
    pid: int

    def leave(self) -> None:
        """The stream needs this CallActor no more."""


class Placer(Protocol):
    """Finds a host for a call; `engine.hostpool.HostPool` is the real one."""

    async def place(
        self, start: Start, receive: Callable[[str, Any], None], lost: Callable[[str], None]
    ) -> Placement:
        """Starts a CallActor. `receive(to, message)` gets what it tells, `lost(why)` the link's end."""


@dataclass(frozen=True)
class StreamPorts:
    """Whom a StreamActor knows."""

    send: Send
    close: Callable[[], Awaitable[None]]
    make_sure: Callable[
        [str, HangUp | Transfer], Awaitable[None]
    ]  # that a call ends so, though Redis be away
    unclosed: Callable[[], None]  # the socket did not close in time: the call is to be ended otherwise
    gave_up: Callable[[str, bool], Awaitable[None]]  # the call, and whether the caller was told why
    moved: Callable[[Whereabouts], Awaitable[None]]
    used: Callable[[LogUsage], None]  # for the call log: what recognition and the voice were given so far
    hosts: Placer
    listen: Routes[Listening]
    speak: Routes[SpeakWay]


@dataclass(frozen=True)
class _Lost:
    """A link's end, and whose it is: an earlier placement's is old news."""

    attempt: int
    why: str


class StreamActor(Actor):
    """The media plane of one stream, and the search for a CallActor to run its call."""

    def __init__(self, info: CallInfo, stream_sid: str, ports: StreamPorts, settings: Settings) -> None:
        super().__init__()
        self._info = info
        self._stream_sid = stream_sid
        self._ports = ports
        self._settings = settings
        self._switch = Switch()
        self._placement: Placement | None = None
        self._epoch = 0
        self._attempt = 0
        self._supervision = Supervision.by(settings).calls
        self._losses = Losses(self._supervision)
        self._attached = False
        self._attached_s = 0.0
        self._placing: asyncio.Task[None] | None = None
        self._held: dict[type, Any] = {}
        self._gone: CallerGone | None = None
        self._given_up = False
        self._saying_goodbye = False  # what is being said are the call's last words
        self._drained = False
        self._searches = 0
        self._state = ""
        self._moved = asyncio.Event()
        self.audio: Ref = self  # Stt, from `started` on

    async def started(self) -> None:
        settings, ports = self._settings, self._ports
        media = MediaActor(self._stream_sid, ports.send, self._switch, self, settings)
        media.tts = TtsActor(ports.speak, media, self, settings)
        self._media, self._tts = media, media.tts
        self._stt = SttActor(ports.listen, self._switch, self, settings)
        self.audio = self._stt
        self.spawn(self._media, "media")
        self.spawn(self._tts, "tts")
        self.spawn(self._stt, "stt")
        self.work(self._tell_whereabouts(), "whereabouts")
        self.after(USAGE_S, Tick("usage"))
        self._search()

    async def receive(self, message: Any) -> None:
        match message:
            case MarkEchoed() | DtmfPressed():
                self._media.tell(message)
            case Attach():
                self._attach(message)
            case MediaHeld(epoch) | SttHeld(epoch) | TtsHeld(epoch) if epoch == self._epoch:
                self._held[type(message)] = message
                self._join()
            case CallerGone():
                self._caller_gone(message)
            case Drained():
                self._drained = True
                self._end_if_drained()
            case PlayedOut(goodbye):
                self.work(self._end(goodbye), "close")
            case CallEnded():
                self._call_ended()
            case _Lost(attempt, why):
                if attempt == self._attempt:
                    self._lost(why, with_host=True)
            case Down("call" | "place", why):
                self._lost(why)
            case Tick("attached?"):
                if not self._attached and not self._given_up and message.n == self._searches:
                    self._give_up(f"no CallActor within {self._supervision.search_s:g} s")
            case Tick("usage"):
                self._tell_usage()
                self.after(USAGE_S, message)
            case Tick("over"):
                self.stop()
            case Tick("listed"):
                self._moved.set()  # what was told before the call was in the list is lost
            case Down("whereabouts", why):
                log.error("nobody is told where the call runs: %s", why)
            case Down(child, reason):
                self._media_plane_failed(child, reason)

    async def stopped(self) -> None:
        self._leave(CallerGone("dropped"))
        if self.audio is not self:
            self._tell_usage()

    # --- a CallActor: found, attached, lost

    def _search(self) -> None:
        """A stretch without a CallActor begins: it has `search_s` to end."""
        self._searches += 1
        if self._epoch:
            self._is("searching")
        self.after(self._supervision.search_s, Tick("attached?", self._searches))
        self._try()

    def _try(self) -> None:
        self._attempt += 1
        self._attached = False
        self._placing = self.work(self._place(self._attempt), "place")

    async def _place(self, attempt: int) -> None:
        start = Start(self._info, self._stream_sid, self._epoch, attempt - 1)

        def told(to: str, message: Any) -> None:
            if attempt == self._attempt:
                self._told_by_call(to, message)

        self._placement = await self._ports.hosts.place(
            start, told, lambda why: self.tell(_Lost(attempt, why))
        )

    def _leave(self, last_words: CallerGone | None = None) -> None:
        """Is done with the present CallActor; `last_words` end one that may live on."""
        if self._placing is not None:
            self._placing.cancel()
        if self._placement is not None:
            if last_words is not None:
                self._placement.call.tell(last_words)
            self._placement.leave()
            self._placement = None

    def _told_by_call(self, to: str, message: Any) -> None:
        """A CallActor's message, from the link."""
        if to == "media":
            if isinstance(message, HangUp | Transfer | Clear):
                self._saying_goodbye = not isinstance(message, Clear)
            self._media.tell(message)
            self._end_if_drained()
        elif to == "stt":
            self._stt.tell(message)
        else:
            self.tell(message)

    def _attach(self, attach: Attach) -> None:
        if self._placement is None or self._given_up:
            return
        if attach.epoch <= self._epoch:
            count("attach_refused")
            self._placement.call.tell(Refused(self._epoch))
            return
        self._epoch = attach.epoch
        self._held = {}
        self._switch.hold(self._placement.call)
        adopt = Adopt(attach.epoch, attach.next_utterance, attach.noted)
        for actor in (self._media, self._stt, self._tts):
            actor.tell(adopt)

    def _join(self) -> None:
        if len(self._held) < 3 or self._attached or self._placement is None:
            return
        media, stt = self._held[MediaHeld], self._held[SttHeld]
        self._attached = True
        self._attached_s = now()
        self._placement.call.tell(
            Attached(
                self._epoch,
                self._stream_sid,
                stt.utterances,
                media.ledger,
                media.dtmf,
                min(media.quiet_ms, stt.quiet_ms),
            )
        )
        self._switch.through()
        self._is("running")
        if self._gone is not None:
            self._media.tell(self._gone)

    def _lost(self, why: str, *, with_host: bool = False) -> None:
        count("call_actors_lost")
        self._switch.off()
        self._leave()
        was_attached, self._attached = self._attached, False
        ran_s = now() - self._attached_s if was_attached else 0.0
        may_go_on = self._losses.lost(ran_s, with_host=with_host)
        if self._gone is not None:
            self.stop()
        elif self._given_up:
            return
        elif not may_go_on:
            self._give_up(why)
        elif was_attached:
            self._search()
        else:
            self._try()

    def _end_if_drained(self) -> None:
        """At the end of the drain time; a call that has said goodbye, or is being put through, ends by itself."""
        if self._drained and self._gone is None and not self._given_up and not self._saying_goodbye:
            self._give_up("the app is being stopped")

    def _give_up(self, why: str) -> None:
        """Nobody can run this call: one sentence, then `stream-ended` answers with the fallback."""
        count("calls_given_up")
        log.error("call given up: %s", why)
        self._given_up = True
        self._is("given up")
        self._leave(CallerGone("dropped"))
        self._attempt += 1  # what the last one still says is old news
        self._epoch += 1
        self.work(self._note_giving_up(), "gave up")
        self._media.tell(Adopt(self._epoch, 1, 0))
        dials = bool(self._settings.fallback_number)
        sentence = phrases.UNAVAILABLE_DIALLING if dials else phrases.UNAVAILABLE
        self._media.tell(Speak(self._epoch, GIVE_UP_TURN, 0, sentence))
        self._media.tell(HangUp(fallback=True))

    async def _note_giving_up(self) -> None:
        await self._ports.gave_up(self._info.call, True)

    # --- for those who ask where the call runs

    def _is(self, state: str) -> None:
        self._state = state
        self._moved.set()

    async def _tell_whereabouts(self) -> None:
        """Tells the latest, one at a time: of two at once, the older might be written last."""
        while True:
            await self._moved.wait()
            self._moved.clear()
            placed = self._placement
            host, pid = (placed.host, placed.pid) if placed is not None else ("", 0)
            where = Whereabouts(
                self._info.call, self._stream_sid, self._state, self._epoch, os.getpid(), host, pid
            )
            try:
                await self._ports.moved(where)
            except SessionAway:
                count("live_unmarked")

    def _tell_usage(self) -> None:
        heard_ms, spoken = self._stt.heard_ms, self._tts.spoken_chars
        self._ports.used(
            LogUsage(
                self._info.call,
                Part.SPEECH,
                self._stream_sid,
                wall(),
                heard_ms=heard_ms,
                spoken_chars=spoken,
            )
        )

    # --- the end

    def _caller_gone(self, gone: CallerGone) -> None:
        if self._gone is not None:
            return
        self._gone = gone
        self._media.tell(gone)
        if self._given_up:
            self.stop()
        else:
            tool_s = self._settings.tool_timeout_s + self._settings.tool_settle_s
            self.after(tool_s + self._supervision.search_s, Tick("over"))

    def _call_ended(self) -> None:
        if self._gone is not None:
            self.stop()
        else:
            self.work(self._close(), "close")  # the call ended by itself: its socket goes too

    async def _end(self, goodbye: HangUp | Transfer) -> None:
        """Closes the socket, and Twilio asks what comes next: who can't read the session says the fallback."""
        if goodbye != HangUp(fallback=True):
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self._settings.twilio_rest_s):
                    await self._ports.make_sure(self._info.call, goodbye)
        await self._close()

    async def _close(self) -> None:
        try:
            async with asyncio.timeout(self._settings.stream_close_s):
                await self._ports.close()
        except TimeoutError:
            count("streams_unclosed")
            self._ports.unclosed()

    def _media_plane_failed(self, child: str, reason: str) -> None:
        if child == "voice":
            log.error("no voice: %s", reason)
            self.work(self._without_a_voice(), "close")
        elif child in ("media", "stt", "tts", "writer"):
            count(f"{child}_failed")
            self.work(self._close(), "close")  # Twilio asks `action`, and the call goes on in a new stream

    async def _without_a_voice(self) -> None:
        """Synthesis is away: Twilio's own voice has to say so."""
        count("voices_lost")
        try:
            await self._ports.gave_up(self._info.call, False)
        except SessionAway:
            log.warning("Redis can't be told that there is no voice: who answers Twilio finds it away, too")
        await self._close()
