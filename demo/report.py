"""What is left of the call in Postgres, and whether it is what was wished for."""

import asyncio
import datetime as dt
import json
import statistics
from dataclasses import dataclass, field
from typing import Any
from zoneinfo import ZoneInfo

import asyncpg

from demo.scenario import Scenario
from engine.callrows import Leg
from engine.outcomes import End

CONNECT_S = 10.0
LOGGED_S = 15.0
_LOOK_S = 0.1

SPEECH = "first_sentence_to_first_audio"
INTERRUPTION = "interruption"
_DID = {
    "booked": "booked",
    "rescheduled": "moved",
    "cancelled": "cancelled",
}  # in a result, and in the call log


@dataclass(frozen=True)
class LegShown:
    """One line of the table; `target_ms` None: users were promised nothing."""

    name: str
    what: str
    target_ms: float | None = None


LEGS = (
    LegShown(Leg.FINAL_TO_REQUEST, "final transcript -> model asked", 800),
    LegShown(Leg.FIRST_TOKEN, "model asked -> its first token"),
    LegShown(SPEECH, "model's first sentence -> first speech", 500),
    LegShown(Leg.AUDIO_TO_CALLER, "first speech -> sent to the caller"),
    LegShown(Leg.VOICE_TO_VOICE, "caller's last word -> agent speaks", 2000),
    LegShown(Leg.INTERIM_TO_CLEAR, "barge-in: interim -> clear sent", 200),
    LegShown(INTERRUPTION, "barge-in on the line: sound -> silence"),
    LegShown(Leg.TOOL, "tool asked -> answered"),
    LegShown(Leg.GREETING, "stream up -> greeting begins"),
)


@dataclass(frozen=True)
class Booking:
    """An appointment as it stands in Postgres; times in the dealership's zone."""

    service: str
    starts_at: dt.datetime
    phone: str | None
    name: str | None
    vehicle: str | None
    bay: str
    status: str

    def __str__(self) -> str:
        what = f"{self.service} on {self.starts_at:%A %Y-%m-%d} at {self.starts_at:%H:%M}"
        return f"{what}, {self.vehicle or 'no car named'}, bay {self.bay}, for {self.name} ({self.status})"


@dataclass(frozen=True)
class Change:
    """What a tool has changed, as its result was kept with it; `starts_at` is in the dealership's zone."""

    what: str  # as the call log calls it: booked, moved or cancelled
    service: str
    starts_at: dt.datetime

    def __str__(self) -> str:
        return f"{self.what:9}  {self.service} on {self.starts_at:%A %Y-%m-%d} at {self.starts_at:%H:%M}"


@dataclass
class Record:
    """What Postgres holds of the call. `made`: what the call log says that its tools made of it, in order."""

    ending: str | None = None
    outcome: str | None = None
    bookings: list[Booking] = field(default_factory=list)
    changes: list[Change] = field(default_factory=list)
    made: list[str] = field(default_factory=list)
    legs: dict[str, list[float]] = field(default_factory=dict)
    agent_said: list[str] = field(default_factory=list)
    caller_said: list[str] = field(default_factory=list)
    interruptions: int = 0


async def read_record(database_url: str, call: str, zone: ZoneInfo) -> Record:
    """Waits until the call's log is finished, then reads it. A log that never is leaves `ending` None."""
    database = await asyncpg.connect(_plain(database_url), timeout=CONNECT_S)
    try:
        record = Record()
        await _finished(database, call, record)
        record.bookings = [
            Booking(**{**dict(row), "starts_at": row["starts_at"].astimezone(zone)})
            for row in await database.fetch(
                "SELECT s.name AS service, a.starts_at, a.phone, a.name, a.vehicle, b.name AS bay, a.status FROM "
                "appointment a JOIN service_type s ON s.id = a.service_type_id JOIN bay b ON b.id = a.bay_id ORDER "
                "BY a.id"
            )
        ]
        kept = await database.fetch(
            "SELECT result FROM tool_result WHERE call = $1 AND arguments_hash IS NOT NULL ORDER BY created_at",
            call,
        )
        record.changes = [change for row in kept if (change := _change(json.loads(row["result"]), zone))]
        logged = await database.fetch(
            "SELECT made FROM call_tool WHERE call = $1 AND made <> '' ORDER BY at", call
        )
        record.made = [row["made"] for row in logged]
        record.legs = _legs(
            await database.fetch("SELECT turn, name, value_ms FROM call_metric WHERE call = $1", call)
        )
        for row in await database.fetch(
            'SELECT speaker, text FROM call_transcript WHERE call = $1 ORDER BY turn, "index"', call
        ):
            (record.agent_said if row["speaker"] == "agent" else record.caller_said).append(row["text"])
        return record
    finally:
        await database.close(timeout=CONNECT_S)


def _change(result: dict[str, Any], zone: ZoneInfo) -> Change | None:
    """The change of a tool's result; None if it was refused."""
    what = next((told for name, told in _DID.items() if result.get(name)), None)
    if what is None:
        return None
    made = result["appointment"]
    at = dt.datetime.fromisoformat(f"{made['date']}T{made['time']}").replace(tzinfo=zone)
    return Change(what, made["service"], at)


async def _finished(database: Any, call: str, record: Record) -> None:
    try:
        async with asyncio.timeout(LOGGED_S):
            while True:
                row = await database.fetchrow(
                    "SELECT ending, outcome, interruptions FROM call_log WHERE call = $1 AND ended_at IS NOT NULL",
                    call,
                )
                if row is not None:
                    record.ending, record.outcome = row["ending"], row["outcome"]
                    record.interruptions = row["interruptions"] or 0
                    return
                await asyncio.sleep(_LOOK_S)
    except TimeoutError:
        return  # the verdict says that the log has no end


def _legs(rows: list[Any]) -> dict[str, list[float]]:
    found: dict[str, list[float]] = {}
    by_turn: dict[int, dict[str, float]] = {}
    for row in rows:
        found.setdefault(row["name"], []).append(row["value_ms"])
        by_turn.setdefault(row["turn"], {})[row["name"]] = row["value_ms"]
    sums = [
        legs[Leg.FIRST_SENTENCE_TO_TTS] + legs[Leg.TTS_FIRST_AUDIO]
        for legs in by_turn.values()
        if Leg.FIRST_SENTENCE_TO_TTS in legs and Leg.TTS_FIRST_AUDIO in legs
    ]
    return {**found, SPEECH: sums} if sums else found


def median_and_worst(values: list[float]) -> tuple[float, float]:
    """Both in the unit of the values."""
    return statistics.median(values), max(values)


def fault(record: Record, wish: Scenario, phone: str, *, mute: bool) -> str:
    """What is wrong with what was booked, moved and cancelled, in a sentence; "" if it is what was wished for."""
    there = "; ".join(map(str, record.bookings)) or "no appointment"
    if mute:
        return (
            f"The caller said nothing, so there should be no appointment, but there is: {there}."
            if record.bookings
            else ""
        )
    rows = [(b.service, b.starts_at, b.phone, b.status) for b in record.bookings]
    if rows != [(wish.service, wish.moves_to, phone, "cancelled")]:
        return f"Expected exactly {wish.wish}, but Postgres holds: {there}."
    story = "; ".join(map(str, record.changes)) or "nothing"
    if not _in_order(record.changes, wish):
        return f"Expected {wish.wish}, in this order, but the tools did: {story}."
    if record.made != [change.what for change in record.changes]:
        return f"The call log tells of {', '.join(record.made) or 'nothing'}, but the tools did: {story}."
    if record.ending != End.COMPLETED:
        return f"All was done, but the call did not come to its goodbye: {record.ending or 'its log has no end'}."
    return ""


def _in_order(changes: list[Change], wish: Scenario) -> bool:
    """Whether it stood at the first time wished for, then at the second, and was cancelled last.

    What was misheard on the way, and put right, is no fault.
    """
    left = iter((change.what, change.service, change.starts_at) for change in changes)
    first = any(one[0] != "cancelled" and one[1:] == (wish.service, wish.starts_at) for one in left)
    then = any(one == ("moved", wish.service, wish.moves_to) for one in left)
    return first and then and list(left)[-1:] == [("cancelled", wish.service, wish.moves_to)]


def _plain(url: str) -> str:
    return url.replace("postgresql+asyncpg://", "postgresql://", 1)
