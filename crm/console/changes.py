"""What is different between two workshops, in sentences: what `setup` says it has done."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import TypeVar

from crm.workshop import Bay, Holiday, ServiceType, Span, Technician, Week, Workshop
from crm.workshop_file import DAYS

T = TypeVar("T", Bay, Technician, ServiceType, Holiday)


def changes(before: Workshop | None, after: Workshop) -> list[str]:
    """A line for each thing that has been added, changed or taken away."""
    if before is None:
        return [
            f"time zone {after.time_zone}; a start every {after.step_minutes} minutes; "
            f"{after.notice_minutes} minutes' notice; {after.horizon_days} days ahead",
            *(f"{day}: {_spans(after.week[n])}" for n, day in enumerate(DAYS) if n in after.week),
            *(f"new {kind} {name}" for kind, name in _all(after)),
        ]
    return [
        *_rules(before, after),
        *_week("the dealership", before.week, after.week),
        *_things("bay", before.bays, after.bays, _hours),
        *_things("technician", before.technicians, after.technicians, _technician),
        *_things("service", before.services, after.services, _service),
        *_holidays(before, after),
    ]


def _all(workshop: Workshop) -> Iterator[tuple[str, str]]:
    things: tuple[tuple[str, Iterable[Bay | Technician | ServiceType | Holiday]], ...] = (
        ("bay", workshop.bays),
        ("technician", workshop.technicians),
        ("service", workshop.services),
        ("holiday", workshop.holidays),
    )
    for kind, ones in things:
        for one in ones:
            yield kind, one.name


def _rules(before: Workshop, after: Workshop) -> Iterator[str]:
    for name in ("time_zone", "step_minutes", "notice_minutes", "horizon_days"):
        old, new = getattr(before, name), getattr(after, name)
        if old != new:
            yield f"{name}: {old} became {new}"


def _things(
    kind: str, before: Iterable[T], after: Iterable[T], differ: Callable[[T, T], Iterable[str]]
) -> Iterator[str]:
    old = {one.name: one for one in before}
    new = {one.name: one for one in after}
    for name, one in new.items():
        if name not in old:
            yield f"new {kind} {name}"
        else:
            yield from (f"{kind} {name}: {change}" for change in differ(old[name], one))
    yield from (f"{kind} {name} takes no appointments any more" for name in old if name not in new)


def _hours(old: Bay | Technician, new: Bay | Technician) -> Iterator[str]:
    if old.week is not None and new.week is None:
        yield "has the dealership's hours"
    elif new.week is not None and old.week is None:
        yield from (f"{day}: {_spans(new.week.get(n, ()))}" for n, day in enumerate(DAYS))
    else:
        yield from _week("", old.week or {}, new.week or {})


def _technician(old: Technician, new: Technician) -> Iterator[str]:
    yield from _skills(old.skills, new.skills)
    yield from _hours(old, new)


def _service(old: ServiceType, new: ServiceType) -> Iterator[str]:
    if old.minutes != new.minutes:
        yield f"{old.minutes} minutes became {new.minutes}"
    prices = [(one.price_from_cents, one.price_to_cents) for one in (old, new)]
    if prices[0] != prices[1]:
        yield f"{_price(*prices[0])} became {_price(*prices[1])}"
    yield from _skills(old.skills, new.skills)


def _holidays(before: Workshop, after: Workshop) -> Iterator[str]:
    old = {one.day: one for one in before.holidays}
    new = {one.day: one for one in after.holidays}
    for day in sorted(old.keys() | new.keys()):
        if old.get(day) != new.get(day):
            there = new.get(day)
            yield f"{day}: {there.name}, {_spans(there.spans)}" if there else f"{day} is no holiday any more"


def _week(whose: str, before: Week | Mapping[int, tuple[Span, ...]], after: Week) -> Iterator[str]:
    for number, day in enumerate(DAYS):
        old, new = before.get(number, ()), after.get(number, ())
        if old != new:
            hours = f"{day}: {_spans(old)} became {_spans(new)}"
            yield f"{whose}, {hours}" if whose else hours


def _skills(old: frozenset[str], new: frozenset[str]) -> Iterator[str]:
    if old != new:
        yield f"skills {', '.join(sorted(old)) or 'none'} became {', '.join(sorted(new)) or 'none'}"


def _spans(spans: tuple[Span, ...]) -> str:
    return ", ".join(f"{start:%H:%M}-{end:%H:%M}" for start, end in spans) or "closed"


def _price(low: int, high: int) -> str:
    return f"${low / 100:.2f}" if low == high else f"${low / 100:.2f} to ${high / 100:.2f}"
