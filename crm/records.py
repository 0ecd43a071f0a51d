"""What is told of a customer, in the shape that tools answer with."""

import msgspec


class VehicleRecord(msgspec.Struct, frozen=True):
    """A car; `year` is its model year."""

    year: int
    make: str
    model: str
    vin: str


class LastService(msgspec.Struct, frozen=True):
    """The newest visit; `date` is YYYY-MM-DD."""

    service: str
    date: str


class CustomerRecord(msgspec.Struct, frozen=True):
    """A customer. `vehicles` has the one that was in the workshop last first; `since` is a year."""

    name: str
    phone: str
    since: int
    vehicles: tuple[VehicleRecord, ...] = ()
    last_service: LastService | None = None

    @property
    def first_name(self) -> str:
        """What they are called in a greeting."""
        return self.name.split()[0] if self.name.split() else ""


class ServiceRecord(msgspec.Struct, frozen=True):
    """A service of the workshop."""

    name: str
    minutes: int
    price_cents: int

    @property
    def price(self) -> str:
        """The price as it is written: "$59", "$59.50" or "free"."""
        if not self.price_cents:
            return "free"
        dollars, cents = divmod(self.price_cents, 100)
        return f"${dollars}.{cents:02d}" if cents else f"${dollars}"


def e164(text: str) -> str | None:
    """A North American number as callers say it, in E.164; numbers with a plus are taken as they are."""
    digits = "".join(c for c in text if c.isascii() and c.isdigit())
    if text.strip().startswith("+"):
        return f"+{digits}" if 8 <= len(digits) <= 15 else None
    if len(digits) == 11 and digits.startswith("1"):
        return f"+{digits}"
    return f"+1{digits}" if len(digits) == 10 else None
