"""The client for NHTSA, against the simulator on a socket."""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator
from typing import Any

import httpx2
import pytest
import redis.asyncio as redis_async
from hypothesis import given
from hypothesis import strategies as st

from crm.cache import RedisCache
from crm.nhtsa import ATTEMPTS, TIMEOUT_S, Decoded, Nhtsa, NhtsaAway, read_answer
from engine.routes import Route
from local.serving import serving
from tests.stall import stall_before

CIVIC, ANOTHER_CIVIC = "2HGFE2F58NH512345", "2HGFE2F53NH512348"
UNKNOWN = "99912345678901234"
NOBODY_LISTENS = "http://127.0.0.1:9"
LIMIT_S = 30.0


@pytest.fixture
async def nhtsa(nhtsa_url: str) -> AsyncIterator[Nhtsa]:
    async with Nhtsa(nhtsa_url) as client:
        yield client


@contextlib.asynccontextmanager
async def keeping(nhtsa_url: str, redis_url: str, wait_s: float = 5.0) -> AsyncIterator[Nhtsa]:
    """A client of a process of its own, with a cache."""
    cache = RedisCache(redis_url, wait_s=wait_s, connect_s=5.0, look_s=60.0)
    await cache.open()
    try:
        async with Nhtsa(nhtsa_url, cache) as client:
            yield client
    finally:
        await cache.close()


async def set_faults(url: str, **faults: Any) -> None:
    async with httpx2.AsyncClient(timeout=30) as http:
        answer = await http.post(f"{url}/_faults", json=faults)
    assert answer.status_code == 204, answer.text


async def asked(url: str) -> list[str]:
    async with httpx2.AsyncClient(timeout=30) as http:
        return list((await http.get(f"{url}/_requests")).json())


async def test_a_clean_vin_names_the_car(nhtsa: Nhtsa) -> None:
    assert await nhtsa.decode(CIVIC) == Decoded(True, 2022, "Honda", "Civic", "Sport", "")


# ---------------------------------------------------------------- what is kept


async def test_another_process_knows_what_one_was_told_of_a_kind_of_car(
    nhtsa_url: str, redis_url: str
) -> None:
    async with keeping(nhtsa_url, redis_url) as one, keeping(nhtsa_url, redis_url) as other:
        first = await one.decode(CIVIC)
        assert await other.decode(CIVIC) == await other.decode(ANOTHER_CIVIC) == first
    assert await asked(nhtsa_url) == [CIVIC]


async def test_a_number_that_fails_has_an_answer_of_its_own(nhtsa_url: str, redis_url: str) -> None:
    wrong = CIVIC[:8] + "7" + CIVIC[9:]
    async with keeping(nhtsa_url, redis_url) as client:
        assert (await client.decode(CIVIC)).note == ""
        for _ in range(2):
            assert "check digit" in (await client.decode(wrong)).note
        assert (await client.decode(ANOTHER_CIVIC)).note == ""
    assert await asked(nhtsa_url) == [CIVIC, wrong]


async def test_what_is_kept_names_nobodys_car_and_goes_after_a_month_or_if_bad_after_a_day(
    nhtsa_url: str, redis_url: str
) -> None:
    async with keeping(nhtsa_url, redis_url) as client, redis_async.Redis.from_url(redis_url) as admin:
        await client.decode(CIVIC)
        [good] = await admin.keys("crm:vin:*")
        await client.decode(UNKNOWN)
        [bad] = {*await admin.keys("crm:vin:*")} - {good}
        assert 29.9 * 86400 < await admin.ttl(good) <= 30 * 86400
        assert 0.9 * 86400 < await admin.ttl(bad) <= 86400
        for key in (good, bad):
            assert b"512345" not in key + await admin.get(key)


async def test_an_answer_that_suggests_another_vin_is_not_kept(redis_url: str) -> None:
    suggestion = {"ErrorCode": "3", "Make": "HONDA", "ModelYear": "2022", "SuggestedVIN": CIVIC}
    times = 0

    async def serve(scope: Any, receive: Any, send: Any) -> None:
        nonlocal times
        times += 1
        body = httpx2.Response(200, json={"Count": 1, "Results": [suggestion]}).content
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": body})

    async with serving(serve) as server, keeping(server.http_url, redis_url) as client:
        for _ in range(2):
            assert (await client.decode(CIVIC)).suggested == CIVIC
    assert times == 2


async def test_what_another_version_has_kept_is_asked_for_again(nhtsa_url: str, redis_url: str) -> None:
    async with keeping(nhtsa_url, redis_url) as client, redis_async.Redis.from_url(redis_url) as admin:
        await client.decode(CIVIC)
        [key] = await admin.keys("crm:vin:*")
        for old in (b"{}", b"\xff", b"null"):
            await admin.set(key, old)
            assert (await client.decode(CIVIC)).model == "Civic"


async def test_a_cache_that_hangs_costs_a_moment_once(nhtsa_url: str, redis_url: str) -> None:
    async with (
        stall_before(redis_url) as (stall, url),
        keeping(nhtsa_url, url, wait_s=0.02) as client,
    ):
        stall.flowing.clear()
        started = time.monotonic()
        async with asyncio.timeout(LIMIT_S):
            for _ in range(50):
                assert (await client.decode(CIVIC)).usable
        assert time.monotonic() - started < 100 * 0.02 * 2


# ---------------------------------------------------------------- NHTSA is away


@pytest.mark.parametrize("status", [500, 503])
async def test_one_failure_is_retried(nhtsa: Nhtsa, nhtsa_url: str, status: int) -> None:
    await set_faults(nhtsa_url, status=status, times=1)
    assert (await nhtsa.decode(CIVIC)).usable
    assert await asked(nhtsa_url) == [CIVIC, CIVIC]


@pytest.mark.parametrize("status", [429, 403])
async def test_one_who_is_throttled_asks_no_more(nhtsa: Nhtsa, nhtsa_url: str, status: int) -> None:
    await set_faults(nhtsa_url, status=status, times=1)
    for _ in range(2):
        with pytest.raises(NhtsaAway):
            await nhtsa.decode(CIVIC)
    assert await asked(nhtsa_url) == [CIVIC]


@pytest.mark.parametrize("fault", [{"status": 503}, {"cut": True}])
async def test_who_has_failed_in_a_row_is_left_alone_and_then_tried_by_one(
    nhtsa_url: str, redis_url: str, fault: dict[str, Any]
) -> None:
    cache = RedisCache(redis_url, wait_s=5.0, connect_s=5.0, look_s=60.0)
    route: Route[None] = Route("NHTSA", None, failures=2, rest_s=0.2, rest_most_s=60.0)
    async with Nhtsa(nhtsa_url, cache, route) as client:
        await set_faults(nhtsa_url, **fault, times=ATTEMPTS + 1)
        for _ in range(3):
            with pytest.raises(NhtsaAway):
                await client.decode(CIVIC)
        assert len(await asked(nhtsa_url)) == ATTEMPTS, (
            "it was asked while it rested, or the failure was not retried"
        )

        await _rested(route)
        async with asyncio.TaskGroup() as both:
            tries = [both.create_task(_decoded(client)) for _ in range(2)]
        assert [task.result() for task in tries] == [None, None]
        assert len(await asked(nhtsa_url)) == ATTEMPTS + 1, "more than one tried"

        await _rested(route)
        assert (await client.decode(CIVIC)).usable, "a failure was kept, or it was given up for good"
        assert route.well
    await cache.close()


async def _decoded(client: Nhtsa) -> Decoded | None:
    try:
        return await client.decode(CIVIC)
    except NhtsaAway:
        return None


async def _rested(route: Route[None]) -> None:
    await asyncio.sleep(max(0.0, route.rested_at_s - asyncio.get_running_loop().time()))


async def test_while_it_rests_what_is_kept_is_known(nhtsa_url: str, redis_url: str) -> None:
    async with keeping(nhtsa_url, redis_url) as client:
        await client.decode(CIVIC)
        await set_faults(nhtsa_url, status=503)
        with pytest.raises(NhtsaAway):
            await client.decode("1HGCM82633A004352")
        assert (await client.decode(ANOTHER_CIVIC)).model == "Civic"


async def test_a_slow_nhtsa_is_given_up_after_its_attempts_and_then_at_once(nhtsa_url: str) -> None:
    await set_faults(nhtsa_url, delay_s=600.0, times=ATTEMPTS)
    timeout_s = 0.3
    async with Nhtsa(nhtsa_url, timeout_s=timeout_s) as client:
        started = time.monotonic()
        async with asyncio.timeout(LIMIT_S):
            with pytest.raises(NhtsaAway, match=r"TimeoutError|ReadTimeout"):
                await client.decode(CIVIC)
            assert time.monotonic() - started >= timeout_s * ATTEMPTS * 0.9
            with pytest.raises(NhtsaAway, match="left alone"):
                await client.decode(CIVIC)
    assert len(await asked(nhtsa_url)) == ATTEMPTS
    assert timeout_s * 3 < TIMEOUT_S * ATTEMPTS, "the test would not notice a deadline that is not heeded"


async def test_an_answer_that_comes_in_drops_is_not_waited_for() -> None:
    async def drip(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        for _ in range(1200):
            await send({"type": "http.response.body", "body": b" ", "more_body": True})
            await asyncio.sleep(0.05)

    async with serving(drip) as server, Nhtsa(server.http_url, timeout_s=0.3) as client:
        async with asyncio.timeout(LIMIT_S):
            with pytest.raises(NhtsaAway, match="TimeoutError"):
                await client.decode(CIVIC)


async def test_a_port_where_nobody_listens_is_away() -> None:
    async with Nhtsa(NOBODY_LISTENS) as client:
        with pytest.raises(NhtsaAway, match=r"127\.0\.0\.1:9"):
            await client.decode(CIVIC)


# ---------------------------------------------------------------- what it says


async def test_no_results_means_unknown_not_away(nhtsa: Nhtsa, nhtsa_url: str) -> None:
    await set_faults(nhtsa_url, empty=True)
    decoded = await nhtsa.decode(CIVIC)
    assert not decoded.usable
    assert "does not know" in decoded.note


async def test_missing_keys_and_nulls_are_unknown_values(nhtsa: Nhtsa, nhtsa_url: str) -> None:
    await set_faults(nhtsa_url, missing=["Model", "Trim"], nulls=True)
    assert await nhtsa.decode(CIVIC) == Decoded(
        True, 2022, "Honda", None, None, "The model is not known: ask for it."
    )


@pytest.mark.parametrize(
    ("code", "usable"),
    [
        ("0", True),
        ("1", True),
        ("6,14", True),
        ("8", True),
        ("12", True),
        ("2", False),
        ("5", False),
        ("7", False),
        ("1,11,14,400", False),
        ("", False),
        ("0 - VIN decoded clean. Check Digit (9th position) is correct", True),
        ("1 - Check Digit does not calculate properly; 14 - Unable to provide information", True),
    ],
)
def test_codes_decide_together(code: str, usable: bool) -> None:
    decoded = read_answer({"ErrorCode": code, "Make": "HONDA", "Model": "Civic", "ModelYear": "2022"})
    assert decoded.usable is usable
    assert bool(decoded.note) == (not code.startswith("0"))


def test_a_clean_code_without_make_or_year_is_not_usable() -> None:
    assert not read_answer({"ErrorCode": "0", "Make": "HONDA", "ModelYear": "Not Applicable"}).usable
    assert not read_answer({"ErrorCode": "0", "Make": "", "ModelYear": "2022"}).usable


def test_a_suggestion_is_passed_on_when_the_vin_is_unusable() -> None:
    decoded = read_answer({"ErrorCode": "4", "SuggestedVIN": "2HGFE2F58NH51!345"})
    assert (decoded.usable, decoded.suggested) == (False, "2HGFE2F58NH51!345")


@pytest.mark.parametrize(
    ("make", "spoken"), [("HONDA", "Honda"), ("BMW", "BMW"), ("MERCEDES-BENZ", "Mercedes-Benz")]
)
def test_makes_are_written_as_they_are_spoken(make: str, spoken: str) -> None:
    assert read_answer({"ErrorCode": "0", "Make": make, "ModelYear": "2022"}).make == spoken


values = st.none() | st.integers() | st.text(max_size=20) | st.lists(st.integers(), max_size=2)


@given(
    st.dictionaries(
        st.sampled_from(["ErrorCode", "Make", "Model", "ModelYear", "Trim", "SuggestedVIN"]), values
    )
)
def test_any_object_can_be_read(result: dict[str, Any]) -> None:
    decoded = read_answer(result)
    assert not decoded.usable or (decoded.make and decoded.year)
