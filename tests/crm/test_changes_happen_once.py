"""Keys, epochs and races, with real connections against one Postgres."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any
from urllib.parse import urlsplit

import asyncpg
import msgspec
import pytest

from crm.once import EARLIER, OTHER, REFUSED, VOID, arguments_hash
from crm.tools import DealershipTools, Limits
from engine.messages import ToolResult
from tests.crm.databases import emptied

Ask = Callable[..., Awaitable[tuple[ToolResult, dict[str, Any]]]]

BOOKING = {"service": "oil change", "date": "2026-11-27", "time": "09:00"}
SPAN = "'2026-11-27 09:00 America/Chicago', '2026-11-27 09:30 America/Chicago'"
IN_THE_WAY = (
    f"INSERT INTO appointment (call, service_type_id, starts_at, ends_at, bay_id) VALUES ('x', 1, {SPAN}, $1)"
)


@pytest.fixture
async def seeded_url(shared_url: str) -> str:
    """One for all of these tests."""
    await emptied(shared_url)
    return shared_url


@pytest.fixture
async def replicas(make_tools: Callable[..., DealershipTools], ask_of: Any) -> AsyncIterator[list[Ask]]:
    """Four toolboxes with pools of their own, as in four processes. Nobody is sent away for the machine's slowness."""
    async with AsyncExitStack() as stack:
        boxes = [make_tools(postgres_s=30.0, limits=Limits(run=60.0)) for _ in range(4)]
        for box in boxes:
            await box.open()
            stack.push_async_callback(box.close)
        yield [ask_of(box) for box in boxes]


@pytest.fixture
def settle(tools: DealershipTools, ask_of: Any) -> Ask:
    """As `ask`, at the other door."""

    class Settling:
        run = tools.settle

    found: Ask = ask_of(Settling())
    return found


async def test_a_change_sent_again_answers_the_same_and_happens_once(
    ask: Ask, rows: asyncpg.Connection
) -> None:
    first, answer = await ask("book_appointment", key="K", **BOOKING)
    again, same = await ask("book_appointment", key="K", epoch=2, **BOOKING)
    assert (first.replayed, again.replayed) == (False, True)
    assert same == answer
    assert again.ok
    assert await rows.fetchval("SELECT count(*) FROM appointment") == 1


async def test_a_refusal_sent_again_is_refused_again(ask: Ask) -> None:
    sunday = BOOKING | {"date": "2026-11-29"}
    _, answer = await ask("book_appointment", key="K", **sunday)
    again, same = await ask("book_appointment", key="K", **sunday)
    assert again.replayed
    assert not again.ok
    assert same == answer


async def test_one_key_on_all_replicas_at_once_is_one_booking(
    replicas: list[Ask], rows: asyncpg.Connection
) -> None:
    runs = await asyncio.gather(*(replicas[n % 4]("book_appointment", key="K", **BOOKING) for n in range(12)))
    assert all(result.ok for result, _ in runs)
    assert len({result.result for result, _ in runs}) == 1
    assert Counter(result.replayed for result, _ in runs) == {False: 1, True: 11}
    assert await rows.fetchval("SELECT count(*) FROM appointment") == 1


async def test_many_callers_at_one_slot_get_its_two_bays_and_the_rest_get_alternatives(
    replicas: list[Ask], rows: asyncpg.Connection
) -> None:
    runs = await asyncio.gather(
        *(
            replicas[n % 4](
                "book_appointment", call=f"CA{n}", caller=f"+131255501{n:02d}", name="Bo", **BOOKING
            )
            for n in range(12)
        )
    )
    won = [answer for _, answer in runs if answer["booked"]]
    lost = [answer for _, answer in runs if not answer["booked"]]
    assert (len(won), len(lost)) == (2, 10)
    assert all(answer["alternatives"] == ["08:00", "08:30", "09:30"] for answer in lost)
    bays = await rows.fetch("SELECT bay_id FROM appointment ORDER BY bay_id")
    assert [row["bay_id"] for row in bays] == [1, 2]


async def test_moves_and_bookings_crossing_each_other_never_deadlock(
    replicas: list[Ask], rows: asyncpg.Connection
) -> None:
    days = ["2026-11-27", "2026-11-30"]
    numbers = []
    for n in range(4):
        _, made = await replicas[0](
            "book_appointment", service="oil change", date=days[n % 2], time=f"1{n}:00"
        )
        numbers.append(made["appointment"]["id"])
    moves = [
        replicas[n % 4](
            "reschedule_appointment",
            call=f"CA{n}",
            appointment_id=numbers[n % 4],
            date=days[(n // 4) % 2],
            time="15:00",
        )
        for n in range(16)
    ]
    runs = await asyncio.gather(*moves)
    assert all("rescheduled" in answer for _, answer in runs)
    worst = "SELECT count(*) FROM appointment WHERE starts_at::time = '21:00' GROUP BY starts_at, bay_id"
    assert {row["count"] for row in await rows.fetch(worst)} == {1}


async def test_a_bay_taken_behind_our_back_while_we_book_gives_alternatives(
    ask: Ask, rows: asyncpg.Connection, seeded_url: str
) -> None:
    await rows.execute(IN_THE_WAY, 1)
    other = rows.transaction()
    await other.start()
    await rows.execute(IN_THE_WAY, 2)  # not committed: our look does not see it, our insert waits for it
    booking = asyncio.create_task(ask("book_appointment", **BOOKING))  # type: ignore[arg-type]
    try:
        await _somebody_waits(seeded_url)
        await other.commit()
        result, answer = await booking
    finally:
        booking.cancel()
    assert not result.ok
    assert answer["booked"] is False
    assert answer["error"] == "nine was taken a moment ago."
    assert answer["alternatives"] == ["08:00", "08:30", "09:30"]
    assert (await ask("book_appointment", **BOOKING | {"time": "09:30"}))[0].ok


async def test_the_database_itself_refuses_one_bay_twice(rows: asyncpg.Connection) -> None:
    await rows.execute(IN_THE_WAY, 1)
    with pytest.raises(asyncpg.ExclusionViolationError):
        await rows.execute(IN_THE_WAY, 1)


async def test_an_older_epoch_is_refused_and_changes_nothing(ask: Ask, rows: asyncpg.Connection) -> None:
    assert (await ask("book_appointment", epoch=5, **BOOKING))[0].ok
    for tool, arguments in (
        ("book_appointment", BOOKING),
        ("cancel_appointment", {"appointment_id": 1}),
        ("reschedule_appointment", {"appointment_id": 1, "date": "2026-11-30", "time": "09:00"}),
    ):
        result, answer = await ask(tool, epoch=4, **arguments)
        assert not result.ok
        assert answer == {"error": "refused: a newer epoch has the call"}
    assert await rows.fetchval("SELECT count(*) FROM appointment WHERE status = 'booked'") == 1
    assert await rows.fetchval("SELECT count(*) FROM tool_result") == 1
    assert await rows.fetchval("SELECT epoch FROM call_epoch WHERE call = 'CA1'") == 5


async def test_epochs_of_different_calls_do_not_meet_and_reading_needs_none(ask: Ask) -> None:
    assert (await ask("book_appointment", call="CA1", epoch=5, **BOOKING))[0].ok
    assert (await ask("book_appointment", call="CA2", epoch=1, **BOOKING))[0].ok
    assert (await ask("get_upcoming_appointments", call="CA1", epoch=1))[0].ok


async def test_a_change_survives_the_loss_of_every_connection(ask: Ask, rows: asyncpg.Connection) -> None:
    assert (await ask("get_upcoming_appointments"))[0].ok
    cut = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'trunkline-crm'"
    assert len(await rows.fetch(cut)) >= 1
    result, answer = await ask("book_appointment", **BOOKING)
    assert result.ok, answer
    assert await rows.fetchval("SELECT count(*) FROM appointment") == 1


class Cut:
    """Stands before Postgres. Armed, it cuts the first connection that sends COMMIT: before Postgres has it, or after.
    Then nobody gets through until `back`."""

    def __init__(self, url: str, *, reaches_it: bool) -> None:
        self._host, self._port = urlsplit(url).hostname, urlsplit(url).port
        self._reaches_it = reaches_it
        self.armed = False
        self.away = False
        self.cuts = 0

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self.away:
            writer.transport.abort()
            return
        up_reader, up_writer = await asyncio.open_connection(self._host, self._port)
        try:
            async with asyncio.TaskGroup() as both:
                down = both.create_task(self._pass(up_reader, writer))
                while data := await reader.read(65536):
                    if self.armed and b"COMMIT" in data:
                        self.armed, self.away = False, True
                        self.cuts += 1
                        down.cancel()
                        await asyncio.wait([down])
                        if self._reaches_it:
                            up_writer.write(data)
                            await up_reader.read(1)  # its answer: it is done
                        break
                    up_writer.write(data)
                down.cancel()
        finally:
            writer.transport.abort()
            up_writer.transport.abort()

    async def _pass(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(65536):
            writer.write(data)


@asynccontextmanager
async def cut_at_commit(
    url: str, make_tools: Callable[..., DealershipTools], ask_of: Any, *, reaches_it: bool, run_s: float = 7.0
) -> AsyncIterator[tuple[Cut, Ask]]:
    cut = Cut(url, reaches_it=reaches_it)
    server = await asyncio.start_server(cut.serve, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    toolbox = make_tools(
        database_url=url.replace(f":{urlsplit(url).port}/", f":{port}/"), limits=Limits(run=run_s)
    )
    await toolbox.open()
    try:
        cut.armed = True
        yield cut, ask_of(toolbox)
    finally:
        await toolbox.close()
        server.close()


@pytest.mark.parametrize("reaches_it", [True, False])
@pytest.mark.parametrize("away_s", [0.0, 1.0])
async def test_a_booking_whose_commit_was_lost_is_read_back_or_made_when_postgres_is_back(
    seeded_url: str,
    make_tools: Callable[..., DealershipTools],
    ask_of: Any,
    rows: asyncpg.Connection,
    reaches_it: bool,
    away_s: float,
) -> None:
    async with cut_at_commit(seeded_url, make_tools, ask_of, reaches_it=reaches_it) as (cut, ask):
        asking = asyncio.create_task(ask("book_appointment", key="K", **BOOKING))
        async with asyncio.timeout(30):
            while not cut.away:  # noqa: ASYNC110 - the cut has nobody to tell
                await asyncio.sleep(0.01)
            await asyncio.sleep(away_s)
            cut.away = False
            result, answer = await asking
        assert (cut.cuts, result.replayed) == (1, reaches_it)
        assert answer["booked"], answer
        assert await rows.fetchval("SELECT count(*) FROM appointment") == 1


@pytest.mark.parametrize("reaches_it", [True, False])
async def test_a_booking_whose_commit_was_lost_is_told_as_unknown_while_postgres_stays_away(
    seeded_url: str,
    make_tools: Callable[..., DealershipTools],
    ask_of: Any,
    rows: asyncpg.Connection,
    reaches_it: bool,
) -> None:
    async with cut_at_commit(seeded_url, make_tools, ask_of, reaches_it=reaches_it, run_s=3.0) as (cut, ask):
        result, answer = await ask("book_appointment", key="K", **BOOKING)
        assert (result.ok, result.unknown) == (False, True)
        assert "not known whether" in answer["error"]
        result, refused = await ask("book_appointment", **BOOKING)
        assert "can't be reached" in refused["error"], "nothing was sent: that is no secret"
        assert result.unknown, "but another process may have done it"
        cut.away = False
        async with asyncio.timeout(30):  # until a look has found that it is back
            while not (again := (await ask("book_appointment", key="K", epoch=2, **BOOKING))[0]).ok:  # noqa: ASYNC110
                await asyncio.sleep(0.05)
        assert again.replayed == reaches_it
        assert await rows.fetchval("SELECT count(*) FROM appointment") == 1


async def test_a_row_that_stays_locked_is_an_answer_not_a_hanging_call(
    ask: Ask, rows: asyncpg.Connection
) -> None:
    assert (await ask("book_appointment", **BOOKING))[0].ok
    async with rows.transaction():
        await rows.execute("SELECT * FROM call_epoch FOR UPDATE")
        async with asyncio.timeout(30):
            result, answer = await ask("book_appointment", **BOOKING)
    assert not result.ok
    assert "can't be reached" in answer["error"]
    assert await rows.fetchval("SELECT count(*) FROM appointment") == 1


async def _somebody_waits(url: str) -> None:
    """Returns when a backend of ours waits for a lock."""
    waiting = "SELECT count(*) FROM pg_locks WHERE NOT granted"
    watcher = await asyncpg.connect(url, timeout=30)
    try:
        async with asyncio.timeout(30):
            while await watcher.fetchval(waiting) == 0:
                await watcher.execute("SELECT pg_sleep(0.01)")
    finally:
        await watcher.close(timeout=10)


# ---------------------------------------------------------------- keys

CANCEL_1 = {"appointment_id": 1}


@pytest.mark.parametrize(
    ("tool", "arguments"),
    [
        ("book_appointment", BOOKING | {"time": "09:30"}),
        ("book_appointment", BOOKING | {"name": "Bo"}),
        ("cancel_appointment", CANCEL_1),
    ],
)
@pytest.mark.parametrize("door", ["run", "settle"])
async def test_one_key_with_other_arguments_is_an_error_and_changes_nothing(
    ask: Ask, settle: Ask, rows: asyncpg.Connection, tool: str, arguments: dict[str, Any], door: str
) -> None:
    assert (await ask("book_appointment", key="K", **BOOKING))[0].ok
    before = await rows.fetch("SELECT * FROM appointment")
    result, answer = await (ask if door == "run" else settle)(tool, key="K", **arguments)
    assert (result.ok, result.unknown, answer) == (False, False, {"error": OTHER})
    assert await rows.fetch("SELECT * FROM appointment") == before
    again, _ = await ask("book_appointment", key="K", **BOOKING)
    assert (again.ok, again.replayed) == (True, True)


async def test_a_key_that_was_given_up_is_void_for_who_comes_late(
    ask: Ask, settle: Ask, rows: asyncpg.Connection
) -> None:
    given_up, why = await settle("book_appointment", key="K", **BOOKING)
    late, same = await ask("book_appointment", key="K", **BOOKING)
    other, different = await ask("book_appointment", key="K", **BOOKING | {"time": "10:00"})
    for result, answer in ((given_up, why), (late, same), (other, different)):
        assert (result.ok, result.unknown, answer) == (False, False, {"error": VOID})
    assert (await settle("book_appointment", key="K", **BOOKING))[1] == why
    assert await rows.fetchval("SELECT count(*) FROM appointment") == 0


async def test_what_was_done_is_found_by_who_settles_it(ask: Ask, settle: Ask) -> None:
    _, booked = await ask("book_appointment", key="K", **BOOKING)
    found, same = await settle("book_appointment", key="K", **BOOKING)
    assert (found.ok, found.replayed, same) == (True, True, booked)


async def test_who_is_superseded_voids_nothing(ask: Ask, settle: Ask) -> None:
    assert (await ask("cancel_appointment", epoch=5, **CANCEL_1))[1]["cancelled"] is False
    assert (await settle("book_appointment", key="K", epoch=4, **BOOKING))[1] == {"error": REFUSED}
    assert (await ask("book_appointment", key="K", epoch=5, **BOOKING))[0].ok


@pytest.mark.parametrize("door", ["run", "settle"])
async def test_what_became_of_earlier_changes_is_told_before_another_is_made(
    ask: Ask, settle: Ask, rows: asyncpg.Connection, door: str
) -> None:
    _, booked = await ask("book_appointment", key="A", **BOOKING)
    later = BOOKING | {"time": "10:00"}
    result, answer = await (ask if door == "run" else settle)(
        "book_appointment", key="B", unsettled=("A", "Z"), **later
    )
    assert (result.ok, result.settled) == (False, ("A", "Z"))
    assert answer == {"error": EARLIER, "earlier": [booked]}
    assert (await ask("book_appointment", key="Z", **later))[1] == {"error": VOID}, "it was settled too"
    assert await rows.fetchval("SELECT count(*) FROM appointment") == 1
    assert (await ask("book_appointment", key="C", **later))[0].ok


async def test_a_replayed_answer_has_settled_nothing(ask: Ask) -> None:
    assert (await ask("book_appointment", key="A", **BOOKING))[0].ok
    again, _ = await ask("book_appointment", key="A", unsettled=("Z",), **BOOKING)
    assert (again.replayed, again.settled) == (True, ())


async def test_the_result_is_kept_with_the_change_or_neither_is(ask: Ask, rows: asyncpg.Connection) -> None:
    await rows.execute("ALTER TABLE tool_result ADD CONSTRAINT never CHECK (tool <> 'book_appointment')")
    try:
        result, _ = await ask("book_appointment", key="K", **BOOKING)
        assert (result.ok, result.unknown) == (False, True)
        assert await rows.fetchval("SELECT count(*) FROM appointment") == 0
    finally:
        await rows.execute("ALTER TABLE tool_result DROP CONSTRAINT never")
    assert (await ask("book_appointment", key="K", **BOOKING))[0].ok
    (kept,) = await rows.fetch("SELECT arguments_hash, tool FROM tool_result WHERE key = 'K'")
    assert len(kept["arguments_hash"]) == 64
    (row,) = await rows.fetch("SELECT key FROM appointment")
    assert row["key"] == "K"


# A version that is deployed while a booking is under way.


def test_what_a_key_is_bound_to_is_the_same_in_every_version() -> None:
    assert arguments_hash("book_appointment", '{"service":"oil change"}') == (
        "e431203ed0269316cc1ff097fe0d58cae46b7fb1c66bfa40103e1d79ced5ed2f"
    )


async def test_a_new_version_answers_what_the_old_one_did_although_it_takes_other_arguments(
    ask: Ask, rows: asyncpg.Connection
) -> None:
    old = BOOKING | {"loaner": True}  # which this version does not have
    text = msgspec.json.encode(old).decode()
    await rows.execute(
        "INSERT INTO tool_result (key, call, tool, arguments_hash, result) VALUES ('K', 'CA1', $1, $2, $3)",
        "book_appointment",
        arguments_hash("book_appointment", text),
        '{"booked": true, "appointment": {"id": 7, "loaner": true}}',
    )
    result, answer = await ask("book_appointment", key="K", **old)
    assert (result.ok, result.replayed, answer["appointment"]) == (True, True, {"id": 7, "loaner": True})
    fresh, why = await ask("book_appointment", key="L", **old)
    assert (fresh.ok, fresh.unknown) == (False, False)
    assert "loaner" in why["error"]


async def test_a_process_that_can_not_reach_the_records_does_not_say_that_nothing_was_done(
    ask: Ask, make_tools: Callable[..., DealershipTools], ask_of: Any, seeded_url: str
) -> None:
    cut = Cut(seeded_url, reaches_it=True)
    server = await asyncio.start_server(cut.serve, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    toolbox = make_tools(database_url=seeded_url.replace(f":{urlsplit(seeded_url).port}/", f":{port}/"))
    await toolbox.open()
    try:
        cut.armed = True  # its first commit, which is what brings it to know that nobody is there
        hurried = Limits(run=0.5)
        toolbox._limits = hurried
        await ask_of(toolbox)("book_appointment", key="other", call="CA2", **BOOKING | {"time": "10:00"})
        assert (await ask("book_appointment", key="K", **BOOKING))[
            0
        ].ok  # by another process, its reply was lost
        result, answer = await ask_of(toolbox)("book_appointment", key="K", **BOOKING)
        assert (result.ok, result.unknown) == (False, True), answer
        reading, _ = await ask_of(toolbox)("get_upcoming_appointments")
        assert (reading.ok, reading.unknown) == (False, False)
    finally:
        await toolbox.close()
        server.close()
