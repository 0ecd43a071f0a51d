"""The call log's tables in Postgres.

A row in `call_log` is one call; the others hang on it, each row with a key of its own. Their migrations are the
dealership's, beside its own tables (`crm/migrations`).
"""

from datetime import datetime

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import JSONB

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
    sa.Column("ending", sa.Text),
    sa.Column("outcome", sa.Text),
    sa.Column("turns", sa.Integer),
    sa.Column("interruptions", sa.Integer),
    sa.Column("tool_calls", sa.Integer),
    sa.Column("prompt_tokens", sa.Integer),
    sa.Column("cached_tokens", sa.Integer),
    sa.Column("completion_tokens", sa.Integer),
    sa.Column("heard_ms", sa.Double),
    sa.Column("spoken_chars", sa.Integer),
    sa.Column("cost_micros", sa.BigInteger),
    sa.Index("call_log_started_at", "started_at"),
    sa.Index("call_log_ended_at", "ended_at"),
    sa.Index("call_log_unfinished", "call", postgresql_where=sa.text("outcome IS NULL")),
    comment="One call. All but the sid is null until told; duration_ms runs from answer to end; "
    "cost_micros are millionths of a dollar.",
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
    sa.Index("call_event_at", "at"),
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
    sa.Index("call_transcript_at", "at"),
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
    sa.Index("call_metric_at", "at"),
)

call_tool = sa.Table(
    "call_tool",
    metadata,
    _of_call(primary_key=True),
    sa.Column("id", sa.Text, primary_key=True),
    sa.Column("turn", sa.Integer, nullable=False),
    sa.Column("tool", sa.Text, nullable=False),
    sa.Column("arguments", JSONB, nullable=False),
    sa.Column("ok", sa.Boolean, nullable=False),
    sa.Column("unknown", sa.Boolean, nullable=False),
    sa.Column("replayed", sa.Boolean, nullable=False),
    sa.Column("made", sa.Text, nullable=False),
    sa.Column("took_ms", sa.Double),
    _instant("at", nullable=False),
    sa.Index("call_tool_at", "at"),
    comment="One run of a tool, at the time at which it was asked for. unknown: it may have been done; "
    "made: what its success made of the call.",
)

call_usage = sa.Table(
    "call_usage",
    metadata,
    _of_call(primary_key=True),
    sa.Column("part", sa.Text, primary_key=True),
    sa.Column("id", sa.Text, primary_key=True),
    sa.Column("source", sa.Text, nullable=False),
    sa.Column("prompt_tokens", sa.Integer, nullable=False),
    sa.Column("cached_tokens", sa.Integer, nullable=False),
    sa.Column("completion_tokens", sa.Integer, nullable=False),
    sa.Column("heard_ms", sa.Double, nullable=False),
    sa.Column("spoken_chars", sa.Integer, nullable=False),
    _instant("at", nullable=False),
    sa.Index("call_usage_at", "at"),
    comment="What a call used: a row for each request to the model, and for each of its streams.",
)
