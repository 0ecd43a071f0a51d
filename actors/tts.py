"""TtsActor: text to audio. Keeps one speak socket, a Flush for each sentence, in order.

When a sentence's audio is complete is known from `Flushed`, one for each Flush, never from a pause. Deepgram ignores
the 21st Flush in 60 s, with a Warning, and its `Flushed` never comes: so a socket that has used up its flushes is
replaced before it is asked for one too many, and every wait has a deadline.

A socket that ends, warns, or is late is replaced, by the next way if its breaker is open (Deepgram's socket, its REST
endpoint, `TTS_FALLBACK`), and a sentence goes on where it was cut. Late means: the caller would soon hear a gap.

Told:  by Media   Speak, Hush
       by Stream  Adopt
Tells: Media      SpeechAudio, SpeechWhole
       Stream     TtsHeld, Down (of the voice: all refuse for good)
"""

import asyncio
from collections import deque
from dataclasses import dataclass, field
from typing import Any

from engine import audio
from engine.actor import Actor, Ref
from engine.clock import now, wall
from engine.messages import Adopt, Down, Hush, Speak, SpeechAudio, SpeechWhole, Tick, TtsHeld
from engine.routes import Route, Routes
from engine.sentence_audio import USUAL_PACE, SentenceAudio, letters
from engine.settings import Settings
from engine.supervision import Sockets
from engine.telemetry import count
from engine.vendors.deepgram import (
    AudioCame,
    ClearDone,
    FlushDone,
    SpeakRequests,
    SpeakSocket,
    VendorLost,
    Warned,
)
from engine.vendors.ways import SpeakWay

FLUSHES = 20  # by socket ...
FLUSH_WINDOW_S = 60.0  # ... in this time (Deepgram, Streaming TTS: Flush)
LOOK_S = 1.0  # how often a better way is looked for
CONFIRM_S = 0.05  # for audio to be read that has come


@dataclass(frozen=True)
class _Opened:
    """A connection's task to its actor: the socket is open."""

    number: int


@dataclass(frozen=True)
class _Ended:
    """A connection is over."""

    number: int
    lost: VendorLost


@dataclass
class _Line:
    """One connection, from before its socket is open. `commands` are its sentences; None is a clear."""

    number: int
    route: Route[SpeakWay]
    commands: asyncio.Queue[str | None] = field(default_factory=asyncio.Queue)
    task: asyncio.Task[None] | None = None
    began_s: float = field(default_factory=now)
    open: bool = False
    opened_s: float = 0.0
    useful: bool = False  # it brought what nobody had
    flushed_s: deque[float] = field(default_factory=deque)

    def may_flush(self) -> bool:
        while self.flushed_s and now() - self.flushed_s[0] > FLUSH_WINDOW_S:
            self.flushed_s.popleft()
        return len(self.flushed_s) < FLUSHES


class TtsActor(Actor):
    """Synthesis for one stream."""

    def __init__(self, routes: Routes[SpeakWay], media: Ref, stream: Ref, settings: Settings) -> None:
        super().__init__()
        self._routes = routes
        self._media = media
        self._stream = stream
        self._first_audio_s = settings.tts_first_audio_s
        self._stall_s = settings.tts_stall_s
        self._ahead_s = settings.tts_ahead_s
        self._patience_most = settings.tts_slow_most
        self._patience = 1.0
        self._epoch = 0
        self._hushed = -1
        self._turn = -1  # of what was asked for last
        self._queue: deque[SentenceAudio] = deque()  # not yet asked for
        self._asked: deque[SentenceAudio] = deque()  # asked for, their Flushed to come, in order
        self._stale_flushes = 0  # pending at a Clear: their Flushed may or may not come
        self._clears = 0  # sent, their Cleared to come: audio until then is of what was hushed
        self._numbers = 0
        self._line: _Line | None = None
        self._candidate: _Line | None = None  # to a better way
        self._answered_s = 0.0
        self._dry_s = 0.0  # when all that was passed on will have been played, if nothing holds it up
        self._late: asyncio.TimerHandle | None = None
        self._suspected_s: float | None = None  # when it is certain that the vendor is late
        self._sockets = Sockets()
        self._in_vain: list[Route[SpeakWay]] = []  # waited for since there last was audio
        self._next = routes.all[0]  # to be connected to
        self._refused = ""  # why, if all ways refuse for good
        self._told_refused = False
        self._paces: dict[str, float] = {}  # bytes a letter, by voice
        self.spoken_chars = 0  # of text that a voice was given, what it was given again too

    async def started(self) -> None:
        self._line = self._connect(self._routes.best())
        self.after(LOOK_S, Tick("look"))

    async def receive(self, message: Any) -> None:
        match message:
            case (number, event):
                if self._line is not None and number == self._line.number:
                    self._event(self._line, event)
            case Speak(_, turn):
                if turn > self._hushed:
                    self._queue.append(SentenceAudio.of(message))
            case Hush(turn):
                self._hush(turn)
            case Adopt(epoch) if epoch >= self._epoch:
                self._epoch = epoch
                self._stream.tell(TtsHeld(epoch))
            case Tick("late"):
                self._late = None
            case Tick("look"):
                self._look_for_better()
                self.after(LOOK_S, message)
            case Tick("connect"):
                if self._line is None:
                    self._line = self._connect(self._next if self._next.well else self._routes.best())
            case _Opened(number):
                self._opened(number)
            case _Ended():
                self._ended(message)
            case Down(job, reason) if job.startswith("speak"):
                raise RuntimeError(reason)
        if self._refused:
            self._face_refusal()
        self._ask()
        self._watch()

    # --- sentences

    @property
    def _idle(self) -> bool:
        return not (self._queue or self._asked or self._clears)

    def _ask(self) -> None:
        """Asks for what is queued, as far as the socket may be asked."""
        self._move_if_between_turns()
        while self._queue and self._line is not None and self._line.open:
            line = self._line
            if not line.may_flush():
                if not self._asked and not self._clears:
                    count("tts_socket_replaced")
                    self._drop(line)
                    self._line = self._connect(line.route)
                return
            sentence = self._queue.popleft()
            self._turn = sentence.speak.turn
            sentence.asked_at = sentence.asked_at or wall()
            sentence.asked_s = now()
            if not self._asked:
                self._answered_s = now()
            self._asked.append(sentence)
            line.flushed_s.append(now())
            pace = self._paces.get(sentence.voice, USUAL_PACE)
            text = sentence.ask(line.route.way.voice, pace)
            self.spoken_chars += len(text)
            line.commands.put_nowait(text + " ")

    def _hush(self, turn: int) -> None:
        self._hushed = max(self._hushed, turn)
        self._queue = deque(one for one in self._queue if one.speak.turn > turn)
        self._dry_s = now()
        if not self._asked or self._line is None:
            return
        self._stale_flushes += len(self._asked)
        self._asked.clear()
        self._clears += 1  # awaited since the Speak was: a mute vendor answers neither
        self._line.commands.put_nowait(None)

    # --- the vendor

    def _event(self, line: _Line, event: AudioCame | FlushDone | ClearDone | Warned) -> None:
        self._answered_s = now()
        self._suspected_s = None
        match event:
            case AudioCame(payload) if not self._clears and self._asked:
                self._audio(line, self._asked[0], payload)
            case AudioCame():
                count("tts_audio_dropped")  # on its way when it was hushed
            case FlushDone():
                line.useful = True
                line.route.worked()  # not for a beginning: a voice that stalls in each sentence is none
                self._flush_done()
            case ClearDone():
                line.useful = True
                self._clears = max(0, self._clears - 1)
            case Warned(text):
                count("tts_warnings")
                self._lose(line, f"Deepgram warns: {text}")

    def _audio(self, line: _Line, sentence: SentenceAudio, payload: bytes) -> None:
        self._stale_flushes = 0
        payload = sentence.hear(payload)
        if not payload:
            return
        line.useful = True
        self._patience = 1.0
        self._in_vain.clear()
        sentence.audio_at = sentence.audio_at or wall()
        self._dry_s = max(self._dry_s, now()) + len(payload) / audio.SAMPLE_RATE
        speak = sentence.speak
        self._media.tell(
            SpeechAudio(speak.epoch, speak.turn, speak.index, payload, sentence.asked_at, sentence.audio_at)
        )

    def _flush_done(self) -> None:
        if self._clears or not self._asked:
            self._stale_flushes = max(0, self._stale_flushes - 1)
        elif self._stale_flushes and not self._asked[0].told_bytes:
            self._stale_flushes -= 1  # of a sentence that was cleared: ours has no audio yet
        else:
            sentence = self._asked.popleft()
            if (
                sentence.told_bytes and len(sentence.text) > 10
            ):  # a short one's pauses would count for too much
                self._paces[sentence.voice] = sentence.told_bytes / letters(sentence.text)
            speak = sentence.speak
            self._media.tell(SpeechWhole(speak.epoch, speak.turn, speak.index))

    # --- a vendor that is late

    def _watch(self) -> None:
        """Has a timer for the moment at which the vendor is late. It is let ring too early: audio comes often.

        And once more: when our own loop was held up, what has come meanwhile has yet to be read.
        """
        line = self._line
        late_s = self._late_s(line) if line is not None else None
        if line is None or late_s is None:
            self._suspected_s = None
            return
        if now() >= late_s:
            late_s = self._suspected_s = self._suspected_s or now() + CONFIRM_S
        if now() < late_s:
            if self._late is not None and self._late.when() > late_s:
                self.cancel(self._late)
                self._late = None
            if self._late is None:
                self._late = self.after(late_s - now(), Tick("late"))
            return
        count("tts_stalls")
        self._lose(line, "no audio in time", late=True)

    def _late_s(self, line: _Line) -> float | None:
        """When what is awaited is late; None: nothing is."""
        first_s, stall_s = self._first_audio_s * self._patience, self._stall_s * self._patience
        if not line.open:
            return max(line.began_s + first_s, self._dry_s - self._ahead_s) if self._queue else None
        if self._clears:
            return self._answered_s + first_s
        if not self._asked:
            return None
        limit_s = stall_s if self._asked[0].told_bytes and not self._asked[0].skip_bytes else first_s
        return max(self._answered_s + limit_s, self._dry_s - self._ahead_s)

    # --- connections

    def _connect(self, route: Route[SpeakWay]) -> _Line:
        self._numbers += 1
        line = _Line(self._numbers, route)
        line.task = self.work(self._connection(line), f"speak-{line.number}")
        return line

    async def _connection(self, line: _Line) -> None:
        """One socket from opening to its end, of which the actor is told."""
        socket = line.route.way.open_socket()
        try:
            await socket.open()
            self.tell(_Opened(line.number))
            async with asyncio.TaskGroup() as both:
                both.create_task(self._send(line, socket))
                both.create_task(self._read(line, socket))
        except* VendorLost as group:
            lost = next(one for one in group.exceptions if isinstance(one, VendorLost))
            self.tell(_Ended(line.number, lost))
        finally:
            await socket.close()

    async def _send(self, line: _Line, socket: SpeakSocket | SpeakRequests) -> None:
        while True:
            text = await line.commands.get()
            if text is None:
                await socket.clear()
            else:
                await socket.say(text)

    async def _read(self, line: _Line, socket: SpeakSocket | SpeakRequests) -> None:
        async for event in socket.events():
            self.tell((line.number, event))
        raise VendorLost("Deepgram ended the stream")

    def _opened(self, number: int) -> None:
        for line in (self._line, self._candidate):
            if line is not None and line.number == number:
                line.open, line.opened_s = True, now()

    def _ended(self, ended: _Ended) -> None:
        line, candidate, lost = self._line, self._candidate, ended.lost
        if candidate is not None and ended.number == candidate.number:
            candidate.route.failed(str(lost), for_good=lost.for_good, at_once=lost.refused)
            self._candidate = None
        elif line is not None and ended.number == line.number:
            self._lose(line, str(lost), lost)

    def _lose(self, line: _Line, why: str, lost: VendorLost | None = None, *, late: bool = False) -> None:
        """What was asked of that socket is asked again, of the next one."""
        count("tts_lost")
        failed = self._sockets.lost(now() - line.opened_s if line.open else 0.0, useful=line.useful) or late
        if failed:
            refused, for_good = (lost.refused, lost.for_good) if lost is not None else (False, False)
            line.route.failed(why, for_good=for_good, at_once=refused)
            self._in_vain.append(line.route)
        self._drop(line)
        self._line = None
        self._queue.extendleft(reversed(self._asked))
        self._asked.clear()
        self._clears = self._stale_flushes = 0
        if self._routes.hopeless:
            self._refused = why
            return
        once_more = line.open and self._in_vain == [line.route]  # after the first stall a new socket may do
        best = self._routes.best()
        self._next = best if once_more or not failed else self._routes.instead_of(self._in_vain)
        elsewhere = self._next is not line.route and self._next not in self._in_vain and self._next.well
        if late and not elsewhere and not once_more:  # all may be slow, and none lost
            self._patience = min(self._patience * 2, self._patience_most)
        self.after(self._sockets.pause_s(elsewhere=elsewhere), Tick("connect"))

    def _face_refusal(self) -> None:
        """Nobody asks again before another call has found one well; who waits for a sentence is not kept waiting."""
        if not self._routes.hopeless:
            self._refused = ""
            self._line = self._connect(self._routes.best())
        elif self._queue and not self._told_refused:
            self._told_refused = True
            self._stream.tell(Down("voice", self._refused))

    def _look_for_better(self) -> None:
        if self._idle and self._line is not None and self._line.open and self._candidate is None:
            better = self._routes.better_than(self._line.route)
            if better is not None:
                self._candidate = self._connect(better)

    def _move_if_between_turns(self) -> None:
        """To the better way that is open, but not in the midst of a reply: with a new turn's first sentence."""
        candidate = self._candidate
        if candidate is None or not candidate.open or self._asked or self._clears:
            return
        if self._line is not None:
            if not self._queue or self._queue[0].speak.turn == self._turn:
                return
            self._drop(self._line)
        self._line, self._candidate = candidate, None
        count("tts_came_back")

    def _drop(self, line: _Line) -> None:
        """Its task closes its socket; what it still tells is not heard."""
        if line.task is not None:
            line.task.cancel()
