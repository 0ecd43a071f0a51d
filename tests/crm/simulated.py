"""`crm.ports.Records` in memory, for virtual time: locks, isolation and the constraint as Postgres has them.

A unit of work sees what is committed and its own writes. It waits for locks, and for others' writes to the same place
that are not committed yet; whoever would close a ring of waiting is refused, as a deadlock. What befalls it (slow
answers, broken connections, lost commits) is asked of a `Weather`. A commit that is under way lands, or not, whatever
becomes of who sent it.
"""

import asyncio
import contextlib
import datetime as dt
from collections.abc import AsyncIterator, Iterable
from dataclasses import dataclass, field
from typing import Any, Protocol

import msgspec

from crm.ports import RecordsAway, SlotTaken
from crm.records import AppointmentRecord, CustomerRecord, NewAppointment, Owner, Proof, Stored
from crm.slots import Place, Taken
from crm.workshop import Workshop

LOCK_S = 3.0  # as Postgres' statement deadline

Table = dict[Any, Any]


class Weather(Protocol):
    """What a unit of work meets."""

    @property
    def away(self) -> bool:
        """Whether the database can't be reached."""

    async def step(self) -> None:
        """A statement's way there and back. Raises `RecordsAway` where the connection breaks."""

    async def commit(self) -> bool:
        """A commit's way there; whether it arrives."""

    async def committed(self) -> None:
        """Its answer's way back. Raises `RecordsAway` if it is lost."""

    def lingers_s(self) -> float:
        """How long the locks of one that broke off are held, until that is noticed."""


class Fair:
    """Nothing befalls anybody."""

    away = False

    async def step(self) -> None:
        await asyncio.sleep(0)

    async def commit(self) -> bool:
        return True

    async def committed(self) -> None: ...

    def lingers_s(self) -> float:
        return 0.0


@dataclass
class Database:
    """What is committed, and who is at work. Shared by the `SimulatedRecords` of all processes."""

    shop: Workshop
    customers: Table = field(default_factory=dict)
    opted_out: Table = field(default_factory=dict)
    appointments: Table = field(default_factory=dict)
    epochs: Table = field(default_factory=dict)
    results: Table = field(default_factory=dict)
    proofs: Table = field(default_factory=dict)
    holders: dict[Any, "SimWork"] = field(default_factory=dict)
    working: dict["SimWork", None] = field(default_factory=dict)
    _last_id: int = 0

    def next_id(self) -> int:
        """Of a row; one that is rolled back leaves a gap."""
        self._last_id += 1
        return self._last_id


class SimWork:
    """Implements `crm.ports.Work`."""

    def __init__(self, database: Database, weather: Weather) -> None:
        self._db = database
        self._weather = weather
        self._writes: dict[str, Table] = {}
        self._waits_for: SimWork | None = None
        self.ended: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        database.working[self] = None

    # --- its end

    def apply(self) -> None:
        """All of its writes are there at once."""
        for table, rows in self._writes.items():
            getattr(self._db, table).update(rows)
        self.release()

    def release(self) -> None:
        """Its locks are free, and its writes gone if they were not applied."""
        self._writes = {}
        self._db.working.pop(self, None)
        for name in [name for name, holder in self._db.holders.items() if holder is self]:
            del self._db.holders[name]
        if not self.ended.done():
            self.ended.set_result(None)

    # --- parts

    def _get(self, table: str, key: Any) -> Any:
        return self._all(table).get(key)

    def _all(self, table: str) -> Table:
        mine = self._writes.get(table)
        committed: Table = getattr(self._db, table)
        return committed | mine if mine else committed

    def _put(self, table: str, key: Any, row: Any) -> None:
        self._writes.setdefault(table, {})[key] = row

    async def _wait_for(self, other: "SimWork") -> None:
        last: SimWork | None = other
        while last is not None:
            if last is self:
                raise RecordsAway("deadlock detected", again=True)
            last = last._waits_for
        self._waits_for = other
        try:
            async with asyncio.timeout(LOCK_S):
                await asyncio.shield(other.ended)
        except TimeoutError:
            raise RecordsAway("a lock was held for too long") from None
        finally:
            self._waits_for = None

    async def _lock(self, name: Any) -> None:
        while (holder := self._db.holders.get(name)) not in (None, self):
            assert holder is not None
            await self._wait_for(holder)
        self._db.holders[name] = self

    def _owns(self, owner: Owner, row: AppointmentRecord) -> bool:
        customer: CustomerRecord | None = self._get("customers", row.customer)
        nobodys = customer is None or not customer.vouched
        return (
            row.call == owner.call
            or (owner.customer is not None and row.customer == owner.customer)
            or (owner.phone is not None and nobodys and row.phone == owner.phone)
        )

    # --- the workshop

    async def workshop(self) -> Workshop:
        await self._weather.step()
        return self._db.shop

    async def taken(self, start: dt.datetime, end: dt.datetime, but_not: int | None = None) -> list[Taken]:
        await self._weather.step()
        return [
            Taken(row.start, row.end, row.bay, row.technician)
            for row in self._all("appointments").values()
            if row.booked and row.start < end and row.end > start and row.id != but_not
        ]

    # --- people

    async def customers_by_phone(self, phone: str) -> tuple[CustomerRecord, ...]:
        await self._weather.step()
        return tuple(one for one in self._all("customers").values() if phone in one.phones)

    async def customer(self, customer: int) -> CustomerRecord | None:
        await self._weather.step()
        found: CustomerRecord | None = self._get("customers", customer)
        return found

    async def opted_out(self, phone: str) -> frozenset[str]:
        await self._weather.step()
        return frozenset(self._get("opted_out", phone) or ())

    async def add_customer(
        self, name: str, phone: str | None, since: int, vouched: bool = True
    ) -> CustomerRecord:
        await self._weather.step()
        phones = (phone,) if phone else ()
        made = CustomerRecord(self._db.next_id(), name, since, phones=phones, vouched=vouched)
        self._put("customers", made.id, made)
        return made

    async def vouch(self, customer: int) -> None:
        await self._weather.step()
        self._put(
            "customers", customer, msgspec.structs.replace(self._get("customers", customer), vouched=True)
        )

    # --- appointments

    async def lock_day(self, day: dt.date) -> None:
        await self._weather.step()
        await self._lock(("day", day))

    async def upcoming(self, owner: Owner, now: dt.datetime) -> list[AppointmentRecord]:
        await self._weather.step()
        mine = [
            row
            for row in self._all("appointments").values()
            if row.booked and row.start > now and self._owns(owner, row)
        ]
        return sorted(mine, key=lambda row: row.start)[:10]

    async def appointment(self, appointment: int, owner: Owner) -> AppointmentRecord | None:
        await self._weather.step()
        row: AppointmentRecord | None = self._get("appointments", appointment)
        if row is None or not self._owns(owner, row):
            return None
        await self._lock(("appointment", appointment))
        found: AppointmentRecord = self._get("appointments", appointment)
        return found

    async def book(self, new: NewAppointment) -> AppointmentRecord:
        service = next(one.name for one in self._db.shop.services if one.id == new.service)
        row = AppointmentRecord(
            id=self._db.next_id(),
            service=service,
            start=new.start,
            end=new.end,
            bay=new.bay,
            technician=new.technician,
            vehicle=new.vehicle,
            customer=new.customer,
            phone=new.phone,
            name=new.name,
            call=new.call,
        )
        return await self._write(row)

    async def move(self, appointment: int, place: Place) -> AppointmentRecord:
        row = self._get("appointments", appointment)
        return await self._write(
            msgspec.structs.replace(
                row, start=place.start, end=place.end, bay=place.bay, technician=place.technician
            )
        )

    async def cancel(self, appointment: int) -> AppointmentRecord:
        await self._lock(("appointment", appointment))
        row = self._get("appointments", appointment)
        return await self._write(msgspec.structs.replace(row, booked=False))

    async def _write(self, row: AppointmentRecord) -> AppointmentRecord:
        await self._weather.step()
        while row.booked:
            if any(_overlap(row, other) for other in self._all("appointments").values()):
                raise SlotTaken
            others = (work for work in self._db.working if work is not self)
            first = next((work for work in others if work._has_written(row)), None)
            if first is None:
                break
            await self._wait_for(first)
        self._put("appointments", row.id, row)
        return row

    def _has_written(self, row: AppointmentRecord) -> bool:
        mine: Iterable[AppointmentRecord] = self._writes.get("appointments", {}).values()
        return any(_overlap(row, other) for other in mine)

    # --- once, and by whom

    async def take_epoch(self, call: str, epoch: int) -> int:
        await self._weather.step()
        await self._lock(("epoch", call))
        highest = max(epoch, self._get("epochs", call) or 0)
        self._put("epochs", call, highest)
        return highest

    async def stored(self, key: str) -> Stored | None:
        await self._weather.step()
        kept = self._get("results", key)
        return msgspec.json.decode(kept, type=Stored) if kept else None

    async def store(self, key: str, call: str, tool: str, stored: Stored) -> None:
        await self._weather.step()
        if self._get("results", key) is not None:
            raise RecordsAway(f"{key} has been stored already")
        self._put("results", key, msgspec.json.encode(stored))

    async def proof(self, call: str) -> Proof:
        await self._weather.step()
        await self._lock(("proof", call))
        return self._get("proofs", call) or Proof()

    async def prove(self, call: str, proof: Proof) -> None:
        await self._weather.step()
        self._put("proofs", call, proof)


class SimulatedRecords:
    """Implements `crm.ports.Records` for one process."""

    def __init__(self, database: Database, weather: Weather | None = None) -> None:
        self._db = database
        self._weather = weather or Fair()
        self._landing: set[asyncio.Task[bool]] = set()

    async def open(self) -> None: ...

    async def close(self) -> None: ...

    async def look(self) -> None:
        if self._weather.away:
            raise RecordsAway("away")

    @contextlib.asynccontextmanager
    async def work(self) -> AsyncIterator[SimWork]:
        await self.look()
        work = SimWork(self._db, self._weather)
        try:
            yield work
        except BaseException:
            if lingers_s := self._weather.lingers_s():
                asyncio.get_running_loop().call_later(lingers_s, work.release)
            else:
                work.release()
            raise
        landing = asyncio.get_running_loop().create_task(self._land(work))
        self._landing.add(landing)
        landing.add_done_callback(self._landing.discard)
        if not await asyncio.shield(landing):
            raise RecordsAway("the connection broke at the commit", again=True)
        await self._weather.committed()

    async def _land(self, work: SimWork) -> bool:
        """Goes on although who sent it is gone."""
        arrived = await self._weather.commit()
        if arrived:
            work.apply()
        else:
            work.release()
        return arrived


def _overlap(row: AppointmentRecord, other: AppointmentRecord) -> bool:
    return (
        other.booked
        and other.id != row.id
        and row.start < other.end
        and row.end > other.start
        and (row.bay == other.bay or (row.technician is not None and row.technician == other.technician))
    )
