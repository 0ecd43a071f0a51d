"""The call in Postgres, for analytics and audit: its tables, and the writer that never holds a call up.

A row in `call_log` is one call; `call_event`, `call_transcript` and `call_metric` hang on it. Several
processes write about one call (the ingress, the host, the host that resumed it), in any order, and a batch
is sent again when its outcome is unknown. So each row has a key of its own, each write is an upsert that can
be repeated, and a row about a call that nobody has opened yet opens it with its caller unknown.
"""

import asyncio
import contextlib
import math
import random
import time
import uuid
from collections import deque
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from itertools import islice
from typing import Any

import msgspec
import sqlalchemy as sa
import structlog
from sqlalchemy.dialects.postgresql import JSONB, Insert, insert
from sqlalchemy.exc import DBAPIError, SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncEngine

from engine.messages import CallInfo, Message, Usage
from engine.telemetry import count

_log = structlog.get_logger(__name__)

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
    """One sentence as it was heard: of the agent's, only what was played. Told again, the later text stands."""

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
        sa.Computed("(extract(epoch from (ended_at - answered_at)) * 1000)::double precision", persisted=True),
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
