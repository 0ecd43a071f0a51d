"""Signed requests to the app, as Twilio makes them: limits, retries, the fallback URL.

Twilio, "TwiML Voice: Twilio's Request", "Webhooks: Connection Overrides", "Security". 15 s in all, 5 s to
connect, one retry on connect failure only; `#rc=2&rp=ct,rt,5xx` at the end of a URL asks for more.
"""

import asyncio
import time
from dataclasses import dataclass
from urllib.parse import parse_qs, urldefrag

import httpx2
from twilio.request_validator import RequestValidator

from simulators.twilio.journal import Journal
from simulators.twilio.twiml import TwimlError, Verb, read

_XML = ("text/xml", "application/xml")


class WebhookFailed(Exception):
    """The app gave no usable answer; `code` is Twilio's error code."""

    def __init__(self, code: int, url: str, why: str) -> None:
        super().__init__(f"{url}: {why}")
        self.code = code
        self.url = url


@dataclass(frozen=True, slots=True)
class Overrides:
    """Connection overrides, in milliseconds and counts, from a URL's fragment."""

    connect_ms: int = 5000
    read_ms: int = 15000
    total_ms: int = 15000
    retries: int = 1
    retry_on: frozenset[str] = frozenset({"ct"})

    @classmethod
    def of(cls, fragment: str) -> "Overrides":
        """`rp` may be one comma-separated value or several."""
        given = parse_qs(fragment)
        number = {name: int(given[name][0]) for name in ("ct", "rt", "tt", "rc") if name in given}
        policies = {one for value in given.get("rp", ["ct"]) for one in value.split(",")}
        return cls(
            number.get("ct", 5000),
            number.get("rt", 15000),
            number.get("tt", 15000),
            number.get("rc", 1),
            frozenset({"ct", "rt", "4xx", "5xx"} if "all" in policies else policies),
        )


class Webhooks:
    """Requests of one account, over one pool of connections."""

    def __init__(self, auth_token: str) -> None:
        self._validator = RequestValidator(auth_token)
        self._client = httpx2.AsyncClient(trust_env=False, limits=httpx2.Limits(max_connections=None))

    async def close(self) -> None:
        """Closes the pool."""
        await self._client.aclose()

    def sign(self, url: str, fields: dict[str, str]) -> str:
        """The value of `X-Twilio-Signature` for this request."""
        return str(self._validator.compute_signature(url, fields))

    async def twiml(
        self, url: str, fields: dict[str, str], fallback_url: str | None, journal: Journal
    ) -> list[Verb] | None:
        """The document at `url`, else at `fallback_url`; None when neither gave one, and errors are noted."""
        try:
            return await self._document(url, fields, journal)
        except WebhookFailed as failed:
            journal.note("error", code=failed.code, why=str(failed))
            if fallback_url is None:
                return None
            fields = {**fields, "ErrorCode": str(failed.code), "ErrorUrl": urldefrag(url).url}
        try:
            return await self._document(fallback_url, fields, journal)
        except WebhookFailed as failed:
            journal.note("error", code=failed.code, why=str(failed))
            return None

    async def _document(self, url: str, fields: dict[str, str], journal: Journal) -> list[Verb]:
        response = await self.post(url, fields, journal)
        kind = response.headers.get("content-type", "").partition(";")[0].strip().lower()
        if kind not in _XML:
            raise WebhookFailed(12300, url, f"content type {kind!r} is not XML")
        try:
            verbs = read(response.content, urldefrag(url).url)
        except TwimlError as error:
            raise WebhookFailed(error.code, url, str(error)) from None
        journal.note("twiml", url=url, verbs=[type(verb).__name__ for verb in verbs])
        return verbs

    async def post(self, url: str, fields: dict[str, str], journal: Journal) -> httpx2.Response:
        """Posts a signed form. Raises `WebhookFailed` for anything but a 2xx answer within the limits."""
        bare, fragment = urldefrag(url)
        overrides = Overrides.of(fragment)
        try:
            async with asyncio.timeout(overrides.total_ms / 1000):
                for tries_left in range(overrides.retries, -1, -1):
                    outcome = await self._try(bare, fields, overrides, journal)
                    if isinstance(outcome, httpx2.Response):
                        return outcome
                    policy, failed = outcome
                    if policy not in overrides.retry_on or not tries_left:
                        raise failed
        except TimeoutError:
            raise WebhookFailed(11205, bare, f"no answer in {overrides.total_ms} ms") from None
        raise AssertionError("unreachable: the last try returns or raises")

    async def _try(
        self, url: str, fields: dict[str, str], overrides: Overrides, journal: Journal
    ) -> httpx2.Response | tuple[str, WebhookFailed]:
        """The answer, or the retry policy that its failure falls under, and the failure."""
        began = time.monotonic()
        status: int | str = "failed"
        try:
            response = await self._client.post(
                url,
                data=fields,
                headers={"X-Twilio-Signature": self.sign(url, fields), "User-Agent": "TwilioProxy/1.1"},
                timeout=httpx2.Timeout(overrides.read_ms / 1000, connect=overrides.connect_ms / 1000),
            )
            status = response.status_code
        except (httpx2.ConnectError, httpx2.ConnectTimeout) as error:
            return "ct", WebhookFailed(11205, url, f"can't connect: {error!r}")
        except (httpx2.HTTPError, httpx2.InvalidURL) as error:
            return "rt", WebhookFailed(11200, url, f"no answer: {error!r}")
        finally:
            journal.note("webhook", url=url, status=status, ms=(time.monotonic() - began) * 1000)
        if response.is_success:
            return response
        return f"{response.status_code // 100}xx", WebhookFailed(11200, url, f"answered {status}")
