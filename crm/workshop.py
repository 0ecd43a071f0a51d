"""What the workshop is: its hours, holidays, closures, bays, people and services. Values only, no clock, no database.

Times of day are on the dealership's clock; a `Closure` has aware instants.
"""

import datetime as dt
from collections.abc import Mapping
from functools import cached_property
from zoneinfo import ZoneInfo

import msgspec

Span = tuple[dt.time, dt.time]  # from, to (exclusive)
Week = Mapping[int, tuple[Span, ...]]  # Monday is 0; a missing day has no hours


class ServiceType(msgspec.Struct, frozen=True):
    """What the workshop sells. A price of 0 is free; `skills` are those that one technician must have."""

    id: int
    name: str
    minutes: int
    price_from_cents: int
    price_to_cents: int
    skills: frozenset[str] = frozenset()


class Bay(msgspec.Struct, frozen=True):
    """A place for one car. `week` None: open whenever the dealership is."""

    id: int
    name: str
    week: dict[int, tuple[Span, ...]] | None = None


class Technician(msgspec.Struct, frozen=True):
    """Who works on one car at a time. `week` None: there whenever the dealership is open."""

    id: int
    name: str
    skills: frozenset[str] = frozenset()
    week: dict[int, tuple[Span, ...]] | None = None


class Holiday(msgspec.Struct, frozen=True):
    """A day with other hours than its weekday's; with none, closed."""

    day: dt.date
    name: str
    spans: tuple[Span, ...] = ()


class Closure(msgspec.Struct, frozen=True):
    """From `start` to `end` (exclusive) nothing is done: of a bay, of a technician, or, with neither, of all."""

    start: dt.datetime
    end: dt.datetime
    bay: int | None = None
    technician: int | None = None
    reason: str = ""


class Workshop(msgspec.Struct, frozen=True, dict=True):
    """All that decides when a car can be taken, but for what is booked.

    `step_minutes`: appointments start at multiples of it after opening. `notice_minutes`: the soonest from now.
    """

    time_zone: str
    week: dict[int, tuple[Span, ...]]
    bays: tuple[Bay, ...]
    technicians: tuple[Technician, ...]
    services: tuple[ServiceType, ...]
    holidays: tuple[Holiday, ...] = ()
    closures: tuple[Closure, ...] = ()
    step_minutes: int = 30
    notice_minutes: int = 60
    horizon_days: int = 180

    @cached_property
    def zone(self) -> ZoneInfo:
        """The dealership's time zone. Raises `ZoneInfoNotFoundError` if there is none of that name."""
        return ZoneInfo(self.time_zone)

    @cached_property
    def _holidays(self) -> dict[dt.date, Holiday]:
        return {holiday.day: holiday for holiday in self.holidays}

    def holiday(self, day: dt.date) -> Holiday | None:
        """The holiday on that day, if it is one."""
        return self._holidays.get(day)

    def spans(self, day: dt.date) -> tuple[Span, ...]:
        """The opening hours of a day, in order; empty when closed. Closures are not in them."""
        holiday = self.holiday(day)
        return holiday.spans if holiday else self.week.get(day.weekday(), ())

    def service(self, said: str) -> ServiceType | None:
        """The one service that is meant by a name as it is said, or None."""
        words = _plain(said)
        meant = [s for s in self.services if f" {_plain(s.name)} " in f" {words} "]
        if meant:  # the one that is named most exactly: "synthetic oil change" is no "oil change"
            longest = max(len(s.name) for s in meant)
            meant = [s for s in meant if len(s.name) == longest]
        elif len(words) > 2:
            meant = [s for s in self.services if f" {words}" in f" {_plain(s.name)}"]
        return meant[0] if len(meant) == 1 else None


def _plain(name: str) -> str:
    """In small letters, without hyphens, plurals, and an article before it."""
    words = name.lower().replace("-", " ").split()
    words = words[1:] if words[:1] in (["a"], ["an"], ["the"], ["my"]) else words
    return " ".join(word.removesuffix("s") if len(word) > 3 else word for word in words)
