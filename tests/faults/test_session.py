"""Redis answers and takes no writes: calls go on, and what was said meanwhile is in the session afterwards."""

import asyncio
import logging

import pytest

from engine.clock import now
from engine.history import TurnBegan
from tests.faults.figures import Figures
from tests.faults.test_recognition import ANSWER, SENTENCE
from tests.faults.wired import Wired, wired
from tests.refusing import no_writes
from tests.virtual.rig import CALL

AWAY_S = 3.0
MOST_LINES = 20
BACK_S = 10.0


async def turns(call: Wired) -> list[str]:
    """What the caller has said, by the session."""
    stored = await call.sessions.read(CALL)
    assert stored is not None
    return [item.text for item in stored.items.values() if isinstance(item, TurnBegan)]


async def test_a_redis_that_takes_no_writes(
    redis_url: str, figures: Figures, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING)
    for figure in figures.of("Redis: answers, takes no writes", "a write that is refused", "nothing"):
        caplog.clear()
        async with wired(redis_url, ANSWER) as call:
            async with no_writes(redis_url):
                since_s = now()
                call.begins_to_say(SENTENCE)
                await call.hears("Friday it is.")
                await asyncio.sleep(AWAY_S - (now() - since_s))
                assert await turns(call) == [""]  # the greeting's
            up_s = now()
            async with asyncio.timeout(BACK_S):
                while await turns(call) != ["", SENTENCE]:  # noqa: ASYNC110 - nobody else could tell
                    await asyncio.sleep(0.02)
            figure.mended_s.append(now() - up_s)
            assert call.understood == [SENTENCE]
        assert len(caplog.records) < MOST_LINES, "each look logged that it is back, and then away"
