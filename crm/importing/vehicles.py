"""Vehicles from a file. A vehicle is known by its VIN; without one, by its owner, year, make and model."""

import re
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import msgspec
from sqlalchemy import ARRAY, Integer, any_, bindparam, cast, or_, select, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncConnection

from crm import vin as vins
from crm.importing.csvfile import BadRow, Columns, Row
from crm.importing.customers import among, bad, one_line, read_phones
from crm.importing.report import Kept
from crm.models import Customer, CustomerPhone, Vehicle

WORDS_MOST = 60
MILES_MOST = 2_000_000
ID_MOST = 2**31 - 1
_LOOKALIKES = str.maketrans("IOQ", "100")  # letters that are in no VIN, and what was meant by them


class VehicleRow(msgspec.Struct, frozen=True):
    """What a row says. `customer` is an id; either that or a number is there. No mileage changes none."""

    row: Row
    customer: int | None
    phones: tuple[str, ...]
    vin: str | None
    year: int
    make: str
    model: str
    mileage: int | None


@dataclass(eq=False)
class _Car:
    id: int | None
    owner: int
    vin: str | None
    year: int
    make: str
    model: str
    mileage: int | None
    changed: bool = False

    def is_like(self, row: VehicleRow) -> bool:
        return (self.year, self.make.casefold(), self.model.casefold()) == (
            row.year,
            row.make.casefold(),
            row.model.casefold(),
        )


class _Owners:
    """Customers of a batch, by id and by number."""

    def __init__(self) -> None:
        self.names: dict[int, str] = {}
        self.at: dict[str, list[int]] = defaultdict(list)

    def of(self, row: VehicleRow) -> int | BadRow:
        with_number = list(dict.fromkeys(who for phone in row.phones for who in self.at[phone]))
        if row.customer is not None:
            if row.customer not in self.names:
                return bad(
                    row.row, "customer", "there is no customer of this id: python -m crm customers shows ids"
                )
            if row.phones and row.customer not in with_number:
                return bad(
                    row.row, "phone", f"this is no number of customer {row.customer}'s: correct one of them"
                )
            return row.customer
        if not with_number:
            return bad(row.row, "phone", "no customer has this number: correct it, or import customers first")
        if len(with_number) > 1:
            who = " and ".join(f"{self.names[one]} ({one})" for one in with_number)
            return bad(row.row, "phone", f"this is a number of {who}: give the id in a column customer")
        return with_number[0]


class Vehicles:
    """Implements `crm.importing.run.Kind`. A car of next year's model may be sold this year."""

    columns = Columns(
        {
            "phone": ("owner phone", "phone number", "telephone", "mobile", "cell", "number"),
            "customer": ("customer id", "owner", "owner id"),
            "vin": ("vehicle identification number", "vin number"),
            "year": ("model year",),
            "make": ("maker", "manufacturer"),
            "model": (),
            "mileage": ("miles", "odometer"),
        },
        needed=("make", "model"),
    )

    def __init__(self, this_year: int) -> None:
        self._newest = this_year + 2

    def read(self, row: Row) -> VehicleRow | BadRow:
        """Checks all but what needs the database."""
        values = row.values
        customer = values.get("customer", "").removesuffix(".0")
        if customer and not (_digits(customer) and 0 < int(customer) <= ID_MOST):
            return bad(row, "customer", "this is no id: python -m crm customers shows ids")
        phones = read_phones(row) if values.get("phone") or not customer else ()
        if isinstance(phones, BadRow):
            return phones
        words = {column: one_line(values[column]) for column in ("make", "model")}
        for column, text in words.items():
            if not 0 < len(text) <= WORDS_MOST:
                return bad(row, column, f"the {column} of the car is needed, in 1 to {WORDS_MOST} characters")
        vin = _vin(row)
        if isinstance(vin, BadRow):
            return vin
        year = values.get("year", "").removesuffix(".0") or str((vin and vins.model_year(vin)) or "")
        if not (_digits(year) and 1900 <= int(year) <= self._newest):
            return bad(
                row, "year", f"the model year is needed, with four digits, from 1900 to {self._newest}"
            )
        mileage = re.sub(r"(?i)[,\s]|\.0+$|mi(les)?\.?$", "", values.get("mileage", ""))
        if mileage and not (_digits(mileage) and int(mileage) <= MILES_MOST):
            return bad(row, "mileage", "this is no mileage: write digits, or leave it empty")
        who = int(customer) if customer else None
        return VehicleRow(
            row, who, phones, vin, int(year), **words, mileage=int(mileage) if mileage else None
        )

    def row_of(self, read: VehicleRow) -> Row:
        """Where it comes from."""
        return read.row

    async def store(self, connection: AsyncConnection, rows: Sequence[VehicleRow]) -> list[Kept | BadRow]:
        """Adds cars that are new, and gives those that are known what is new of them."""
        owners = await _owners(connection, rows)
        wanted = {row.vin for row in rows if row.vin}
        cars = await _cars(connection, owners.names, wanted)
        by_vin = {car.vin: car for car in cars if car.vin}
        await _names(connection, owners, {car.owner for car in by_vin.values()})
        by_owner: dict[int, list[_Car]] = defaultdict(list)
        for car in cars:
            by_owner[car.owner].append(car)
        verdicts: list[Kept | BadRow] = []
        for row in rows:
            owner = owners.of(row)
            if isinstance(owner, BadRow):
                verdicts.append(owner)
                continue
            other = by_vin.get(row.vin) if row.vin else None
            if other is not None and other.owner != owner:
                whose = f"{owners.names[other.owner]} ({other.owner})"
                verdicts.append(
                    bad(row.row, "vin", f"this car is {whose}'s: correct the VIN, or whose it is")
                )
                continue
            known = other or next((one for one in by_owner[owner] if _is_it(one, row)), None)
            verdict, kept = _merge(row, owner, known)
            if kept is not known:
                cars.append(kept)
                by_owner[owner].append(kept)
            if kept.vin:
                by_vin[kept.vin] = kept
            verdicts.append(verdict)
        await _write(connection, cars)
        return verdicts


def _is_it(car: _Car, row: VehicleRow) -> bool:
    """Whether a car without the row's VIN is meant: either of the two has no VIN, and all else is the same."""
    return (row.vin is None or car.vin is None) and car.is_like(row)


def _merge(row: VehicleRow, owner: int, car: _Car | None) -> tuple[Kept, _Car]:
    warning = ""
    if row.vin and not vins.has_right_check_digit(row.vin):
        warning = (
            f"the check digit of VIN {row.vin} is wrong, as on cars not made for North America: check it"
        )
    if car is None:
        return Kept("added", warning), _Car(None, owner, row.vin, row.year, row.make, row.model, row.mileage)
    changes: dict[str, object] = {}
    if row.vin and not car.vin:
        changes["vin"] = row.vin
    if not car.is_like(row):
        changes |= {"year": row.year, "make": row.make, "model": row.model}
    if row.mileage is not None and row.mileage != car.mileage:
        changes["mileage"] = row.mileage
        if car.mileage is not None and row.mileage < car.mileage:
            warning = f"the mileage goes back from {car.mileage:,} to {row.mileage:,}: check it"
    for name, value in changes.items():
        setattr(car, name, value)
    car.changed = car.changed or bool(changes)
    return Kept("changed" if changes else "unchanged", warning), car


async def _owners(connection: AsyncConnection, rows: Sequence[VehicleRow]) -> _Owners:
    owners = _Owners()
    phones = among({phone for row in rows for phone in row.phones})
    with_number = select(CustomerPhone.phone, CustomerPhone.customer_id).where(CustomerPhone.phone == phones)
    for phone, who in (await connection.execute(with_number.order_by(CustomerPhone.customer_id))).tuples():
        owners.at[phone].append(who)
    ids = {who for people in owners.at.values() for who in people}
    await _names(connection, owners, ids | {row.customer for row in rows if row.customer is not None})
    return owners


async def _names(connection: AsyncConnection, owners: _Owners, ids: Iterable[int]) -> None:
    missing = sorted(set(ids) - set(owners.names))
    if missing:
        statement = select(Customer.id, Customer.name).where(Customer.id == _any(missing))
        owners.names.update((await connection.execute(statement)).tuples().all())


async def _cars(connection: AsyncConnection, owners: Iterable[int], wanted: Iterable[str]) -> list[_Car]:
    row = Vehicle
    statement = select(row.id, row.customer_id, row.vin, row.year, row.make, row.model, row.mileage).where(
        or_(row.customer_id == _any(owners), row.vin == among(wanted))
    )
    return [_Car(*found) for found in (await connection.execute(statement.order_by(row.id))).tuples()]


async def _write(connection: AsyncConnection, cars: Iterable[_Car]) -> None:
    columns = ("vin", "year", "make", "model", "mileage")
    new = [
        {name: getattr(car, name) for name in columns} | {"customer_id": car.owner}
        for car in cars
        if car.id is None
    ]
    changed = [
        {f"new_{name}": getattr(car, name) for name in columns} | {"which": car.id}
        for car in cars
        if car.changed and car.id is not None
    ]
    if changed:
        table = Vehicle.__table__
        statement = update(table).where(table.c.id == bindparam("which"))  # type: ignore[arg-type]
        await connection.execute(
            statement.values({name: bindparam(f"new_{name}") for name in columns}), changed
        )
    if new:
        await connection.execute(insert(Vehicle), new)


def _vin(row: Row) -> str | BadRow | None:
    written = re.sub(r"[\s\-.*]", "", row.values.get("vin", "")).upper()
    if not written:
        return None
    vin = written.translate(_LOOKALIKES)
    if len(vin) != vins.LENGTH:
        return bad(
            row,
            "vin",
            f"a VIN has {vins.LENGTH} characters, this has {len(written)}: correct it, or leave it empty",
        )
    if not vins.is_one(vin):
        return bad(row, "vin", "a VIN has letters and digits only: correct it, or leave it empty")
    return vin


def _digits(text: str) -> bool:
    return text.isascii() and text.isdigit() and len(text) <= 10


def _any(ids: Iterable[int]) -> object:
    return any_(cast(sorted(ids), ARRAY(Integer)))
