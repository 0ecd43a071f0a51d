"""Which of several models answers, in virtual time."""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable

import msgspec

from engine.clock import now, run_virtual
from engine.messages import ModelDelta, ModelDone, Others, Respond, Trouble, Usage
from engine.models import ModelFailed, RoutedModel
from engine.settings import Settings

SETTINGS = Settings(
    _env_file=None,  # type: ignore[call-arg]
    llm_first_token_s=2.0,
    llm_stall_s=1.0,
    breaker_failures=2,
    breaker_rest_s=10.0,
)
ASK = Respond(1, 7, 0, [], [])


class Vendor:
    """A model that answers with one word after `first_s`, or fails."""

    def __init__(self, name: str, failure: ModelFailed | None = None) -> None:
        self.name = name
        self.failure = failure
        self.first_s = self.gap_s = 0.1
        self.asked: list[float] = []
        self.left = 0

    async def stream(self, ask: Respond) -> AsyncGenerator[ModelDelta | ModelDone, None]:
        self.asked.append(now())
        try:
            if self.failure is not None:
                raise self.failure
            await asyncio.sleep(self.first_s)
            yield ModelDelta(ask.request, text=self.name)
            await asyncio.sleep(self.gap_s)
            yield ModelDone(ask.request, "stop", Usage())
        except (asyncio.CancelledError, GeneratorExit):
            self.left += 1
            raise


async def answer(model: RoutedModel, avoid: str = "") -> ModelDone:
    ask = msgspec.structs.replace(ASK, avoid=avoid)
    pieces = [piece async for piece in model.stream(ask)]
    assert isinstance(pieces[-1], ModelDone)
    return pieces[-1]


def play(story: Callable[[RoutedModel], Awaitable[None]], *vendors: Vendor) -> None:
    async def run() -> None:
        model = RoutedModel(vendors, SETTINGS)
        await story(model)
        await model.close()

    run_virtual(run())


def test_the_first_model_answers_while_it_is_well() -> None:
    first, second = Vendor("first"), Vendor("second")

    async def story(model: RoutedModel) -> None:
        assert (await answer(model)).fallback == ""
        assert len(second.asked) == 0

    play(story, first, second)


def test_two_failures_in_a_row_make_all_calls_take_the_second() -> None:
    first, second = Vendor("first", ModelFailed("HTTP 500")), Vendor("second")

    async def story(model: RoutedModel) -> None:
        failed = await answer(model)
        assert (failed.finish, failed.why) == ("error", "HTTP 500")
        assert (failed.failure.route, failed.failure.given_up) == ("first", False)
        assert (await answer(model)).failure.given_up
        assert (await answer(model)).fallback == "second"

    play(story, first, second)


def test_a_refusal_for_good_is_one_too_many() -> None:
    first, second = Vendor("first", ModelFailed("no key", Trouble.FOR_GOOD)), Vendor("second")

    async def story(model: RoutedModel) -> None:
        assert (await answer(model)).failure.given_up
        assert (await answer(model)).fallback == "second"

    play(story, first, second)


def test_a_request_that_a_model_does_not_take_is_not_the_models_failure() -> None:
    first, second = Vendor("first", ModelFailed("too long", Trouble.UNFIT)), Vendor("second")

    async def story(model: RoutedModel) -> None:
        for _ in range(3):
            assert not (await answer(model)).failure.given_up

    play(story, first, second)


def test_a_model_that_is_silent_before_or_in_its_reply_is_left() -> None:
    first = Vendor("first")

    async def story(model: RoutedModel) -> None:
        for first_s, gap_s, why in (
            (3.0, 0.1, "no first token within 2 s"),
            (0.5, 2.0, "no next piece within 1 s"),
        ):
            first.first_s, first.gap_s = first_s, gap_s
            failed = await answer(model)
            assert failed.why == why
            assert failed.failure.trouble is Trouble.SLOW
            assert failed.failure.others is Others.NONE
        assert first.left == 2

    play(story, first)


def test_a_stream_that_just_stops_is_a_failure() -> None:
    class Stops(Vendor):
        async def stream(self, ask: Respond) -> AsyncGenerator[ModelDelta | ModelDone, None]:
            yield ModelDelta(ask.request, text="We open")

    async def story(model: RoutedModel) -> None:
        failed = await answer(model)
        assert failed.finish == "error"
        assert "finish_reason" in failed.why

    play(story, Stops("first"))


def test_a_reply_avoids_the_route_that_was_of_no_use_to_it() -> None:
    first, second = Vendor("first"), Vendor("second")

    async def story(model: RoutedModel) -> None:
        assert (await answer(model, avoid="first")).fallback == "second"
        assert (await answer(model, avoid="second")).fallback == ""

    play(story, first, second)


def test_who_has_nobody_else_asks_the_same_again() -> None:
    first = Vendor("first")

    async def story(model: RoutedModel) -> None:
        assert (await answer(model, avoid="first")).fallback == ""

    play(story, first)


def test_a_rested_model_is_tried_beside_a_reply_that_does_not_wait_for_it() -> None:
    first, second = Vendor("first", ModelFailed("HTTP 500")), Vendor("second")

    async def story(model: RoutedModel) -> None:
        for _ in range(2):
            await answer(model)
        first.failure, first.first_s = None, 1.5
        await asyncio.sleep(10.1)
        began_s = now()
        assert (await answer(model)).fallback == "second"
        assert now() - began_s < 0.3
        await asyncio.sleep(1.5)
        assert (await answer(model)).fallback == ""
        assert len(first.asked) == 4
        assert first.left == 0  # the trial was heard to its end

    play(story, first, second)


def test_a_model_whose_trial_fails_rests_for_twice_as_long() -> None:
    first, second = Vendor("first", ModelFailed("HTTP 500")), Vendor("second")

    async def story(model: RoutedModel) -> None:
        for _ in range(2):
            await answer(model)
        await asyncio.sleep(10.1)
        for _ in range(50):
            assert (await answer(model)).fallback == "second"
            await asyncio.sleep(0.7)
        assert len(first.asked) == 4  # at first twice, then after 10 s and after 20 more

    play(story, first, second)


def test_a_model_that_begins_each_reply_and_stalls_is_met_by_ever_fewer_callers() -> None:
    first, second = Vendor("first"), Vendor("second")
    first.gap_s = 1000.0

    async def story(model: RoutedModel) -> None:
        met = 0
        while now() < 300:
            met += (await answer(model)).finish == "error"
            await asyncio.sleep(1)
        assert met == 2
        assert 5 <= len(first.asked) <= 10  # trials after 10, 20, 40, and each 60 s

    play(story, first, second)


def test_a_trial_ends_with_its_process() -> None:
    first, second = Vendor("first", ModelFailed("HTTP 500")), Vendor("second")

    async def story(model: RoutedModel) -> None:
        for _ in range(2):
            await answer(model)
        first.failure, first.first_s = None, 1.5
        await asyncio.sleep(10.1)
        await answer(model)
        await model.close()
        assert first.left == 1

    play(story, first, second)


def test_a_reply_that_its_reader_leaves_is_left_at_once_and_is_no_failure() -> None:
    first = Vendor("first")
    first.gap_s = 0.9

    async def story(model: RoutedModel) -> None:
        for _ in range(3):
            pieces = model.stream(ASK)
            await anext(pieces)
            await pieces.aclose()  # type: ignore[attr-defined]
        assert first.left == 3
        assert (await answer(model)).finish == "stop"

    play(story, first)
