"""Calls, as the call log has them."""

import datetime as dt
import json
from collections import defaultdict
from collections.abc import Iterable, Sequence
from typing import Any
from zoneinfo import ZoneInfo

import msgspec
from sqlalchemy import func, literal, select
from sqlalchemy.dialects.postgresql import aggregate_order_by
from sqlalchemy.ext.asyncio import AsyncEngine

from crm.console.days import clock, shown
from crm.importing.customers import among
from crm.models import Customer, CustomerPhone
from engine.callreading import CallStory, LoggedCall, LoggedLine, LoggedTool
from engine.callrows import Leg

CALL = ("time", "caller", "customer", "duration", "outcome", "ending", "cost", "call")
_LEGS = {leg.value: n for n, leg in enumerate(Leg)}
_PRIVATE = "vin"  # an argument of tools that is shown with a customer's cars only


async def customers_of(engine: AsyncEngine, calls: Iterable[LoggedCall]) -> dict[str, str]:
    """By number, who has it: the name, or the names."""
    names = func.string_agg(Customer.name, aggregate_order_by(literal(" or "), Customer.id))
    statement = (
        select(CustomerPhone.phone, names)
        .join(Customer, Customer.id == CustomerPhone.customer_id)
        .where(CustomerPhone.phone == among({call.caller for call in calls if call.caller}))
        .group_by(CustomerPhone.phone)
    )
    async with engine.connect() as connection:
        return dict((await connection.execute(statement)).tuples().all())


def rows_of(
    calls: Iterable[LoggedCall], names: dict[str, str], zone: ZoneInfo, *, exact: bool
) -> list[tuple[object, ...]]:
    """Rows of `CALL`; `exact` is for programs: instants, seconds and dollars as they are."""
    return [
        (
            _iso(began(call), zone) if exact else clock(began(call), zone),
            call.caller or "withheld",
            names.get(call.caller or ""),
            call.duration_ms / 1000 if exact and call.duration_ms is not None else duration(call.duration_ms),
            call.outcome,
            call.ending,
            call.cost_micros / 1e6 if exact and call.cost_micros is not None else cost(call.cost_micros),
            call.call,
        )
        for call in calls
    ]


def story(told: CallStory, name: str | None, zone: ZoneInfo) -> list[str]:
    """A call's head, and what was said and done, a line each."""
    call = told.call
    at = began(call)
    attested = {True: ", attested", False: ", not attested", None: ""}[call.attested]
    facts = [
        shown(at, zone) if at else "",
        duration(call.duration_ms),
        call.outcome or "not over",
        call.ending or "",
        cost(call.cost_micros),
        f"{call.turns or 0} turns",
        f"{call.interruptions or 0} interruptions",
        f"{call.tool_calls or 0} tool calls",
    ]
    head = [
        f"{call.call}: from {call.caller or 'a withheld number'}{f' ({name})' if name else ''}{attested}",
        ", ".join(fact for fact in facts if fact),
    ]
    parts: list[tuple[dt.datetime, str]] = [(line.at, _spoken(line)) for line in told.lines]
    parts += [(tool.at, _ran(tool)) for tool in told.tools]
    parts.sort(key=lambda part: part[0])
    return [*head, "", *(f"{clock(at, zone, seconds=True)}  {text}" for at, text in parts)]


def timings(told: CallStory) -> tuple[Sequence[str], list[list[object]]]:
    """Headings and rows: for each turn its latencies in milliseconds."""
    found: dict[int, dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
    for metric in told.metrics:
        found[metric.turn][metric.name].append(metric.value_ms)
    names = sorted(
        {metric.name for metric in told.metrics}, key=lambda name: (_LEGS.get(name, len(_LEGS)), name)
    )
    rows: list[list[object]] = [
        [turn, *(" ".join(f"{value:.0f}" for value in legs.get(name, ())) for name in names)]
        for turn, legs in sorted(found.items())
    ]
    return ["turn", *(name.replace("_", " ") for name in names)], rows


def plain(told: CallStory) -> dict[str, Any]:
    """All of it for programs, but for what is private."""
    built: dict[str, Any] = msgspec.to_builtins(told)
    for tool in built["tools"]:
        tool["arguments"] = _public(tool["arguments"])
    return built


def began(call: LoggedCall) -> dt.datetime | None:
    """When it rang, or the first that is known of it."""
    return call.started_at or call.answered_at or call.ended_at


def duration(duration_ms: float | None) -> str:
    """Minutes and seconds; nothing for a call that was not answered, or is not over."""
    return "" if duration_ms is None else "{}:{:02}".format(*divmod(round(duration_ms / 1000), 60))


def cost(micros: int | None) -> str:
    """In dollars, to the hundredth of a cent; nothing where it is not known."""
    return "" if micros is None else f"${micros / 1e6:.4f}"


def _iso(at: dt.datetime | None, zone: ZoneInfo) -> str | None:
    return at.astimezone(zone).isoformat() if at else None


def _spoken(line: LoggedLine) -> str:
    return f"{line.speaker:<7} {line.text}{'  [interrupted]' if line.interrupted else ''}"


def _ran(tool: LoggedTool) -> str:
    result = "not known whether it was done" if tool.unknown else "done" if tool.ok else "refused or failed"
    made = f", {tool.made}" if tool.made and tool.ok and not tool.unknown else ""
    again = ", told again" if tool.replayed else ""
    took = "" if tool.took_ms is None else f" in {tool.took_ms:.0f} ms"
    arguments = json.dumps(_public(tool.arguments), ensure_ascii=False, sort_keys=True)
    return f"{'tool':<7} {tool.tool} {arguments}: {result}{made}{again}{took}"


def _public(arguments: dict[str, Any]) -> dict[str, Any]:
    return {name: "..." if name == _PRIVATE and value else value for name, value in arguments.items()}
