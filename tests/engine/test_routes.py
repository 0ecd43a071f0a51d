"""Circuit breakers and the choice between vendors."""

import asyncio
from collections.abc import Awaitable, Callable

from engine.clock import run_virtual
from engine.routes import Route, Routes


def in_virtual_time(story: Callable[[], Awaitable[None]]) -> None:
    async def run() -> None:
        await story()

    run_virtual(run())


def routes() -> Routes[str]:
    return Routes([Route("first", "a", failures=2, rest_s=10.0, rest_most_s=60.0), Route("second", "b")])


def test_the_first_route_is_taken_while_it_is_well() -> None:
    assert routes().best().name == "first"


def test_one_failure_does_not_open_a_breaker_and_what_works_is_forgiven() -> None:
    async def story() -> None:
        choice = routes()
        first = choice.best()
        first.failed("no answer")
        first.worked()
        first.failed("no answer")
        assert choice.best() is first

    in_virtual_time(story)


def test_failures_in_a_row_make_every_call_take_the_next_route() -> None:
    async def story() -> None:
        choice = routes()
        for _ in range(2):
            choice.best().failed("no answer")
        assert choice.best().name == "second"

    in_virtual_time(story)


def test_a_refused_key_opens_a_breaker_at_once_and_for_the_longest_rest() -> None:
    async def story() -> None:
        choice = routes()
        first, second = choice.all
        first.failed("HTTP 401", for_good=True)
        assert choice.best() is second
        await asyncio.sleep(59.0)
        assert choice.better_than(second) is None
        await asyncio.sleep(1.1)
        assert choice.better_than(second) is first

    in_virtual_time(story)


def test_after_its_rest_one_caller_tries_and_the_others_wait_for_what_comes_of_it() -> None:
    async def story() -> None:
        choice = routes()
        first, second = choice.all
        first.failed("no answer")
        first.failed("no answer")
        assert choice.better_than(second) is None
        await asyncio.sleep(10.1)
        assert choice.better_than(second) is first
        assert choice.better_than(second) is None
        assert choice.best() is second
        first.worked()
        assert choice.better_than(second) is first
        assert choice.best() is first

    in_virtual_time(story)


def test_a_trial_in_vain_doubles_the_rest() -> None:
    async def story() -> None:
        choice = routes()
        first, second = choice.all
        first.failed("no answer")
        first.failed("no answer")
        await asyncio.sleep(10.1)
        assert choice.better_than(second) is first
        first.failed("no answer")
        await asyncio.sleep(19.0)
        assert choice.better_than(second) is None
        await asyncio.sleep(1.1)
        assert choice.better_than(second) is first

    in_virtual_time(story)


def test_a_route_whose_trier_never_tells_is_tried_again() -> None:
    async def story() -> None:
        choice = routes()
        first, second = choice.all
        first.failed("HTTP 402", for_good=True)
        await asyncio.sleep(60.1)
        assert choice.better_than(second) is first
        await asyncio.sleep(60.1)
        assert choice.better_than(second) is first

    in_virtual_time(story)


def test_without_a_fallback_the_only_route_is_taken_whatever_its_state() -> None:
    async def story() -> None:
        only = Routes([Route("first", "a")])
        only.best().failed("HTTP 401", for_good=True)
        assert only.best().name == "first"
        assert only.better_than(only.best()) is None

    in_virtual_time(story)
