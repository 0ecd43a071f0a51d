"""The board on a terminal: live where there is one, a line at a time elsewhere."""

import asyncio
import contextlib
from collections.abc import AsyncIterator

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.table import Table
from rich.text import Text

from demo.board import Board, Kind, Row

REFRESH_S = 0.1
_SPARE_LINES = 3
_COLOURS = {"Agent": "cyan"}
_CALLER_COLOUR = "green"


def line_of(row: Row) -> tuple[Text, Text, Text]:
    """Time, speaker and words of one line."""
    time = Text(f"{row.at_s:5.1f}", style="dim")
    colour = _COLOURS.get(row.who, _CALLER_COLOUR)
    match row.kind:
        case Kind.SAYS:
            words = Text(row.text, style=colour)
            words.append(row.rest, style="dim strike" if row.settled else "dim")
            return time, Text(row.who, style=f"bold {colour}"), words
        case Kind.HEARS:
            words = Text(row.text, style="dim" if row.settled else "dim italic")
            if not row.settled:
                words.append(" ...", style="dim")
            return time, Text(f"{row.who} hears", style="dim"), words
        case Kind.TOOL:
            return time, Text("tool", style="bold yellow"), Text(row.text, style="yellow")
        case Kind.EVENT:
            return time, Text("*", style="magenta"), Text(row.text, style="magenta")


def page_of(rows: list[Row]) -> Table:
    """The lines as a table."""
    table = Table.grid(padding=(0, 1))
    table.add_column(justify="right", width=5)
    table.add_column(width=12)
    table.add_column(overflow="fold")
    for row in rows:
        table.add_row(*line_of(row))
    return table


def print_row(console: Console, row: Row) -> None:
    """One settled line, for logs and pipes."""
    time, who, words = line_of(row)
    if row.rest:
        words = Text(f"{row.text} [cut off: {row.rest.strip()}]")
    console.print(Text.assemble(time, "  ", who, "  ", words), soft_wrap=True)


@contextlib.asynccontextmanager
async def shown(board: Board, console: Console) -> AsyncIterator[None]:
    """Shows the board as it changes; the whole call stays on the screen at the end."""
    with Live(console=console, auto_refresh=False, vertical_overflow="crop") as live:
        refreshing = asyncio.create_task(_refresh(live, board, console), name="view")
        try:
            yield
        finally:
            refreshing.cancel()
            await asyncio.wait([refreshing])
            live.vertical_overflow = "visible"
            live.update(page_of(board.rows), refresh=True)
        if not refreshing.cancelled():
            refreshing.result()


async def _refresh(live: Live, board: Board, console: Console) -> None:
    while True:
        live.update(_fitting(board.rows, console), refresh=True)
        await asyncio.sleep(REFRESH_S)


def _fitting(rows: list[Row], console: Console) -> RenderableType:
    """The last lines that fit the screen."""
    room = max(5, console.size.height - _SPARE_LINES)
    first = max(0, len(rows) - room)
    while first < len(rows) and len(console.render_lines(page_of(rows[first:]))) > room:
        first += 1
    return Group(page_of(rows[first:]))
