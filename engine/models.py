"""The model as calls see it: one of several, whichever is well (`engine/routes.py`).

An attempt is given up when it is silent for too long, and every failure says what may help. A route that has rested is
tried without a caller who waits for it: with the same request as one that is answered elsewhere, to its end, as one
that begins and breaks off is not well.
"""

import asyncio
import logging
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import aclosing
from typing import Protocol

import msgspec

from engine.clock import now
from engine.messages import Failure, ModelDelta, ModelDone, Others, Respond, Trouble, Usage
from engine.overlong import Measure
from engine.routes import Route, Routes
from engine.settings import Settings

log = logging.getLogger("engine.models")


class ModelFailed(Exception):
    """A model brought no reply, or broke it off. `wait_s`: how long it asks to be left alone."""

    def __init__(self, why: str, trouble: Trouble = Trouble.PASSING, wait_s: float = 0.0) -> None:
        super().__init__(why)
        self.trouble = trouble
        self.wait_s = wait_s


class OneModel(Protocol):
    """One vendor's model; `engine.vendors.openai.ChatModel` is the real one. `name` is for logs."""

    name: str

    def stream(self, ask: Respond) -> AsyncGenerator[ModelDelta | ModelDone, None]:
        """One reply, whose last piece is a `ModelDone`. Raises `ModelFailed`; closing it closes the connection."""


class RoutedModel:
    """The models of a process, best first, shared by its calls."""

    def __init__(self, models: Sequence[OneModel], settings: Settings) -> None:
        breaker = (settings.breaker_failures, settings.breaker_rest_s, settings.breaker_rest_most_s)
        self._routes = Routes([Route(model.name, model, *breaker) for model in models])
        self._first_token_s = settings.llm_first_token_s
        self._stall_s = settings.llm_stall_s
        self._slow: set[str] = set()  # whose last first token came late, or never
        self._trials: set[asyncio.Task[None]] = set()

    async def close(self) -> None:
        """Ends the trials that are under way."""
        for trial in self._trials:
            trial.cancel()
        await asyncio.gather(*self._trials, return_exceptions=True)

    async def stream(self, ask: Respond) -> AsyncIterator[ModelDelta | ModelDone]:
        """One attempt at a reply; its last piece is a `ModelDone`. Cancelling closes the connection."""
        route = self._route(ask)
        try:
            async with aclosing(self._pieces(route, ask)) as pieces:
                async for piece in pieces:
                    if isinstance(piece, ModelDone):
                        route.worked()
                        piece = self._done(route, piece)
                    yield piece
        except ModelFailed as failed:
            yield self._failed(route, ask, failed)

    async def _pieces(
        self, route: Route[OneModel], ask: Respond
    ) -> AsyncGenerator[ModelDelta | ModelDone, None]:
        limit_s, what, first = self._first_s(route), "first token", True
        began_s = now()
        measure = Measure()
        async with aclosing(route.way.stream(ask)) as pieces:
            while True:
                try:
                    async with asyncio.timeout(limit_s):
                        piece = await anext(pieces)
                except TimeoutError:
                    if first:
                        self._slow.add(route.name)
                    raise ModelFailed(f"no {what} within {limit_s:g} s", Trouble.SLOW) from None
                except StopAsyncIteration:
                    raise ModelFailed("the stream ended without a finish_reason") from None
                if first and now() - began_s <= self._first_token_s:
                    self._slow.discard(route.name)
                first = False
                cut = None
                if isinstance(piece, ModelDelta):
                    piece, cut = measure.take(piece)
                yield piece
                if cut is not None:
                    log.warning("%s goes on for ever (%s): not read on", route.name, cut.finish)
                    yield cut
                    return
                if isinstance(piece, ModelDone):
                    async for _ in pieces:  # lets it read its body out, so that the connection is kept
                        pass
                    return
                limit_s, what = self._stall_s, "next piece"

    def _first_s(self, route: Route[OneModel]) -> float:
        """How long its first token may take: twice as long for one that was late, if nobody else is well. It may be
        slow, not lost, and given up again and again it would never answer.
        """
        alone = self._others(route) is not Others.WELL
        return self._first_token_s * (2 if alone and route.name in self._slow else 1)

    def _done(self, route: Route[OneModel], done: ModelDone) -> ModelDone:
        fallback = "" if route is self._routes.all[0] else route.name
        failure = Failure(route=route.name, others=self._others(route))
        return msgspec.structs.replace(done, failure=failure, fallback=fallback)

    def _failed(self, route: Route[OneModel], ask: Respond, failed: ModelFailed) -> ModelDone:
        _tell(route, failed)
        failure = Failure(
            failed.trouble, route.name, failed.wait_s, self._others(route), given_up=not route.well
        )
        return ModelDone(ask.request, "error", Usage(), why=str(failed), failure=failure)

    def _others(self, route: Route[OneModel]) -> Others:
        others = [other for other in self._routes.all if other is not route]
        if not others:
            return Others.NONE
        return Others.WELL if any(other.well for other in others) else Others.RESTING

    # --- which one

    def _route(self, ask: Respond) -> Route[OneModel]:
        best = self._routes.best()
        better = self._routes.better_than(best)
        if better is not None:
            self._try(better, ask)
        others = [route for route in self._routes.all if route.name != ask.avoid]
        if not ask.avoid or not others:
            return best
        return next((route for route in others if route.well), others[0])

    def _try(self, route: Route[OneModel], ask: Respond) -> None:
        trial = asyncio.create_task(self._trial(route, ask), name=f"trial of {route.name}")
        self._trials.add(trial)
        trial.add_done_callback(self._trials.discard)

    async def _trial(self, route: Route[OneModel], ask: Respond) -> None:
        try:
            async with aclosing(self._pieces(route, ask)) as pieces:
                async for _ in pieces:
                    pass
        except ModelFailed as failed:
            _tell(route, failed)
            return
        except Exception:
            log.exception("the trial of %s failed", route.name)
            route.failed("a fault of ours")
            return
        route.worked()


def _tell(route: Route[OneModel], failed: ModelFailed) -> None:
    if failed.trouble is not Trouble.UNFIT:  # else it is the request's fault
        route.failed(str(failed), for_good=failed.trouble is Trouble.FOR_GOOD)
