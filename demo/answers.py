"""What the caller says to what was heard: rules over the heard words and the wish. Pure.

A call has three tasks, one after the other: to book, to move what was booked, to cancel it. A task is done when the
agent has been heard to say so.
"""

import datetime as dt
import re
from dataclasses import dataclass
from enum import StrEnum

from crm.demo_data import workshop
from demo.scenario import NAME, Scenario
from local.receptionist.dates import find_days
from local.receptionist.services import find_services
from local.receptionist.times import find_times
from local.receptionist.words import words_of

GOODBYE_AGAIN = "That's all, thank you. Goodbye."
YES = "Yes, please."
_NAMES = [service.name for service in workshop().services]


class Task(StrEnum):
    """What the caller wants next."""

    BOOK = "book"
    MOVE = "move"
    CANCEL = "cancel"


@dataclass(frozen=True)
class Move:
    """The caller's next words. `text` "" means: say nothing, go on listening. `last`: a goodbye."""

    text: str = ""
    last: bool = False


LISTEN = Move()


def lists_times(heard: str, today: dt.date) -> bool:
    """Whether the agent has begun to list times: the moment to interrupt."""
    words = words_of(heard)
    return bool(find_days(words, today)) and "have" in words


class Answers:
    """Answers until each task is done; says it otherwise each time it has to be said again."""

    def __init__(self, wish: Scenario, today: dt.date) -> None:
        self._wish = wish
        self._today = today
        self._said = dict.fromkeys(Task, 0)  # how often the whole of a task was said
        self._goodbyes = 0
        self._just_done = False  # a task, in the turn of the agent's that is being heard
        self.wanted = False  # said the whole wish, or a time to what was offered
        self.done: list[Task] = []  # heard that it is

    @property
    def task(self) -> Task | None:
        """What is to be done next; None: nothing is left."""
        return next((task for task in Task if task not in self.done), None)

    def choose(self) -> Move:
        """The time, while times are on offer."""
        self.wanted = True
        return Move(self._wish.choose)

    def restate(self) -> Move:
        """The whole of the task, in the next wording; a goodbye when nothing is left."""
        task, wish = self.task, self._wish
        if task is None:
            self._goodbyes += 1
            return Move(wish.bye if self._goodbyes == 1 else GOODBYE_AGAIN, last=True)
        texts = {
            Task.BOOK: wish.restate,
            Task.MOVE: (wish.move, *wish.move_again),
            Task.CANCEL: (wish.cancel, *wish.cancel_again),
        }[task]
        self._said[task] += 1
        self.wanted = True
        return Move(texts[(self._said[task] - 1) % len(texts)])

    def to_silence(self) -> Move:
        """What to say when the agent says nothing for long."""
        self._just_done = False
        return self.restate()

    def to(self, heard: str) -> Move:
        """The answer to one turn of the agent's, as it was heard; of a turn that goes on, all of it is given again."""
        move = self._to(heard, _plain(heard))
        self._just_done = self._just_done and move is LISTEN
        return move

    def _to(self, heard: str, text: str) -> Move:
        if not self._just_done:
            question = self._to_question(heard, text)
            if question is not None:
                return question
            self._just_done = self._told(heard, text)
            if self._just_done and self.task:
                self.done.append(self.task)
        asks = _says(text, "anything else", "help you", "would you like to book")
        if self._just_done or self.task is None:
            return self.restate() if asks else LISTEN
        if _says(text, "booked", "you have", "now on") and self._differs(heard):
            return Move(f"No, please change it to {self._when}.".replace(".m..", ".m."))
        if _says(text, "sorry", "didn't") or not asks or (self.task is Task.CANCEL and "you have" in text):
            return self._to_other(heard, text)
        # Something was done, but what was not caught: asked, not done twice.
        return Move("When is my appointment?") if self.wanted else self.restate()

    # ------------------------------------------------------------ what was heard

    def _told(self, heard: str, text: str) -> bool:
        """Whether the agent said that the task is done."""
        if self.task is Task.CANCEL:
            return _says(text, "cancelled", "canceled", "don't see")
        if self.task is None or not _says(text, "booked", "you have", "now on", "anything else"):
            return False
        return self._names_all(heard) and not self._differs(heard)

    def _names_all(self, heard: str) -> bool:
        """Whether both the day and the time that are wanted were named."""
        days, minutes = self._times(heard)
        at = self._wanted_at
        return at.date() in days and at.hour * 60 + at.minute in minutes

    def _differs(self, heard: str) -> bool:
        """Whether a service, day or time was named that is not wanted. What was not caught is no sign."""
        days, minutes = self._times(heard)
        at = self._wanted_at
        services = [match.name for match in find_services(words_of(heard), _NAMES) if match.sure]
        return (
            any(name != self._wish.service for name in services)
            or (bool(days) and at.date() not in days)
            or (bool(minutes) and at.hour * 60 + at.minute not in minutes)
        )

    def _times(self, heard: str) -> tuple[list[dt.date], list[int]]:
        """Days, and minutes after midnight, that were named beyond doubt."""
        words = words_of(heard)
        days = find_days(words, self._today)
        dated = {place for day in days for place in range(day.start, day.end)}
        clocks, _ = find_times(words, dated, True)
        return [day.date for day in days if day.sure], [clock.minutes for clock in clocks if clock.sure]

    # ------------------------------------------------------------ what is wanted

    @property
    def _wanted_at(self) -> dt.datetime:
        return self._wish.starts_at if self.task is Task.BOOK else self._wish.moves_to

    @property
    def _day(self) -> str:
        day = self._wish.day if self.task is Task.BOOK else self._wish.new_day
        return day.partition(", ")[2] or day  # at a comma the voice pauses

    @property
    def _when(self) -> str:
        wish = self._wish
        return f"{self._day} at {wish.time if self.task is Task.BOOK else wish.new_time}"

    # ------------------------------------------------------------ what is said

    def _to_question(self, heard: str, text: str) -> Move | None:
        """The answer to a question about the task; None if there is none."""
        wish = self._wish
        if _says(text, "what name", "full name", "who am i"):
            return Move(f"{NAME}.")
        if _says(text, "shall i", "is that right", "should i"):
            # What is to be cancelled there is but one of: a word that was misheard must not save it.
            no = self.task is not Task.CANCEL and self._differs(heard)
            return Move("No. " + self.restate().text) if no else Move(YES)
        if _says(text, "what day", "which day", "other day"):
            day = self._when if self.task is Task.MOVE else self._day
            return Move(f"{day[:1].upper()}{day[1:]}, please.")
        if _says(text, "like to have done", "which service", "do you mean", "i can book"):
            return Move(f"{wish.service[:1].upper()}{wish.service[1:]}, please.")
        if _says(text, "which would you", "would that suit", "which one"):
            return self.choose() if self.task is Task.BOOK else self.restate()
        if _says(text, "still there"):
            again = self.restate()
            return again if again.last else Move(f"Yes, I'm here. {again.text}")
        return None

    def _to_other(self, heard: str, text: str) -> Move:
        """The answer to what asks nothing about the task: mostly there is more to come."""
        if self.task is Task.BOOK and "i have" in text:
            return self.choose()
        again = "?" in heard or _says(text, "sorry", "didn't", "anything else")
        return self.restate() if again else LISTEN


def _plain(text: str) -> str:
    return " ".join(re.sub(r"[^\w\s']", " ", text.lower()).split())


def _says(plain: str, *phrases: str) -> bool:
    return any(phrase in plain for phrase in phrases)
