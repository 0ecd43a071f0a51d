"""Customers from a file. A customer is who has the name and one of the numbers of a row; who has another name and
a number that is known is another person, who shares it."""

import re
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import msgspec
from sqlalchemy import ARRAY, Text, any_, bindparam, cast, select, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncConnection

from crm.importing.csvfile import BadRow, Columns, Row
from crm.importing.report import Kept
from crm.models import Customer, CustomerPhone
from crm.records import e164

NAME_MOST = 120
PHONES_MOST = 20


class CustomerRow(msgspec.Struct, frozen=True):
    """What a row says; what it leaves out is None and changes nothing."""

    row: Row
    name: str
    phones: tuple[str, ...]
    preferred_name: str | None
    since: int | None


@dataclass(eq=False)
class _Person:
    id: int | None
    name: str
    preferred_name: str | None
    since: int
    phones: set[str]
    new_phones: list[str] = field(default_factory=list)
    changed: bool = False
    in_file: bool = False


class Customers:
    """Implements `crm.importing.run.Kind`. `this_year` is `since` of who is new where the file does not tell."""

    columns = Columns(
        {
            "name": ("customer name", "full name", "customer"),
            "phone": ("phones", "phone number", "phone numbers", "telephone", "mobile", "cell", "number"),
            "preferred_name": ("nickname", "called", "preferred"),
            "since": ("customer since", "since year", "first visit"),
        },
        needed=("name", "phone"),
    )

    def __init__(self, this_year: int) -> None:
        self._this_year = this_year

    def read(self, row: Row) -> CustomerRow | BadRow:
        """Checks name, numbers and year."""
        name = one_line(row.values["name"])
        if not any(c.isalpha() for c in name):
            return bad(row, "name", "a customer needs a name: write it in")
        preferred_name = one_line(row.values.get("preferred_name", ""))
        for column, text in (("name", name), ("preferred_name", preferred_name)):
            if len(text) > NAME_MOST:
                return bad(row, column, f"this is longer than {NAME_MOST} characters: shorten it")
        phones = read_phones(row)
        if isinstance(phones, BadRow):
            return phones
        since = row.values.get("since", "")
        years = re.findall(r"(?<!\d)\d{4}(?!\d)", since, re.ASCII)
        if since and not (len(years) == 1 and 1900 <= int(years[0]) <= self._this_year):
            return bad(
                row, "since", f"this is no year from 1900 to {self._this_year}: write one, or leave it empty"
            )
        return CustomerRow(row, name, phones, preferred_name or None, int(years[0]) if years else None)

    def row_of(self, read: CustomerRow) -> Row:
        """Where it comes from."""
        return read.row

    async def store(self, connection: AsyncConnection, rows: Sequence[CustomerRow]) -> list[Kept | BadRow]:
        """Adds who is new, and gives those who are known what is new of them."""
        people = await _people(connection, {phone for row in rows for phone in row.phones})
        at: dict[str, list[_Person]] = defaultdict(list)
        for person in people:
            for phone in person.phones:
                at[phone].append(person)
        verdicts = [self._merge(row, people, at) for row in rows]
        await _write(connection, people)
        return verdicts

    def _merge(self, row: CustomerRow, people: list[_Person], at: dict[str, list[_Person]]) -> Kept | BadRow:
        near = list(dict.fromkeys(person for phone in row.phones for person in at[phone]))
        same = [person for person in near if person.name.casefold() == row.name.casefold()]
        if len(same) > 1:
            ids = " and ".join(str(person.id or "new") for person in same)
            return bad(
                row.row, "phone", f"these are numbers of two customers of this name ({ids}): give each a row"
            )
        if not same:
            since = self._this_year if row.since is None else row.since
            person = _Person(None, row.name, row.preferred_name, since, set())
            people.append(person)
        else:
            person = same[0]
            person.in_file = True
        fresh = [phone for phone in row.phones if phone not in person.phones]
        changed = bool(fresh)
        for phone in fresh:
            at[phone].append(person)
        person.phones.update(fresh)
        person.new_phones.extend(fresh)
        if not same:
            shared = near[0].name if near else ""
            return Kept(
                "added",
                f"{row.name} has a number of {shared}'s too, and was taken for another person"
                if near
                else "",
            )
        for name in ("preferred_name", "since"):
            told = getattr(row, name)
            if told is not None and told != getattr(person, name):
                setattr(person, name, told)
                person.changed = changed = True
        return Kept("changed" if changed else "unchanged")


async def _people(connection: AsyncConnection, phones: Iterable[str]) -> list[_Person]:
    """Who has any of the numbers, each with all of their numbers, oldest first."""
    near = select(CustomerPhone.customer_id).where(CustomerPhone.phone == among(phones))
    statement = (
        select(Customer.id, Customer.name, Customer.preferred_name, Customer.since, CustomerPhone.phone)
        .join(CustomerPhone, CustomerPhone.customer_id == Customer.id)
        .where(Customer.id.in_(near))
        .order_by(Customer.id)
    )
    people: dict[int, _Person] = {}
    for id_, name, preferred_name, since, phone in (await connection.execute(statement)).tuples():
        people.setdefault(id_, _Person(id_, name, preferred_name, since, set())).phones.add(phone)
    return list(people.values())


async def _write(connection: AsyncConnection, people: Iterable[_Person]) -> None:
    changed = [person for person in people if person.changed and person.id is not None]
    if changed:
        row = Customer.__table__.c
        statement = update(Customer.__table__).where(row.id == bindparam("whose"))  # type: ignore[arg-type]
        statement = statement.values(preferred_name=bindparam("called"), since=bindparam("year"))
        values = [{"whose": one.id, "called": one.preferred_name, "year": one.since} for one in changed]
        await connection.execute(statement, values)
    # What the office enters is vouched for, also where a call had made it before.
    told = [one.id for one in people if one.in_file and one.id is not None]
    if told:
        await connection.execute(
            update(Customer).where(Customer.id.in_(told), ~Customer.vouched).values(vouched=True)
        )
    new = [person for person in people if person.id is None]
    if new:
        statement_new = insert(Customer).returning(Customer.id, sort_by_parameter_order=True)
        rows = [{"name": one.name, "preferred_name": one.preferred_name, "since": one.since} for one in new]
        for person, id_ in zip(new, (await connection.scalars(statement_new, rows)).all(), strict=True):
            person.id = id_
    phones = [{"phone": phone, "customer_id": one.id} for one in people for phone in one.new_phones]
    if phones:
        await connection.execute(insert(CustomerPhone).on_conflict_do_nothing(), phones)


def read_phones(row: Row) -> tuple[str, ...] | BadRow:
    """The numbers of a row in E.164, each once; at least one."""
    texts = [text.strip() for text in re.split(r"[;,|/\n]", row.values.get("phone", "")) if text.strip()]
    if not texts:
        return bad(row, "phone", "there is no number: write one, several separated by ;")
    if len(texts) > PHONES_MOST:
        return bad(row, "phone", f"there are more than {PHONES_MOST} numbers: is this one row?")
    phones = []
    for text in texts:
        phone = e164(re.sub(r"^(\+?\d+)\.0$", r"\1", text))
        if phone is None:
            if re.fullmatch(r"[\d.,]+E\+?\d+", text, re.IGNORECASE):
                todo = "Excel has rounded this number: format the column as text and write the number anew"
            else:
                todo = "this is no telephone number: write it with its area code, or as +1 312 555 0142"
            return bad(row, "phone", todo, text)
        phones.append(phone)
    return tuple(dict.fromkeys(phones))


def bad(row: Row, column: str, todo: str, value: str | None = None) -> BadRow:
    """A rejected row, for what stands in a column."""
    return BadRow(
        row.line, (row.values.get(column, "") if value is None else value)[:80], todo, column, row.fields
    )


def one_line(text: str) -> str:
    """Text with single spaces."""
    return " ".join(text.split())


def among(texts: Iterable[str]) -> object:
    """For `==`: any of these, in one parameter."""
    return any_(cast(sorted(texts), ARRAY(Text)))
