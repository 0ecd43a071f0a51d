"""The call log tells how a call ended (`ending`) beside what came of it (`outcome`), its tool runs, usage and cost."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

_COMMENT = "One call. All but the sid is null until told; duration_ms runs from answer to end."
_COST = "; cost_micros are millionths of a dollar."
_BY_AGE = ("call_event", "call_transcript", "call_metric")

# As `engine.outcomes` decides, from what an old call has left: what its tools changed is in `tool_result`.
_CARRY_OVER = """
UPDATE call_log SET ending = outcome, outcome = coalesce(
    (SELECT made FROM (
        SELECT created_at, CASE
            WHEN tool = 'book_appointment' AND result ->> 'booked' = 'true' THEN 'booked'
            WHEN tool = 'reschedule_appointment' AND result ->> 'rescheduled' = 'true' THEN 'moved'
            WHEN tool = 'cancel_appointment' AND result ->> 'cancelled' = 'true' THEN 'cancelled'
        END AS made FROM tool_result WHERE tool_result.call = call_log.call
     ) AS changes WHERE made IS NOT NULL ORDER BY created_at DESC LIMIT 1),
    CASE
        WHEN outcome = 'transferred' THEN 'transferred'
        WHEN outcome = 'refused' THEN 'failed'
        WHEN outcome = 'abandoned' OR answered_at IS NULL THEN 'abandoned'
        WHEN outcome IN ('failed', 'dropped', 'lost') THEN 'failed'
        WHEN EXISTS (
            SELECT FROM call_transcript AS asked JOIN call_transcript AS told USING (call, turn)
            WHERE asked.call = call_log.call AND asked.speaker = 'caller' AND told.speaker = 'agent'
        ) THEN 'answered'
        ELSE 'abandoned'
    END)
WHERE outcome IS NOT NULL
"""


def upgrade() -> None:
    for column in (
        sa.Column("ending", sa.Text(), nullable=True),
        sa.Column("heard_ms", sa.Double(), nullable=True),
        sa.Column("spoken_chars", sa.Integer(), nullable=True),
        sa.Column("cost_micros", sa.BigInteger(), nullable=True),
    ):
        op.add_column("call_log", column)
    op.execute(_CARRY_OVER)
    _index_unfinished("outcome IS NULL")
    op.create_table_comment(
        "call_log", _COMMENT.removesuffix(".") + _COST, existing_comment=_COMMENT, schema=None
    )
    op.create_index("call_log_ended_at", "call_log", ["ended_at"], unique=False)
    for table in _BY_AGE:
        op.create_index(f"{table}_at", table, ["at"], unique=False)
    _tool_runs()
    _usage()


def downgrade() -> None:
    op.drop_table("call_usage")
    op.drop_table("call_tool")
    for table in _BY_AGE:
        op.drop_index(f"{table}_at", table_name=table)
    op.drop_index("call_log_ended_at", table_name="call_log")
    op.create_table_comment(
        "call_log", _COMMENT, existing_comment=_COMMENT.removesuffix(".") + _COST, schema=None
    )
    op.execute("UPDATE call_log SET outcome = ending WHERE ended_at IS NOT NULL")
    _index_unfinished("ended_at IS NULL")
    for column in ("cost_micros", "spoken_chars", "heard_ms", "ending"):
        op.drop_column("call_log", column)


def _index_unfinished(where: str) -> None:
    op.drop_index("call_log_unfinished", table_name="call_log")
    op.create_index(
        "call_log_unfinished", "call_log", ["call"], unique=False, postgresql_where=sa.text(where)
    )


def _tool_runs() -> None:
    op.create_table(
        "call_tool",
        sa.Column("call", sa.Text(), nullable=False),
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("turn", sa.Integer(), nullable=False),
        sa.Column("tool", sa.Text(), nullable=False),
        sa.Column("arguments", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.Column("ok", sa.Boolean(), nullable=False),
        sa.Column("unknown", sa.Boolean(), nullable=False),
        sa.Column("replayed", sa.Boolean(), nullable=False),
        sa.Column("made", sa.Text(), nullable=False),
        sa.Column("took_ms", sa.Double(), nullable=True),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(["call"], ["call_log.call"], ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("call", "id"),
        comment="One run of a tool, at the time at which it was asked for. unknown: it may have been done; "
        "made: what its success made of the call.",
    )
    op.create_index("call_tool_at", "call_tool", ["at"], unique=False)


def _usage() -> None:
    op.create_table(
        "call_usage",
        sa.Column("call", sa.Text(), nullable=False),
        sa.Column("part", sa.Text(), nullable=False),
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("source", sa.Text(), nullable=False),
        sa.Column("prompt_tokens", sa.Integer(), nullable=False),
        sa.Column("cached_tokens", sa.Integer(), nullable=False),
        sa.Column("completion_tokens", sa.Integer(), nullable=False),
        sa.Column("heard_ms", sa.Double(), nullable=False),
        sa.Column("spoken_chars", sa.Integer(), nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(["call"], ["call_log.call"], ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("call", "part", "id"),
        comment="What a call used: a row for each request to the model, and for each of its streams.",
    )
    op.create_index("call_usage_at", "call_usage", ["at"], unique=False)
