"""A workshop as a dealership writes it down: a TOML file, read into a `Workshop`. `crm/demo_workshop.toml` is one.

Names stand for ids: bays, technicians and services are numbered in the order in which they are written.
"""

import datetime as dt
import itertools
import re
from pathlib import Path
from typing import Annotated
from zoneinfo import ZoneInfo, available_timezones

import msgspec
from msgspec import Meta

from crm.workshop import Bay, Holiday, ServiceType, Span, Technician, Workshop

DEMO = Path(__file__).with_name("demo_workshop.toml")
DAYS = ("monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday")

_Name = Annotated[str, Meta(min_length=1, max_length=80)]
_Minutes = Annotated[int, Meta(ge=1, le=24 * 60)]
_Hours = dict[str, list[str]]


class WrongFile(Exception):
    """A file can't be used; the message says where and what to correct."""


class _Service(msgspec.Struct, forbid_unknown_fields=True):
    name: _Name
    minutes: _Minutes
    price: tuple[float, float] | float = 0.0
    skills: list[_Name] = []


class _Bay(msgspec.Struct, forbid_unknown_fields=True):
    name: _Name
    hours: _Hours | None = None


class _Technician(msgspec.Struct, forbid_unknown_fields=True):
    name: _Name
    skills: list[_Name] = []
    hours: _Hours | None = None


class _Holiday(msgspec.Struct, forbid_unknown_fields=True):
    day: dt.date
    name: _Name
    hours: list[str] = []


class _File(msgspec.Struct, forbid_unknown_fields=True):
    hours: _Hours
    services: list[_Service]
    bays: list[_Bay]
    technicians: list[_Technician]
    holidays: list[_Holiday] = []
    time_zone: str = ""
    step_minutes: _Minutes = 30
    notice_minutes: Annotated[int, Meta(ge=0, le=30 * 24 * 60)] = 60
    horizon_days: Annotated[int, Meta(ge=1, le=3650)] = 180


def read_workshop(path: Path, time_zone: str) -> Workshop:
    """The workshop that the file describes; `time_zone` is used where the file names none. Raises `WrongFile`."""
    try:
        written = msgspec.toml.decode(path.read_bytes(), type=_File)
    except (OSError, msgspec.MsgspecError, UnicodeError) as error:
        raise WrongFile(f"{path} can't be used as a workshop: {error}") from None
    try:
        return _workshop(written, time_zone)
    except WrongFile as error:
        raise WrongFile(f"{path}: {error}") from None


def _workshop(written: _File, time_zone: str) -> Workshop:
    zone = written.time_zone or time_zone
    if zone not in available_timezones():
        raise WrongFile(f"time_zone must be one such as America/Chicago, got {zone!r}")
    for kind, names in (
        ("service", [one.name for one in written.services]),
        ("bay", [one.name for one in written.bays]),
        ("technician", [one.name for one in written.technicians]),
        ("holiday", [one.day.isoformat() for one in written.holidays]),
    ):
        twice = next((name for name in names if names.count(name) > 1), None)
        if twice:
            raise WrongFile(f"the {kind} {twice!r} is there twice")
    workshop = Workshop(
        time_zone=ZoneInfo(zone).key,
        week=_week(written.hours, "hours") or {},
        bays=tuple(
            Bay(n, one.name, _week(one.hours, f"bay {one.name!r}")) for n, one in enumerate(written.bays, 1)
        ),
        technicians=tuple(
            Technician(n, one.name, frozenset(one.skills), _week(one.hours, f"technician {one.name!r}"))
            for n, one in enumerate(written.technicians, 1)
        ),
        services=tuple(_service(n, one) for n, one in enumerate(written.services, 1)),
        holidays=tuple(Holiday(one.day, one.name, _holiday_hours(one)) for one in written.holidays),
        step_minutes=written.step_minutes,
        notice_minutes=written.notice_minutes,
        horizon_days=written.horizon_days,
    )
    _check_served(workshop)
    return workshop


def _holiday_hours(one: _Holiday) -> tuple[Span, ...]:
    spans = _spans(one.hours, f"holiday {one.name!r}")
    if len(spans) > 1:
        raise WrongFile(f"holiday {one.name!r}: a holiday has one span of hours at most, got {len(spans)}")
    return spans


def _service(number: int, one: _Service) -> ServiceType:
    low, high = one.price if isinstance(one.price, tuple) else (one.price, one.price)
    if not 0 <= low <= high <= 1_000_000:
        raise WrongFile(f"service {one.name!r}: price must be [from, to] in dollars, got [{low:g}, {high:g}]")
    name = " ".join(one.name.lower().split())
    return ServiceType(number, name, one.minutes, round(low * 100), round(high * 100), frozenset(one.skills))


def _check_served(workshop: Workshop) -> None:
    """Nothing is sold that nobody can do: it would be found out by callers."""
    if not workshop.bays:
        raise WrongFile("there are no bays: nothing could be booked")
    for service in workshop.services:
        if not any(service.skills <= who.skills for who in workshop.technicians):
            needs = ", ".join(sorted(service.skills)) or "nothing in particular"
            raise WrongFile(f"service {service.name!r}: no technician can do it (it needs {needs})")


def _week(hours: _Hours | None, where: str) -> dict[int, tuple[Span, ...]] | None:
    if hours is None:
        return None
    unknown = sorted(set(hours) - set(DAYS))
    if unknown:
        raise WrongFile(f"{where}: {unknown[0]!r} is no day; write {', '.join(DAYS)}")
    week = {n: _spans(hours[day], f"{where}, {day}") for n, day in enumerate(DAYS) if hours.get(day)}
    if not week:
        raise WrongFile(f"{where}: there are no hours; leave it out where the dealership's hold")
    return week


def _spans(texts: list[str], where: str) -> tuple[Span, ...]:
    spans = []
    for text in texts:
        found = re.fullmatch(r"\s*(\d{1,2}):(\d\d)\s*-\s*(\d{1,2}):(\d\d)\s*", text, re.ASCII)
        try:
            if found is None:
                raise ValueError
            start, end = dt.time(int(found[1]), int(found[2])), dt.time(int(found[3]), int(found[4]))
        except ValueError:
            raise WrongFile(f"{where}: hours are written 08:00-17:00, got {text!r}") from None
        if start >= end:
            raise WrongFile(f"{where}: {text!r} ends before it begins")
        spans.append((start, end))
    spans.sort()
    if any(before[1] > after[0] for before, after in itertools.pairwise(spans)):
        raise WrongFile(f"{where}: the hours overlap")
    return tuple(spans)
