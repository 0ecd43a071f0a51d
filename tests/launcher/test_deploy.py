"""What a deploy of the local app keeps, takes anew, and refuses in one sentence."""

from typing import Any

import pytest

from engine.settings import Settings
from launcher.deploy import kept
from launcher.errors import LaunchError

FOUND = {
    "database_url": "postgresql://trunkline@127.0.0.1:5433/trunkline",
    "redis_url": "redis://127.0.0.1:6380/0",
    "deepgram_base_url": "http://127.0.0.1:7001",
    "deepgram_api_key": "local",
    "openai_base_url": "http://127.0.0.1:7002/v1",
    "openai_api_key": "local",
}
ADDRESSES = {
    "postgres": FOUND["database_url"],
    "valkey": FOUND["redis_url"],
    "speech": "http://127.0.0.1:7001",
    "receptionist": "http://127.0.0.1:7002",
}
FACTS: dict[str, Any] = {
    "url": "http://127.0.0.1:8000",
    "redis_url": FOUND["redis_url"],
    "addresses": ADDRESSES,
    "drain_s": 60.0,
    "max_call_s": 1800.0,
}


def settings(**given: object) -> Settings:
    return Settings(_env_file=None, **{"port": 8000, **given})  # type: ignore[arg-type]


def complaint(given: Settings, **facts: object) -> str:
    with pytest.raises(LaunchError) as raised:
        kept(given, FACTS | facts)
    return str(raised.value)


def test_a_new_version_finds_what_stands_in_for_the_vendors_and_keeps_the_drain_time() -> None:
    new = kept(settings(capacity=7, drain_s=5.0), FACTS)
    assert {name: getattr(new, name) for name in FOUND} == FOUND
    assert (new.capacity, new.drain_s) == (7, 60.0)


def test_what_is_configured_is_not_replaced_by_a_stand_in() -> None:
    mine = "redis://127.0.0.1:7777/1"
    new = kept(settings(redis_url=mine), FACTS | {"redis_url": mine})
    assert new.redis_url == mine


def test_a_stand_in_that_was_not_started_is_asked_for_by_name() -> None:
    without = ADDRESSES | {"speech": ""}
    assert complaint(settings(), addresses=without).startswith("DEEPGRAM_BASE_URL is not set")
    given = settings(deepgram_api_key="k", tts_fallback="local")
    assert complaint(given, addresses=without).startswith("TTS_FALLBACK says `local`")


def test_a_new_version_finds_what_is_in_reserve() -> None:
    new = kept(settings(deepgram_api_key="k", stt_fallback="local", openai_api_key="k"), FACTS)
    assert (new.stt_fallback, new.stt_fallback_key) == (ADDRESSES["speech"], "local")
    assert (new.deepgram_base_url, new.deepgram_api_key) == ("https://api.deepgram.com", "k")


def test_what_cannot_change_while_calls_run_is_said() -> None:
    assert "MAX_CALL_S can't grow" in complaint(settings(max_call_s=3600.0))
    assert "http://127.0.0.1:8000" in complaint(settings(port=8001))
    assert "REDIS_URL is kept" in complaint(settings(redis_url="redis://127.0.0.1:7777/1"))


def test_a_shorter_limit_of_calls_is_taken() -> None:
    assert kept(settings(max_call_s=600.0), FACTS).max_call_s == 600.0
