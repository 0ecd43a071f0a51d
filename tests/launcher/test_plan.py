"""What is started here follows from the settings: in the place of what has no key, in reserve for what has one."""

from pathlib import Path

from engine.settings import Settings
from launcher.plan import Addresses, parts_of, plan_for, settled
from launcher.stage import Stage

KEYS = {
    "deepgram_api_key": "dg",
    "openai_api_key": "sk",
    "database_url": "postgresql://x",
    "redis_url": "redis://x",
}
AT = Addresses("postgresql://here", "redis://here", "http://127.0.0.1:7001", "http://127.0.0.1:7002")


def settings(**given: str) -> Settings:
    return Settings(_env_file=None, **given)  # type: ignore[arg-type]


def lines(given: Settings) -> dict[str, tuple[str, bool]]:
    return {part.job: (part.served_by, part.real) for part in parts_of(given, haproxy=True)}


def test_a_local_fallback_is_started_although_the_vendor_is_configured() -> None:
    plan = plan_for(settings(**KEYS, stt_fallback="local", llm_fallback="local"))
    assert (plan.speech, plan.receptionist) == (False, False)
    assert (plan.starts_speech, plan.starts_receptionist) == (True, True)
    plan = plan_for(settings(**KEYS))
    assert (plan.starts_speech, plan.starts_receptionist) == (False, False)


def test_the_app_is_given_the_address_of_a_local_fallback_and_keeps_its_vendor() -> None:
    given = settings(**KEYS, tts_fallback="local", tts_fallback_key="mine", llm_fallback="local")
    final = settled(given, AT)
    assert (final.tts_fallback, final.tts_fallback_key) == ("http://127.0.0.1:7001", "local")
    assert (final.llm_fallback, final.llm_fallback_key) == ("http://127.0.0.1:7002/v1", "local")
    assert (final.stt_fallback, final.stt_fallback_key) == ("", "")
    assert (final.deepgram_api_key, final.openai_api_key) == ("dg", "sk")
    assert final.deepgram_base_url == "https://api.deepgram.com"


def test_where_the_local_server_serves_already_it_is_no_fallback() -> None:
    given = settings(stt_fallback="local", tts_fallback="local", llm_fallback="local")
    assert plan_for(given).reserves == ()
    final = settled(given, AT)
    assert (final.stt_fallback, final.tts_fallback, final.llm_fallback) == ("", "", "")
    assert (final.deepgram_base_url, final.deepgram_api_key) == ("http://127.0.0.1:7001", "local")
    assert not [job for job in lines(given) if "reserve" in job]


def test_a_fallback_elsewhere_is_left_as_it_is() -> None:
    given = settings(**KEYS, stt_fallback="https://api.eu.deepgram.com", stt_fallback_key="eu")
    final = settled(given, AT)
    assert (final.stt_fallback, final.stt_fallback_key) == ("https://api.eu.deepgram.com", "eu")


def test_the_table_tells_what_is_in_reserve() -> None:
    there = lines(settings(**KEYS, stt_fallback="local", tts_fallback="local", llm_fallback="local"))
    assert there["hears and speaks"] == ("Deepgram (https://api.deepgram.com)", True)
    assert there["hears and speaks, in reserve"] == ("Moonshine and Piper, on this CPU", False)
    assert there["thinks, in reserve"] == ("receptionist, by rules", False)
    there = lines(settings(**KEYS, tts_fallback="https://api.eu.deepgram.com"))
    assert there["speaks, in reserve"] == ("Deepgram's protocol (https://api.eu.deepgram.com)", True)
    assert there["thinks, in reserve"] == ("gpt-5.4-mini (https://api.openai.com/v1)", True)
    assert "hears, in reserve" not in there


def test_a_receptionist_in_reserve_runs_and_is_revived_beside_the_model(tmp_path: Path) -> None:
    with Stage(settings(**KEYS, llm_fallback="local"), tmp_path, tmp_path, prepare=False) as stage:
        final = stage.settings()
        assert set(stage.pids) == {"receptionist"}
        assert stage.receptionist is not None
        assert final.llm_fallback == f"{stage.receptionist.url}/v1"
        assert final.openai_base_url == "https://api.openai.com/v1"
