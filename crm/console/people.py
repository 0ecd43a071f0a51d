"""Customers, and what their numbers don't want."""

from collections.abc import Sequence
from typing import Any

from sqlalchemy import ColumnElement, Select, Text, cast, delete, func, literal, or_, select
from sqlalchemy.dialects.postgresql import aggregate_order_by, insert
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import InstrumentedAttribute

from crm.console.reach import ConsoleError
from crm.models import Customer, CustomerPhone, OptOut, ServiceVisit, Vehicle
from crm.records import e164

CUSTOMER = ("id", "name", "called", "since", "numbers", "cars")
CAR = ("id", "name", "car", "VIN", "mileage", "last service", "on")


async def customers(session: AsyncSession, search: str, most: int | None) -> Sequence[Sequence[Any]]:
    """Rows of `CUSTOMER`, by name."""
    phones = _joined(CustomerPhone.phone).where(CustomerPhone.customer_id == Customer.id).scalar_subquery()
    cars = _joined(_car()).where(Vehicle.customer_id == Customer.id).scalar_subquery()
    statement = select(Customer.id, Customer.name, Customer.preferred_name, Customer.since, phones, cars)
    statement = statement.where(*_found(search)).order_by(Customer.name, Customer.id).limit(most)
    return (await session.execute(statement)).all()


async def cars(session: AsyncSession, search: str, most: int | None) -> Sequence[Sequence[Any]]:
    """Rows of `CAR`, by owner: the only list that has VINs."""
    newest = select(ServiceVisit.service, ServiceVisit.visited_on).where(
        ServiceVisit.vehicle_id == Vehicle.id
    )
    last = newest.order_by(ServiceVisit.visited_on.desc(), ServiceVisit.id.desc()).limit(1).lateral()
    statement = (
        select(
            Customer.id,
            Customer.name,
            _car(),
            Vehicle.vin,
            Vehicle.mileage,
            last.c.service,
            last.c.visited_on,
        )
        .select_from(Customer)
        .join(Vehicle, Vehicle.customer_id == Customer.id)
        .outerjoin(last, onclause=Vehicle.id.is_not(None))
        .where(*_found(search))
        .order_by(Customer.name, Customer.id, Vehicle.id)
        .limit(most)
    )
    return (await session.execute(statement)).all()


async def opt_out(session: AsyncSession, number: str, kind: str, *, undo: bool) -> str:
    """Notes what a number does not want, or takes it back; says what is so now."""
    phone = phone_of(number)
    row = {"phone": phone, "kind": kind}
    if undo:
        gone = delete(OptOut).filter_by(**row).returning(OptOut.phone)
        changed = (await session.scalars(gone)).all()
        said = (
            f"{phone} has no opt-out from {kind} any more."
            if changed
            else f"{phone} had no opt-out from {kind}."
        )
    else:
        changed = (
            await session.scalars(insert(OptOut).values(row).on_conflict_do_nothing().returning(OptOut.phone))
        ).all()
        what = (
            "is greeted by nothing that is known"
            if kind == "greeting"
            else "is not to be called or written to"
        )
        said = f"{phone} {what} from now on." if changed else f"{phone} had opted out of {kind} before."
    whose = select(Customer.name).join(CustomerPhone, CustomerPhone.customer_id == Customer.id)
    names = (await session.scalars(whose.where(CustomerPhone.phone == phone).order_by(Customer.id))).all()
    return f"{said} It is {' and '.join(names)}'s number." if names else f"{said} It is no customer's number."


def phone_of(number: str) -> str:
    """A number in any form, in E.164. Raises `ConsoleError`."""
    phone = e164(number)
    if phone is None:
        raise ConsoleError(
            f"{number!r} is no telephone number: write it with its area code, or as +13125550142."
        )
    return phone


def _found(search: str) -> list[ColumnElement[bool]]:
    """By a part of the name, or a number in any form or a part of it."""
    search = search.strip()
    if not search:
        return []
    digits = "".join(c for c in search if c.isascii() and c.isdigit())
    found = [
        Customer.name.icontains(search, autoescape=True),
        Customer.preferred_name.icontains(search, autoescape=True),
    ]
    if len(digits) > 2 and not any(c.isalpha() for c in search):
        phone = e164(search)
        like = CustomerPhone.phone == phone if phone else CustomerPhone.phone.contains(digits)
        found.append(Customer.id.in_(select(CustomerPhone.customer_id).where(like)))
    return [or_(*found)]


def _joined(what: ColumnElement[str] | InstrumentedAttribute[str]) -> Select[tuple[str]]:
    return select(func.string_agg(what, aggregate_order_by(literal("; "), what)))


def _car() -> ColumnElement[str]:
    return func.concat_ws(" ", cast(Vehicle.year, Text), Vehicle.make, Vehicle.model)
