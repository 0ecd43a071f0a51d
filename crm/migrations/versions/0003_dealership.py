"""The dealership: several numbers a customer, hours, holidays, bays, technicians with skills, price ranges, proofs.

What is there is kept: numbers, services, bays and appointments move into the new tables, and a database that was in
use goes on with the hours and the two bays that used to be written in the code. Going back keeps one number a
customer, the lower price, and no technicians.
"""

import sqlalchemy as sa
from alembic import op

from engine.settings import load_settings

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

_NEW = (
    "call_proof", "closure", "holiday", "working_hours", "service_skill", "technician_skill", "skill",
    "technician", "bay", "dealership", "opt_out", "customer_phone",
)  # fmt: skip


def upgrade() -> None:
    _workshop()
    _services()
    _people()
    _appointments()
    _once()
    op.execute(_USED.bindparams(zone=load_settings().timezone))
    for statement in _USED_TOO:
        op.execute(statement)


def downgrade() -> None:
    _appointments_back()
    op.drop_column("tool_result", "arguments_hash")
    op.drop_column("call_epoch", "at")
    op.add_column("customer", sa.Column("phone", sa.Text()))
    op.execute(
        "UPDATE customer SET phone = found.phone FROM (SELECT DISTINCT ON (customer_id) customer_id, phone FROM "
        "(SELECT DISTINCT ON (phone) customer_id, phone FROM customer_phone ORDER BY phone, customer_id) AS one "
        "ORDER BY customer_id, phone) AS found WHERE found.customer_id = customer.id"
    )
    op.execute("UPDATE customer SET phone = 'none:' || id WHERE phone IS NULL")
    op.alter_column("customer", "phone", nullable=False)
    op.create_unique_constraint(op.f("uq_customer_phone"), "customer", ["phone"])
    op.drop_column("customer", "preferred_name")
    op.drop_column("customer", "created_at")
    op.execute("UPDATE vehicle SET vin = 'none:' || id WHERE vin IS NULL")
    op.alter_column("vehicle", "vin", nullable=False)
    op.drop_column("vehicle", "mileage")
    op.drop_column("service_visit", "mileage")
    for table in _NEW:
        op.drop_table(table)
    op.drop_constraint(op.f("ck_service_type_price"), "service_type")
    op.drop_column("service_type", "price_to_cents")
    op.drop_column("service_type", "active")
    op.alter_column("service_type", "price_from_cents", new_column_name="price_cents")
    op.rename_table("service_type", "service")
    _rename_constraints("service", "service_type", "service")
    op.create_check_constraint(op.f("ck_service_price"), "service", "price_cents >= 0")


# A database that has services was in use. Its hours and bays were in the code.
_USED = sa.text(
    "INSERT INTO dealership (id, time_zone) SELECT 1, :zone WHERE EXISTS (SELECT FROM service_type)"
)
_USED_TOO = (
    "INSERT INTO bay (name) SELECT n::text FROM generate_series(1, 2) AS n "
    "WHERE EXISTS (SELECT FROM dealership) ON CONFLICT DO NOTHING",
    "INSERT INTO technician (name) SELECT 'Technician ' || n FROM generate_series(1, 2) AS n "
    "WHERE EXISTS (SELECT FROM dealership)",
    "INSERT INTO working_hours (weekday, starts, ends) SELECT day, '08:00', '17:00' FROM generate_series(0, 4) AS day "
    "WHERE EXISTS (SELECT FROM dealership)",
    "INSERT INTO working_hours (weekday, starts, ends) SELECT 5, '09:00', '13:00' "
    "WHERE EXISTS (SELECT FROM dealership)",
)


def _id() -> sa.Column[int]:
    return sa.Column("id", sa.Integer(), sa.Identity(always=False), nullable=False)


def _active() -> sa.Column[bool]:
    return sa.Column("active", sa.Boolean(), server_default=sa.text("true"), nullable=False)


def _workshop() -> None:
    op.create_table(
        "dealership",
        sa.Column("id", sa.SmallInteger(), autoincrement=False, nullable=False),
        sa.Column("time_zone", sa.Text(), nullable=False),
        sa.Column("step_minutes", sa.SmallInteger(), server_default="30", nullable=False),
        sa.Column("notice_minutes", sa.Integer(), server_default="60", nullable=False),
        sa.Column("horizon_days", sa.SmallInteger(), server_default="180", nullable=False),
        sa.CheckConstraint("id = 1", name=op.f("ck_dealership_one")),
        sa.CheckConstraint(
            "step_minutes > 0 AND notice_minutes >= 0 AND horizon_days > 0", name=op.f("ck_dealership_rules")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_dealership")),
    )
    for table in ("bay", "technician"):
        op.create_table(
            table,
            _id(),
            sa.Column("name", sa.Text(), nullable=False),
            _active(),
            sa.PrimaryKeyConstraint("id", name=op.f(f"pk_{table}")),
            sa.UniqueConstraint("name", name=op.f(f"uq_{table}_name")),
        )
    op.create_table(
        "skill",
        sa.Column("name", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("name", name=op.f("pk_skill")),
    )
    op.create_table(
        "working_hours",
        _id(),
        sa.Column("weekday", sa.SmallInteger(), nullable=False),
        sa.Column("starts", sa.Time(), nullable=False),
        sa.Column("ends", sa.Time(), nullable=False),
        *_whose("working_hours"),
        sa.CheckConstraint("weekday BETWEEN 0 AND 6", name=op.f("ck_working_hours_weekday")),
        sa.CheckConstraint("ends > starts", name=op.f("ck_working_hours_span")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_working_hours")),
        sa.UniqueConstraint(
            "weekday",
            "starts",
            "bay_id",
            "technician_id",
            name=op.f("uq_working_hours_weekday_starts_bay_id_technician_id"),
            postgresql_nulls_not_distinct=True,
        ),
    )
    op.create_table(
        "holiday",
        sa.Column("day", sa.Date(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("opens", sa.Time(), nullable=True),
        sa.Column("closes", sa.Time(), nullable=True),
        sa.CheckConstraint(
            "(opens IS NULL) = (closes IS NULL) AND (closes > opens) IS NOT FALSE",
            name=op.f("ck_holiday_span"),
        ),
        sa.PrimaryKeyConstraint("day", name=op.f("pk_holiday")),
    )
    op.create_table(
        "closure",
        _id(),
        sa.Column("starts_at", sa.TIMESTAMP(timezone=True), nullable=False),
        sa.Column("ends_at", sa.TIMESTAMP(timezone=True), nullable=False),
        *_whose("closure"),
        sa.Column("reason", sa.Text(), server_default="", nullable=False),
        sa.CheckConstraint("ends_at > starts_at", name=op.f("ck_closure_span")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_closure")),
    )
    op.create_index(op.f("ix_closure_ends_at"), "closure", ["ends_at"])


def _whose(table: str) -> tuple[sa.schema.SchemaItem, ...]:
    """Columns and constraints of what belongs to a bay, a technician, or neither."""
    return (
        sa.Column("bay_id", sa.Integer(), nullable=True),
        sa.Column("technician_id", sa.Integer(), nullable=True),
        sa.CheckConstraint("bay_id IS NULL OR technician_id IS NULL", name=op.f(f"ck_{table}_whose")),
        sa.ForeignKeyConstraint(["bay_id"], ["bay.id"], name=op.f(f"fk_{table}_bay_id"), ondelete="CASCADE"),
        sa.ForeignKeyConstraint(
            ["technician_id"], ["technician.id"], name=op.f(f"fk_{table}_technician_id"), ondelete="CASCADE"
        ),
    )


def _services() -> None:
    op.rename_table("service", "service_type")
    _rename_constraints("service_type", "service", "service_type")
    op.alter_column("service_type", "price_cents", new_column_name="price_from_cents")
    op.add_column("service_type", sa.Column("price_to_cents", sa.Integer()))
    op.execute("UPDATE service_type SET price_to_cents = price_from_cents")
    op.alter_column("service_type", "price_to_cents", nullable=False)
    op.add_column("service_type", _active())
    op.drop_constraint(op.f("ck_service_type_price"), "service_type")
    op.create_check_constraint(
        op.f("ck_service_type_price"),
        "service_type",
        "price_from_cents >= 0 AND price_to_cents >= price_from_cents",
    )
    for table, column in (("technician_skill", "technician_id"), ("service_skill", "service_type_id")):
        op.create_table(
            table,
            sa.Column(column, sa.Integer(), nullable=False),
            sa.Column("skill", sa.Text(), nullable=False),
            sa.ForeignKeyConstraint(
                [column],
                [f"{column.removesuffix('_id')}.id"],
                name=op.f(f"fk_{table}_{column}"),
                ondelete="CASCADE",
            ),
            sa.ForeignKeyConstraint(["skill"], ["skill.name"], name=op.f(f"fk_{table}_skill")),
            sa.PrimaryKeyConstraint(column, "skill", name=op.f(f"pk_{table}")),
        )


def _rename_constraints(table: str, old: str, new: str) -> None:
    for kind, rest in (("pk", ""), ("uq", "_name"), ("ck", "_minutes"), ("ck", "_price")):
        there = sa.text(
            f"DO $$ BEGIN IF EXISTS (SELECT FROM pg_constraint WHERE conname = '{kind}_{old}{rest}') THEN "
            f"ALTER TABLE {table} RENAME CONSTRAINT {kind}_{old}{rest} TO {kind}_{new}{rest}; END IF; END $$"
        )
        op.execute(there)


def _people() -> None:
    op.create_table(
        "customer_phone",
        sa.Column("phone", sa.Text(), nullable=False),
        sa.Column("customer_id", sa.Integer(), nullable=False),
        sa.CheckConstraint("phone ~ '^[+][1-9][0-9]{6,14}$'", name=op.f("ck_customer_phone_e164")),
        sa.ForeignKeyConstraint(
            ["customer_id"], ["customer.id"], name=op.f("fk_customer_phone_customer_id"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("phone", "customer_id", name=op.f("pk_customer_phone")),
    )
    op.create_index(op.f("ix_customer_phone_customer_id"), "customer_phone", ["customer_id"])
    op.execute(
        "INSERT INTO customer_phone (phone, customer_id) SELECT phone, id FROM customer "
        "WHERE phone ~ '^[+][1-9][0-9]{6,14}$'"
    )
    op.drop_column("customer", "phone")
    op.add_column("customer", sa.Column("preferred_name", sa.Text()))
    now = sa.text("now()")
    op.add_column(
        "customer",
        sa.Column("created_at", sa.TIMESTAMP(timezone=True), server_default=now, nullable=False),
    )
    op.create_table(
        "opt_out",
        sa.Column("phone", sa.Text(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("since", sa.TIMESTAMP(timezone=True), server_default=now, nullable=False),
        sa.CheckConstraint("kind IN ('greeting', 'contact')", name=op.f("ck_opt_out_kind")),
        sa.PrimaryKeyConstraint("phone", "kind", name=op.f("pk_opt_out")),
    )
    op.alter_column("vehicle", "vin", nullable=True)
    op.execute("UPDATE vehicle SET vin = NULL WHERE vin LIKE 'none:%'")
    op.add_column("vehicle", sa.Column("mileage", sa.Integer()))
    op.create_check_constraint(op.f("ck_vehicle_mileage"), "vehicle", "mileage >= 0")
    op.add_column("service_visit", sa.Column("mileage", sa.Integer()))


def _appointments() -> None:
    op.execute("INSERT INTO bay (name) SELECT DISTINCT bay::text FROM appointment ORDER BY 1")
    op.execute(
        "INSERT INTO service_type (name, minutes, price_from_cents, price_to_cents) "
        "SELECT service, max(extract(epoch FROM ends_at - starts_at) / 60), 0, 0 FROM appointment "
        "WHERE service NOT IN (SELECT name FROM service_type) GROUP BY service"
    )
    op.add_column("appointment", sa.Column("service_type_id", sa.Integer()))
    op.add_column("appointment", sa.Column("bay_id", sa.Integer()))
    op.execute(
        "UPDATE appointment SET bay_id = bay.id, service_type_id = service_type.id FROM bay, service_type "
        "WHERE bay.name = appointment.bay::text AND service_type.name = appointment.service"
    )
    op.drop_constraint("appointment_bay_once", "appointment")
    op.drop_column("appointment", "bay")
    op.drop_column("appointment", "service")
    op.alter_column("appointment", "bay_id", nullable=False)
    op.alter_column("appointment", "service_type_id", nullable=False)
    op.add_column("appointment", sa.Column("key", sa.Text()))
    op.add_column("appointment", sa.Column("vehicle_id", sa.Integer()))
    op.add_column("appointment", sa.Column("technician_id", sa.Integer()))
    op.add_column(
        "appointment",
        sa.Column("changed_at", sa.TIMESTAMP(timezone=True), server_default=sa.text("now()"), nullable=False),
    )
    op.create_unique_constraint(op.f("uq_appointment_key"), "appointment", ["key"])
    for column, table, gone in (
        ("service_type_id", "service_type", None),
        ("bay_id", "bay", None),
        ("technician_id", "technician", None),
        ("vehicle_id", "vehicle", "SET NULL"),
    ):
        op.create_foreign_key(
            op.f(f"fk_appointment_{column}"), "appointment", table, [column], ["id"], ondelete=gone
        )
    for what in ("bay", "technician"):
        _exclude(f"{what}_id", f"appointment_{what}_once")


def _exclude(column: str, name: str) -> None:
    op.execute(
        f"ALTER TABLE appointment ADD CONSTRAINT {name} EXCLUDE USING gist "
        f"({column} WITH =, tstzrange(starts_at, ends_at) WITH &&) WHERE (status = 'booked')"
    )


def _appointments_back() -> None:
    op.add_column("appointment", sa.Column("service", sa.Text()))
    op.add_column("appointment", sa.Column("bay", sa.SmallInteger()))
    op.execute(
        "UPDATE appointment SET bay = bay_id, service = service_type.name FROM service_type "
        "WHERE service_type.id = appointment.service_type_id"
    )
    for what in ("bay", "technician"):
        op.drop_constraint(f"appointment_{what}_once", "appointment")
    for column in ("service_type_id", "bay_id", "technician_id", "vehicle_id", "key", "changed_at"):
        op.drop_column("appointment", column)
    op.alter_column("appointment", "bay", nullable=False)
    op.alter_column("appointment", "service", nullable=False)
    _exclude("bay", "appointment_bay_once")


def _once() -> None:
    op.add_column("tool_result", sa.Column("arguments_hash", sa.Text()))
    now = sa.text("now()")
    op.add_column(
        "call_epoch", sa.Column("at", sa.TIMESTAMP(timezone=True), server_default=now, nullable=False)
    )
    op.create_table(
        "call_proof",
        sa.Column("call", sa.Text(), nullable=False),
        sa.Column("customer_id", sa.Integer(), nullable=True),
        sa.Column("tries", sa.SmallInteger(), server_default="0", nullable=False),
        sa.Column("at", sa.TIMESTAMP(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.PrimaryKeyConstraint("call", name=op.f("pk_call_proof")),
    )
