"""What `serve run serve_app:app` refuses to start with; Ray is not started."""

import asyncio
from pathlib import Path

import pytest

import serve_app
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
