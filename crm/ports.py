"""The repository interface: all that the tools, greetings and the console ask of a dealership's records.

`crm.postgres` is ours. A dealership that has a CRM of its own puts it behind the same two protocols; `crm/README.md`
tells how. Nothing above this interface knows SQL, and nothing below it knows what a caller may do.
"""

import datetime as dt
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager
from enum import Enum
from typing import Protocol, runtime_checkable

from crm.records import AppointmentRecord, CustomerRecord, NewAppointment, Owner, Proof, Stored
from crm.slots import Place, Taken
from crm.workshop import Workshop


class SlotTaken(Exception):
    """The bay or the technician was taken meanwhile. The unit of work goes on as if the write had not been tried."""


class RecordsAway(Exception):
    """The records can't be used, or a unit of work was cut off.

    Raised at its end, it does not tell whether the work was kept. `again`: trying the whole of it once more may help
    at once (a lost race, a broken connection).
    """

    def __init__(self, why: str, *, again: bool = False) -> None:
        super().__init__(why)
        self.again = again


class Work(Protocol):
    """One unit of work: all of its writes are kept when it ends well, or none. Any method may raise `RecordsAway`."""

    # --- the workshop

    async def workshop(self) -> Workshop:
        """Hours, bays, people and services as they are now; closures that are over may be left out."""

    async def taken(self, start: dt.datetime, end: dt.datetime, but_not: int | None = None) -> list[Taken]:
        """What is booked between two times, leaving out the appointment `but_not`."""

    # --- people

    async def customers_by_phone(self, phone: str) -> tuple[CustomerRecord, ...]:
        """Those who call from this number (E.164), in a steady order; usually one or none."""

    async def customer(self, customer: int) -> CustomerRecord | None:
        """The customer with this id."""

    async def opted_out(self, phone: str) -> frozenset[str]:
        """What this number does not want: "greeting", "contact"."""

    async def add_customer(
        self, name: str, phone: str | None, since: int, vouched: bool = True
    ) -> CustomerRecord:
        """A new customer. `phone` (E.164) is None for a withheld number."""

    async def vouch(self, customer: int) -> None:
        """From now on the customer's number is known to be theirs."""

    # --- appointments

    async def lock_day(self, day: dt.date) -> None:
        """Lets other bookings of this day wait until this unit of work ends, so that they need not fail. May do
        nothing."""

    async def upcoming(self, owner: Owner, now: dt.datetime) -> list[AppointmentRecord]:
        """Booked appointments that have not begun, soonest first; at most ten."""

    async def appointment(self, appointment: int, owner: Owner) -> AppointmentRecord | None:
        """One of the owner's appointments, held until this unit of work ends; None if it is not theirs, or does not
        exist."""

    async def book(self, new: NewAppointment) -> AppointmentRecord:
        """Writes an appointment. Raises `SlotTaken`."""

    async def move(self, appointment: int, place: Place) -> AppointmentRecord:
        """Gives an appointment another time and place. Raises `SlotTaken`."""

    async def cancel(self, appointment: int) -> AppointmentRecord:
        """Cancels an appointment."""

    # --- once, and by whom

    async def take_epoch(self, call: str, epoch: int) -> int:
        """Raises the call's epoch to `epoch` and returns the highest; the changes of one call wait for each other
        from here on."""

    async def stored(self, key: str) -> Stored | None:
        """What became of this key, or None."""

    async def store(self, key: str, call: str, tool: str, stored: Stored) -> None:
        """Keeps what became of a key. Told of a key a second time is an error of ours."""

    async def proof(self, call: str) -> Proof:
        """What the caller of this call has shown; held until this unit of work ends."""

    async def prove(self, call: str, proof: Proof) -> None:
        """Keeps what the caller of this call has shown."""


class Records(Protocol):
    """A dealership's records: where units of work come from."""

    async def open(self) -> None:
        """Connects. Raises a sentence that says what to do when it can't."""

    async def close(self) -> None:
        """Closes what `open` opened. Safe to run twice."""

    def work(self) -> AbstractAsyncContextManager[Work]:
        """A unit of work. Raises `RecordsAway` on the way in, and on the way out if it could not be kept."""

    async def look(self) -> None:
        """Asks whether the records answer. Raises `RecordsAway`."""


class Hearing(Enum):
    """Whether changes are told. From `HEARS` on they are; all that was read before may have changed."""

    HEARS = "hears"
    DEAF = "deaf"


Changed = frozenset[str] | Hearing
"""Numbers (E.164) whose `customers_by_phone` or `opted_out` have changed, or what is heard at all."""


@runtime_checkable
class TellsChanges(Protocol):
    """Records that tell what changes, whoever changes it. What is known of callers is kept only from such ones."""

    def changes(self) -> AsyncIterator[Changed]:
        """What changes from now on, for ever. `HEARS` comes first, and again after a gap, and when the workshop has
        changed; `DEAF` as soon as changes may be missed. Never raises."""
