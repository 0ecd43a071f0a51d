"""Turn-taking: who may speak now. Sans-I/O: events with times in, decisions out.

Theory. The caller is `quiet` or `speaking`; the agent is `quiet`, `thinking` (a reply or a tool is under way and
nothing of it is heard) or `speaking` (something of it is queued or playing). Recognition tells of the caller, the
conversation tells of the agent, and this module decides:

    caller's event     agent quiet     agent thinking           agent speaking
    ------------------ --------------- ------------------------ -------------------------
    interim, noise     -               -                        -
    interim, words     -               Interrupt                Interrupt
    end expected       Prepare         -                        -
    ended, noise       Answer          Ignore                   Ignore
    ended, words       Answer          Interrupt, Answer        Interrupt, Answer
    nothing heard      AskAgain, then  Fill                     -
                       Goodbye

"Noise" is what listeners say without wanting the turn ("mm-hmm"), a setting; said to a quiet agent it is an answer
("okay"). "Words" in an interim are at least `min_words` that are not noise, so that a cough heard as "the" does not
interrupt; a whole utterance counts with any word. Interrupting makes the agent quiet at once.

Silence counts from the latest of: the caller's last words, the end of what the agent said. The first word of a turn is
due soon, so `Fill` comes after `fill_s`; once something was said it comes after `fill_again_s`, because fillers on end
are chatter. But when the model is in trouble after it said something, the first filler of the turn comes soon, too.
All times are seconds on one monotonic clock.
"""

import re
from dataclasses import dataclass
from enum import Enum

from engine.clock import EARLY_S


class Agent(Enum):
    """What the agent is doing, as the caller would describe it."""

    QUIET = "quiet"
    THINKING = "thinking"
    SPEAKING = "speaking"


@dataclass(frozen=True)
class Interrupt:
    """Stop the agent: clear playback, hush synthesis, cancel the model."""


@dataclass(frozen=True)
class Prepare:
    """The caller's turn is expected to be over with `text`: think of the reply, and keep it."""

    text: str


@dataclass(frozen=True)
class Answer:
    """It is the agent's turn: reply to `text`."""

    utterance: int
    text: str


@dataclass(frozen=True)
class Ignore:
    """A listener's noise: nobody's turn."""

    utterance: int


@dataclass(frozen=True)
class Fill:
    """The agent thinks for long: say that it is at work."""


@dataclass(frozen=True)
class AskAgain:
    """The caller is silent: ask whether they are there, for the `n`th time."""

    n: int


@dataclass(frozen=True)
class Goodbye:
    """The caller stays silent: say goodbye and hang up."""


Decision = Interrupt | Prepare | Answer | Ignore | Fill | AskAgain | Goodbye


@dataclass(frozen=True)
class Manners:
    """The settings of turn-taking; times in seconds."""

    min_words: int
    noises: frozenset[str]
    silence_s: float
    prompts: int
    fill_s: float
    fill_again_s: float


_WORD = re.compile(r"[^\W_]+(?:['’-][^\W_]+)*")
_NOISE_PART = re.compile(r"(?:m+-?)?h?m+|u+h+|u+m+")


def words_of(text: str) -> list[str]:
    """The words of `text`, in lower case, without punctuation."""
    return [word.lower() for word in _WORD.findall(text)]


@dataclass
class _Turn:
    """What the caller has of this turn of the agent's so far."""

    spoke: bool = False
    filled: bool = False
    troubled: bool = False


class TurnTaking:
    """Decides for one call. Feed it events in the order of their times."""

    def __init__(self, manners: Manners, now_s: float) -> None:
        self._manners = manners
        noises = (tuple(words_of(noise)) for noise in manners.noises)
        self._noise_words = sorted(noises, key=len, reverse=True)  # "i see" before "i"
        self._agent = Agent.QUIET
        self._since_s = now_s  # since when both are quiet, or the agent thinks
        self._asked = 0
        self._filled = False  # since the agent began to think
        self._turn = _Turn()

    @property
    def agent(self) -> Agent:
        """What the agent is doing."""
        return self._agent

    # --- the agent

    def agent_is(self, state: Agent, now_s: float) -> None:
        """The agent's state as the conversation sees it now. Telling it again changes nothing."""
        if state is self._agent:
            return
        if state is Agent.THINKING:
            self._filled = False
        elif state is Agent.SPEAKING:
            self._turn.spoke = True
        else:
            self._turn = _Turn()
        self._agent = state
        self._since_s = now_s

    def resumed(self, now_s: float, silence_s: float) -> None:
        """Another has led the conversation until now, and nothing was heard for `silence_s`."""
        self._since_s = now_s - silence_s
        self._turn.spoke = True  # or not: who resumes does not know what was said in this turn

    def troubled(self) -> None:
        """The model failed in this turn, and is asked again."""
        self._turn.troubled = True

    # --- the caller

    def interim(self, now_s: float, text: str) -> list[Decision]:
        """The utterance so far, not over."""
        if not words_of(text):
            return []
        self._heard(now_s)
        if self._agent is Agent.QUIET or self._countable(text) < self._manners.min_words:
            return []
        return [self._interrupt(now_s)]

    def end_expected(self, text: str) -> list[Decision]:
        """The utterance may be over. Who has to be interrupted first has been, by its words; an agent that still speaks
        or thinks is not asked to think of something else: it is listened to, or its listener makes noises.
        """
        return [Prepare(text)] if self._agent is Agent.QUIET and words_of(text) else []

    def ended(self, now_s: float, utterance: int, text: str) -> list[Decision]:
        """The caller's utterance is over."""
        if not words_of(text):
            return [Ignore(utterance)]
        self._heard(now_s)
        if self._agent is Agent.QUIET:
            return [Answer(utterance, text)]
        if self._countable(text) == 0:
            return [Ignore(utterance)]
        return [self._interrupt(now_s), Answer(utterance, text)]

    def key_pressed(self, now_s: float) -> list[Decision]:
        """A key of the telephone is a word that can't be misheard."""
        self._heard(now_s)
        return [] if self._agent is Agent.QUIET else [self._interrupt(now_s)]

    # --- silence

    def deadline_s(self) -> float | None:
        """When to call `silent`; None while the agent speaks."""
        if self._agent is Agent.QUIET:
            return self._since_s + self._manners.silence_s
        if self._agent is Agent.THINKING and not self._filled:
            return self._since_s + self._fill_s()
        return None

    def _fill_s(self) -> float:
        turn, manners = self._turn, self._manners
        soon = not turn.filled and (turn.troubled or not turn.spoke)
        return manners.fill_s if soon else manners.fill_again_s

    def silent(self, now_s: float) -> list[Decision]:
        """Time has passed; nothing is decided before `deadline_s`, but for a timer's grain."""
        due = self.deadline_s()
        if due is None or now_s < due - EARLY_S:
            return []
        if self._agent is Agent.THINKING:
            self._filled = self._turn.filled = True
            return [Fill()]
        self._since_s = now_s
        self._asked += 1
        return [AskAgain(self._asked)] if self._asked <= self._manners.prompts else [Goodbye()]

    # --- words

    def _heard(self, now_s: float) -> None:
        self._asked = 0
        if self._agent is Agent.QUIET:
            self._since_s = now_s

    def _interrupt(self, now_s: float) -> Interrupt:
        self._agent = Agent.QUIET
        self._since_s = now_s
        self._turn = _Turn()
        return Interrupt()

    def _countable(self, text: str) -> int:
        """How many words of `text` are not a listener's noise."""
        words = words_of(text)
        count = position = 0
        while position < len(words):
            noise = next(
                (n for n in self._noise_words if n and tuple(words[position : position + len(n)]) == n), None
            )
            if noise:
                position += len(noise)
                continue
            count += not _NOISE_PART.fullmatch(words[position])
            position += 1
        return count
