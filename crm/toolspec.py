"""Tools from typed functions: the signature and docstring are the schema, and say how arguments are read.

    tools = Toolset()

    @tools.tool(changes=True, outcome="cancelled")
    async def cancel_appointment(desk: Desk, appointment_id: Id) -> dict[str, Any]:
        \"""Cancels one of the caller's own appointments.

        Args:
            appointment_id: The appointment's id, from get_upcoming_appointments.
        \"""

The first parameter is ours (who calls, when, the records); the model sees the others. Schemas keep to what
OpenAI's strict mode takes: every property is required, what may be missing is nullable, nothing else is accepted, and
no bounds are stated. The parser holds the bounds, and is more lenient where a model that is not strict could be.
What a signature says and a schema can't is an error at import.
"""

import inspect
import re
import types
import typing
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal, TypeVar

import msgspec
from msgspec import Meta

from engine.tools import ToolSpec

MAX_ARGUMENTS = 16 * 1024  # characters of JSON, checked before any is parsed
MAX_TEXT = 200
_MAX_DESCRIPTION = 1024  # OpenAI, function calling
_SHOWN = 40  # characters of a wrong value that are shown to the model
_NAME = re.compile(r"[a-z][a-z0-9_]{0,63}")
_SECTION = re.compile(r"[A-Z][a-z]+:")
_ENTRY = re.compile(r"(\w+):\s*(.*)")

# What a type is in a schema, and what the parser takes for it. An integer fits Postgres's `integer`.
_TYPES: dict[Any, tuple[str, Any]] = {
    str: ("string", Annotated[str, Meta(min_length=1, max_length=MAX_TEXT)]),
    int: ("integer", Annotated[int, Meta(ge=-(2**31), le=2**31 - 1)]),
    bool: ("boolean", bool),
}

Function = Callable[..., Awaitable[dict[str, Any]]]
_F = TypeVar("_F", bound=Function)


class BadArguments(Exception):
    """The model's arguments can't be used; the message tells it what to correct."""


class BadTool(Exception):
    """A function can't be made into a tool; the message says what to write instead."""


@dataclass(frozen=True)
class _Argument:
    """`takes`: the type that a given value is converted to. `bounded`: the same with the signature's own bounds.
    `allowed`: the texts there are, if only some.
    """

    takes: Any
    bounded: Any
    nullable: bool
    kind: str
    description: str
    allowed: tuple[str, ...] = ()

    @property
    def schema(self) -> dict[str, Any]:
        kind = [self.kind, "null"] if self.nullable else self.kind
        schema: dict[str, Any] = {"type": kind, "description": self.description}
        if self.allowed:
            schema["enum"] = [*self.allowed, None] if self.nullable else list(self.allowed)
        return schema


@dataclass(frozen=True)
class Tool:
    """A function, as the model sees it."""

    function: Function
    spec: ToolSpec
    _arguments: Mapping[str, _Argument]

    def parse(self, arguments: str) -> dict[str, Any]:
        """A model's arguments (JSON text, unchecked) as keywords for the function. Raises `BadArguments`."""
        given = self._object(arguments)
        unknown = [name for name in given if name not in self._arguments]
        if unknown:
            raise self._bad(f"there is no argument {_shown(unknown[0])}")
        return {name: self._value(name, given.get(name)) for name in self._arguments}

    def _object(self, arguments: str) -> dict[str, Any]:
        if len(arguments) > MAX_ARGUMENTS:
            raise self._bad(f"they are {len(arguments)} characters long, at most {MAX_ARGUMENTS} are read")
        try:
            return msgspec.json.decode(arguments.strip() or "{}", type=dict[str, Any] | None) or {}
        except (msgspec.MsgspecError, UnicodeError, RecursionError) as error:
            raise self._bad(f"they are not a JSON object: {error}") from None

    def _value(self, name: str, value: Any) -> Any:
        argument = self._arguments[name]
        given = _lenient(value, argument)
        if given is None:
            if argument.nullable:
                return None
            raise self._bad(f"{name} is missing; it is {argument.description}")
        if isinstance(given, str) and "\x00" in given:  # Postgres has no place for it in a text
            raise self._bad(f"{name} holds a zero character; it is {argument.description}")
        try:
            return msgspec.convert(msgspec.convert(given, argument.takes, strict=False), argument.bounded)
        except msgspec.ValidationError as error:
            why = f"one of {', '.join(argument.allowed)}" if argument.allowed else str(error)
            raise self._bad(f"{name} is {_shown(value)}: {why}; it is {argument.description}") from None

    def _bad(self, why: str) -> BadArguments:
        takes = "; ".join(
            f"{name} ({argument.kind}{' or null' if argument.nullable else ''})"
            for name, argument in self._arguments.items()
        )
        return BadArguments(f"Wrong arguments for {self.spec.name}: {why}. It takes: {takes or 'nothing'}.")


@dataclass
class Toolset:
    """The tools that a dealership has, by name, in the order in which they were written."""

    tools: dict[str, Tool] = field(default_factory=dict)

    @property
    def specs(self) -> tuple[ToolSpec, ...]:
        """For the model."""
        return tuple(tool.spec for tool in self.tools.values())

    def tool(
        self,
        changes: bool = False,
        outcome: str = "",
        logged: tuple[str, ...] = (),
        wants_spoken: bool = False,
    ) -> Callable[[_F], _F]:
        """Decorates a tool's function, which stays as it is; the rest is as in `ToolSpec`. Raises `BadTool`."""

        def collect(function: _F) -> _F:
            made = tool_of(function, changes, outcome, logged, wants_spoken)
            if made.spec.name in self.tools:
                raise BadTool(f"there are two tools {made.spec.name}: rename one")
            self.tools[made.spec.name] = made
            return function

        return collect

    def named(self, name: str) -> Tool:
        """The tool with this name. Raises `BadArguments`, with the names there are."""
        tool = self.tools.get(name)
        if tool is None:
            raise BadArguments(f"There is no tool {_shown(name)}; there are: {', '.join(self.tools)}.")
        return tool


def tool_of(
    function: Function,
    changes: bool = False,
    outcome: str = "",
    logged: tuple[str, ...] = (),
    wants_spoken: bool = False,
) -> Tool:
    """Makes a tool of a function. Raises `BadTool` with what to write instead."""
    name = function.__name__
    if not _NAME.fullmatch(name):
        raise BadTool(f"{name} is no name for a tool: use small letters, digits and underscores, 64 at most")
    if not inspect.iscoroutinefunction(function):
        raise BadTool(f"{name} must be an async function")
    summary, described = _docstring(name, inspect.getdoc(function) or "")
    arguments = _arguments(function, described)
    parameters = {
        "type": "object",
        "properties": {key: argument.schema for key, argument in arguments.items()},
        "required": list(arguments),
        "additionalProperties": False,
    }
    stray = [one for one in logged if one not in arguments]
    if stray:
        raise BadTool(f"{name} has no argument {stray[0]!r}, which the log is to keep: correct `logged`")
    return Tool(
        function, ToolSpec(name, summary, parameters, changes, outcome, logged, wants_spoken), arguments
    )


def _arguments(function: Function, described: Mapping[str, str]) -> dict[str, _Argument]:
    name = function.__name__
    parameters = list(inspect.signature(function).parameters.values())
    if not parameters:
        raise BadTool(f"{name} has no first parameter: it is the desk at which the tool runs")
    try:
        hints = typing.get_type_hints(function, include_extras=True)
    except (NameError, TypeError) as error:
        raise BadTool(f"the types of {name} can't be read: {error}") from error
    undescribed = [p.name for p in parameters[1:] if p.name not in described]
    if undescribed:
        raise BadTool(f"{name} does not describe {undescribed[0]}: add it to Args in the docstring")
    strangers = described.keys() - {p.name for p in parameters[1:]}
    if strangers:
        raise BadTool(f"{name} describes {min(strangers)}, which the model can't give: it is no parameter")
    return {p.name: _argument(f"{name}({p.name})", p, hints, described[p.name]) for p in parameters[1:]}


def _argument(
    where: str, parameter: inspect.Parameter, hints: Mapping[str, Any], description: str
) -> _Argument:
    if parameter.kind not in (parameter.POSITIONAL_OR_KEYWORD, parameter.KEYWORD_ONLY):
        raise BadTool(f"{where}: only parameters that can be given by name can be told to the model")
    if parameter.name not in hints:
        raise BadTool(f"{where} has no type")
    hint, nullable = _without_none(hints[parameter.name])
    if parameter.default is not parameter.empty and not (nullable and parameter.default is None):
        raise BadTool(f"{where} has a default, which strict schemas don't know: make it `| None`")
    if typing.get_origin(hint) is Literal:
        allowed = typing.get_args(hint)
        if all(isinstance(text, str) for text in allowed):
            return _Argument(hint, hint, nullable, "string", description, allowed)
    base = hint
    if typing.get_origin(hint) is Annotated and all(isinstance(bound, Meta) for bound in hint.__metadata__):
        base = typing.get_args(hint)[0]
    if base not in _TYPES:
        known = ", ".join(kind.__name__ for kind in _TYPES)
        raise BadTool(
            f"{where}: a schema can't say {hint}: use {known} or a Literal of texts, perhaps `| None`"
        )
    try:
        msgspec.json.Decoder(hint)
    except TypeError as error:
        raise BadTool(f"{where} has bounds that don't fit: {error}") from error
    kind, takes = _TYPES[base]
    if base is str and any(bound.max_length for bound in getattr(hint, "__metadata__", ())):
        takes = Annotated[str, Meta(min_length=1)]  # a signature may allow more than most texts need
    return _Argument(takes, hint, nullable, kind, description)


def _without_none(hint: Any) -> tuple[Any, bool]:
    if typing.get_origin(hint) not in (typing.Union, types.UnionType):
        return hint, False
    rest = [kind for kind in typing.get_args(hint) if kind is not type(None)]
    if len(rest) == 1 and len(rest) < len(typing.get_args(hint)):
        return rest[0], True
    return hint, False


def _docstring(name: str, text: str) -> tuple[str, dict[str, str]]:
    """The text before any section, on one line, and what `Args:` says of each argument."""
    summary: list[str] = []
    described: dict[str, str] = {}
    section, entry = "", ""
    for line in text.splitlines():
        if _SECTION.fullmatch(line):
            section = line
        elif not section:
            summary.append(line)
        elif section == "Args:" and line.strip():
            started = _ENTRY.fullmatch(line.strip()) if line.startswith("    ") and line[4] != " " else None
            if started:
                entry = started[1]
                described[entry] = started[2].rstrip()
            elif entry and line.startswith("     "):
                described[entry] += f" {line.strip()}"
            else:
                raise BadTool(f"{name}: Args in the docstring holds {line.strip()!r}: write `name: text`")
    told = " ".join(" ".join(summary).split())
    if not told or not all(described.values()):
        raise BadTool(f"{name} needs a docstring that says what it does, and something of each argument")
    if len(max([told, *described.values()], key=len)) > _MAX_DESCRIPTION:
        raise BadTool(f"{name} says more than {_MAX_DESCRIPTION} characters of something: shorten it")
    return told, described


def _lenient(value: Any, argument: _Argument) -> Any:
    """What a model that is not strict meant: a number for a text is one, and an empty text or "null" is nothing."""
    if isinstance(value, str):
        # Not any case of it: there are people called Null.
        value = value.strip()
        return None if value == "" or (value == "null" and argument.nullable) else value
    if argument.kind == "string" and isinstance(value, (int, float)) and not isinstance(value, bool):
        return repr(value) if abs(value) < 10**17 else value
    return value


def _shown(value: Any) -> str:
    """A wrong value for a message to the model: its JSON, cut short."""
    try:
        text = msgspec.json.encode(value).decode()
    except (ValueError, OverflowError, RecursionError, msgspec.MsgspecError):
        text = type(value).__name__
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}..."
