"""However a call ends, it ends cleanly: an outcome in the log, a session, no socket and no stream left."""

import asyncio
from xml.etree import ElementTree

import pytest

from engine import phrases
from engine.history import Returned
from engine.session import Stored
from simulators.caller import Caller
from tests.whole.bench import Bench, Talk, eventually, says, tool, vin

pytestmark = [pytest.mark.whole, pytest.mark.asyncio(loop_scope="session")]


async def ended_cleanly(bench: Bench, talk: Talk, outcome: str) -> Stored:
    """Waits until log, session, sockets and live calls all say that it is over."""
    await talk.ended()
    log = await bench.logged(talk.sid, outcome)
    await bench.quiet()
    stored = await bench.session(talk.sid)
    assert log["ended_at"] is not None
    assert stored.meta.outcome == outcome
    assert stored.next == ("hangup" if outcome in ("completed", "silent") else "")
    assert all(item.settled for item in stored.items.values() if hasattr(item, "settled"))
    return stored


async def test_who_hangs_up_while_it_rings_has_abandoned_the_call_at_once(bench: Bench) -> None:
    fields = bench.ringing(bench.number())
    twiml = await bench.post("incoming", fields)
    [parameter] = ElementTree.fromstring(twiml.text).iter("Parameter")

    await bench.post("status", fields | {"CallStatus": "canceled"})

    await bench.logged(fields["CallSid"], "abandoned")
    assert await bench.exists(f"token:{parameter.get('value')}"), (
        "it was the token's end that told, not Twilio"
    )


async def test_a_ringing_call_of_which_nothing_more_is_heard_is_abandoned_when_its_token_ends(
    bench: Bench,
) -> None:
    async def nobody(c: Caller) -> None:
        raise AssertionError("the call was answered")

    talk = await bench.dial(nobody, status_url=None)
    await talk.call.hang_up()

    assert await talk.ended() == "canceled"
    await bench.logged(talk.sid, "abandoned")
    assert talk.sid not in await bench.live()


async def test_a_caller_may_hang_up_in_the_greeting(bench: Bench) -> None:
    async def person(c: Caller) -> None:
        await c.hears("Thanks for")

    talk = await bench.dial(person)

    await ended_cleanly(bench, talk, "caller_hung_up")
    assert talk.exchanges() == []
    rows = await bench.rows("SELECT text, interrupted FROM call_transcript WHERE call = $1", talk.sid)
    assert [row["interrupted"] for row in rows] == [True]
    assert "Thanks for calling Elm.".startswith(rows[0]["text"])


async def test_a_caller_may_hang_up_while_a_tool_runs_and_its_result_is_kept(bench: Bench) -> None:
    car = vin(1)
    await bench.slow_cars(1.0, times=1)

    async def person(c: Caller) -> None:
        await c.hears("help you today")
        await c.quiet(0.2)
        await c.say("Decode my VIN")
        await bench.cars.until_asked(car)

    talk = await bench.dial(person, says("", tool("decode_vin", vin=car), user="decode"))

    stored = await ended_cleanly(bench, talk, "caller_hung_up")
    [returned] = [item for item in stored.items.values() if isinstance(item, Returned)]
    assert returned.ok
    assert "Accord" in returned.result
    [event] = await bench.events(talk.sid, "tool_returned")
    assert event["ok"] is True
    assert len(talk.exchanges()) == 1, "the model was asked though nobody was there to hear it"


async def test_a_stream_that_breaks_is_taken_up_in_a_new_one_with_an_apology_and_the_whole_history(
    bench: Bench,
) -> None:
    live: list[bool] = []

    async def person(c: Caller) -> None:
        await c.hears("help you today")
        await c.quiet(0.2)
        await c.say("The first question")
        await c.hears("answer is blue")
        await c.cut()
        await c.hears("cut off for a moment. Could you say that again?")
        live.append(talk.sid in await bench.live())
        await c.quiet(0.2)
        await c.say("The second question")
        await c.hears("answer is red.")
        await c.quiet(0.2)

    talk = await bench.dial(
        person,
        says("The first answer is blue, as the sky is on a day in June.", user="the first question"),
        says("The second answer is red.", user="the second question"),
    )

    stored = await ended_cleanly(bench, talk, "caller_hung_up")
    opened = [event.detail["stream"] for event in talk.call.journal.all("stream_opened")]
    asked = [event.detail["url"] for event in talk.call.journal.all("webhook")]
    assert len(set(opened)) == 2
    assert [url.rpartition("/")[2] for url in asked] == ["incoming", "stream-ended", "status"]
    assert stored.meta.stream == opened[1]
    assert live == [True], "the call that goes on is not among the live ones"
    messages = talk.exchanges()[-1].request["messages"][1:]
    assert [m["content"] for m in messages if m["role"] == "user"] == [
        "The first question",
        "The second question",
    ]
    spoken = [m["content"] for m in messages if m["role"] == "assistant"]
    assert "The first answer is" in " ".join(spoken)
    assert "June" not in " ".join(spoken)
    assert phrases.CUT_OFF in spoken[-1]
    assert [event["cut_off"] for event in await bench.events(talk.sid, "call_resumed")] == [True]


async def test_a_line_that_stays_mute_is_asked_then_told_goodbye_and_hung_up_on(bench: Bench) -> None:
    async def person(c: Caller) -> None:
        await c.ended()

    talk = await bench.dial(person)

    await ended_cleanly(bench, talk, "silent")
    said = talk.person.heard.text()
    assert "Are you still there?" in said
    assert " ".join(said.split()).endswith(phrases.SILENT_GOODBYE)
    assert talk.person.heard.sentences[-1].whole
    assert talk.call.journal.all("hangup")


async def test_whatever_the_caller_was_doing_a_hang_up_leaves_nothing_running(bench: Bench) -> None:
    """Callers who leave at six moments, all at once."""

    async def at(c: Caller, moment: int) -> None:
        if moment == 0:
            await c.event("start_sent")
            return None  # nobody has spoken yet
        await c.hears("help you today")
        await c.quiet(0.2)
        if moment == 1:
            return await c.press("12")  # keys wait for more
        if moment == 2:
            await asyncio.gather(c.say("Tell me everything"), c.heard_audio(0.0))
            return None  # the final is still to come
        await c.say("Tell me everything")
        if moment == 3:
            await eventually(asked(c), "the model's being asked")  # the model thinks
        elif moment == 4:
            await c.hears("Once upon")  # the agent speaks
        else:
            await c.hears("Once upon")
            await c.say("Hold on now")  # it was just interrupted
        return None

    def asked(c: Caller):
        async def look() -> bool:
            return any(talk.person.source == c.source and talk.exchanges() for talk in talks)

        return look

    talks: list[Talk] = []
    story = says(
        "Once upon a time there was a car that nobody wanted.", user="tell me everything", first_token_s=0.5
    )
    for moment in range(6):
        talks.append(
            await bench.dial(lambda c, moment=moment: at(c, moment), story, says("Yes?", user="hold on"))
        )

    for talk in talks:
        await ended_cleanly(bench, talk, "caller_hung_up")
