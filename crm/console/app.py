"""The commands of `python -m crm`: what they take and print. What they do is in the modules beside this one."""

import datetime as dt
from collections.abc import Sequence
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any
from zoneinfo import ZoneInfo

import typer

from crm import migrate as migrations
from crm import seed as demo
from crm.console import calls as log
from crm.console import days, diary, people
from crm.console.changes import changes
from crm.console.importing import customers as import_customers
from crm.console.importing import vehicles as import_vehicles
from crm.console.printing import clean, print_json, print_list, to_terminal
from crm.console.reach import ConsoleError, database_url, office, run, session
from crm.models import OF_CALLS
from crm.pgwork import PgWork
from crm.setup import enter, is_set_up
from crm.workshop_file import read_workshop
from engine.callpurge import Keep
from engine.callpurge import purge as purge_log
from engine.callreading import CALLS_LIMIT, calls_of_day, story_of
from engine.settings import load_settings

MOST = 100  # rows on a terminal; a pipe gets all

app = typer.Typer(
    name="crm",
    help="The office's console. It works with the database at DATABASE_URL, or, if that is empty, with that of the "
    "`make serve` which runs in this directory. Times are on the dealership's clock.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
imports = typer.Typer(
    no_args_is_help=True, help="Enters customers or vehicles from a CSV file.", rich_markup_mode=None
)
app.add_typer(imports, name="import")
imports.command("customers")(import_customers)
imports.command("vehicles")(import_vehicles)

Day = Annotated[str, typer.Argument(help="today, tomorrow, yesterday, or a date such as 2026-12-01.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print a JSON array instead.")]
Undo = Annotated[bool, typer.Option("--undo", help="Take it back.")]


class Kind(StrEnum):
    """What a number may not want."""

    GREETING = "greeting"
    CONTACT = "contact"


def main() -> None:
    """Runs the console."""
    app(prog_name="python -m crm")


@app.command()
def migrate() -> None:
    """Brings the tables up to date."""

    async def work() -> None:
        await migrations.upgrade(database_url(load_settings()))
        print("The tables are up to date.")

    run(work())


@app.command()
def seed() -> None:
    """Enters the demo's records.

    Workshop and customers are entered where they are missing; nothing is overwritten.
    """

    async def work() -> None:
        async with office() as here:  # says what to do when there are no tables
            await demo.seed(database_url(here.settings), here.settings.timezone)
        print("The demo's customers are entered.")

    run(work())


@app.command()
def setup(file: Annotated[Path, typer.Argument(help="A workshop as in crm/demo_workshop.toml.")]) -> None:
    """Enters the workshop from a TOML file.

    Hours, holidays, services, bays and technicians become those of the file, and it is said what has changed.
    Who or what is not in the file any more takes no appointments, and keeps those that it has.
    """

    async def work() -> None:
        async with session() as (records, here):
            workshop = read_workshop(file, here.settings.timezone)
            connection = await records.connection()
            before = await PgWork(records).workshop() if await is_set_up(connection) else None
            await enter(connection, workshop)
            records.expire_all()
            lines = changes(before, await PgWork(records).workshop())
        print(
            "\n".join(clean(line) for line in lines) or "Nothing has changed: it was set up like this before."
        )

    run(work())


@app.command()
def customers(
    search: Annotated[str, typer.Argument(help="A part of a name, or a number in any form.")] = "",
    with_cars: Annotated[bool, typer.Option("--cars", help="Their cars, with VINs; needs SEARCH.")] = False,
    most: Annotated[
        int | None, typer.Option("--most", min=1, help=f"Rows; {MOST} on a terminal, else all.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Lists customers with their numbers, by name."""
    if with_cars and not search.strip():
        raise typer.BadParameter("--cars needs SEARCH: whose cars?")

    async def work() -> None:
        limit = most or (MOST if to_terminal() and not as_json else None)
        async with session() as (records, _):
            query, headings = (people.cars, people.CAR) if with_cars else (people.customers, people.CUSTOMER)
            rows = await query(records, search, limit + 1 if limit else None)
        more = limit is not None and len(rows) > limit
        _print(headings, rows[:limit], "Nobody is found.", as_json)
        if more:
            typer.echo(f"There are more than {limit}: narrow the search, or give --most.", err=True)

    run(work())


@app.command()
def appointments(
    day: Day = "today",
    as_json: AsJson = False,
) -> None:
    """Lists the appointments of a day.

    Those that were cancelled are listed too.
    """

    async def work() -> None:
        async with session() as (records, here):
            that = days.read_day(day, here.zone)
            rows = await diary.appointments(records, days.bounds(that, here.zone))
        at = _iso if as_json else days.clock
        shown = [(at(row[0], here.zone), row[1], row[2] or "withheld", *row[3:]) for row in rows]
        _print(
            diary.APPOINTMENT,
            shown,
            f"There are no appointments on {_spoken(that)}.",
            as_json,
        )

    run(work())


@app.command()
def calls(day: Day = "today", as_json: AsJson = False) -> None:
    """Lists the calls of a day.

    The customer is who has the number, whether or not they proved to be that.
    """

    async def work() -> None:
        async with office() as here:
            that = days.read_day(day, here.zone)
            found = await calls_of_day(here.engine, that, here.zone)
            names = await log.customers_of(here.engine, found)
        rows = log.rows_of(found, names, here.zone, exact=as_json)
        _print(log.CALL, rows, f"There were no calls on {_spoken(that)}.", as_json)
        if len(found) >= CALLS_LIMIT:
            typer.echo(f"These are the last {CALLS_LIMIT} calls of that day.", err=True)

    run(work())


@app.command()
def call(sid: Annotated[str, typer.Argument(help="As `calls` shows it.")], as_json: AsJson = False) -> None:
    """Shows what was said and done in a call.

    The agent's sentences are shown as far as they were heard. Timings are in milliseconds.
    """

    async def work() -> None:
        async with office() as here:
            told = await story_of(here.engine, sid.strip())
            names = await log.customers_of(here.engine, [told.call]) if told else {}
        if told is None:
            raise ConsoleError(f"There is no call {clean(sid)!r} in the log, or not any more: see `calls`.")
        if as_json:
            print_json([log.plain(told)])
            return
        print(
            "\n".join(clean(line) for line in log.story(told, names.get(told.call.caller or ""), here.zone))
        )
        print()
        print_list(*log.timings(told), "There are no timings.")

    run(work())


@app.command()
def purge() -> None:
    """Removes what is older than the KEEP_ settings say.

    The app does it by itself; this is for when it does not run, or after a setting was changed.
    """

    async def work() -> None:
        async with office() as here:
            removed = await purge_log(here.engine, Keep.of(here.settings), tools=OF_CALLS)
        for table, rows in removed.items():
            print(f"{table}: {rows:,} rows removed")
        if "call_log" not in removed:
            print("The app is purging at this moment: the rest is left to it.")

    run(work())


@app.command("opt-out")
def opt_out(
    number: Annotated[str, typer.Argument(help="In any form.")],
    kind: Annotated[
        Kind, typer.Argument(help="greeting: not by what is known of them. contact: no calls, no messages.")
    ],
    undo: Undo = False,
) -> None:
    """Notes what whoever has a number does not want."""

    async def work() -> None:
        async with session() as (records, _):
            said = await people.opt_out(records, number, kind.value, undo=undo)
        print(clean(said))

    run(work())


@app.command()
def close(
    start: Annotated[
        str, typer.Argument(metavar="FROM", help="A day, or a time such as '2026-12-24 12:00'.")
    ],
    end: Annotated[str, typer.Argument(metavar="TO", help="A time, or a day, which is closed as a whole.")],
    bay: Annotated[str | None, typer.Option(help="Only this bay.")] = None,
    technician: Annotated[str | None, typer.Option(help="Only this technician.")] = None,
    reason: Annotated[str, typer.Option(help="For the office; callers are not told.")] = "",
    undo: Undo = False,
) -> None:
    """Closes the workshop, or a part of it.

    Appointments that are booked for that time stay, and are listed.
    """

    async def work() -> None:
        async with session() as (records, here):
            span = days.read_span(start, end, here.zone)
            what, of = await diary.close(records, span, bay, technician, reason, undo=undo)
            booked = [] if undo else await diary.appointments(records, span, booked_only=True, **of)
        from_, to = (days.shown(at, here.zone) for at in span)
        print(clean(f"{what} is {'not closed any more' if undo else 'closed'} from {from_} to {to}."))
        if booked:
            print("These are booked then, and stay until somebody moves them:")
            shown = [(days.shown(row[0], here.zone), *row[1:]) for row in booked]
            print_list(diary.APPOINTMENT, shown, "")

    run(work())


@app.command()
def closures(as_json: AsJson = False) -> None:
    """Lists what is closed, and when."""

    async def work() -> None:
        async with session() as (records, here):
            rows = await diary.closures(records, days.now())
        at = _iso if as_json else days.shown
        shown = [(at(row[0], here.zone), at(row[1], here.zone), *row[2:]) for row in rows]
        _print(diary.CLOSURE, shown, "Nothing is closed.", as_json)

    run(work())


def _spoken(day: dt.date) -> str:
    return f"{day:%A, %B} {day.day}, {day.year}"


def _iso(at: dt.datetime, zone: ZoneInfo) -> str:
    return at.astimezone(zone).isoformat()


def _print(headings: tuple[str, ...], rows: Sequence[Sequence[Any]], nothing: str, as_json: bool) -> None:
    if as_json:
        print_json(dict(zip(headings, row, strict=True)) for row in rows)
    else:
        print_list(headings, rows, nothing)
