"""Calls are ended and led elsewhere by REST: the real SDK, against a simulated account over loopback."""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator

import pytest

from engine.settings import Settings
from engine.twilio.rest import Account, Did, Number, TwilioFailed, TwilioRest
from local.serving import serving
from simulators.twilio import Fault, PhoneNumber, SimRest, SimTwilio
from tests.simulators.far_side import FarSide, far_side

ACCOUNT, TOKEN = "AC" + "4" * 32, "0123456789abcdef"
NOBODY = "CA" + "9" * 32
PATIENCE_S = 0.3


def settings(url: str, **changed: object) -> Settings:
    given = {
        "_env_file": None,
        "twilio_account_sid": ACCOUNT,
        "twilio_auth_token": TOKEN,
        "twilio_base_url": url,
        "twilio_rest_s": PATIENCE_S,
    }
    return Settings(**(given | changed))  # type: ignore[arg-type]


@contextlib.asynccontextmanager
async def account(sim: SimRest, **changed: object) -> AsyncIterator[TwilioRest]:
    async with serving(sim.app) as server:
        rest = TwilioRest(settings(server.http_url, **changed))
        try:
            yield rest
        finally:
            await rest.close()


@pytest.fixture
async def far() -> AsyncIterator[FarSide]:
    async with far_side() as app:
        app.answers["/voice"] = [app.connect()]
        yield app


async def streaming(twilio: SimTwilio, far: FarSide, **options: bool):  # type: ignore[no-untyped-def]
    """A call whose stream has begun."""
    call = await twilio.dial(far.http + "/voice", **options)
    async with asyncio.timeout(20):
        while not call.journal.all("start_sent"):  # noqa: ASYNC110 - what happens on a line has no events
            await asyncio.sleep(0.01)
    return call


async def test_a_live_call_is_hung_up_and_what_is_over_is_over(far: FarSide) -> None:
    async with SimTwilio(TOKEN, ACCOUNT) as twilio, account(twilio.rest) as rest:
        call = await streaming(twilio, far)
        assert await rest.hang_up(call.sid) is Did.DONE
        assert await call.ended() == "completed"
        assert far.streams[0].stopped
        assert await rest.hang_up(call.sid) is Did.ALREADY_OVER  # 21220
        assert await rest.hang_up(NOBODY) is Did.ALREADY_OVER  # 20404


async def test_a_live_call_is_led_elsewhere_and_its_stream_gets_a_stop(far: FarSide) -> None:
    far.answers["/elsewhere"] = ["<Response><Dial>+13125550199</Dial></Response>"]
    async with SimTwilio(TOKEN, ACCOUNT) as twilio, account(twilio.rest) as rest:
        call = await streaming(twilio, far)
        assert await rest.redirect(call.sid, url=far.http + "/elsewhere") is Did.DONE
        await call.ended()
        assert far.streams[0].stopped
        assert [form["CallStatus"] for form in far.forms("/elsewhere")] == ["in-progress"]
        assert not far.forms("/after")
        assert await rest.redirect(call.sid, url=far.http + "/elsewhere") is Did.ALREADY_OVER

        call = await streaming(twilio, far)
        document = "<Response><Say>Sorry.</Say></Response>"
        assert await rest.redirect(call.sid, twiml=document) is Did.DONE
        await call.ended()
        assert [event.detail["text"] for event in call.journal.all("say")] == ["Sorry."]


async def test_an_account_and_its_numbers_are_told() -> None:
    sim = SimRest(ACCOUNT, TOKEN, numbers=[PhoneNumber("+13125550100", "https://x/voice", "https://x/bin")])
    async with account(sim) as rest:
        assert await rest.account() == Account("The dealership", "active")
        assert await rest.numbers() == [Number("+13125550100", "https://x/voice", "https://x/bin")]


async def test_a_wrong_token_is_told_as_such_and_not_tried_again() -> None:
    sim = SimRest(ACCOUNT, "another token")
    async with account(sim) as rest:
        with pytest.raises(TwilioFailed) as failed:
            await rest.account()
    assert (failed.value.status, failed.value.code) == (401, 20003)
    assert "\033" not in str(failed.value)
    assert len(sim.asked) == 1


SAFE = [Fault(status=429, code=20429), Fault(status=503), Fault(cut=True), Fault(delay_s=PATIENCE_S * 4)]


@pytest.mark.parametrize("fault", SAFE, ids=["429", "503", "cut", "slow"])
async def test_hanging_up_is_tried_again_because_it_may_be_obeyed_twice(far: FarSide, fault: Fault) -> None:
    async with SimTwilio(TOKEN, ACCOUNT) as twilio, account(twilio.rest) as rest:
        call = await streaming(twilio, far)
        twilio.rest.faults.append(fault)
        assert await rest.hang_up(call.sid) is Did.DONE
        assert await call.ended() == "completed"
        assert len(twilio.rest.asked) == 2


async def test_a_hang_up_whose_answer_was_lost_is_found_done() -> None:
    async with far_side() as far, SimTwilio(TOKEN, ACCOUNT) as twilio, account(twilio.rest) as rest:
        far.answers["/voice"] = [far.connect()]
        call = await streaming(twilio, far)
        twilio.rest.faults.append(Fault(cut=True, obeyed=True))
        assert await rest.hang_up(call.sid) in (Did.DONE, Did.ALREADY_OVER)
        assert await call.ended() == "completed"


@pytest.mark.parametrize("fault", [Fault(status=503), Fault(cut=True, obeyed=True), Fault(delay_s=2.0)])
async def test_a_redirect_that_may_have_been_obeyed_is_not_sent_again(fault: Fault) -> None:
    sim = SimRest(ACCOUNT, TOKEN)
    sim.faults.append(fault)
    async with account(sim) as rest:
        with pytest.raises(TwilioFailed):
            await rest.redirect(NOBODY, url="https://x")
        assert len(sim.asked) == 1
        sim.faults.append(Fault(status=429))  # was never processed
        assert await rest.redirect(NOBODY, url="https://x") is Did.ALREADY_OVER
        assert len(sim.asked) == 3


async def test_a_429_that_says_how_long_to_wait_is_obeyed_and_one_that_says_too_long_is_told() -> None:
    sim = SimRest(ACCOUNT, TOKEN)
    sim.faults.append(Fault(status=429, retry_after="1"))
    async with account(sim) as rest:
        began = time.monotonic()
        await rest.account()
        assert time.monotonic() - began >= 1.0
        sim.faults.append(Fault(status=429, retry_after="3600"))
        with pytest.raises(TwilioFailed) as failed:
            await rest.account()
        assert failed.value.status == 429


async def test_nothing_is_waited_for_without_end() -> None:
    sim = SimRest(ACCOUNT, TOKEN)
    sim.faults.extend([Fault(delay_s=30.0)] * 3)
    async with account(sim, twilio_rest_tries=2) as rest:
        with pytest.raises(TwilioFailed, match=r"no answer in 0\.3 s"):
            await rest.account()
    assert len(sim.asked) == 2


async def test_a_server_that_is_not_twilio_and_one_that_is_not_there_are_told_as_such() -> None:
    sim = SimRest(ACCOUNT, TOKEN)
    sim.faults.append(Fault(html=True))
    async with account(sim) as rest:
        with pytest.raises(TwilioFailed, match="what answers is not Twilio"):
            await rest.account()
    rest = TwilioRest(settings("http://127.0.0.1:1", twilio_rest_tries=1))
    with pytest.raises(TwilioFailed, match="can't be reached"):
        await rest.account()
    await rest.close()
