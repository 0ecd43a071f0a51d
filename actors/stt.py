"""SttActor: what the caller says. Feeds Deepgram's listen socket, keeps every utterance until it is taken.

Told:  by Stream  CallerAudio, Adopt
       by Call    Took
Tells: Call       SpeechStarted, Interim, Final, TurnEnded, SttLost, SttBack
       Stream     SttHeld
"""

import asyncio
from collections import deque
from collections.abc import Callable
from typing import Any

from actors.backoff import back_off_s
from engine import audio
from engine.actor import Actor, Ref
from engine.clock import now, wall
from engine.messages import Adopt, CallerAudio, Down, SttBack, SttHeld, SttLost, Tick, Took
from engine.quiet import Quiet
from engine.telemetry import count
from engine.utterances import Told, Utterances
from engine.vendors.deepgram import GapHeard, Heard, ListenSocket, VendorLost, VoiceBegan

KEPT_BYTES = audio.bytes_of(10_000)  # audio kept while the socket is away
KEEP_ALIVE_S = 4.0  # Deepgram closes a socket that is silent for 10 s
SEND_LIMIT_S = 5.0  # a socket that takes nothing for this long is dead
LOOK_S = 1.0  # how often the socket is looked after
STALE_S = 2.0  # words that nothing has ended for this long: ask for what is buffered
FINALIZE_LIMIT_S = 1.0  # ... and don't wait for the answer longer than this
BACK_OFF_S = (0.1, 0.2, 0.5, 1.0, 2.0)


class SttActor(Actor):
    """Recognition of one stream. `open_socket` makes a new, unopened listen socket."""

    def __init__(
        self, open_socket: Callable[[], ListenSocket], call: Ref, stream: Ref, endpointing_ms: int = 300
    ) -> None:
        super().__init__()
        self._open_socket = open_socket
        self._call = call
        self._stream = stream
        self._epoch = 0
        self._utterances = Utterances()
        self._audio: deque[bytes] = deque()
        self._audio_bytes = 0
        self._quiet = Quiet(endpointing_ms)
        self._more: asyncio.Future[None] | None = None  # while the sender waits for audio
        self._sending_s: float | None = None
        self._socket: ListenSocket | None = None
        self._sent_bytes = 0
        self._sent_s = 0.0
        self._attempt = 0
        self._lost_s: float | None = None
        self._asked_s: float | None = None

    async def started(self) -> None:
        self.work(self._connection(), "listen")
        self.after(STALE_S / 4, Tick("watch"))

    def tell(self, message: Any) -> None:
        """See `Ref.tell`. Audio has a queue of its own, bounded in milliseconds, and keeps no other's order."""
        if not isinstance(message, CallerAudio):
            super().tell(message)
        elif not self.over:
            self._queue(message.payload)

    async def receive(self, message: Any) -> None:
        match message:
            case Heard():
                self._heard(message)
            case VoiceBegan():
                self._tell(self._utterances.voice())
            case GapHeard():
                self._tell(self._utterances.over(wall()))
            case Took(utterance):
                self._utterances.took(utterance)
            case Adopt(epoch, next_utterance) if epoch >= self._epoch:
                self._epoch = epoch
                self._utterances.adopt(next_utterance)
                self._stream.tell(SttHeld(epoch, self._utterances.held(now()), self._quiet_ms()))
            case Tick("watch"):
                await self._watch()
                self.after(STALE_S / 4, message)
            case Tick("connected"):
                self._connected()
            case Tick("reconnect"):
                self.work(self._connection(), "listen")
            case Down("listen", reason):
                self._disconnected(reason)

    # --- audio

    def _queue(self, payload: bytes) -> None:
        if not payload:
            return
        self._audio.append(payload)
        self._audio_bytes += len(payload)
        self._trim()
        if self._quiet.may_wait(payload, self._audio_bytes):
            return
        if self._more is not None and not self._more.done():  # done: this socket's sender is being cancelled
            self._more.set_result(None)

    def _trim(self) -> None:
        while self._audio_bytes > KEPT_BYTES:
            self._audio_bytes -= len(self._audio.popleft())
            count("stt_frames_dropped")

    async def _connection(self) -> None:
        """One listen socket from opening to its end; always ends by raising."""
        socket = self._open_socket()
        try:
            await socket.open()
            self._socket = socket
            self.tell(Tick("connected"))
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(self._send(socket))
                tasks.create_task(self._read(socket))
                tasks.create_task(self._look_after(socket))
        except ExceptionGroup as group:
            raise group.exceptions[0] from None
        finally:
            self._socket = None
            await socket.close()

    async def _send(self, socket: ListenSocket) -> None:
        """50 times a second, so without timers: `_look_after` has them."""
        self._sent_bytes = 0
        loop = asyncio.get_running_loop()
        while True:
            while not self._audio:
                self._more = loop.create_future()
                try:
                    await self._more
                finally:
                    self._more = None
            frames = list(self._audio)
            payload = b"".join(frames)
            self._audio.clear()
            self._audio_bytes = 0
            self._sending_s = self._sent_s = loop.time()
            try:
                await socket.send(payload)
            except BaseException:
                self._audio.extendleft(reversed(frames))  # for the next socket
                self._audio_bytes += len(payload)
                self._trim()
                raise
            finally:
                self._sending_s = None
            self._sent_bytes += len(payload)

    async def _look_after(self, socket: ListenSocket) -> None:
        """Finds a socket that takes nothing, and keeps one open to which nothing is sent."""
        kept_s = now()
        while True:
            await asyncio.sleep(LOOK_S)
            if self._sending_s is not None:
                if now() - self._sending_s > SEND_LIMIT_S:
                    raise VendorLost(f"Deepgram took nothing for {SEND_LIMIT_S:g} s")
            elif now() - max(self._sent_s, kept_s) >= KEEP_ALIVE_S:
                await socket.keep_alive()
                kept_s = now()

    async def _read(self, socket: ListenSocket) -> None:
        async for event in socket.events():
            self.tell(event)
        raise VendorLost("Deepgram ended the stream")

    # --- words

    def _heard(self, heard: Heard) -> None:
        self._attempt = 0
        if heard.from_finalize:
            self._asked_s = None
        told = self._utterances.heard(
            now(),
            wall(),
            heard.text,
            final=heard.final,
            last=heard.speech_final or heard.from_finalize,
            spoke_until=self._wall_of(heard.end_s),
        )
        self._tell(told)

    def _wall_of(self, audio_s: float) -> float:
        """The wall time at which the sample at `audio_s` of this socket's audio was sent."""
        behind_s = self._sent_bytes / audio.SAMPLE_RATE - audio_s
        return wall() - (now() - self._sent_s) - max(behind_s, 0.0)

    async def _watch(self) -> None:
        """Words must lead to an end of turn, whatever the vendor does."""
        if not self._utterances.pending:
            self._asked_s = None
            return
        if self._asked_s is not None and now() - self._asked_s >= FINALIZE_LIMIT_S:
            self._asked_s = None
            count("stt_turns_ended_by_clock")
            self._tell(self._utterances.over(wall()))
        elif self._asked_s is None and now() - self._utterances.heard_s >= STALE_S:
            self._asked_s = now()
            if self._socket is not None:
                self.work(self._finalize(self._socket), "finalize")

    async def _finalize(self, socket: ListenSocket) -> None:
        try:
            await socket.finalize()
        except VendorLost:
            count("stt_finalize_failed")  # the reader of the same socket sees it end, and reconnects

    def _quiet_ms(self) -> float:
        heard_s = self._utterances.heard_s
        return (now() - heard_s) * 1000 if heard_s else 1e9

    def _tell(self, told: list[Told]) -> None:
        if self._epoch:
            for message in told:
                self._call.tell(message)

    # --- the connection

    def _connected(self) -> None:
        if self._lost_s is not None:
            if self._epoch:
                self._call.tell(SttBack((now() - self._lost_s) * 1000))
            self._lost_s = None

    def _disconnected(self, reason: str) -> None:
        count("stt_lost")
        self._utterances.lost()
        if self._lost_s is None:
            self._lost_s = now()
            if self._epoch:
                self._call.tell(SttLost(reason))
        self.after(back_off_s(BACK_OFF_S, self._attempt), Tick("reconnect"))
        self._attempt += 1
