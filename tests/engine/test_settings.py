"""Settings: read from environment and `.env`; each wrong one gives a sentence that names it."""

from pathlib import Path

import pytest

from engine.settings import Settings, SettingsError, load_settings


@pytest.fixture(autouse=True)
def bare(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """An environment and a directory without settings."""
    monkeypatch.chdir(tmp_path)
    for name in Settings.model_fields:
        monkeypatch.delenv(name.upper(), raising=False)


def test_no_setting_is_required() -> None:
    settings = load_settings()
    assert settings.port == 8000
    assert settings.tool_replicas >= 2


def test_the_environment_and_the_file_are_read_and_the_environment_wins(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / ".env").write_text("PORT=8111\nDEALERSHIP_NAME=Lakeside\nUNKNOWN=1\n")
    monkeypatch.setenv("PORT", "8222")
    settings = load_settings()
    assert (settings.port, settings.dealership_name) == (8222, "Lakeside")


WRONG = [
    ("PORT", "0"), ("PORT", "65536"), ("PORT", "eighty"),
    ("BASE_URL", "myhost"), ("BASE_URL", "ftp://myhost"), ("BASE_URL", "https://"),
    ("STT_ENDPOINTING_MS", "5"), ("STT_ENDPOINTING_MS", "6000"), ("STT_UTTERANCE_END_MS", "999"),
    ("FLUX_EOT_THRESHOLD", "0.4"), ("FLUX_EOT_THRESHOLD", "1.1"), ("FLUX_EAGER_EOT_THRESHOLD", "0.2"),
    ("FLUX_EAGER_EOT_THRESHOLD", "0.95"), ("FLUX_EOT_TIMEOUT_MS", "499"), ("FLUX_EOT_TIMEOUT_MS", "60001"),
    ("FLUX_SILENCE_AFTER_MS", "200"), ("FLUX_SILENCE_AFTER_MS", "5001"),
    ("LLM_TEMPERATURE", "2.5"), ("LLM_TEMPERATURE", "warm"), ("LLM_MAX_TOKENS", "0"),
    ("LLM_FIRST_TOKEN_S", "0"), ("LLM_REPLY_S", "-1"),
    ("SESSION_TTL_S", "59"), ("REDIS_TIMEOUT_S", "0"),
    ("REDIS_LOOK_S", "0"), ("CACHE_WAIT_MS", "0"), ("CALLER_CACHE_S", "-1"), ("CHANGES_CHECK_S", "0"),
    ("OUTAGE_S", "0"),
    ("CALL_TRIES", "0"), ("CALL_STEADY_S", "0"), ("HOST_STEADY_S", "0"), ("HOSTS_PER_CALL", "0"),
    ("CALL_SEARCH_S", "9"), ("CALL_STREAMS", "-1"), ("HOST_START_S", "0"), ("HOST_AGAIN_S", "0"),
    ("HOST_REST_S", "-1"), ("HOST_EMPTY_S", "0"),
    ("POSTGRES_TIMEOUT_S", "0"), ("LOG_SPOOL_ROWS", "9"), ("LOG_WRITE_S", "0"), ("READY_CHECK_S", "0"),
    ("SLOT_LEASE_S", "0"), ("CONTEXT_S", "11"), ("NHTSA_TIMEOUT_S", "0"), ("LOOP_LAG_S", "0"), ("SWEEP_S", "0"),
    ("PURGE_S", "0"), ("KEEP_TRANSCRIPTS_DAYS", "-1"), ("KEEP_TOOL_RUNS_DAYS", "-1"), ("KEEP_EVENTS_DAYS", "-1"),
    ("KEEP_METRICS_DAYS", "-1"), ("KEEP_USAGE_DAYS", "-1"), ("KEEP_CALLS_DAYS", "1.5"), ("CONSOLE_STATEMENT_S", "0"),
    ("PRICE_TOKENS_IN", "-1"), ("PRICE_TOKENS_CACHED", "-1"), ("PRICE_TOKENS_OUT", "cheap"),
    ("PRICE_RECOGNITION", "-1"), ("PRICE_SPEECH", "-1"), ("PRICE_TELEPHONE", "-1"),
    ("SESSION_WRITE_MS", "1"), ("TOKEN_TTL_S", "1"),
    ("SYSTEM_PROMPT", "@no-such-file.txt"), ("CRM", "our_crm"),
    ("BARGE_IN_MIN_WORDS", "0"), ("SILENCE_PROMPT_S", "8.1"), ("SILENCE_PROMPT_S", "0"),
    ("SILENCE_PROMPTS", "-1"), ("SILENCE_PROMPTS", "6"), ("FILLER_S", "0"), ("FILLER_S", "6.1"), ("MAX_CALL_S", "10"),
    ("PLAYBACK_LEAD_MS", "20"), ("PLAYBACK_LEAD_MS", "5000"),
    ("MAX_TOOL_CALLS", "0"), ("TRUST_CALLER_ID", "perhaps"), ("TOOL_SETTLE_S", "0"), ("TOOL_SETTLE_S", "21"),
    ("TOOL_TIMEOUT_S", "0"), ("TOOL_CALLS_PER_TURN", "0"), ("TOOL_REPLICAS", "1"), ("TOOL_REPLICAS_MAX", "1"),
    ("INGRESS_REPLICAS", "0"), ("ALLOW_UNSIGNED", "perhaps"), ("CALLS_PER_HOST", "0"), ("CAPACITY", "0"),
    ("SPARE_HOSTS", "0"), ("PLACEMENT", "nowhere"),
    ("STT_KEPT_S", "9"), ("STT_KEPT_S", "61"), ("STT_OPEN_S", "0"), ("STT_SILENCE_S", "0"), ("STT_STALE_S", "0"),
    ("STT_FINALIZE_S", "0"), ("STT_DEAF_S", "0"), ("STT_DEAF_S", "9"), ("TTS_OPEN_S", "0"),
    ("TWILIO_WAIT_MOST_S", "0"), ("TWILIO_WAIT_MOST_S", "61"), ("STT_SILENCE_MOST_S", "0"), ("STT_CAUGHT_UP_S", "0"),
    ("STT_CAUGHT_UP_S", "9"), ("DEEPGRAM_SEND_S", "0"), ("TTS_AHEAD_S", "0"), ("TTS_AHEAD_S", "6"),
    ("TTS_SLOW_MOST", "0.9"), ("TTS_SLOW_MOST", "21"), ("TOOLS_OPEN_S", "0"),
    ("TWILIO_REST_S", "0"), ("TWILIO_REST_S", "31"), ("TWILIO_REST_TRIES", "0"), ("TWILIO_ASKS_S", "0"),
    ("STREAM_CLOSE_S", "0"), ("STREAM_START_S", "0"), ("STREAM_QUIET_S", "0"), ("STREAM_SEND_S", "0"),
    ("STREAM_END_S", "0"), ("VOICE_WAIT_S", "0"), ("VOICE_WAIT_S", "9"), ("MARKS_WAIT_S", "0"), ("LAST_WORDS_S", "0"),
    ("CLEARED_S", "0"), ("CLEARED_S", "9"), ("KEYS_PAUSE_S", "0"), ("ATTACH_S", "0"),
    ("HOST_SILENT_S", "0.2"), ("HOST_SILENT_S", "6"),
    ("TTS_FIRST_AUDIO_S", "0"), ("TTS_FIRST_AUDIO_S", "8"), ("TTS_STALL_S", "0"), ("TTS_STALL_S", "8"),
    ("LLM_FIRST_TOKEN_S", "31"), ("LLM_STALL_S", "0"), ("LLM_STALL_S", "31"), ("LLM_BUDGET_S", "0"),
    ("LLM_BUDGET_S", "31"), ("LLM_ATTEMPTS", "0"), ("LLM_ATTEMPTS", "21"), ("LLM_PAUSE_S", "0"), ("LLM_PAUSE_S", "6"),
    ("FILLER_AGAIN_S", "0"), ("FILLER_AGAIN_S", "9"),
    ("STT_FALLBACK", "elsewhere"), ("TTS_FALLBACK", "ftp://x"), ("LLM_FALLBACK", "http://"),
    ("BREAKER_FAILURES", "0"), ("BREAKER_REST_S", "0"), ("BREAKER_REST_MOST_S", "0"),
    ("DEEPGRAM_API_KEY", "0123\u20134567"), ("OPENAI_API_KEY", "sk-1 sk-2"), ("LLM_FALLBACK_KEY", "sk\t1"),
    ("DRAIN_S", "-1"), ("LOG_LEVEL", "loud"), ("ALLOW_LOCAL", "perhaps"), ("STRICT_STREAM_SIGNATURE", "2"),
]  # fmt: skip


@pytest.mark.parametrize(("name", "value"), WRONG)
def test_a_wrong_value_gives_one_sentence_that_names_the_setting(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str
) -> None:
    monkeypatch.setenv(name, value)
    with pytest.raises(SettingsError) as refused:
        load_settings()
    [sentence] = str(refused.value).splitlines()
    assert sentence.startswith(f"{name} ")


def test_a_key_that_is_refused_is_not_shown_and_spaces_around_one_are_no_part_of_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("DEEPGRAM_API_KEY", " 0123456789abcdef ")
    assert load_settings().deepgram_api_key == "0123456789abcdef"
    monkeypatch.setenv("DEEPGRAM_API_KEY", "0123456789\u201cabcdef")
    with pytest.raises(SettingsError) as refused:
        load_settings()
    assert "0123456789" not in str(refused.value)


def test_several_wrong_values_give_a_sentence_each(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PORT", "0")
    monkeypatch.setenv("CAPACITY", "none")
    with pytest.raises(SettingsError) as refused:
        load_settings()
    assert [line.split()[0] for line in str(refused.value).splitlines()] == ["PORT", "CAPACITY"]


@pytest.mark.parametrize("lone", ["TWILIO_ACCOUNT_SID", "TWILIO_AUTH_TOKEN"])
def test_half_of_twilios_credentials_is_refused(monkeypatch: pytest.MonkeyPatch, lone: str) -> None:
    monkeypatch.setenv(lone, "AC0123")
    with pytest.raises(SettingsError, match="TWILIO_ACCOUNT_SID and TWILIO_AUTH_TOKEN"):
        load_settings()


def test_more_tools_at_least_than_at_most_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TOOL_REPLICAS", "6")
    with pytest.raises(SettingsError, match="TOOL_REPLICAS_MAX is below TOOL_REPLICAS"):
        load_settings()


def test_an_expected_end_surer_than_the_end_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FLUX_EAGER_EOT_THRESHOLD", "0.8")
    with pytest.raises(SettingsError, match="FLUX_EAGER_EOT_THRESHOLD is above FLUX_EOT_THRESHOLD"):
        load_settings()


def test_a_model_that_does_not_hear_the_callers_language_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STT_MODEL", "flux-general-en")
    monkeypatch.setenv("STT_LANGUAGE", "es")
    with pytest.raises(SettingsError, match="flux-general-multi"):
        load_settings()


def test_every_field_with_a_bound_has_its_wrong_value_here() -> None:
    bounded = {name.upper() for name, field in Settings.model_fields.items() if field.metadata}
    assert bounded <= {name for name, _ in WRONG}


def test_every_setting_says_what_it_is_for() -> None:
    assert [name for name, field in Settings.model_fields.items() if not field.description] == []


def test_a_prompt_is_read_from_its_file(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "prompt.txt").write_text("Be brief. ñ", encoding="utf-8")
    monkeypatch.setenv("SYSTEM_PROMPT", "@prompt.txt")
    assert load_settings().system_prompt == "Be brief. ñ"


def test_a_base_url_loses_its_last_slash(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BASE_URL", "https://voice.example.com/")
    assert load_settings().base_url == "https://voice.example.com"


def test_an_empty_number_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LLM_TEMPERATURE", "")
    monkeypatch.setenv("FLUX_EAGER_EOT_THRESHOLD", "")
    settings = load_settings()
    assert (settings.llm_temperature, settings.flux_eager_eot_threshold) == (None, None)


def test_noises_are_split_and_lower_case(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BACKCHANNELS", "Mm-hmm, I see ,,OK")
    assert load_settings().listener_noises == {"mm-hmm", "i see", "ok"}


def test_settings_do_not_change() -> None:
    with pytest.raises(ValueError, match="frozen"):
        load_settings().port = 1


@pytest.mark.parametrize(
    ("name", "value", "remedy"),
    [
        ("DEEPGRAM_BASE_URL", "banana", "http://127.0.0.1:9001"),
        ("OPENAI_BASE_URL", "banana", "http://127.0.0.1:9001"),
        ("NHTSA_BASE_URL", "x", "http://127.0.0.1:9001"),
        ("TWILIO_BASE_URL", "x", "http://127.0.0.1:9001"),
        ("DATABASE_URL", "banana", "postgresql://"),
        ("REDIS_URL", "banana", "redis://"),
        ("TIMEZONE", "Mars/One", "America/Chicago"),
        ("FALLBACK_NUMBER", "abc", "+13125550100"),
        ("TRANSFER_NUMBER", "12", "+13125550100"),
        ("TTS_MODEL", " ", "name a model"),
        ("PORT", "eighty", "the default is 8000"),
    ],
)
def test_a_setting_that_will_not_do_names_itself_and_the_remedy(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str, remedy: str
) -> None:
    monkeypatch.setenv(name, value)
    with pytest.raises(SettingsError) as refused:
        load_settings(_env_file=None)
    assert str(refused.value).startswith(name)
    assert remedy in str(refused.value)
