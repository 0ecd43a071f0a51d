"""What became of a file's rows, and the file of those that were rejected."""

import csv
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TextIO

import msgspec

from crm.importing.csvfile import BadRow

HEADING = ("line", "column", "value", "what to do")


class Kept(msgspec.Struct, frozen=True):
    """A row that is in the database now: `was` is "added", "changed" or "unchanged"."""

    was: str
    warning: str = ""


class Report(msgspec.Struct):
    """How many rows became what. `rejected_file` is None where there is none, or it can't be written (`why_none`)."""

    added: int = 0
    changed: int = 0
    unchanged: int = 0
    rejected: int = 0
    warnings: int = 0
    rejected_file: Path | None = None
    why_none: str = ""

    @property
    def rows(self) -> int:
        """All that were read."""
        return self.added + self.changed + self.unchanged + self.rejected

    def count(self, was: str) -> None:
        """One more of those."""
        setattr(self, was, getattr(self, was) + 1)


class RejectedFile:
    """`FILE.rejected.csv`: line, column, value and what to do, then the row as it was; once corrected it can be
    imported itself. Begun with the first row; one of an earlier run is removed, as it would be taken for this one's."""

    def __init__(self, source: Path, separator: str, heading: Sequence[str]) -> None:
        self.path = source.with_name(f"{source.stem}.rejected.csv")
        self.trouble = ""
        self._separator = separator
        self._heading = heading
        self._file: TextIO | None = None
        self._write: Callable[[Sequence[object]], object] = len

    def __enter__(self) -> "RejectedFile":
        try:
            with self.path.open(encoding="utf-8-sig", errors="replace") as old:
                ours = next(csv.reader([old.readline(200)], delimiter=self._separator), [])[:4] == list(
                    HEADING
                )
            if ours:
                self.path.unlink()
        except FileNotFoundError:
            pass
        except OSError as error:
            self.trouble = str(error)
        return self

    def __exit__(self, *_: object) -> None:
        if self._file is not None:
            self._file.close()

    @property
    def begun(self) -> bool:
        """Whether there is one."""
        return self._file is not None

    def add(self, bad: BadRow) -> None:
        """Writes a row, unless the file can't be written, which `trouble` then tells."""
        if self.trouble:
            return
        try:
            if self._file is None:
                self._begin()
            self._write([bad.line, bad.column, bad.value, bad.todo, *bad.fields])
        except OSError as error:
            self.trouble = f"{self.path} can't be written: {error.strerror or error}"

    def _begin(self) -> None:
        # Customers are in it. The mark at its beginning tells Excel that it is UTF-8.
        descriptor = os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        self._file = os.fdopen(descriptor, "w", encoding="utf-8-sig", newline="", errors="replace")
        self._write = csv.writer(self._file, delimiter=self._separator).writerow
        self._write([*HEADING, *self._heading])
