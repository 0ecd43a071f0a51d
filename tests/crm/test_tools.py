"""The seven tools: arguments in, answers out, rows in Postgres."""

from collections.abc import Awaitable, Callable
from typing import Any

import asyncpg
import httpx2
import jsonschema
import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from crm.desk import TOOLS
from crm.tools import DealershipTools
from engine.messages import ToolRequest, ToolResult

Ask = Callable[..., Awaitable[tuple[ToolResult, dict[str, Any]]]]

SARAH = "+13125550142"
SARAHS_CIVIC = {"year": 2022, "make": "Honda", "model": "Civic", "mileage": 41200}
FRIDAY = "2026-11-27"


# ------------------------------------------------------------ lookup_customer


async def test_the_caller_is_found_by_their_own_attested_number(ask: Ask) -> None:
    result, answer = await ask("lookup_customer", name=None, car=None)
    assert result.ok
    assert answer == {
        "found": True,
        "customer": {
            "name": "Sarah Mitchell",
            "call_them": "Sarah",
            "since": 2020,
            "vehicles": [SARAHS_CIVIC],
            "last_service": {"service": "oil change", "date": "2026-03-15"},
        },
        "say": "Sarah Mitchell, twenty twenty-two Honda Civic",
    }
    assert (await ask("lookup_customer", caller="+13125550143"))[1]["found"], "their other number"


# ------------------------------------------------------------ get_available_slots


async def test_slots_of_a_day_are_told_with_its_weekday(ask: Ask) -> None:
    _, answer = await ask("get_available_slots", service="Oil Change", date="2026-11-28")
    assert answer == {
        "service": "oil change",
        "date": "2026-11-28",
        "weekday": "Saturday",
        "slots": ["09:00", "09:30", "10:00", "10:30", "11:00", "11:30", "12:00", "12:30"],
        "say": "Saturday the twenty-eighth at nine, eleven, or twelve thirty in the afternoon, among others",
    }


async def test_a_slot_goes_when_both_bays_are_booked(ask: Ask) -> None:
    for call in ("CA1", "CA2"):
        await ask("book_appointment", call=call, service="brake inspection", date=FRIDAY, time="09:00")
    _, answer = await ask("get_available_slots", service="oil change", date=FRIDAY)
    assert answer["slots"][:3] == ["08:00", "08:30", "10:00"]


@pytest.mark.parametrize(
    ("service", "date", "why"),
    [
        ("car wash", FRIDAY, "We offer: oil change, tire rotation"),
        ("oil change", "2026-11-29", "closed on Sundays"),
        ("oil change", "2026-11-02", "in the past"),
    ],
)
async def test_a_day_without_slots_says_why(ask: Ask, service: str, date: str, why: str) -> None:
    result, answer = await ask("get_available_slots", service=service, date=date)
    assert not result.ok
    assert why in answer["error"]


async def test_a_day_is_meant_as_it_was_said_and_is_read_back_with_its_date(ask: Ask) -> None:
    _, morning = await ask("get_available_slots", service="oil change", date="Friday morning")
    assert (morning["date"], morning["slots"][0], morning["slots"][-1]) == (FRIDAY, "08:00", "11:30")
    assert morning["say"].startswith("Friday the twenty-seventh at ")
    _, near = await ask("get_available_slots", service="oil change", date="the day after tomorrow at nine")
    assert "Thanksgiving" in near["error"]
    _, day = await ask("get_available_slots", service="oil change", date="next Tuesday at half past nine")
    assert (day["date"], day["slots"]) == ("2026-12-01", ["09:00", "09:30", "10:00"])
    _, week = await ask("get_available_slots", service="oil change", date="next week")
    assert week["date"] == "2026-11-30"
    assert week["note"], "a range was narrowed: the model should say so"


async def test_what_was_said_is_booked(ask: Ask, rows: asyncpg.Connection) -> None:
    for said, time, starts_at in (
        ("this Friday", "three thirty", "2026-11-27 15:30"),
        ("December first", "half past nine", "2026-12-01 09:30"),
        ("a week from tomorrow at ten", "ten", "2026-12-02 10:00"),
    ):
        _, answer = await ask("book_appointment", service="tire rotation", date=said, time=time)
        assert answer["booked"], answer
        at = await rows.fetchval(
            "SELECT to_char(starts_at AT TIME ZONE 'America/Chicago', 'YYYY-MM-DD HH24:MI') FROM appointment"
            " WHERE id = $1",
            answer["appointment"]["id"],
        )
        assert at == starts_at


@pytest.mark.parametrize(
    ("date", "time", "why"),
    [
        ("next Friday", "half past nine", "2026-12-04"),  # or this one
        ("Tuesday", "half past nine", "2026-12-01"),  # or today
        ("next week", "half past nine", "2026-11-30"),
        ("the weekend", "ten", "2026-11-28"),
        ("tomorrow at nine", "ten", "Two times were named, nine and ten"),
        ("2026-12-03T14:00", "10:00", "Two times were named"),
    ],
)
async def test_what_could_be_another_day_or_time_is_asked_for_before_it_is_booked(
    ask: Ask, rows: asyncpg.Connection, date: str, time: str, why: str
) -> None:
    _, answer = await ask("book_appointment", service="oil change", date=date, time=time)
    assert answer["booked"] is False
    assert why in answer["error"]
    assert await rows.fetchval("SELECT count(*) FROM appointment") == 0


@pytest.mark.parametrize(
    ("said", "car"),
    [
        ("the f one fifty", "2021 Ford F-150"),
        ("my Toyota", "2020 Toyota Camry"),
        ("the 2021 Ford F-150", "2021 Ford F-150"),
        ("camry", "2020 Toyota Camry"),
        ("my wife's Buick", "my wife's Buick"),
    ],
)
async def test_the_car_that_was_meant_is_booked(ask: Ask, said: str, car: str) -> None:
    james = {"caller": "+13125550117", "service": "oil change", "date": FRIDAY, "time": "08:00"}
    _, answer = await ask("book_appointment", **james, vehicle=said)
    assert answer["appointment"]["vehicle"] == car


# ------------------------------------------------------------ book_appointment


async def test_a_booking_is_told_as_it_stands_in_the_row(ask: Ask, rows: asyncpg.Connection) -> None:
    result, answer = await ask("book_appointment", service="oil change", date=FRIDAY, time="9:30")
    booked = answer["appointment"]
    assert result.ok
    assert answer["booked"] is True
    assert booked == {
        "id": booked["id"],
        "service": "oil change",
        "date": FRIDAY,
        "time": "09:30",
        "weekday": "Friday",
        "vehicle": "2022 Honda Civic",
        "say": "oil change on Friday the twenty-seventh at nine thirty",
    }
    row = await rows.fetchrow("SELECT * FROM appointment WHERE id = $1", booked["id"])
    assert row["starts_at"].isoformat() == "2026-11-27T15:30:00+00:00"
    assert (row["ends_at"] - row["starts_at"]).total_seconds() == 1800
    assert (row["phone"], row["name"], row["status"]) == (SARAH, "Sarah Mitchell", "booked")
    assert row["key"] is not None
    assert row["technician_id"] is not None
    assert await rows.fetchval("SELECT model FROM vehicle WHERE id = $1", row["vehicle_id"]) == "Civic"
    assert result.took_ms > 0
    assert result.pid > 0


async def test_a_taken_time_comes_with_the_nearest_others(ask: Ask) -> None:
    for call in ("CA2", "CA3"):
        assert (await ask("book_appointment", call=call, service="oil change", date=FRIDAY, time="10:00"))[
            0
        ].ok
    result, answer = await ask("book_appointment", service="oil change", date=FRIDAY, time="10:00")
    assert not result.ok
    assert answer == {
        "booked": False,
        "error": "ten is already taken.",
        "alternatives": ["09:00", "09:30", "10:30"],
        "say": "nine, nine thirty, or ten thirty",
    }


async def test_a_closed_day_or_an_unknown_service_is_not_booked(ask: Ask) -> None:
    _, sunday = await ask("book_appointment", service="oil change", date="2026-11-29", time="10:00")
    assert sunday["booked"] is False
    assert sunday["alternatives"] == []
    _, wash = await ask("book_appointment", service="car wash", date=FRIDAY, time="10:00")
    assert wash["booked"] is False
    assert "We offer" in wash["error"]


async def test_an_unknown_caller_becomes_a_customer_by_booking(ask: Ask, rows: asyncpg.Connection) -> None:
    ada = {"caller": "+13125550100", "call": "CA7", "attested": False}
    booking = {"service": "oil change", "date": FRIDAY, "time": "08:00", "vehicle": "2015 Mazda 3"}
    _, answer = await ask("book_appointment", **ada, **booking, name=" Ada  Jones ")
    row = await rows.fetchrow(
        "SELECT c.name, a.vehicle, p.phone FROM appointment a JOIN customer c ON c.id = a.customer_id "
        "JOIN customer_phone p ON p.customer_id = c.id WHERE a.id = $1",
        answer["appointment"]["id"],
    )
    assert tuple(row) == ("Ada Jones", "2015 Mazda 3", "+13125550100")
    _, second = await ask("book_appointment", **ada, **booking | {"time": "09:00"})
    assert second["booked"], "they are known now, in this call"
    count = "SELECT count(*) FROM customer WHERE name = 'Ada Jones'"
    assert await rows.fetchval(count) == 1
    later = {**ada, "call": "CA8", "attested": True}
    _, mine = await ask("get_upcoming_appointments", **later)
    assert len(mine["appointments"]) == 2


async def test_a_withheld_number_needs_a_name_and_owns_only_what_its_call_booked(ask: Ask) -> None:
    booking = {"caller": "anonymous", "service": "oil change", "date": FRIDAY, "time": "08:00"}
    _, nameless = await ask("book_appointment", call="CA7", **booking)
    assert nameless["booked"] is False
    assert "name" in nameless["error"]
    _, named = await ask("book_appointment", call="CA7", name="Ada Jones", **booking)
    _, same_call = await ask("get_upcoming_appointments", call="CA7", caller="anonymous")
    assert same_call["appointments"] == [named["appointment"]]
    _, other_call = await ask("get_upcoming_appointments", call="CA8", caller="anonymous")
    assert other_call["appointments"] == []


async def test_a_model_that_books_the_same_twice_in_a_call_has_booked_once(
    ask: Ask, rows: asyncpg.Connection
) -> None:
    booking = {"service": "oil change", "date": FRIDAY, "time": "08:00"}
    _, first = await ask("book_appointment", **booking)
    _, again = await ask("book_appointment", **booking)
    assert again["appointment"] == first["appointment"]
    assert await rows.fetchval("SELECT count(*) FROM appointment") == 1
    _, other = await ask("book_appointment", **booking, vehicle="my mother's Buick")
    assert other["appointment"]["id"] != first["appointment"]["id"], "another car is another appointment"


async def test_a_full_day_offers_the_next_one_that_is_free(ask: Ask, rows: asyncpg.Connection) -> None:
    await rows.execute(
        "INSERT INTO closure (starts_at, ends_at) VALUES ('2026-11-27 08:30-06', '2026-11-28 09:30-06')"
    )
    _, answer = await ask("get_available_slots", service="wheel alignment", date=FRIDAY)
    assert answer["slots"] == []
    assert answer["next_free"]["date"] == "2026-11-28"
    assert answer["next_free"]["times"] == ["09:30", "10:00", "10:30"]
    _, refused = await ask("book_appointment", service="wheel alignment", date=FRIDAY, time="10:00")
    assert refused["next_free"]["date"] == "2026-11-28"


# ------------------------------------------------------------ the caller's appointments


async def test_upcoming_appointments_are_the_callers_own_soonest_first(ask: Ask) -> None:
    _, later = await ask("book_appointment", service="oil change", date="2026-11-30", time="08:00")
    _, sooner = await ask("book_appointment", service="tire rotation", date=FRIDAY, time="08:00")
    james = {"caller": "+13125550117", "call": "CA2"}
    await ask("book_appointment", **james, service="oil change", date=FRIDAY, time="08:00")
    _, answer = await ask("get_upcoming_appointments")
    assert answer == {"appointments": [sooner["appointment"], later["appointment"]]}


async def test_a_cancelled_appointment_is_gone_and_its_time_is_free_again(ask: Ask) -> None:
    _, first = await ask("book_appointment", service="oil change", date=FRIDAY, time="08:00")
    await ask("book_appointment", call="CA2", service="oil change", date=FRIDAY, time="08:00")
    number = first["appointment"]["id"]
    _, answer = await ask("cancel_appointment", appointment_id=number)
    assert answer == {"cancelled": True, "appointment": first["appointment"]}
    assert (await ask("book_appointment", service="oil change", date=FRIDAY, time="08:00"))[0].ok
    _, again = await ask("cancel_appointment", appointment_id=number)
    assert again == {"cancelled": False, "error": "This appointment is already cancelled."}


@pytest.mark.parametrize("tool", ["cancel_appointment", "reschedule_appointment"])
async def test_nobody_changes_another_callers_appointment(
    ask: Ask, rows: asyncpg.Connection, tool: str
) -> None:
    _, sarahs = await ask("book_appointment", service="oil change", date=FRIDAY, time="08:00")
    extra: dict[str, Any] = {} if tool.startswith("cancel") else {"date": FRIDAY, "time": "10:00"}
    before = await rows.fetchrow("SELECT * FROM appointment")
    for caller in ("+13125550117", "anonymous"):
        result, answer = await ask(
            tool, caller=caller, call="CA2", appointment_id=sarahs["appointment"]["id"], **extra
        )
        assert not result.ok
        assert "no appointment with this id" in answer["error"]
    assert await rows.fetchrow("SELECT * FROM appointment") == before


async def test_an_appointment_moves_and_may_overlap_where_it_stood(
    ask: Ask, rows: asyncpg.Connection
) -> None:
    _, first = await ask("book_appointment", service="brake inspection", date=FRIDAY, time="08:00")
    await ask("book_appointment", call="CA2", service="brake inspection", date=FRIDAY, time="08:00")
    number = first["appointment"]["id"]
    _, answer = await ask("reschedule_appointment", appointment_id=number, date=FRIDAY, time="08:30")
    say = "brake inspection on Friday the twenty-seventh at eight thirty"
    assert answer == {
        "rescheduled": True,
        "appointment": first["appointment"] | {"time": "08:30", "say": say},
    }
    row = await rows.fetchrow("SELECT starts_at, ends_at FROM appointment WHERE id = $1", number)
    assert (row["ends_at"] - row["starts_at"]).total_seconds() == 3600


async def test_a_move_to_a_taken_time_leaves_it_where_it_was(ask: Ask) -> None:
    for call in ("CA2", "CA3"):
        booking = {"service": "oil change", "date": FRIDAY, "time": "10:00"}
        await ask("book_appointment", caller="+13125550117", call=call, **booking)
    _, mine = await ask("book_appointment", service="oil change", date=FRIDAY, time="08:00")
    number = mine["appointment"]["id"]
    result, answer = await ask("reschedule_appointment", appointment_id=number, date=FRIDAY, time="10:00")
    assert not result.ok
    assert answer["rescheduled"] is False
    assert answer["alternatives"] == ["09:00", "09:30", "10:30"]
    _, upcoming = await ask("get_upcoming_appointments")
    assert upcoming["appointments"] == [mine["appointment"]]


async def test_an_appointment_that_has_passed_stays(ask: Ask, rows: asyncpg.Connection) -> None:
    number = await rows.fetchval(
        "INSERT INTO appointment (phone, call, service_type_id, starts_at, ends_at, bay_id)"
        " VALUES ($1, 'CA0', 1, '2026-11-23 15:00+00', '2026-11-23 15:30+00', 1) RETURNING id",
        SARAH,
    )
    _, answer = await ask("cancel_appointment", appointment_id=number)
    assert "passed" in answer["error"]


# ------------------------------------------------------------ decode_vin


async def test_a_spoken_vin_is_decoded(ask: Ask) -> None:
    said = "two hotel golf foxtrot echo two foxtrot five eight november hotel five one two three four five"
    _, answer = await ask("decode_vin", vin=said)
    assert answer["usable"] is True
    assert (answer["vin"], answer["note"]) == ("2HGFE2F58NH512345", "")
    assert [answer[key] for key in ("year", "make", "model", "trim")] == [2022, "Honda", "Civic", "Sport"]
    assert answer["say"].startswith("That is a twenty twenty-two Honda Civic. I have two, H, G;")


async def test_a_vin_can_be_spelled_out_with_a_word_for_each_character_and_its_keys(ask: Ask) -> None:
    words = (
        "2 as in two, H as in Henry, G as in George, F as in Frank, E as in Edward, 2, F as in Frank, 5, 8, "
    )
    words += "N as in Nancy, H as in Henry, five, one, two, three, four, and the last one is the number five"
    _, answer = await ask("decode_vin", vin=f"keys 24433235864512345, {words}")
    assert (answer["usable"], answer["vin"]) == (True, "2HGFE2F58NH512345")


async def test_without_nhtsa_year_and_maker_are_still_known(make_tools: Any, ask_of: Any) -> None:
    tools = make_tools(nhtsa_base_url="http://127.0.0.1:9")  # the discard port: nobody listens
    await tools.open()
    try:
        _, answer = await ask_of(tools)("decode_vin", vin="2HGFE2F58NH512345")
    finally:
        await tools.close()
    assert (answer["usable"], answer["partial"]) == (False, True)
    assert (answer["year"], answer["make"]) == (2022, "Honda")
    assert "does not answer" in answer["note"]


async def test_toolboxes_share_what_nhtsa_told_one_of_them(
    make_tools: Any, ask_of: Any, redis_url: str, nhtsa_url: str
) -> None:
    for toolbox in (make_tools(redis_url=redis_url), make_tools(redis_url=redis_url)):
        await toolbox.open()
        try:
            _, answer = await ask_of(toolbox)("decode_vin", vin="2HGFE2F58NH512345")
            assert answer["model"] == "Civic"
        finally:
            await toolbox.close()
    async with httpx2.AsyncClient(timeout=30) as http:
        assert (await http.get(f"{nhtsa_url}/_requests")).json() == ["2HGFE2F58NH512345"]


# ------------------------------------------------------------ what models get wrong


@pytest.mark.parametrize(
    ("tool", "arguments", "why"),
    [
        ("no_such_tool", "{}", "There is no tool"),
        ("lookup_customer", "{", "Wrong arguments"),
        ("lookup_customer", "[]", "Wrong arguments"),
        ("lookup_customer", '{"name": "\\u0000"}', "lookup_customer"),
        ("lookup_customer", '{"name": null, "phone": "+13125550117"}', "phone"),
        ("get_available_slots", '{"service": "oil change"}', "YYYY-MM-DD"),
        ("get_available_slots", '{"service": "oil change", "date": "when the moon is full"}', "YYYY-MM-DD"),
        (
            "book_appointment",
            '{"service": "oil change", "date": "2026-11-27", "time": "25:00"}',
            "no time 25:00",
        ),
        ("cancel_appointment", '{"appointment_id": 99999999999}', "appointment_id"),
        ("cancel_appointment", '{"appointment_id": -1}', "no appointment with this id"),
        ("decode_vin", '{"vin": "%s"}' % ("A" * 900), "vin"),
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
    _, booked = await ask("book_appointment", service="oil change", date=FRIDAY, time="08:00")
    empty = await tools.run(ToolRequest("CA1", 1, "get_upcoming_appointments", "", SARAH, "a"))
    assert msgspec.json.decode(empty.result)["appointments"] == [booked["appointment"]]
    quoted = msgspec.json.encode({"appointment_id": str(booked["appointment"]["id"])}).decode()
    assert (await tools.run(ToolRequest("CA1", 1, "cancel_appointment", quoted, SARAH, "b"))).ok


scalars = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=30)
objects = st.dictionaries(
    st.sampled_from(["service", "date", "time", "vehicle", "name", "car", "vin", "appointment_id", "x"]),
    scalars
    | st.sampled_from(["oil change", "2026-11-27", "9999-12-31", "0001-01-01", "09:00"])
    | st.lists(scalars, max_size=2),
    max_size=5,
)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    tool=st.sampled_from([spec.name for spec in TOOLS.specs if spec.name != "decode_vin"])
    | st.text(max_size=20),
    arguments=st.text(max_size=60) | objects.map(lambda value: msgspec.json.encode(value).decode()),
)
async def test_no_arguments_make_a_tool_raise(tools: DealershipTools, tool: str, arguments: str) -> None:
    result = await tools.run(ToolRequest("CA1", 1, tool, arguments, SARAH, "key"))
    assert isinstance(msgspec.json.decode(result.result), dict)


def test_the_schemas_are_what_strict_mode_takes() -> None:
    assert len(TOOLS.specs) == 7
    for spec in TOOLS.specs:
        jsonschema.Draft202012Validator.check_schema(spec.parameters)
        assert spec.parameters["additionalProperties"] is False
        assert spec.parameters["required"] == list(spec.parameters["properties"])
        for value in spec.parameters["properties"].values():
            assert set(value) == {"type", "description"}
    assert {spec.name for spec in TOOLS.specs if spec.changes} == {
        "book_appointment",
        "cancel_appointment",
        "reschedule_appointment",
    }


# ------------------------------------------------------------ what is not known


async def test_what_became_of_an_unknown_change_is_told_before_another_is_made(
    ask: Ask, rows: asyncpg.Connection
) -> None:
    booking = {"service": "oil change", "date": FRIDAY}
    _, first = await ask("book_appointment", key="K1", **booking, time="08:00")
    result, answer = await ask("book_appointment", key="K2", unsettled=("K1",), **booking, time="09:00")
    assert not result.ok
    assert answer["earlier"] == [first]
    assert result.settled == ("K1",)
    assert await rows.fetchval("SELECT count(*) FROM appointment") == 1


async def test_an_unknown_change_that_was_not_made_never_will_be(ask: Ask, rows: asyncpg.Connection) -> None:
    booking = {"service": "oil change", "date": FRIDAY}
    result, answer = await ask("book_appointment", key="K2", unsettled=("K1",), **booking, time="09:00")
    assert answer["booked"]
    assert result.settled == ("K1",)
    late, no = await ask("book_appointment", key="K1", **booking, time="08:00")
    assert not late.ok
    assert "not done" in no["error"]
    assert await rows.fetchval("SELECT count(*) FROM appointment") == 1


async def test_a_superseded_call_settles_nothing(ask: Ask) -> None:
    booking = {"service": "oil change", "date": FRIDAY}
    assert (await ask("book_appointment", epoch=3, **booking, time="08:00"))[0].ok
    result, _ = await ask("book_appointment", epoch=2, unsettled=("K1",), **booking, time="09:00")
    assert result.settled == ()
