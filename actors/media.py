"""MediaActor: what the caller hears. Paces audio to Twilio, keeps the ledger, tells what was heard.

Told:  by Call    Speak, Hush (both passed on to Tts in order), Clear, Pause, Resume, HangUp, Transfer, Noted
       by Tts     SpeechAudio, SpeechWhole
       by Stream  Adopt, MarkEchoed, DtmfPressed, CallerGone
Tells: Call       SpeechPlayed, Cleared, DtmfPressed, CallerGone (after what had been heard by then)
       Tts        Speak, Hush
       Stream     MediaHeld, PlayedOut, Down
       Twilio     media, mark, clear (text frames of Media Streams)
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from engine.actor import Actor, Ref
from engine.clock import EARLY_S, now, wall
from engine.messages import (
    Adopt,
    CallerGone,
    Clear,
    Cleared,
    Down,
    DtmfPressed,
    HangUp,
    Hush,
    MarkEchoed,
    MediaHeld,
    Noted,
    Pause,
    PlayedOut,
    Resume,
    Speak,
    SpeechAudio,
    SpeechPlayed,
    SpeechWhole,
    Tick,
    Transfer,
)
from engine.playback import Changed, PlaybackLedger, SendAudio, SendMark, Step
from engine.settings import Settings
from engine.twilio import stream as codec

OUTBOX_LIMIT = 500  # messages to Twilio; the lead is a few

Send = Callable[[Sequence[str]], Awaitable[None]]
"""Puts text frames on Twilio's socket; waits while it takes nothing."""


class MediaActor(Actor):
    """Playback of one stream."""

    def __init__(self, stream_sid: str, send: Send, call: Ref, stream: Ref, settings: Settings) -> None:
        super().__init__()
        self._stream_sid = stream_sid
        self._send = send
        self._settings = settings
        self._call = call
        self._stream = stream
        self.tts: Ref | None = None
        self._epoch = 0
        self._n = 0
        self._keys: list[DtmfPressed] = []
        self._outbox: asyncio.Queue[str] = asyncio.Queue(OUTBOX_LIMIT)
        self._due: asyncio.TimerHandle | None = None
        self._echo: asyncio.TimerHandle | None = None
        self._starving: asyncio.TimerHandle | None = None
        self._dry_s: float | None = None  # when the caller has nothing more to hear, though more is awaited
        self._waited_s = 0.0  # in vain before that, for sentences that were interrupted
        self._goodbye: HangUp | Transfer | None = None
        self._goodbye_until_s = 0.0

    async def started(self) -> None:
        self._playback = PlaybackLedger(self._settings.playback_lead_ms, wall() - now())
        self.work(self._write(), "writer")

    async def receive(self, message: Any) -> None:
        match message:
            case SpeechAudio(_, turn, index, payload, asked_at, audio_at):
                self._waited_s = 0.0
                self._playback.add(turn, index, payload, asked_at, audio_at)
            case SpeechWhole(_, turn, index):
                self._carry_out(self._playback.finish(turn, index, now()))
            case MarkEchoed(name):
                self._carry_out(self._playback.echoed(name, now()))
            case Tick("due"):
                self._due = None
            case Tick("echo"):
                self._echo = None
            case Tick("starving"):
                self._starving = None
                self._starve()
            case Speak(epoch, turn, index, text):
                self._speak(message, epoch, turn, index, text)
            case Hush():
                if self.tts is not None:
                    self.tts.tell(message)
            case Clear():
                self._clear()
            case Pause() | Resume():
                self._playback.paused = isinstance(message, Pause)
            case HangUp() | Transfer():
                self._goodbye = message
                self._goodbye_until_s = now() + self._settings.last_words_s
                self.after(self._settings.last_words_s, Tick("goodbye"))
            case DtmfPressed(_, digit):
                self._keys.append(DtmfPressed(self._next(), digit))
                self._tell_call(self._keys[-1])
            case Noted(n):
                self._keys = [key for key in self._keys if key.n > n]
            case Adopt():
                self._adopt(message)
            case CallerGone():
                self._goodbye = None
                self._carry_out(self._playback.clear(now()))
                self._tell_call(message)
            case Tick("goodbye"):
                pass
            case _:
                self._stream.tell(message)  # Down of the writer: the socket is gone
        self._play()

    # --- commands

    def _speak(self, message: Speak, epoch: int, turn: int, index: int, text: str) -> None:
        if epoch < self._epoch or self.tts is None:
            return
        if self._playback.expect(turn, index, text):
            self.tts.tell(message)

    def _clear(self) -> None:
        self._goodbye = None
        steps = self._playback.clear(now())
        self._put(codec.clear(self._stream_sid))
        at = wall()
        self._carry_out(steps)
        self._tell_call(Cleared(at))

    def _adopt(self, adopt: Adopt) -> None:
        if adopt.epoch < self._epoch:
            return
        if not self._epoch:  # what was numbered before is unknown to the call, which counts from `noted`
            self._n = adopt.noted
            self._keys = [DtmfPressed(self._next(), key.digit) for key in self._keys]
        self._epoch = adopt.epoch
        self._n = max(self._n, adopt.noted)
        self._keys = [key for key in self._keys if key.n > adopt.noted]
        ledger, quiet_ms = self._playback.ledger(now()), self._playback.quiet_ms(now())
        self._stream.tell(MediaHeld(adopt.epoch, ledger, tuple(self._keys), quiet_ms))

    # --- playing

    def _play(self) -> None:
        at = now()
        self._carry_out(self._playback.due(at))
        next_s = self._playback.next_s(at)
        if self._due is None and next_s is not None:
            self._due = self.after(next_s - at, Tick("due"))
        self._look_after_marks(at)
        self._look_after_voice(at)
        if self._goodbye is not None and self._last_words_played():
            self._stream.tell(PlayedOut(self._goodbye))
            self._goodbye = None

    def _last_words_played(self) -> bool:
        return self._playback.idle or now() >= self._goodbye_until_s

    def _look_after_marks(self, at: float) -> None:
        """A mark that never comes back must not leave the agent speaking for ever."""
        if self._playback.idle or not self._playback.all_sent:
            return
        self._carry_out(self._playback.assume_played(at, self._settings.marks_wait_s))
        if not self._playback.idle and self._echo is None:
            late_s = self._playback.unconfirmed_until_s() + self._settings.marks_wait_s
            self._echo = self.after(max(0.001, late_s - at), Tick("echo"))

    def _look_after_voice(self, at: float) -> None:
        """A sentence of which nothing comes must not leave the caller in silence, nor one who asks into the silence."""
        dry_s = self._playback.dry_at_s(at)
        if dry_s is None:
            self._waited_s += max(0.0, at - self._dry_s) if self._dry_s is not None else 0.0
            self.cancel(self._starving)
            self._starving = self._dry_s = None
            return
        if self._dry_s is None or dry_s > at:  # with each audio it is later
            self._dry_s = dry_s
        if self._starving is None:
            self._starving = self.after(max(0.0, self._starves_s(self._dry_s) - at), Tick("starving"))

    def _starves_s(self, dry_s: float) -> float:
        return dry_s + self._settings.voice_wait_s - self._waited_s

    def _starve(self) -> None:
        """The timer rings too early where audio has come since it was set."""
        at = now()
        if self._dry_s is not None and at >= self._starves_s(self._dry_s) - EARLY_S:
            self._dry_s, self._waited_s = at, 0.0
            self._stream.tell(Down("voice", f"no speech to play for {self._settings.voice_wait_s:g} s"))

    def _carry_out(self, steps: list[Step]) -> None:
        for step in steps:
            match step:
                case SendAudio(payload):
                    self._put(codec.media(self._stream_sid, payload))
                case SendMark(name):
                    self._put(codec.mark(self._stream_sid, name))
                case Changed():
                    self._tell_call(
                        SpeechPlayed(
                            self._next(),
                            step.turn,
                            step.index,
                            step.state,
                            step.played_ms,
                            step.audio_ms,
                            step.at,
                            step.asked_at,
                            step.audio_at,
                        )
                    )

    def _next(self) -> int:
        self._n += 1
        return self._n

    def _tell_call(self, message: Any) -> None:
        if self._epoch:
            self._call.tell(message)

    # --- Twilio's socket

    def _put(self, text: str) -> None:
        self._outbox.put_nowait(text)  # full: Twilio reads nothing; the error ends the stream

    async def _write(self) -> None:
        while True:
            texts = [await self._outbox.get()]
            while not self._outbox.empty():  # a sentence's first chunks, and its last with its mark
                texts.append(self._outbox.get_nowait())
            async with asyncio.timeout(self._settings.stream_send_s):
                await self._send(texts)
