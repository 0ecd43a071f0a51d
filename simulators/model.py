"""A scripted chat model behind OpenAI's protocol: says what a script tells it, when, and how it fails.

    python -m simulators.model --port 0 --script FILE    prints "listening on <port>"

A script is JSON (`Script`): the first rule that fits a request answers it. What a rule looks at is the
conversation, so a request that is sent again after a crash meets the same rule. A request whose last
message is a system message beginning "Go on after", following an assistant message that is the beginning
of the scripted answer, gets only the rest. `GET /record` tells every request and whether its client left.
"""

import argparse
import asyncio
import json
import re
import sys
from collections import Counter
from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Any, Literal

import msgspec
from starlette.applications import Starlette

from local.chat import Call, CutShort, Finish, Piece, Record, Refused, Text, chat_app
from local.receptionist.continuing import text_of, unsaid
from local.serving import serve_forever

SNAPSHOT = "gpt-4o-2024-08-06"
STALL_S = 3600.0  # far longer than any client waits; it ends when the client leaves


class ScriptedCall(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A tool call: `arguments` is an object, or text sent as it stands. An empty `id` is filled in."""

    name: str
    arguments: dict[str, Any] | str = msgspec.field(default_factory=dict)
    id: str = ""


class Failure(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How the answer goes wrong.

    `status` answers with that HTTP status at once. Otherwise, after `after_tokens` words: `stall` sends
    nothing more, `end` ends the body without finish_reason, `reset` breaks the connection, `error` sends an
    error event.
    """

    status: int = 0
    kind: str = "server_error"
    code: str | None = None
    message: str = "The scripted model fails here."
    headers: dict[str, str] = {}
    how: Literal["stall", "end", "reset", "error"] = "error"
    after_tokens: int = 0


class Answer(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What is said (a delta a word), then called. `first_token_s` before the first delta, `gap_s` between."""

    say: str = ""
    calls: tuple[ScriptedCall, ...] = ()
    first_token_s: float = 0.4
    gap_s: float = 0.02
    finish: str = ""
    failure: Failure | None = None


class Rule(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """When an answer is given: all conditions that are set must hold.

    `user` is a substring of the last user text (any case), `user_regex` a pattern in it; `turn` counts the
    request's user messages from 1; `step` counts requests to this server from 0; `model` is the one asked
    for. `after_tool` names a tool whose result ends the request ("*": any) and `result` is a substring of
    it: rules without `after_tool`, `result` and `step` answer no request that ends with a result.
    `times` is how often the rule answers at most.
    """

    answer: Answer
    user: str | None = None
    user_regex: str | None = None
    turn: int | None = None
    step: int | None = None
    model: str | None = None
    after_tool: str | None = None
    result: str | None = None
    times: int | None = None


class Script(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Rules, tried in order, and the answer when none fits (without it: HTTP 500 that says so)."""

    rules: tuple[Rule, ...] = ()
    otherwise: Answer | None = None
    model: str = SNAPSHOT


def says(
    say: str, *calls: ScriptedCall, user: str | None = None, after: str | None = None, **how: Any
) -> Rule:
    """A rule of the model's script: what it says and calls, after these words of the user's or this tool."""
    times, result = how.pop("times", None), how.pop("result", None)
    answer = Answer(say, calls, **{"first_token_s": 0.05, "gap_s": 0.0, **how})
    return Rule(answer, user=user, after_tool=after, times=times, result=result)


def tool(name: str, /, **arguments: Any) -> ScriptedCall:
    """A tool that the model calls."""
    return ScriptedCall(name, arguments)


def load_script(data: bytes | str | dict[str, Any]) -> Script:
    """A script from JSON text or plain data. Raises `msgspec.ValidationError` that names the field."""
    if isinstance(data, dict):
        return msgspec.convert(data, Script)
    return msgspec.json.decode(data, type=Script)


class Scene(msgspec.Struct, frozen=True):
    """What rules look at, of one request. `said` is the part of the answer that was spoken already."""

    model: str
    turn: int
    step: int
    user: str
    tool: str | None
    result: str
    said: str


def scene_of(request: dict[str, Any], step: int) -> Scene:
    """Reads a request. A trailing "Go on after" and the partial answer before it don't count as turns."""
    messages: list[dict[str, Any]] = request["messages"]
    said = ""
    if messages[-1]["role"] in ("system", "developer") and text_of(messages[-1]).startswith("Go on after"):
        messages = messages[:-1]
        if messages and messages[-1]["role"] == "assistant":
            messages, said = messages[:-1], text_of(messages[-1])
    spoken = [m for m in messages if m["role"] not in ("system", "developer")]
    users = [text_of(m) for m in spoken if m["role"] == "user"]
    names = {c["id"]: c["function"]["name"] for m in spoken for c in m.get("tool_calls") or ()}
    tools: list[dict[str, Any]] = []
    for message in reversed(spoken):
        if message["role"] != "tool":
            break
        tools.append(message)
    return Scene(
        model=request["model"],
        turn=len(users),
        step=step,
        user=users[-1] if users else "",
        tool=names.get(tools[0]["tool_call_id"], "") if tools else None,
        result="\n".join(text_of(m) for m in reversed(tools)),
        said=said,
    )


def fits(rule: Rule, scene: Scene) -> bool:
    """Whether every condition of the rule holds."""
    answers_results = rule.after_tool is not None or rule.result is not None or rule.step is not None
    if scene.tool is not None and not answers_results:
        return False
    conditions = (
        rule.user is None or rule.user.lower() in scene.user.lower(),
        rule.user_regex is None or bool(re.search(rule.user_regex, scene.user, re.IGNORECASE)),
        rule.turn is None or rule.turn == scene.turn,
        rule.step is None or rule.step == scene.step,
        rule.model is None or rule.model == scene.model,
        rule.after_tool is None or (scene.tool is not None and rule.after_tool in ("*", scene.tool)),
        rule.result is None or rule.result in scene.result,
    )
    return all(conditions)


class ScriptedModel:
    """A `local.chat.Brain` that follows a script."""

    def __init__(self, script: Script) -> None:
        self.model = script.model
        self._script = script
        self._step = 0
        self._used: Counter[int] = Counter()

    async def reply(self, request: dict[str, Any]) -> AsyncGenerator[Piece, None]:
        """Plays the answer of the first rule that fits."""
        scene = scene_of(request, self._step)
        self._step += 1
        async for piece in _play(self._answer(scene), scene.said):
            yield piece

    def _answer(self, scene: Scene) -> Answer:
        for index, rule in enumerate(self._script.rules):
            if fits(rule, scene) and (rule.times is None or self._used[index] < rule.times):
                self._used[index] += 1
                return rule.answer
        if self._script.otherwise is None:
            raise Refused(500, f"No rule of the script fits: {scene}", kind="server_error")
        return self._script.otherwise


async def _play(answer: Answer, said: str) -> AsyncGenerator[Piece, None]:
    failure = answer.failure
    if failure and failure.status:
        raise _refusal(failure, failure.status)
    await asyncio.sleep(answer.first_token_s)
    rest = unsaid(said, answer.say) if said else None
    words = re.findall(r"\s*\S+\s*?", answer.say if rest is None else rest)
    for count, word in enumerate(words):
        if failure and count >= failure.after_tokens:
            break
        if count:
            await asyncio.sleep(answer.gap_s)
        yield Text(word)
    if failure:
        await _fail(failure)
    for call in answer.calls:
        arguments = call.arguments if isinstance(call.arguments, str) else json.dumps(call.arguments)
        yield Call(call.name, arguments, call.id)
    if answer.finish:
        yield Finish(answer.finish)


async def _fail(failure: Failure) -> None:
    if failure.how == "stall":
        await asyncio.sleep(STALL_S)
    if failure.how == "error":
        raise _refusal(failure, 500)
    raise CutShort(clean=failure.how == "end")


def _refusal(failure: Failure, status: int) -> Refused:
    return Refused(
        status, failure.message, kind=failure.kind, code=failure.code, headers=dict(failure.headers)
    )


def scripted_app(script: Script, record: Record) -> Starlette:
    """The server of a script, recording its exchanges: for tests in this process."""
    return chat_app(ScriptedModel(script), record)


def main() -> int:
    """Serves a script file until SIGTERM."""
    parser = argparse.ArgumentParser(prog="simulators.model", description="A scripted chat model.")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--script", type=Path, required=True)
    parser.add_argument("--with-parent", action="store_true", help="end when stdin ends")
    options = parser.parse_args()
    try:
        script = load_script(options.script.read_bytes())
    except (OSError, msgspec.DecodeError) as error:
        print(f"{options.script} is not a script: {error}", file=sys.stderr)
        return 2
    serve_forever(scripted_app(script, Record()), options.host, options.port, with_parent=options.with_parent)
    return 0


if __name__ == "__main__":
    sys.exit(main())
