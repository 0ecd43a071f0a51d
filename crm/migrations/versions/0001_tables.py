"""The dealership's tables and the call log's."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    # For the constraint that lets one bay be booked once: it compares a number and a span of time.
    op.execute("CREATE EXTENSION IF NOT EXISTS btree_gist")
    _customers()
    _appointments()
    _tools()
    _call_log()


def downgrade() -> None:
    for table in (
        "call_transcript", "call_metric", "call_event", "call_log", "tool_result", "call_epoch",
        "appointment", "service_visit", "vehicle", "customer", "service",
    ):  # fmt: skip
        op.drop_table(table)


def _customers() -> None:
    op.create_table(
        "customer",
        sa.Column("id", sa.Integer(), sa.Identity(always=False), nullable=False),
        sa.Column("phone", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("since", sa.SmallInteger(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_customer")),
        sa.UniqueConstraint("phone", name=op.f("uq_customer_phone")),
    )
    op.create_table(
        "vehicle",
        sa.Column("id", sa.Integer(), sa.Identity(always=False), nullable=False),
        sa.Column("customer_id", sa.Integer(), nullable=False),
        sa.Column("year", sa.SmallInteger(), nullable=False),
        sa.Column("make", sa.Text(), nullable=False),
        sa.Column("model", sa.Text(), nullable=False),
        sa.Column("vin", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(
            ["customer_id"], ["customer.id"], name=op.f("fk_vehicle_customer_id"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_vehicle")),
        sa.UniqueConstraint("vin", name=op.f("uq_vehicle_vin")),
    )
    op.create_index(op.f("ix_vehicle_customer_id"), "vehicle", ["customer_id"], unique=False)
    op.create_table(
        "service_visit",
        sa.Column("id", sa.Integer(), sa.Identity(always=False), nullable=False),
        sa.Column("vehicle_id", sa.Integer(), nullable=False),
        sa.Column("service", sa.Text(), nullable=False),
        sa.Column("visited_on", sa.Date(), nullable=False),
        sa.ForeignKeyConstraint(
            ["vehicle_id"], ["vehicle.id"], name=op.f("fk_service_visit_vehicle_id"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_service_visit")),
        sa.UniqueConstraint(
            "vehicle_id", "service", "visited_on", name=op.f("uq_service_visit_vehicle_id_service_visited_on")
        ),
    )
    op.create_table(
        "service",
        sa.Column("id", sa.Integer(), sa.Identity(always=False), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("minutes", sa.SmallInteger(), nullable=False),
        sa.Column("price_cents", sa.Integer(), nullable=False),
        sa.CheckConstraint("minutes > 0", name=op.f("ck_service_minutes")),
        sa.CheckConstraint("price_cents >= 0", name=op.f("ck_service_price")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_service")),
        sa.UniqueConstraint("name", name=op.f("uq_service_name")),
    )


def _appointments() -> None:
    op.create_table(
        "appointment",
        sa.Column("id", sa.Integer(), sa.Identity(always=False), nullable=False),
        sa.Column("customer_id", sa.Integer(), nullable=True),
        sa.Column("phone", sa.Text(), nullable=True),
        sa.Column("name", sa.Text(), nullable=True),
        sa.Column("call", sa.Text(), nullable=False),
        sa.Column("service", sa.Text(), nullable=False),
        sa.Column("vehicle", sa.Text(), nullable=True),
        sa.Column("starts_at", sa.TIMESTAMP(timezone=True), nullable=False),
        sa.Column("ends_at", sa.TIMESTAMP(timezone=True), nullable=False),
        sa.Column("bay", sa.SmallInteger(), nullable=False),
        sa.Column("status", sa.Text(), server_default="booked", nullable=False),
        sa.Column("created_at", sa.TIMESTAMP(timezone=True), server_default=sa.text("now()"), nullable=False),
        postgresql.ExcludeConstraint(
            (sa.column("bay"), "="),
            (sa.text("tstzrange(starts_at, ends_at)"), "&&"),
            where=sa.text("status = 'booked'"),
            using="gist",
            name="appointment_bay_once",
        ),
        sa.CheckConstraint("status IN ('booked', 'cancelled')", name=op.f("ck_appointment_status")),
        sa.CheckConstraint("ends_at > starts_at", name=op.f("ck_appointment_span")),
        sa.ForeignKeyConstraint(
            ["customer_id"], ["customer.id"], name=op.f("fk_appointment_customer_id"), ondelete="SET NULL"
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_appointment")),
    )
    op.create_index(op.f("ix_appointment_call"), "appointment", ["call"], unique=False)
    op.create_index(op.f("ix_appointment_customer_id"), "appointment", ["customer_id"], unique=False)
    op.create_index(op.f("ix_appointment_phone"), "appointment", ["phone"], unique=False)
    op.create_index("ix_appointment_starts_at", "appointment", ["starts_at"], unique=False)


def _tools() -> None:
    op.create_table(
        "tool_result",
        sa.Column("key", sa.Text(), nullable=False),
        sa.Column("call", sa.Text(), nullable=False),
        sa.Column("tool", sa.Text(), nullable=False),
        sa.Column("result", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.Column("created_at", sa.TIMESTAMP(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.PrimaryKeyConstraint("key", name=op.f("pk_tool_result")),
    )
    op.create_index(op.f("ix_tool_result_call"), "tool_result", ["call"], unique=False)
    op.create_table(
        "call_epoch",
        sa.Column("call", sa.Text(), nullable=False),
        sa.Column("epoch", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("call", name=op.f("pk_call_epoch")),
    )


def _call_log() -> None:
    op.create_table(
        "call_log",
        sa.Column("call", sa.Text(), nullable=False),
        sa.Column("caller", sa.Text(), nullable=True),
        sa.Column("called", sa.Text(), nullable=True),
        sa.Column("attested", sa.Boolean(), nullable=True),
        sa.Column("started_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("answered_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("ended_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column(
            "duration_ms",
            sa.Double(),
            sa.Computed("extract(epoch from (ended_at - answered_at)) * 1000", persisted=True),
            nullable=True,
        ),
        sa.Column("outcome", sa.Text(), nullable=True),
        sa.Column("turns", sa.Integer(), nullable=True),
        sa.Column("interruptions", sa.Integer(), nullable=True),
        sa.Column("tool_calls", sa.Integer(), nullable=True),
        sa.Column("prompt_tokens", sa.Integer(), nullable=True),
        sa.Column("cached_tokens", sa.Integer(), nullable=True),
        sa.Column("completion_tokens", sa.Integer(), nullable=True),
        sa.PrimaryKeyConstraint("call"),
        comment="One call. All but the sid is null until told; duration_ms runs from answer to end.",
    )
    op.create_index("call_log_started_at", "call_log", ["started_at"], unique=False)
    op.create_index(
        "call_log_unfinished",
        "call_log",
        ["call"],
        unique=False,
        postgresql_where=sa.text("ended_at IS NULL"),
    )
    op.create_table(
        "call_event",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("call", sa.Text(), nullable=False),
        sa.Column("seq", sa.Integer(), nullable=True),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("detail", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.ForeignKeyConstraint(["call"], ["call_log.call"], ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("call", "seq", name="call_event_once"),
    )
    op.create_index("call_event_call_at", "call_event", ["call", "at"], unique=False)
    op.create_table(
        "call_metric",
        sa.Column("call", sa.Text(), nullable=False),
        sa.Column("turn", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("n", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("value_ms", sa.Double(), nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(["call"], ["call_log.call"], ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("call", "turn", "name", "n"),
    )
    op.create_index("call_metric_name_at", "call_metric", ["name", "at"], unique=False)
    op.create_table(
        "call_transcript",
        sa.Column("call", sa.Text(), nullable=False),
        sa.Column("turn", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("index", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("speaker", sa.Text(), nullable=False),
        sa.Column("text", sa.Text(), nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("interrupted", sa.Boolean(), nullable=False),
        sa.ForeignKeyConstraint(["call"], ["call_log.call"], ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("call", "turn", "index", "speaker"),
    )
