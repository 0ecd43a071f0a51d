"""What the caller says to what was heard: rules over the heard words and the wish. Pure."""

import datetime as dt
import re
from dataclasses import dataclass

from crm.demo_data import workshop
from demo.scenario import Scenario
from local.receptionist.dates import find_days
from local.receptionist.services import find_services
from local.receptionist.times import find_times
from local.receptionist.words import words_of

GOODBYE_AGAIN = "That's all, thank you. Goodbye."
_NAMES = [service.name for service in workshop().services]


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
    """Answers until the wish is fulfilled; says it otherwise each time it has to be said again."""

    def __init__(self, wish: Scenario, today: dt.date) -> None:
        self._wish = wish
        self._today = today
        self._restated = 0
        self.booked = False  # heard that the wish is fulfilled
        self._goodbyes = 0
        self.wanted = False  # said the whole wish, or a time to what was offered

    def choose(self) -> Move:
        """The time, while times are on offer."""
        self.wanted = True
        return Move(self._wish.choose)

    def restate(self) -> Move:
        """The whole wish, in the next wording."""
        texts = self._wish.restate
        self._restated += 1
        self.wanted = True
        return Move(texts[(self._restated - 1) % len(texts)])

    def to_silence(self) -> Move:
        """What to say when the agent says nothing for long."""
        return self._goodbye() if self.booked else self.restate()

    def _goodbye(self) -> Move:
        self._goodbyes += 1
        return Move(self._wish.bye if self._goodbyes == 1 else GOODBYE_AGAIN, last=True)

    def to(self, heard: str) -> Move:
        """The answer to one turn of the agent's, as it was heard."""
        text = _plain(heard)
        wish = self._wish
        told = _says(text, "booked", "you have", "moved")
        done = _says(text, "anything else", "help you")
        if (told or done) and not _says(text, "which would", "sorry", "shall i"):
            if self._differs(heard):
                return Move(f"No, please change it to {wish.day} at {wish.time}.")
            self.booked = self.booked or self._confirms(heard)
            if done and self.booked:
                return self._goodbye()
            if done:  # something was done, but what was not caught: asked, not booked twice
                return Move("When is my appointment?") if self.wanted else self.restate()
            return LISTEN
        return self._to_question(heard, text)

    def _to_question(self, heard: str, text: str) -> Move:
        wish = self._wish
        if _says(text, "shall i", "is that right", "should i"):
            return Move("No. " + self.restate().text) if self._differs(heard) else Move("Yes, please.")
        if _says(text, "what day", "which day", "other day"):
            return Move(f"{wish.day[:1].upper()}{wish.day[1:]}, please.")
        if _says(text, "like to have done", "which service", "do you mean", "i can book"):
            return Move(f"{wish.service[:1].upper()}{wish.service[1:]}, please.")
        if _says(text, "which would you", "would that suit", "which one", "i have"):
            return self.choose()
        if _says(text, "still there"):
            return self._goodbye() if self.booked else Move("Yes, I'm here. " + self.restate().text)
        if self.booked:
            return LISTEN
        return self.restate() if "?" in heard or _says(text, "sorry", "didn't") else LISTEN

    def _confirms(self, heard: str) -> bool:
        """Whether both the day and the time of the wish were named."""
        days, minutes = self._times(heard)
        at = self._wish.starts_at
        return at.date() in days and at.hour * 60 + at.minute in minutes

    def _times(self, heard: str) -> tuple[list[dt.date], list[int]]:
        """Days, and minutes after midnight, that were named beyond doubt."""
        words = words_of(heard)
        days = find_days(words, self._today)
        dated = {place for day in days for place in range(day.start, day.end)}
        clocks, _ = find_times(words, dated, True)
        return [day.date for day in days if day.sure], [clock.minutes for clock in clocks if clock.sure]

    def _differs(self, heard: str) -> bool:
        """Whether a service, day or time was named that is not the wish. What was not caught is no sign."""
        days, minutes = self._times(heard)
        at = self._wish.starts_at
        services = [match.name for match in find_services(words_of(heard), _NAMES) if match.sure]
        return (
            any(name != self._wish.service for name in services)
            or (bool(days) and at.date() not in days)
            or (bool(minutes) and at.hour * 60 + at.minute not in minutes)
        )


def _plain(text: str) -> str:
    return " ".join(re.sub(r"[^\w\s']", " ", text.lower()).split())


def _says(plain: str, *phrases: str) -> bool:
    return any(phrase in plain for phrase in phrases)
