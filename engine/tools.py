"""What the engine asks of a set of tools: schemas for the model, and one door to run them.

The engine knows no dealership: `serve_app` hands it a `Toolbox` (ours is `crm.tools`).
"""

from typing import Any, Protocol

import msgspec

from engine.messages import CallerContext, ToolRequest, ToolResult
from engine.overlong import OVERLONG


class ToolSpec(msgspec.Struct, frozen=True):
    """One tool as the model sees it.

    `parameters` is a JSON schema that OpenAI's strict mode takes. `changes` marks tools that write: their
    results are stored under the request's idempotency key. `outcome` is what a successful run makes of a call
    ("booked"), "" for one that changes nothing of it: see `engine.outcomes`. `logged` names the arguments that the call
    log keeps; what callers tell of themselves (names, numbers) is none of its business. `wants_spoken`: its
    requests tell what the agent has said.
    """

    name: str
    description: str
    parameters: dict[str, Any]
    changes: bool = False
    outcome: str = ""
    logged: tuple[str, ...] = ()
    wants_spoken: bool = False


class Toolbox(Protocol):
    """Runs tools and knows callers. Implementations own their database connections."""

    specs: tuple[ToolSpec, ...]

    async def open(self) -> None:
        """Connects. Raises a sentence that says what to do when it can't."""

    async def close(self) -> None:
        """Closes what `open` opened. Safe to run twice."""

    async def run(self, request: ToolRequest) -> ToolResult:
        """Runs one tool. Never raises for bad arguments: those are results with `ok` false, told to the model."""

    async def settle(self, request: ToolRequest) -> ToolResult:
        """What became of a change whose answer did not come: its result, read back by the request's key. If nothing
        became of it, nothing will: the key is void from now on, a late request with it gets the same "no", and that is
        the result. `unknown` only if even that can't be found out.
        """

    async def context(self, phone: str, called: str, attested: bool) -> CallerContext:
        """What is known of the caller with this E.164 number (or "anonymous") dialling `called`.

        Caller ID can be forged: only for an `attested` number (STIR level A) may the greeting and prompt give
        away what is known beyond a first name.
        """


END_CALL = "end_call"
TRANSFER_CALL = "transfer_call"

_NO_ARGUMENTS: dict[str, Any] = {
    "type": "object",
    "properties": {},
    "required": [],
    "additionalProperties": False,
}


def engine_verbs(can_transfer: bool) -> tuple[ToolSpec, ...]:
    """What the engine itself does when the model asks: it never reaches a toolbox."""
    end = ToolSpec(
        END_CALL,
        "Hang up. Say goodbye in the same reply; the call ends when that was heard. Only when the caller is done.",
        _NO_ARGUMENTS,
    )
    transfer = ToolSpec(
        TRANSFER_CALL,
        "Put the caller through to a person. Say so in the same reply. When they ask for a person.",
        _NO_ARGUMENTS,
    )
    return (end, transfer) if can_transfer else (end,)


def wrong_arguments(arguments: str) -> str:
    """Why a model's arguments are none, for the model; "" if they are a JSON object, or nothing at all."""
    if arguments == OVERLONG:
        return (
            "the arguments were too long, and nothing was run: give what the tool asks for, and nothing else"
        )
    if not arguments.strip():
        return ""
    try:
        msgspec.json.decode(arguments, type=dict[str, Any])
    except (msgspec.MsgspecError, UnicodeError, RecursionError) as error:
        return f"the arguments are not a JSON object: {error}"
    return ""


def tool_schema(spec: ToolSpec) -> dict[str, Any]:
    """A tool as chat completions take it, in strict mode."""
    return {
        "type": "function",
        "function": {
            "name": spec.name,
            "description": spec.description,
            "parameters": spec.parameters,
            "strict": True,
        },
    }
