"""The caller's mouth and ear, both at the local speech server: words become sound, sound becomes words."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass

import httpx2

from engine.audio import SAMPLE_RATE, linear_of
from engine.settings import Settings
from engine.vendors import deepgram
from engine.vendors.deepgram import Heard

VOICE = "joe-shifted"
SPEAK_S = 20.0
PAUSE_S = 0.6  # silence after which the caller takes the agent's turn for over
# Sound of which no words come for this long is taken for no words at all.
_WORDLESS_S = 3.0
# Words whose end lies this little behind the caller's own last word still belong to what came before.
_MARGIN_S = 0.3
_AUDIBLE = 200  # of 32767
_INAUDIBLE = bytes(code for code in range(256) if abs(linear_of(code)) < _AUDIBLE)


class Mouth:
    """Makes mu-law of a text; each text is synthesised once."""

    def __init__(self, speech_url: str) -> None:
        self._url = speech_url
        self._made: dict[str, bytes] = {}

    async def sound_of(self, text: str) -> bytes:
        """mu-law, 8 kHz. Raises `httpx2.HTTPError`."""
        if text not in self._made:
            async with httpx2.AsyncClient(timeout=SPEAK_S) as client:
                answer = await client.post(
                    f"{self._url}/v1/speak",
                    params={"model": VOICE, "encoding": "mulaw", "container": "none"},
                    headers={"Authorization": "Token local"},
                    json={"text": text},
                )
            answer.raise_for_status()
            self._made[text] = answer.content
        return self._made[text]


def silent_lead_s(mulaw: bytes) -> float:
    """How long nothing is heard at the beginning of this sound."""
    return (len(mulaw) - len(mulaw.lstrip(_INAUDIBLE))) / SAMPLE_RATE


@dataclass
class _Span:
    text: str
    end_s: float


class Ear:
    """What the caller makes of the agent's sound. Positions are seconds of sound since the ear opened."""

    def __init__(self, tell: Callable[[str, bool], None] = lambda text, final: None) -> None:
        self._tell = tell
        self._finals: list[_Span] = []
        self._open: _Span | None = None
        self._bytes = 0
        self._from_s = 0.0
        self._waiting = bytearray()
        self._more = asyncio.Event()
        self._silent_bytes = 0
        self.sounded = False  # whether there was any sound since `forget`

    def hear(self, frame: bytes, at: float) -> None:
        """20 ms of the line; give this to `Line.on_frame`."""
        self._bytes += len(frame)
        self._waiting += frame
        self._more.set()
        loud = bool(frame.translate(None, _INAUDIBLE))
        self._silent_bytes = 0 if loud else self._silent_bytes + len(frame)
        self.sounded = self.sounded or loud

    @property
    def silent_s(self) -> float:
        """For how long there has been no sound since `forget`; 0 while there is."""
        return self._silent_bytes / SAMPLE_RATE

    @property
    def settled(self) -> bool:
        """No words are heard that may still change."""
        return self._open is None

    def turn_over(self) -> bool:
        """Whether the agent has said something since `forget`, and is silent now."""
        if not self.sounded or self.silent_s < PAUSE_S:
            return False
        return (self.settled and bool(self.text)) or self.silent_s >= _WORDLESS_S

    def forget(self) -> None:
        """What was heard until now is answered: `text` begins anew."""
        self._from_s = self._bytes / SAMPLE_RATE
        self.sounded = False
        self._silent_bytes = 0

    @property
    def text(self) -> str:
        """All words since `forget`, those that may still change at the end."""
        spans = [*self._finals, *([self._open] if self._open else [])]
        return " ".join(span.text for span in spans if span.end_s > self._from_s + _MARGIN_S)

    @contextlib.asynccontextmanager
    async def open(self, settings: Settings) -> AsyncIterator[None]:
        """Listens at the speech server of these settings. Raises `VendorLost` at the end if it was lost."""
        socket = deepgram.ListenSocket(deepgram.client(settings), settings)
        await socket.open()
        tasks = [asyncio.create_task(self._feed(socket)), asyncio.create_task(self._listen(socket))]
        try:
            yield
            for task in tasks:
                if task.done():
                    task.result()
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.wait(tasks)
            await socket.close()

    async def _feed(self, socket: deepgram.ListenSocket) -> None:
        while True:
            await self._more.wait()
            self._more.clear()
            sound = bytes(self._waiting)
            self._waiting.clear()
            await socket.send(sound)

    async def _listen(self, socket: deepgram.ListenSocket) -> None:
        async for event in socket.events():
            if isinstance(event, Heard):
                self._heard(event)

    def _heard(self, heard: Heard) -> None:
        if not heard.final:
            self._open = _Span(heard.text, heard.end_s) if heard.text else self._open
        else:
            self._open = None
            if heard.text:
                self._finals.append(_Span(heard.text, heard.end_s))
        if heard.text:
            self._tell(heard.text, heard.final)
