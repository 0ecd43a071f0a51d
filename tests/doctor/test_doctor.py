"""One thing is broken at a time, and exactly its line turns wrong and says what to do."""

import argparse
import asyncio
import io
import os
import re
import socket
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import certifi
import pytest
from rich.console import Console
from starlette.responses import HTMLResponse, PlainTextResponse, Response

from doctor.__main__ import address
from doctor.examination import examine, look_at
from doctor.findings import Finding, Secrets, Verdict
from doctor.report import print_findings, print_for_twilio
from engine.probe import is_probe
from engine.settings import Settings
from launcher.services import Services
from local.chat import Text
from simulators.twilio import Fault
from tests.doctor.standins import SECRETS, Bench, bench
from tests.refusing import no_writes

ROOT = Path(__file__).parents[2]
LIMIT_S = 20.0
SOON_S = 2.0  # for what never comes
NOBODY = "http://127.0.0.1:1"


@pytest.fixture(scope="module", autouse=True)
def few_authorities(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """One certificate authority: each client of a vendor reads them all, which takes longer than all that is tested."""
    first = Path(certifi.where()).read_text().partition("-----END CERTIFICATE-----")
    one = tmp_path_factory.mktemp("authorities") / "one.pem"
    one.write_text(first[0] + first[1] + "\n")
    with pytest.MonkeyPatch.context() as patched:
        patched.setenv("SSL_CERT_FILE", str(one))
        yield


@pytest.fixture
async def well(template_database: str, redis_url: str) -> AsyncIterator[Bench]:
    """All is well, and then a test breaks something."""
    async with bench(template_database, redis_url) as standing:
        yield standing


async def looked(well: Bench, limit_s: float = LIMIT_S) -> list[Finding]:
    """All findings; no secret is among them, and each that is wrong says what to do in one sentence."""
    found = await look_at(well.settings, well.app.base, limit_s)
    for one in found:
        text = f"{one.what} {one.todo}"
        assert not [secret for secret in SECRETS if secret in text], text
        assert "\n" not in text
        if one.verdict in (Verdict.WRONG, Verdict.WARNING):
            assert re.fullmatch(r"[A-Z'].*[^.]\.", one.todo), one
    return found


def bad(found: list[Finding], verdict: Verdict = Verdict.WRONG) -> dict[str, Finding]:
    return {one.part: one for one in found if one.verdict is verdict}


async def the_wrong_line(well: Bench, verdict: Verdict = Verdict.WRONG, limit_s: float = LIMIT_S) -> Finding:
    """The one line that is as bad as that, of all."""
    found = await looked(well, limit_s)
    unlike = bad(found, Verdict.WARNING if verdict is Verdict.WRONG else Verdict.WRONG)
    assert not {part: one for part, one in unlike.items() if part != "public address"}, unlike
    [line] = [
        one
        for part, one in bad(found, verdict).items()
        if part != "public address" or verdict is Verdict.WRONG
    ]
    return line


async def test_where_all_is_well_nothing_is_wrong_and_everything_was_tried(well: Bench) -> None:
    found = await looked(well)
    assert bad(found) == {}
    assert [one.part for one in found if one.verdict is Verdict.UNTRIED] == []
    # The tests' app has no certificate, so BASE_URL is left empty, which is a warning.
    assert set(bad(found, Verdict.WARNING)) == {"public address"}
    parts = [one.part for one in found]
    assert parts == [
        "settings", "Deepgram key", "Deepgram hears", "Deepgram speaks", "STT_FALLBACK", "TTS_FALLBACK",
        "thinks", "LLM_FALLBACK", "Twilio account", "Twilio number", "people", "Postgres", "Redis", "HAProxy",
        "port", "public address", "reached", "ready", "webhook", "media stream", "forged webhook",
    ]  # fmt: skip


async def test_the_call_that_it_makes_is_known_as_the_doctors_and_is_ended(well: Bench) -> None:
    await looked(well)
    async with asyncio.timeout(20):
        await well.app.over.wait()
    [rang] = well.app.rang
    assert is_probe(rang["CallSid"])
    assert re.fullmatch(r"CA[0-9a-f]{32}", rang["CallSid"])
    assert [message["event"] for message in well.app.said] == ["connected", "start", "stop"]
    assert well.app.said[1]["start"]["customParameters"] == {"token": "t-1"}
    assert [(form["CallSid"], form["CallStatus"]) for form in well.app.ended] == [
        (rang["CallSid"], "completed")
    ]


# ---------------------------------------------------------------- vendors

REFUSED = {
    401: (Verdict.WRONG, "the key is refused", "Set"),
    402: (Verdict.WRONG, "no credit", "Add credit"),
    403: (Verdict.WRONG, "may not use", "console.deepgram.com"),
    400: (Verdict.WRONG, "refused with 400", "Check"),
    429: (Verdict.WARNING, "as many are open", "fewer calls"),
    503: (Verdict.WRONG, "answered 503", "status.deepgram.com"),
}


@pytest.mark.parametrize(
    ("path", "part", "status"),
    [
        *(("/v1/listen", "hears", status) for status in REFUSED),
        *(("/v1/speak", "speaks", s) for s in (401, 429)),
    ],
)
async def test_what_deepgram_refuses_is_told_with_its_remedy(
    well: Bench, path: str, part: str, status: int
) -> None:
    well.deepgram.refuses[path] = status
    well.change(stt_fallback="local", tts_fallback="local")
    verdict, what, todo = REFUSED[status]
    line = await the_wrong_line(well, verdict)
    assert line.part == f"Deepgram {part}"
    assert what in line.what
    assert todo in line.todo


async def test_a_wrong_key_is_one_line_and_what_needs_it_is_not_tried(well: Bench) -> None:
    well.deepgram.refuses["/v1/projects"] = 401
    line = await the_wrong_line(well)
    assert (line.part, line.what) == ("Deepgram key", "the key is refused")
    assert "DEEPGRAM_API_KEY" in line.todo
    untried = {one.part for one in await looked(well) if one.verdict is Verdict.UNTRIED}
    assert untried == {"Deepgram hears", "Deepgram speaks"}


async def test_a_key_that_may_not_list_projects_is_good_enough(well: Bench) -> None:
    well.deepgram.refuses["/v1/projects"] = 403
    assert bad(await looked(well)) == {}


async def test_deepgram_that_cannot_be_reached_is_told(well: Bench) -> None:
    well.change(deepgram_base_url=NOBODY)
    line = await the_wrong_line(well)
    assert line.part == "Deepgram key"
    assert "network" in line.todo


@pytest.mark.parametrize("part", ["STT_FALLBACK", "TTS_FALLBACK"])
async def test_a_fallback_that_cannot_be_reached_is_told(well: Bench, part: str) -> None:
    well.change(**{part.lower(): NOBODY})
    line = await the_wrong_line(well)
    assert line.part == part
    assert part in line.todo


@pytest.mark.parametrize("part", ["STT_FALLBACK", "TTS_FALLBACK"])
async def test_without_a_fallback_real_callers_are_a_reason_to_warn(well: Bench, part: str) -> None:
    well.change(**{part.lower(): ""})
    line = await the_wrong_line(well, Verdict.WARNING)
    assert line.part == part


async def test_a_local_fallback_that_is_not_installed_is_told(
    well: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    import doctor.speech

    well.change(stt_fallback="local")
    assert bad(await looked(well)) == {}
    monkeypatch.setattr(doctor.speech, "find_spec", lambda _: None)
    line = await the_wrong_line(well)
    assert line.part == "STT_FALLBACK"
    assert "local-speech" in line.todo


MODEL_REFUSED = {
    (401, "invalid_api_key"): (Verdict.WRONG, "the key is refused"),
    (402, "x"): (Verdict.WRONG, "no credit"),
    (403, "x"): (Verdict.WRONG, "may not use gpt-4o"),
    (404, "model_not_found"): (Verdict.WRONG, "gpt-4o is not known"),
    (429, "insufficient_quota"): (Verdict.WRONG, "no credit"),
    (429, "rate_limit_exceeded"): (Verdict.WARNING, "limits"),
    (400, "unsupported_value"): (Verdict.WRONG, "refuses what calls ask"),
    (500, "x"): (Verdict.WRONG, "answered 500"),
}


@pytest.mark.parametrize("refusal", MODEL_REFUSED)
async def test_what_the_model_refuses_is_told_with_its_remedy(well: Bench, refusal: tuple[int, str]) -> None:
    well.openai.refuses["gpt-4o"] = refusal
    verdict, what = MODEL_REFUSED[refusal]
    line = await the_wrong_line(well, verdict)
    assert line.part == "thinks"
    assert what in line.what


async def test_a_model_is_asked_as_calls_ask_it(well: Bench) -> None:
    asked: list[dict[str, Any]] = []

    async def reply(request: dict[str, Any]) -> AsyncIterator[Text]:
        asked.append(request)
        yield Text("Yes.")

    well.openai.reply = reply  # type: ignore[method-assign]
    assert bad(await looked(well)) == {}
    assert [bool(one["stream"] and one["tools"]) for one in asked] == [True, True]


async def test_a_model_in_reserve_that_is_not_there_is_told(well: Bench) -> None:
    well.openai.models.discard("gpt-5.4-mini")
    line = await the_wrong_line(well)
    assert line.part == "LLM_FALLBACK"
    assert "LLM_FALLBACK_MODEL" in line.todo


async def test_a_model_that_cannot_be_reached_is_one_line(well: Bench) -> None:
    well.change(openai_base_url=f"{NOBODY}/v1")
    line = await the_wrong_line(well)
    assert (line.part, "network" in line.todo) == ("thinks", True)


async def test_a_model_that_does_not_answer_is_not_waited_for(well: Bench) -> None:
    well.openai.slow_s = 30.0
    line = await the_wrong_line(well, limit_s=SOON_S)
    assert (line.part, line.what) == ("thinks", "no answer in 2 s")


async def test_a_server_that_has_no_list_of_models_will_do(well: Bench) -> None:
    from starlette.applications import Starlette
    from starlette.routing import Mount

    from local.chat import chat_app
    from local.serving import serving

    async with serving(Starlette(routes=[Mount("/", chat_app(well.openai))])) as server:
        well.change(openai_base_url=f"{server.http_url}/v1")
        assert bad(await looked(well)) == {}


# ---------------------------------------------------------------- the telephone


async def test_a_wrong_token_of_twilios_is_told(well: Bench) -> None:
    well.twilio.auth_token = "another"
    line = await the_wrong_line(well)
    assert line.part == "Twilio account"
    assert "TWILIO_AUTH_TOKEN" in line.todo


async def test_twilio_that_cannot_be_reached_is_told(well: Bench) -> None:
    well.change(twilio_base_url=NOBODY)
    line = await the_wrong_line(well)
    assert line.part == "Twilio account"
    assert "network" in line.todo


async def test_too_many_requests_to_twilio_are_a_warning(well: Bench) -> None:
    well.twilio.faults.append(Fault(status=429))
    assert (await the_wrong_line(well, Verdict.WARNING)).part == "Twilio account"


async def test_a_suspended_account_is_told(well: Bench) -> None:
    well.twilio.status = "suspended"
    line = await the_wrong_line(well)
    assert (line.part, line.what) == ("Twilio account", "it is suspended")


async def test_a_number_that_asks_another_address_is_told(well: Bench) -> None:
    [number] = well.twilio.numbers
    old = number.voice_url.replace(well.app.base, "https://old.example.com")
    well.twilio.numbers[:] = [type(number)(number.number, old)]
    line = await the_wrong_line(well)
    assert line.part == "Twilio number"
    assert "https://old.example.com" in line.what


@pytest.mark.parametrize(
    ("keeps", "todo"), [(0, "paste the address"), (1, "so that Twilio tries again"), (2, "TwiML Bin")]
)
async def test_what_a_number_lacks_is_a_warning(well: Bench, keeps: int, todo: str) -> None:
    [number] = well.twilio.numbers
    bare = number.voice_url.partition("#")[0]
    urls = ["https://demo.twilio.com/welcome", bare, number.voice_url]
    well.twilio.numbers[:] = [type(number)(number.number, urls[keeps])]
    line = await the_wrong_line(well, Verdict.WARNING)
    assert line.part == "Twilio number"
    assert todo in line.todo


@pytest.mark.parametrize("name", ["fallback_number", "transfer_number"])
async def test_without_people_to_put_callers_through_to_it_warns(well: Bench, name: str) -> None:
    well.change(**{name: ""})
    line = await the_wrong_line(well, Verdict.WARNING)
    assert line.part == "people"
    assert name.upper() in line.todo


# ---------------------------------------------------------------- this machine


async def test_postgres_that_is_away_is_told_without_its_password(well: Bench) -> None:
    well.change(database_url="postgresql://anna:hunter2@127.0.0.1:1/crm")
    line = await the_wrong_line(well)
    assert line.part == "Postgres"
    assert "DATABASE_URL" in line.todo


async def test_a_database_without_this_versions_tables_is_told(well: Bench, services: Services) -> None:
    well.change(database_url=re.sub(r"/[^/]*$", "/postgres", services.database_url))
    line = await the_wrong_line(well)
    assert line.part == "Postgres"
    assert "crm migrate" in line.todo


async def test_redis_that_is_away_is_told_without_its_password(well: Bench) -> None:
    well.change(redis_url="redis://:hunter2@127.0.0.1:1/0")
    line = await the_wrong_line(well)
    assert line.part == "Redis"
    assert "REDIS_URL" in line.todo


async def test_redis_that_takes_no_writes_is_told(well: Bench, services: Services) -> None:
    async with no_writes(services.redis_url):
        line = await the_wrong_line(well)
    assert line.part == "Redis"
    assert "takes no writes" in line.what
    assert "REDIS_URL" in line.todo


async def test_a_port_that_others_have_is_told_and_our_apps_own_is_not(well: Bench) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        well.change(port=taken.getsockname()[1])
        line = await the_wrong_line(well, limit_s=SOON_S)
        assert line.part == "port"
        assert "PORT=" in line.todo
    well.change(port=int(well.app.base.rpartition(":")[2]))
    assert bad(await looked(well)) == {}


async def test_a_missing_haproxy_is_a_warning_and_a_wrong_one_is_wrong(
    well: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RAY_SERVE_HAPROXY_BINARY_PATH", "/nowhere/haproxy")
    line = await the_wrong_line(well)
    assert line.part == "HAProxy"
    assert "RAY_SERVE_HAPROXY_BINARY_PATH" in line.todo

    import doctor.machine

    monkeypatch.delenv("RAY_SERVE_HAPROXY_BINARY_PATH")
    monkeypatch.setattr(doctor.machine, "haproxy_binary", lambda: None)
    assert (await the_wrong_line(well, Verdict.WARNING)).part == "HAProxy"


async def test_settings_that_contradict_each_other_are_told(well: Bench) -> None:
    well.change(greeting="Hi {nmae}")
    line = await the_wrong_line(well)
    assert line.part == "settings"
    assert "nmae" in line.what + line.todo


async def test_an_address_that_is_not_secure_is_told(well: Bench) -> None:
    well.change(base_url=well.app.base)
    line = await the_wrong_line(well)
    assert line.part == "public address"
    assert "https" in line.todo


# ---------------------------------------------------------------- the app

GARBAGE: dict[str, tuple[Callable[[Bench], Response], str]] = {
    "no XML": (lambda _: Response("<Response><Connect>", media_type="text/xml"), "12100"),
    "HTML": (lambda _: HTMLResponse("<html>A tunnel's page</html>"), "12300"),
    "another document": (lambda _: Response("<rss/>", media_type="text/xml"), "12100"),
    "no action": (
        lambda b: Response(
            f"<Response><Connect><Stream url='{b.app.base.replace('http', 'ws')}'/></Connect></Response>",
            media_type="text/xml",
        ),
        "12200",
    ),
    "nowhere": (lambda b: b.app.streams("ws://x").__class__(
        "<Response><Connect action='/a'><Stream url='http://x'/></Connect></Response>", media_type="text/xml"
    ), "31920"),
    "busy": (
        lambda _: Response("<Response><Say>All our lines are busy.</Say><Hangup/></Response>", media_type="text/xml"),
        "All our lines are busy",
    ),
    "404": (lambda _: PlainTextResponse("nothing here", 404), "404"),
    "500": (lambda _: PlainTextResponse("oh", 500), "11200"),
}  # fmt: skip


@pytest.mark.parametrize("kind", GARBAGE)
async def test_a_webhook_that_is_answered_with_something_else_is_told(well: Bench, kind: str) -> None:
    answer, said = GARBAGE[kind]
    well.app.answer = answer(well)
    line = await the_wrong_line(well)
    assert line.part == "webhook"
    assert said in line.what


async def test_an_app_that_does_not_take_our_signature_is_told(well: Bench) -> None:
    well.app.token = "another"
    line = await the_wrong_line(well)
    assert line.part == "webhook"
    assert "11200" in line.what
    assert "BASE_URL" in line.todo
    assert "TWILIO_AUTH_TOKEN" in line.todo


async def test_an_app_that_takes_any_signature_is_told(well: Bench) -> None:
    well.app.checks = False
    line = await the_wrong_line(well)
    assert line.part == "forged webhook"
    assert "TWILIO_AUTH_TOKEN" in line.todo
    assert len(well.app.ended) == 2  # the forged call, too, is no longer one that rings


@pytest.mark.parametrize(
    ("does", "said", "todo"),
    [
        ("refused", "502, not 101", "WebSockets"),
        ("closed", "refused it (1008)", "token"),
        ("marks", "no answer in 2 s", "make logs"),
        ("silent", "no answer in 2 s", "make logs"),
    ],
)
async def test_a_stream_that_does_not_become_a_call_is_told(
    well: Bench, does: str, said: str, todo: str
) -> None:
    well.app.socket = does
    line = await the_wrong_line(well, limit_s=SOON_S if does in ("silent", "marks") else LIMIT_S)
    assert line.part == "media stream"
    assert said in line.what
    assert todo in line.todo
    assert [form["CallStatus"] for form in well.app.ended] == ["completed"]


async def test_a_stream_that_leads_nowhere_is_told(well: Bench) -> None:
    well.app.answer = well.app.streams("ws://127.0.0.1:1/media")
    assert (await the_wrong_line(well)).part == "media stream"


async def test_what_the_app_says_is_away_is_told(well: Bench) -> None:
    well.app.parts["redis"] = "away"
    line = await the_wrong_line(well)
    assert (line.part, line.what) == ("ready", "away: redis")


async def test_an_app_that_is_not_reached_is_one_line(well: Bench) -> None:
    well.app.health = 502
    line = await the_wrong_line(well)
    assert (line.part, "502" in line.what) == ("reached", True)
    well.app.base = NOBODY
    well.twilio.numbers[:] = []
    assert set(bad(await looked(well))) == {"reached"}


async def test_a_proxy_that_passes_only_webhooks_is_no_fault(well: Bench) -> None:
    well.app.health = 404
    assert bad(await looked(well)) == {}


async def test_an_app_without_twilios_account_is_looked_at_all_the_same(well: Bench) -> None:
    well.app.checks = False
    well.change(twilio_account_sid="", twilio_auth_token="")
    found = await looked(well)
    assert bad(found) == {}
    assert {one.part for one in found if one.verdict is Verdict.UNTRIED} == {"forged webhook"}


def test_secrets_are_hidden_and_words_that_happen_to_be_passwords_are_not() -> None:
    given = untouched(
        deepgram_api_key="k", openai_api_key="a-long-key-0123", database_url="postgresql://a:postgres@db/crm"
    )
    line = Finding(
        "ready", Verdict.OK, "postgres, a-long-key-0123, sk-ab***yz", "See postgresql://a:postgres@db/crm."
    )
    assert Secrets(given).hidden(line) == Finding(
        "ready", Verdict.OK, "postgres, ..., ...", "See postgresql://a:...@db/crm."
    )


# ---------------------------------------------------------------- with nothing configured, and the command


def untouched(**given: Any) -> Settings:
    return Settings(_env_file=None, **given)


async def test_with_nothing_configured_it_says_what_is_local_and_that_this_is_fine() -> None:
    from launcher.ports import free_ports

    found = await look_at(untouched(port=free_ports(1)[0]), "", LIMIT_S)
    assert not bad(found)
    assert not bad(found, Verdict.WARNING)
    told = {one.part: one.what for one in found}
    assert "speech is made on this machine" in told["hears and speaks"]
    assert "local receptionist" in told["thinks"]
    assert "make serve starts one of its own" in told["Postgres"]
    assert "no app runs here" in told["reached"]


def test_the_table_has_a_line_for_each_and_brackets_do_no_harm() -> None:
    out = io.StringIO()
    console = Console(file=out, width=110)
    found = [
        Finding("port", Verdict.WRONG, "taken [Errno 98]", "Stop it."),
        Finding("Redis", Verdict.OK, "it answers"),
    ]
    print_findings(found, console)
    print_for_twilio("https://x/api/v1/voice/incoming#rc=2", console)
    text = out.getvalue()
    assert "taken [Errno 98]. Stop it." in text
    assert "1 wrong, 0 to look at." in text
    assert all(code in text for code in ("11200", "12100", "31920", "https://x/api/v1/voice/incoming#rc=2"))


async def test_settings_that_will_not_do_are_told_one_by_one(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PORT", "eighty")
    monkeypatch.setenv("BASE_URL", "myhost")
    examined = await examine("", LIMIT_S)
    assert [one.verdict for one in examined.findings] == [Verdict.WRONG] * 2
    assert [one.what.split()[0] for one in examined.findings] == ["PORT", "BASE_URL"]
    assert examined.findings[0].todo == "The default is 8000."


def test_an_address_is_also_found_in_the_webhooks() -> None:
    assert address("https://voice.example.com/api/v1/voice/incoming#rc=2") == "https://voice.example.com"
    assert address("https://voice.example.com/") == "https://voice.example.com"
    with pytest.raises(argparse.ArgumentTypeError, match=r"https://voice\.example\.com"):
        address("voice.example.com")


def doctor(directory: Path, *options: str, **environment: str) -> "subprocess.CompletedProcess[str]":
    plain = {name: value for name, value in os.environ.items() if name in {"PATH", "HOME", "TMPDIR"}}
    return subprocess.run(
        [sys.executable, "-m", "doctor", *options],
        env={**plain, **environment, "PYTHONPATH": str(ROOT), "COLUMNS": "300"},
        cwd=directory,
        capture_output=True,
        text=True,
        timeout=120,
    )


def test_the_command_says_by_its_code_whether_something_is_wrong(tmp_path: Path) -> None:
    from launcher.ports import free_ports

    [port] = free_ports(1)
    fine = doctor(tmp_path, PORT=str(port))
    assert (fine.returncode, "Nothing is wrong." in fine.stdout) == (0, True), fine
    assert fine.stderr == ""

    away = doctor(tmp_path, "--url", f"{NOBODY}/api/v1/voice/incoming", PORT=str(port))
    assert away.returncode == 1
    assert f"{NOBODY}: can't be reached" in away.stdout
    assert f"{NOBODY}/api/v1/voice/incoming#rc=2" in away.stdout
