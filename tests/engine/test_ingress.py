"""What the routes for operators tell, and whom."""

import contextlib
import logging
from collections.abc import AsyncIterator
from typing import Any

import httpx2
import msgspec
import pytest

from engine.gauges import Gauges
from engine.ingress import Ingress, IngressPorts
from engine.messages import CallerContext, CallInfo
from engine.session import SessionStore, Whereabouts
from tests.virtual.rig import Log, new_settings

CALL = "CA0123"


async def held() -> list[Gauges]:
    return [Gauges("ingress", 7, 4, {"Server.serve": 1}, 30), Gauges("host", 8, 2, {}, 28)]


async def nobody(_: CallInfo) -> CallerContext:
    return CallerContext("", "")


@contextlib.asynccontextmanager
async def served(redis_url: str, states: dict[str, str]) -> AsyncIterator[httpx2.AsyncClient]:
    """The routes over a real Redis, and a client of them; readiness is what `states` says."""

    async def check_ready() -> dict[str, str]:
        return dict(states)

    def no_stream(*_: Any) -> Any:
        raise AssertionError("no stream was asked for")

    store = SessionStore(redis_url, 600, 2000, 60)
    ports = IngressPorts(
        store, Log(), nobody, lambda _: CallerContext("", ""), no_stream, check_ready, lambda: (8, 9), held
    )
    app = Ingress(new_settings(), ports).app(contextlib.nullcontext)  # type: ignore[arg-type]
    try:
        await store.live(Whereabouts(CALL, "MZ1", "starting", 0, 7))
        transport = httpx2.ASGITransport(app=app)
        async with httpx2.AsyncClient(transport=transport, base_url="http://127.0.0.1:8000") as client:
            yield client
    finally:
        await store.close()


async def test_live_calls_are_told_on_this_machine(redis_url: str) -> None:
    async with served(redis_url, {}) as client:
        answer = await client.get("/calls")
    assert answer.json()["hosts"] == [8, 9]
    assert answer.json()["calls"] == [
        {
            "call": CALL,
            "stream": "MZ1",
            "state": "starting",
            "epoch": 0,
            "ingress_pid": 7,
            "host": "",
            "host_pid": 0,
        }
    ]


async def test_what_the_processes_hold_is_told_on_this_machine(redis_url: str) -> None:
    async with served(redis_url, {}) as client:
        answer = await client.get("/gauges")
    assert msgspec.convert(answer.json()["gauges"], list[Gauges]) == await held()


@pytest.mark.parametrize("path", ["/calls", "/gauges"])
@pytest.mark.parametrize(
    ("header", "value"),
    [
        ("X-Forwarded-For", "203.0.113.9"),
        ("X-Forwarded-For", "127.0.0.1, 203.0.113.9"),
        ("X-Forwarded-For", "127.0.0.1"),
        ("X-Forwarded-For", ""),
        ("x-forwarded-host", "voice.example.com"),
        ("Forwarded", "for=127.0.0.1"),
        ("X-Real-IP", "127.0.0.1"),
    ],
)
async def test_live_calls_and_processes_are_not_told_to_whom_a_proxy_brings(
    redis_url: str, path: str, header: str, value: str
) -> None:
    async with served(redis_url, {}) as client:
        answer = await client.get(path, headers={header: value})
    assert answer.status_code == 403
    assert CALL not in answer.text
    assert "pid" not in answer.text


async def test_readiness_names_what_is_away_and_only_the_log_says_why(
    redis_url: str, caplog: pytest.LogCaptureFixture
) -> None:
    states = {"redis": "SessionAway: Error connecting to 10.0.0.7:6379", "tools": "ok"}
    with caplog.at_level(logging.WARNING, "engine.ingress"):
        async with served(redis_url, states) as client:
            first, second = await client.get("/readyz"), await client.get("/readyz")
            states["redis"] = "ok"
            third = await client.get("/readyz")
    assert first.status_code == 503
    assert first.json() == second.json() == {"ready": False, "parts": {"redis": "away", "tools": "ok"}}
    assert third.json() == {"ready": True, "parts": {"redis": "ok", "tools": "ok"}}
    said = [record.getMessage() for record in caplog.records if record.name == "engine.ingress"]
    assert ["10.0.0.7" in line for line in said] == [True, False]
