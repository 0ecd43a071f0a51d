"""TtsActor: text to audio. Keeps one Deepgram speak socket, a Flush for each sentence, in order.

When a sentence's audio is complete is known from `Flushed`, one for each Flush, never from a pause. Deepgram ignores
the 21st Flush in 60 s, with a Warning, and its `Flushed` never comes: so a socket that has used up its flushes is
replaced before it is asked for one too many, and every wait has a deadline.

Told:  by Media   Speak, Hush
       by Stream  Adopt
Tells: Media      SpeechAudio, SpeechWhole
       Stream     TtsHeld
"""

import asyncio
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from actors.backoff import back_off_s
from engine.actor import Actor, Ref
from engine.clock import now, wall
from engine.messages import Adopt, Down, Hush, Speak, SpeechAudio, SpeechWhole, Tick, TtsHeld
from engine.telemetry import count
from engine.vendors.deepgram import AudioCame, ClearDone, FlushDone, SpeakSocket, VendorLost, Warned

FLUSHES = 20  # by socket ...
FLUSH_WINDOW_S = 60.0  # ... in this time (Deepgram, Streaming TTS: Flush)
ANSWER_LIMIT_S = 5.0  # longest silence of the vendor while audio is due
BACK_OFF_S = (0.05, 0.2, 0.5, 1.0, 2.0)


@dataclass
class _Line:
    speak: Speak
    asked_at: float = 0.0
    audio_at: float = 0.0
    got_bytes: int = 0


@dataclass(frozen=True)
class _Opened:
    """The connection's task to its actor: the socket is open."""

    socket: SpeakSocket


class TtsActor(Actor):
    """Synthesis for one stream. `open_socket` makes a new, unopened speak socket."""

    def __init__(self, open_socket: Callable[[], SpeakSocket], media: Ref, stream: Ref) -> None:
        super().__init__()
        self._open_socket = open_socket
        self._media = media
        self._stream = stream
        self._epoch = 0
        self._hushed = -1
        self._queue: deque[_Line] = deque()  # not yet asked for
        self._asked: deque[_Line] = deque()  # asked for, their Flushed to come, in order
        self._stale_flushes = 0  # pending at a Clear: their Flushed may or may not come
        self._clears = 0  # sent, their Cleared to come: audio until then is of what was hushed
        self._socket: SpeakSocket | None = None
        self._generation = 0
        self._flushed_s: deque[float] = deque()
        self._answered_s = 0.0
        self._attempt = 0
        self._commands: asyncio.Queue[str | None] = asyncio.Queue()  # to the open socket; None: clear

    async def started(self) -> None:
        self._connect()
        self.after(ANSWER_LIMIT_S / 5, Tick("watch"))

    async def receive(self, message: Any) -> None:
        match message:
            case Speak(_, turn):
                if turn > self._hushed:
                    self._queue.append(_Line(message))
            case Hush(turn):
                self._hush(turn)
            case (generation, event) if generation == self._generation:
                self._vendor(event)
            case Adopt(epoch) if epoch >= self._epoch:
                self._epoch = epoch
                self._stream.tell(TtsHeld(epoch))
            case Tick("watch"):
                self._watch()
                self.after(ANSWER_LIMIT_S / 5, message)
            case Tick("connect"):
                self._connect()
            case Down(job, reason) if job == f"speak-{self._generation}":
                self._disconnected(reason)
        self._ask()

    # --- sentences

    def _ask(self) -> None:
        """Asks for what is queued, as far as the socket may be asked."""
        while self._queue and self._socket is not None:
            if not self._may_flush():
                if not self._asked and not self._clears:
                    count("tts_socket_replaced")
                    self._replace()
                return
            line = self._queue.popleft()
            line.asked_at = wall()
            if not self._asked:
                self._answered_s = now()
            self._asked.append(line)
            self._flushed_s.append(now())
            self._commands.put_nowait(line.speak.text + " ")

    def _may_flush(self) -> bool:
        while self._flushed_s and now() - self._flushed_s[0] > FLUSH_WINDOW_S:
            self._flushed_s.popleft()
        return len(self._flushed_s) < FLUSHES

    def _hush(self, turn: int) -> None:
        self._hushed = max(self._hushed, turn)
        self._queue = deque(line for line in self._queue if line.speak.turn > turn)
        if not self._asked:
            return
        self._stale_flushes += len(self._asked)
        self._asked.clear()
        self._clears += 1
        self._answered_s = now()
        self._commands.put_nowait(None)

    # --- the vendor

    def _vendor(self, event: "AudioCame | FlushDone | ClearDone | Warned | _Opened") -> None:
        self._answered_s = now()
        match event:
            case AudioCame(payload) if not self._clears and self._asked:
                self._audio(self._asked[0], payload)
            case AudioCame():
                count("tts_audio_dropped")  # on its way when it was hushed
            case FlushDone():
                self._flush_done()
            case ClearDone():
                self._clears = max(0, self._clears - 1)
            case Warned(text):
                count("tts_warnings")
                self._disconnected(f"Deepgram warns: {text}")
            case _Opened(socket):
                self._socket = socket
                self._attempt = 0

    def _audio(self, line: _Line, payload: bytes) -> None:
        self._stale_flushes = 0
        if not line.got_bytes:
            line.audio_at = wall()
        line.got_bytes += len(payload)
        speak = line.speak
        self._media.tell(
            SpeechAudio(speak.epoch, speak.turn, speak.index, payload, line.asked_at, line.audio_at)
        )

    def _flush_done(self) -> None:
        if self._clears or not self._asked:
            self._stale_flushes = max(0, self._stale_flushes - 1)
        elif self._stale_flushes and not self._asked[0].got_bytes:
            self._stale_flushes -= 1  # of a sentence that was cleared: ours has no audio yet
        else:
            self._whole(self._asked.popleft())

    def _whole(self, line: _Line) -> None:
        self._media.tell(SpeechWhole(line.speak.epoch, line.speak.turn, line.speak.index))

    def _watch(self) -> None:
        waiting = bool(self._asked or self._clears)
        if waiting and self._socket is not None and now() - self._answered_s > ANSWER_LIMIT_S:
            count("tts_stalls")
            self._disconnected(f"no audio for {ANSWER_LIMIT_S:g} s")

    # --- the connection

    def _connect(self) -> None:
        self._generation += 1
        self._commands = asyncio.Queue()
        self._flushed_s.clear()
        self.work(self._connection(self._generation, self._commands), f"speak-{self._generation}")

    async def _connection(self, generation: int, commands: asyncio.Queue[str | None]) -> None:
        """One speak socket from opening to its end; always ends by raising."""
        socket = self._open_socket()
        try:
            await socket.open()
            self.tell((generation, _Opened(socket)))
            async with asyncio.TaskGroup() as both:
                both.create_task(self._send(socket, commands))
                both.create_task(self._read(socket, generation))
        except ExceptionGroup as group:
            raise group.exceptions[0] from None
        finally:
            await socket.close()

    async def _send(self, socket: SpeakSocket, commands: asyncio.Queue[str | None]) -> None:
        while True:
            text = await commands.get()
            if text is None:
                await socket.clear()
            else:
                await socket.say(text)

    async def _read(self, socket: SpeakSocket, generation: int) -> None:
        async for event in socket.events():
            self.tell((generation, event))
        raise VendorLost("Deepgram ended the stream")

    def _replace(self) -> None:
        self._close_socket()
        self._connect()

    def _disconnected(self, reason: str) -> None:
        """Sentences of which nothing came are asked for again; one cut in its middle ends where it was cut."""
        count("tts_lost")
        self._close_socket()
        cut = [line for line in self._asked if line.got_bytes]
        for line in cut:
            self._whole(line)
        self._queue.extendleft(reversed([line for line in self._asked if not line.got_bytes]))
        self._asked.clear()
        self._clears = 0
        self._stale_flushes = 0
        self.after(back_off_s(BACK_OFF_S, self._attempt), Tick("connect"))
        self._attempt += 1

    def _close_socket(self) -> None:
        """The old connection's task closes its socket; what it still tells is of an old generation."""
        self._socket = None
        self._generation += 1
        for task in list(self._work):
            task.cancel()
