"""The table that says which part is real."""

from collections.abc import Sequence

from rich.console import Console
from rich.table import Table

from launcher.plan import Part


def print_parts(parts: Sequence[Part], console: Console) -> None:
    """Prints one line a part; nobody should take a stand-in for the real thing."""
    table = Table(title="Trunkline", title_justify="left")
    for heading in ("part", "served by", "real?"):
        table.add_column(heading)
    for part in parts:
        table.add_row(
            part.job, part.served_by, "[green]real[/]" if part.real else "[yellow]local stand-in[/]"
        )
    console.print(table)
