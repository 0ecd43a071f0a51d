"""What `serve run serve_app:app` refuses to start with; Ray is not started."""

import asyncio
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import msgspec
import pytest

import serve_app
from crm.cache import RedisCache
from crm.callers import CallerCache
from crm.context import House, Known
from crm.demo_data import workshop
from crm.records import CustomerRecord, VehicleRecord
from engine.callrows import Leg
from engine.messages import CallerContext, CallInfo
from engine.settings import Settings
from launcher.environment import essential_environment

GIVEN = {
    "DATABASE_URL": "postgresql://127.0.0.1/crm",
    "REDIS_URL": "redis://127.0.0.1/0",
    "DEEPGRAM_API_KEY": "key",
    "OPENAI_API_KEY": "key",
    "TWILIO_ACCOUNT_SID": "AC1",
    "TWILIO_AUTH_TOKEN": "token",
    "RAY_AUTH_MODE": "token",
}


@pytest.fixture
def given(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> pytest.MonkeyPatch:
    """An environment that suffices for the default settings."""
    monkeypatch.chdir(tmp_path)
    for name in Settings.model_fields:
        monkeypatch.delenv(name.upper(), raising=False)
    for name, value in (GIVEN | essential_environment(1800.0, 600.0)).items():
        monkeypatch.setenv(name, value)
    return monkeypatch


def refusal() -> str:
    with pytest.raises(SystemExit) as refused:
        _ = serve_app.app
    return str(refused.value)


def test_with_all_it_needs_the_app_is_made(given: pytest.MonkeyPatch) -> None:
    assert serve_app.app is not None


def test_rays_settings_must_suffice_for_these_calls_and_this_drain(given: pytest.MonkeyPatch) -> None:
    given.setenv("MAX_CALL_S", "7200")
    given.setenv("DRAIN_S", "900")
    said = refusal()
    assert "export RAY_SERVE_HAPROXY_HARD_STOP_AFTER_S=7260" in said
    assert "export RAY_SERVE_DIRECT_INGRESS_MIN_DRAINING_PERIOD_S=900" in said


def test_shorter_calls_need_less_of_ray(given: pytest.MonkeyPatch) -> None:
    for name, value in essential_environment(300.0, 60.0).items():
        given.setenv(name, value)
    assert "HARD_STOP_AFTER_S=1860" in refusal()
    given.setenv("MAX_CALL_S", "300")
    given.setenv("DRAIN_S", "60")
    assert serve_app.app is not None


def test_webhooks_are_not_taken_unchecked_wherever_serve_listens(given: pytest.MonkeyPatch) -> None:
    given.delenv("TWILIO_ACCOUNT_SID")
    given.delenv("TWILIO_AUTH_TOKEN")
    assert "TWILIO_AUTH_TOKEN is not set" in refusal()
    given.setenv("ALLOW_UNSIGNED", "1")
    assert serve_app.app is not None


def test_what_is_wrong_with_settings_and_cluster_is_told_at_once(given: pytest.MonkeyPatch) -> None:
    given.delenv("RAY_AUTH_MODE")
    given.delenv("REDIS_URL")
    given.delenv("TWILIO_ACCOUNT_SID")
    given.delenv("TWILIO_AUTH_TOKEN")
    given.setenv("GREETING", "Hi {nmae}")
    said = refusal()
    assert all(
        part in said for part in ("export RAY_AUTH_MODE=token", "set REDIS_URL", "ALLOW_UNSIGNED=1", "{nmae}")
    )
    given.setenv("PORT", "eighty")
    assert "PORT" in refusal()


@pytest.mark.parametrize(
    ("names", "start", "give"),
    [
        (["STT_FALLBACK"], "python -m local.speech --host", "STT_FALLBACK=http://HOST:9001"),
        (["LLM_FALLBACK"], "python -m local.receptionist --host", "LLM_FALLBACK=http://HOST:9002/v1"),
        (
            ["TTS_FALLBACK", "LLM_FALLBACK"],
            "python -m local.speech --host",
            "TTS_FALLBACK=http://HOST:9001, LLM_FALLBACK=http://HOST:9002/v1",
        ),
    ],
)
def test_a_local_fallback_needs_an_address_where_nothing_starts_it(
    given: pytest.MonkeyPatch, names: list[str], start: str, give: str
) -> None:
    for name in names:
        given.setenv(name, "local")
    said = refusal()
    assert start in said
    assert give in said
    assert len(said.splitlines()) == 2  # and one that says which program can't start
    for name in names:
        given.setenv(name, "http://10.0.0.7:9001")
    assert serve_app.app is not None


async def test_all_who_ask_for_readiness_meanwhile_share_one_look() -> None:
    """Each look holds a connection for seconds where Postgres hangs."""
    ingress = object.__new__(serve_app.IngressActor)
    ingress._checking = None
    looks, answered = [], asyncio.Event()

    async def look() -> dict[str, str]:
        looks.append(1)
        await answered.wait()
        return {"postgres": "ok"}

    ingress._look_at_parts = look  # type: ignore[method-assign]
    asking = [asyncio.create_task(ingress._check_ready()) for _ in range(10)]
    await asyncio.sleep(0)
    asking.pop().cancel()  # whoever goes away takes nobody's answer with them
    await asyncio.sleep(0)
    answered.set()
    assert await asyncio.gather(*asking) == [{"postgres": "ok"}] * 9
    await ingress._check_ready()
    assert len(looks) == 2


# ---------------------------------------------------------------- who calls


SARAH = "+13125550142"
KNOWN = Known(
    (CustomerRecord(1, "Sarah Mitchell", 2020, vehicles=(VehicleRecord(1, 2022, "Honda", "Civic"),)),),
    workshop=workshop(),
)


class NoTools:
    """A pool of ToolActors that tells who it was asked about."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.context = SimpleNamespace(remote=self._context)

    async def _context(self, phone: str, called: str, attested: bool) -> bytes:
        self.asked.append(phone)
        return msgspec.json.encode(CallerContext("from the pool", ""))


def replica(callers: CallerCache | None) -> tuple[Any, NoTools, list[str]]:
    """An ingress that looks callers up, the pool that it may ask, and what it told the log."""
    ingress, tools, legs = object.__new__(serve_app.IngressActor), NoTools(), []
    log = SimpleNamespace(log_performance_metric=lambda call, turn, name, ms, at: legs.append(name))
    ingress._callers, ingress._tools, ingress._house = callers, tools, House("Elm", "America/Chicago")
    ingress._records = SimpleNamespace(log=log)
    return ingress, tools, legs


def ringing(caller: str, attested: bool = True) -> CallInfo:
    return CallInfo("CA1", caller, "+13125550100", attested, 0.0)


async def test_a_caller_who_is_still_known_is_greeted_with_nobody_asked(redis_url: str) -> None:
    cache = RedisCache(redis_url, wait_s=5, connect_s=5, look_s=60)
    callers = CallerCache(cache, ttl_s=60, lease_s=60)
    ingress, tools, legs = replica(callers)
    try:
        for number in (SARAH, ""):
            lease = await callers.lease(number)
            assert lease is not None
            await callers.keep(lease, KNOWN if number else Known(workshop=workshop()))
        trusted, forged = (
            await ingress._context(ringing(SARAH)),
            await ingress._context(ringing(SARAH, False)),
        )
        assert trusted.greeting.startswith("Hi Sarah, thanks for calling Elm. How is the Civic doing?")
        assert forged.greeting == "Hi Sarah, thanks for calling Elm. How can I help you today?"
        assert "Civic" not in forged.prompt
        withheld = await ingress._context(ringing("anonymous", False))
        assert withheld.greeting == "Thanks for calling Elm. How can I help you today?"
        assert "oil change" in withheld.prompt
        assert (tools.asked, legs) == ([], [Leg.CONTEXT_KEPT] * 3)

        await callers.forget(frozenset({SARAH}))
        assert (await ingress._context(ringing(SARAH))).greeting == "from the pool"
        assert (tools.asked, legs[-1]) == ([SARAH], Leg.CONTEXT)
    finally:
        await cache.close()


async def test_without_redis_or_with_nothing_to_be_kept_the_pool_is_asked() -> None:
    cache = RedisCache("redis://127.0.0.1:9/0", wait_s=5, connect_s=5, look_s=60)
    try:
        for callers in (CallerCache(cache, ttl_s=60, lease_s=60), None):
            ingress, tools, _ = replica(callers)
            assert (await ingress._context(ringing(SARAH))).greeting == "from the pool"
            assert tools.asked == [SARAH]
    finally:
        await cache.close()
