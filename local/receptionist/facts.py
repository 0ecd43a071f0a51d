"""What the system prompt tells: today, the services, the hours, and who is calling.

It is read line by line, and leniently: what is missing or written otherwise is simply not known.
"""

import datetime as dt
import re
from dataclasses import dataclass, field

_TODAY = re.compile(r"Today is \w+,? (\d{4}-\d\d-\d\d)(?:[ ,T]+(\d\d:\d\d))?")
_SERVICE = re.compile(r"\s*([^(),]+?)\s*(?:\(([^)]*)\))?\s*(?:,|$)")
_CAR = re.compile(r"\b((?:19|20)\d\d) ([A-Z][\w-]+) ([A-Z0-9][\w-]*)")


@dataclass(frozen=True)
class Service:
    """A service; `minutes` is 0 and `price` empty where the prompt doesn't tell."""

    name: str
    minutes: int = 0
    price: str = ""


@dataclass(frozen=True)
class Facts:
    """What is known before the caller has said anything. `verified`: the file may be spoken about.

    `shared`: several customers have the caller's number.
    """

    today: dt.date
    services: tuple[Service, ...] = ()
    cars: tuple[str, ...] = ()
    hours: str = ""
    dealership: str = ""
    asks_name: bool = False
    verified: bool = True
    shared: bool = False
    lines: dict[str, str] = field(default_factory=dict)

    def service(self, name: str) -> Service:
        """The service of that name, with details if they are known."""
        return next((s for s in self.services if s.name == name), Service(name))


def read_prompt(prompt: str, now: dt.date) -> Facts:
    """Reads a system prompt. `now` is taken for today where it doesn't name a day."""
    lines: dict[str, str] = {}
    customer: list[str] = []
    for line in prompt.splitlines():
        key, colon, value = line.partition(":")
        if not colon or len(key) > 40:
            continue
        if key.strip() == "Customer":
            customer.append(value.strip())
        else:
            lines[key.strip().lower()] = value.strip().removesuffix(".")
    about = " ".join(customer)
    return Facts(
        today=_today(prompt) or now,
        services=_services(lines.get("services", "")),
        cars=tuple(dict.fromkeys(" ".join(found) for found in _CAR.findall(about))),
        hours=next((lines[key] for key in lines if "hours" in key), ""),
        dealership=lines.get("dealership", ""),
        asks_name="ask for the name" in about.lower(),
        verified="not verified" not in about.lower(),
        shared="share this number" in about.lower(),
        lines=lines,
    )


def _today(prompt: str) -> dt.date | None:
    found = _TODAY.search(prompt)
    try:
        return dt.date.fromisoformat(found[1]) if found else None
    except ValueError:
        return None


def _services(text: str) -> tuple[Service, ...]:
    services = []
    for name, details in _SERVICE.findall(text):
        if name.startswith("not known"):
            continue
        minutes = re.search(r"(\d{1,4}) ?min", details)
        price = [part.strip() for part in details.split(", ") if "min" not in part]
        services.append(Service(name.lower(), int(minutes[1]) if minutes else 0, ", ".join(price)))
    return tuple(services)
