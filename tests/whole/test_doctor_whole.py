"""The doctor at a real app, and what its call leaves there; and a stream whose end Twilio does not notice."""

import pytest

from doctor.app import STREAM
from doctor.examination import look_at
from doctor.findings import Verdict
from engine.probe import PROBE
from simulators.caller import Caller
from simulators.model import says, tool
from tests.whole.bench import Bench, eventually

pytestmark = [pytest.mark.whole, pytest.mark.asyncio(loop_scope="session")]


async def test_a_well_app_is_found_well_and_the_call_for_it_is_in_no_book(bench: Bench) -> None:
    bench.model.answers("", says("Yes."))  # the doctor's question, which is no caller's
    before = await bench.rows("SELECT count(*) AS calls FROM call_log")

    found = await look_at(bench.app.settings, "", 20.0)

    wrong = [one for one in found if one.verdict is Verdict.WRONG]
    assert wrong == []
    told = {one.part: one for one in found}
    assert told[STREAM].verdict is Verdict.OK
    assert told["port"].what.endswith("is this app's")
    await bench.quiet()

    async def given_back() -> bool:
        return not await bench.slots()

    await eventually(given_back, "the slot of the doctor's call")
    [call] = await bench.probed()
    assert await bench.ttl_s(call) > 0
    await _written(bench)
    assert await bench.rows("SELECT count(*) AS calls FROM call_log") == before
    assert not await bench.rows("SELECT 1 FROM call_event WHERE call LIKE $1", f"{PROBE}%")


async def _written(bench: Bench) -> None:
    """A call's line is written behind it: when a later call's is there, the doctor's would be."""
    fields = bench.ringing(bench.number())
    await bench.post("incoming", fields)
    await bench.post("status", fields | {"CallStatus": "canceled"})
    await bench.logged(fields["CallSid"], "abandoned")
    await bench.rows("DELETE FROM call_event WHERE call = $1", fields["CallSid"])
    await bench.rows("DELETE FROM call_log WHERE call = $1", fields["CallSid"])


async def test_a_call_that_said_goodbye_is_hung_up_although_twilio_notices_nothing(bench: Bench) -> None:
    async def goes(c: Caller) -> None:
        await c.hears("help you today")
        await c.say("That was all.")
        await c.ended()

    talk = await bench.dial(goes, says("Goodbye.", tool("end_call")), deaf=True)
    await talk.ended()
    assert bench.twilio.rest.asked[-1][2] == {"Status": "completed"}
    assert "stream-ended" not in talk.webhooks()
