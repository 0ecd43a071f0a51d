"""The recogniser port over Moonshine (tiny-en), which detects voice, cuts lines and transcribes on the CPU.

Its calls block for up to 150 ms, so they run in threads; one stream a socket over one model a process.
"""

import asyncio
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from engine.audio import SAMPLE_RATE, bytes_of
from local.speech.extra import extra_needed
from local.speech.gate import VoiceGate
from local.speech.mulaw import samples_of
from local.speech.ports import Completed, Heard, Interim, Started, Tell
from local.speech.wording import Wording

with extra_needed():
    from moonshine_voice import ModelArch, Transcriber, get_model_path

_THREADS = 4
_STEP_MS = 100
_STEP_BYTES = bytes_of(_STEP_MS)
_LONGEST_BACKLOG_BYTES = bytes_of(30_000)
# Interims every 0.3 s cost 0.15 core-seconds a second of audio, every 0.2 s 0.26. A longer look-behind than
# Moonshine's own (0.5 s) keeps a few more first consonants, but repeats the last word of the line before.
_OPTIONS = {"transcription_interval": "0.3", "return_audio_data": "false"}


class Moonshine:
    """The model, and the threads in which it works."""

    def __init__(self, options: dict[str, str] | None = None) -> None:
        self.transcriber = Transcriber(
            str(get_model_path("tiny-en")), ModelArch.TINY, options=_OPTIONS | (options or {})
        )
        self.threads = ThreadPoolExecutor(_THREADS, thread_name_prefix="moonshine")


class RecogniserBehind(Exception):
    """Recognition is slower than speech, and the caller's backlog has reached its bound."""


class MoonshineRecogniser:
    """One caller's ear. Where a turn ends is Moonshine's own judgement, not `endpointing`."""

    def __init__(self, model: Moonshine, keyterms: tuple[str, ...] = ()) -> None:
        self._threads = model.threads
        self._ear = _Ear(model.transcriber, Wording(keyterms))
        self._pending = bytearray()
        self._more = asyncio.Event()
        self._one_at_a_time = asyncio.Lock()
        self._tell: Tell | None = None
        self._task: asyncio.Task[None] | None = None

    async def open(self, tell: Tell) -> None:
        """See `Recogniser`."""
        self._tell = tell
        self._task = asyncio.create_task(self._listen())

    def feed(self, audio: bytes) -> None:
        """See `Recogniser`. Raises `RecogniserBehind`, and what recognition of earlier audio raised."""
        if self._task is not None and self._task.done():
            self._task.result()
        if len(self._pending) > _LONGEST_BACKLOG_BYTES:
            raise RecogniserBehind(
                f"recognition is {len(self._pending) / SAMPLE_RATE:.0f} s behind the caller"
            )
        self._pending += audio
        if len(self._pending) >= _STEP_BYTES:
            self._more.set()

    async def flush(self) -> None:
        """See `Recogniser`."""
        await self._hear()
        await self._run(self._ear.flush)

    async def close(self) -> None:
        """See `Recogniser`."""
        self._tell = None
        if self._task is None:
            return
        task, self._task = self._task, None
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        await self._run(self._ear.close)

    async def _listen(self) -> None:
        while True:
            await self._more.wait()
            self._more.clear()
            await self._hear()

    async def _hear(self) -> None:
        # All that is waiting goes at once, so that an ear that fell behind catches up.
        audio = bytes(self._pending)
        self._pending.clear()
        if audio:
            await self._run(self._ear.hear, audio)

    async def _run(self, work: Any, *arguments: bytes) -> None:
        async with self._one_at_a_time:
            job = asyncio.get_running_loop().run_in_executor(self._threads, work, *arguments)
            try:
                heard: list[Heard] = await asyncio.shield(job)
            except asyncio.CancelledError:
                # The thread can't be interrupted, and the stream must not be used by two at once.
                await asyncio.wait([job])
                raise
        if self._tell is not None:
            for event in heard:
                self._tell(event)


class _Ear:
    """Moonshine's stream and the gate in front of it. Used by one thread at a time."""

    def __init__(self, transcriber: Transcriber, wording: Wording) -> None:
        self._transcriber = transcriber
        self._wording = wording
        self._stream: Any = None
        self._gate = VoiceGate()
        self._heard_s = 0.0
        self._stream_began_s = 0.0
        self._voiced: set[int] = set()

    def hear(self, audio: bytes) -> list[Heard]:
        samples = samples_of(audio)
        self._gate.feed(samples)
        stream = self._opened()
        self._heard_s += len(samples) / SAMPLE_RATE
        stream.add_audio(samples.tolist(), SAMPLE_RATE)
        return self._events(stream.update_transcription())

    def flush(self) -> list[Heard]:
        if self._stream is None:
            return []
        # Stopping alone would leave out the audio since the last update.
        events = self._events(self._stream.update_transcription(Transcriber.MOONSHINE_FLAG_FORCE_UPDATE))
        events += self._events(self._stream.stop())
        self.close()
        return [event for event in events if isinstance(event, Completed)]

    def close(self) -> list[Heard]:
        if self._stream is not None:
            self._stream.close()
            self._stream = None
            self._voiced.clear()
        return []

    def _opened(self) -> Any:
        if self._stream is None:
            # It would update by itself too; this is done here, to have the result.
            self._stream = self._transcriber.create_stream(update_interval=float("inf"))
            self._stream.start()
            self._stream_began_s = self._heard_s
        return self._stream

    def _events(self, transcript: Any) -> list[Heard]:
        return [event for line in transcript.lines for event in self._events_of(line)]

    def _events_of(self, line: Any) -> list[Heard]:
        completed = line.is_complete and line.is_updated
        if not (completed or line.is_new or line.has_text_changed):
            return []
        start_s = self._stream_began_s + line.start_time
        end_s = start_s + line.duration
        text = self._wording(line.text)
        events: list[Heard] = []
        if line.line_id not in self._voiced:
            if not text or not self._gate.is_voice(start_s, end_s):
                return []
            self._voiced.add(line.line_id)
            events.append(Started(start_s))
        if completed:
            self._voiced.discard(line.line_id)
            events.append(Completed(text, start_s, end_s))
        elif text:
            events.append(Interim(text, start_s, end_s))
        return events
