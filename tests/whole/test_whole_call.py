"""One call from its first ring to its last word, looked at from every side."""

import datetime as dt
from itertools import pairwise

import pytest

from engine.callrows import Leg
from engine.history import Called, Cause, ReplyDone, Returned, Said, TurnBegan
from engine.messages import Playback
from local.chat import Outcome
from simulators.vendors import CACHED_TOKENS
from tests.whole.bench import SARAH, Bench, Talk, eventually
from tests.whole.booking import SLOTS, ZONE, next_tuesday, sarah_books

pytestmark = [pytest.mark.whole, pytest.mark.asyncio(loop_scope="session")]

LEGS = {
    Leg.FINAL_TO_REQUEST,
    Leg.FIRST_TOKEN,
    Leg.FIRST_SENTENCE_TO_TTS,
    Leg.TTS_FIRST_AUDIO,
    Leg.AUDIO_TO_CALLER,
    Leg.VOICE_TO_VOICE,
}


@pytest.mark.call(made_by=sarah_books)
async def test_a_caller_is_known_asks_interrupts_books_and_is_hung_up_on_after_goodbye(
    bench: Bench, talk: Talk
) -> None:
    await it_went_well(bench, talk)


async def it_went_well(bench: Bench, talk: Talk) -> None:
    """Everything that is to be seen of the call of `sarah_books`."""
    status = await talk.ended()
    log = await bench.logged(talk.sid, "completed")

    assert status == "completed"
    assert talk.call.errors == []
    assert talk.gaps() == []
    await its_words_were_heard(bench, talk)
    assert talk.call.journal.all("hangup"), "the TwiML after the stream was not a hang-up"
    assert [event.detail["by"] for event in talk.call.journal.all("closed")] == ["server"]
    await it_was_booked(bench, talk)
    the_log_knows_it(log, talk)
    await what_its_tools_did_and_what_it_used_is_logged(bench, talk)
    await every_leg_was_measured(bench, talk)
    await the_session_has_it(bench, talk)


async def its_words_were_heard(bench: Bench, talk: Talk) -> None:
    """The greeting by name, every sentence to its end but the one that was cut, and the log says the same."""
    sentences = talk.person.heard.sentences
    assert talk.heard()[0] == "Hi Sarah, thanks for calling Elm."
    assert "Civic" in talk.heard()[1]
    assert [s.whole for s in sentences].count(False) == 1
    assert talk.heard()[-1] == "Goodbye."
    assert sentences[-1].whole
    rows = await bench.rows(
        "SELECT text, interrupted FROM call_transcript WHERE call = $1 AND speaker = 'agent' ORDER BY at", talk.sid
    )  # fmt: skip
    assert len(rows) == len(sentences)
    for row, heard, text in zip(rows, sentences, talk.heard(), strict=True):
        assert row["interrupted"] is not heard.whole
        if heard.whole:
            assert row["text"] == text
        else:
            assert SLOTS.startswith(row["text"])
            assert abs(len(row["text"].split()) - len(text.split())) <= 1, (row, text)
    caller = await bench.rows(
        "SELECT text FROM call_transcript WHERE call = $1 AND speaker = 'caller' ORDER BY turn", talk.sid
    )
    assert [row["text"] for row in caller] == [
        "I need an oil change on Tuesday",
        "Sorry, nine thirty please",
        "No, that was all",
    ]


async def it_was_booked(bench: Bench, talk: Talk) -> None:
    booked = await bench.rows("SELECT * FROM appointment WHERE call = $1", talk.sid)
    assert len(booked) == 1
    assert booked[0]["starts_at"] == dt.datetime.combine(next_tuesday(), dt.time(9, 30), ZONE)
    assert (booked[0]["phone"], booked[0]["status"]) == (SARAH, "booked")


def the_log_knows_it(log: dict, talk: Talk) -> None:
    done = [exchange for exchange in talk.exchanges() if exchange.outcome is Outcome.DONE]
    assert len(done) == len(talk.exchanges()) == 5
    assert (log["caller"], log["attested"]) == (SARAH, True)
    assert (log["turns"], log["interruptions"], log["tool_calls"]) == (4, 1, 2)
    assert log["cached_tokens"] == CACHED_TOKENS * len(done)
    assert log["prompt_tokens"] > 500 * len(done)
    assert log["completion_tokens"] > len(SLOTS.split())
    assert (log["ending"], log["outcome"]) == ("completed", "booked")
    assert log["started_at"] <= log["answered_at"] < log["ended_at"]


async def what_its_tools_did_and_what_it_used_is_logged(bench: Bench, talk: Talk) -> None:
    runs = await bench.rows("SELECT * FROM call_tool WHERE call = $1 ORDER BY at", talk.sid)
    assert [(run["tool"], run["ok"], run["unknown"]) for run in runs] == [
        ("get_available_slots", True, False),
        ("book_appointment", True, False),
    ]
    assert [run["made"] for run in runs] == ["", "booked"]
    kept = [set(run["arguments"]) for run in runs]
    assert kept == [{"service", "date"}, {"service", "date", "time"}]

    async def settled() -> bool:
        """The ingress tells what its stream used when that is over, which may be after the call's end."""
        (log,) = await bench.rows("SELECT * FROM call_log WHERE call = $1", talk.sid)
        used = await bench.rows("SELECT part FROM call_usage WHERE call = $1", talk.sid)
        if not {"model", "speech"} <= {row["part"] for row in used}:
            return False
        assert len([row for row in used if row["part"] == "model"]) == 5
        assert log["duration_ms"] / 2 < log["heard_ms"] < log["duration_ms"] * 1.5
        assert log["spoken_chars"] > len(SLOTS)
        assert log["cost_micros"] > 8500, "not even its minute on the telephone"
        return log["heard_ms"] is not None

    await eventually(settled, "what the call used")


async def every_leg_was_measured(bench: Bench, talk: Talk) -> None:
    rows = await bench.rows("SELECT turn, name, value_ms FROM call_metric WHERE call = $1", talk.sid)
    legs = {turn: {row["name"] for row in rows if row["turn"] == turn} for turn in (1, 2, 3, 4)}
    assert Leg.GREETING in legs[1]
    assert all(legs[turn] >= LEGS for turn in (2, 3, 4)), legs
    assert Leg.TOOL in legs[2]
    assert Leg.TOOL in legs[3]
    assert Leg.INTERIM_TO_CLEAR in legs[2]
    assert [row for row in rows if row["value_ms"] < 0] == []


async def the_session_has_it(bench: Bench, talk: Talk) -> None:
    stored = await bench.session(talk.sid)
    history = list(stored.items.values())
    assert 0 < await bench.ttl_s(talk.sid) <= bench.app.settings.session_ttl_s
    assert stored.next == "hangup"
    assert (stored.meta.ending, stored.meta.turn) == ("completed", 4)
    causes = [item.cause for item in history if isinstance(item, TurnBegan)]
    assert causes == [Cause.GREETING, Cause.SPEECH, Cause.SPEECH, Cause.SPEECH]
    said = [item for item in history if isinstance(item, Said)]
    assert [item.state for item in said].count(Playback.DROPPED) == 1
    assert all(item.settled for item in said)
    calls = [call.id for item in history if isinstance(item, Called) for call in item.calls]
    assert [item.id for item in history if isinstance(item, Returned)] == calls
    assert len(calls) == 3
    assert sum(isinstance(item, ReplyDone) for item in history) == 5
    assert all(before.turn <= after.turn for before, after in pairwise(history))
