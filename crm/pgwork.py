"""`crm.ports.Work` on Postgres: the queries. Errors of the database pass through; `crm.postgres` names them."""

import datetime as dt
from collections import defaultdict
from collections.abc import Iterable, Sequence
from typing import Any, TypeVar

from sqlalchemy import ScalarResult, Select, and_, func, or_, select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.dialects.postgresql.asyncpg import AsyncAdapt_asyncpg_dbapi
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncSession

from crm import models as m
from crm import workshop as w
from crm.ports import RecordsAway, SlotTaken
from crm.records import (
    AppointmentRecord,
    CustomerRecord,
    LastService,
    NewAppointment,
    Owner,
    Proof,
    Stored,
    VehicleRecord,
)
from crm.slots import Place, Taken

# First half of the two-part advisory lock that serialises bookings of one day.
_DAY_LOCK = 0x7472756E
_UPCOMING = 10

T = TypeVar("T")


class PgWork:
    """Implements `crm.ports.Work` in a transaction that its maker owns."""

    def __init__(self, session: AsyncSession) -> None:
        self._session = session

    # ------------------------------------------------------------ the workshop

    async def workshop(self) -> w.Workshop:
        """All of it."""
        rules = await self._session.get(m.Dealership, 1)
        if rules is None:
            raise RecordsAway(
                "the dealership has not been set up: run `python -m crm setup` or `python -m crm seed`"
            )
        hours = (await self._all(select(m.WorkingHours).order_by(m.WorkingHours.starts))).all()
        can: dict[int, set[str]] = defaultdict(set)
        for who, skill in await self._session.execute(
            select(m.TechnicianSkill.technician_id, m.TechnicianSkill.skill)
        ):
            can[who].add(skill)
        needs: dict[int, set[str]] = defaultdict(set)
        for what, skill in await self._session.execute(
            select(m.ServiceSkill.service_type_id, m.ServiceSkill.skill)
        ):
            needs[what].add(skill)
        closures = select(m.Closure).order_by(m.Closure.starts_at)
        return w.Workshop(
            time_zone=rules.time_zone,
            week=_week(row for row in hours if row.bay_id is None and row.technician_id is None) or {},
            bays=tuple(
                w.Bay(bay.id, bay.name, _week(row for row in hours if row.bay_id == bay.id))
                for bay in await self._all(select(m.Bay).where(m.Bay.active).order_by(m.Bay.id))
            ),
            technicians=tuple(
                w.Technician(
                    who.id,
                    who.name,
                    frozenset(can[who.id]),
                    _week(row for row in hours if row.technician_id == who.id),
                )
                for who in await self._all(
                    select(m.Technician).where(m.Technician.active).order_by(m.Technician.id)
                )
            ),
            services=tuple(
                w.ServiceType(
                    one.id,
                    one.name,
                    one.minutes,
                    one.price_from_cents,
                    one.price_to_cents,
                    frozenset(needs[one.id]),
                )
                for one in await self._all(
                    select(m.ServiceType).where(m.ServiceType.active).order_by(m.ServiceType.id)
                )
            ),
            holidays=tuple(
                w.Holiday(one.day, one.name, ((one.opens, one.closes),) if one.opens and one.closes else ())
                for one in await self._all(select(m.Holiday).order_by(m.Holiday.day))
            ),
            closures=tuple(
                w.Closure(one.starts_at, one.ends_at, one.bay_id, one.technician_id, one.reason)
                for one in await self._all(closures)
            ),
            step_minutes=rules.step_minutes,
            notice_minutes=rules.notice_minutes,
            horizon_days=rules.horizon_days,
        )

    async def taken(self, start: dt.datetime, end: dt.datetime, but_not: int | None = None) -> list[Taken]:
        """What is booked between two times, leaving out the appointment `but_not`."""
        row = m.Appointment
        statement = select(row.starts_at, row.ends_at, row.bay_id, row.technician_id).where(
            row.status == m.BOOKED, row.starts_at < end, row.ends_at > start
        )
        if but_not is not None:
            statement = statement.where(row.id != but_not)
        return [Taken(*found) for found in await self._session.execute(statement)]

    # ------------------------------------------------------------ people

    async def customers_by_phone(self, phone: str) -> tuple[CustomerRecord, ...]:
        """Those who call from this number, oldest first."""
        calls = select(m.CustomerPhone.customer_id).where(m.CustomerPhone.phone == phone)
        people = (
            await self._all(select(m.Customer).where(m.Customer.id.in_(calls)).order_by(m.Customer.id))
        ).all()
        return await self.customers(people)

    async def customer(self, customer: int) -> CustomerRecord | None:
        """The customer with this id."""
        person = await self._session.get(m.Customer, customer)
        return (await self.customers([person]))[0] if person else None

    async def customers(self, people: Sequence[m.Customer]) -> tuple[CustomerRecord, ...]:
        """Their records, in the same order."""
        if not people:
            return ()
        ids = [one.id for one in people]
        phones: dict[int, list[str]] = defaultdict(list)
        statement = select(m.CustomerPhone).where(m.CustomerPhone.customer_id.in_(ids))
        for row in await self._all(statement.order_by(m.CustomerPhone.phone)):
            phones[row.customer_id].append(row.phone)
        cars: dict[int, dict[int, VehicleRecord]] = defaultdict(dict)
        last: dict[int, LastService] = {}
        statement_cars = (
            select(m.Vehicle, m.ServiceVisit)
            .outerjoin(m.ServiceVisit, m.ServiceVisit.vehicle_id == m.Vehicle.id)
            .where(m.Vehicle.customer_id.in_(ids))
            .order_by(m.ServiceVisit.visited_on.desc().nulls_last(), m.ServiceVisit.id.desc(), m.Vehicle.id)
        )
        for car, visit in await self._session.execute(statement_cars):
            owner = car.customer_id
            cars[owner].setdefault(
                car.id, VehicleRecord(car.id, car.year, car.make, car.model, car.vin, car.mileage)
            )
            if visit is not None:
                last.setdefault(owner, LastService(visit.service, visit.visited_on, car.id))
        return tuple(
            CustomerRecord(
                one.id,
                one.name,
                one.since,
                one.preferred_name,
                tuple(phones[one.id]),
                tuple(cars[one.id].values()),
                last.get(one.id),
                one.vouched,
            )
            for one in people
        )

    async def opted_out(self, phone: str) -> frozenset[str]:
        """The kinds of `crm.models.OptOut` that this number has."""
        return frozenset(await self._all(select(m.OptOut.kind).where(m.OptOut.phone == phone)))

    async def add_customer(
        self, name: str, phone: str | None, since: int, vouched: bool = True
    ) -> CustomerRecord:
        """Writes a customer, and their number if they have one."""
        person = m.Customer(name=name, since=since, vouched=vouched)
        self._session.add(person)
        await self._session.flush()
        if phone is not None:
            self._session.add(m.CustomerPhone(phone=phone, customer_id=person.id))
            await self._session.flush()
        return CustomerRecord(person.id, name, since, phones=(phone,) if phone else (), vouched=vouched)

    async def vouch(self, customer: int) -> None:
        """Changes the row."""
        (await self._session.get_one(m.Customer, customer)).vouched = True
        await self._session.flush()

    # ------------------------------------------------------------ appointments

    async def lock_day(self, day: dt.date) -> None:
        """Two inserts that run into each other on an exclusion constraint can deadlock: this orders them."""
        await self._session.execute(select(func.pg_advisory_xact_lock(_DAY_LOCK, day.toordinal())))

    async def upcoming(self, owner: Owner, now: dt.datetime) -> list[AppointmentRecord]:
        """Booked appointments of that owner that have not begun, soonest first."""
        row = m.Appointment
        statement = _appointments().where(_of(owner), row.status == m.BOOKED, row.starts_at > now)
        statement = statement.order_by(row.starts_at).limit(_UPCOMING)
        return [_record(*found) for found in await self._session.execute(statement)]

    async def appointment(self, appointment: int, owner: Owner) -> AppointmentRecord | None:
        """One of the owner's appointments, its row locked."""
        statement = _appointments().where(m.Appointment.id == appointment, _of(owner))
        statement = statement.with_for_update(of=m.Appointment).execution_options(populate_existing=True)
        found = (await self._session.execute(statement)).one_or_none()
        return _record(*found) if found else None

    async def book(self, new: NewAppointment) -> AppointmentRecord:
        """Writes the row, and reads it back."""
        row = m.Appointment(
            customer_id=new.customer,
            phone=new.phone,
            name=new.name,
            call=new.call,
            key=new.key,
            service_type_id=new.service,
            vehicle_id=new.vehicle_id,
            vehicle=new.vehicle,
            starts_at=new.start,
            ends_at=new.end,
            bay_id=new.bay,
            technician_id=new.technician,
            status=m.BOOKED,
        )
        await self._write(row)
        return await self._again(row)

    async def move(self, appointment: int, place: Place) -> AppointmentRecord:
        """Changes the row, and reads it back."""
        row = await self._session.get_one(m.Appointment, appointment)
        values = {
            "starts_at": place.start,
            "ends_at": place.end,
            "bay_id": place.bay,
            "technician_id": place.technician,
        }
        await self._write(row, values)
        return await self._again(row)

    async def cancel(self, appointment: int) -> AppointmentRecord:
        """Changes the row, and reads it back."""
        row = await self._session.get_one(m.Appointment, appointment)
        row.status = m.CANCELLED
        await self._session.flush()
        return await self._again(row)

    async def _write(self, row: m.Appointment, values: dict[str, Any] | None = None) -> None:
        try:
            async with self._session.begin_nested():
                for name, value in (values or {}).items():
                    setattr(row, name, value)
                self._session.add(row)
                await self._session.flush()
        except IntegrityError as error:
            if not isinstance(error.orig, AsyncAdapt_asyncpg_dbapi.ExclusionViolationError):
                raise
            raise SlotTaken from None  # the constraint held

    async def _again(self, row: m.Appointment) -> AppointmentRecord:
        statement = (
            _appointments().where(m.Appointment.id == row.id).execution_options(populate_existing=True)
        )
        return _record(*(await self._session.execute(statement)).one())

    # ------------------------------------------------------------ once, and by whom

    async def take_epoch(self, call: str, epoch: int) -> int:
        """Its row lock makes the changes of one call, and so two runs of one key, take turns."""
        statement = insert(m.CallEpoch).values(call=call, epoch=epoch)
        highest = func.greatest(m.CallEpoch.epoch, statement.excluded.epoch)
        statement = statement.on_conflict_do_update(
            index_elements=[m.CallEpoch.call], set_={"epoch": highest}
        )
        return int((await self._session.execute(statement.returning(m.CallEpoch.epoch))).scalar_one())

    async def stored(self, key: str) -> Stored | None:
        """What became of this key, or None."""
        found = await self._session.get(m.StoredResult, key)
        return Stored(found.arguments_hash, found.result) if found else None

    async def store(self, key: str, call: str, tool: str, stored: Stored) -> None:
        """Keeps what became of a key."""
        row = m.StoredResult(
            key=key, call=call, tool=tool, arguments_hash=stored.arguments_hash, result=stored.result
        )
        self._session.add(row)
        await self._session.flush()

    async def proof(self, call: str) -> Proof:
        """What the caller of this call has shown, its row made and locked."""
        await self._session.execute(insert(m.CallProof).values(call=call).on_conflict_do_nothing())
        row = await self._session.get_one(m.CallProof, call, with_for_update=True)
        return Proof(row.customer_id, row.tries, row.made_id)

    async def prove(self, call: str, proof: Proof) -> None:
        """Keeps what the caller of this call has shown."""
        row = await self._session.get_one(m.CallProof, call)
        row.customer_id, row.tries, row.made_id = proof.customer, proof.tries, proof.made
        await self._session.flush()

    async def _all(self, statement: Select[T]) -> ScalarResult[T]:
        return await self._session.scalars(statement)


def _week(rows: Iterable[m.WorkingHours]) -> dict[int, tuple[w.Span, ...]] | None:
    week: dict[int, list[w.Span]] = defaultdict(list)
    for row in rows:
        week[row.weekday].append((row.starts, row.ends))
    return {day: tuple(spans) for day, spans in week.items()} or None


def _appointments() -> Select[m.Appointment, str]:
    return select(m.Appointment, m.ServiceType.name).join(
        m.ServiceType, m.ServiceType.id == m.Appointment.service_type_id
    )


def _of(owner: Owner) -> Any:
    row = m.Appointment
    mine = [row.call == owner.call]
    if owner.customer is not None:
        mine.append(row.customer_id == owner.customer)
    if owner.phone is not None:
        nobody = select(m.Customer.id).where(~m.Customer.vouched)
        mine.append(
            and_(row.phone == owner.phone, or_(row.customer_id.is_(None), row.customer_id.in_(nobody)))
        )
    return or_(*mine)


def _record(row: m.Appointment, service: str) -> AppointmentRecord:
    return AppointmentRecord(
        id=row.id,
        service=service,
        start=row.starts_at,
        end=row.ends_at,
        bay=row.bay_id,
        technician=row.technician_id,
        vehicle=row.vehicle,
        customer=row.customer_id,
        phone=row.phone,
        name=row.name,
        call=row.call,
        booked=row.status == m.BOOKED,
    )
