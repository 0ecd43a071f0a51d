"""The call as lines of a page: who says what, what the other side makes of it, what tools do. No terminal here."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum


class Kind(StrEnum):
    """What a line tells."""

    SAYS = "says"  # somebody speaks
    HEARS = "hears"  # the other side's recognition of it
    TOOL = "tool"
    EVENT = "event"


@dataclass
class Row:
    """One line. `rest` was to be said but was not; `settled`: it will not change any more."""

    kind: Kind
    who: str
    at_s: float
    text: str = ""
    rest: str = ""
    settled: bool = False


class Board:
    """The lines of one call, in the order in which they began.

    `on_settled` is told each line once, in the same order: a line waits for those that began before it.
    """

    def __init__(self, on_settled: Callable[[Row], None] = lambda row: None) -> None:
        self._rows: dict[object, Row] = {}
        self._on_settled = on_settled
        self._told = 0
        self._began = time.monotonic()

    @property
    def rows(self) -> list[Row]:
        """All lines so far."""
        return list(self._rows.values())

    def put(self, key: object, kind: Kind, who: str, text: str, *, rest: str = "", settled: bool) -> None:
        """Writes a line, or writes it anew; a settled line stays as it is."""
        row = self._rows.setdefault(key, Row(kind, who, time.monotonic() - self._began))
        if row.settled:
            return
        row.text, row.rest, row.settled = text, rest, settled
        if settled:
            self._tell()

    def event(self, text: str) -> None:
        """Something happened, at once and for good."""
        self.put(object(), Kind.EVENT, "", text, settled=True)

    def settle_all(self) -> None:
        """The call is over: nothing changes any more."""
        for row in self._rows.values():
            row.settled = True
        self._tell()

    def _tell(self) -> None:
        for row in self.rows[self._told :]:
            if not row.settled:
                return
            self._told += 1
            self._on_settled(row)
