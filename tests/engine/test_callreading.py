"""What a console reads of the log."""

from datetime import UTC, date, datetime
from zoneinfo import ZoneInfo

from sqlalchemy.ext.asyncio import AsyncEngine

from engine.calllog import CallLog
from engine.callreading import calls_of_day, story_of
from engine.callrows import Leg, LogTool, LogUsage, Part, Speaker
from engine.messages import Usage
from engine.outcomes import End
from tests.engine.logged import NOON, PATIENCE, info

CHICAGO = ZoneInfo("America/Chicago")


def at(*when: int) -> float:
    return datetime(*when, tzinfo=CHICAGO).timestamp()


async def test_a_day_is_the_dealerships_and_its_calls_are_in_order(pg: AsyncEngine, log: CallLog) -> None:
    log.open_call(info("CAlate", at(2026, 3, 8, 23, 59)))
    log.open_call(info("CAfirst", at(2026, 3, 8, 0, 0)))
    log.open_call(info("CAbefore", at(2026, 3, 7, 23, 59)))
    log.finalize_call_log("CAbefore", End.COMPLETED, at(2026, 3, 8, 0, 10), "answered")
    log.open_call(info("CAnext", at(2026, 3, 9, 0, 0)))
    log.finalize_call_log("CAunopened", End.ABANDONED, at(2026, 3, 8, 12, 0), "abandoned")
    log.open_call(info("CAnoon", at(2026, 3, 8, 11, 0)), at(2026, 3, 8, 11, 0))
    log.finalize_call_log("CAnoon", End.TRANSFERRED, at(2026, 3, 8, 11, 2), "booked", turns=4)
    assert await log.flush(PATIENCE)

    # On that day clocks go forward: it has 23 hours.
    calls = await calls_of_day(pg, date(2026, 3, 8), CHICAGO)
    assert [call.call for call in calls] == ["CAfirst", "CAnoon", "CAunopened", "CAlate"]
    noon = calls[1]
    assert (noon.caller, noon.ending, noon.outcome, noon.turns) == (
        "+13125550142",
        "transferred",
        "booked",
        4,
    )
    assert (noon.duration_ms, noon.cost_micros) == (120_000, 0)
    assert await calls_of_day(pg, date(2026, 3, 10), CHICAGO) == []


async def test_one_call_is_told_whole_and_in_order(pg: AsyncEngine, log: CallLog) -> None:
    log.open_call(info(), NOON + 1)
    log.log_transcript("CA1", 2, 1, Speaker.AGENT, "Tomorrow at nine?", NOON + 12, interrupted=True)
    log.log_transcript("CA1", 2, 0, Speaker.CALLER, "an oil change", NOON + 10)
    log.log_call_event("CA1", "interrupted", {"turn": 2}, NOON + 13)
    log.log_performance_metric("CA1", 2, Leg.FIRST_TOKEN, 312.5, NOON + 11)
    log.write(LogTool("CA1", "call_1_0", 2, "find_slots", {"day": "tomorrow"}, NOON + 11))
    log.write(LogUsage("CA1", Part.MODEL, "1", NOON + 12, "gpt", Usage(900, 512, 40)))
    log.open_call(info("CA2"))
    log.log_transcript("CA2", 2, 0, Speaker.CALLER, "somebody else", NOON + 10)
    assert await log.flush(PATIENCE)

    story = await story_of(pg, "CA1")
    assert story is not None
    assert story.call.outcome is None
    assert [(line.speaker, line.text, line.interrupted) for line in story.lines] == [
        ("caller", "an oil change", False),
        ("agent", "Tomorrow at nine?", True),
    ]
    [tool], [event], [metric], [used] = story.tools, story.events, story.metrics, story.usage
    assert (tool.tool, tool.arguments, tool.unknown, tool.took_ms) == (
        "find_slots",
        {"day": "tomorrow"},
        True,
        None,
    )
    assert (event.kind, event.at) == ("interrupted", datetime.fromtimestamp(NOON + 13, UTC))
    assert (metric.name, metric.value_ms) == ("first_token", 312.5)
    assert (used.source, used.prompt_tokens) == ("gpt", 900)
    assert await story_of(pg, "CA3") is None
