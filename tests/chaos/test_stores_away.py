"""Redis and Postgres are away while calls go on: callers are told nothing false, and all is whole afterwards."""

import asyncio
import os
import signal
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from engine.outcomes import End
from launcher.app import RunningApp
from simulators.twilio.twiml import Dial, read
from tests.chaos.stores import (
    AT_LENGTH,
    POSTGRES_AWAY_S,
    REDIS_AWAY_S,
    Clock,
    OwnStores,
    Person,
    Stores,
    log_says,
    note,
    same,
    session_says,
    stores_of,
)
from tests.chaos.trials import Row, Trials
from tests.chaos.victims import where
from tests.whole.bench import FALLBACK, Bench, eventually
from tests.whole.fixtures import own_twilio

pytestmark = [pytest.mark.whole, pytest.mark.asyncio(loop_scope="session")]

PROMPT_S = 1.5  # to the first word of an answer that needs no tool; ten times what was measured
WEBHOOK_S = 5.0  # Twilio waits 15 s


at_length = pytest.mark.skipif(not AT_LENGTH, reason="an app of its own, for `make chaos`")


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def app_of_its_own(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[OwnStores]:
    async with stores_of(tmp_path_factory.mktemp("stores")) as stores:
        yield stores


@pytest_asyncio.fixture(loop_scope="session")
async def own_stores(app_of_its_own: OwnStores) -> AsyncIterator[OwnStores]:
    async with own_twilio(app_of_its_own.bench):
        yield app_of_its_own


@pytest_asyncio.fixture(loop_scope="session")
async def stores(bench: Bench) -> AsyncIterator[Stores]:
    """Those of the app that all whole calls share."""
    assert isinstance(bench.app, RunningApp)
    services = bench.app.stage.services
    stores = Stores(bench, lambda: services.pids)
    yield stores
    stores.redis(signal.SIGCONT)  # a test that failed may have left one stopped
    stores.database(signal.SIGCONT)


async def two_call(bench: Bench) -> tuple[Person, Person]:
    """Two callers at once, who have been greeted."""
    return await asyncio.gather(Person.calls(bench), Person.calls(bench))


async def all_ready(stores: Stores) -> None:
    async def look() -> bool:
        return set((await stores.ready()).values()) == {"ok"}

    await eventually(look, "an app that is ready")


async def same_in_session(stores: Stores, person: Person) -> None:
    """Waits until the session of a running call has all that its caller has heard."""

    async def look() -> bool:
        return same(await session_says(stores.bench, person.talk), person.talk.heard())

    await eventually(look, "the whole session")


async def known_as_live(stores: Stores, person: Person) -> None:
    """Waits until the call has its slot, and is in the list of live calls."""
    sid = person.talk.sid

    async def look() -> bool:
        return sid in await stores.bench.slots() and sid in await stores.bench.live()

    await eventually(look, "the call's slot, and its place in the list")


async def whole(stores: Stores, person: Person, ending: str) -> None:
    """The session and the call log tell of this call what its caller heard, to its end."""
    bench, talk = stores.bench, person.talk
    logged = await bench.logged(talk.sid, ending)
    assert logged["ended_at"] is not None

    async def written() -> bool:
        return (await bench.session(talk.sid)).meta.ending == ending

    await eventually(written, "the end of the session")
    for told in (await session_says(bench, talk), await log_says(bench, talk)):
        assert same(told, talk.heard()), (told, talk.heard())


async def while_redis_is_away(ann: Person) -> list[float]:
    """The call goes on, and nothing is changed; the times to a first word."""
    delays = [await ann.asks("Tell me a story", "once.")]
    await ann.asks("Book 0 now", "Nothing can be changed.")
    if AT_LENGTH:
        await ann.asks("When can I come", "You can come.")  # Postgres is there
        await ann.interrupts()
    return delays


async def says_goodbye_and_is_hung_up_on(cat: Person) -> None:
    """Although nobody can read in the session that the call is over."""
    await cat.says_goodbye()
    assert cat.talk.heard()[-1] == "Goodbye then."
    assert cat.talk.call.journal.all("dial") == []


async def new_callers_are_put_through(stores: Stores) -> None:
    bench, asked = stores.bench, Clock()
    for _ in range(2):
        answer = await bench.post("incoming", bench.ringing(bench.number()))
        verbs = read(answer.content, bench.app.url)
        assert [verb.number for verb in verbs if isinstance(verb, Dial)] == [FALLBACK]
    assert asked.s < WEBHOOK_S


async def tells_what_is_away(stores: Stores, part: str) -> None:
    assert (await stores.ready())[part] == "away"
    assert await stores.alive()


async def test_while_redis_hangs_calls_go_on_and_are_written_whole_afterwards(
    stores: Stores, trials: Trials
) -> None:
    bench = stores.bench
    for row in trials.of(f"Redis hangs for {REDIS_AWAY_S:g} s", "every sentence; changes are refused"):
        ann, bob, cat = await asyncio.gather(*(Person.calls(bench) for _ in range(3)))

        stores.redis(signal.SIGSTOP)
        away = Clock()
        await bob.caller.hang_up()
        delays, *_ = await asyncio.gather(
            while_redis_is_away(ann),
            says_goodbye_and_is_hung_up_on(cat),
            new_callers_are_put_through(stores),
            tells_what_is_away(stores, "redis"),
        )
        delays += await ann.talks(REDIS_AWAY_S - away.s)
        stores.redis(signal.SIGCONT)

        back = Clock()

        await same_in_session(stores, ann)
        row.recovered_s.append(back.s)
        await ann.asks("Book 1 now", "You are booked.")
        await all_ready(stores)
        assert await bench.slots() == [ann.talk.sid]
        await ann.says_goodbye()
        await whole(stores, ann, End.COMPLETED)
        await whole(stores, bob, End.CALLER_HUNG_UP)
        await whole(stores, cat, End.COMPLETED)
        print(f"to the first word, while Redis hung: {delays}")
        assert max(delays) < PROMPT_S
        note(row, ann, delays)


@at_length
async def test_a_redis_that_comes_back_empty_is_given_all_again(
    own_stores: OwnStores, trials: Trials
) -> None:
    stores = own_stores
    bench = stores.bench
    for row in trials.of("Redis comes back empty after 2 s", "every sentence"):
        await all_ready(stores)
        ann = await Person.calls(bench)
        await ann.asks("Tell me a story", "once.")

        stores.redis(signal.SIGKILL)
        away = Clock()
        delays = [await ann.asks("Tell me a story", "once.")]
        await away.until(2.0)
        await stores.redis_again(empty=True)
        back = Clock()

        await known_as_live(stores, ann)
        delays.append(await ann.asks("Tell me a story", "once."))
        row.recovered_s.append(back.s)
        places = await where(bench, [ann.talk])
        os.kill(places[ann.talk.sid].host_pid, signal.SIGKILL)
        await where(bench, [ann.talk], min_epoch=2)
        await ann.asks("Tell me a story", "once.")
        asked = [
            one["content"] for one in ann.talk.exchanges()[-1].request["messages"] if one["role"] == "user"
        ]
        assert asked == ["Tell me a story"] * 4, "its successor does not know all"
        await ann.says_goodbye()
        await whole(stores, ann, End.COMPLETED)
        assert max(delays) < PROMPT_S
        note(row, ann, delays)


async def test_while_postgres_hangs_calls_go_on_and_are_logged_whole_afterwards(
    stores: Stores, trials: Trials
) -> None:
    expected = "every sentence; no tool promises anything"
    for row in trials.of(f"Postgres hangs for {POSTGRES_AWAY_S:g} s", expected):
        ann, bob = await two_call(stores.bench)
        stores.database(signal.SIGSTOP)
        away = Clock()
        delays, cid = await while_postgres_is_away(stores, ann, bob)
        delays += await ann.talks(POSTGRES_AWAY_S - away.s)
        stores.database(signal.SIGCONT)
        await all_logged(stores, row, delays, ann, bob, cid)


@at_length
async def test_while_postgres_is_restarted_calls_go_on_and_are_logged_whole_afterwards(
    own_stores: OwnStores, trials: Trials
) -> None:
    for row in trials.of("Postgres killed, for 20 s", "every sentence; no tool promises anything"):
        await all_ready(own_stores)
        ann, bob = await two_call(own_stores.bench)
        own_stores.database(signal.SIGKILL)
        away = Clock()
        delays, cid = await while_postgres_is_away(own_stores, ann, bob)
        delays += await ann.talks(20.0 - away.s)
        await own_stores.database_again()
        await all_logged(own_stores, row, delays, ann, bob, cid)


async def while_postgres_is_away(stores: Stores, ann: Person, bob: Person) -> tuple[list[float], Person]:
    """Calls go on, end and begin, and nothing false is promised; the times to a first word, and who called."""
    await bob.caller.hang_up()

    async def ann_goes_on() -> list[float]:
        delays = [await ann.asks("Tell me a story", "once.")]
        await ann.asks("When can I come", "I can't look it up.")
        await ann.asks("Book 2 now", "I can't book it.")
        if AT_LENGTH:
            await ann.interrupts()
        return delays

    async def cid_calls() -> tuple[Person, float]:
        cid = await Person.calls(stores.bench)  # greeted as somebody unknown
        delay_s = await cid.asks("Tell me a story", "once.")
        await cid.says_goodbye()
        return cid, delay_s

    delays, (cid, delay_s), _ = await asyncio.gather(
        ann_goes_on(), cid_calls(), tells_what_is_away(stores, "postgres")
    )
    return [*delays, delay_s], cid


async def all_logged(
    stores: Stores, row: Row, delays: list[float], ann: Person, bob: Person, cid: Person
) -> None:
    """Postgres is back: what was said meanwhile is written, and a booking is made once."""
    back = Clock()
    while "You are booked." not in ann.talk.heard():  # until a look has found that it is back
        await ann.asks("Book 3 now", ".")
    await ann.says_goodbye()
    for person, ending in (
        (ann, End.COMPLETED),
        (bob, End.CALLER_HUNG_UP),
        (cid, End.COMPLETED),
    ):
        await whole(stores, person, ending)
    row.recovered_s.append(back.s)
    booked = await stores.bench.rows("SELECT call FROM appointment WHERE call = $1", ann.talk.sid)
    assert len(booked) == 1
    print(f"to the first word, while Postgres was away: {delays}")
    assert max(delays) < PROMPT_S
    note(row, ann, delays)
