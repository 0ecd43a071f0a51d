"""What the repository speaks in: customers, cars, appointments. Values only."""

import datetime as dt

import msgspec
import phonenumbers

from crm.naming import first_name
from crm.plain import CAR_MOST, NAME_MOST, plain

E164_MOST = 16  # characters: a plus sign and 15 digits (ITU-T E.164)
REGION = "US"  # of numbers that are said without a country: +1 for the United States and Canada alike


class VehicleRecord(msgspec.Struct, frozen=True):
    """A car; `year` is its model year, `mileage` in miles. What is not known is None."""

    id: int
    year: int
    make: str
    model: str
    vin: str | None = None
    mileage: int | None = None

    @property
    def name(self) -> str:
        """Year, make and model."""
        return f"{self.year} {self.make} {self.model}"


class LastService(msgspec.Struct, frozen=True):
    """The newest visit of any car."""

    service: str
    day: dt.date
    vehicle: int


class CustomerRecord(msgspec.Struct, frozen=True):
    """A customer. `vehicles` has the one that was in the workshop last first; `since` is a year.

    `vouched`: their number is theirs, because the office says so or it was enough to know them.
    """

    id: int
    name: str
    since: int
    preferred_name: str | None = None
    phones: tuple[str, ...] = ()
    vehicles: tuple[VehicleRecord, ...] = ()
    last_service: LastService | None = None
    vouched: bool = True

    @property
    def first_name(self) -> str:
        """What they are called in a greeting; "" if it is not known which word of theirs that is."""
        return first_name(self.name, self.preferred_name)

    def plainly(self) -> "CustomerRecord":
        """As it may be told: all texts are plain, whoever wrote them."""
        last = self.last_service
        return msgspec.structs.replace(
            self,
            name=plain(self.name, NAME_MOST),
            preferred_name=plain(self.preferred_name or "", NAME_MOST) or None,
            vehicles=tuple(
                msgspec.structs.replace(car, make=plain(car.make, CAR_MOST), model=plain(car.model, CAR_MOST))
                for car in self.vehicles
            ),
            last_service=last and msgspec.structs.replace(last, service=plain(last.service, CAR_MOST)),
        )


class AppointmentRecord(msgspec.Struct, frozen=True):
    """An appointment. `vehicle` is in words; `bay` and `technician` are ids, for the office also names."""

    id: int
    service: str
    start: dt.datetime
    end: dt.datetime
    bay: int
    technician: int | None = None
    vehicle: str | None = None
    customer: int | None = None
    phone: str | None = None
    name: str | None = None
    call: str = ""
    booked: bool = True


class NewAppointment(msgspec.Struct, frozen=True):
    """What a booking writes. `key` is the idempotency key that it is made under, `vehicle_id` a car of the
    customer's."""

    service: int
    start: dt.datetime
    end: dt.datetime
    bay: int
    technician: int
    call: str
    key: str
    customer: int | None = None
    phone: str | None = None
    name: str | None = None
    vehicle: str | None = None
    vehicle_id: int | None = None


class Owner(msgspec.Struct, frozen=True):
    """Whose appointments a caller may see and change: of the `customer` whom they have shown to be; those that belong
    to no vouched customer and were booked from `phone`, where the number is enough; and always what this `call` has
    booked."""

    call: str
    customer: int | None = None
    phone: str | None = None


class Proof(msgspec.Struct, frozen=True):
    """Who the caller of a call has shown to be (a customer's id), how often they have tried, and the customer that the
    call `made` of them, which shows nothing."""

    customer: int | None = None
    tries: int = 0
    made: int | None = None


class Stored(msgspec.Struct, frozen=True):
    """What became of a key: the hash of the tool and arguments that it was used with, and the result.

    Without a hash the key is void: nothing was done under it, and nothing ever will be.
    """

    arguments_hash: str | None
    result: dict[str, object]


def e164(text: str) -> str | None:
    """A telephone number as callers say or write it, in E.164; None if it is none.

    Numbers without a country are North American. Whether a number is in use is not asked: fictional ones pass.
    """
    try:
        number = phonenumbers.parse(text, REGION)
    except phonenumbers.NumberParseException:
        return None
    # `is_possible_number` also takes numbers without their area code, which nobody can be called at.
    if phonenumbers.is_possible_number_with_reason(number) != phonenumbers.ValidationResult.IS_POSSIBLE:
        return None
    written = phonenumbers.format_number(number, phonenumbers.PhoneNumberFormat.E164)
    return written if len(written) <= E164_MOST else None
