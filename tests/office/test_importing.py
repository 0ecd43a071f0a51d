"""Customers and vehicles from CSV files, on a real Postgres."""

import asyncio
import csv
import os
from pathlib import Path

import asyncpg
import pytest

from crm.database import connect
from crm.importing import run as importing
from crm.importing.customers import Customers
from crm.importing.report import Report
from tests.office.conftest import Crm

PEOPLE = (
    "SELECT name, preferred_name, since, phone FROM customer JOIN customer_phone ON customer_id = id "
    "ORDER BY name, phone"
)
CARS = (
    "SELECT name, vin, year, make, model, mileage FROM vehicle JOIN customer ON customer.id = customer_id "
    "ORDER BY vehicle.id"
)
CIVIC = "2HGFE2F58NH512345"


def write(name: str, *lines: str) -> str:
    Path(name).write_text("\n".join(lines) + "\n")
    return name


async def found(rows: asyncpg.Connection, query: str) -> list[tuple[object, ...]]:
    return [tuple(row) for row in await rows.fetch(query)]


def is_there(name: str) -> bool:
    return Path(name).exists()


def read(name: str) -> str:
    return Path(name).read_text()


def rejected(name: str) -> list[list[str]]:
    with Path(name).open(encoding="utf-8-sig", newline="") as file:
        return list(csv.reader(file))


async def test_customers_come_in_with_all_their_numbers(crm: Crm, rows: asyncpg.Connection) -> None:
    file = write(
        "people.csv",
        "Since,Name,Phone,Preferred Name,Notes",
        '2019,Ann  Lee,"(312) 555-0101; 312.555.0102",Annie,"likes tea"',
        '5/1/2020,Bo Cole,="13125550103",,',
        ",Cy Dee,+44 20 7946 0018,,",
    )
    done = await crm("import", "customers", file)
    assert "3 rows: 3 added" in done.output
    assert await found(rows, PEOPLE) == [
        ("Ann Lee", "Annie", 2019, "+13125550101"),
        ("Ann Lee", "Annie", 2019, "+13125550102"),
        ("Bo Cole", None, 2020, "+13125550103"),
        ("Cy Dee", None, await rows.fetchval("SELECT extract(year FROM now())::int"), "+442079460018"),
    ]


async def test_the_same_file_again_changes_nothing_and_says_so(crm: Crm, rows: asyncpg.Connection) -> None:
    people = write(
        "people.csv",
        "name,phone,since",
        "Ann Lee,3125550101,2019",
        "ANN LEE,312-555-0101;3125550102,",
        "Bo,3125550103,",
    )
    cars = write(
        "cars.csv",
        "phone,vin,year,make,model,mileage",
        f"3125550101,{CIVIC},2022,Honda,Civic,41200",
        '3125550102,,2015,Ford,Focus,"90,000 mi"',
        "3125550102,,2015,ford,FOCUS,",
    )
    first = await crm("import", "customers", people)
    assert "2 added, 1 changed" in first.output
    assert "2 added, 1 there already" in (await crm("import", "vehicles", cars)).output
    before = [
        await found(rows, PEOPLE),
        await found(rows, CARS),
        await found(rows, "SELECT xmin::text FROM customer"),
    ]
    for what, file in (("customers", people), ("vehicles", cars)):
        again = await crm("import", what, file)
        assert "3 rows: 3 there already. Nothing has changed." in again.output
    after = [
        await found(rows, PEOPLE),
        await found(rows, CARS),
        await found(rows, "SELECT xmin::text FROM customer"),
    ]
    assert after == before
    assert before[1] == [
        ("Ann Lee", CIVIC, 2022, "Honda", "Civic", 41200),
        ("Ann Lee", None, 2015, "Ford", "Focus", 90000),
    ]


@pytest.mark.usefixtures("seeded")
async def test_what_is_left_out_stays_and_what_is_new_is_taken(crm: Crm, rows: asyncpg.Connection) -> None:
    people = write(
        "people.csv",
        "name;phone;preferred_name;since",
        "sarah mitchell;3125550142/3125550199;Sal;",
        "Thomas Brandt;3125550188;;2025",
    )
    assert "2 changed" in (await crm("import", "customers", people)).output
    assert await found(rows, f"SELECT * FROM ({PEOPLE}) AS all_of WHERE name ~ 'Sarah|Thomas'") == [
        *(("Sarah Mitchell", "Sal", 2020, f"+131255501{n}") for n in (42, 43, 99)),
        ("Thomas Brandt", "Tom", 2025, "+13125550188"),
    ]
    cars = write(
        "cars.csv",
        "phone,vin,year,make,model,mileage",
        f"3125550142,{CIVIC},2022,Honda,Civic,43000",
        f"3125550142,{CIVIC},,Honda,Civic,",
    )
    assert "1 changed, 1 there already" in (await crm("import", "vehicles", cars)).output
    assert await rows.fetchval("SELECT mileage FROM vehicle WHERE vin = $1", CIVIC) == 43000


@pytest.mark.usefixtures("seeded")
async def test_another_name_at_a_known_number_is_another_person_and_is_told(
    crm: Crm, rows: asyncpg.Connection
) -> None:
    done = await crm("import", "customers", write("people.csv", "name,phone", "Sam Mitchell,3125550142"))
    assert "line 2" in done.stderr
    assert "Sarah Mitchell" in done.stderr
    assert await rows.fetchval("SELECT count(*) FROM customer_phone WHERE phone = '+13125550142'") == 2


async def test_a_row_that_may_be_either_of_two_customers_is_rejected(
    crm: Crm, rows: asyncpg.Connection
) -> None:
    await crm("import", "customers", write("people.csv", "name,phone", "Ann,3125550101", "Ann,3125550102"))
    before = await found(rows, PEOPLE)
    done = await crm(
        "import", "customers", write("more.csv", "name,phone", "ann,3125550101;3125550102"), code=1
    )
    assert "two customers of this name (1 and 2)" in done.stdout
    assert await found(rows, PEOPLE) == before


CUSTOMERS_REJECTED = [
    (",3125550111", "name", "needs a name"),
    ("123,3125550111", "name", "needs a name"),
    ("x" * 200 + ",3125550111", "name", "shorten"),
    ("Ann,", "phone", "no number"),
    ("Ann,555-0142", "phone", "area code"),
    ("Ann,3125550111;12", "phone", "no telephone number"),
    ("Ann,1.31E+10", "phone", "Excel"),
    ('Ann,"13125550111.5"', "phone", "no telephone number"),
    ("Ann,3125550111,,1066", "since", "no year"),
    ("Ann,3125550111,,2020-2021", "since", "no year"),
    ('"Ann,3125550111', "", "quote"),
]


async def test_each_bad_customer_is_told_with_line_column_and_what_to_do(
    crm: Crm, rows: asyncpg.Connection
) -> None:
    bad = CUSTOMERS_REJECTED
    lines = [line for row, _, _ in bad for line in (row, "Good Ann,3125550100")]
    done = await crm("import", "customers", write("people.csv", "name,phone,called,since", *lines), code=1)
    assert await rows.fetchval("SELECT count(*) FROM customer") == 1
    heading, *written = rejected("people.rejected.csv")
    assert heading == ["line", "column", "value", "what to do", "name", "phone", "called", "since"]
    assert [int(row[0]) for row in written] == [2 + 2 * n for n in range(len(bad))]
    for row, (_, column, todo) in zip(written, bad, strict=True):
        assert row[1] == column
        assert todo in row[3]
    for row in written:
        assert "\t".join(row[:4]) in done.stdout
    assert f"{len(bad)} rejected" in done.output
    assert os.stat("people.rejected.csv").st_mode & 0o077 == 0


async def test_the_rejected_rows_can_be_corrected_and_imported(crm: Crm, rows: asyncpg.Connection) -> None:
    await crm(
        "import", "customers", write("people.csv", "name;phone", "Ann;1", "Bo;2", "Cy;3125550101"), code=1
    )
    lines = [
        line.replace("Ann;1", "Ann;3125550102").replace("Bo;2", "Bo;3125550103")
        for line in read("people.rejected.csv").splitlines()
    ]
    write("people.rejected.csv", *lines)
    assert "2 added" in (await crm("import", "customers", "people.rejected.csv")).output
    assert await rows.fetchval("SELECT count(*) FROM customer") == 3
    assert not is_there("people.rejected.rejected.csv")
    await crm("import", "customers", write("people.csv", "name;phone", "Cy;3125550101"))
    assert not is_there("people.rejected.csv"), "an old report would be taken for this run's"


VEHICLES_REJECTED = [
    (",,,2020,Ford,Focus,", "phone", "no number"),
    ("3125550100,,,2020,Ford,Focus,", "phone", "no customer has this number"),
    ("3125550175,,,2020,Ford,Focus,", "phone", "Priya Raman (5) and Arjun Raman (6)"),
    (",999,,2020,Ford,Focus,", "customer", "no customer of this id"),
    (",-1,,2020,Ford,Focus,", "customer", "no id"),
    (",99999999999,,2020,Ford,Focus,", "customer", "no id"),
    (",9999999999,,2020,Ford,Focus,", "customer", "no id"),
    ("3125550163,1,,2020,Ford,Focus,", "phone", "no number of customer 1"),
    (",1,1HGCM82633A,2020,Ford,Focus,", "vin", "17 characters"),
    (",1,1HGCM82633A00435Ü,2020,Ford,Focus,", "vin", "letters and digits"),
    (",1,1FTFW1E55MFA10142,2021,Ford,F-150,", "vin", "James Okafor (2)"),
    (",1,,20,Ford,Focus,", "year", "four digits"),
    (",1,,,Ford,Focus,", "year", "model year"),
    (",1,,2020,,Focus,", "make", "needed"),
    (",1,,2020,Ford,Focus,-5", "mileage", "digits"),
    (",1,,2020,Ford,Focus,9999999", "mileage", "digits"),
]


@pytest.mark.usefixtures("seeded")
async def test_each_bad_vehicle_is_told_with_line_column_and_what_to_do(
    crm: Crm, rows: asyncpg.Connection
) -> None:
    bad = VEHICLES_REJECTED
    before = await rows.fetchval("SELECT count(*) FROM vehicle")
    file = write(
        "cars.csv",
        "phone,customer,vin,year,make,model,mileage",
        *(row for row, _, _ in bad),
        "3125550175,5,,2020,Ford,Focus,",
    )
    await crm("import", "vehicles", file, code=1)
    _, *written = rejected("cars.rejected.csv")
    assert [(int(row[0]), row[1]) for row in written] == [
        (n, column) for n, (_, column, _) in enumerate(bad, 2)
    ]
    for row, (_, _, todo) in zip(written, bad, strict=True):
        assert todo in row[3]
    assert await rows.fetchval("SELECT count(*) FROM vehicle") == before + 1


@pytest.mark.usefixtures("seeded")
async def test_a_wrong_check_digit_is_a_warning_and_a_vin_is_read_as_it_is_written(
    crm: Crm, rows: asyncpg.Connection
) -> None:
    file = write(
        "cars.csv",
        "customer,vin,make,model",
        "1,wvwzz-zauz fp ooooo1,VW,Golf",
        "1,1hgcm-82633 a004352,Honda,Accord",
    )
    done = await crm("import", "vehicles", file)
    assert "check digit of VIN WVWZZZAUZFP000001" in done.stderr
    assert "1HGCM" not in done.stderr
    assert await found(rows, "SELECT vin, year FROM vehicle WHERE make = 'Honda' AND model = 'Accord'") == [
        ("1HGCM82633A004352", 2003)
    ]


@pytest.mark.usefixtures("seeded")
async def test_a_car_that_was_known_without_its_vin_gets_it(crm: Crm, rows: asyncpg.Connection) -> None:
    await crm("import", "vehicles", write("cars.csv", "customer,year,make,model", "4,2003,Honda,Accord"))
    done = await crm(
        "import",
        "vehicles",
        write("cars.csv", "customer,vin,year,make,model", "4,1HGCM82633A004352,2003,Honda,Accord"),
    )
    assert "1 changed" in done.output
    assert await found(rows, "SELECT vin FROM vehicle WHERE customer_id = 4") == [("1HGCM82633A004352",)]


@pytest.mark.usefixtures("seeded")
async def test_a_dry_run_says_what_would_be_and_writes_nothing(
    crm: Crm, rows: asyncpg.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(importing, "BATCH", 2)  # the second batch must know of the first
    file = write(
        "people.csv", "name,phone", "Ann,3125550101", "Bo,3125550102", "ann,3125550101", "Cy,nothing"
    )
    before = await found(rows, PEOPLE)
    dry = await crm("import", "customers", file, "--dry-run", code=1)
    assert await found(rows, PEOPLE) == before
    assert "dry run" in dry.output
    wet = await crm("import", "customers", file, code=1)
    counts = "4 rows: 2 added, 1 there already, 1 rejected."
    assert counts in dry.output
    assert counts in wet.output


async def test_what_only_the_database_refuses_costs_its_own_row(crm: Crm, rows: asyncpg.Connection) -> None:
    await rows.execute("ALTER TABLE customer ADD CHECK (name <> 'Nobody')")
    lines = [f"{'Nobody' if n in (3, 40) else 'Ann Lee'},312555{n:04}" for n in range(100)]
    await crm("import", "customers", write("people.csv", "name,phone", *lines), code=1)
    assert await rows.fetchval("SELECT count(*) FROM customer") == 98
    _, *written = rejected("people.rejected.csv")
    assert [row[0] for row in written] == ["5", "42"]
    assert written[0][4:] == ["Nobody", "3125550003"]


async def test_two_imports_of_one_file_at_once_add_its_rows_once(
    postgres_url: str, crm: Crm, rows: asyncpg.Connection
) -> None:
    lines = [f"Ann A{n},312555{n:04}" for n in range(3000)]
    files = [Path(write(f"people{n}.csv", "name,phone", *lines)) for n in range(3)]
    engine = connect(postgres_url, 30.0, pool_size=3)
    reports = [Report() for _ in files]
    try:
        await asyncio.gather(
            *(
                importing.import_file(engine, Customers(2026), file, report)
                for file, report in zip(files, reports, strict=True)
            )
        )
    finally:
        await engine.dispose()
    assert sum(report.added for report in reports) == 3000
    assert await rows.fetchval("SELECT count(*) FROM customer") == 3000


@pytest.mark.parametrize("content", ["", "PK\x03\x04", "a,b\n1,2\n"])
async def test_a_file_that_cannot_be_used_is_one_sentence(crm: Crm, content: str) -> None:
    write("wrong.csv", content)
    done = await crm("import", "customers", "wrong.csv", code=1)
    assert done.stdout == ""
    assert done.stderr.startswith("wrong.csv ")
    assert len(done.stderr.splitlines()) == 1
    assert not is_there("wrong.rejected.csv")


async def test_a_directory_that_takes_no_report_does_not_stop_the_import(crm: Crm) -> None:
    write("people.csv", "name,phone", "Ann,1", "Bo,3125550101")
    os.mkdir("people.rejected.csv")
    done = await crm("import", "customers", "people.csv", code=1)
    assert "1 added, 1 rejected" in done.output
    assert "only listed here" in done.stderr
