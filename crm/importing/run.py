"""Imports a file: reads it, and writes it batch by batch.

Each batch is a transaction, so that a file of any size needs little memory, and one that was stopped is simply imported
again: rows that are there already change nothing. If Postgres refuses a batch its halves are tried, until the row is
alone that it refuses.
"""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Protocol, TypeVar

from sqlalchemy import func, select
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from crm.database import first_line, is_away
from crm.importing.csvfile import BadRow, Columns, CsvFile, Row
from crm.importing.report import Kept, RejectedFile, Report

BATCH = 1000
_LOCK = 0x696D706F7274  # imports take turns, so that two of one file don't both add its rows

Verdict = Kept | BadRow
R = TypeVar("R")


class Kind(Protocol[R]):
    """What a file has rows of."""

    columns: Columns

    def read(self, row: Row) -> R | BadRow:
        """What the row says, by itself."""

    def row_of(self, read: R) -> Row:
        """Where it comes from."""

    async def store(self, connection: AsyncConnection, rows: Sequence[R]) -> list[Verdict]:
        """Writes rows in the caller's transaction, each as if those before it were there; says what became of each."""


async def import_file(
    engine: AsyncEngine,
    kind: Kind[R],
    path: Path,
    report: Report,
    *,
    dry_run: bool = False,
    tell: Callable[[int, BadRow | str], None] = lambda line, news: None,
    progress: Callable[[], None] = lambda: None,
) -> None:
    """Imports `path`, counting in `report`; `tell` gets the line and a rejected row or a warning, line by line.

    With `dry_run` all is done and then taken back. Raises `WrongCsv` if the file can't be used, and what the
    database raises if it is away; batches before that are kept.
    """
    with CsvFile(path, kind.columns) as file, RejectedFile(path, file.separator, file.heading) as rejected:
        async with engine.connect() as connection:
            batch: list[R | BadRow] = []
            rows = file.rows()
            while True:
                row = next(rows, None)
                if row is not None:
                    batch.append(row if isinstance(row, BadRow) else kind.read(row))
                if batch and (row is None or len(batch) == BATCH):
                    verdicts = await _store(connection, kind, batch)
                    if not dry_run:
                        await connection.commit()
                    for line, verdict in verdicts:
                        _count(report, rejected, line, verdict, tell)
                    batch = []
                    progress()
                if row is None:
                    break
            await connection.rollback()
        report.rejected_file = rejected.path if rejected.begun else None
        report.why_none = rejected.trouble


async def _store(
    connection: AsyncConnection, kind: Kind[R], batch: Sequence[R | BadRow]
) -> list[tuple[int, Verdict]]:
    good = [one for one in batch if not isinstance(one, BadRow)]
    if good:
        await connection.execute(select(func.pg_advisory_xact_lock(_LOCK)))
    stored = iter(await _halving(connection, kind, good) if good else ())
    verdicts: list[tuple[int, Verdict]] = []
    for one in batch:
        verdict = one if isinstance(one, BadRow) else next(stored)
        verdicts.append((one.line if isinstance(one, BadRow) else kind.row_of(one).line, verdict))
    return verdicts


async def _halving(connection: AsyncConnection, kind: Kind[R], rows: Sequence[R]) -> list[Verdict]:
    try:
        async with connection.begin_nested():
            return await kind.store(connection, rows)
    except DBAPIError as error:
        if is_away(error) or not _for_its_content(error):
            raise
        if len(rows) == 1:
            row = kind.row_of(rows[0])
            todo = f"the database refuses it ({first_line(error.orig or error)[:200]}): correct the row"
            return [BadRow(row.line, "", todo, fields=row.fields)]
    half = len(rows) // 2
    return [*await _halving(connection, kind, rows[:half]), *await _halving(connection, kind, rows[half:])]


def _for_its_content(error: DBAPIError) -> bool:
    """SQLSTATE classes: 21 cardinality, 22 data, 23 integrity, P0 a trigger's own; all else would refuse any row."""
    return str(getattr(error.orig, "sqlstate", None) or "")[:2] in {"21", "22", "23", "P0"}


def _count(
    report: Report,
    rejected: RejectedFile,
    line: int,
    verdict: Verdict,
    tell: Callable[[int, BadRow | str], None],
) -> None:
    if isinstance(verdict, BadRow):
        report.rejected += 1
        rejected.add(verdict)
        tell(line, verdict)
        return
    report.count(verdict.was)
    if verdict.warning:
        report.warnings += 1
        tell(line, verdict.warning)
