"""What came of each fault: kept while the tests run, told in a table when they are over."""

import datetime as dt
import os
import platform
from collections.abc import Iterator
from dataclasses import dataclass, field

import ray
from rich import box
from rich.table import Table

COLUMNS = {  # and how wide they are where there is little room
    "fault": 20,
    "trials": 6,
    "calls": 5,
    "callers heard": 21,
    "longest silence": 7,
    "bookings lost / twice": 8,
    "back after: p50 / p99 / worst": 20,
}
_WORDS = {"fault", "callers heard"}


@dataclass
class Row:
    """All trials of one fault.

    `recovered_s` has a time for each call that lost its process; `bookings` is how many there should be.
    """

    expected: str = "every sentence, whole, once"
    trials: int = 0
    calls: int = 0
    sentences: int = 0  # that callers heard
    broken: int = 0  # of those: cut, with a hole, twice, or never
    silence_s: float = 0.0  # the longest between an agent's sentence and what was before it
    recovered_s: list[float] = field(default_factory=list)
    bookings: int = 0
    double: int = 0
    lost: int = 0

    def cells(self, fault: str) -> tuple[str, ...]:
        """The row, a text for each of `COLUMNS`."""
        heard = f"{self.broken} of {self.sentences} sentences amiss" if self.broken else self.expected
        return (
            fault,
            str(self.trials),
            str(self.calls),
            heard if self.calls else "not over",
            f"{self.silence_s:.2f} s",
            f"{self.lost} / {self.double}" if self.bookings else "",
            " / ".join(f"{self._recovered(share):.2f}" for share in (0.5, 0.99, 1.0)) + " s"
            if self.recovered_s
            else "",
        )

    def _recovered(self, share: float) -> float:
        """The time within which this share of the calls was led again."""
        ordered = sorted(self.recovered_s)
        return ordered[min(len(ordered) - 1, int(share * len(ordered)))]


class Trials:
    """The rows by fault; `count` is how often each is to be tried."""

    def __init__(self, count: int) -> None:
        self.count = count
        self.rows: dict[str, Row] = {}

    def of(self, fault: str, expected: str = Row.expected) -> Iterator[Row]:
        """One trial after the other; each adds what it saw to the fault's row.

        `expected` is what callers hear when all is well, in a few words.
        """
        for _ in range(self.count):
            yield self.one(fault, expected)

    def one(self, fault: str, expected: str = Row.expected) -> Row:
        """One trial more; the fault's row."""
        row = self.rows.setdefault(fault, Row(expected))
        row.trials += 1
        return row

    def table(self) -> Table:
        """The rows, to be seen."""
        table = Table(
            title="Faults on live calls",
            caption=machine(),
            box=box.SIMPLE_HEAD,
            padding=(0, 1, 0, 0),
            show_edge=False,
        )
        for name, width in COLUMNS.items():
            table.add_column(name, justify="left" if name in _WORDS else "right", width=width)
        for fault, row in self.rows.items():
            table.add_row(*row.cells(fault))
        return table

    def markdown(self) -> str:
        """The rows, to be kept."""
        ruler = ("---" if name in _WORDS else "---:" for name in COLUMNS)
        lines = [tuple(COLUMNS), tuple(ruler), *(row.cells(fault) for fault, row in self.rows.items())]
        return "\n".join([*(f"| {' | '.join(cells)} |" for cells in lines), "", machine(), ""])


def machine() -> str:
    """Where and when this ran."""
    return (
        f"{os.cpu_count()} cores, {platform.machine()}, Python {platform.python_version()}, "
        f"Ray {ray.__version__}, {dt.datetime.now(dt.UTC):%-d %B %Y}"
    )
