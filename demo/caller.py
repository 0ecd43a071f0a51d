"""The caller: waits, hears, speaks, interrupts. What they say follows from what they heard."""

import datetime as dt
import time
from dataclasses import dataclass
from enum import StrEnum

from demo.answers import LISTEN, YES, Answers, Task, lists_times
from demo.scenario import Scenario
from demo.voice import Ear, Mouth, silent_lead_s
from simulators.twilio import CallEvent, CallOver, Line

PATIENCE_S = 8.0  # silence after which the caller says it again
LONGEST_S = 60.0  # nobody listens to a turn longer than this
GREETING_S = 20.0
ENOUGH = 16  # turns after which the caller gives up
_MUTE_S = 90.0


class Stage(StrEnum):
    """How far the caller got, for whoever wants to know why a call failed."""

    GREETED = "heard the greeting"
    ASKED = "asked for times"
    INTERRUPTED = "interrupted the agent"
    BOOKED = "heard that it is booked"
    MOVED = "heard that it is moved"
    CANCELLED = "heard that it is cancelled"
    GOODBYE = "said goodbye"


_DONE = {Task.BOOK: Stage.BOOKED, Task.MOVE: Stage.MOVED, Task.CANCEL: Stage.CANCELLED}


@dataclass
class Interruption:
    """When the caller's voice first sounded over the agent's, and when the agent was silent. Monotonic, 0: not."""

    began_at: float = 0.0
    cleared_at: float = 0.0
    silent_at: float = 0.0

    def end(self) -> None:
        """The caller speaks again: what is cleared from now on was not this interruption's."""
        self.began_at = self.began_at if self.cleared_at else 0.0

    @property
    def took_ms(self) -> float | None:
        """From the first sound to silence; None if the agent was not interrupted."""
        return (self.silent_at - self.began_at) * 1000 if self.began_at and self.silent_at else None


class Caller:
    """A person for `SimTwilio.dial`, with a wish, or mute."""

    def __init__(self, wish: Scenario, mouth: Mouth, ear: Ear, today: dt.date, *, mute: bool) -> None:
        self._wish = wish
        self._mouth = mouth
        self._ear = ear
        self._today = today
        self._mute = mute
        self._answers = Answers(wish, today)
        self.stages: list[Stage] = []
        self.turns: list[tuple[str, str]] = []  # what was heard, and what was said to it
        self.interruption = Interruption()

    async def rehearse(self) -> None:
        """Makes the sound of what will be said if all goes well, so that nobody waits for it in the call."""
        wish = self._wish
        for text in (wish.ask, wish.choose, wish.move, wish.cancel, YES, wish.bye):
            await self._mouth.sound_of(text)

    async def __call__(self, line: Line) -> None:
        """The person of one call."""
        line.on_frame(self._ear.hear)
        line.on_frame(self._note_silence)
        line.journal.on_event(self._note_clear)
        if self._mute:
            await line.ended(_MUTE_S)
            return
        try:
            await self._converse(line)
        except CallOver:
            return  # the agent hung up; whether that was right is for the report

    async def _converse(self, line: Line) -> None:
        await line.journal.until(self._ear.turn_over, GREETING_S, "a greeting")
        self.stages.append(Stage.GREETED)
        await self._say(line, self._wish.ask)
        self.stages.append(Stage.ASKED)
        choose = await self._mouth.sound_of(self._wish.choose)
        if await self._listing(line):
            self.interruption.began_at = time.monotonic() + silent_lead_s(choose)
            await self._say(line, self._answers.choose().text)
            self.stages.append(Stage.INTERRUPTED)
        for _ in range(ENOUGH):
            if await self._answer(line) and Stage.GOODBYE not in self.stages:
                self.stages.append(Stage.GOODBYE)

    async def _answer(self, line: Line) -> bool:
        """Hears the agent out and answers; True after a goodbye."""
        heard, move = "", LISTEN
        while move is LISTEN:
            if not await self._heard_more(line, heard):
                move = self._answers.to_silence()
                break
            heard = self._ear.text
            move = self._answers.to(heard)
        self.interruption.end()
        self.stages += [_DONE[task] for task in self._answers.done if _DONE[task] not in self.stages]
        await self._say(line, move.text)
        return move.last

    async def _heard_more(self, line: Line, than: str) -> bool:
        """Waits until the agent is silent after new words (True), or for longer than patience lasts (False)."""

        def more() -> bool:
            return self._ear.turn_over() and self._ear.text != than

        await line.journal.until(
            lambda: more() or self._ear.silent_s >= PATIENCE_S, LONGEST_S, "the end of the agent's turn"
        )
        return more()

    async def _listing(self, line: Line) -> bool:
        """True as soon as the agent lists times and still speaks; False when it is silent, whatever it said."""

        def begun() -> bool:
            return self._ear.silent_s == 0 and lists_times(self._ear.text, self._today)

        over = False

        def settled() -> bool:
            nonlocal over
            over = self._ear.turn_over() and "?" in self._ear.text
            return begun() or over

        try:
            await line.journal.until(settled, GREETING_S, "an answer to the question")
        except TimeoutError:
            return False
        return not over

    async def _say(self, line: Line, text: str) -> None:
        sound = await self._mouth.sound_of(text)
        self.turns.append((self._ear.text, text))
        line.journal.note("says", text=text)
        await line.say_audio(sound)
        self._ear.forget()

    def _note_clear(self, event: CallEvent) -> None:
        if event.kind == "clear":
            self._ear.forget()  # what was cut off is no answer
            if self.interruption.began_at and not self.interruption.cleared_at:
                self.interruption.cleared_at = event.at

    def _note_silence(self, frame: bytes, at: float) -> None:
        interruption = self.interruption
        if interruption.cleared_at and not interruption.silent_at and self._ear.silent_s > 0:
            interruption.silent_at = at
