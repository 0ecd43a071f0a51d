"""A workshop that a dealership wrote down: read, checked, entered, and read back from Postgres."""

import datetime as dt
from pathlib import Path

import asyncpg
import msgspec
import pytest

from crm import demo_data
from crm.database import connect
from crm.postgres import PostgresRecords
from crm.setup import enter
from crm.workshop import Technician, Workshop
from crm.workshop_file import DEMO, WrongFile, read_workshop

SMALL = """
[hours]
monday = ["08:00-12:00", "13:00-17:00"]
[[services]]
name = "Oil  Change"
minutes = 30
price = 59.5
skills = ["oil"]
[[bays]]
name = "A"
[[technicians]]
name = "Jo"
skills = ["oil"]
"""


def written(tmp_path: Path, text: str) -> Path:
    file = tmp_path / "workshop.toml"
    file.write_text(text, encoding="utf-8")
    return file


def test_a_small_file_is_a_workshop(tmp_path: Path) -> None:
    shop = read_workshop(written(tmp_path, SMALL), "America/Denver")
    assert shop.time_zone == "America/Denver"
    assert shop.week == {0: ((dt.time(8), dt.time(12)), (dt.time(13), dt.time(17)))}
    assert [(one.name, one.price_from_cents, one.price_to_cents) for one in shop.services] == [
        ("oil change", 5950, 5950)
    ]


@pytest.mark.parametrize(
    ("old", "new", "why"),
    [
        ("minutes = 30", "minutes = 0", "minutes"),
        ("[hours]", "[hours", "workshop.toml can't be used"),
        ('["08:00-12:00", "13:00-17:00"]', '["8-12"]', "hours are written 08:00-17:00, got '8-12'"),
        ('["08:00-12:00", "13:00-17:00"]', '["12:00-08:00"]', "ends before it begins"),
        ('["08:00-12:00", "13:00-17:00"]', '["08:00-12:00", "11:00-17:00"]', "overlap"),
        ('["08:00-12:00", "13:00-17:00"]', '["25:00-26:00"]', "hours are written"),
        ("monday", "mondays", "'mondays' is no day"),
        ('skills = ["oil"]\n[[bays]]', 'skills = ["tires"]\n[[bays]]', "no technician can do it"),
        ('[[bays]]\nname = "A"', "bays = []", "can't be used"),
        ("price = 59.5", "price = [60, 50]", "price must be [from, to]"),
        ('name = "Jo"', 'name = "Jo"\nage = 3', "age"),
        ("[hours]", 'time_zone = "Mars/Base"\n[hours]', "Mars/Base"),
        ("[[bays]]", '[[bays]]\nname = "A"\n[[bays]]', "'A' is there twice"),
    ],
)
def test_what_is_wrong_with_a_file_is_told(tmp_path: Path, old: str, new: str, why: str) -> None:
    assert SMALL.count(old) >= 1
    with pytest.raises(WrongFile) as told:
        read_workshop(written(tmp_path, SMALL.replace(old, new, 1)), "America/Denver")
    assert why in str(told.value)
    assert "workshop.toml" in str(told.value)


def test_a_file_that_is_not_there_is_told(tmp_path: Path) -> None:
    with pytest.raises(WrongFile, match="nowhere"):
        read_workshop(tmp_path / "nowhere.toml", "UTC")


async def entered(url: str, shop: Workshop) -> None:
    engine = connect(url, pool_size=1)
    try:
        async with engine.begin() as connection:
            await enter(connection, shop)
    finally:
        await engine.dispose()


async def read_back(url: str) -> Workshop:
    records = PostgresRecords(url)
    await records.open()
    try:
        async with records.work() as work:
            return await work.workshop()
    finally:
        await records.close()


def named(shop: Workshop) -> Workshop:
    """Without ids, which are the database's."""
    return msgspec.structs.replace(
        shop,
        services=tuple(msgspec.structs.replace(one, id=0) for one in shop.services),
        bays=tuple(msgspec.structs.replace(one, id=0) for one in shop.bays),
        technicians=tuple(msgspec.structs.replace(one, id=0) for one in shop.technicians),
    )


async def test_what_is_entered_is_what_is_read(postgres_url: str) -> None:
    demo = read_workshop(DEMO, "America/Chicago")
    await entered(postgres_url, demo)
    assert named(await read_back(postgres_url)) == named(demo)
    await entered(postgres_url, demo)
    assert named(await read_back(postgres_url)) == named(demo), "entering it again changes nothing"


async def test_who_is_not_in_the_file_any_more_takes_nothing_new_and_keeps_what_they_have(
    seeded_url: str, rows: asyncpg.Connection
) -> None:
    await rows.execute(
        "INSERT INTO appointment (call, service_type_id, starts_at, ends_at, bay_id, technician_id) VALUES "
        "('x', 1, '2026-12-01 15:00+00', '2026-12-01 15:30+00', 2, 3)"
    )
    demo = demo_data.workshop()
    ana, ben, _ = demo.technicians
    new = Technician(9, "Eve Stone", frozenset({"maintenance"}))
    smaller = msgspec.structs.replace(demo, technicians=(ana, ben, new), bays=demo.bays[:1])
    await entered(seeded_url, smaller)
    after = await read_back(seeded_url)
    assert [one.name for one in after.technicians] == ["Ana Ruiz", "Ben Carter", "Eve Stone"]
    assert [one.name for one in after.bays] == ["1"]
    kept = "SELECT t.name FROM appointment a JOIN technician t ON t.id = a.technician_id"
    assert await rows.fetchval(kept) == "Dee Lang"
    await entered(seeded_url, demo)
    assert named(await read_back(seeded_url)) == named(demo), "who comes back is who they were"
