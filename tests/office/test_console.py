"""What the office types, and what it reads."""

import asyncio
import datetime as dt
import json
import os
import subprocess
import sys
from pathlib import Path

import asyncpg
import pytest

from crm.console import app, days, printing
from crm.workshop_file import DEMO
from tests.office.conftest import Crm

ROOT = Path(__file__).resolve().parents[2]
NOW = dt.datetime(2026, 12, 1, 4, 30, tzinfo=dt.UTC)  # still the 30th of November in Chicago

BOOK = """
INSERT INTO appointment (customer_id, phone, name, call, service_type_id, vehicle, starts_at, ends_at, bay_id,
  technician_id, status)
SELECT $1, $2, $3, 'CA1', (SELECT min(id) FROM service_type), $4, $5::timestamptz,
  $5::timestamptz + interval '30 minutes', (SELECT min(id) FROM bay), (SELECT min(id) FROM technician), $6
"""


async def book(
    rows: asyncpg.Connection,
    at: str,
    *,
    customer: int | None = 1,
    phone: str | None = "+13125550142",
    name: str | None = "Sarah",
    car: str | None = "2022 Honda Civic",
    status: str = "booked",
) -> None:
    await rows.execute(BOOK, customer, phone, name, car, dt.datetime.fromisoformat(at), status)


class WorkshopFile:
    """A file that is the demo's workshop until something else is written to it."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self.text = DEMO.read_text()
        self.write(self.text)

    def write(self, text: str) -> None:
        self._path.write_text(text)


@pytest.fixture(autouse=True)
def _clock(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(days, "now", lambda: NOW)


@pytest.fixture
def workshop_file(tmp_path: Path) -> WorkshopFile:
    return WorkshopFile(tmp_path / "workshop.toml")


@pytest.mark.usefixtures("seeded")
@pytest.mark.parametrize(
    ("search", "who"),
    [
        ("mitch", ["Sarah Mitchell"]),
        ("tom", ["Thomas Brandt"]),
        ("(312) 555-0142", ["Sarah Mitchell"]),
        ("1-312-555-0143", ["Sarah Mitchell"]),
        ("+1 312 555 0175", ["Arjun Raman", "Priya Raman"]),
        ("550175", ["Arjun Raman", "Priya Raman"]),
        ("%", []),
        ("_", []),
        ("'; DROP TABLE customer; --", []),
    ],
)
async def test_customers_are_found_by_a_part_of_the_name_or_a_number_in_any_form(
    crm: Crm, search: str, who: list[str]
) -> None:
    found = json.loads((await crm("customers", search, "--json")).stdout)
    assert [one["name"] for one in found] == who


@pytest.mark.usefixtures("seeded")
async def test_a_piped_list_is_a_line_for_each_row_without_boxes_colours_or_cuts(
    crm: Crm, rows: asyncpg.Connection
) -> None:
    long = "Maximiliane " + "von und zu " * 30 + "Long"
    await rows.execute("UPDATE customer SET name = $1 WHERE id = 1", long)
    lines = (await crm("customers")).stdout.splitlines()
    assert lines[0].split("\t") == ["id", "name", "called", "since", "numbers", "cars"]
    assert len(lines) == 7
    found = next(line for line in lines if "von und zu" in line)
    assert found.split("\t") == ["1", long, "", "2020", "+13125550142; +13125550143", "2022 Honda Civic"]
    assert "\x1b" not in "".join(lines)
    assert "│" not in "".join(lines)


@pytest.mark.usefixtures("seeded")
async def test_vins_are_shown_of_whom_is_searched_with_cars_and_nowhere_else(crm: Crm) -> None:
    assert "2HGFE2F58NH512345" not in (await crm("customers", "Sarah")).output
    cars = (await crm("customers", "Sarah", "--cars")).stdout.splitlines()
    assert cars[1].split("\t") == [
        "1",
        "Sarah Mitchell",
        "2022 Honda Civic",
        "2HGFE2F58NH512345",
        "41200",
        "oil change",
        "2026-03-15",
    ]
    assert len(cars) == 2
    assert "needs SEARCH" in (await crm("customers", "--cars", code=2)).output


@pytest.mark.usefixtures("seeded")
async def test_what_a_caller_made_of_their_name_commands_no_terminal(
    crm: Crm, rows: asyncpg.Connection
) -> None:
    await rows.execute("UPDATE customer SET name = $1 WHERE id = 1", "Sa\x1b[2J\trah\n[red]x[/]")
    out = (await crm("customers", "[red]")).stdout
    assert "\x1b" not in out
    assert len(out.splitlines()) == 2
    assert "rah [red]x[/]" in out


@pytest.mark.usefixtures("seeded")
async def test_a_day_of_appointments_is_the_dealerships_day(crm: Crm, rows: asyncpg.Connection) -> None:
    await book(rows, "2026-11-30T08:00-06:00", status="cancelled")
    await book(rows, "2026-11-30T23:45-06:00", customer=None, phone=None, name="Bo")
    await book(rows, "2026-12-01T00:15-06:00", car=None)
    await rows.execute("UPDATE appointment SET vehicle_id = 1 WHERE vehicle IS NULL")
    today = [line.split("\t") for line in (await crm("appointments")).stdout.splitlines()]
    assert today == [
        ["time", "customer", "number", "car", "service", "bay", "technician", "status"],
        [
            "08:00",
            "Sarah Mitchell",
            "+13125550142",
            "2022 Honda Civic",
            "oil change",
            "1",
            today[1][6],
            "cancelled",
        ],
        ["23:45", "Bo", "withheld", "2022 Honda Civic", "oil change", "1", today[1][6], "booked"],
    ]
    tomorrow = json.loads((await crm("appointments", "tomorrow", "--json")).stdout)
    assert [(one["time"], one["car"]) for one in tomorrow] == [
        ("2026-11-30T23:45:00-06:00", "2022 Honda Civic"),  # still going on at midnight
        ("2026-12-01T00:15:00-06:00", "2022 Honda Civic"),
    ]
    assert (await crm("appointments", "2026-12-01", "--json")).stdout == json_of(tomorrow)
    nothing = await crm("appointments", "2026-12-24")
    assert nothing.stdout == ""
    assert "no appointments on Thursday, December 24, 2026" in nothing.stderr
    assert json.loads((await crm("appointments", "2026-12-24", "--json")).stdout) == []


def json_of(found: list[dict[str, object]]) -> str:
    return "[" + ",\n ".join(json.dumps(one) for one in found) + "]\n"


@pytest.mark.parametrize(("day", "hours"), [("2026-03-08", 23), ("2026-11-01", 25), ("2026-06-01", 24)])
def test_a_day_on_which_clocks_change_has_all_its_hours(day: str, hours: int) -> None:
    zone = days.ZoneInfo("America/Chicago")
    begins, ends = days.bounds(days.read_day(day, zone), zone)
    assert ends.astimezone(dt.UTC) - begins.astimezone(dt.UTC) == dt.timedelta(hours=hours)


async def test_a_workshop_is_set_up_and_what_changed_is_said(
    crm: Crm, workshop_file: WorkshopFile, rows: asyncpg.Connection
) -> None:
    first = (await crm("setup", "workshop.toml")).stdout
    assert "saturday: 09:00-13:00" in first
    assert "new service oil change" in first
    assert (
        await crm("setup", "workshop.toml")
    ).stdout == "Nothing has changed: it was set up like this before.\n"
    text = workshop_file.text.replace('saturday = ["09:00-13:00"]', 'saturday = ["09:00-12:00"]')
    text = text.replace("price = [59, 79]", "price = [65, 79]").replace(
        'name = "battery check"', 'name = "battery test"'
    )
    workshop_file.write(text + '\n[[holidays]]\nday = 2027-07-04\nname = "Independence Day"\n')
    assert (await crm("setup", "workshop.toml")).stdout.splitlines() == [
        "the dealership, saturday: 09:00-13:00 became 09:00-12:00",
        "service oil change: $59.00 to $79.00 became $65.00 to $79.00",
        "new service battery test",
        "service battery check takes no appointments any more",
        "2027-07-04: Independence Day, closed",
    ]
    assert await rows.fetchval("SELECT active FROM service_type WHERE name = 'battery check'") is False


async def test_a_setup_file_that_is_wrong_changes_nothing_and_is_told(
    crm: Crm, workshop_file: WorkshopFile, rows: asyncpg.Connection
) -> None:
    await crm("setup", "workshop.toml")
    before = await rows.fetchval("SELECT count(*) FROM working_hours")
    good = workshop_file.text
    for wrong, said in (
        (good.replace("08:00-17:00", "8-5"), "hours are written 08:00-17:00"),
        (good.replace('["maintenance"]', '["magic"]', 1), "no technician can do it"),
        (
            good
            + '\n[[holidays]]\nday = 2027-07-04\nname = "Split"\nhours = ["08:00-10:00", "12:00-14:00"]\n',
            "Split",
        ),
        ("no toml", "can't be used as a workshop"),
    ):
        workshop_file.write(wrong)
        done = await crm("setup", "workshop.toml", code=1)
        assert said in done.stderr
        assert done.stdout == ""
        assert "Traceback" not in done.stderr
    assert await rows.fetchval("SELECT count(*) FROM working_hours") == before
    assert "can't be used" in (await crm("setup", "nowhere.toml", code=1)).stderr


@pytest.mark.usefixtures("seeded")
async def test_a_closure_is_entered_once_tells_who_is_booked_and_can_be_taken_back(
    crm: Crm, rows: asyncpg.Connection
) -> None:
    await book(rows, "2026-12-24T09:00-06:00")
    await book(rows, "2026-12-24T10:00-06:00", name="Gone", customer=None, status="cancelled")
    words = ("close", "2026-12-24", "2026-12-25", "--reason", "Christmas")
    done = (await crm(*words)).stdout
    assert "the workshop is closed from 2026-12-24 00:00 to 2026-12-26 00:00." in done
    assert "2026-12-24 09:00\tSarah Mitchell\t+13125550142" in done
    assert "Gone" not in done
    await crm(*words)
    found = await rows.fetch("SELECT starts_at, ends_at, bay_id, technician_id, reason FROM closure")
    chicago = days.ZoneInfo("America/Chicago")
    assert [tuple(row) for row in found] == [
        (
            dt.datetime(2026, 12, 24, tzinfo=chicago),
            dt.datetime(2026, 12, 26, tzinfo=chicago),
            None,
            None,
            "Christmas",
        )
    ]
    assert json.loads((await crm("closures", "--json")).stdout)[0]["reason"] == "Christmas"
    assert "not closed any more" in (await crm(*words, "--undo")).stdout
    assert await rows.fetchval("SELECT count(*) FROM closure") == 0
    assert "no such closure" in (await crm(*words, "--undo", code=1)).stderr


@pytest.mark.usefixtures("seeded")
async def test_a_bay_is_closed_for_some_hours(crm: Crm, rows: asyncpg.Connection) -> None:
    await crm("close", "2026-12-24 08:00", "2026-12-24 12:00", "--bay", " 1 ")
    name = "SELECT bay.name FROM closure JOIN bay ON bay.id = bay_id WHERE technician_id IS NULL"
    assert await rows.fetchval(name) == "1"
    span = "SELECT ends_at - starts_at FROM closure"
    assert await rows.fetchval(span) == dt.timedelta(hours=4)
    assert "there are 1, 2" in (await crm("close", "today", "today", "--bay", "Nine", code=1)).stderr
    assert "not after" in (await crm("close", "2026-12-25", "2026-12-24", code=1)).stderr
    assert "no day" in (await crm("close", "soon", "later", code=1)).stderr
    assert "no time" in (await crm("close", "2026-12-24 25:00", "2026-12-26", code=1)).stderr
    assert (
        "enter two"
        in (await crm("close", "today", "today", "--bay", "1", "--technician", "x", code=1)).stderr
    )


@pytest.mark.usefixtures("seeded")
async def test_an_opt_out_is_noted_whatever_the_number_looks_like(crm: Crm, rows: asyncpg.Connection) -> None:
    assert "Sarah Mitchell's number" in (await crm("opt-out", "312.555.0142", "greeting")).stdout
    assert "before" in (await crm("opt-out", "+13125550142", "greeting")).stdout
    assert await rows.fetchval("SELECT phone || kind FROM opt_out") == "+13125550142greeting"
    await crm("opt-out", "(312) 555-0142", "greeting", "--undo")
    assert await rows.fetchval("SELECT count(*) FROM opt_out") == 0
    assert "area code" in (await crm("opt-out", "555-0142", "contact", code=1)).stderr
    await crm("opt-out", "3125550142", "everything", code=2)


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("postgresql://desk:hunter2@127.0.0.1:9/motors", "127.0.0.1:9/motors"),
        ("mysql://desk:hunter2@db/motors", "DATABASE_URL must begin with postgresql://"),
        ("", "There is no database: set DATABASE_URL, or start make serve"),
    ],
)
@pytest.mark.parametrize("command", [["customers"], ["migrate"], ["seed"], ["import", "vehicles", "x.csv"]])
async def test_without_a_database_it_says_what_to_do_and_no_password(
    crm: Crm, monkeypatch: pytest.MonkeyPatch, url: str, said: str, command: list[str]
) -> None:
    monkeypatch.setenv("DATABASE_URL", url)
    done = await crm(*command, code=1)
    assert said in done.stderr
    assert "hunter2" not in done.output
    assert len(done.stderr.splitlines()) == 1


async def test_the_database_of_make_serve_is_found(
    crm: Crm, postgres_url: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.delenv("DATABASE_URL")
    home = tmp_path / ".trunkline"
    home.mkdir()
    (home / "run.json").write_text(json.dumps({"database_url": postgres_url}))
    await crm("seed")
    assert "Sarah" in (await crm("customers")).stdout
    (home / "run.json").write_text(
        json.dumps({"database_url": "postgresql://postgres:hunter2@127.0.0.1:9/trunkline"})
    )
    gone = await crm("customers", code=1)
    assert "start make serve again" in gone.stderr
    assert "hunter2" not in gone.output


async def test_a_database_without_tables_is_told_to_migrate(crm: Crm, rows: asyncpg.Connection) -> None:
    await rows.execute("DROP TABLE call_epoch")
    assert "migrate" in (await crm("customers", code=1)).stderr


async def test_it_runs_as_a_person_types_it(postgres_url: str, tmp_path: Path) -> None:
    (tmp_path / "people.csv").write_text("name,phone\nAnn Lee,312 555 0101\n")

    def crm(words: str) -> subprocess.CompletedProcess[str]:
        environment = os.environ | {"DATABASE_URL": postgres_url, "PYTHONPATH": str(ROOT), "FORCE_COLOR": "1"}
        return subprocess.run(
            [sys.executable, "-m", "crm", *words.split()],
            cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=120, check=False,
        )  # fmt: skip

    def run() -> None:
        entered = crm("import customers people.csv")
        assert (entered.returncode, entered.stderr) == (0, "")
        assert entered.stdout == "people.csv, 1 rows: 1 added.\n"
        found = crm("customers ann")
        assert found.stdout.splitlines()[1].split("\t")[1::3] == ["Ann Lee", "+13125550101"]
        assert "\x1b" not in found.stdout

    await asyncio.to_thread(run)


@pytest.mark.usefixtures("seeded")
async def test_a_terminal_gets_a_table_that_is_folded_and_never_too_long(
    crm: Crm, rows: asyncpg.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in (app, printing):
        monkeypatch.setattr(module, "to_terminal", lambda: True)
    monkeypatch.setenv("COLUMNS", "60")
    long = "Wilhelmina " * 20
    await rows.execute("UPDATE customer SET name = $1 WHERE id = 1", f"{long}[bold]End")
    out = (await crm("customers", "--most", "5")).output
    assert "\x1b" not in out  # of the names; colours are the terminal's own affair, and there are none
    assert max(len(line) for line in out.splitlines()[:-1]) <= 60
    whole = "".join(out.split())
    assert "[bold]End" not in whole
    assert "more than 5" in out
    found = (await crm("customers", "wilhelm")).output
    assert found.count("Wilhelmina") == 20
    assert "[bold]" in found


@pytest.mark.usefixtures("seeded")
async def test_a_reader_that_has_gone_is_no_failure(
    postgres_url: str, rows: asyncpg.Connection, tmp_path: Path
) -> None:
    await rows.execute(
        "INSERT INTO customer (name, since) SELECT repeat('x', 100) || n, 2020 FROM generate_series(1, 2000) AS n"
    )
    command = f"{sys.executable} -m crm customers | head -1"
    environment = os.environ | {"DATABASE_URL": postgres_url, "PYTHONPATH": str(ROOT)}

    def run() -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            ["bash", "-o", "pipefail", "-c", command],
            cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=120, check=False,
        )  # fmt: skip

    done = await asyncio.to_thread(run)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("id\tname")
