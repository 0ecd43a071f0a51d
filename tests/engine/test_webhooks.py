"""Small rules of the webhooks, and webhooks that are sent again; the rest is tested in whole calls."""

import asyncio
from collections.abc import Awaitable, Callable
from xml.etree import ElementTree

import httpx2
import msgspec
import pytest
from starlette.applications import Starlette
from starlette.routing import Route

from engine.callrows import FinalizeCall, Outcome
from engine.clock import run_virtual
from engine.door import Door
from engine.messages import CallerContext, CallInfo
from engine.session import Meta, SessionStore, Written
from engine.webhooks import Webhooks, caller_of
from tests.virtual.rig import Log, new_settings

CALL = "CA0123"
TOKEN_TTL_S = 60


@pytest.mark.parametrize("number", ["", "+266696687", "anonymous", "Anonymous", "Restricted", "unavailable"])
def test_every_way_to_withhold_a_number_is_anonymous(number: str) -> None:
    assert caller_of(number) == "anonymous"


@pytest.mark.parametrize("number", ["+13125550142", "client:desk", "sip:desk@example.com"])
def test_a_number_or_address_is_kept_as_it_is(number: str) -> None:
    assert caller_of(number) == number


# ---------------------------------------------------------------- webhooks that are sent again


class Line:
    """The webhooks over a real Redis, and the call log that they write."""

    def __init__(self, redis_url: str) -> None:
        settings = new_settings(base_url="http://localhost:8000")
        self.store = SessionStore(redis_url, 3600, 2000, TOKEN_TTL_S)
        self.log = Log()
        self.webhooks = Webhooks(
            settings, Door(settings), self.store, self.log, self._context, lambda _: CallerContext("Hi.", "")
        )
        routes = [
            Route("/incoming", self.webhooks.incoming, methods=["POST"]),
            Route("/stream-ended", self.webhooks.stream_ended, methods=["POST"]),
        ]
        self._http = httpx2.AsyncClient(
            transport=httpx2.ASGITransport(app=Starlette(routes=routes)), base_url="http://localhost:8000"
        )

    async def _context(self, _: CallInfo) -> CallerContext:
        return CallerContext("Hello.", "Be brief.")

    async def post(self, webhook: str) -> str:
        """The token of the stream that the webhook's answer asks for."""
        fields = {"CallSid": CALL, "From": "+13125550142", "To": "+13125550100", "CallStatus": "in-progress"}
        answer = await self._http.post(f"/{webhook}", data=fields)
        assert answer.status_code == 200, answer.text
        [parameter] = ElementTree.fromstring(answer.text).iter("Parameter")
        return parameter.attrib["value"]

    async def streams(self, token: str, stream: str) -> None:
        """Twilio begins the stream, and a CallActor runs the call."""
        assert await self.store.redeem(token) == CALL
        await self.runs(stream)

    async def runs(self, stream: str) -> None:
        """A CallActor writes that the call runs in this stream."""
        epoch = (await self.store.take(CALL, 0)).epoch
        meta = msgspec.json.encode(Meta(stream=stream))
        assert await self.store.write(CALL, epoch, {"meta": meta}) is Written.OK

    def outcomes(self) -> list[Outcome]:
        return [entry.outcome for entry in self.log.of(FinalizeCall)]


def told(redis_url: str, story: Callable[[Line], Awaitable[None]]) -> list[Outcome]:
    """The outcomes logged once all tokens of the story are too old."""

    async def all_of_it() -> list[Outcome]:
        line = Line(redis_url)
        line.webhooks.start()
        try:
            await story(line)
            await asyncio.sleep(2 * TOKEN_TTL_S)
        finally:
            await line.webhooks.close()
            await line.store.close()
        return line.outcomes()

    return run_virtual(all_of_it())


def test_a_caller_who_hangs_up_while_it_rings_has_abandoned_the_call(redis_url: str) -> None:
    async def story(line: Line) -> None:
        await line.post("incoming")

    assert told(redis_url, story) == [Outcome.ABANDONED]


def test_a_webhook_that_was_sent_again_abandons_once(redis_url: str) -> None:
    async def story(line: Line) -> None:
        await line.post("incoming")
        await line.post("incoming")

    assert told(redis_url, story) == [Outcome.ABANDONED]


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

    assert told(redis_url, story) == [Outcome.DROPPED]


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
