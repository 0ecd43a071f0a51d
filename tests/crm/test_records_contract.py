"""What every implementation of `crm.ports.Records` keeps to: ours on Postgres, and the simulated one beside it."""

import asyncio
import datetime as dt
from collections.abc import AsyncIterator
from typing import Any

import pytest

from crm import demo_data
from crm.ports import Records, RecordsAway, SlotTaken, Work
from crm.postgres import PostgresRecords
from crm.records import NewAppointment, Owner, Proof, Stored
from crm.slots import Place, Taken
from tests.crm.databases import emptied
from tests.crm.simulated import Database, SimulatedRecords

NINE = dt.datetime(2026, 11, 27, 15, 0, tzinfo=dt.UTC)
HALF = dt.timedelta(minutes=30)
PHONE = "+13125550199"
DONE = Stored("hash", {"booked": True, "appointment": {"id": 1, "vehicle": None}})


@pytest.fixture(params=["postgres", "simulated"])
async def records(request: pytest.FixtureRequest, shared_url: str) -> AsyncIterator[Records]:
    if request.param == "simulated":
        yield SimulatedRecords(Database(demo_data.workshop()))
        return
    await emptied(shared_url)
    records = PostgresRecords(shared_url)
    await records.open()
    try:
        yield records
    finally:
        await records.close()


def new(start: dt.datetime = NINE, bay: int = 1, technician: int = 1, **more: Any) -> NewAppointment:
    """An appointment of half an hour."""
    values: dict[str, Any] = {"call": "CA1", "key": f"{start}{bay}{technician}"} | more
    return NewAppointment(1, start, start + HALF, bay, technician, **values)


class Given(Exception):
    """What happened in a unit of work that was given up."""


async def given_up(records: Records, *writes: Any) -> None:
    async def give_up() -> None:
        async with records.work() as work:
            for write in writes:
                await write(work)
            raise Given

    with pytest.raises(Given):
        await give_up()


async def waits(task: "asyncio.Task[Any]", limit_s: float = 0.3) -> bool:
    """Whether it is still under way after a while."""
    await asyncio.wait([task], timeout=limit_s)
    return not task.done()


async def taken_at(records: Records, start: dt.datetime) -> list[Taken]:
    async with records.work() as work:
        return await work.taken(start, start + HALF)


async def test_what_a_unit_of_work_wrote_is_kept_as_a_whole_when_it_ends_well(records: Records) -> None:
    async with records.work() as work:
        await work.take_epoch("CA1", 3)
        made = await work.book(new(name="Bo", phone=PHONE, vehicle="2019 Kia Rio"))
        await work.store("K", "CA1", "book_appointment", DONE)
        assert await taken_at(records, NINE) == [], "nobody else sees it before"
        assert await work.upcoming(Owner("CA1"), NINE - HALF) == [made], "but it sees it itself"
    assert await taken_at(records, NINE) == [Taken(NINE, NINE + HALF, 1, 1)]
    async with records.work() as work:
        assert await work.stored("K") == DONE
        assert await work.take_epoch("CA1", 1) == 3
        assert await work.appointment(made.id, Owner("CA1")) == made
    assert (made.service, made.start, made.name, made.vehicle, made.booked) == (
        "oil change", NINE, "Bo", "2019 Kia Rio", True,
    )  # fmt: skip


async def test_nothing_of_one_that_is_given_up_is_kept(records: Records) -> None:
    await given_up(
        records,
        lambda work: work.take_epoch("CA1", 9),
        lambda work: work.book(new()),
        lambda work: work.store("K", "CA1", "book_appointment", DONE),
        lambda work: work.add_customer("Bo Diaz", PHONE, 2026),
        lambda work: work.proof("CA1"),
        lambda work: work.prove("CA1", Proof(None, 2)),
    )
    async with records.work() as work:
        assert await work.take_epoch("CA1", 1) == 1
        assert await work.taken(NINE, NINE + HALF) == []
        assert await work.stored("K") is None
        assert await work.customers_by_phone(PHONE) == ()
        assert await work.proof("CA1") == Proof()


@pytest.mark.parametrize(
    ("other", "free"),
    [
        (new(NINE, 1, 2), False),  # the bay
        (new(NINE, 2, 1), False),  # the technician
        (new(NINE + HALF / 2, 1, 1), False),  # in its middle
        (new(NINE, 2, 2), True),
        (new(NINE + HALF, 1, 1), True),  # right after it
        (new(NINE - HALF, 1, 1), True),  # right before it
    ],
)
async def test_a_place_is_taken_once(records: Records, other: NewAppointment, free: bool) -> None:
    async with records.work() as work:
        first = await work.book(new(key="first"))
    async with records.work() as work:
        if free:
            await work.book(other)
        else:
            with pytest.raises(SlotTaken):
                await work.book(other)
            # The unit goes on as if it had not been tried.
            await work.store("K", "CA1", "book_appointment", DONE)
    async with records.work() as work:
        assert (await work.stored("K") is None) == free
        await work.cancel(first.id)
    if not free:
        async with records.work() as work:
            assert (await work.book(other)).booked, "what was cancelled is free again"


async def test_a_move_takes_another_place_or_leaves_it_where_it_was(records: Records) -> None:
    async with records.work() as work:
        first = await work.book(new())
        other = await work.book(new(NINE + HALF, 2, 2, call="CA2"))
    async with records.work() as work:
        with pytest.raises(SlotTaken):
            await work.move(first.id, Place(other.start, other.end, 2, 1))
        moved = await work.move(first.id, Place(NINE + HALF / 2, NINE + HALF * 1.5, 1, 1))
        assert (moved.id, moved.start, moved.bay) == (first.id, NINE + HALF / 2, 1)
    async with records.work() as work:
        assert await work.appointment(first.id, Owner("CA1")) == moved
        assert await work.taken(NINE, NINE + HALF * 2, first.id) == [Taken(other.start, other.end, 2, 2)]


async def test_a_cancelled_one_is_still_there_but_takes_no_place(records: Records) -> None:
    async with records.work() as work:
        made = await work.book(new())
    async with records.work() as work:
        assert not (await work.cancel(made.id)).booked
    async with records.work() as work:
        found = await work.appointment(made.id, Owner("CA1"))
        assert found is not None
        assert not found.booked
        assert await work.upcoming(Owner("CA1"), NINE - HALF) == []
        assert await work.taken(NINE, NINE + HALF) == []


async def test_whose_an_appointment_is(records: Records) -> None:
    async with records.work() as work:
        customer = (await work.add_customer("Bo Diaz", PHONE, 2026)).id
        by_customer = await work.book(new(NINE, call="CAx", customer=customer, phone=PHONE))
        by_phone = await work.book(new(NINE + HALF, call="CAx", phone=PHONE))
        by_call = await work.book(new(NINE + HALF * 2, call="CA1"))
    owners = {
        Owner("CA1"): [by_call],
        Owner("CA2", customer=customer): [by_customer],
        Owner("CA2", phone=PHONE): [by_phone],
        Owner("CA1", customer, PHONE): [by_customer, by_phone, by_call],
        Owner("CA2"): [],
    }
    async with records.work() as work:
        for owner, mine in owners.items():
            assert await work.upcoming(owner, NINE - HALF) == mine
            for row in (by_customer, by_phone, by_call):
                assert (await work.appointment(row.id, owner) is not None) == (row in mine)
        assert await work.appointment(999, Owner("CA1")) is None
        assert await work.upcoming(Owner("CA1", customer, PHONE), NINE) == [by_phone, by_call]


async def test_what_who_is_not_vouched_for_has_booked_is_of_their_number_until_they_are(
    records: Records,
) -> None:
    async with records.work() as work:
        made = await work.add_customer("Bo Diaz", PHONE, 2026, vouched=False)
        booked = await work.book(new(call="CAx", customer=made.id, phone=PHONE))
    assert not made.vouched
    for owner in (Owner("CA2", phone=PHONE), Owner("CA2", made.id)):
        async with records.work() as work:
            assert await work.upcoming(owner, NINE - HALF) == [booked]
    async with records.work() as work:
        await work.vouch(made.id)
    async with records.work() as work:
        found = await work.customer(made.id)
        assert found is not None
        assert found.vouched
        assert await work.upcoming(Owner("CA2", phone=PHONE), NINE - HALF) == []
        assert await work.upcoming(Owner("CA2", made.id), NINE - HALF) == [booked]


async def test_at_most_ten_are_told_the_soonest_first(records: Records) -> None:
    async with records.work() as work:
        for n in reversed(range(12)):
            await work.book(new(NINE + n * HALF))
        found = await work.upcoming(Owner("CA1"), NINE - HALF)
    assert [row.start for row in found] == [NINE + n * HALF for n in range(10)]


async def test_a_new_customer_is_found_by_their_number(records: Records) -> None:
    async with records.work() as work:
        made = await work.add_customer("Bo Diaz", PHONE, 2026)
        nameless = await work.add_customer("Withheld", None, 2026)
    async with records.work() as work:
        assert await work.customers_by_phone(PHONE) == (made,)
        assert await work.customer(nameless.id) == nameless
        assert await work.customer(999) is None
        assert await work.opted_out(PHONE) == frozenset()


async def test_the_highest_epoch_counts(records: Records) -> None:
    for epoch, highest in ((2, 2), (5, 5), (3, 5), (5, 5)):
        async with records.work() as work:
            assert await work.take_epoch("CA1", epoch) == highest
            assert await work.take_epoch("CA2", 1) == 1


async def test_a_void_key_has_no_hash_and_a_key_is_kept_once(records: Records) -> None:
    async with records.work() as work:
        await work.store("K", "CA1", "", Stored(None, {"error": "no"}))
        assert await work.stored("K") == Stored(None, {"error": "no"})

    async def twice() -> None:
        async with records.work() as work:
            await work.book(new())
            await work.store("K", "CA1", "book_appointment", DONE)

    with pytest.raises(RecordsAway):
        await twice()
    assert await taken_at(records, NINE) == []
    async with records.work() as work:
        assert await work.stored("K") == Stored(None, {"error": "no"})


async def test_what_a_caller_has_shown_is_kept(records: Records) -> None:
    async with records.work() as work:
        customer = (await work.add_customer("Bo Diaz", PHONE, 2026)).id
        assert await work.proof("CA1") == Proof()
        await work.prove("CA1", Proof(customer, 2, customer))
    async with records.work() as work:
        assert await work.proof("CA1") == Proof(customer, 2, customer)
        assert await work.proof("CA2") == Proof()


LOCKS = {
    "epoch": lambda work: work.take_epoch("CA1", 1),
    "day": lambda work: work.lock_day(NINE.date()),
    "proof": lambda work: work.proof("CA1"),
    "appointment": lambda work: work.appointment(1, Owner("CA1")),
}


@pytest.mark.parametrize("what", LOCKS)
async def test_one_waits_for_the_other(records: Records, what: str) -> None:
    lock = LOCKS[what]
    async with records.work() as work:
        first = await work.book(new())
        assert first.id == 1

    async def second() -> None:
        async with records.work() as work:
            await lock(work)

    async with records.work() as work:
        await lock(work)
        waiting = asyncio.create_task(second())
        assert await waits(waiting)
    async with asyncio.timeout(10):
        await waiting


@pytest.mark.parametrize("kept", [True, False])
async def test_a_place_that_somebody_is_taking_is_waited_for(records: Records, kept: bool) -> None:
    async def second() -> bool:
        async with records.work() as work:
            try:
                await work.book(new(call="CA2", key="second"))
            except SlotTaken:
                return False
            return True

    async def first(work: Work) -> None:
        await work.book(new(key="first"))

    async def meanwhile(_: Work) -> None:
        nonlocal waiting
        waiting = asyncio.create_task(second())
        assert await waits(waiting)

    waiting: asyncio.Task[bool] | None = None
    if kept:
        async with records.work() as work:
            await first(work)
            await meanwhile(work)
    else:
        await given_up(records, first, meanwhile)
    assert waiting is not None
    async with asyncio.timeout(10):
        assert await waiting is not kept
    assert len(await taken_at(records, NINE)) == 1


async def test_two_who_wait_for_each_other_are_told_to_try_again(records: Records) -> None:
    both = asyncio.Barrier(2)

    async def one(mine: int, yours: int) -> bool:
        async with records.work() as work:
            await work.lock_day(dt.date(2026, 12, mine))
            await both.wait()
            try:
                await work.lock_day(dt.date(2026, 12, yours))
            except RecordsAway:
                raise
        return True

    async with asyncio.timeout(20):
        ends = await asyncio.gather(one(1, 2), one(2, 1), return_exceptions=True)
    assert [end for end in ends if end is True] == [True]
    (refused,) = (end for end in ends if isinstance(end, RecordsAway))
    assert refused.again


async def test_they_answer_when_they_are_asked_for_nothing(records: Records) -> None:
    await records.look()
