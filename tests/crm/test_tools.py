"""The seven tools: arguments in, answers out, rows in Postgres."""

from collections.abc import Awaitable, Callable
from typing import Any

import asyncpg
import jsonschema
import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from crm import schemas
from crm.tools import DealershipTools
from engine.messages import ToolRequest, ToolResult

Ask = Callable[..., Awaitable[tuple[ToolResult, dict[str, Any]]]]

SARAH = "+13125550142"
SARAHS_CIVIC = {"year": 2022, "make": "Honda", "model": "Civic", "vin": "2HGFE2F58NH512345"}
THURSDAY = "2026-11-26"


# ------------------------------------------------------------ lookup_customer


async def test_the_caller_is_found_by_their_own_number(ask: Ask) -> None:
    result, answer = await ask("lookup_customer", phone=None, name=None)
    assert result.ok
    assert answer == {
        "found": True,
        "customer": {
            "name": "Sarah Mitchell",
            "phone": SARAH,
            "since": 2020,
            "vehicles": [SARAHS_CIVIC],
            "last_service": {"service": "oil change", "date": "2026-03-15"},
        },
    }


@pytest.mark.parametrize("phone", ["+13125550142", "312-555-0142", "(312) 555 0142", "1 312 555 0142"])
async def test_a_number_is_found_however_it_is_written(ask: Ask, phone: str) -> None:
    _, answer = await ask("lookup_customer", caller="anonymous", phone=phone, name=None)
    assert answer["customer"]["name"] == "Sarah Mitchell"


async def test_a_name_is_found_whatever_its_case(ask: Ask) -> None:
    _, answer = await ask("lookup_customer", phone=None, name=" james  OKAFOR ")
    assert answer["customer"]["vehicles"][0]["model"] == "F-150"


async def test_strangers_half_numbers_and_shared_names_are_not_found(
    ask: Ask, rows: asyncpg.Connection
) -> None:
    assert (await ask("lookup_customer", caller="anonymous"))[1] == {"found": False}
    assert (await ask("lookup_customer", phone="555"))[1]["found"] is False
    await rows.execute(
        "INSERT INTO customer (phone, name, since) VALUES ('+13125550199', 'Sarah Mitchell', 2021)"
    )
    _, answer = await ask("lookup_customer", name="Sarah Mitchell")
    assert answer["found"] is False
    assert "telephone number" in answer["note"]


# ------------------------------------------------------------ get_available_slots


async def test_slots_of_a_day_are_told_with_its_weekday(ask: Ask) -> None:
    _, answer = await ask("get_available_slots", service="Oil Change", date="2026-11-28")
    assert answer == {
        "service": "oil change",
        "date": "2026-11-28",
        "weekday": "Saturday",
        "slots": ["09:00", "09:30", "10:00", "10:30", "11:00", "11:30", "12:00", "12:30"],
    }


async def test_a_slot_goes_when_both_bays_are_booked(ask: Ask) -> None:
    for _ in range(2):
        await ask("book_appointment", service="brake inspection", date=THURSDAY, time="09:00")
    _, answer = await ask("get_available_slots", service="oil change", date=THURSDAY)
    assert answer["slots"][:3] == ["08:00", "08:30", "10:00"]


@pytest.mark.parametrize(
    ("service", "date", "why"),
    [
        ("car wash", THURSDAY, "We offer: oil change, tire rotation"),
        ("oil change", "2026-11-29", "closed on Sundays"),
        ("oil change", "2026-11-02", "in the past"),
    ],
)
async def test_a_day_without_slots_says_why(ask: Ask, service: str, date: str, why: str) -> None:
    result, answer = await ask("get_available_slots", service=service, date=date)
    assert not result.ok
    assert why in answer["error"]


# ------------------------------------------------------------ book_appointment


async def test_a_booking_is_told_as_it_stands_in_the_row(ask: Ask, rows: asyncpg.Connection) -> None:
    result, answer = await ask("book_appointment", service="oil change", date=THURSDAY, time="9:30")
    booked = answer["appointment"]
    assert result.ok
    assert answer["booked"] is True
    assert booked == {
        "id": booked["id"],
        "service": "oil change",
        "date": THURSDAY,
        "time": "09:30",
        "weekday": "Thursday",
        "vehicle": "2022 Honda Civic",
    }
    row = await rows.fetchrow("SELECT * FROM appointment WHERE id = $1", booked["id"])
    assert row["starts_at"].isoformat() == "2026-11-26T15:30:00+00:00"
    assert (row["ends_at"] - row["starts_at"]).total_seconds() == 1800
    assert (row["phone"], row["name"], row["status"], row["bay"]) == (SARAH, "Sarah Mitchell", "booked", 1)
    assert result.took_ms > 0
    assert result.pid > 0


async def test_a_taken_time_comes_with_the_nearest_others(ask: Ask) -> None:
    for _ in range(2):
        assert (await ask("book_appointment", service="oil change", date=THURSDAY, time="10:00"))[0].ok
    result, answer = await ask("book_appointment", service="oil change", date=THURSDAY, time="10:00")
    assert not result.ok
    assert answer == {
        "booked": False,
        "error": "10:00 is already taken.",
        "alternatives": ["09:00", "09:30", "10:30"],
    }


async def test_a_closed_day_or_an_unknown_service_is_not_booked(ask: Ask) -> None:
    _, sunday = await ask("book_appointment", service="oil change", date="2026-11-29", time="10:00")
    assert sunday["booked"] is False
    assert sunday["alternatives"] == []
    _, wash = await ask("book_appointment", service="car wash", date=THURSDAY, time="10:00")
    assert wash["booked"] is False
    assert "We offer" in wash["error"]


async def test_an_unknown_caller_books_under_the_name_they_give(ask: Ask, rows: asyncpg.Connection) -> None:
    _, answer = await ask(
        "book_appointment",
        caller="+13125550100",
        service="oil change",
        date=THURSDAY,
        time="08:00",
        vehicle="2015 Mazda 3",
        name="Ada Jones",
    )
    row = await rows.fetchrow("SELECT * FROM appointment WHERE id = $1", answer["appointment"]["id"])
    assert (row["customer_id"], row["name"], row["vehicle"]) == (None, "Ada Jones", "2015 Mazda 3")


async def test_a_withheld_number_needs_a_name_and_owns_only_what_its_call_booked(ask: Ask) -> None:
    booking = {"caller": "anonymous", "service": "oil change", "date": THURSDAY, "time": "08:00"}
    _, nameless = await ask("book_appointment", call="CA7", **booking)
    assert nameless["booked"] is False
    assert "name" in nameless["error"]
    _, named = await ask("book_appointment", call="CA7", name="Ada Jones", **booking)
    _, same_call = await ask("get_upcoming_appointments", call="CA7", caller="anonymous")
    assert same_call["appointments"] == [named["appointment"]]
    _, other_call = await ask("get_upcoming_appointments", call="CA8", caller="anonymous")
    assert other_call["appointments"] == []


# ------------------------------------------------------------ the caller's appointments


async def test_upcoming_appointments_are_the_callers_own_soonest_first(ask: Ask) -> None:
    _, later = await ask("book_appointment", service="oil change", date="2026-11-27", time="08:00")
    _, sooner = await ask("book_appointment", service="tire rotation", date=THURSDAY, time="08:00")
    await ask("book_appointment", caller="+13125550117", service="oil change", date=THURSDAY, time="08:00")
    _, answer = await ask("get_upcoming_appointments")
    assert answer == {"appointments": [sooner["appointment"], later["appointment"]]}


async def test_a_cancelled_appointment_is_gone_and_its_time_is_free_again(ask: Ask) -> None:
    _, first = await ask("book_appointment", service="oil change", date=THURSDAY, time="08:00")
    await ask("book_appointment", service="oil change", date=THURSDAY, time="08:00")
    number = first["appointment"]["id"]
    _, answer = await ask("cancel_appointment", appointment_id=number)
    assert answer == {"cancelled": True, "appointment": first["appointment"]}
    assert (await ask("book_appointment", service="oil change", date=THURSDAY, time="08:00"))[0].ok
    _, again = await ask("cancel_appointment", appointment_id=number)
    assert again == {"cancelled": False, "error": "This appointment is already cancelled."}


@pytest.mark.parametrize("tool", ["cancel_appointment", "reschedule_appointment"])
async def test_nobody_changes_another_callers_appointment(
    ask: Ask, rows: asyncpg.Connection, tool: str
) -> None:
    _, sarahs = await ask("book_appointment", service="oil change", date=THURSDAY, time="08:00")
    extra: dict[str, Any] = {} if tool.startswith("cancel") else {"date": THURSDAY, "time": "10:00"}
    before = await rows.fetchrow("SELECT * FROM appointment")
    for caller in ("+13125550117", "anonymous"):
        result, answer = await ask(tool, caller=caller, appointment_id=sarahs["appointment"]["id"], **extra)
        assert not result.ok
        assert "no appointment with this id" in answer["error"]
    assert await rows.fetchrow("SELECT * FROM appointment") == before


async def test_an_appointment_moves_and_may_overlap_where_it_stood(
    ask: Ask, rows: asyncpg.Connection
) -> None:
    _, first = await ask("book_appointment", service="brake inspection", date=THURSDAY, time="08:00")
    await ask("book_appointment", service="brake inspection", date=THURSDAY, time="08:00")
    number = first["appointment"]["id"]
    _, answer = await ask("reschedule_appointment", appointment_id=number, date=THURSDAY, time="08:30")
    assert answer == {"rescheduled": True, "appointment": first["appointment"] | {"time": "08:30"}}
    row = await rows.fetchrow("SELECT starts_at, ends_at FROM appointment WHERE id = $1", number)
    assert (row["ends_at"] - row["starts_at"]).total_seconds() == 3600


async def test_a_move_to_a_taken_time_leaves_it_where_it_was(ask: Ask) -> None:
    for _ in range(2):
        await ask(
            "book_appointment", caller="+13125550117", service="oil change", date=THURSDAY, time="10:00"
        )
    _, mine = await ask("book_appointment", service="oil change", date=THURSDAY, time="08:00")
    number = mine["appointment"]["id"]
    result, answer = await ask("reschedule_appointment", appointment_id=number, date=THURSDAY, time="10:00")
    assert not result.ok
    assert answer["rescheduled"] is False
    assert answer["alternatives"] == ["09:00", "09:30", "10:30"]
    _, upcoming = await ask("get_upcoming_appointments")
    assert upcoming["appointments"] == [mine["appointment"]]


async def test_an_appointment_that_has_passed_stays(ask: Ask, rows: asyncpg.Connection) -> None:
    number = await rows.fetchval(
        "INSERT INTO appointment (phone, call, service, starts_at, ends_at, bay)"
        " VALUES ($1, 'CA0', 'oil change', '2026-11-23 15:00+00', '2026-11-23 15:30+00', 1) RETURNING id",
        SARAH,
    )
    _, answer = await ask("cancel_appointment", appointment_id=number)
    assert "passed" in answer["error"]


# ------------------------------------------------------------ decode_vin


async def test_a_spoken_vin_is_decoded(ask: Ask) -> None:
    said = "two hotel golf foxtrot echo two foxtrot five eight november hotel five one two three four five"
    _, answer = await ask("decode_vin", vin=said)
    assert answer == {
        "usable": True,
        "vin": "2HGFE2F58NH512345",
        "year": 2022,
        "make": "Honda",
        "model": "Civic",
        "trim": "Sport",
        "note": "",
    }


async def test_a_short_vin_is_asked_for_again_and_a_wrong_check_digit_is_read_back(ask: Ask) -> None:
    _, short = await ask("decode_vin", vin="2HGFE2F58NH51234")
    assert (short["usable"], short["make"]) == (False, None)
    assert "16 were understood" in short["note"]
    _, wrong = await ask("decode_vin", vin="2HGFE2F57NH512345")
    assert wrong["usable"] is True
    assert "read the VIN back" in wrong["note"]


async def test_without_nhtsa_the_year_is_still_known(make_tools: Any, ask_of: Any) -> None:
    tools = make_tools(nhtsa_base_url="http://127.0.0.1:9")  # the discard port: nobody listens
    await tools.open()
    try:
        _, answer = await ask_of(tools)("decode_vin", vin="2HGFE2F58NH512345")
    finally:
        await tools.close()
    assert answer["usable"] is False
    assert answer["year"] == 2022
    assert "does not answer" in answer["note"]


# ------------------------------------------------------------ what models get wrong


@pytest.mark.parametrize(
    ("tool", "arguments", "why"),
    [
        ("no_such_tool", "{}", "there is no tool"),
        ("lookup_customer", "{", "wrong arguments"),
        ("lookup_customer", "[]", "wrong arguments"),
        ("lookup_customer", '{"phone": "\\u0000"}', "zero character"),
        ("lookup_customer", '{"phone": null, "shoe_size": 9}', "shoe_size"),
        ("get_available_slots", '{"service": "oil change"}', "YYYY-MM-DD"),
        ("get_available_slots", '{"service": "oil change", "date": "tomorrow"}', "YYYY-MM-DD"),
        ("book_appointment", '{"service": "oil change", "date": "2026-11-26", "time": "9am"}', "HH:MM"),
        ("book_appointment", '{"service": "oil change", "date": "2026-11-26", "time": "24:00"}', "HH:MM"),
        ("cancel_appointment", '{"appointment_id": 99999999999}', "appointment_id"),
        ("cancel_appointment", '{"appointment_id": -1}', "appointment_id"),
        ("decode_vin", '{"vin": "%s"}' % ("A" * 300), "vin"),
    ],
)
async def test_bad_arguments_are_explained_to_the_model(
    tools: DealershipTools, tool: str, arguments: str, why: str
) -> None:
    result = await tools.run(ToolRequest("CA1", 1, tool, arguments, SARAH, "key"))
    assert not result.ok
    assert why in msgspec.json.decode(result.result)["error"]


async def test_numbers_in_quotes_missing_nulls_and_no_arguments_are_taken(
    tools: DealershipTools, ask: Ask
) -> None:
    _, booked = await ask("book_appointment", service="oil change", date=THURSDAY, time="08:00")
    empty = await tools.run(ToolRequest("CA1", 1, "get_upcoming_appointments", "", SARAH, "a"))
    assert msgspec.json.decode(empty.result)["appointments"] == [booked["appointment"]]
    quoted = msgspec.json.encode({"appointment_id": str(booked["appointment"]["id"])}).decode()
    assert (await tools.run(ToolRequest("CA1", 1, "cancel_appointment", quoted, SARAH, "b"))).ok


scalars = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=30)
objects = st.dictionaries(
    st.sampled_from(["service", "date", "time", "vehicle", "name", "phone", "vin", "appointment_id", "x"]),
    scalars
    | st.sampled_from(["oil change", "2026-11-26", "9999-12-31", "0001-01-01", "09:00"])
    | st.lists(scalars, max_size=2),
    max_size=5,
)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    tool=st.sampled_from([spec.name for spec in schemas.SPECS if spec.name != "decode_vin"])
    | st.text(max_size=20),
    arguments=st.text(max_size=60) | objects.map(lambda value: msgspec.json.encode(value).decode()),
)
async def test_no_arguments_make_a_tool_raise(tools: DealershipTools, tool: str, arguments: str) -> None:
    result = await tools.run(ToolRequest("CA1", 1, tool, arguments, SARAH, "key"))
    assert isinstance(msgspec.json.decode(result.result), dict)


def test_the_schemas_are_what_strict_mode_takes() -> None:
    assert len(schemas.SPECS) == 7
    for spec in schemas.SPECS:
        jsonschema.Draft202012Validator.check_schema(spec.parameters)
        assert spec.parameters["additionalProperties"] is False
        assert spec.parameters["required"] == list(spec.parameters["properties"])
        for value in spec.parameters["properties"].values():
            assert set(value) == {"type", "description"}
    assert [spec.name for spec in schemas.SPECS if spec.changes] == [
        "book_appointment",
        "cancel_appointment",
        "reschedule_appointment",
    ]
