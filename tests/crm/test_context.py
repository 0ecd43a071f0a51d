"""What a caller hears first, and what the model is told of them."""

import datetime as dt
from collections.abc import Callable
from typing import Any

import asyncpg
import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from crm.database import DatabaseAway
from crm.demo_data import workshop
from crm.greeting import FIELDS, PromptError, check_template, greeting
from crm.prompt import opening_hours, system_prompt
from crm.records import CustomerRecord, LastService, VehicleRecord
from crm.tools import DealershipTools
from engine.settings import Settings

SARAH, MARIA, TOM, STRANGER = "+13125550142", "+13125550163", "+13125550188", "+13125550100"
CALLED = "+13125550101"
PLAIN = "Thanks for calling Trunkline Motors. How can I help you today?"


@pytest.mark.parametrize(
    ("phone", "attested", "said"),
    [
        (
            SARAH,
            True,
            "Hi Sarah, thanks for calling Trunkline Motors. How is the Civic since its oil change in March? "
            "How can I help you today?",
        ),
        (SARAH, False, "Hi Sarah, thanks for calling Trunkline Motors. How can I help you today?"),
        (
            MARIA,
            True,
            "Hi Maria, thanks for calling Trunkline Motors. How is the RAV four doing? How can I help you today?",
        ),
        (TOM, True, "Hi Tom, thanks for calling Trunkline Motors. How can I help you today?"),
        (STRANGER, True, PLAIN),
        ("anonymous", False, PLAIN),
    ],
)
async def test_the_greeting_says_what_is_known_and_may_be_said(
    tools: DealershipTools, phone: str, attested: bool, said: str
) -> None:
    assert (await tools.context(phone, CALLED, attested)).greeting == said


async def test_an_unattested_caller_gives_nothing_of_the_file_away(tools: DealershipTools) -> None:
    context = await tools.context(SARAH, CALLED, attested=False)
    for secret in ("Mitchell", "Civic", "Honda", "2HGFE2F58NH512345", "2026-03-15", "2020"):
        assert secret not in context.greeting + context.prompt + repr(context.customer)
    assert context.customer == {"name": "Sarah", "phone": SARAH, "attested": False}


async def test_an_attested_customer_is_described_to_the_model(tools: DealershipTools) -> None:
    context = await tools.context(SARAH, CALLED, attested=True)
    lines = context.prompt.splitlines()
    assert "Today is Tuesday, 2026-11-24, 10:15." in lines
    assert "Customer: Sarah Mitchell, customer since 2020." in lines
    assert "Customer: drives a 2022 Honda Civic." in lines
    assert "Customer: last service was oil change on 2026-03-15." in lines
    assert context.customer is not None
    assert context.customer["vehicles"][0]["model"] == "Civic"


async def test_of_a_shared_number_nobody_is_greeted_and_nothing_is_told(tools: DealershipTools) -> None:
    context = await tools.context("+13125550175", CALLED, attested=True)
    assert context.greeting == "Hi, thanks for calling Trunkline Motors. Who am I speaking with?"
    assert context.customer is None
    for secret in ("Priya", "Arjun", "Raman", "Outback"):
        assert secret not in context.prompt


async def test_who_does_not_want_to_be_greeted_by_name_is_not(
    tools: DealershipTools, rows: asyncpg.Connection
) -> None:
    await rows.execute("INSERT INTO opt_out (phone, kind) VALUES ($1, 'greeting')", SARAH)
    context = await tools.context(SARAH, CALLED, attested=True)
    assert context.greeting == PLAIN
    assert context.customer is None
    assert "Sarah" not in context.prompt


async def test_the_prompt_lists_hours_and_services_and_begins_alike_for_all(tools: DealershipTools) -> None:
    sarah = (await tools.context(SARAH, CALLED, attested=True)).prompt
    stranger = (await tools.context(STRANGER, CALLED, attested=False)).prompt
    fixed, _, _ = sarah.partition("Today is ")
    assert stranger.startswith(fixed)
    assert len(fixed) > 1000
    assert (
        "Opening hours: Monday to Friday 08:00 to 17:00, Saturday 09:00 to 13:00, closed on Sunday, "
        "Thanksgiving, Thursday 2026-11-26: closed." in fixed
    )
    assert (
        "Services: oil change (30 min, $59 to $79), tire rotation (30 min, $39), brake inspection (60 min, $89), "
        "battery check (30 min, free), wheel alignment (60 min, $119 to $149), state inspection (30 min, $25.50)."
    ) in fixed


async def test_a_system_prompt_of_ones_own_keeps_the_facts(
    make_tools: Callable[..., DealershipTools],
) -> None:
    tools = make_tools(rules="Talk like a pirate.")
    await tools.open()
    try:
        prompt = (await tools.context(SARAH, CALLED, attested=True)).prompt
    finally:
        await tools.close()
    assert prompt.startswith("Talk like a pirate.\n")
    assert "Opening hours:" in prompt
    assert "Customer: Sarah Mitchell" in prompt


async def test_a_car_that_was_here_last_is_the_one_asked_about(
    tools: DealershipTools, rows: asyncpg.Connection
) -> None:
    assert (
        "How is the F one fifty since"
        in (await tools.context("+13125550117", CALLED, attested=True)).greeting
    )
    await rows.execute(
        "INSERT INTO service_visit (vehicle_id, service, visited_on)"
        " SELECT id, 'oil change', '2026-10-01' FROM vehicle WHERE model = 'Camry'"
    )
    said = (await tools.context("+13125550117", CALLED, attested=True)).greeting
    assert "How is the Camry since its oil change in October?" in said


async def test_a_caller_is_still_greeted_when_postgres_goes_away(
    tools: DealershipTools, rows: asyncpg.Connection, seeded_url: str
) -> None:
    await tools.context(SARAH, CALLED, attested=True)
    async with rows.transaction():
        await rows.execute("LOCK TABLE customer IN ACCESS EXCLUSIVE MODE")
        context = await tools.context(SARAH, CALLED, attested=True)
    assert context.greeting == PLAIN
    assert context.customer is None
    assert "oil change (30 min, $59 to $79)" in context.prompt


# ------------------------------------------------------------ opening


async def test_a_database_that_is_not_there_is_told_in_a_sentence_without_the_password(
    make_tools: Callable[..., DealershipTools],
) -> None:
    tools = make_tools(database_url="postgresql://desk:hunter2@127.0.0.1:9/motors")
    with pytest.raises(DatabaseAway) as told:
        await tools.open()
    assert "127.0.0.1:9/motors" in str(told.value)
    assert "DATABASE_URL" in str(told.value)
    assert "hunter2" not in str(told.value)


async def test_a_database_without_tables_says_how_to_make_them(
    make_tools: Callable[..., DealershipTools], seeded_url: str, rows: asyncpg.Connection
) -> None:
    await rows.execute("DROP TABLE call_epoch")
    with pytest.raises(DatabaseAway, match=r"python -m crm migrate"):
        await make_tools().open()


@pytest.mark.parametrize("url", ["", "nonsense", "mysql://localhost/x"])
async def test_an_address_that_is_no_postgres_url_says_what_one_looks_like(
    make_tools: Callable[..., DealershipTools], url: str
) -> None:
    with pytest.raises(DatabaseAway, match="postgresql://user"):
        await make_tools(database_url=url).open()


async def test_closing_twice_is_harmless(make_tools: Callable[..., DealershipTools]) -> None:
    tools = make_tools()
    await tools.open()
    await tools.close()
    await tools.close()


# ------------------------------------------------------------ templates


CIVIC = VehicleRecord(1, 2022, "Honda", "Civic", "2HGFE2F58NH512345")
LAST = LastService("oil change", dt.date(2026, 3, 15), CIVIC.id)
KNOWN = (CustomerRecord(1, "Sarah Mitchell", 2020, None, (SARAH,), (CIVIC,), LAST),)
TODAY = dt.date(2026, 11, 24)


def test_a_template_is_used_when_all_its_fields_may_be_said() -> None:
    template = "Hello {name}, {dealership} here. Is the {car} well after its {service}?"
    said = greeting("Trunkline Motors", KNOWN, True, TODAY, template)
    assert said == "Hello Sarah, Trunkline Motors here. Is the Civic well after its oil change?"
    assert greeting("Trunkline Motors", KNOWN, False, TODAY, template) == (
        "Hi Sarah, thanks for calling Trunkline Motors. How can I help you today?"
    )
    assert greeting("Trunkline Motors", (), True, TODAY, "{dealership}, hello!") == "Trunkline Motors, hello!"


@pytest.mark.parametrize(
    ("template", "why"),
    [
        ("Hi {nmae}", "unknown field {nmae}"),
        ("Hi {name", "not a valid template"),
        ("Hi {}", "unknown field {}"),
        ("Hi {name.upper}", "unknown field"),
        ("Hi {name!x}", "nothing else in the braces"),
        ("Hi {name:d}", "nothing else in the braces"),
    ],
)
def test_a_bad_template_is_an_error_at_the_start(
    make_tools: Callable[..., Any], template: str, why: str
) -> None:
    with pytest.raises(PromptError) as told:
        make_tools(greeting=template)
    assert why in str(told.value)


@given(st.text("{}:!.[]abn ame", max_size=20))
def test_a_template_that_passed_the_check_never_fails_on_a_call(template: str) -> None:
    try:
        check_template(template)
    except PromptError:
        return
    greeting("Trunkline Motors", KNOWN, True, TODAY, template)


def test_an_old_service_is_named_with_its_year() -> None:
    last = LastService("oil change", dt.date(2024, 12, 1), CIVIC.id)
    old = (msgspec.structs.replace(KNOWN[0], last_service=last),)
    assert "oil change in December twenty twenty-four?" in greeting("Trunkline Motors", old, True, TODAY)


def test_the_fields_are_those_that_the_settings_describe() -> None:
    described = Settings.model_fields["greeting"].description or ""
    assert all(f"{{{field}}}" in described for field in FIELDS)


def test_without_services_the_prompt_does_not_invent_any() -> None:
    now = dt.datetime(2026, 11, 24, 10, 15, tzinfo=dt.UTC)
    prompt = system_prompt("Trunkline Motors", None, (), caller="anonymous", trusted=False, now=now)
    assert "Services: not known right now." in prompt
    assert "Opening hours: not known right now." in prompt
    assert "Caller's number: withheld." in prompt


def test_hours_of_ones_own_and_holidays_are_told() -> None:
    shop = msgspec.structs.replace(
        workshop(), week={0: ((dt.time(8), dt.time(12)), (dt.time(13), dt.time(17)))}
    )
    assert opening_hours(shop, dt.date(2026, 12, 20)) == (
        "Monday 08:00 to 12:00 and 13:00 to 17:00, closed on Tuesday to Sunday, "
        "Christmas Eve, Thursday 2026-12-24: 08:00 to 12:00, Christmas Day, Friday 2026-12-25: closed, "
        "New Year's Day, Friday 2027-01-01: closed"
    )
