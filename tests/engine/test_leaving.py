"""A stream that Twilio does not see end leaves no call hanging: whole over loopback, and its times in virtual time."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest
from starlette.websockets import WebSocket

from engine import phrases
from engine.actor import Actor, spawn
from engine.clock import now, outside, run_virtual
from engine.door import PREFIX
from engine.ingress import Ingress, IngressPorts
from engine.leaving import LOOKS, LeavingActor, make_sure
from engine.media_stream import Left
from engine.messages import CallerContext, CallerGone, CallInfo, HangUp, Transfer
from engine.redis_client import SessionAway
from engine.session import SessionStore
from engine.settings import Settings
from engine.twilio import twiml
from engine.twilio.rest import Did, TwilioFailed, TwilioRest
from local.serving import bound, serving, serving_on
from simulators.twilio import SimCall, SimTwilio
from simulators.twilio.rest import Fault
from tests.virtual.rig import Log

ACCOUNT, TOKEN = "AC" + "5" * 32, "0123456789abcdef"
FALLBACK, TRANSFER = "+13125550199", "+13125550177"
CALL, STREAM = "CA" + "1" * 32, "MZ" + "1" * 32


def settings(**changed: Any) -> Settings:
    given = {"_env_file": None, "twilio_account_sid": ACCOUNT, "twilio_auth_token": TOKEN}
    return Settings(**(given | changed))


class ClosingStream(Actor):
    """A StreamActor that says what is to come next, and closes the socket; later ones stay."""

    def __init__(self, closes: Callable[[], Awaitable[None]]) -> None:
        super().__init__()
        self.audio = self
        self._closes = closes

    async def started(self) -> None:
        self.work(self._closes(), "close")

    async def receive(self, message: Any) -> None:
        if isinstance(message, CallerGone):
            self.stop()


class App:
    """The routes that Twilio asks, over a real Redis; the first stream of a call is closed at once."""

    def __init__(self, store: SessionStore, given: Settings, says: bytes) -> None:
        self.store, self.settings, self._says = store, given, says
        self.streams = 0
        self.left_s = 0.0  # when the first one was over
        self.leaving: Actor | None = None

    def make_stream(self, info: CallInfo, _: str, websocket: WebSocket) -> Actor:
        self.streams += 1
        first = self.streams == 1

        async def closes() -> None:
            if first:
                if self._says:
                    await self.store._keep(info.call, "next", self._says)
                await websocket.close(1000)

        return ClosingStream(closes)

    async def context(self, _: CallInfo) -> CallerContext:
        return CallerContext("", "")

    @contextlib.asynccontextmanager
    async def opened(self) -> AsyncIterator[None]:
        yield

    def ports(self) -> IngressPorts:
        async def ready() -> dict[str, str]:
            return {}

        async def none() -> list[Any]:
            return []

        return IngressPorts(
            self.store, Log(), self.context, lambda _: CallerContext("", ""),  # type: ignore[arg-type]
            self.make_stream, ready, lambda: (), none, self._left,
        )  # fmt: skip

    def _left(self, left: Left) -> None:
        assert self.leaving is not None
        self.left_s = now()
        self.leaving.tell(left)


@contextlib.asynccontextmanager
async def called(
    redis_url: str, says: bytes = b"", *, with_address: bool = True, **options: Any
) -> AsyncIterator[tuple[SimTwilio, SimCall, App]]:
    """A call whose stream the app has closed, of which Twilio's end may have heard nothing (`deaf`)."""
    store = SessionStore(redis_url, 600, 2000, 60)
    async with SimTwilio(TOKEN, ACCOUNT) as twilio, serving(twilio.rest.app) as rest_server:
        with bound() as listener:
            url = f"http://127.0.0.1:{listener.getsockname()[1]}"
            addresses = {"base_url": url if with_address else "", "twilio_base_url": rest_server.http_url}
            given = settings(**(addresses | {"twilio_asks_s": 0.5, "transfer_number": TRANSFER} | options))
            app = App(store, given, says)
            starlette = Ingress(given, app.ports()).app(app.opened)
            async with starlette.router.lifespan_context(starlette), serving_on(listener, starlette):
                app.leaving = spawn(LeavingActor(store, TwilioRest(given), given), "leaving")
                call = await twilio.dial(f"{url}{PREFIX}/incoming", deaf=True)
                yield twilio, call, app
                await call.hang_up()
                await call.settled()
                await app.leaving.kill()
    await store.close()


async def eventually(condition: Callable[[], object]) -> None:
    async with asyncio.timeout(20):
        while not condition():  # noqa: ASYNC110 - what happens on a line has no events
            await asyncio.sleep(0.01)


def dialled(call: SimCall) -> list[str]:
    return [event.detail["number"] for event in call.journal.all("dial")]


async def test_a_call_that_is_over_for_us_is_hung_up(redis_url: str) -> None:
    async with called(redis_url, b"hangup") as (twilio, call, _):
        assert await call.ended() == "completed"
        assert [form for _, _, form in twilio.rest.asked] == [{"Status": "completed"}]


async def test_a_caller_who_asked_for_a_person_gets_one(redis_url: str) -> None:
    async with called(redis_url, b"transfer") as (_, call, _app):
        await call.ended()
        assert dialled(call) == [TRANSFER]


async def test_a_call_that_was_to_go_on_goes_on_in_a_new_stream(redis_url: str) -> None:
    async with called(redis_url) as (_, call, app):
        await eventually(lambda: app.streams == 2)
        assert call.status == "in-progress"


async def test_without_a_public_address_the_caller_is_put_through(redis_url: str) -> None:
    async with called(redis_url, with_address=False, fallback_number=FALLBACK) as (_, call, _app):
        await call.ended()
        assert [event.detail["text"] for event in call.journal.all("say")] == [phrases.UNAVAILABLE_DIALLING]
        assert dialled(call) == [FALLBACK]


async def test_without_any_address_or_number_the_call_is_hung_up(redis_url: str) -> None:
    async with called(redis_url, with_address=False) as (twilio, call, _):
        assert await call.ended() == "completed"
        assert [form for _, _, form in twilio.rest.asked] == [{"Status": "completed"}]


# ---------------------------------------------------------------- when nothing has to be done, and when nothing can


class Rest:
    """An account that notes what it is asked, and fails that often."""

    def __init__(self, fails: int = 0) -> None:
        self.asked: list[str] = []
        self._fails = fails

    async def hang_up(self, call: str) -> Did:
        self.asked.append("hang up")
        if len(self.asked) <= self._fails:
            raise TwilioFailed("503", 503, 0)
        return Did.DONE

    async def redirect(self, call: str, *, url: str = "", twiml: str = "") -> Did:
        self.asked.append(f"redirect {url or twiml}")
        return Did.DONE

    async def close(self) -> None:
        pass


def asked(
    redis_url: str, meanwhile: Callable[[SessionStore], Awaitable[None]], left: Left, **wrong: int
) -> list[str]:
    """What the account is asked to do for a call whose stream is over, when `meanwhile` has happened."""

    async def story() -> list[str]:
        store, rest = SessionStore(redis_url, 600, 2000, 60), Rest(**wrong)
        try:
            await store.ring(CallInfo(CALL, "anonymous", "", False, 0.0), 10)
            leaving = spawn(LeavingActor(store, rest, settings()), "leaving")  # type: ignore[arg-type]
            leaving.tell(left)
            await meanwhile(store)
            await asyncio.sleep(600.0)
            assert not leaving.over
            await leaving.kill()
            return rest.asked
        finally:
            await store.close()

    return run_virtual(story())


async def nothing(_: SessionStore) -> None:
    pass


async def twilio_asks(store: SessionStore) -> None:
    await asyncio.sleep(3.0)
    await store.asked(CALL)


async def a_new_stream_begins(store: SessionStore) -> None:
    from engine.session import Whereabouts

    await asyncio.sleep(1.0)
    await store.asked(CALL)
    await store.live(Whereabouts(CALL, "MZ2", "starting", 0, 7))


@pytest.mark.parametrize("meanwhile", [twilio_asks, a_new_stream_begins])
def test_a_call_of_which_twilio_asks_in_time_is_left_alone(redis_url: str, meanwhile: Any) -> None:
    assert asked(redis_url, meanwhile, Left(CALL, STREAM)) == []


def test_a_call_of_which_twilio_does_not_ask_is_ended(redis_url: str) -> None:
    assert asked(redis_url, nothing, Left(CALL, STREAM)) == ["hang up"]


def test_a_call_whose_socket_does_not_close_is_ended_at_once(redis_url: str) -> None:
    assert asked(redis_url, twilio_asks, Left(CALL, STREAM, closed=False)) == ["hang up"]


def test_a_call_that_nobody_knows_is_left_alone(redis_url: str) -> None:
    assert asked(redis_url, nothing, Left("CA" + "2" * 32, STREAM)) == []


def test_while_redis_is_away_for_half_a_minute_nothing_is_cut_and_it_is_looked_again(
    redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = SessionStore.unasked

    async def away_at_first(store: SessionStore, call: str, stream: str) -> bool:
        if now() < 30.0:
            raise SessionAway("away")
        return await real(store, call, stream)

    monkeypatch.setattr(SessionStore, "unasked", away_at_first)
    assert asked(redis_url, nothing, Left(CALL, STREAM)) == ["hang up"]


def test_what_twilio_refused_is_asked_again_and_not_for_ever(redis_url: str) -> None:
    assert asked(redis_url, nothing, Left(CALL, STREAM), fails=3) == ["hang up"] * 4
    assert asked(redis_url, nothing, Left(CALL, STREAM), fails=1000) == ["hang up"] * LOOKS


@pytest.mark.parametrize(
    "fault",
    [Fault(status=503, code=20500), Fault(cut=True), Fault(cut=True, obeyed=True)],
    ids=["refused", "cut", "obeyed, and cut"],
)
async def test_a_call_that_twilio_failed_to_lead_on_goes_on_in_one_new_stream(
    redis_url: str, fault: Fault
) -> None:
    async with called(redis_url) as (twilio, call, app):
        twilio.rest.faults.append(fault)
        await eventually(lambda: app.streams == 2)
        await asyncio.sleep(1.5)  # thrice as long as until it is looked again
        assert (app.streams, call.status) == (2, "in-progress")


# ---------------------------------------------------------------- said goodbye while Redis can't tell it


def made_sure(
    redis_url: str,
    goodbye: HangUp | Transfer,
    before: Callable[[SessionStore], Awaitable[None]],
    **wrong: int,
) -> list[str]:
    """What the account is asked to do for a call that has said goodbye, after `before`."""

    async def story() -> list[str]:
        store, rest = SessionStore(redis_url, 600, 2000, 60), Rest(**wrong)
        try:
            await store.ring(CallInfo(CALL, "anonymous", "", False, 0.0), 10)
            await before(store)
            await make_sure(store, rest, CALL, goodbye)  # type: ignore[arg-type]
            return rest.asked
        finally:
            await store.close()

    return run_virtual(story())


def says(what: bytes) -> Callable[[SessionStore], Awaitable[None]]:
    async def write(store: SessionStore) -> None:
        await store._keep(CALL, "next", what)

    return write


async def goes_away(store: SessionStore) -> None:
    async def away(_: str) -> None:
        raise SessionAway("away")

    store.glance = away  # type: ignore[method-assign, assignment]


async def loses_all(store: SessionStore) -> None:
    await outside(store._redis.flushdb())


@pytest.mark.parametrize("what", [b"hangup", b"transfer", b"fallback", b"unsaid"])
def test_what_twilio_will_be_told_anyway_is_not_done_by_rest(redis_url: str, what: bytes) -> None:
    assert made_sure(redis_url, HangUp(), says(what)) == []


@pytest.mark.parametrize("before", [nothing, goes_away, loses_all])
def test_a_goodbye_that_redis_does_not_know_is_done_by_rest(redis_url: str, before: Any) -> None:
    assert made_sure(redis_url, HangUp(), before) == ["hang up"]
    assert made_sure(redis_url, Transfer(TRANSFER), before) == [f"redirect {twiml.dial(TRANSFER)}"]


def test_where_rest_fails_too_twilio_asks_and_is_told_the_fallback(redis_url: str) -> None:
    assert made_sure(redis_url, HangUp(), goes_away, fails=1) == ["hang up"]
