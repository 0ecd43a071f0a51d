"""What the caller wants and how they put it: a seed in, a wish and its wordings out. Pure.

A seed gives the same wish on the same day; the days on offer move with the calendar. Every wish is a slot
that the dealership's own rules call open, at least a day ahead.
"""

import datetime as dt
import random
from collections.abc import Sequence
from dataclasses import dataclass
from zoneinfo import ZoneInfo

from crm.demo_data import workshop
from crm.slots import open_slots
from crm.workshop import ServiceType, Workshop
from local.receptionist import speech

DAYS_AHEAD = 14
NAME = "Sarah Mitchell"
_SAME_DAY = 0.5  # how often a booking is moved within its day
# Around midnight a weekday could mean another week when the call comes through.
_LATE = dt.time(23, 45)

_ASK = (
    "What times do you have on {day} for {service}?",
    "I need {service}. What times do you have on {day}?",
    "Do you have any openings on {day} for {service}?",
    "I would like to book {service}. What times are free on {day}?",
    "When could I come in on {day} for {service}?",
)
_CHOOSE = (
    "Can I come at {time}, please?",
    "I would like to come at {time}, please.",
    "Could you book me in at {time}, please?",
    "Please book me in at {time}.",
    "Sorry, could I come at {time}?",
)
_RESTATE = (
    "I would like to book {service} on {day} at {time}, please.",
    "Please book {service} for {day} at {time}.",
    "I need {service} on {day} at {time}.",
)
_MOVE = (
    "Could you move it to {when}, please?",
    "Actually, can you move it to {when}?",
    "Sorry, can we move it to {when}?",
    "Something has come up. Please move it to {when}.",
)
_MOVE_AGAIN = (
    "Please move my appointment to {when}.",
    "I would like to move my appointment to {when}.",
    "Could you change my appointment to {when}?",
)
_CANCEL = (
    "Actually, please cancel it.",
    "I am sorry, please cancel it.",
    "Could you cancel it, please?",
    "I have to cancel it after all.",
)
_CANCEL_AGAIN = (
    "Please cancel my appointment.",
    "I want to cancel my appointment.",
    "Can you cancel my appointment, please?",
)
_BYE = (
    "That's all, thank you. Goodbye.",
    "That's everything, thank you. Goodbye.",
    "That will be all, thank you. Goodbye.",
    "Nothing else, thank you. Goodbye.",
)
# Hours after which a recogniser at telephone quality loses no part of the day.
_PART_OF_DAY = {9: "morning", 10: "morning", 11: "morning", 1: "afternoon", 3: "afternoon", 4: "afternoon"}


@dataclass(frozen=True)
class Scenario:
    """A wish and the words for it: a booking, which is then moved, and cancelled at last.

    `starts_at` and `moves_to` are aware, in the dealership's zone; `day` and `time`, `new_day` and `new_time` are how
    the caller names them.
    """

    seed: int
    service: str
    minutes: int
    starts_at: dt.datetime
    day: str
    time: str
    ask: str
    choose: str
    restate: tuple[str, ...]
    moves_to: dt.datetime
    new_day: str
    new_time: str
    move: str
    move_again: tuple[str, ...]
    cancel: str
    cancel_again: tuple[str, ...]
    bye: str

    @property
    def wish(self) -> str:
        """One line for people."""
        booked, moved = (f"{at:%A %Y-%m-%d} at {at:%H:%M}" for at in (self.starts_at, self.moves_to))
        return f"{speech.one_of(self.service)} on {booked}, then on {moved}, then not at all"


def scenario(seed: int, now: dt.datetime, zone: ZoneInfo) -> Scenario:
    """The wish of this seed, for a call made at `now` (aware)."""
    now = now.astimezone(zone)
    dice = random.Random(seed)
    there = workshop(zone.key)
    service = dice.choice(there.services)
    days = _open_days(there, service, now)
    day = dice.choice(days)
    starts_at = dice.choice(open_slots(there, service, day, (), now))
    new_day = day if dice.random() < _SAME_DAY else dice.choice([other for other in days if other != day])
    moves_to = dice.choice([at for at in open_slots(there, service, new_day, (), now) if at != starts_at])
    spoken_day = dice.choice(day_forms(day, now))
    spoken_time = dice.choice(time_forms(starts_at))
    words = {"service": speech.one_of(service.name), "day": spoken_day, "time": spoken_time}
    # At the comma of "Friday, December fourth" the voice pauses, and the turn would be taken for over.
    forms = [form for form in day_forms(new_day, now) if "," not in form]
    spoken_new_day, spoken_new_time = dice.choice(forms), dice.choice(time_forms(moves_to))
    whole = {"when": f"{spoken_new_day} at {spoken_new_time}"}
    when = {"when": spoken_new_time} if new_day == day else whole
    return Scenario(
        seed=seed,
        service=service.name,
        minutes=service.minutes,
        starts_at=starts_at,
        day=spoken_day,
        time=spoken_time,
        ask=_worded(dice.choice(_ASK), words),
        choose=_worded(dice.choice(_CHOOSE), words),
        restate=tuple(_worded(text, words) for text in dice.sample(_RESTATE, len(_RESTATE))),
        moves_to=moves_to,
        new_day=spoken_new_day,
        new_time=spoken_new_time,
        move=_worded(dice.choice(_MOVE), when),
        move_again=tuple(_worded(text, whole) for text in dice.sample(_MOVE_AGAIN, len(_MOVE_AGAIN))),
        cancel=dice.choice(_CANCEL),
        cancel_again=tuple(dice.sample(_CANCEL_AGAIN, len(_CANCEL_AGAIN))),
        bye=dice.choice(_BYE),
    )


def day_forms(day: dt.date, now: dt.datetime) -> Sequence[str]:
    """The ways to name a day; the weekday alone only where it can mean no other."""
    forms = [speech.day(day), speech.day(day).partition(", ")[2]]
    ahead = (day - now.date()).days
    if now.time() < _LATE and 1 <= ahead <= 6:
        forms.append(f"{day:%A}")
    return forms


def time_forms(at: dt.datetime) -> Sequence[str]:
    """The ways to name a time: "nine thirty", "nine thirty in the morning", "nine a.m."."""
    hour = speech.number(at.hour % 12 or 12)
    if not at.minute:
        return [f"{hour} {'a.m.' if at.hour < 12 else 'p.m.'}"]
    forms = [f"{hour} {speech.number(at.minute)}"]
    if at.hour % 12 in _PART_OF_DAY:
        forms.append(f"{forms[0]} in the {_PART_OF_DAY[at.hour % 12]}")
    return forms


def _open_days(there: Workshop, service: ServiceType, now: dt.datetime) -> list[dt.date]:
    days = [now.date() + dt.timedelta(days=ahead) for ahead in range(1, DAYS_AHEAD + 1)]
    return [day for day in days if open_slots(there, service, day, (), now)]


def _worded(template: str, words: dict[str, str]) -> str:
    return template.format(**words).replace(".m..", ".m.")
