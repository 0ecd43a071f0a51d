"""The doctor at an app that is reached as Twilio reaches it: over TLS."""

from pathlib import Path
from urllib.parse import urlsplit

import pytest

from doctor.examination import look_at
from doctor.findings import Verdict
from simulators.twilio.rest import PhoneNumber
from tests.doctor.standins import NUMBER, RETRIES, WEBHOOK, bench
from tests.doctor.tls import make_certificate, tunnel


async def lines(
    template_database: str, redis_url: str, certificate: Path, *, answers: str | None = None
) -> tuple[str, dict[str, tuple[Verdict, str, str]]]:
    """The address, and what is found there, by part. `answers`: the app's own idea of its address."""
    async with (
        bench(template_database, redis_url) as well,
        tunnel(urlsplit(well.app.base).port or 0, certificate) as url,
    ):
        well.app.base = answers or url
        well.twilio.numbers[:] = [
            PhoneNumber(NUMBER, f"{url}{WEBHOOK}{RETRIES}", "https://handler.twilio.com/bin")
        ]
        well.change(base_url=url)
        found = await look_at(well.settings, url, 20.0)
        return url, {one.part: (one.verdict, one.what, one.todo) for one in found}


async def test_over_tls_all_is_well_too(
    template_database: str, redis_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    certificate = make_certificate(tmp_path)
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    _, found = await lines(template_database, redis_url, certificate)
    assert {part: one for part, one in found.items() if one[0] is not Verdict.OK} == {}
    assert found["media stream"][1].startswith("opened, and the agent spoke")


async def test_a_certificate_that_twilio_would_refuse_is_told_with_its_remedy(
    template_database: str, redis_url: str, tmp_path: Path
) -> None:
    url, found = await lines(template_database, redis_url, make_certificate(tmp_path))
    verdict, what, todo = found["reached"]
    assert verdict is Verdict.WRONG
    assert "certificate" in what
    assert "11237" in todo
    assert url in what


async def test_an_app_that_takes_itself_for_a_plain_http_address_is_told_its_own(
    template_database: str, redis_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    certificate = make_certificate(tmp_path)
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    url, found = await lines(template_database, redis_url, certificate, answers="http://127.0.0.1:1")
    verdict, what, todo = found["webhook"]
    assert verdict is Verdict.WRONG
    assert "403" in what
    assert f"BASE_URL={url}" in todo
