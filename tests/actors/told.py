"""A Ref that remembers, and lets a test wait for what it is told."""

import asyncio
from collections.abc import Callable
from typing import Any, TypeVar

T = TypeVar("T")
LIMIT_S = 20.0


class Told:
    """Whoever stands at the other end of an actor."""

    def __init__(self) -> None:
        self.all: list[Any] = []
        self._news = asyncio.Event()

    def tell(self, message: Any) -> None:
        self.all.append(message)
        self._news.set()

    def of(self, kind: type[T]) -> list[T]:
        """Messages of one kind, in order."""
        return [message for message in self.all if isinstance(message, kind)]

    async def until(self, holds: Callable[["Told"], bool], limit_s: float = LIMIT_S) -> None:
        """Waits until `holds(self)`. Raises AssertionError with what was told."""
        try:
            async with asyncio.timeout(limit_s):
                while not holds(self):
                    self._news.clear()
                    await self._news.wait()
        except TimeoutError:
            raise AssertionError(f"not within {limit_s:g} s; told: {self.all[-10:]}") from None

    async def next(self, kind: type[T], count: int = 1) -> T:
        """The `count`th message of that kind, once it has been told."""
        await self.until(lambda told: len(told.of(kind)) >= count)
        return self.of(kind)[count - 1]
