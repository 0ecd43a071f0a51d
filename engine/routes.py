"""Which of several vendors serves: the first that is well. Shared by all calls of a process, so that one finds out for
the others.

A route has a circuit breaker. It is `closed` while the vendor is well; `failures` in a row open it, or a single refusal
that no repetition can mend (a wrong key); while it is open, calls take the next route. After a rest one call may try it
(`trying`): if it works the breaker closes and calls come back between turns, if it fails the rest doubles.

A working vendor's socket may end at any time, which is no failure: `engine.supervision.Sockets` says when it is one.
"""

import logging
from collections.abc import Collection, Sequence
from enum import Enum
from typing import Generic, TypeVar

from engine.clock import now
from engine.telemetry import count

log = logging.getLogger("engine.routes")

Way = TypeVar("Way")


class State(Enum):
    """A breaker's state."""

    CLOSED = "closed"
    OPEN = "open"
    TRYING = "trying"


class Route(Generic[Way]):
    """One vendor: `way` is how it is asked. `name` is for logs."""

    def __init__(
        self, name: str, way: Way, failures: int = 2, rest_s: float = 10.0, rest_most_s: float = 60.0
    ) -> None:
        self.name = name
        self.way = way
        self.state = State.CLOSED
        self._limit = failures
        self._first_rest_s = rest_s
        self._rest_most_s = rest_most_s
        self._rest_s = rest_s
        self._failed = 0
        self._until_s = 0.0  # when the rest is over
        self.hopeless = False  # it refuses for good

    @property
    def well(self) -> bool:
        """Whether calls should take it."""
        return self.state is State.CLOSED

    @property
    def rested_at_s(self) -> float:
        """When its rest is over."""
        return self._until_s

    def worked(self) -> None:
        """Something useful came of it."""
        self._failed, self.hopeless = 0, False
        if self.state is not State.CLOSED:
            log.warning("%s is well again", self.name)
            self.state, self._rest_s = State.CLOSED, self._first_rest_s

    def failed(self, why: str, *, at_once: bool = False, for_good: bool = False) -> None:
        """It was asked in vain. `at_once`: it said that it can't serve now; `for_good`: nor would it later."""
        self._failed += 1
        self.hopeless = self.hopeless or for_good
        if self.state is State.TRYING:
            self._rest_s = min(self._rest_s * 2, self._rest_most_s)
        elif self.state is State.OPEN:
            self._until_s = now() + self._rest_s
            return
        elif self._failed < self._limit and not (at_once or for_good):
            return
        if for_good:
            self._rest_s = self._rest_most_s
        log.error("%s is given up for %g s: %s", self.name, self._rest_s, why)
        count("breakers_opened")
        self.state, self._until_s = State.OPEN, now() + self._rest_s

    def may_be_tried(self) -> bool:
        """Whether its rest is over; whoever hears yes must try it, and tell what came of it."""
        if self.state is State.CLOSED or now() < self._until_s:
            return False
        self.state, self._until_s = State.TRYING, now() + self._rest_most_s  # should the trier never tell
        return True


class Routes(Generic[Way]):
    """The routes to one kind of vendor, best first; at least one."""

    def __init__(self, routes: Sequence[Route[Way]]) -> None:
        self.all = tuple(routes)

    def best(self) -> Route[Way]:
        """The first that is well; if none is, the one that has rested longest: each is tried in its turn."""
        well = next((route for route in self.all if route.well), None)
        return well or min(self.all, key=lambda route: route.rested_at_s)

    def instead_of(self, tried: Collection[Route[Way]]) -> Route[Way]:
        """Another that is well, for who has just waited for these in vain; the best there is, if none is."""
        return next((other for other in self.all if other not in tried and other.well), self.best())

    @property
    def hopeless(self) -> bool:
        """Whether all refuse for good."""
        return all(route.hopeless for route in self.all)

    def better_than(self, route: Route[Way]) -> Route[Way] | None:
        """A route before this one that is well, or that this caller is to try now."""
        before = self.all[: self.all.index(route)]
        return next((other for other in before if other.well or other.may_be_tried()), None)
