"""The end of the show: latencies against their targets, the booking, the recording, the verdict."""

from pathlib import Path

from rich.console import Console
from rich.table import Table

from demo.report import LEGS, Record, median_and_worst


def legs_table(record: Record) -> Table:
    """Latencies of this call, leg by leg, in milliseconds."""
    table = Table(title="Latencies of this call, in ms", title_justify="left")
    table.add_column("leg")
    for heading in ("n", "median", "worst", "target"):
        table.add_column(heading, justify="right")
    table.add_column("within?")
    for leg in LEGS:
        values = record.legs.get(leg.name)
        if not values:
            continue
        median, worst = median_and_worst(values)
        target, within = "", ""
        if leg.target_ms is not None:
            target = f"< {leg.target_ms:.0f}"
            within = "[green]yes[/]" if worst < leg.target_ms else "[red]no[/]"
        table.add_row(leg.what, str(len(values)), _ms(median), _ms(worst), target, within)
    return table


def _ms(value: float) -> str:
    return f"{value:.0f}" if value >= 10 else f"{value:.1f}"


def print_closing(console: Console, record: Record, wav: Path, wished: str, fault: str) -> None:
    """Prints it all."""
    console.print()
    console.print(legs_table(record))
    console.print(f"Wished for: {wished}")
    for change in record.changes:
        console.print(f"The tools did: {change}", highlight=False, soft_wrap=True)
    for booking in [str(booking) for booking in record.bookings] or ["none"]:
        console.print(f"In Postgres: {booking}", highlight=False, soft_wrap=True)
    ended = f"{record.ending}; what came of it: {record.outcome}" if record.ending else "its log has no end"
    console.print(f"How the call ended: {ended}")
    console.print(f"Recording (stereo; left the caller, right the agent): {wav}", soft_wrap=True)
    if fault:
        console.print(f"WRONG: {fault}", style="bold red", soft_wrap=True)
    else:
        console.print("As it should be.", style="bold green")
