"""What was measured of each fault of a vendor's: kept while the tests run, told in a table when they are over."""

from collections.abc import Iterator
from dataclasses import dataclass, field

from rich import box
from rich.table import Table

from tests.chaos.trials import machine

COLUMNS = ("fault", "noticed by", "found after", "mended after", "the caller hears")


@dataclass
class Figure:
    """All trials of one fault, times in seconds from the fault on; a time may not apply.

    `heard`: what the caller hears of it, said by the test that saw it.
    """

    noticed_by: str
    heard: str
    found_s: list[float] = field(default_factory=list)
    mended_s: list[float] = field(default_factory=list)
    gap_s: list[float] = field(default_factory=list)  # the longest break in the agent's speech

    def cells(self, fault: str) -> tuple[str, ...]:
        """The row, a text for each of `COLUMNS`."""
        heard = self.heard.format(gap=f"{max(self.gap_s) * 1000:.0f} ms" if self.gap_s else "")
        return (fault, self.noticed_by, _times(self.found_s), _times(self.mended_s), heard)


class Figures:
    """The rows by fault; `count` is how often each is tried."""

    def __init__(self, count: int) -> None:
        self.count = count
        self.rows: dict[str, Figure] = {}

    def of(self, fault: str, noticed_by: str, heard: str) -> Iterator[Figure]:
        """One trial after the other; each adds what it measured."""
        for _ in range(self.count):
            yield self.rows.setdefault(fault, Figure(noticed_by, heard))

    def table(self) -> Table:
        """The rows, to be seen."""
        table = Table(title="Vendors that fail", caption=machine(), box=box.SIMPLE_HEAD, show_edge=False)
        for name in COLUMNS:
            table.add_column(name)
        for fault, row in self.rows.items():
            table.add_row(*row.cells(fault))
        return table

    def markdown(self) -> str:
        """The rows, to be kept."""
        lines = [COLUMNS, ("---",) * len(COLUMNS), *(row.cells(fault) for fault, row in self.rows.items())]
        return "\n".join([*(f"| {' | '.join(cells)} |" for cells in lines), "", machine(), ""])


def _times(times: list[float]) -> str:
    """The middle and the worst of several, or the only one."""
    if not times:
        return ""
    worst = f"{max(times):.2f} s"
    return worst if len(times) == 1 else f"{sorted(times)[len(times) // 2]:.2f}, at worst {worst}"
