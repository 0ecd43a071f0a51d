"""What a chat completions request must look like, and how a refusal of one is told.

Source: OpenAI, "Chat completions", "Function calling", "Structured outputs", "Error codes".
"""

import re
from typing import Any

ROLES = frozenset({"system", "developer", "user", "assistant", "tool", "function"})
MOST_TOOLS = 128

_NAME = re.compile(r"[a-zA-Z0-9_-]{1,64}")


class Refused(Exception):
    """A request that is answered with an error instead of a reply.

    Raised before a reply's first piece it is an HTTP status; later it is an error event in the stream.
    """

    def __init__(
        self,
        status: int,
        message: str,
        *,
        kind: str = "invalid_request_error",
        code: str | None = None,
        param: str | None = None,
        headers: dict[str, str] | None = None,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.headers = headers or {}
        self.error: dict[str, Any] = {"message": message, "type": kind, "param": param, "code": code}

    def body(self) -> dict[str, Any]:
        """The error in OpenAI's form."""
        return {"error": self.error}


def _bad(message: str, param: str | None = None, code: str | None = None) -> Refused:
    return Refused(400, message, param=param, code=code)


def check_request(body: Any) -> dict[str, Any]:
    """Returns the request if the real server would take it. Raises `Refused` (400) if not."""
    if not isinstance(body, dict):
        raise _bad("The body must be a JSON object.")
    if not isinstance(body.get("model"), str) or not body["model"]:
        raise _bad("You must provide a model parameter.", "model")
    if not isinstance(body.get("stream", False), bool | None):
        raise _bad("'stream' must be true or false.", "stream")
    options = body.get("stream_options")
    if options is not None and not body.get("stream"):
        raise _bad("'stream_options' is only allowed when 'stream' is true.", "stream_options")
    if options is not None and not isinstance(options, dict):
        raise _bad("'stream_options' must be an object.", "stream_options")
    _check_messages(body.get("messages"))
    _check_tools(body)
    return body


def _check_messages(messages: Any) -> None:
    if not isinstance(messages, list) or not messages:
        raise _bad("'messages' must be a list with at least one message.", "messages")
    open_ids: set[str] = set()
    for index, message in enumerate(messages):
        where = f"messages.[{index}]"
        if not isinstance(message, dict) or message.get("role") not in ROLES:
            raise _bad(f"'role' must be one of {', '.join(sorted(ROLES))}.", f"{where}.role")
        if message["role"] == "tool":
            _check_answer(message, open_ids, where)
            continue
        if open_ids:
            raise _unanswered(open_ids, f"{where}.role")
        _check_content(message, where)
        open_ids = _ids(message, where)
    if open_ids:
        raise _unanswered(open_ids, f"messages.[{len(messages) - 1}].role")


def _check_answer(message: dict[str, Any], open_ids: set[str], where: str) -> None:
    """A tool message must answer a call that is still open; takes it off `open_ids`."""
    if message.get("tool_call_id") not in open_ids:
        text = "messages with role 'tool' must be a response to a preceding message with 'tool_calls'."
        raise _bad(text, f"{where}.role")
    _check_content(message, where)
    open_ids.discard(message["tool_call_id"])


def _unanswered(ids: set[str], param: str) -> Refused:
    return _bad(
        "An assistant message with 'tool_calls' must be followed by tool messages responding to each "
        f"'tool_call_id'. These had no response: {', '.join(sorted(ids))}",
        param,
    )


def _check_content(message: dict[str, Any], where: str) -> None:
    content = message.get("content")
    if content is None and message["role"] == "assistant" and message.get("tool_calls"):
        return
    if isinstance(content, list) and all(isinstance(part, dict) for part in content):
        return
    if not isinstance(content, str):
        raise _bad(f"'content' must be a string, got {type(content).__name__}.", f"{where}.content")


def _ids(message: dict[str, Any], where: str) -> set[str]:
    calls = message.get("tool_calls")
    if calls is None:
        return set()
    if message["role"] != "assistant" or not isinstance(calls, list) or not calls:
        raise _bad("'tool_calls' must be a list of calls in an assistant message.", f"{where}.tool_calls")
    ids = set()
    for call in calls:
        function = call.get("function") if isinstance(call, dict) else None
        good = isinstance(function, dict) and all(
            isinstance(function.get(key), str) for key in ("name", "arguments")
        )
        if not good or not isinstance(call.get("id"), str):
            raise _bad(
                "Each tool call needs an id, and a function with name and arguments.", f"{where}.tool_calls"
            )
        ids.add(call["id"])
    return ids


def _check_tools(body: dict[str, Any]) -> None:
    tools = body.get("tools")
    if tools is None:
        for option in ("tool_choice", "parallel_tool_calls"):
            if body.get(option) not in (None, "none"):
                raise _bad(f"'{option}' is only allowed when 'tools' are specified.", option)
        return
    if not isinstance(tools, list) or not 1 <= len(tools) <= MOST_TOOLS:
        raise _bad(f"'tools' must hold 1 to {MOST_TOOLS} tools.", "tools")
    for index, tool in enumerate(tools):
        where = f"tools[{index}].function"
        function = tool.get("function") if isinstance(tool, dict) else None
        if not isinstance(function, dict) or tool.get("type") != "function":
            raise _bad("Each tool must be of type 'function' and hold a function.", where)
        name = function.get("name")
        if not isinstance(name, str) or not _NAME.fullmatch(name):
            raise _bad("A function's name must match [a-zA-Z0-9_-]{1,64}.", f"{where}.name")
        if function.get("strict"):
            _check_strict(function.get("parameters"), name, f"{where}.parameters")


def _check_strict(schema: Any, name: str, where: str) -> None:
    """In strict mode every property is required and no other is allowed, in nested objects too."""
    if not isinstance(schema, dict):
        raise _bad(f"Invalid schema for function '{name}'.", where, "invalid_function_parameters")
    properties = schema.get("properties", {})
    if schema.get("type") == "object" or properties:
        if schema.get("additionalProperties") is not False:
            text = f"Invalid schema for function '{name}': 'additionalProperties' must be false."
            raise _bad(text, where, "invalid_function_parameters")
        if set(schema.get("required", [])) != set(properties):
            text = f"Invalid schema for function '{name}': 'required' must name every property."
            raise _bad(text, where, "invalid_function_parameters")
    for key, inner in properties.items():
        if isinstance(inner, dict):
            _check_strict(inner, name, f"{where}.properties.{key}")
