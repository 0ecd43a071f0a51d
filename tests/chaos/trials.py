"""What came of each fault: kept while the tests run, told in a table when they are over."""

from collections.abc import Iterator
from dataclasses import dataclass, field

from rich.table import Table

COLUMNS = ("trials", "calls", "sentences", "broken", "silence", "back", "at worst", "booked 2x", "never")


@dataclass
class Row:
    """All trials of one fault."""

    trials: int = 0
    calls: int = 0
    sentences: int = 0  # that callers heard
    broken: int = 0  # of those: cut, with a hole, twice, or never
    silence_s: float = 0.0  # the longest between an agent's sentence and what was before it
    recovered_s: list[float] = field(default_factory=list)
    double: int = 0  # bookings
    lost: int = 0


class Trials:
    """The rows by fault; `count` is how often each is to be tried."""

    def __init__(self, count: int) -> None:
        self.count = count
        self.rows: dict[str, Row] = {}

    def of(self, fault: str) -> Iterator[Row]:
        """One trial after the other; each adds what it saw to the fault's row."""
        for _ in range(self.count):
            row = self.rows.setdefault(fault, Row())
            row.trials += 1
            yield row

    def table(self) -> Table:
        """What callers heard."""
        table = Table(
            title="Faults on live calls: what callers heard, the longest silence, how soon they were back"
        )
        table.add_column("fault", no_wrap=True)
        for name in COLUMNS:
            table.add_column(name, justify="right")
        for fault, row in self.rows.items():
            times = sorted(row.recovered_s)
            table.add_row(
                fault,
                str(row.trials),
                str(row.calls),
                str(row.sentences),
                str(row.broken),
                f"{row.silence_s:.2f} s",
                f"{times[len(times) // 2]:.3f} s" if times else "",
                f"{times[-1]:.3f} s" if times else "",
                str(row.double),
                str(row.lost),
            )
        return table
