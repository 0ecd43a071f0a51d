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
from engine.session import Meta, SessionAway, SessionStore, Whereabouts, Written, item_field

CALL = "CA0123"
INFO = CallInfo(CALL, "+13125550142", "+13125550100", True, 1_700_000_000.0)
CONTEXT = CallerContext("Hello.", "Be brief.", {"name": "Ann"})
TTL_S = 600


@asynccontextmanager
async def store_at(url: str, write_ms: int = 2000) -> AsyncIterator[SessionStore]:
    store = SessionStore(url, TTL_S, write_ms, token_ttl_s=60)
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
    assert await store.write(CALL, old, {"next": b"hangup"}) is Written.OK
    new = (await store.take(CALL, 0)).epoch
    assert await store.write(CALL, old, {"next": b"transfer", "item:000001": b"x"}) is Written.FENCED
    stored = await store.read(CALL)
    assert stored is not None
    assert (stored.next, stored.items, stored.epoch) == ("hangup", {}, new)
    assert await store.write(CALL, new, {"next": b"transfer"}) is Written.OK


async def test_a_write_brings_its_epoch_where_the_session_was_lost(
    store: SessionStore, raw: redis_async.Redis
) -> None:
    await store.take(CALL, 4)
    await raw.flushdb()
    assert await store.write(CALL, 5, {"next": b""}) is Written.OK
    assert (await store.take(CALL, 0)).epoch == 6


# ---------------------------------------------------------------- the way there and back


async def test_a_session_is_read_as_it_was_written(store: SessionStore) -> None:
    await store.ring(INFO)
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
    assert await store.write(CALL, epoch, fields) is Written.OK
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
    await store.ring(INFO)
    assert await store.broke(CALL, 12.5) == 1
    assert await store.broke(CALL, 13.5) == 2
    await store.gave_up(CALL, True)
    stored = await store.read(CALL)
    assert stored is not None
    assert (stored.broken_at, stored.next) == (13.5, "fallback")


# ---------------------------------------------------------------- tokens


async def test_a_token_opens_one_stream(store: SessionStore) -> None:
    token = await store.ring(INFO)
    assert await store.redeem(token) == CALL
    assert await store.redeem(token) is None
    assert await store.redeem("made-up") is None


async def test_of_many_who_redeem_a_token_at_once_one_gets_in(store: SessionStore) -> None:
    token = await store.new_token(CALL)
    got = await asyncio.gather(*(store.redeem(token) for _ in range(10)))
    assert sorted(got, key=str) == [CALL] + [None] * 9


async def test_a_newer_token_of_a_call_makes_the_older_one_void(store: SessionStore) -> None:
    first, others = await store.ring(INFO), await store.new_token("CA2")
    second = await store.ring(INFO)
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
    await store.ring(INFO)
    await store.keep_context(CALL, CONTEXT)
    await store.live(where(CALL, "MZ1"), 300.0)
    for call in ("CA2", "CA3", "CA4", "CA5"):
        if call == "CA2":
            await store.take(call, 0)
        elif call == "CA3":
            await store.write(call, 1, {"next": b""})
        elif call == "CA4":
            await store.broke(call, 1.0)
            await store.gave_up(call, True)
        else:
            await store.keep_context(call, CONTEXT)
    ttls = {key.decode(): await raw.ttl(key) for key in await raw.keys("*")}
    assert {key for key in ttls if not key.startswith("token:")} == {
        f"call:{CALL}", "call:CA2", "call:CA3", "call:CA4", "call:CA5", "calls:live",
    }  # fmt: skip
    assert {key: ttl for key, ttl in ttls.items() if not 0 < ttl <= TTL_S} == {}
    assert all(ttl <= 60 for key, ttl in ttls.items() if key.startswith("token:"))


async def test_a_write_gives_the_session_its_whole_time_again(
    store: SessionStore, raw: redis_async.Redis
) -> None:
    epoch = (await store.take(CALL, 0)).epoch
    await raw.expire(f"call:{CALL}", 5)
    await store.write(CALL, epoch, {"next": b""})
    assert await raw.ttl(f"call:{CALL}") > 500


# ---------------------------------------------------------------- live calls


def where(call: str, stream: str, state: str = "starting", epoch: int = 0) -> Whereabouts:
    return Whereabouts(call, stream, state, epoch, 7)


async def test_live_calls_are_those_that_are_not_over_and_not_too_old(store: SessionStore) -> None:
    await store.live(where(CALL, "MZ1"), 300.0)
    await store.live(where("CA2", "MZ2"), 300.0)
    await store.live(where("CA3", "MZ3"), -1.0)
    await store.over("CA2", "MZ2")
    assert await store.live_calls() == [CALL]


async def test_what_is_too_old_to_be_live_is_forgotten_with_the_next_call(
    store: SessionStore, raw: redis_async.Redis
) -> None:
    await store.live(where("CA3", "MZ3"), -1.0)
    await store.live(where(CALL, "MZ1"), 300.0)
    assert await raw.zrange("calls:live", 0, -1) == [CALL.encode()]


async def test_a_call_that_went_on_in_a_new_stream_is_live_although_the_old_one_is_over(
    store: SessionStore,
) -> None:
    await store.live(where(CALL, "MZ1"), 300.0)
    await store.live(where(CALL, "MZ2"), 300.0)
    assert await store.live_calls() == [CALL]
    await store.over(CALL, "MZ1")
    assert await store.live_calls() == [CALL]
    await store.over(CALL, "MZ2")
    assert await store.live_calls() == []


async def test_a_call_of_which_a_replica_died_is_listed_once_and_until_its_new_stream_is_over(
    store: SessionStore,
) -> None:
    await store.live(where(CALL, "MZ1"), 300.0)  # its replica was killed: nobody says that it is over
    await store.live(where(CALL, "MZ2"), 300.0)
    await store.over(CALL, "MZ2")
    assert await store.live_calls() == []


async def test_where_a_call_runs_is_told_by_its_newest_stream_alone(store: SessionStore) -> None:
    await store.live(where(CALL, "MZ1"), 300.0)
    await store.moved(where(CALL, "MZ1", "running", 1))
    assert await store.whereabouts() == [where(CALL, "MZ1", "running", 1)]
    await store.live(where(CALL, "MZ2"), 300.0)
    await store.moved(where(CALL, "MZ1", "searching", 1))
    assert await store.whereabouts() == [where(CALL, "MZ2")]
    await store.over(CALL, "MZ2")
    await store.moved(where(CALL, "MZ2", "running", 2))
    assert await store.whereabouts() == []


async def test_a_call_that_twilio_says_is_over_is_live_for_a_while_at_most(
    store: SessionStore, raw: redis_async.Redis
) -> None:
    await store.live(where(CALL, "MZ1"), 300.0)
    await store.ended(CALL, 30.0)
    assert await store.live_calls() == [CALL]
    assert await raw.zscore("calls:live", CALL) < time.time() + 31
    await store.ended(CALL, -1.0)
    assert await store.live_calls() == []
    await store.ended("CA2", 30.0)
    assert await store.live_calls() == []


async def test_what_webhooks_need_can_be_read_when_the_history_can_not(
    store: SessionStore, raw: redis_async.Redis
) -> None:
    await store.ring(INFO)
    await raw.hset(f"call:{CALL}", "item:000001", b"no JSON at all")
    await store.gave_up(CALL, True)
    with pytest.raises(msgspec.DecodeError):
        await store.read(CALL)
    glanced = await store.glance(CALL)
    assert glanced is not None
    assert (glanced.info, glanced.next, glanced.items) == (INFO, "fallback", {})
    assert await store.glance("CA9") is None


async def test_draining_is_seen(store: SessionStore, raw: redis_async.Redis) -> None:
    assert not await store.draining()
    await raw.set("trunkline:draining", "1", ex=60)
    assert await store.draining()


# ---------------------------------------------------------------- Redis is slow, or away


class Proxy:
    """Stands before Redis; while `stalled` is set, its answers wait."""

    def __init__(self, port: int) -> None:
        self._port = port
        self.open = asyncio.Event()
        self.open.set()
        self.port = 0

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
        assert await store.write(CALL, epoch, {"next": b"hangup"}) is Written.AWAY
        assert time.monotonic() - began < 1.5


async def test_an_answer_that_came_too_late_is_not_taken_for_the_next_one(redis_url: str) -> None:
    async with slow_redis(redis_url) as (proxy, url), store_at(url, write_ms=100) as store:
        for round_ in range(5):
            epoch = (await store.take(CALL, 0)).epoch
            token = await store.new_token(CALL)
            proxy.open.clear()
            assert await store.write(CALL, epoch, {"next": b"late"}) is Written.AWAY
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
            while not record.protected:  # a connection may still have to be made
                await record.save()
        stored = await store.read(CALL)
        assert stored is not None
        assert list(stored.items.values()) == record.items


async def test_reading_and_taking_say_that_redis_is_away(
    redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("engine.session.READ_LIMIT_S", 0.05)
    async with slow_redis(redis_url) as (proxy, url), store_at(url) as store:
        proxy.open.clear()
        for command in (store.take(CALL, 0), store.read(CALL), store.redeem("x"), store.ping()):
            with pytest.raises(SessionAway, match="REDIS_URL"):
                await command


async def test_with_nobody_at_the_address_nothing_hangs(unused_tcp_port: int) -> None:
    async with store_at(f"redis://127.0.0.1:{unused_tcp_port}/0", write_ms=100) as store:
        assert await store.write(CALL, 1, {"next": b""}) is Written.AWAY
        with pytest.raises(SessionAway, match="REDIS_URL"):
            await store.take(CALL, 0)
