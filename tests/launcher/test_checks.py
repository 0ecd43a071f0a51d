"""What is wrong with settings is told in one sentence, before anything is started."""

import asyncio
import os
import re
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from engine.settings import Settings
from launcher.checks import check_before_start, check_python, check_signed, without_password
from launcher.errors import LaunchError
from launcher.plan import plan_for
from launcher.ports import free_ports

ROOT = Path(__file__).parents[2]
TWILIO = {"twilio_account_sid": "AC0", "twilio_auth_token": "secret"}


def settings(**given: object) -> Settings:
    return Settings(_env_file=None, **{"port": free_ports(1)[0], **given})  # type: ignore[arg-type]


def complaint(given: Settings) -> str:
    with pytest.raises(LaunchError) as raised:
        check_before_start(given)
    text = str(raised.value)
    assert "\n" not in text
    return text


def test_good_settings_pass() -> None:
    check_before_start(settings())


def test_an_old_or_untried_python_is_refused() -> None:
    for version in ((3, 10), (3, 14)):
        with pytest.raises(LaunchError, match=r"use Python 3\.11"):
            check_python(version)


def test_a_taken_port_is_named_with_another_to_try() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]

        assert f"Port {port} on 127.0.0.1 is taken" in complaint(settings(port=port))


def test_real_callers_are_not_answered_by_a_stand_in_unless_asked_for() -> None:
    assert "DEEPGRAM_API_KEY and OPENAI_API_KEY not" in complaint(settings(**TWILIO))
    assert "ALLOW_LOCAL=1" in complaint(settings(**TWILIO, deepgram_api_key="k"))
    check_before_start(settings(**TWILIO, allow_local=True))
    check_before_start(settings(**TWILIO, deepgram_api_key="k", openai_base_url="http://127.0.0.1:11434/v1"))
    keys = {"deepgram_api_key": "k", "openai_api_key": "k"}
    check_before_start(settings(**TWILIO, **keys, stt_fallback="local", llm_fallback="local"))


def test_twilio_needs_a_secure_address() -> None:
    given = settings(**TWILIO, allow_local=True, base_url="http://voice.example.com")

    assert "https" in complaint(given)


@pytest.mark.parametrize(
    "reached",
    [
        {"base_url": "https://voice.example.com"},
        {"base_url": "http://203.0.113.9"},
        {"host": "0.0.0.0"},
        {"host": "::"},
        {"host": "voice.example.com"},
    ],
)
def test_webhooks_that_others_can_send_are_checked_unless_asked_otherwise(reached: dict[str, str]) -> None:
    with pytest.raises(LaunchError, match=r"TWILIO_AUTH_TOKEN is not set.*ALLOW_UNSIGNED=1") as raised:
        check_signed(settings(**reached))
    assert "\n" not in str(raised.value)
    check_signed(settings(**reached, allow_unsigned=True))
    check_signed(settings(**reached, **TWILIO))


@pytest.mark.parametrize("host", ["127.0.0.1", "127.0.0.2", "::1", "localhost"])
def test_on_this_machine_alone_nothing_has_to_be_signed(host: str) -> None:
    check_signed(settings(host=host, base_url=f"http://{f'[{host}]' if ':' in host else host}:8000"))


def test_a_database_that_does_not_answer_is_named_without_its_password() -> None:
    [port] = free_ports(1)
    text = complaint(settings(database_url=f"postgresql://anna:hunter2@127.0.0.1:{port}/crm"))

    assert f"postgresql://anna@127.0.0.1:{port}/crm" in text
    assert "DATABASE_URL" in text
    assert "hunter2" not in text


def test_a_redis_that_does_not_answer_is_named_without_its_password() -> None:
    [port] = free_ports(1)
    text = complaint(settings(redis_url=f"redis://:hunter2@127.0.0.1:{port}/0"))

    assert f"redis://127.0.0.1:{port}/0" in text
    assert "REDIS_URL" in text
    assert "hunter2" not in text


def test_a_wrong_password_is_a_sentence_too(postgres_url: str, redis_url: str) -> None:
    wrong = re.sub(r":[^:@]+@", ":wrong@", postgres_url)
    assert "password" in asyncio.run(_complaint_in_thread(settings(database_url=wrong)))
    wrong = re.sub(r":[^:@]+@", ":wrong@", redis_url)
    assert "REDIS_URL" in asyncio.run(_complaint_in_thread(settings(redis_url=wrong)))


async def _complaint_in_thread(given: Settings) -> str:
    return await asyncio.to_thread(complaint, given)


def test_servers_that_answer_pass(postgres_url: str, redis_url: str) -> None:
    check_before_start(settings(database_url=postgres_url, redis_url=redis_url))


@pytest.mark.parametrize("url", ["nonsense", "redis://[", "redis://:p@h:99999/0"])
def test_an_address_is_shown_without_password_whatever_it_is(url: str) -> None:
    assert ":p@" not in without_password(url)


def test_a_server_of_ones_own_is_no_stand_in() -> None:
    assert plan_for(settings()).receptionist
    assert not plan_for(settings(openai_base_url="http://127.0.0.1:11434/v1")).receptionist
    assert not plan_for(settings(deepgram_api_key="k")).speech


def serve(**environment: str) -> "subprocess.CompletedProcess[str]":
    plain = {name: value for name, value in os.environ.items() if name in {"PATH", "HOME", "TMPDIR"}}
    return subprocess.run(
        [sys.executable, "-m", "launcher.serve"],
        env={**plain, **environment, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=120,
    )


@pytest.mark.parametrize(
    ("environment", "said"),
    [
        ({"PORT": "eighty"}, "PORT"),
        ({"TWILIO_ACCOUNT_SID": "AC0"}, "go together"),
        ({"BASE_URL": "myhost"}, "must be an absolute https URL"),
        ({"REDIS_URL": "redis://127.0.0.1:1/0"}, "REDIS_URL"),
        ({"BASE_URL": "https://voice.example.com"}, "TWILIO_AUTH_TOKEN"),
    ],
)
def test_make_serve_fails_with_a_sentence_and_no_traceback(
    environment: dict[str, str], said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    ended = serve(**environment)

    assert ended.returncode == 1
    assert said in ended.stderr
    assert "Traceback" not in ended.stderr
    assert len(ended.stderr.strip().splitlines()) == 1
