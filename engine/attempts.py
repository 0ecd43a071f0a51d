"""How long a caller waits for one reply of the model's, and how often it is asked. Sans-I/O: times in, decisions out.

Theory. Silence is what a caller notices, so each sentence has a budget: the first one from the request, each later one
from the one before, or from the failure that cut it off. Whatever goes wrong, another attempt may mend it; it begins
only if it can still bring something within the budget, and when the budget is used up somebody else says sorry.

    what went wrong                      another route is well     none is
    ------------------------------------ ------------------------- -------------------------------
    passing: busy, broken, refused       here, after a pause       here, after a pause
    passing, but asked to wait too long  there, at once            give up
    passing, in mid-reply, or one        there, at once            there, after a pause, if there
    failure too many (`given_up`)                                  is one, else here
    slow: silent for too long            there, at once            there or here, after a pause
    for good, or this request is unfit   there, at once            there, after a pause, or give up

A pause doubles with each attempt, and is anything between half and the whole of that, so that calls which failed
together don't come back together.
"""

import random
from dataclasses import dataclass

from engine.messages import Failure, Others, Trouble
from engine.settings import Settings


@dataclass(frozen=True)
class Patience:
    """The settings of attempts; times in seconds.

    `budget_s` for the next sentence, `reply_s` for all of them, `first_token_s` for an attempt's first word;
    `pause_s` after the first failure, doubled after each; `most` attempts for one reply.
    """

    budget_s: float
    reply_s: float
    first_token_s: float
    pause_s: float
    most: int

    @classmethod
    def of(cls, settings: Settings) -> "Patience":
        """As the settings say."""
        return cls(
            settings.llm_budget_s,
            settings.llm_reply_s,
            settings.llm_first_token_s,
            settings.llm_pause_s,
            settings.llm_attempts,
        )


@dataclass(frozen=True)
class Again:
    """Another attempt, in `pause_s`; `elsewhere`: by another route than the one that failed, if there is one."""

    pause_s: float
    elsewhere: bool


class Attempts:
    """The attempts at one reply, of which the first is under way from the start."""

    def __init__(self, patience: Patience, now_s: float, chance: random.Random) -> None:
        self._patience = patience
        self._chance = chance
        self._made = 1
        self._last_s = now_s + patience.reply_s
        self._until_s = now_s + patience.budget_s
        self._told_since = False  # a sentence, since the last failure

    @property
    def due_s(self) -> float:
        """When the caller has waited long enough for the next sentence; moves only later."""
        return min(self._until_s, self._last_s)

    def told(self, now_s: float) -> None:
        """A sentence was told."""
        self._until_s = now_s + self._patience.budget_s
        self._told_since = True

    def failed(self, now_s: float, failure: Failure, *, broke: bool) -> Again | None:
        """The attempt under way failed, after it had said something (`broke`) or before. None: give up."""
        if self._told_since:
            self._until_s, self._told_since = now_s + self._patience.budget_s, False
        vain = failure.trouble in (Trouble.FOR_GOOD, Trouble.UNFIT)
        if self._made >= self._patience.most or (vain and failure.others is Others.NONE):
            return None
        pause_s = self._pause_s()
        too_long = not self._leaves_time(now_s + max(pause_s, failure.wait_s))
        passing = failure.trouble is Trouble.PASSING
        elsewhere = not passing or failure.given_up or broke or too_long
        if elsewhere and failure.others is Others.WELL:
            pause_s = 0.0
        elif passing:
            pause_s = max(pause_s, failure.wait_s)
        if not self._leaves_time(now_s + pause_s):
            return None
        self._made += 1
        return Again(pause_s, elsewhere)

    def _pause_s(self) -> float:
        return self._patience.pause_s * 2.0 ** (self._made - 1) * self._chance.uniform(0.5, 1.0)

    def _leaves_time(self, begin_s: float) -> bool:
        """Whether an attempt that begins then may bring something: most models need half of what they are given."""
        return self.due_s - begin_s >= min(self._patience.first_token_s, self._patience.budget_s) / 2
