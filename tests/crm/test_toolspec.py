"""Tools made from signatures, and what a model may send as their arguments."""

import json
from collections.abc import Callable
from typing import Annotated, Any, Literal

import jsonschema
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import Meta

from crm.toolspec import MAX_ARGUMENTS, BadArguments, BadTool, Function, Tool, Toolset, tool_of
from engine.tools import tool_schema

Id = Annotated[int, Meta(ge=1, le=2**31 - 1)]


class Desk:
    """Stands for who calls."""


async def book(
    desk: Desk,
    service: str,
    day: str,
    count: int,
    appointment_id: Id | None,
    part: Literal["morning", "afternoon"] | None,
    waits: bool,
    vehicle: str | None = None,
) -> dict[str, Any]:
    """Books a service for the caller.

    Only when this has answered booked: true is it booked.

    Args:
        service: Name of the service, one of those listed
            in the instructions.
        day: Day as the caller said it
        count: How many
        appointment_id: Which one is replaced, or null
        part: Part of the day, or null
        waits: Whether the caller waits
        vehicle: Year, make and model, or null

    Returns:
        What was booked.
    """
    return {"service": service, "at": desk}


async def upcoming(desk: Desk) -> dict[str, Any]:
    """The caller's own appointments."""
    return {}


BOOK = tool_of(book, changes=True, outcome="booked")
GOOD: dict[str, Any] = {
    "service": "oil change", "day": "next Tuesday", "count": 1, "appointment_id": 7, "part": "morning", "waits": True,
    "vehicle": None,
}  # fmt: skip


def parse(tool: Tool = BOOK, **changed: Any) -> dict[str, Any]:
    return tool.parse(json.dumps({**GOOD, **changed}))


def refusal(arguments: str, tool: Tool = BOOK) -> str:
    with pytest.raises(BadArguments) as refused:
        tool.parse(arguments)
    return str(refused.value)


def refused(**changed: Any) -> str:
    return refusal(json.dumps({**GOOD, **changed}))


def test_a_signature_and_its_docstring_are_the_schema() -> None:
    assert BOOK.spec.name == "book"
    assert BOOK.spec.description == (
        "Books a service for the caller. Only when this has answered booked: true is it booked."
    )
    assert BOOK.spec.changes
    assert BOOK.spec.outcome == "booked"
    assert BOOK.spec.parameters == {
        "type": "object",
        "properties": {
            "service": {
                "type": "string",
                "description": "Name of the service, one of those listed in the instructions.",
            },
            "day": {"type": "string", "description": "Day as the caller said it"},
            "count": {"type": "integer", "description": "How many"},
            "appointment_id": {"type": ["integer", "null"], "description": "Which one is replaced, or null"},
            "part": {
                "type": ["string", "null"],
                "description": "Part of the day, or null",
                "enum": ["morning", "afternoon", None],
            },
            "waits": {"type": "boolean", "description": "Whether the caller waits"},
            "vehicle": {"type": ["string", "null"], "description": "Year, make and model, or null"},
        },
        "required": ["service", "day", "count", "appointment_id", "part", "waits", "vehicle"],
        "additionalProperties": False,
    }


# What a tool's schema may hold in strict mode; anything else is a 400.
STRICT = {"type", "properties", "required", "additionalProperties", "description", "enum"}


@pytest.mark.parametrize("function", [book, upcoming])
def test_a_schema_holds_only_what_strict_mode_takes(function: Function) -> None:
    schema = tool_schema(tool_of(function).spec)["function"]["parameters"]
    jsonschema.Draft202012Validator.check_schema(schema)
    assert schema["required"] == list(schema["properties"])
    assert schema["additionalProperties"] is False
    for part in (schema, *schema["properties"].values()):
        assert part.keys() <= STRICT
    assert "desk" not in schema["properties"]


async def test_what_is_parsed_are_the_functions_keywords() -> None:
    desk = Desk()
    assert await BOOK.function(desk, **parse()) == {"service": "oil change", "at": desk}


@pytest.mark.parametrize("arguments", ["", "  ", "{}", "null"])
def test_a_tool_without_arguments_takes_nothing_said_in_any_way(arguments: str) -> None:
    assert tool_of(upcoming).parse(arguments) == {}


@pytest.mark.parametrize(
    ("name", "value", "taken"),
    [
        ("count", "3", 3),
        ("count", " 3 ", 3),
        ("count", 3.0, 3),
        ("appointment_id", "12", 12),
        ("appointment_id", "", None),
        ("appointment_id", "null", None),
        ("waits", "true", True),
        ("service", 930, "930"),
        ("service", "  oil ", "oil"),
        ("service", "null", "null"),
        ("vehicle", "", None),
        ("vehicle", "   ", None),
        ("vehicle", "null", None),
        ("vehicle", "Null", "Null"),
        ("part", "", None),
    ],
)
def test_what_a_model_that_is_not_strict_sends_is_taken(name: str, value: Any, taken: Any) -> None:
    assert parse(**{name: value})[name] == taken


def test_a_null_that_is_missing_is_null() -> None:
    assert BOOK.parse('{"service": "oil", "day": "today", "count": 1, "waits": false}') == {
        "service": "oil", "day": "today", "count": 1, "appointment_id": None, "part": None, "waits": False,
        "vehicle": None,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("changed", "told"),
    [
        ({"service": None}, "service is missing; it is Name of the service"),
        ({"service": ""}, "service is missing"),
        ({"service": "x" * 201}, "Expected `str` of length <= 200"),
        ({"service": ["oil"]}, 'service is ["oil"]: Expected `str`, got `array`'),
        ({"service": "oil\x00change"}, "service holds a zero character"),
        ({"service": True}, "service is true: Expected `str`"),
        ({"service": 1e300}, "Expected `str`"),
        ({"count": "three"}, 'count is "three": Expected `int`, got `str`; it is How many'),
        ({"count": 3.5}, "count is 3.5"),
        ({"count": True}, "count is true"),
        ({"count": 2**31}, "count is 2147483648: Expected `int` <= 2147483647"),
        ({"count": -(2**63)}, "Expected `int` >= -2147483648"),
        ({"appointment_id": 0}, "appointment_id is 0: Expected `int` >= 1"),
        ({"part": "noon"}, 'part is "noon": one of morning, afternoon; it is Part of the day'),
        ({"phone": None}, 'there is no argument "phone"'),
        ({"\x00": 1}, "there is no argument"),
        ({"x" * 5000: 1}, "there is no argument"),
    ],
)
def test_a_wrong_argument_is_named_with_what_is_expected_and_what_there_is(
    changed: dict[str, Any], told: str
) -> None:
    reason = refused(**changed)
    assert reason.startswith("Wrong arguments for book: ")
    assert told in reason
    assert (
        "It takes: service (string); day (string); count (integer); appointment_id (integer or null)"
        in reason
    )
    assert len(reason) < 600


@pytest.mark.parametrize(
    "arguments",
    [
        "[]",
        "7",
        '"service"',
        "{",
        '{"service": "oil", "day": "\ud800"}',
        '{"service": "oil", "day": "\\ud800"}',
        '{"service": "oil", "day": "\\udc00\\udc00"}',
        '{"count": ' + "9" * 5000 + "}",
        '{"count": 1e999}',
        '{"day": ' + "[" * 8000 + "]" * 8000 + "}",
        '{"day": ' * 1500 + "1" + "}" * 1500,
    ],
)
def test_what_is_no_object_that_can_be_read_is_refused(arguments: str) -> None:
    reason = refusal(arguments)
    assert "not a JSON object" in reason
    reason.encode()


async def spell(desk: Desk, vin: Annotated[str, Meta(max_length=800)]) -> dict[str, Any]:
    """Takes a text that is longer than others.

    Args:
        vin: The number, spelled out
    """
    return {}


def test_a_signature_may_take_longer_texts_than_others_do() -> None:
    tool = tool_of(spell)
    assert tool.parse(json.dumps({"vin": "x" * 800})) == {"vin": "x" * 800}
    for wrong in ("x" * 801, ""):
        with pytest.raises(BadArguments, match="vin is"):
            tool.parse(json.dumps({"vin": wrong}))


def test_arguments_that_are_too_long_are_not_even_parsed() -> None:
    fits = json.dumps(GOOD)
    fits += " " * (MAX_ARGUMENTS - len(fits))
    assert BOOK.parse(fits) == GOOD
    assert f"at most {MAX_ARGUMENTS} are read" in refusal(fits + " ")
    assert "at most" in refusal("[" * 10_000_000)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters(codec=None)),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=8,
)


@given(st.text(st.characters(codec=None)) | st.binary().map(lambda raw: raw.decode(errors="surrogateescape")))
def test_no_text_breaks_the_parser(arguments: str) -> None:
    try:
        assert isinstance(BOOK.parse(arguments), dict)
    except BadArguments as error:
        str(error).encode()


@given(
    st.dictionaries(st.sampled_from([*GOOD]), JSON).map(lambda some: {**GOOD, **some}) | JSON, st.booleans()
)
def test_any_json_is_taken_within_bounds_or_refused(value: Any, escaped: bool) -> None:
    arguments = json.dumps(value, ensure_ascii=escaped)
    try:
        taken = BOOK.parse(arguments)
    except BadArguments as error:
        str(error).encode()
        return
    jsonschema.validate(taken, BOOK.spec.parameters)
    for given_value in taken.values():
        if isinstance(given_value, str):
            assert 1 <= len(given_value.encode()) <= 4 * 200
            assert "\x00" not in given_value
        elif isinstance(given_value, int):
            assert abs(given_value) <= 2**31


def test_a_toolset_has_its_tools_in_order_and_leaves_the_functions_alone() -> None:
    tools = Toolset()
    assert tools.tool(changes=True, outcome="booked")(book) is book
    tools.tool()(upcoming)
    assert [spec.name for spec in tools.specs] == ["book", "upcoming"]
    assert tools.named("book").spec.changes
    assert not tools.named("upcoming").spec.changes
    assert tools.named("upcoming").spec.outcome == ""
    with pytest.raises(BadTool, match="two tools"):
        tools.tool()(book)
    with pytest.raises(BadTool, match="no argument 'colour'"):
        Toolset().tool(logged=("colour",))(book)


@pytest.mark.parametrize("name", ["delete_all", "", "x" * 10_000, "\ud800\x00"])
def test_a_made_up_tool_is_refused_with_the_names_there_are(name: str) -> None:
    tools = Toolset()
    tools.tool()(upcoming)
    with pytest.raises(BadArguments) as error:
        tools.named(name)
    assert str(error.value).endswith("there are: upcoming.")
    assert len(str(error.value).encode()) < 200


async def untyped(desk, day):  # type: ignore[no-untyped-def]
    """Does it.

    Args:
        day: Day
    """


async def unknown_type(desk: Desk, day: Desk) -> dict[str, Any]:
    """Does it.

    Args:
        day: Day
    """
    return {}


async def either(desk: Desk, day: int | str) -> dict[str, Any]:
    """Does it.

    Args:
        day: Day
    """
    return {}


async def bounds_of_another_type(desk: Desk, day: Annotated[str, Meta(ge=1)]) -> dict[str, Any]:
    """Does it.

    Args:
        day: Day
    """
    return {}


async def numbers_to_choose(desk: Desk, day: Literal[1, 2]) -> dict[str, Any]:
    """Does it.

    Args:
        day: Day
    """
    return {}


async def unresolved(desk: Desk, day: "Nowhere") -> dict[str, Any]:  # type: ignore[name-defined]  # noqa: F821
    """Does it.

    Args:
        day: Day
    """
    return {}


async def defaulted(desk: Desk, day: str = "today") -> dict[str, Any]:
    """Does it.

    Args:
        day: Day
    """
    return {}


async def positional(desk: Desk, day: str, /) -> dict[str, Any]:
    """Does it.

    Args:
        day: Day
    """
    return {}


async def anything(desk: Desk, **day: str) -> dict[str, Any]:
    """Does it.

    Args:
        day: Day
    """
    return {}


async def undocumented(desk: Desk, day: str) -> dict[str, Any]:
    """Does it."""
    return {}


async def empty_entry(desk: Desk, day: str) -> dict[str, Any]:
    """Does it.

    Args:
        day:
    """
    return {}


async def documents_a_stranger(desk: Desk) -> dict[str, Any]:
    """Does it.

    Args:
        day: Day
    """
    return {}


async def documents_the_desk(desk: Desk) -> dict[str, Any]:
    """Does it.

    Args:
        desk: Who calls
    """
    return {}


async def prose_in_args(desk: Desk) -> dict[str, Any]:
    """Does it.

    Args:
    Nothing to see here
    """
    return {}


async def wordless(desk: Desk) -> dict[str, Any]:
    return {}


async def deskless() -> dict[str, Any]:
    """Does it."""
    return {}


def blocking(desk: Desk) -> dict[str, Any]:
    """Does it."""
    return {}


async def CamelCase(desk: Desk) -> dict[str, Any]:
    """Does it."""
    return {}


async def long_winded(desk: Desk) -> dict[str, Any]:
    return {}


long_winded.__doc__ = "Does it. " * 200


@pytest.mark.parametrize(
    ("function", "told"),
    [
        (untyped, r"untyped\(day\) has no type"),
        (unknown_type, "a schema can't say"),
        (either, "a schema can't say"),
        (numbers_to_choose, "a schema can't say"),
        (bounds_of_another_type, "bounds that don't fit"),
        (unresolved, "can't be read"),
        (defaulted, r"make it `\| None`"),
        (positional, "by name"),
        (anything, "by name"),
        (undocumented, "does not describe day"),
        (empty_entry, "something of each argument"),
        (documents_a_stranger, "describes day"),
        (documents_the_desk, "describes desk"),
        (prose_in_args, "Nothing to see here"),
        (wordless, "says what it does"),
        (deskless, "no first parameter"),
        (blocking, "async"),
        (CamelCase, "no name for a tool"),
        (long_winded, "1024"),
    ],
)
def test_what_cant_be_expressed_is_an_error_at_import(function: Callable[..., Any], told: str) -> None:
    with pytest.raises(BadTool, match=told):
        tool_of(function)
