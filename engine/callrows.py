"""What the call log holds: the entries that are told, the tables of Postgres, and how one becomes the other.

A row in `call_log` is one call; `call_event`, `call_transcript` and `call_metric` hang on it. Several processes write
about one call, in any order, and may write again, so each row has a key of its own and each write is an upsert.
"""

import math
import uuid
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any

import msgspec
import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import JSONB, Insert, insert

from engine.messages import CallInfo, Message, Usage

# ---------------------------------------------------------------- what is written


class Outcome(StrEnum):
    """How a call ended."""

    COMPLETED = "completed"  # the agent said goodbye
    CALLER_HUNG_UP = "caller_hung_up"
    TRANSFERRED = "transferred"
    SILENT = "silent"  # the caller never answered the prompts
    DROPPED = "dropped"  # the stream broke and nobody resumed it
    FAILED = "failed"  # we could not go on
    ABANDONED = "abandoned"  # hung up while ringing
    REFUSED = "refused"  # at the webhook: no slot, draining, or Redis away
    LOST = "lost"  # nobody told its end: set by the sweeper


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


class FinalizeCall(Message, frozen=True):
    """The call ended. Told more than once (a dropped call that was resumed), the later end stands."""

    call: str
    outcome: Outcome
    ended_at: float
    turns: int = 0
    interruptions: int = 0
    tool_calls: int = 0
    usage: Usage = Usage()


Entry = OpenCall | LogEvent | LogTranscript | LogMetric | FinalizeCall

# ---------------------------------------------------------------- tables

metadata = sa.MetaData()


def _instant(name: str, *, nullable: bool) -> sa.Column[datetime]:
    return sa.Column(name, sa.DateTime(timezone=True), nullable=nullable)


def _of_call(*, primary_key: bool) -> sa.Column[str]:
    reference = sa.ForeignKey("call_log.call", ondelete="CASCADE")
    return sa.Column("call", sa.Text, reference, primary_key=primary_key, nullable=False)


call_log = sa.Table(
    "call_log",
    metadata,
    sa.Column("call", sa.Text, primary_key=True),
    sa.Column("caller", sa.Text),
    sa.Column("called", sa.Text),
    sa.Column("attested", sa.Boolean),
    _instant("started_at", nullable=True),
    _instant("answered_at", nullable=True),
    _instant("ended_at", nullable=True),
    sa.Column(
        "duration_ms",
        sa.Double,
        sa.Computed("extract(epoch from (ended_at - answered_at)) * 1000", persisted=True),
    ),
    sa.Column("outcome", sa.Text),
    sa.Column("turns", sa.Integer),
    sa.Column("interruptions", sa.Integer),
    sa.Column("tool_calls", sa.Integer),
    sa.Column("prompt_tokens", sa.Integer),
    sa.Column("cached_tokens", sa.Integer),
    sa.Column("completion_tokens", sa.Integer),
    sa.Index("call_log_started_at", "started_at"),
    sa.Index("call_log_unfinished", "call", postgresql_where=sa.text("ended_at IS NULL")),
    comment="One call. All but the sid is null until told; duration_ms runs from answer to end.",
)

call_event = sa.Table(
    "call_event",
    metadata,
    sa.Column("id", sa.Uuid, primary_key=True),
    _of_call(primary_key=False),
    sa.Column("seq", sa.Integer),
    _instant("at", nullable=False),
    sa.Column("kind", sa.Text, nullable=False),
    sa.Column("detail", JSONB, nullable=False),
    sa.UniqueConstraint("call", "seq", name="call_event_once"),
    sa.Index("call_event_call_at", "call", "at"),
)

call_transcript = sa.Table(
    "call_transcript",
    metadata,
    _of_call(primary_key=True),
    sa.Column("turn", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("index", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("speaker", sa.Text, primary_key=True),
    sa.Column("text", sa.Text, nullable=False),
    _instant("at", nullable=False),
    sa.Column("interrupted", sa.Boolean, nullable=False),
)

call_metric = sa.Table(
    "call_metric",
    metadata,
    _of_call(primary_key=True),
    sa.Column("turn", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("name", sa.Text, primary_key=True),
    sa.Column("n", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("value_ms", sa.Double, nullable=False),
    _instant("at", nullable=False),
    sa.Index("call_metric_name_at", "name", "at"),
)

# ---------------------------------------------------------------- statements


def _upsert_open() -> Insert:
    statement = insert(call_log)
    new = statement.excluded
    told = {name: new[name] for name in ("caller", "called", "attested")}
    earliest = {name: sa.func.least(call_log.c[name], new[name]) for name in ("started_at", "answered_at")}
    return statement.on_conflict_do_update(index_elements=["call"], set_=told | earliest)


def _upsert_end() -> Insert:
    statement = insert(call_log)
    new = statement.excluded
    names = ("outcome", "ended_at", "turns", "interruptions", "tool_calls")
    tokens = ("prompt_tokens", "cached_tokens", "completion_tokens")
    return statement.on_conflict_do_update(
        index_elements=["call"],
        set_={name: new[name] for name in names + tokens},
        where=sa.or_(call_log.c.ended_at.is_(None), new.ended_at >= call_log.c.ended_at),
    )


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
    FinalizeCall: _upsert_end(),
}

Row = tuple[type[Entry], dict[str, Any]]

_DEEPEST = 8  # levels of a detail that are kept; a detail may hold itself


def row_of(entry: Entry) -> Row:
    """The entry as bound parameters: fields are named as columns. Raises when Postgres could not take it."""
    fields: dict[str, Any] = {name: getattr(entry, name) for name in entry.__struct_fields__}
    if isinstance(entry, OpenCall):
        info = fields.pop("info")
        fields |= {name: getattr(info, name) for name in info.__struct_fields__}
    elif isinstance(entry, FinalizeCall):
        usage = fields.pop("usage")
        fields |= {"prompt_tokens": usage.prompt, "cached_tokens": usage.cached}
        fields |= {"completion_tokens": usage.completion}
    elif isinstance(entry, LogEvent):
        # Known before the first try, so that a batch whose outcome is unknown can be sent again.
        fields["id"] = uuid.uuid4()
    return type(entry), {name: _bound(name, value) for name, value in fields.items()}


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
