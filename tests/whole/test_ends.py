"""However a call ends, it ends cleanly: its end in the log, a session, no socket and no stream left."""

from collections.abc import Awaitable, Callable
from xml.etree import ElementTree

import pytest

from engine import phrases
from engine.history import Returned, Said
from engine.session import Stored
from simulators.caller import Caller
from simulators.model import says, tool
from simulators.nhtsa import vin
from tests.whole.bench import TRANSFER, Bench, Talk, eventually

pytestmark = [pytest.mark.whole, pytest.mark.asyncio(loop_scope="session")]

ANNOUNCED = "Of course. One moment, I am putting you through to our people."
NEXT = {"completed": "hangup", "silent": "hangup", "transferred": "transfer"}


async def ended_cleanly(bench: Bench, talk: Talk, ending: str) -> Stored:
    """Waits until log, session, sockets and live calls all say that it is over."""
    await talk.ended()
    log = await bench.logged(talk.sid, ending)
    await bench.quiet()
    stored = await bench.session(talk.sid)
    assert log["ended_at"] is not None
    assert stored.meta.ending == ending
    assert stored.next == NEXT.get(ending, "")
    assert all(item.settled for item in stored.items.values() if isinstance(item, Said))
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


async def is_cut_off(bench: Bench) -> Talk:
    """A caller whose stream breaks in the middle of an answer."""

    async def person(c: Caller) -> None:
        await c.hears("help you today")
        await c.quiet(0.2)
        await c.say("The first question")
        await c.hears("answer is blue")
        await c.cut()
        await c.hears("cut off for a moment. Could you say that again?")
        assert talk.sid in await bench.live(), "the call that goes on is not among the live ones"
        await c.quiet(0.2)
        await c.say("The second question")
        await c.hears("answer is red.")
        await c.quiet(0.2)

    talk = await bench.dial(
        person,
        says("The first answer is blue, as the sky is on a day in June.", user="the first question"),
        says("The second answer is red.", user="the second question"),
    )
    return talk


@pytest.mark.call(made_by=is_cut_off)
async def test_a_stream_that_breaks_is_taken_up_in_a_new_one_with_an_apology_and_the_whole_history(
    bench: Bench, talk: Talk
) -> None:
    stored = await ended_cleanly(bench, talk, "caller_hung_up")
    opened = [event.detail["stream"] for event in talk.call.journal.all("stream_opened")]
    assert len(set(opened)) == 2
    assert talk.webhooks() == ["incoming", "stream-ended", "status"]
    assert stored.meta.stream == opened[1]
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


async def asks_for_a_person(bench: Bench) -> Talk:
    """A caller who wants to talk to somebody."""

    async def person(c: Caller) -> None:
        await c.hears("help you today")
        await c.quiet(0.2)
        await c.say("I would rather talk to a person")
        await c.ended()

    return await bench.dial(person, says(ANNOUNCED, tool("transfer_call"), user="to a person"))


@pytest.mark.call(made_by=asks_for_a_person)
async def test_who_asks_for_a_person_hears_the_announcement_out_and_is_put_through(
    bench: Bench, talk: Talk
) -> None:
    await ended_cleanly(bench, talk, "transferred")

    [asked] = talk.exchanges()
    assert "transfer_call" in [offered["function"]["name"] for offered in asked.request["tools"]]
    announced = talk.person.heard.sentences[-2:]
    assert " ".join(talk.heard()[-2:]) == ANNOUNCED
    assert all(sentence.whole for sentence in announced)
    [dialled] = talk.call.journal.all("dial")
    assert dialled.detail["number"] == TRANSFER
    assert dialled.at > announced[-1].ended_at
    assert [event.detail["by"] for event in talk.call.journal.all("closed")] == ["server"]
    assert talk.webhooks() == ["incoming", "stream-ended", "status"]


async def stays_mute(bench: Bench) -> Talk:
    """A caller who says nothing."""

    async def person(c: Caller) -> None:
        await c.ended()

    return await bench.dial(person)


@pytest.mark.call(made_by=stays_mute)
async def test_a_line_that_stays_mute_is_asked_then_told_goodbye_and_hung_up_on(
    bench: Bench, talk: Talk
) -> None:
    await ended_cleanly(bench, talk, "silent")
    said = talk.person.heard.text()
    assert "Are you still there?" in said
    assert " ".join(said.split()).endswith(phrases.SILENT_GOODBYE)
    assert talk.person.heard.sentences[-1].whole
    assert talk.call.journal.all("hangup")


async def test_who_hangs_up_as_the_stream_begins_was_there_or_was_not(bench: Bench) -> None:
    """Whether the stream came to be is a race that Twilio wins or we do; half a call must not be left of it."""

    async def person(c: Caller) -> None:
        await c.event("start_sent")

    talks = [await bench.dial(person) for _ in range(4)]
    for talk in talks:
        await talk.ended()

    async def all_logged() -> bool:
        sids = [talk.sid for talk in talks]
        rows = await bench.rows("SELECT ending FROM call_log WHERE call = ANY($1)", sids)
        return [row["ending"] in ("abandoned", "caller_hung_up", "dropped") for row in rows] == [True] * 4

    await eventually(all_logged, "an end of each call")
    await bench.quiet()
    for talk in talks:
        stored = await bench.session(talk.sid)
        assert all(item.settled for item in stored.items.values() if isinstance(item, Said))


async def test_whatever_the_caller_was_doing_a_hang_up_leaves_nothing_running(bench: Bench) -> None:
    """Callers who leave at five moments, all at once."""
    question = "Tell me everything"

    async def after_keys(c: Caller) -> None:
        await c.press("12")  # keys wait for more

    async def before_the_final(c: Caller) -> None:
        await c.say(question)

    async def while_the_model_thinks(c: Caller) -> None:
        await c.say(question)
        await eventually(asked(c), "the model's being asked")

    async def while_the_agent_speaks(c: Caller) -> None:
        await c.say(question)
        await c.hears("Once upon")

    async def just_after_interrupting(c: Caller) -> None:
        await while_the_agent_speaks(c)
        await c.say("Hold on now")

    def asked(c: Caller) -> Callable[[], Awaitable[bool]]:
        async def look() -> bool:
            return any(talk.person.source == c.source and talk.exchanges() for talk in talks)

        return look

    def until(leaves: Callable[[Caller], Awaitable[None]]) -> Callable[[Caller], Awaitable[None]]:
        async def person(c: Caller) -> None:
            await c.hears("help you today")
            await c.quiet(0.2)
            await leaves(c)

        return person

    talks: list[Talk] = []
    story = "Once upon a time there was a car that nobody wanted."
    rules = says(story, user=question, first_token_s=0.5), says("Yes?", user="hold on")
    for leaves in (
        after_keys,
        before_the_final,
        while_the_model_thinks,
        while_the_agent_speaks,
        just_after_interrupting,
    ):
        talks.append(await bench.dial(until(leaves), *rules))

    for talk in talks:
        await ended_cleanly(bench, talk, "caller_hung_up")
