"""What the call log is told, and how each entry becomes a row of `engine.calltables`.

Several processes write about one call, in any order, and may write again, so each row has a key of its own and each
write is an upsert.
"""

import math
import uuid
from collections.abc import Collection
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any

import msgspec
import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import Insert, insert

from engine.calltables import call_event, call_log, call_metric, call_tool, call_transcript, call_usage
from engine.messages import CallInfo, Message, Usage
from engine.outcomes import End

# ---------------------------------------------------------------- what is written


class Speaker(StrEnum):
    """Who said a line of the transcript."""

    CALLER = "caller"
    AGENT = "agent"


class Leg(StrEnum):
    """Names of the latencies, all in milliseconds."""

    FINAL_TO_REQUEST = "final_to_request"  # final transcript received -> request sent to the model
    FIRST_TOKEN = "first_token"  # request sent -> first token received
    FIRST_SENTENCE_TO_TTS = "first_sentence_to_tts"  # first sentence complete -> sent to synthesis
    TTS_FIRST_AUDIO = "tts_first_audio"  # sentence sent -> its first audio received
    AUDIO_TO_CALLER = "audio_to_caller"  # first audio received -> sent to the caller
    VOICE_TO_VOICE = "voice_to_voice"  # the caller stopped speaking -> first audio sent
    INTERIM_TO_CLEAR = "interim_to_clear"  # the interim that interrupts received -> clear sent
    TOOL = "tool"  # tool request sent -> result received
    CONTEXT = "context"  # the caller looked up while it rings
    CONTEXT_KEPT = "context_kept"  # the same, where it was still known
    GREETING = "greeting"  # stream started -> first frame of the greeting sent


class OpenCall(Message, frozen=True):
    """The call exists. `answered_at`: when its stream started; the earliest one told stands."""

    info: CallInfo
    answered_at: float | None = None


class LogEvent(Message, frozen=True):
    """Something happened. Told twice with one `seq` of a call, it is written once."""

    call: str
    kind: str
    detail: dict[str, Any]
    at: float
    seq: int | None = None


class LogTranscript(Message, frozen=True):
    """One sentence as it was heard: of the agent's, only what was played. Told again, it is replaced."""

    call: str
    turn: int
    index: int
    speaker: Speaker
    text: str
    at: float
    interrupted: bool = False


class LogMetric(Message, frozen=True):
    """One latency of a turn. `n` tells several of one name in a turn apart (tools), from 0."""

    call: str
    turn: int
    name: str
    value_ms: float
    at: float
    n: int = 0


class LogTool(Message, frozen=True):
    """One run of a tool: told when it is asked for, as `unknown`, and again with what came of it.

    `arguments` are those that the log may keep, see `kept_arguments`. `made`: what its success made of the call. A run
    whose result is known is not told anew: what a repetition elsewhere tells is not written.
    """

    call: str
    id: str
    turn: int
    tool: str
    arguments: dict[str, Any]
    at: float
    ok: bool = False
    unknown: bool = True
    replayed: bool = False
    made: str = ""
    took_ms: float | None = None


class Part(StrEnum):
    """What used something up."""

    MODEL = "model"  # one request
    SPEECH = "speech"  # recognition and synthesis of one stream


class LogUsage(Message, frozen=True):
    """What one part of a call has used so far; told again, it is replaced.

    `heard_ms`: audio that recognition was given, what it was given again too. `spoken_chars`: text that synthesis was.
    """

    call: str
    part: Part
    id: str
    at: float
    source: str = ""
    usage: Usage = Usage()
    heard_ms: float = 0.0
    spoken_chars: int = 0


class FinalizeCall(Message, frozen=True):
    """The call ended. Told more than once (a dropped call that was resumed), the later end stands.

    `outcome` is "" where its facts are not known; the sweeper decides it from the rows then. Totals are None where they
    are not known, and stay as they were.
    """

    call: str
    ending: End
    ended_at: float
    outcome: str = ""
    turns: int | None = None
    interruptions: int | None = None
    tool_calls: int | None = None
    usage: Usage | None = None


Entry = OpenCall | LogEvent | LogTranscript | LogMetric | LogTool | LogUsage | FinalizeCall

# ---------------------------------------------------------------- statements


def _upsert_open() -> Insert:
    statement = insert(call_log)
    new = statement.excluded
    told = {name: new[name] for name in ("caller", "called", "attested")}
    earliest = {name: sa.func.least(call_log.c[name], new[name]) for name in ("started_at", "answered_at")}
    return statement.on_conflict_do_update(index_elements=["call"], set_=told | earliest)


def _upsert_end() -> Insert:
    statement = insert(call_log)
    new, old = statement.excluded, call_log.c
    totals = ("outcome", "turns", "interruptions", "tool_calls")
    tokens = ("prompt_tokens", "cached_tokens", "completion_tokens")
    known = {name: sa.func.coalesce(new[name], old[name]) for name in totals + tokens}
    return statement.on_conflict_do_update(
        index_elements=["call"],
        set_={"ending": new.ending, "ended_at": new.ended_at} | known,
        # What the sweeper made of a call's last sign of life gives way to whoever knows.
        where=sa.or_(old.ended_at.is_(None), new.ended_at >= old.ended_at, old.ending == End.LOST),
    )


def _upsert_tool() -> Insert:
    statement = insert(call_tool)
    keys = [column.name for column in call_tool.primary_key]
    rest: dict[str, Any] = {
        column.name: statement.excluded[column.name] for column in call_tool.c if column.name not in keys
    }
    rest["at"] = sa.func.least(call_tool.c.at, statement.excluded.at)
    return statement.on_conflict_do_update(index_elements=keys, set_=rest, where=call_tool.c.unknown)


def _upsert(table: sa.Table) -> Insert:
    statement = insert(table)
    keys = [column.name for column in table.primary_key]
    rest = {column.name: statement.excluded[column.name] for column in table.c if column.name not in keys}
    return statement.on_conflict_do_update(index_elements=keys, set_=rest)


STUB = insert(call_log).on_conflict_do_nothing()

# In the order in which a batch runs them.
STATEMENTS: dict[type[Entry], Insert] = {
    OpenCall: _upsert_open(),
    LogEvent: insert(call_event).on_conflict_do_nothing(),
    LogTranscript: _upsert(call_transcript),
    LogMetric: _upsert(call_metric),
    LogTool: _upsert_tool(),
    LogUsage: _upsert(call_usage),
    FinalizeCall: _upsert_end(),
}

Row = tuple[type[Entry], dict[str, Any]]

ARGUMENT_LIMIT = 200  # characters of one argument that are kept
_DEEPEST = 8  # levels of a detail that are kept; a detail may hold itself


def row_of(entry: Entry) -> Row:
    """The entry as bound parameters: fields are named as columns. Raises when Postgres could not take it."""
    fields: dict[str, Any] = {name: getattr(entry, name) for name in entry.__struct_fields__}
    if isinstance(entry, OpenCall):
        info = fields.pop("info")
        fields |= {name: getattr(info, name) for name in info.__struct_fields__}
    elif isinstance(entry, FinalizeCall | LogUsage):
        usage = fields.pop("usage")
        fields |= {"prompt_tokens": usage and usage.prompt, "cached_tokens": usage and usage.cached}
        fields |= {"completion_tokens": usage and usage.completion}
        if isinstance(entry, FinalizeCall):
            fields["outcome"] = entry.outcome or None
    elif isinstance(entry, LogEvent):
        # Known before the first try, so that a batch whose outcome is unknown can be sent again.
        fields["id"] = uuid.uuid4()
    return type(entry), {name: _bound(name, value) for name, value in fields.items()}


def kept_arguments(arguments: str, names: Collection[str]) -> dict[str, Any]:
    """Those of a model's arguments (JSON text, unchecked) that the log may keep, cut.

    What a caller tells of themselves is in the transcript, which is kept for less long.
    """
    try:
        told = msgspec.json.decode(arguments or "{}", type=dict[str, Any])
    except (msgspec.MsgspecError, UnicodeError, RecursionError):
        return {}
    plain = {name: told[name] for name in names if isinstance(told.get(name), str | int | float | bool)}
    return {n: value[:ARGUMENT_LIMIT] if isinstance(value, str) else value for n, value in plain.items()}


def _bound(name: str, value: Any) -> Any:
    if isinstance(value, str):
        return _text(value)
    if isinstance(value, dict):
        return _plain(value)
    if name == "at" or name.endswith("_at"):
        return None if value is None else datetime.fromtimestamp(value, UTC)
    if isinstance(value, float) and not math.isfinite(value):
        raise ValueError(f"{name} must be a finite number, got {value}")
    return value


def _text(value: str) -> str:
    """Text that Postgres takes: no NUL, no lone surrogate."""
    return value.replace("\x00", "").encode("utf-8", "replace").decode()


def _plain(value: object, depth: int = 0) -> Any:
    """JSON that Postgres takes as jsonb, and a copy, since the caller may go on writing to theirs."""
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, int):
        return value if abs(value) < 2**63 else None
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, msgspec.Struct):
        value = msgspec.to_builtins(value)
    if isinstance(value, dict):
        return {_text(str(k)): _plain(v, depth + 1) for k, v in value.items()} if depth < _DEEPEST else "..."
    if isinstance(value, list | tuple | set | frozenset):
        return [_plain(item, depth + 1) for item in value] if depth < _DEEPEST else "..."
    return _text(str(value))
