"""A caller who speaks and hears text: marked speech in the mouth, a mark reader at the ear.

The ear keeps exactly the characters that were played, sentence by sentence, and notices what a person would
notice: a hole in a sentence, silence in the middle of one, a voice that is not the agent's.
"""

import itertools
import secrets
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from engine.audio import FRAME_BYTES, ms_of
from simulators.marks import MarkReader, mark_audio
from simulators.twilio.journal import CallEvent, CallOver
from simulators.twilio.line import WAIT_S, Line


class HeardFrame(Protocol):
    """A frame of speech with its text; `at` is its offset in bytes in all that the ear was fed."""

    @property
    def source(self) -> int: ...
    @property
    def number(self) -> int: ...
    @property
    def index(self) -> int: ...
    @property
    def total(self) -> int: ...
    @property
    def text(self) -> str: ...
    @property
    def at(self) -> int: ...


class Ear(Protocol):
    """Finds the speech in what is heard."""

    def feed(self, audio: bytes) -> Sequence[HeardFrame]:
        """The frames of speech that these bytes complete."""


Voice = Callable[[str, int, int], bytes]
"""Makes mu-law of a text, for a source and a number of utterance."""


@dataclass(slots=True)
class HeardSentence:
    """One synthesis as far as it was played. `whole`: to its last frame. Times are monotonic seconds."""

    source: int
    number: int
    text: str
    total: int
    began_at: float
    ended_at: float
    next_index: int
    end_offset: int

    @property
    def whole(self) -> bool:
        """Whether its last frame was played."""
        return self.next_index == self.total


@dataclass(frozen=True, slots=True)
class Gap:
    """A sentence was not played in one piece: frames are missing, or silence stands between two."""

    at: float
    source: int
    number: int
    missing_frames: int
    silent_ms: float


class Listener:
    """What one caller has heard. Sounds under `own_source` would be the caller's own voice, come back."""

    def __init__(self, ear: Ear, own_source: int) -> None:
        self.sentences: list[HeardSentence] = []
        self.gaps: list[Gap] = []
        self.frames_of: Counter[int] = Counter()
        self._ear = ear
        self._own_source = own_source
        self._searched = 0
        self._missed = ("", 0)  # what was last looked for in vain, in how many frames

    @property
    def echoed_frames(self) -> int:
        """Frames of the caller's own voice."""
        return self.frames_of[self._own_source]

    @property
    def sources(self) -> set[int]:
        """Every voice but the caller's own: another call's among them means that calls are mixed up."""
        return set(self.frames_of) - {self._own_source}

    def hear(self, frame: bytes, at: float) -> None:
        """20 ms of the line, silence included."""
        for heard in self._ear.feed(frame):
            self.frames_of[heard.source] += 1
            self._take(heard, at)

    def text(self) -> str:
        """All characters that were played, a space between sentences."""
        return " ".join(sentence.text for sentence in self.sentences)

    def find(self, fragment: str) -> bool:
        """Whether `fragment` was played after the last one that was found.

        Case and spaces don't count: a sentence that another voice went on with in mid-word is two sentences here.
        """
        missed = (fragment, self.frames_of.total())
        if missed == self._missed:  # asked at each frame of the line: nothing was said since
            return False
        wanted = "".join(fragment.lower().split())
        at = "".join(self.text().lower().split()).find(wanted, self._searched)
        if at < 0:
            self._missed = missed
            return False
        self._searched = at + len(wanted)
        return True

    def _take(self, heard: HeardFrame, at: float) -> None:
        last = self.sentences[-1] if self.sentences else None
        if last is None or (last.source, last.number) != (heard.source, heard.number):
            last = HeardSentence(heard.source, heard.number, "", heard.total, at, at, 0, heard.at)
            self.sentences.append(last)
        missing = heard.index - last.next_index
        silent = heard.at - last.end_offset
        if missing or silent:
            self.gaps.append(Gap(at, heard.source, heard.number, missing, ms_of(silent)))
        last.text += heard.text
        last.ended_at = at
        last.next_index = heard.index + 1
        last.end_offset = heard.at + FRAME_BYTES


class Caller:
    """A person on the line who speaks text: all that a `Line` can do, and `say`, `hears`, `heard_text`."""

    def __init__(self, line: Line, listener: Listener, voice: Voice, source: int) -> None:
        self.line = line
        self.heard = listener
        self.source = source
        self._voice = voice
        self._numbers = itertools.count()

    async def say(self, text: str) -> bool:
        """Speaks `text`; returns when it is spoken, False if `stop_talking` cut it off."""
        return await self.line.say_audio(self._voice(text, self.source, next(self._numbers)))

    async def hears(self, fragment: str, timeout_s: float = WAIT_S) -> None:
        """Waits until `fragment` was played to the caller, after what the last `hears` found."""
        try:
            await self.line.journal.until(
                lambda: self.heard.find(fragment), timeout_s, f"hearing {fragment!r}"
            )
        except (TimeoutError, CallOver) as error:
            raise type(error)(f"{error}; heard so far: {self.heard.text()!r}") from None

    def heard_text(self) -> str:
        """Exactly the characters that were played, a space between sentences."""
        return self.heard.text()

    @property
    def gaps(self) -> list[Gap]:
        """Sentences that were not played in one piece."""
        return self.heard.gaps

    async def say_audio(self, mulaw: bytes) -> bool:
        """See `Line.say_audio`."""
        return await self.line.say_audio(mulaw)

    def stop_talking(self) -> None:
        """See `Line.stop_talking`."""
        self.line.stop_talking()

    async def press(self, digits: str) -> None:
        """See `Line.press`."""
        await self.line.press(digits)

    async def hang_up(self) -> None:
        """See `Line.hang_up`."""
        await self.line.hang_up()

    async def cut(self) -> None:
        """See `Line.cut`."""
        await self.line.cut()

    async def quiet(self, s: float, timeout_s: float = WAIT_S) -> None:
        """See `Line.quiet`."""
        await self.line.quiet(s, timeout_s)

    async def heard_audio(self, s: float, timeout_s: float = WAIT_S) -> None:
        """See `Line.heard_audio`."""
        await self.line.heard_audio(s, timeout_s)

    async def event(self, kind: str, timeout_s: float = WAIT_S, count: int = 1) -> CallEvent:
        """See `Line.event`."""
        return await self.line.event(kind, timeout_s, count)

    async def ended(self, timeout_s: float = WAIT_S) -> None:
        """See `Line.ended`."""
        await self.line.ended(timeout_s)


class MarksPerson:
    """Makes a person for `SimTwilio.dial` of a script that speaks text; keeps what was heard after the call.

    async def script(caller: Caller) -> None:
        await caller.hears("how can I help")
        await caller.say("I need an oil change.")

    person = MarksPerson(script)
    call = await twilio.dial(url, person=person)
    """

    def __init__(
        self,
        script: Callable[[Caller], Awaitable[None]],
        *,
        source: int | None = None,
        voice: Voice = mark_audio,
        ear: Ear | None = None,
    ) -> None:
        # Voices of the simulated speech server have the top bit set: a caller's never has.
        self.source = secrets.randbits(31) if source is None else source
        self.heard = Listener(MarkReader() if ear is None else ear, self.source)
        self._script = script
        self._voice = voice

    async def __call__(self, line: Line) -> None:
        """The person of one call."""
        line.on_frame(self.heard.hear)
        await self._script(Caller(line, self.heard, self._voice, self.source))
