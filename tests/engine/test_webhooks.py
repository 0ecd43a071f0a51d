"""Small rules of the webhooks, and webhooks that are sent again; the rest is tested in whole calls."""

import asyncio
import itertools
import os
import signal
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any
from xml.etree import ElementTree

import httpx2
import msgspec
import pytest
import redis.asyncio as redis_async
from starlette.applications import Starlette
from starlette.routing import Route

from engine.callrows import FinalizeCall, LogEvent
from engine.clock import run_virtual
from engine.door import PREFIX, Door
from engine.messages import CallerContext, CallInfo
from engine.outcomes import End
from engine.redis_client import SessionAway
from engine.session import ASKING, Meta, Order, SessionStore, Whereabouts, Written
from engine.webhooks import CONTEXTS_AT_ONCE, Webhooks, caller_of
from launcher.services import Services
from tests.virtual.rig import Log, new_settings

CALL = "CA0123"
TOKEN_TTL_S = 60
STREAMS = new_settings().call_streams


@pytest.mark.parametrize("number", ["", "+266696687", "anonymous", "Anonymous", "Restricted", "unavailable"])
def test_every_way_to_withhold_a_number_is_anonymous(number: str) -> None:
    assert caller_of(number) == "anonymous"


@pytest.mark.parametrize("number", ["+13125550142", "client:desk", "sip:desk@example.com"])
def test_a_number_or_address_is_kept_as_it_is(number: str) -> None:
    assert caller_of(number) == number


# ---------------------------------------------------------------- webhooks that are sent again


class Line:
    """The webhooks over a real Redis, and the call log that they write."""

    def __init__(self, redis_url: str, read_s: float = 2.0, **settings_of: Any) -> None:
        settings = new_settings(base_url="http://localhost:8000", **settings_of)
        self.asked: list[CallInfo] = []
        self.asked_at_once = 0
        self._asking = 0
        self.action = self.next_action = "/stream-ended"
        self.store = SessionStore(redis_url, 3600, 2000, TOKEN_TTL_S, read_s=read_s)
        self.log = Log()
        self.webhooks = Webhooks(
            settings, Door(settings), self.store, self.log, self._context, lambda _: CallerContext("Hi.", "")
        )
        routes = [
            Route("/incoming", self.webhooks.incoming, methods=["POST"]),
            Route("/stream-ended", self.webhooks.stream_ended, methods=["POST"]),
            Route("/status", self.webhooks.status, methods=["POST"]),
        ]
        self._http = httpx2.AsyncClient(
            transport=httpx2.ASGITransport(app=Starlette(routes=routes)), base_url="http://localhost:8000"
        )

    async def _context(self, info: CallInfo) -> CallerContext:
        self.asked.append(info)
        self._asking += 1
        self.asked_at_once = max(self.asked_at_once, self._asking)
        await asyncio.sleep(0.05)
        self._asking -= 1
        return CallerContext("Hello.", "Be brief.")

    async def answer(self, webhook: str, call: str = CALL, status: str = "in-progress") -> str:
        """What the webhook answers. `stream-ended` is asked where the last answer wants it to be."""
        fields = {"CallSid": call, "From": "+13125550142", "To": "+13125550100", "CallStatus": status}
        answer = await self._http.post(self.action if webhook == "stream-ended" else webhook, data=fields)
        assert answer.is_success, answer.text
        for connect in ElementTree.fromstring(answer.text or "<Response/>").iter("Connect"):
            self.next_action = connect.attrib["action"].partition(PREFIX)[2]
        return answer.text

    async def post(self, webhook: str) -> str:
        """The token of the stream that the webhook's answer asks for."""
        [parameter] = ElementTree.fromstring(await self.answer(webhook)).iter("Parameter")
        return parameter.attrib["value"]

    async def streams(self, token: str, stream: str) -> None:
        """Twilio follows the last answer and begins the stream, and a CallActor runs the call."""
        self.action = self.next_action
        assert await self.store.redeem(token) == CALL
        await self.runs(stream)

    async def runs(self, stream: str) -> None:
        """A CallActor writes that the call runs in this stream."""
        taken = await self.store.take(CALL, 0)
        meta = msgspec.json.encode(Meta(stream=stream))
        order = Order(taken.epoch, taken.writes + 1, taken.writes)
        assert await self.store.write(CALL, order, {"meta": meta}) is Written.OK

    def endings(self) -> list[End]:
        return [entry.ending for entry in self.log.of(FinalizeCall)]


def told(redis_url: str, story: Callable[[Line], Awaitable[None]]) -> list[End]:
    """The ends logged once all tokens of the story are too old."""

    async def all_of_it() -> list[End]:
        line = Line(redis_url)
        line.webhooks.start()
        try:
            await story(line)
            await asyncio.sleep(2 * TOKEN_TTL_S)
        finally:
            await line.webhooks.close()
            await line.store.close()
        return line.endings()

    return run_virtual(all_of_it())


def test_a_caller_who_hangs_up_while_it_rings_has_abandoned_the_call(redis_url: str) -> None:
    async def story(line: Line) -> None:
        await line.post("incoming")

    assert told(redis_url, story) == [End.ABANDONED]


def test_a_webhook_that_was_sent_again_abandons_once(redis_url: str) -> None:
    async def story(line: Line) -> None:
        await line.post("incoming")
        await line.post("incoming")

    assert told(redis_url, story) == [End.ABANDONED]


def test_a_call_whose_webhook_was_sent_again_runs_on(redis_url: str) -> None:
    async def story(line: Line) -> None:
        await line.post("incoming")
        await line.streams(await line.post("incoming"), "MZ1")

    assert told(redis_url, story) == []


def test_a_call_whose_webhook_comes_again_after_its_stream_began_runs_on(redis_url: str) -> None:
    async def story(line: Line) -> None:
        await line.streams(await line.post("incoming"), "MZ1")
        await line.post("incoming")

    assert told(redis_url, story) == []


def test_a_call_that_does_not_come_back_after_its_stream_broke_was_dropped(redis_url: str) -> None:
    async def story(line: Line) -> None:
        await line.streams(await line.post("incoming"), "MZ1")
        await line.post("stream-ended")

    assert told(redis_url, story) == [End.DROPPED]


def test_a_call_that_goes_on_in_a_new_stream_runs_on_though_its_webhook_was_sent_again(
    redis_url: str,
) -> None:
    async def story(line: Line) -> None:
        await line.streams(await line.post("incoming"), "MZ1")
        await line.post("stream-ended")
        await line.streams(await line.post("stream-ended"), "MZ2")

    assert told(redis_url, story) == []


def test_a_call_that_went_on_by_the_first_of_two_answers_runs_on(redis_url: str) -> None:
    async def story(line: Line) -> None:
        await line.streams(await line.post("incoming"), "MZ1")
        first = await line.post("stream-ended")
        assert await line.store.redeem(first) == CALL  # its CallActor has not written yet
        await line.post("stream-ended")
        await line.runs("MZ2")

    assert told(redis_url, story) == []


async def test_a_call_is_taken_up_after_three_breaks_though_each_was_told_twice(redis_url: str) -> None:
    async with line(redis_url) as taking:
        await taking.streams(await taking.post("incoming"), "MZ0")
        for n in range(STREAMS):
            await taking.post("stream-ended")
            await taking.streams(await taking.post("stream-ended"), f"MZ{n + 1}")
        assert verbs(await taking.answer("stream-ended"))[-1][0] == "Hangup"


async def test_an_end_that_does_not_tell_of_which_stream_it_is_counts(redis_url: str) -> None:
    async with line(redis_url) as taking:
        await taking.post("incoming")
        for _ in range(STREAMS):
            await taking.post("stream-ended")
        assert verbs(await taking.answer("stream-ended"))[-1][0] == "Hangup"


@pytest.mark.parametrize("field", ["meta", "info", "context", "broken_at"])
async def test_a_session_that_can_not_be_read_is_told_and_put_through(redis_url: str, field: str) -> None:
    async with line(redis_url, fallback_number=FALLBACK) as taking:
        await taking.streams(await taking.post("incoming"), "MZ0")
        await taking.store._redis.hset(f"call:{CALL}", field, b"no JSON at all")
        say, dial = verbs(await taking.answer("stream-ended"))
        assert spoken(say)
        assert dial[0] == "Dial"
        assert await taking.answer("status", status="completed") == ""


async def test_a_caller_whose_session_redis_has_lost_is_told_and_put_through(redis_url: str) -> None:
    async with line(redis_url, fallback_number=FALLBACK) as taking:
        say, dial = verbs(await taking.answer("stream-ended"))
        assert "can't go on" in spoken(say)
        assert dial == ("Dial", FALLBACK)
        assert verbs(await taking.answer("stream-ended", status="completed")) == [("Hangup", None)]


async def test_a_caller_whose_stream_ends_while_redis_is_away_is_told_and_put_through(redis_url: str) -> None:
    async with line("redis://127.0.0.1:1/0", fallback_number=FALLBACK) as taking:
        say, dial = verbs(await taking.answer("stream-ended"))
        assert "can't go on" in spoken(say)
        assert dial == ("Dial", FALLBACK)


async def test_a_call_is_taken_though_its_context_can_not_be_kept(
    redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def away(call: str, context: CallerContext) -> None:
        raise SessionAway("too slow")

    async with line(redis_url) as taking:
        monkeypatch.setattr(taking.store, "keep_context", away)
        await taking.streams(await taking.post("incoming"), "MZ0")


# ---------------------------------------------------------------- admission

FALLBACK = "+13125550199"


@asynccontextmanager
async def line(redis_url: str, **settings: Any) -> AsyncIterator[Line]:
    """In real time, with nobody who watches ringing calls."""
    line = Line(redis_url, **settings)
    try:
        yield line
    finally:
        await line.store.close()


def verbs(document: str) -> list[tuple[str, str | None]]:
    """What a document is made of."""
    return [(verb.tag, verb.text) for verb in ElementTree.fromstring(document)]


def spoken(verb: tuple[str, str | None]) -> str:
    """The one sentence that is said."""
    tag, text = verb
    assert tag == "Say"
    assert text is not None
    assert text.count(".") == 1
    return text


async def test_past_capacity_a_caller_is_put_through_at_once(redis_url: str) -> None:
    async with line(redis_url, capacity=2, fallback_number=FALLBACK) as taking:
        answers = [verbs(await taking.answer("incoming", f"CA{n}")) for n in range(3)]
        assert [answer[0][0] for answer in answers] == ["Connect", "Connect", "Say"]
        say, dial = answers[2]
        assert "all our lines are busy" in spoken(say).lower()
        assert "call again" not in spoken(say)
        assert dial == ("Dial", FALLBACK)


async def test_past_capacity_with_no_number_to_dial_the_caller_is_asked_to_call_again(redis_url: str) -> None:
    async with line(redis_url, capacity=1) as taking:
        await taking.answer("incoming")
        say, end = verbs(await taking.answer("incoming", "CA2"))
        assert "call again" in spoken(say)
        assert end == ("Hangup", None)


async def test_a_refused_call_is_logged_and_nobody_is_looked_up(redis_url: str) -> None:
    async with line(redis_url, capacity=1) as taking:
        await taking.answer("incoming")
        await taking.answer("incoming", "CA2")
        assert [info.call for info in taking.asked] == [CALL]
        [end] = taking.log.of(FinalizeCall)
        assert (end.call, end.ending) == ("CA2", End.REFUSED)
        [event] = taking.log.of(LogEvent)
        assert (event.call, event.kind, event.detail) == ("CA2", "refused", {"why": "full"})


async def test_while_redis_is_away_a_caller_is_put_through(redis_url: str) -> None:
    async with line("redis://127.0.0.1:1/0", fallback_number=FALLBACK) as taking:
        say, dial = verbs(await taking.answer("incoming"))
        assert "can't take your call" in spoken(say)
        assert dial == ("Dial", FALLBACK)
        assert [entry.ending for entry in taking.log.of(FinalizeCall)] == [End.REFUSED]


async def test_a_caller_who_was_put_through_as_redis_hung_holds_no_slot_when_it_wakes(
    redis_url: str, services: Services
) -> None:
    calls = (f"CA{n}" for n in itertools.count(1))
    async with line(redis_url, read_s=0.3, capacity=1, fallback_number=FALLBACK) as taking:
        taking.webhooks.start()
        assert "Connect" in await taking.answer("incoming", "CA")  # Redis knows the script
        await taking.answer("status", "CA", status="canceled")
        os.kill(services.pids["valkey"], signal.SIGSTOP)
        try:
            assert verbs(await taking.answer("incoming", "CA0"))[-1] == ("Dial", FALLBACK)
        finally:
            os.kill(services.pids["valkey"], signal.SIGCONT)  # and it does all that it was asked
        async with asyncio.timeout(30):  # CA0's token would live for 60 s
            while verbs(await taking.answer("incoming", next(calls)))[0][0] != "Connect":  # noqa: ASYNC110
                await asyncio.sleep(0.05)
        assert "CA0" not in await taking.store.slots()
        await taking.webhooks.close()


async def test_a_caller_who_hangs_up_while_it_rings_gives_the_slot_back(redis_url: str) -> None:
    async with line(redis_url, capacity=1) as taking:
        await taking.answer("incoming")
        await taking.answer("status", status="canceled")
        assert verbs(await taking.answer("incoming", "CA2"))[0][0] == "Connect"


async def test_a_caller_whose_end_is_told_before_the_call_rings_takes_no_slot_and_abandoned_it(
    redis_url: str,
) -> None:
    async with line(redis_url, capacity=1, fallback_number=FALLBACK) as taking:
        await taking.answer("status", status="canceled")
        assert verbs(await taking.answer("incoming")) == [("Hangup", None)]
        assert await taking.store.slots() == []
        assert taking.asked == []
        assert taking.endings() == [End.ABANDONED]


async def test_a_call_whose_stream_broke_goes_on_though_all_slots_are_taken(redis_url: str) -> None:
    async with line(redis_url, capacity=1) as taking:
        await taking.streams(await taking.post("incoming"), "MZ1")
        await taking.store.live(Whereabouts(CALL, "MZ1", "running", 1, 7))
        await taking.post("stream-ended")
        await taking.store.over(CALL, "MZ1")
        assert verbs(await taking.answer("incoming", "CA2"))[0][0] == "Say"


@pytest.mark.parametrize(("webhook", "status"), [("stream-ended", "in-progress"), ("status", "completed")])
async def test_the_app_is_needed_for_a_call_until_twilio_knows_what_comes_next_or_does_not_ask(
    redis_url: str, webhook: str, status: str
) -> None:
    async with line(redis_url) as taking, redis_async.Redis.from_url(redis_url) as client:
        await taking.streams(await taking.post("incoming"), "MZ1")
        await taking.store.live(Whereabouts(CALL, "MZ1", "running", 1, 7))
        await taking.store.over(CALL, "MZ1")
        assert await client.zrange(ASKING, 0, -1) == [CALL.encode()]
        await taking.answer(webhook, status=status)
        assert await client.zrange(ASKING, 0, -1) == []


async def test_of_a_hundred_callers_at_once_few_are_looked_up_at_a_time(redis_url: str) -> None:
    async with line(redis_url, capacity=100) as taking:
        await asyncio.gather(*(taking.answer("incoming", f"CA{n}") for n in range(100)))
        assert len(taking.asked) == 100
        assert taking.asked_at_once <= CONTEXTS_AT_ONCE


def test_a_ringing_calls_slot_is_free_when_its_token_is_too_old(redis_url: str) -> None:
    async def story() -> list[str]:
        line = Line(redis_url)
        line.webhooks.start()
        try:
            await line.post("incoming")
            assert await line.store.slots() == [CALL]
            await asyncio.sleep(TOKEN_TTL_S)  # by the loop's clock: by Redis's, nothing has passed
            return await line.store.slots()
        finally:
            await line.webhooks.close()
            await line.store.close()

    assert run_virtual(story()) == []
