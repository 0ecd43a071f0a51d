"""`python -m crm import`: what it takes, and what it says of a file's rows."""

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer

from crm.console import days
from crm.console.printing import clean, print_list, to_terminal
from crm.console.reach import office, run
from crm.importing.csvfile import BadRow
from crm.importing.customers import Customers
from crm.importing.report import HEADING, Report
from crm.importing.run import BATCH, Kind, import_file
from crm.importing.vehicles import Vehicles

MOST = 20  # rejected rows and warnings on a terminal; a pipe gets all

File = Annotated[Path, typer.Argument(help="CSV, UTF-8, with a line of headings; separated by , ; or tabs.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Only say what would be done.")]
_EPILOG = (
    f"Rows are entered {BATCH} at a time: what is entered stays if the rest can't be. Importing a file again "
    "changes nothing. Rows that can't be used are listed and written to FILE.rejected.csv, which can be corrected "
    "and imported; the exit code is then 1."
)


def customers(file: File, dry_run: DryRun = False) -> None:
    """Enters customers. Columns: name, phone (several separated by ;), preferred_name, since (a year)."""
    _run(Customers, file, dry_run)


def vehicles(file: File, dry_run: DryRun = False) -> None:
    """Enters cars. Columns: phone of the owner or customer (an id), vin, year, make, model, mileage."""
    _run(Vehicles, file, dry_run)


for _command in (customers, vehicles):
    _command.__doc__ = f"{_command.__doc__}\n\n{_EPILOG}"


def _run(kind: Callable[[int], Kind[Any]], file: Path, dry_run: bool) -> None:
    report = Report()
    news = _News()

    async def work() -> None:
        try:
            async with office() as here:
                this_year = days.now().astimezone(here.zone).year
                await import_file(
                    here.engine,
                    kind(this_year),
                    file,
                    report,
                    dry_run=dry_run,
                    tell=news.tell,
                    progress=lambda: _progress(report),
                )
        finally:
            news.end(report)
            _say(report, file, dry_run)

    run(work())
    if report.rejected:
        raise typer.Exit(1)


class _News:
    """Rejected rows, and warnings on stderr: a terminal gets the first of each at the end, a pipe all as they come."""

    def __init__(self) -> None:
        self._rejected: list[tuple[object, ...]] = []
        self._warnings: list[str] = []
        self._begun = False

    def tell(self, line: int, news: BadRow | str) -> None:
        if isinstance(news, BadRow):
            row = (news.line, news.column, news.value, news.todo)
            if to_terminal():
                self._rejected = [*self._rejected, row][:MOST]
                return
            if not self._begun:
                print("\t".join(HEADING))
            self._begun = True
            print("\t".join(clean(cell) for cell in row))
        elif len(self._warnings) < MOST or not to_terminal():
            self._warnings.append(f"line {line}: {clean(news)}")
            if not to_terminal():
                typer.echo(self._warnings.pop(), err=True)

    def end(self, report: Report) -> None:
        if self._rejected:
            print_list(HEADING, self._rejected, "")
            if report.rejected > len(self._rejected):
                print(f"... and {report.rejected - len(self._rejected):,} more that can't be used.")
        for warning in self._warnings:
            typer.echo(warning, err=True)
        if self._warnings and report.warnings > len(self._warnings):
            typer.echo(f"... and {report.warnings - len(self._warnings):,} more warnings.", err=True)


def _progress(report: Report) -> None:
    if sys.stderr.isatty():
        sys.stderr.write(f"\r{report.rows:,} rows\r")
        sys.stderr.flush()


def _say(report: Report, file: Path, dry_run: bool) -> None:
    if not report.rows:
        return
    counts = ((report.added, "added"), (report.changed, "changed"), (report.unchanged, "there already"))
    parts = [f"{count:,} {word}" for count, word in (*counts, (report.rejected, "rejected")) if count]
    said = f"{clean(file.name)}, {report.rows:,} rows: {', '.join(parts)}."
    if dry_run:
        said += " This was a dry run: nothing has been written."
    elif not report.added and not report.changed:
        said += " Nothing has changed."
    print(said)
    if report.rejected_file:
        print(f"Rejected rows are in {report.rejected_file}: correct them there, and import it.")
    if report.why_none:
        typer.echo(f"Rejected rows are only listed here: {report.why_none}.", err=True)
