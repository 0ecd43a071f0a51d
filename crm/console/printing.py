"""Lists, for a terminal, a pipe, and programs."""

import datetime as dt
import json
import shutil
import sys
from collections.abc import Iterable, Sequence
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table
from rich.text import Text


def to_terminal() -> bool:
    """Whether somebody looks at it, and not a program."""
    return sys.stdout.isatty()


def print_list(headings: Sequence[str], rows: Iterable[Sequence[object]], nothing: str) -> None:
    """A table; piped, a line for each row with tabs between, cut nowhere. `nothing` is said of an empty one."""
    lines = [[clean(cell) for cell in row] for row in rows]
    if not lines:
        print(nothing, file=sys.stdout if to_terminal() else sys.stderr)
    elif to_terminal():
        table = Table(box=SIMPLE_HEAD, pad_edge=False)
        for heading in headings:
            table.add_column(heading, overflow="fold")
        for line in lines:
            table.add_row(*(Text(cell) for cell in line))
        # A terminal that tells no width has 80 columns; narrower than that, lines are folded.
        Console(width=max(shutil.get_terminal_size().columns, 40), highlight=False).print(table)
    else:
        for line in (list(headings), *lines):
            print("\t".join(line))


def print_json(rows: Iterable[dict[str, Any]]) -> None:
    """A JSON array, an object a line."""
    lines = [json.dumps(row, ensure_ascii=False, default=_plain) for row in rows]
    print("[" + ",\n ".join(lines) + "]")


def clean(cell: object) -> str:
    """One line of text, without what would command a terminal: callers' names are whatever was heard."""
    text = "" if cell is None else str(cell)
    return "".join(c if c.isprintable() else " " for c in text)


def _plain(value: object) -> str:
    if isinstance(value, dt.datetime | dt.date):
        return value.isoformat()
    return str(value)
