"""Sessions in a real Redis: epochs, fences, tokens, times to live, and what happens when it is slow."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from urllib.parse import urlsplit

import msgspec
import pytest
import redis.asyncio as redis_async

from engine.history import Called, Cause, ReplyDone, Returned, Said, TurnBegan
from engine.messages import CallerContext, CallInfo, Playback, ToolCall, Usage
from engine.record import CallRecord, Fenced
from engine.redis_client import SessionAway
from engine.session import (
    LEASE_S,
    Meta,
    NoSlot,
    Order,
    SessionStore,
    SessionUnreadable,
    Whereabouts,
    Written,
    item_field,
)
from tests.refusing import no_writes

CALL = "CA0123"
INFO = CallInfo(CALL, "+13125550142", "+13125550100", True, 1_700_000_000.0)
CONTEXT = CallerContext("Hello.", "Be brief.", {"name": "Ann"})
TTL_S = 600


@asynccontextmanager
async def store_at(
    url: str, write_ms: int = 2000, lease_s: float = LEASE_S, read_s: float = 2.0
) -> AsyncIterator[SessionStore]:
    store = SessionStore(url, TTL_S, write_ms, token_ttl_s=60, lease_s=lease_s, read_s=read_s, look_s=0.05)
    try:
        yield store
    finally:
        await store.close()


@pytest.fixture
async def store(redis_url: str) -> AsyncIterator[SessionStore]:
    async with store_at(redis_url) as store:
        yield store


@pytest.fixture
async def raw(redis_url: str) -> AsyncIterator[redis_async.Redis]:
    async with redis_async.Redis.from_url(redis_url) as client:
        yield client


# ---------------------------------------------------------------- epochs and fences


async def test_epochs_grow_by_one_and_never_below_the_last_one_seen(store: SessionStore) -> None:
    assert (await store.take(CALL, 0)).epoch == 1
    assert (await store.take(CALL, 0)).epoch == 2
    assert (await store.take(CALL, 7)).epoch == 8
    assert (await store.take(CALL, 3)).epoch == 9


async def test_takers_at_the_same_time_get_epochs_of_their_own(store: SessionStore) -> None:
    taken = await asyncio.gather(*(store.take(CALL, 0) for _ in range(20)))
    assert sorted(stored.epoch for stored in taken) == list(range(1, 21))


async def test_who_was_overtaken_can_write_nothing(store: SessionStore) -> None:
    old = (await store.take(CALL, 0)).epoch
    assert await store.write(CALL, Order(old, 2, 1), {"next": b"hangup"}) is Written.OK
    new = (await store.take(CALL, 0)).epoch
    assert (
        await store.write(CALL, Order(old, 3, 2), {"next": b"transfer", "item:000001": b"x"})
        is Written.FENCED
    )
    stored = await store.read(CALL)
    assert stored is not None
    assert (stored.next, stored.items, stored.epoch) == ("hangup", {}, new)
    assert await store.write(CALL, Order(new, 4, 3), {"next": b"transfer"}) is Written.OK


async def test_a_write_brings_its_epoch_where_the_session_was_lost(
    store: SessionStore, raw: redis_async.Redis
) -> None:
    await store.take(CALL, 4)
    await raw.flushdb()
    assert await store.write(CALL, Order(5, 2, 0), {"next": b""}) is Written.OK
    assert (await store.take(CALL, 0)).epoch == 6


# ---------------------------------------------------------------- the way there and back


async def test_a_session_is_read_as_it_was_written(store: SessionStore) -> None:
    await store.ring(INFO, 10)
    await store.keep_context(CALL, CONTEXT)
    items = [
        TurnBegan(1, Cause.SPEECH, "An oil change.", 1.5, 3),
        Said(1, 0, "For when?", 2, Playback.DROPPED, 120.0, 800.0, 7.25),
        Called(1, 2, (ToolCall("call_2_0", "find_slots", '{"day": "mon"}'),)),
        Returned(1, "call_2_0", '["9:00"]', True),
        ReplyDone(1, 2, Usage(10, 4, 6)),
    ]
    meta = Meta(stream="MZ1", turn=1, request=2, took=3, noted=9, prompt_tokens=10, interruptions=1)
    epoch = (await store.take(CALL, 0)).epoch
    fields = {item_field(n): msgspec.json.encode(item) for n, item in enumerate(items, 1)}
    fields |= {"meta": msgspec.json.encode(meta), "next": b"hangup"}
    assert await store.write(CALL, Order(epoch, 2, 1), fields) is Written.OK
    stored = await store.take(CALL, epoch)
    assert (stored.info, stored.context, stored.meta, stored.next) == (INFO, CONTEXT, meta, "hangup")
    assert list(stored.items.values()) == items
    assert list(stored.items) == [1, 2, 3, 4, 5]
    assert stored.epoch == epoch + 1


async def test_a_call_that_nobody_knows_has_no_session(store: SessionStore) -> None:
    assert await store.read("CA9") is None


async def test_a_record_is_resumed_with_what_it_had_saved_and_its_predecessor_is_fenced(
    store: SessionStore,
) -> None:
    first = CallRecord(store, CALL, await store.take(CALL, 0))
    first.add(TurnBegan(1, Cause.GREETING, "", 1.0))
    first.add(Said(1, 0, "Hello."))
    first.meta.turn = 1
    await first.save()
    second = CallRecord(store, CALL, await store.take(CALL, first.epoch))
    assert (second.items, second.meta) == (first.items, first.meta)
    assert second.next_index(1) == 1
    sentence = second.sentence(1, 0)
    assert sentence is not None
    sentence.state, sentence.played_ms = Playback.PLAYED, 500.0
    second.changed(sentence)
    await second.save()
    first.add(Said(1, 1, "Lost."))
    with pytest.raises(Fenced):
        await first.save()
    third = CallRecord(store, CALL, await store.take(CALL, 0))
    assert third.items == second.items
    assert third.unsettled() == []


async def test_many_items_stay_in_order(store: SessionStore) -> None:
    record = CallRecord(store, CALL, await store.take(CALL, 0))
    for turn in range(1, 1201):
        record.add(TurnBegan(turn, Cause.SPEECH, f"{turn}", 0.0))
    await record.save()
    again = CallRecord(store, CALL, await store.take(CALL, 0))
    assert [item.turn for item in again.items] == list(range(1, 1201))


async def test_breaks_are_counted_and_giving_up_is_told(store: SessionStore) -> None:
    await store.ring(INFO, 10)
    assert await store.broke(CALL, 12.5, 0) == 1
    assert await store.broke(CALL, 13.5, 1) == 2
    assert await store.broke(CALL, 14.5, 1) == 2  # told again
    await store.gave_up(CALL, True)
    stored = await store.read(CALL)
    assert stored is not None
    assert (stored.broken_at, stored.next) == (13.5, "fallback")


# ---------------------------------------------------------------- tokens


async def test_a_token_opens_one_stream(store: SessionStore) -> None:
    token = await store.ring(INFO, 10)
    assert await store.redeem(token) == CALL
    assert await store.redeem(token) is None
    assert await store.redeem("made-up") is None


async def test_of_many_who_redeem_a_token_at_once_one_gets_in(store: SessionStore) -> None:
    token = await store.new_token(CALL)
    got = await asyncio.gather(*(store.redeem(token) for _ in range(10)))
    assert sorted(got, key=str) == [CALL] + [None] * 9


async def test_a_newer_token_of_a_call_makes_the_older_one_void(store: SessionStore) -> None:
    first, others = await store.ring(INFO, 10), await store.new_token("CA2")
    second = await store.ring(INFO, 10)
    assert await store.redeem(first) is None
    assert await store.redeem(second) == CALL
    assert await store.redeem(others) == "CA2"


async def test_of_many_tokens_made_at_once_for_a_call_one_is_valid(store: SessionStore) -> None:
    tokens = await asyncio.gather(*(store.new_token(CALL) for _ in range(10)))
    assert sorted([await store.redeem(token) for token in tokens], key=str) == [CALL] + [None] * 9


async def test_tokens_are_long_and_differ(store: SessionStore) -> None:
    tokens = {await store.new_token(CALL) for _ in range(50)}
    assert len(tokens) == 50
    assert min(map(len, tokens)) >= 32


# ---------------------------------------------------------------- times to live


async def test_every_key_has_an_end(store: SessionStore, raw: redis_async.Redis) -> None:
    await store.ring(INFO, 10)
    await store.keep_context(CALL, CONTEXT)
    await store.live(where(CALL, "MZ1"))
    for call in ("CA2", "CA3", "CA4", "CA5"):
        if call == "CA2":
            await store.take(call, 0)
        elif call == "CA3":
            await store.write(call, Order(1, 1, 0), {"next": b""})
        elif call == "CA4":
            await store.broke(call, 1.0, 0)
            await store.gave_up(call, True)
        else:
            await store.keep_context(call, CONTEXT)
    ttls = {key.decode(): await raw.ttl(key) for key in await raw.keys("*")}
    assert {key for key in ttls if not key.startswith("token:")} == {
        f"call:{CALL}", "call:CA2", "call:CA3", "call:CA4", "call:CA5", "calls:slots",
    }  # fmt: skip
    assert {key: ttl for key, ttl in ttls.items() if not 0 < ttl <= TTL_S} == {}
    assert all(ttl <= 60 for key, ttl in ttls.items() if key.startswith("token:"))


async def test_a_write_gives_the_session_its_whole_time_again(
    store: SessionStore, raw: redis_async.Redis
) -> None:
    epoch = (await store.take(CALL, 0)).epoch
    await raw.expire(f"call:{CALL}", 5)
    await store.write(CALL, Order(epoch, 2, 1), {"next": b""})
    assert await raw.ttl(f"call:{CALL}") > 500


# ---------------------------------------------------------------- slots


def where(call: str, stream: str, state: str = "starting", epoch: int = 0) -> Whereabouts:
    return Whereabouts(call, stream, state, epoch, 7)


def info(call: str) -> CallInfo:
    return CallInfo(call, "+13125550142", "+13125550100", True, 1.0)


async def refused(store: SessionStore, call: str, capacity: int) -> str:
    """Why this call gets no slot, or ""."""
    try:
        await store.ring(info(call), capacity)
    except NoSlot as error:
        return str(error)
    return ""


async def test_of_many_who_ring_at_once_as_many_as_there_are_slots_get_one(store: SessionStore) -> None:
    answers = await asyncio.gather(*(refused(store, f"CA{n}", 7) for n in range(40)))
    assert sorted(answers) == [""] * 7 + ["full"] * 33
    assert len(await store.slots()) == 7


async def test_a_refused_call_leaves_nothing_behind(store: SessionStore, raw: redis_async.Redis) -> None:
    await store.ring(INFO, 1)
    keys = set(await raw.keys("*"))
    assert await refused(store, "CA2", 1) == "full"
    assert set(await raw.keys("*")) == keys


async def test_a_webhook_that_is_sent_again_finds_its_calls_slot(store: SessionStore) -> None:
    assert [await refused(store, call, 1) for call in (CALL, CALL, "CA2")] == ["", "", "full"]


async def test_a_slot_is_free_when_its_call_is_over(store: SessionStore) -> None:
    await store.ring(INFO, 1)
    await store.live(where(CALL, "MZ1"))
    assert await refused(store, "CA2", 1) == "full"
    await store.over(CALL, "MZ1")
    assert await refused(store, "CA2", 1) == ""


async def test_a_slot_waits_for_its_stream_as_long_as_the_token_does(
    store: SessionStore, raw: redis_async.Redis
) -> None:
    await store.ring(INFO, 1)
    assert 55 < await raw.zscore("calls:slots", CALL) - time.time() <= 60
    await raw.zadd("calls:slots", {CALL: time.time() - 0.001})
    assert await store.slots() == []
    assert await refused(store, "CA2", 1) == ""


async def test_a_slot_whose_token_nobody_uses_is_free(store: SessionStore) -> None:
    first = await store.ring(INFO, 1)
    token = await store.ring(INFO, 1)
    await store.not_coming(CALL, first)  # it was made void: the call waits by the newer one
    assert await store.slots() == [CALL]
    await store.not_coming(CALL, token)
    assert await store.slots() == []
    await store.ring(INFO, 1)
    await store.hung_up(CALL)  # the caller hung up
    assert await store.slots() == []


@pytest.mark.parametrize("hung_up_first", [True, False])
async def test_who_hangs_up_while_the_webhook_is_answered_takes_no_slot(
    store: SessionStore, raw: redis_async.Redis, hung_up_first: bool
) -> None:
    if hung_up_first:
        await store.hung_up(CALL)
        assert await refused(store, CALL, 1) == "gone"
    else:
        await store.ring(INFO, 1)
        await store.hung_up(CALL)
    assert await store.slots() == []
    assert {key: ttl for key in await raw.keys("*") if not 0 < (ttl := await raw.ttl(key)) <= TTL_S} == {}


async def test_a_running_calls_slot_does_not_go_with_a_token_that_nobody_used(store: SessionStore) -> None:
    await store.ring(INFO, 1)
    await store.live(where(CALL, "MZ1"))
    token = await store.ring(INFO, 1)  # the webhook came again
    await store.not_coming(CALL, token)
    assert await store.slots() == [CALL]
    await store.over(CALL, "MZ1")
    assert await store.slots() == []


async def test_slots_that_nobody_renews_are_free_and_those_that_are_renewed_are_not(redis_url: str) -> None:
    async with store_at(redis_url, lease_s=0.5) as store:
        for call in ("CA1", "CA2", "CA3"):
            await store.ring(info(call), 3)
            await store.live(where(call, f"MZ{call}"))
        async with asyncio.timeout(30):
            while await refused(store, "CA4", 3):  # the replica of CA1 was killed
                await store.renew(["CA2", "CA3"])
        assert sorted(await store.slots()) == ["CA2", "CA3", "CA4"]


async def test_a_slot_that_was_lost_is_taken_again_by_its_running_call(
    store: SessionStore, raw: redis_async.Redis
) -> None:
    await store.ring(INFO, 1)
    await store.live(where(CALL, "MZ1"))
    await raw.flushdb()
    assert await refused(store, "CA2", 1) == ""
    await store.renew([CALL])
    assert sorted(await store.slots()) == [CALL, "CA2"]


async def test_no_slot_is_given_while_the_app_drains_but_running_calls_go_on(
    store: SessionStore, raw: redis_async.Redis
) -> None:
    await store.ring(INFO, 10)
    await raw.set("trunkline:draining", "1", ex=60)
    assert [await refused(store, call, 10) for call in ("CA2", CALL)] == ["draining", ""]


async def test_a_renewal_tells_how_long_calls_may_go_on_while_the_app_drains(
    store: SessionStore, raw: redis_async.Redis
) -> None:
    assert (await store.renew([CALL])).left_s is None
    await raw.set("trunkline:draining", time.time() + 50, ex=60)
    assert (await store.renew([CALL])).left_s == pytest.approx(50, abs=5)
    await raw.set("trunkline:draining", time.time() - 50, ex=60)
    assert (await store.renew([CALL])).left_s == 0.0


# ---------------------------------------------------------------- slots of calls that go on in a new stream


async def test_a_call_that_goes_on_in_a_new_stream_keeps_its_slot(store: SessionStore) -> None:
    await store.ring(INFO, 1)
    await store.live(where(CALL, "MZ1"))
    token = await store.new_token(CALL)  # its stream broke
    await store.over(CALL, "MZ1")
    assert await refused(store, "CA2", 1) == "full"
    assert await store.whereabouts() == []
    assert await store.redeem(token) == CALL
    assert await refused(store, "CA2", 1) == "full"
    await store.live(where(CALL, "MZ2"))
    assert await refused(store, "CA2", 1) == "full"
    await store.over(CALL, "MZ2")
    assert await store.slots() == []


async def test_a_call_of_a_killed_replica_keeps_its_slot_until_its_new_stream_is_over(
    redis_url: str,
) -> None:
    async with store_at(redis_url, lease_s=0.2) as store:
        for call in (CALL, "CA2"):
            await store.ring(info(call), 2)
            await store.live(where(call, f"MZ{call}"))  # and nobody renews: its replica was killed
        await store.new_token(CALL)  # Twilio asks what comes next
        async with asyncio.timeout(30):
            while await refused(store, "CA3", 2) == "full":
                assert CALL in await store.slots()
        assert sorted(await store.slots()) == [CALL, "CA3"]
        await store.live(where(CALL, "MZ2"))
        await store.over(CALL, f"MZ{CALL}")
        assert sorted(await store.slots()) == [CALL, "CA3"]
        await store.over(CALL, "MZ2")
        assert await store.slots() == ["CA3"]


async def test_a_call_goes_on_whatever_the_capacity_is(store: SessionStore) -> None:
    await store.ring(INFO, 1)
    await store.live(where(CALL, "MZ1"))
    await store.over(CALL, "MZ1")  # told before Twilio asks what comes next
    assert await refused(store, "CA2", 1) == ""
    assert await store.redeem(await store.new_token(CALL)) == CALL
    await store.live(where(CALL, "MZ2"))
    assert await refused(store, "CA3", 1) == "full"


async def test_a_dying_streams_renewal_does_not_shorten_the_wait_for_the_next(
    store: SessionStore, raw: redis_async.Redis
) -> None:
    await store.ring(INFO, 1)
    await store.live(where(CALL, "MZ1"))
    assert await raw.zscore("calls:slots", CALL) - time.time() <= LEASE_S
    await store.new_token(CALL)
    await store.renew([CALL])
    assert await raw.zscore("calls:slots", CALL) - time.time() > LEASE_S + 1


async def test_where_a_call_runs_is_told_from_its_stream_to_its_end(store: SessionStore) -> None:
    await store.ring(INFO, 1)
    assert await store.whereabouts() == []
    await store.live(where(CALL, "MZ1"))
    assert await store.whereabouts() == [where(CALL, "MZ1")]
    await store.over(CALL, "MZ1")
    assert await store.whereabouts() == []


async def test_where_a_call_runs_is_told_by_its_newest_stream_alone(store: SessionStore) -> None:
    await store.live(where(CALL, "MZ1"))
    await store.moved(where(CALL, "MZ1", "running", 1))
    assert await store.whereabouts() == [where(CALL, "MZ1", "running", 1)]
    await store.live(where(CALL, "MZ2"))
    await store.moved(where(CALL, "MZ1", "searching", 1))
    assert await store.whereabouts() == [where(CALL, "MZ2")]
    await store.over(CALL, "MZ2")
    await store.moved(where(CALL, "MZ2", "running", 2))
    assert await store.whereabouts() == []


async def test_what_webhooks_need_can_be_read_when_the_history_can_not(
    store: SessionStore, raw: redis_async.Redis
) -> None:
    await store.ring(INFO, 10)
    await raw.hset(f"call:{CALL}", "item:000001", b"no JSON at all")
    await store.gave_up(CALL, True)
    with pytest.raises(SessionUnreadable):
        await store.read(CALL)
    glanced = await store.glance(CALL)
    assert glanced is not None
    assert (glanced.info, glanced.next, glanced.items) == (INFO, "fallback", {})
    assert await store.glance("CA9") is None


# ---------------------------------------------------------------- Redis is slow, or away


class Proxy:
    """Stands before Redis; while `stalled` is set, its answers wait."""

    def __init__(self, port: int) -> None:
        self._port = port
        self.open = asyncio.Event()
        self.open.set()
        self.delay_s = 0.0

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        up_reader, up_writer = await asyncio.open_connection("127.0.0.1", self._port)
        try:
            async with asyncio.TaskGroup() as both:
                both.create_task(self._pipe(reader, up_writer, slow=False))
                both.create_task(self._pipe(up_reader, writer, slow=True))
        except* (ConnectionError, OSError):
            pass  # either side is gone, and with it the other: that is all a proxy has to do
        finally:
            up_writer.close()
            writer.close()

    async def _pipe(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, slow: bool) -> None:
        while data := await reader.read(65536):
            if slow:
                await self.open.wait()
                await asyncio.sleep(self.delay_s)
            writer.write(data)
            await writer.drain()
        writer.close()


@asynccontextmanager
async def slow_redis(url: str) -> AsyncIterator[tuple[Proxy, str]]:
    proxy = Proxy(urlsplit(url).port or 6379)
    server = await asyncio.start_server(proxy.serve, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    try:
        yield proxy, url.replace(f":{urlsplit(url).port}/", f":{port}/")
    finally:
        proxy.open.set()
        server.close()


async def test_a_write_that_redis_does_not_answer_is_over_at_its_deadline(redis_url: str) -> None:
    async with slow_redis(redis_url) as (proxy, url), store_at(url, write_ms=100) as store:
        epoch = (await store.take(CALL, 0)).epoch
        proxy.open.clear()
        began = time.monotonic()
        assert await store.write(CALL, Order(epoch, 2, 1), {"next": b"hangup"}) is Written.AWAY
        assert time.monotonic() - began < 1.5


async def test_an_answer_that_came_too_late_is_not_taken_for_the_next_one(redis_url: str) -> None:
    async with slow_redis(redis_url) as (proxy, url), store_at(url, write_ms=100) as store:
        for round_ in range(5):
            epoch = (await store.take(CALL, 0)).epoch
            token = await store.new_token(CALL)
            proxy.open.clear()
            assert (
                await store.write(CALL, Order(epoch, 2 * epoch, 2 * epoch - 1), {"next": b"late"})
                is Written.AWAY
            )
            proxy.open.set()
            assert await store.redeem(token) == CALL, f"round {round_}"
            assert (await store.take(CALL, 0)).epoch == epoch + 1


async def test_what_was_not_written_goes_with_the_next_write(redis_url: str) -> None:
    async with slow_redis(redis_url) as (proxy, url), store_at(url, write_ms=200) as store:
        record = CallRecord(store, CALL, await store.take(CALL, 0))
        proxy.open.clear()
        record.add(TurnBegan(1, Cause.SPEECH, "An oil change.", 1.0))
        await record.save()
        assert not record.protected
        proxy.open.set()
        record.add(Said(1, 0, "For when?"))
        async with asyncio.timeout(20):
            while not record.protected:  # until a look finds Redis
                await asyncio.sleep(0.01)
                await record.save()
        stored = await store.read(CALL)
        assert stored is not None
        assert list(stored.items.values()) == record.items


async def test_while_redis_hangs_one_write_waits_for_it_and_the_others_fail_at_once(redis_url: str) -> None:
    async with slow_redis(redis_url) as (proxy, url), store_at(url, write_ms=300) as store:
        epoch = (await store.take(CALL, 0)).epoch
        proxy.open.clear()
        assert await store.write(CALL, Order(epoch, 2, 1), {"next": b"hangup"}) is Written.AWAY
        began = time.monotonic()
        for number in range(3, 13):
            assert await store.write(CALL, Order(epoch, number, 1), {"next": b"hangup"}) is Written.AWAY
        assert time.monotonic() - began < 0.3, "they waited, too"


async def test_that_redis_is_back_is_found_out_with_nobody_writing(redis_url: str) -> None:
    async with slow_redis(redis_url) as (proxy, url), store_at(url, write_ms=100) as store:
        epoch = (await store.take(CALL, 0)).epoch
        back = asyncio.Event()
        store.when_back(back.set)
        proxy.open.clear()
        assert await store.write(CALL, Order(epoch, 2, 1), {"next": b"hangup"}) is Written.AWAY
        await asyncio.sleep(0.3)
        assert not back.is_set()
        proxy.open.set()
        await asyncio.wait_for(back.wait(), 20)
        assert await store.write(CALL, Order(epoch, 3, 1), {"next": b"hangup"}) is Written.OK


async def test_who_gives_up_changes_nothing_that_was_decided(store: SessionStore) -> None:
    epoch = (await store.take(CALL, 0)).epoch
    await store.write(CALL, Order(epoch, 2, 1), {"next": b""})
    await store.gave_up(CALL, told=False)
    assert (await store.read(CALL)).next == "unsaid"  # type: ignore[union-attr]
    await store.write(CALL, Order(epoch, 3, 2), {"next": b"transfer"})
    await store.gave_up(CALL, told=True)
    assert (await store.read(CALL)).next == "transfer"  # type: ignore[union-attr]


async def test_a_redis_that_takes_no_writes_is_away_until_it_does(redis_url: str) -> None:
    async with store_at(redis_url) as store:
        epoch = (await store.take(CALL, 0)).epoch
        back = asyncio.Event()
        store.when_back(back.set)
        async with no_writes(redis_url) as admin:
            assert await store.write(CALL, Order(epoch, 2, 1), {"next": b"hangup"}) is Written.AWAY
            with pytest.raises(SessionAway):
                await store.probe()
            before = (await admin.info("stats"))["total_error_replies"]
            await asyncio.sleep(1.0)
            assert not back.is_set()
            looks = (await admin.info("stats"))["total_error_replies"] - before
            assert 1 <= looks <= 30, "it looks every 50 ms"
        await asyncio.wait_for(back.wait(), 20)
        assert await store.write(CALL, Order(epoch, 3, 1), {"next": b"hangup"}) is Written.OK


async def test_a_webhook_does_not_wait_for_a_redis_that_has_been_silent_for_as_long(redis_url: str) -> None:
    async with slow_redis(redis_url) as (proxy, url), store_at(url, read_s=1.0) as store:
        await store.probe()
        proxy.open.clear()
        with pytest.raises(SessionAway):
            await store.ring(INFO, 10)
        while not store.is_silent:  # noqa: ASYNC110 - time passes, nothing happens
            await asyncio.sleep(0.05)
        began = time.monotonic()
        for _ in range(10):
            with pytest.raises(SessionAway, match="REDIS_URL"):
                await store.ring(INFO, 10)
        assert time.monotonic() - began < 1.0, "they waited, too"


async def test_a_redis_that_is_slower_than_writes_may_wait_still_answers_webhooks(redis_url: str) -> None:
    async with slow_redis(redis_url) as (proxy, url), store_at(url, write_ms=50, read_s=5.0) as store:
        epoch = (await store.take(CALL, 0)).epoch
        proxy.open.clear()
        proxy.delay_s = 0.2
        assert await store.write(CALL, Order(epoch, 2, 1), {"next": b"hangup"}) is Written.AWAY
        proxy.open.set()
        for _ in range(3):
            await store.ring(INFO, 10)
        assert await store.write(CALL, Order(epoch, 3, 1), {"next": b"hangup"}) is Written.AWAY


# ---------------------------------------------------------------- Redis has lost what was written


async def a_record_of(store: SessionStore, turns: int) -> CallRecord:
    record = CallRecord(store, CALL, await store.take(CALL, 0))
    for turn in range(1, turns + 1):
        record.add(TurnBegan(turn, Cause.SPEECH, f"{turn}", 0.0))
        await record.save()
    return record


async def test_a_write_that_builds_on_what_is_gone_changes_nothing(
    store: SessionStore, raw: redis_async.Redis
) -> None:
    epoch = (await store.take(CALL, 0)).epoch
    assert await store.write(CALL, Order(epoch, 2, 1), {"item:000001": b"x"}) is Written.OK
    await raw.flushdb()
    assert await store.write(CALL, Order(epoch, 3, 2), {"item:000002": b"y"}) is Written.LOST
    assert await raw.exists(f"call:{CALL}") == 0


async def test_a_record_that_redis_has_lost_is_written_whole(
    store: SessionStore, raw: redis_async.Redis
) -> None:
    await store.ring(INFO, 10)
    await store.keep_context(CALL, CONTEXT)
    record = await a_record_of(store, 3)
    record.next = "hangup"
    await record.save()
    await raw.flushdb()
    record.add(TurnBegan(4, Cause.SPEECH, "4", 0.0))
    await record.save()
    assert record.protected
    stored = await store.read(CALL)
    assert stored is not None
    assert list(stored.items.values()) == record.items
    assert (stored.info, stored.context, stored.next, stored.epoch) == (INFO, CONTEXT, "hangup", 1)


async def test_a_record_of_which_redis_has_lost_the_last_second_is_written_whole(
    store: SessionStore, raw: redis_async.Redis
) -> None:
    record = await a_record_of(store, 2)
    old = await raw.dump(f"call:{CALL}")
    for turn in (3, 4):
        record.add(TurnBegan(turn, Cause.SPEECH, f"{turn}", 0.0))
        await record.save()
    await raw.restore(f"call:{CALL}", 600_000, old, replace=True)  # a replica that lagged took over
    record.add(TurnBegan(5, Cause.SPEECH, "5", 0.0))
    await record.save()
    stored = await store.read(CALL)
    assert stored is not None
    assert [item.turn for item in stored.items.values()] == [1, 2, 3, 4, 5]


async def test_a_long_record_is_written_whole_too(store: SessionStore, raw: redis_async.Redis) -> None:
    record = CallRecord(store, CALL, await store.take(CALL, 0))
    for turn in range(1, 5001):
        record.add(TurnBegan(turn, Cause.SPEECH, f"{turn}", 0.0))
    await record.save()
    assert record.protected
    await raw.flushdb()
    await record.save()
    stored = await store.read(CALL)
    assert stored is not None
    assert len(stored.items) == 5000


async def test_a_write_that_comes_after_a_later_one_changes_nothing(store: SessionStore) -> None:
    epoch = (await store.take(CALL, 0)).epoch
    assert await store.write(CALL, Order(epoch, 3, 1), {"next": b"hangup"}) is Written.OK
    assert await store.write(CALL, Order(epoch, 2, 1), {"next": b""}) is Written.OK  # it waited in a socket
    stored = await store.read(CALL)
    assert stored is not None
    assert stored.next == "hangup"


async def test_a_successor_writes_although_who_came_before_wrote_more_often(
    store: SessionStore, raw: redis_async.Redis
) -> None:
    """The successor's epoch is lost, and with it the fence; the older one writes, then the successor."""
    older = await a_record_of(store, 2)
    newer = CallRecord(store, CALL, await store.take(CALL, 0))
    await raw.flushdb()
    for turn in range(3, 9):
        older.add(TurnBegan(turn, Cause.SPEECH, "old", 0.0))
        await older.save()
    newer.add(TurnBegan(3, Cause.SPEECH, "new", 0.0))
    await newer.save()
    stored = await store.read(CALL)
    assert stored is not None
    assert (stored.epoch, stored.items[3]) == (2, newer.items[2])
    with pytest.raises(Fenced):
        await older.save()


async def test_calls_that_redis_does_not_know_to_be_live_are_told(
    store: SessionStore, raw: redis_async.Redis
) -> None:
    for call in (CALL, "CA2"):
        await store.live(where(call, "MZ1"))
    assert (await store.renew([CALL, "CA2"])).unlisted == []
    await raw.delete(f"call:{CALL}")
    assert (await store.renew([CALL, "CA2"])).unlisted == [CALL]


# ---------------------------------------------------------------- connections and scripts


async def test_a_redis_that_has_lost_its_scripts_and_connections_is_written_at_once(
    store: SessionStore, raw: redis_async.Redis
) -> None:
    epoch = (await store.take(CALL, 0)).epoch
    await raw.script_flush()
    assert await store.write(CALL, Order(epoch, 2, 1), {"next": b"hangup"}) is Written.OK
    await raw.client_kill_filter(_type="normal", skipme=True)
    assert await store.write(CALL, Order(epoch, 3, 2), {"next": b"transfer"}) is Written.OK
    assert (await store.take(CALL, 0)).next == "transfer"


async def test_a_connection_that_is_lost_before_the_answer_costs_no_write(redis_url: str) -> None:
    async with slow_redis(redis_url) as (proxy, url), store_at(url) as store:
        epoch = (await store.take(CALL, 0)).epoch
        proxy.open.clear()
        writing = asyncio.create_task(store.write(CALL, Order(epoch, 2, 1), {"next": b"hangup"}))
        async with redis_async.Redis.from_url(redis_url) as raw, asyncio.timeout(30):
            while await raw.hget(f"call:{CALL}", "next") != b"hangup":
                pass
            await raw.client_kill_filter(_type="normal", skipme=True)
        proxy.open.set()
        assert await writing is Written.OK


async def test_a_crowd_that_rings_at_once_waits_for_redis_and_no_one_is_told_that_it_is_away(
    redis_url: str,
) -> None:
    async with store_at(redis_url, read_s=20.0) as store:  # as the machine may be busy
        await asyncio.gather(*(store.ring(info(f"CA{n}"), 300) for n in range(300)))
        assert len(await store.slots()) == 300


async def test_reading_and_taking_say_that_redis_is_away(
    redis_url: str,
) -> None:
    async with slow_redis(redis_url) as (proxy, url), store_at(url, read_s=0.05) as store:
        proxy.open.clear()
        for command in (store.take(CALL, 0), store.read(CALL), store.redeem("x"), store.probe()):
            with pytest.raises(SessionAway, match="REDIS_URL"):
                await command


async def test_with_nobody_at_the_address_nothing_hangs(unused_tcp_port: int) -> None:
    async with store_at(f"redis://127.0.0.1:{unused_tcp_port}/0", write_ms=100) as store:
        assert await store.write(CALL, Order(1, 2, 1), {"next": b""}) is Written.AWAY
        with pytest.raises(SessionAway, match="REDIS_URL"):
            await store.take(CALL, 0)
