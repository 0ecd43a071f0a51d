"""Where a conversation stands. It is worked out anew for each request, from the messages alone."""

import datetime as dt
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from local.receptionist import speech
from local.receptionist.heard import Heard
from local.receptionist.times import Window
from local.receptionist.wants import Want


class Goal(StrEnum):
    """What the caller is being helped with."""

    NONE = "none"
    BOOK = "book"
    MOVE = "move"
    CANCEL = "cancel"


class Ask(StrEnum):
    """What the caller was asked last."""

    NOTHING = "nothing"
    SERVICE = "service"
    DAY = "day"
    TIME = "time"
    CONFIRM = "confirm"
    CUT = "cut"  # whether something is right, but the caller did not hear the question to its end
    WHICH = "which"
    NAME = "name"
    WHO = "who"  # who is calling, of those who share the number
    PROOF = "proof"  # something that shows who is calling
    AGAIN = "again"  # whether to try a change once more
    VIN = "vin"
    VIN_RIGHT = "vin_right"  # whether a VIN that was read back is right
    PRICED = "priced"  # which service's price is wanted
    BOOKING = "booking"  # whether to book the service that was spoken of
    PERSON = "person"  # whether to be put through
    ELSE = "else"  # whether there is anything else


@dataclass(frozen=True)
class Appointment:
    """An appointment as the tools tell it; `minutes` after midnight."""

    id: int
    service: str
    date: dt.date
    minutes: int

    def spoken(self, owner: str = "") -> str:
        """ "an oil change on Friday, November twenty-seventh at nine o'clock"; with an owner, "your ..."."""
        what = f"{owner} {self.service}" if owner else speech.one_of(self.service)
        return f"{what} on {speech.day(self.date)} at {speech.clock(self.minutes)}"


@dataclass(frozen=True)
class Claim:
    """What the caller said of themselves that has not been tried yet. `car` as they said it."""

    name: str
    car: str


@dataclass(frozen=True)
class Fresh:
    """A tool's result that has not been spoken of yet."""

    tool: str
    arguments: dict[str, Any]
    result: dict[str, Any]


@dataclass(frozen=True)
class Reply:
    """What the receptionist says, and the tool it then calls."""

    text: str
    tool: str = ""
    arguments: dict[str, Any] = field(default_factory=dict)

    def after(self, words: str) -> "Reply":
        """This reply, with words before it."""
        return Reply(f"{words} {self.text}".strip(), self.tool, self.arguments)


@dataclass
class Talk:
    """The conversation so far. Written by `listening`, `results` and the steps; made for one request."""

    can_transfer: bool = False
    goal: Goal = Goal.NONE
    asked: Ask = Ask.NOTHING
    heard: Heard | None = None
    fresh: Fresh | None = None
    understood: bool = True
    failures: int = 0
    said: str = ""
    question: str = ""

    service: str = ""
    service_sure: bool = True
    could_be: tuple[str, ...] = ()
    also: list[str] = field(default_factory=list)
    date: dt.date | None = None
    date_sure: bool = True
    minutes: int | None = None
    minutes_sure: bool = True
    window: Window | None = None
    soonest: bool = False
    confirmed: bool = False
    dropped: bool = False
    offered: list[int] = field(default_factory=list)
    skipped: set[int] = field(default_factory=set)
    slots: dict[tuple[str, dt.date], list[int]] = field(default_factory=dict)
    next_free: tuple[dt.date, list[int]] | None = None

    about_service: str = ""
    about_date: dt.date | None = None
    appointments: list[Appointment] | None = None
    choices: list[Appointment] = field(default_factory=list)
    chosen: Appointment | None = None
    last: Appointment | None = None
    again: bool = False  # a change was not made, or may not have been: it is made again only on a yes
    doubt: Fresh | None = None  # a change of which it is not known whether it was made

    name: str = ""
    claim: Claim | None = None
    proved: bool = False
    tries: int = 0
    unwilling: bool = False  # said no to telling who they are
    hearing: Want | None = None  # what of theirs they asked to hear
    cars: tuple[str, ...] = ()
    vehicle: str = ""
    vin: str = ""  # its characters, as far as they are understood here
    vin_said: str = ""
    vin_misses: int = 0
    offered_vin: str = ""
    places: tuple[str, ...] = ()  # of its characters, that are asked for

    @property
    def sure(self) -> bool:
        """Whether service, day and time were all heard plainly, or confirmed."""
        plain = self.service_sure and self.date_sure and self.minutes_sure
        return self.confirmed or (plain and not self.again)

    def begin(self, goal: Goal) -> None:
        """Turns to another goal. What was said of a booking that had no goal yet stays."""
        if goal is not self.goal:
            if self.goal is not Goal.NONE:
                self.finish()
            self.goal = goal
        self.dropped, self.hearing, self.unwilling = False, None, False

    def finish(self) -> None:
        """The goal is reached, or dropped: forget what was said for it."""
        self.goal, self.service, self.service_sure, self.could_be = Goal.NONE, "", True, ()
        self.date, self.date_sure, self.minutes, self.minutes_sure = None, True, None, True
        self.window, self.soonest, self.confirmed = None, False, False
        self.offered, self.skipped = [], set()
        self.about_service, self.about_date, self.choices, self.chosen = "", None, [], None
        self.next_free, self.doubt, self.again, self.hearing = None, None, False, None

    def ask(self, what: Ask, question: str) -> Reply:
        """A reply that asks, remembering what was asked."""
        self.asked, self.question = what, question
        return Reply(question)
