"""The dealership's tables. `Base.metadata` is what Alembic compares the database with.

Times of day are on the dealership's clock; instants have a time zone. Telephone numbers are E.164.
"""

import datetime as dt
from typing import Any

from sqlalchemy import (
    TIMESTAMP,
    BigInteger,
    CheckConstraint,
    Date,
    ForeignKey,
    Identity,
    Index,
    Integer,
    MetaData,
    PrimaryKeyConstraint,
    SmallInteger,
    Text,
    Time,
    UniqueConstraint,
    func,
    text,
    true,
)
from sqlalchemy.dialects.postgresql import JSONB, ExcludeConstraint
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

_NAMES = {
    "ix": "ix_%(table_name)s_%(column_0_N_name)s",
    "uq": "uq_%(table_name)s_%(column_0_N_name)s",
    "ck": "ck_%(table_name)s_%(constraint_name)s",
    "fk": "fk_%(table_name)s_%(column_0_N_name)s",
    "pk": "pk_%(table_name)s",
}

BOOKED = "booked"
CANCELLED = "cancelled"


class Base(DeclarativeBase):
    """Base of all tables of the dealership; constraint names follow one convention."""

    metadata = MetaData(naming_convention=_NAMES)
    type_annotation_map = {str: Text, dt.datetime: TIMESTAMP(timezone=True), dt.date: Date, dt.time: Time}  # noqa: RUF012


# ---------------------------------------------------------------- people and cars


class Customer(Base):
    """A person. `preferred_name` is what they want to be called; `since` is the year of their first visit.

    `vouched` is false for who became a customer by telephone from a number that was not enough to know them: it may be
    another's.
    """

    __tablename__ = "customer"

    id: Mapped[int] = mapped_column(Integer, Identity(), primary_key=True)
    name: Mapped[str]
    preferred_name: Mapped[str | None]
    since: Mapped[int] = mapped_column(SmallInteger)
    vouched: Mapped[bool] = mapped_column(server_default=true())
    created_at: Mapped[dt.datetime] = mapped_column(server_default=func.now())


class CustomerPhone(Base):
    """A number that a customer calls from. A number may be shared: a household, an office."""

    __tablename__ = "customer_phone"
    __table_args__ = (
        PrimaryKeyConstraint("phone", "customer_id"),
        CheckConstraint("phone ~ '^[+][1-9][0-9]{6,14}$'", name="e164"),
    )

    phone: Mapped[str]
    customer_id: Mapped[int] = mapped_column(ForeignKey("customer.id", ondelete="CASCADE"), index=True)


class OptOut(Base):
    """What whoever has this number does not want: `greeting`, to be greeted by what we know of them, or `contact`, to
    be called or written to."""

    __tablename__ = "opt_out"
    __table_args__ = (
        PrimaryKeyConstraint("phone", "kind"),
        CheckConstraint("kind IN ('greeting', 'contact')", name="kind"),
    )

    phone: Mapped[str]
    kind: Mapped[str]
    since: Mapped[dt.datetime] = mapped_column(server_default=func.now())


class Vehicle(Base):
    """A customer's car. `year` is its model year; `mileage` is in miles, as it was last read."""

    __tablename__ = "vehicle"
    __table_args__ = (CheckConstraint("mileage >= 0", name="mileage"),)

    id: Mapped[int] = mapped_column(Integer, Identity(), primary_key=True)
    customer_id: Mapped[int] = mapped_column(ForeignKey("customer.id", ondelete="CASCADE"), index=True)
    vin: Mapped[str | None] = mapped_column(unique=True)
    year: Mapped[int] = mapped_column(SmallInteger)
    make: Mapped[str]
    model: Mapped[str]
    mileage: Mapped[int | None] = mapped_column(Integer)


class ServiceVisit(Base):
    """Work that was done, at so many miles if they were written down."""

    __tablename__ = "service_visit"
    __table_args__ = (UniqueConstraint("vehicle_id", "service", "visited_on"),)

    id: Mapped[int] = mapped_column(Integer, Identity(), primary_key=True)
    vehicle_id: Mapped[int] = mapped_column(ForeignKey("vehicle.id", ondelete="CASCADE"))
    service: Mapped[str]
    visited_on: Mapped[dt.date]
    mileage: Mapped[int | None] = mapped_column(Integer)


# ---------------------------------------------------------------- the workshop


class Dealership(Base):
    """The one row of what holds for all: see `crm.workshop.Workshop`."""

    __tablename__ = "dealership"
    __table_args__ = (
        CheckConstraint("id = 1", name="one"),
        CheckConstraint("step_minutes > 0 AND notice_minutes >= 0 AND horizon_days > 0", name="rules"),
    )

    id: Mapped[int] = mapped_column(SmallInteger, primary_key=True, autoincrement=False)
    time_zone: Mapped[str]
    step_minutes: Mapped[int] = mapped_column(SmallInteger, server_default="30")
    notice_minutes: Mapped[int] = mapped_column(Integer, server_default="60")
    horizon_days: Mapped[int] = mapped_column(SmallInteger, server_default="180")


class ServiceType(Base):
    """What the workshop sells. `name` is in lower case, as it is spoken; a price of 0 is free."""

    __tablename__ = "service_type"
    __table_args__ = (
        CheckConstraint("minutes > 0", name="minutes"),
        CheckConstraint("price_from_cents >= 0 AND price_to_cents >= price_from_cents", name="price"),
    )

    id: Mapped[int] = mapped_column(Integer, Identity(), primary_key=True)
    name: Mapped[str] = mapped_column(unique=True)
    minutes: Mapped[int] = mapped_column(SmallInteger)
    price_from_cents: Mapped[int] = mapped_column(Integer)
    price_to_cents: Mapped[int] = mapped_column(Integer)
    active: Mapped[bool] = mapped_column(server_default=true())


class Bay(Base):
    """A place for one car. One that is not active any more is kept for its appointments."""

    __tablename__ = "bay"

    id: Mapped[int] = mapped_column(Integer, Identity(), primary_key=True)
    name: Mapped[str] = mapped_column(unique=True)
    active: Mapped[bool] = mapped_column(server_default=true())


class Technician(Base):
    """Who works on one car at a time. Who has left is kept for their appointments."""

    __tablename__ = "technician"

    id: Mapped[int] = mapped_column(Integer, Identity(), primary_key=True)
    name: Mapped[str] = mapped_column(unique=True)
    active: Mapped[bool] = mapped_column(server_default=true())


class Skill(Base):
    """Something that a technician can do and a service may need."""

    __tablename__ = "skill"

    name: Mapped[str] = mapped_column(primary_key=True)


class TechnicianSkill(Base):
    """Who can do what."""

    __tablename__ = "technician_skill"

    technician_id: Mapped[int] = mapped_column(
        ForeignKey("technician.id", ondelete="CASCADE"), primary_key=True
    )
    skill: Mapped[str] = mapped_column(ForeignKey("skill.name"), primary_key=True)


class ServiceSkill(Base):
    """What needs what: one technician must have all skills of a service."""

    __tablename__ = "service_skill"

    service_type_id: Mapped[int] = mapped_column(
        ForeignKey("service_type.id", ondelete="CASCADE"), primary_key=True
    )
    skill: Mapped[str] = mapped_column(ForeignKey("skill.name"), primary_key=True)


class WorkingHours(Base):
    """Hours on a weekday (0 is Monday) of a bay, a technician, or, with neither, the dealership.

    A bay or technician without any has the dealership's.
    """

    __tablename__ = "working_hours"
    __table_args__ = (
        CheckConstraint("weekday BETWEEN 0 AND 6", name="weekday"),
        CheckConstraint("ends > starts", name="span"),
        CheckConstraint("bay_id IS NULL OR technician_id IS NULL", name="whose"),
        UniqueConstraint("weekday", "starts", "bay_id", "technician_id", postgresql_nulls_not_distinct=True),
    )

    id: Mapped[int] = mapped_column(Integer, Identity(), primary_key=True)
    weekday: Mapped[int] = mapped_column(SmallInteger)
    starts: Mapped[dt.time]
    ends: Mapped[dt.time]
    bay_id: Mapped[int | None] = mapped_column(ForeignKey("bay.id", ondelete="CASCADE"))
    technician_id: Mapped[int | None] = mapped_column(ForeignKey("technician.id", ondelete="CASCADE"))


class Holiday(Base):
    """A day with other hours than its weekday's; without `opens` and `closes` it is closed."""

    __tablename__ = "holiday"
    __table_args__ = (
        CheckConstraint("(opens IS NULL) = (closes IS NULL) AND (closes > opens) IS NOT FALSE", name="span"),
    )

    day: Mapped[dt.date] = mapped_column(primary_key=True)
    name: Mapped[str]
    opens: Mapped[dt.time | None]
    closes: Mapped[dt.time | None]


class Closure(Base):
    """From `starts_at` to `ends_at` (exclusive) nothing is done: of a bay, of a technician, or, with neither, at
    all."""

    __tablename__ = "closure"
    __table_args__ = (
        CheckConstraint("ends_at > starts_at", name="span"),
        CheckConstraint("bay_id IS NULL OR technician_id IS NULL", name="whose"),
    )

    id: Mapped[int] = mapped_column(Integer, Identity(), primary_key=True)
    starts_at: Mapped[dt.datetime]
    ends_at: Mapped[dt.datetime] = mapped_column(index=True)
    bay_id: Mapped[int | None] = mapped_column(ForeignKey("bay.id", ondelete="CASCADE"))
    technician_id: Mapped[int | None] = mapped_column(ForeignKey("technician.id", ondelete="CASCADE"))
    reason: Mapped[str] = mapped_column(server_default="")


# ---------------------------------------------------------------- appointments


def _once(what: str) -> ExcludeConstraint:
    """Needs the extension btree_gist. The booking code takes a lock and looks first, to be kind and not to
    deadlock; that nothing is booked twice is held by this alone, whatever else writes to the table."""
    return ExcludeConstraint(
        (what, "="),
        (text("tstzrange(starts_at, ends_at)"), "&&"),
        where=text(f"status = '{BOOKED}'"),
        using="gist",
        name=f"appointment_{what.removesuffix('_id')}_once",
    )


class Appointment(Base):
    """A bay and a technician, taken from `starts_at` to `ends_at` (exclusive).

    `phone` is null for a withheld number. `customer_id` is null for who could not prove to be the customer whose
    number they called from. `call` is the call that made it, and `key` the idempotency key under which it was made.
    """

    __tablename__ = "appointment"
    __table_args__ = (
        CheckConstraint(f"status IN ('{BOOKED}', '{CANCELLED}')", name="status"),
        CheckConstraint("ends_at > starts_at", name="span"),
        _once("bay_id"),
        _once("technician_id"),
        Index("ix_appointment_starts_at", "starts_at"),
    )

    id: Mapped[int] = mapped_column(Integer, Identity(), primary_key=True)
    customer_id: Mapped[int | None] = mapped_column(
        ForeignKey("customer.id", ondelete="SET NULL"), index=True
    )
    phone: Mapped[str | None] = mapped_column(index=True)
    name: Mapped[str | None]
    call: Mapped[str] = mapped_column(index=True)
    key: Mapped[str | None] = mapped_column(unique=True)
    service_type_id: Mapped[int] = mapped_column(ForeignKey("service_type.id"))
    vehicle_id: Mapped[int | None] = mapped_column(ForeignKey("vehicle.id", ondelete="SET NULL"))
    vehicle: Mapped[str | None]
    starts_at: Mapped[dt.datetime]
    ends_at: Mapped[dt.datetime]
    bay_id: Mapped[int] = mapped_column(ForeignKey("bay.id"))
    technician_id: Mapped[int | None] = mapped_column(ForeignKey("technician.id"))
    status: Mapped[str] = mapped_column(server_default=BOOKED)
    created_at: Mapped[dt.datetime] = mapped_column(server_default=func.now())
    changed_at: Mapped[dt.datetime] = mapped_column(server_default=func.now(), onupdate=func.now())


# ---------------------------------------------------------------- once, and by whom


class StoredResult(Base):
    """What a changing tool answered, written in the transaction of the change: `key` makes it happen once.

    `arguments_hash` is of the tool and its arguments. A key without one is void: it was given up before anything was
    done under it, and `result` is what whoever comes with it later is told.
    """

    __tablename__ = "tool_result"

    key: Mapped[str] = mapped_column(primary_key=True)
    call: Mapped[str] = mapped_column(index=True)
    tool: Mapped[str]
    arguments_hash: Mapped[str | None]
    result: Mapped[dict[str, Any]] = mapped_column(JSONB)
    created_at: Mapped[dt.datetime] = mapped_column(server_default=func.now())


class CallEpoch(Base):
    """The highest epoch of a call that changed anything: older ones are refused."""

    __tablename__ = "call_epoch"

    call: Mapped[str] = mapped_column(primary_key=True)
    epoch: Mapped[int] = mapped_column(BigInteger)
    at: Mapped[dt.datetime] = mapped_column(server_default=func.now())


class CallProof(Base):
    """Who a caller has shown to be, how often they have tried, and the customer that the call made of them.

    The ids are those of whatever records there are, so nothing refers to our table of customers.
    """

    __tablename__ = "call_proof"

    call: Mapped[str] = mapped_column(primary_key=True)
    customer_id: Mapped[int | None] = mapped_column(Integer)
    tries: Mapped[int] = mapped_column(SmallInteger, server_default="0")
    made_id: Mapped[int | None] = mapped_column(Integer)
    at: Mapped[dt.datetime] = mapped_column(server_default=func.now())


# What is kept of calls, by when it was written. It is needed for as long as a call can be resumed, and for audits.
OF_CALLS = (StoredResult.__table__.c.created_at, CallEpoch.__table__.c.at, CallProof.__table__.c.at)
