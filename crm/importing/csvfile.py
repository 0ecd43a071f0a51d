"""A CSV file, whatever wrote it, read row by row in bounded memory.

A row that can't be read never takes another with it: a quote that is opened and not closed costs its own line, and
a line without end is skipped. So the file is cut into lines first, and the lines that a row spans are found by trying.
"""

import contextlib
import csv
import io
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TextIO

import msgspec

LINE_MOST = 65_536  # characters; the longest row of a customer has some hundreds
SPAN_MOST = 50  # lines of one row: a field of notes may have line breaks in it
_SNIFF_BYTES = 65_536
_SEPARATORS = ";,\t"

_FORMULA = re.compile(r'="(.*)"', re.DOTALL)  # how Excel is kept from making numbers of digits
_NO_TEXT = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f]")
_NOT_UTF8 = re.compile("[\udc80-\udcff]")  # what `surrogateescape` makes of other bytes


class WrongCsv(Exception):
    """The whole file can't be used; the message says what to do."""


class Row(msgspec.Struct, frozen=True):
    """One row: the line on which it begins, its fields as they are written, and what they say by column."""

    line: int
    fields: tuple[str, ...]
    values: dict[str, str]


class BadRow(msgspec.Struct, frozen=True):
    """A row that can't be used: what is wrong with it, where if it is in one column, and what to do."""

    line: int
    value: str
    todo: str
    column: str = ""
    fields: tuple[str, ...] = ()


class Columns:
    """The columns that a kind of file may have: each with other names for it; `needed` are those that must be there."""

    def __init__(self, names: Mapping[str, Sequence[str]], needed: Sequence[str]) -> None:
        self.needed = tuple(needed)
        self.names = tuple(names)
        self._known = {_plain(name): column for column, others in names.items() for name in (column, *others)}

    def find(self, heading: str) -> str | None:
        """The column that a heading means."""
        return self._known.get(_plain(heading))


class CsvFile:
    """An open file: `heading`, `separator`, and its rows. Raises `WrongCsv` if it is no CSV with these columns."""

    def __init__(self, path: Path, columns: Columns) -> None:
        self._path = path
        self._columns = columns
        self._stack = contextlib.ExitStack()
        try:
            with self._stack:
                self._lines = _Lines(self._open(path))
                self.separator, self.heading = self._read_heading()
                self._found = self._find_columns()
                self._stack = self._stack.pop_all()
        except OSError as error:
            raise WrongCsv(f"{path} can't be read: {error.strerror or error}") from None

    def __enter__(self) -> "CsvFile":
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    @property
    def ignored(self) -> tuple[str, ...]:
        """Headings of columns that mean nothing here."""
        return tuple(
            name for name, column in zip(self.heading, self._found, strict=True) if name and not column
        )

    def rows(self) -> Iterator[Row | BadRow]:
        """All rows but empty ones, in order."""
        try:
            while (line := self._lines.next()) is not None:
                number = self._lines.number
                row = self._row(number, line)
                if row is not None:
                    yield row
        except OSError as error:
            raise WrongCsv(f"{self._path} can't be read on: {error.strerror or error}") from None

    def _row(self, number: int, line: str) -> Row | BadRow | None:
        fields = self._fields(line)
        if isinstance(fields, str):
            return BadRow(number, _shown(line), fields)
        fields = [clean(field) for field in fields]
        if not any(fields):
            return None
        if _NOT_UTF8.search("".join(fields)):
            return BadRow(
                number, _shown(line), "this is not UTF-8: save the file as CSV UTF-8 and import it again"
            )
        while len(fields) > len(self._found) and not fields[-1]:
            fields.pop()
        if len(fields) > len(self._found):
            todo = (
                f"there are {len(fields)} fields and {len(self._found)} headings: put quotes around a field "
                f"that has {_called(self.separator)} in it"
            )
            return BadRow(number, _shown(line), todo)
        fields += [""] * (len(self._found) - len(fields))
        values = {column: field for column, field in zip(self._found, fields, strict=True) if column}
        for column, value in values.items():
            if _NO_TEXT.search(value):
                todo = "there are characters in it that are no text: write it anew"
                return BadRow(number, _shown(value), todo, column, tuple(fields))
        return Row(number, tuple(fields), values)

    def _fields(self, line: str) -> list[str] | str:
        """The fields of the row that begins with this line, or what is wrong; takes more lines if it needs them."""
        if len(line) > LINE_MOST:
            return f"the line has over {LINE_MOST:,} characters: is a quote or a line break missing?"
        taken: list[str] = []
        text = line
        while True:
            try:
                fields = next(csv.reader([text], delimiter=self.separator, strict=True), [])
            except csv.Error as error:
                more = self._lines.next() if self._open_quote(error, taken) else None
                if more is not None:
                    taken.append(more)
                    text += more
                if more is None or len(text) > LINE_MOST:
                    self._lines.give_back(taken)
                    return 'a quote is not closed, or stands in the middle of a field: write "" for a quote in a text'
            else:
                if taken and self._joined_by_chance(fields):
                    self._lines.give_back(taken)
                    return "a quote is opened and not closed: close it, or leave it out"
                return fields

    def _joined_by_chance(self, fields: Sequence[str]) -> bool:
        """Whether open quotes of two rows met: there is too much, or a line break where only a text may have one."""
        known = zip(fields, self._found, strict=False)
        return len(fields) > len(self._found) or any(column and "\n" in field for field, column in known)

    def _open_quote(self, error: csv.Error, taken: Sequence[str]) -> bool:
        return "unexpected end of data" in str(error) and len(taken) < SPAN_MOST - 1

    def _open(self, path: Path) -> TextIO:
        file = self._stack.enter_context(io.BufferedReader(io.FileIO(path), _SNIFF_BYTES))
        start = file.peek(_SNIFF_BYTES)
        if not start.strip(b"\xef\xbb\xbf \t\r\n"):
            raise WrongCsv(f"{path} is empty: export it again")
        if start.startswith((b"PK\x03\x04", b"\xd0\xcf\x11\xe0")):
            raise WrongCsv(f"{path} is a workbook of Excel's: save it as CSV UTF-8 and import that")
        if start.startswith((b"\xff\xfe", b"\xfe\xff")):
            raise WrongCsv(f"{path} is UTF-16: save it as CSV UTF-8 and import that")
        return io.TextIOWrapper(file, encoding="utf-8-sig", errors="surrogateescape", newline=None)

    def _read_heading(self) -> tuple[str, tuple[str, ...]]:
        """The separator under which most headings are known; Excel may write it in a line of its own before them."""
        line = self._next_line()
        if told := re.fullmatch(r"\ufeff?sep=(.)\s*", line, re.IGNORECASE):
            separators, line = told[1], self._next_line()
        else:
            separators = _SEPARATORS
        best: tuple[int, str, list[str]] = (-1, ",", [])
        for separator in separators:
            try:
                fields = next(csv.reader([line], delimiter=separator, strict=True), [])
            except (csv.Error, ValueError, TypeError):
                continue
            known = sum(self._columns.find(field) is not None for field in fields)
            if known > best[0]:
                best = (known, separator, fields)
        fields = [clean(field) for field in best[2]]
        while fields and not fields[-1]:
            fields.pop()
        return best[1], tuple(fields)

    def _next_line(self) -> str:
        while (line := self._lines.next()) is not None:
            if len(line) > LINE_MOST:
                raise WrongCsv(
                    f"{self._path} begins with a line of over {LINE_MOST:,} characters: it is no CSV file"
                )
            if "\0" in line:
                raise WrongCsv(f"{self._path} is no text: a CSV file is needed")
            if line.strip():
                return line
        raise WrongCsv(f"{self._path} is empty: export it again")

    def _find_columns(self) -> tuple[str | None, ...]:
        found = tuple(self._columns.find(name) for name in self.heading)
        twice = next((column for column in self._columns.names if found.count(column) > 1), None)
        if twice:
            raise WrongCsv(f"{self._path}: two columns are the {twice}: leave one out, or rename it")
        missing = [column for column in self._columns.needed if column not in found]
        if missing:
            there = _shown(", ".join(self.heading))
            raise WrongCsv(
                f"{self._path} has no column {' and no column '.join(missing)}; its first line is {there!r}. "
                f"Columns are {', '.join(self._columns.names)}, in any order, separated by , ; or tabs"
            )
        return found


class _Lines:
    """The file's lines with their numbers, each cut a little over `LINE_MOST` and the rest of it skipped."""

    def __init__(self, text: TextIO) -> None:
        self._text = text
        self._again: list[str] = []
        self.number = 0

    def next(self) -> str | None:
        if self._again:
            self.number += 1
            return self._again.pop()
        line = self._text.readline(LINE_MOST + 1)
        if not line:
            return None
        rest = line
        while len(rest) > LINE_MOST and not rest.endswith("\n"):
            rest = self._text.readline(LINE_MOST + 1)
        self.number += 1
        return line

    def give_back(self, lines: Sequence[str]) -> None:
        """These come again."""
        self._again.extend(reversed(lines))
        self.number -= len(lines)


def clean(field: str) -> str:
    """A field without what is around its text: spaces, Excel's ="..." and its apostrophe before digits."""
    field = field.strip()
    if wrapped := _FORMULA.fullmatch(field):
        field = wrapped[1].replace('""', '"').strip()
    if re.fullmatch(r"'[\d+(].*", field):
        field = field[1:]
    return field.replace("\xa0", " ").strip()


def _plain(heading: str) -> str:
    return "".join(c for c in heading.casefold() if c.isalnum())


def _shown(text: str) -> str:
    return "".join(c if c.isprintable() else "?" for c in text.rstrip("\r\n"))[:80]


def _called(separator: str) -> str:
    return "a tab" if separator == "\t" else separator
