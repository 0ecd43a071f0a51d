"""The dealership's tables. `Base.metadata` is what Alembic compares the database with."""

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
    SmallInteger,
    Text,
    UniqueConstraint,
    func,
    text,
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


class Customer(Base):
    """A person with a telephone number (E.164). `since` is the year of their first visit."""

    __tablename__ = "customer"

    id: Mapped[int] = mapped_column(Integer, Identity(), primary_key=True)
    phone: Mapped[str] = mapped_column(Text, unique=True)
    name: Mapped[str] = mapped_column(Text)
    since: Mapped[int] = mapped_column(SmallInteger)


class Vehicle(Base):
    """A customer's car. `year` is its model year."""

    __tablename__ = "vehicle"

    id: Mapped[int] = mapped_column(Integer, Identity(), primary_key=True)
    customer_id: Mapped[int] = mapped_column(ForeignKey("customer.id", ondelete="CASCADE"), index=True)
    year: Mapped[int] = mapped_column(SmallInteger)
    make: Mapped[str] = mapped_column(Text)
    model: Mapped[str] = mapped_column(Text)
    vin: Mapped[str] = mapped_column(Text, unique=True)


class Service(Base):
    """What the workshop sells. `name` is in lower case, as it is spoken; a price of 0 is free."""

    __tablename__ = "service"
    __table_args__ = (
        CheckConstraint("minutes > 0", name="minutes"),
        CheckConstraint("price_cents >= 0", name="price"),
    )

    id: Mapped[int] = mapped_column(Integer, Identity(), primary_key=True)
    name: Mapped[str] = mapped_column(Text, unique=True)
    minutes: Mapped[int] = mapped_column(SmallInteger)
    price_cents: Mapped[int] = mapped_column(Integer)


class Appointment(Base):
    """A bay of the workshop, taken from `starts_at` to `ends_at` (exclusive).

    `phone` is null for a withheld number: such an appointment belongs to the `call` that made it.
    """

    __tablename__ = "appointment"
    __table_args__ = (
        CheckConstraint(f"status IN ('{BOOKED}', '{CANCELLED}')", name="status"),
        CheckConstraint("ends_at > starts_at", name="span"),
        # Needs the extension btree_gist. The booking code takes a lock and looks first; this holds
        # whatever else writes to the table.
        ExcludeConstraint(
            ("bay", "="),
            (text("tstzrange(starts_at, ends_at)"), "&&"),
            where=text(f"status = '{BOOKED}'"),
            using="gist",
            name="appointment_bay_once",
        ),
        Index("ix_appointment_starts_at", "starts_at"),
    )

    id: Mapped[int] = mapped_column(Integer, Identity(), primary_key=True)
    customer_id: Mapped[int | None] = mapped_column(
        ForeignKey("customer.id", ondelete="SET NULL"), index=True
    )
    phone: Mapped[str | None] = mapped_column(Text, index=True)
    name: Mapped[str | None] = mapped_column(Text)
    call: Mapped[str] = mapped_column(Text, index=True)
    service: Mapped[str] = mapped_column(Text)
    vehicle: Mapped[str | None] = mapped_column(Text)
    starts_at: Mapped[dt.datetime] = mapped_column(TIMESTAMP(timezone=True))
    ends_at: Mapped[dt.datetime] = mapped_column(TIMESTAMP(timezone=True))
    bay: Mapped[int] = mapped_column(SmallInteger)
    status: Mapped[str] = mapped_column(Text, server_default=BOOKED)
    created_at: Mapped[dt.datetime] = mapped_column(TIMESTAMP(timezone=True), server_default=func.now())


class ServiceVisit(Base):
    """Work that was done."""

    __tablename__ = "service_visit"
    __table_args__ = (UniqueConstraint("vehicle_id", "service", "visited_on"),)

    id: Mapped[int] = mapped_column(Integer, Identity(), primary_key=True)
    vehicle_id: Mapped[int] = mapped_column(ForeignKey("vehicle.id", ondelete="CASCADE"))
    service: Mapped[str] = mapped_column(Text)
    visited_on: Mapped[dt.date] = mapped_column(Date)


class StoredResult(Base):
    """What a changing tool answered, written in the transaction of the change: `key` makes it happen once."""

    __tablename__ = "tool_result"

    key: Mapped[str] = mapped_column(Text, primary_key=True)
    call: Mapped[str] = mapped_column(Text, index=True)
    tool: Mapped[str] = mapped_column(Text)
    result: Mapped[dict[str, Any]] = mapped_column(JSONB)
    created_at: Mapped[dt.datetime] = mapped_column(TIMESTAMP(timezone=True), server_default=func.now())


class CallEpoch(Base):
    """The highest epoch of a call that changed anything: older ones are refused."""

    __tablename__ = "call_epoch"

    call: Mapped[str] = mapped_column(Text, primary_key=True)
    epoch: Mapped[int] = mapped_column(BigInteger)
