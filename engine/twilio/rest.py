"""Twilio's REST API, by the twilio SDK: calls that are ended or led elsewhere, and what an account has.

Deadlines and repetitions are ours. The SDK's time-out is ignored, its retries send a POST again that may have been
obeyed, and it drops the header that says how long to wait (SDK 9.13, `http/async_http_client.py`, `base/version.py`).
Twilio, "Call resource"; error pages 20003, 20404, 20429, 21220.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from enum import Enum
from typing import Any, TypeVar

import aiohttp
from twilio.base.exceptions import TwilioRestException, TwilioServiceException
from twilio.http.async_http_client import AsyncTwilioHttpClient
from twilio.rest import Client

from engine.settings import Settings

log = logging.getLogger("engine.twilio.rest")

FIRST_PAUSE_S = 0.25  # before a second try; doubled before a third
MOST_NUMBERS = 200
_IN_THE_WRONG_STATE = 21220  # of a call: it is no longer under way

Answer = TypeVar("Answer")


class TwilioFailed(Exception):
    """Twilio refused or did not answer. `status` is HTTP's and `code` Twilio's; both 0 without an answer."""

    def __init__(self, why: str, status: int = 0, code: int = 0) -> None:
        super().__init__(why)
        self.status = status
        self.code = code


class Did(Enum):
    """What came of a change to a call."""

    DONE = "done"
    ALREADY_OVER = "already over"


@dataclass(frozen=True)
class Account:
    """`status` is active, suspended or closed."""

    name: str
    status: str


@dataclass(frozen=True)
class Number:
    """A telephone number of the account's, and what Twilio asks when it is called."""

    number: str
    voice_url: str
    fallback_url: str


class _Busy(Exception):
    """429: not processed. `wait_s` is 0 where Twilio does not say how long."""

    def __init__(self, wait_s: float) -> None:
        super().__init__("too many requests at once")
        self.wait_s = wait_s


class _Http(AsyncTwilioHttpClient):  # type: ignore[misc]
    """The SDK's client, which tells of a 429 before the SDK drops its headers."""

    async def request(self, *args: Any, **kwargs: Any) -> Any:
        response = await super().request(*args, **kwargs)
        if response.status_code == 429:
            asked = str((response.headers or {}).get("Retry-After", ""))
            raise _Busy(float(asked) if asked.isdecimal() else 0.0)
        return response


class TwilioRest:
    """One account. Made inside a running event loop, as the SDK demands."""

    def __init__(self, settings: Settings) -> None:
        self._limit_s = settings.twilio_rest_s
        self._tries = settings.twilio_rest_tries
        self._wait_most_s = settings.twilio_wait_most_s
        self._http = _Http()
        # The SDK would read the environment where it is told nothing.
        told = {"TWILIO_REGION": "", "TWILIO_EDGE": ""}
        account, token = settings.twilio_account_sid, settings.twilio_auth_token
        self._client = Client(account, token, http_client=self._http, environment=told)
        self._client.api.base_url = settings.twilio_base_url  # imports what requests need, 60 ms, too

    async def close(self) -> None:
        """Closes the connections."""
        await self._http.close()

    async def hang_up(self, call: str) -> Did:
        """Ends a call. Raises `TwilioFailed`."""
        return await self._update(call, again=True, status="completed")

    async def redirect(self, call: str, *, url: str = "", twiml: str = "") -> Did:
        """The call goes on with the TwiML at `url` (asked by POST), or with `twiml`; a stream that it has gets `stop`.

        Raises `TwilioFailed`. It is not sent again where it may have been obeyed: the call would begin anew with it.
        """
        where = {"url": url, "method": "POST"} if url else {"twiml": twiml}
        return await self._update(call, again=False, **where)

    async def _update(self, call: str, *, again: bool, **change: str) -> Did:
        try:
            await self._ask(lambda: self._client.calls(call).update_async(**change), again=again)
        except TwilioFailed as failed:
            if failed.status == 404:
                log.error(
                    "Twilio knows no such call: check TWILIO_ACCOUNT_SID, and TWILIO_BASE_URL by its region"
                )
            if failed.code == _IN_THE_WRONG_STATE or failed.status == 404:
                return Did.ALREADY_OVER
            raise
        return Did.DONE

    async def account(self) -> Account:
        """The account of these credentials. Raises `TwilioFailed`."""
        sid = self._client.account_sid
        found = await self._ask(lambda: self._client.api.accounts(sid).fetch_async(), again=True)
        return Account(str(found.friendly_name), str(getattr(found.status, "value", found.status)))

    async def numbers(self) -> list[Number]:
        """The account's telephone numbers, `MOST_NUMBERS` at most. Raises `TwilioFailed`."""
        numbers = self._client.incoming_phone_numbers
        found = await self._ask(lambda: numbers.list_async(limit=MOST_NUMBERS), again=True)
        return [
            Number(str(one.phone_number), str(one.voice_url or ""), str(one.voice_fallback_url or ""))
            for one in found
        ]

    async def _ask(self, request: Callable[[], Awaitable[Answer]], *, again: bool) -> Answer:
        """`again`: it may be sent again although it may have been obeyed."""
        pause_s = FIRST_PAUSE_S
        for left in range(self._tries - 1, -1, -1):
            wait_s = pause_s
            try:
                async with asyncio.timeout(self._limit_s):
                    return await request()
            except _Busy as busy:
                failed, may_repeat = TwilioFailed(str(busy), 429, 20429), True
                wait_s = busy.wait_s or pause_s
            except (TwilioRestException, TwilioServiceException) as error:
                failed, may_repeat = _refused(error), again and error.status >= 500
            except aiohttp.ClientConnectorError as error:  # it was never sent
                failed, may_repeat = TwilioFailed(f"can't be reached: {error}"), True
            except TimeoutError:
                failed, may_repeat = TwilioFailed(f"no answer in {self._limit_s:g} s"), again
            except (aiohttp.ClientError, OSError) as error:
                failed, may_repeat = TwilioFailed(f"no answer: {type(error).__name__} {error}"), again
            except (
                ValueError,
                KeyError,
                TypeError,
            ) as error:  # the SDK's, of JSON that is none or not Twilio's
                raise TwilioFailed(f"what answers is not Twilio: {error!r}") from error
            if not may_repeat or not left or wait_s > self._wait_most_s:
                raise failed
            await asyncio.sleep(wait_s)
            pause_s *= 2
        raise AssertionError("unreachable: the last try returns or raises")


def _refused(error: TwilioRestException | TwilioServiceException) -> TwilioFailed:
    """Their own texts are coloured where standard error is a terminal."""
    why = getattr(error, "msg", "") or getattr(error, "detail", "") or getattr(error, "title", "")
    return TwilioFailed(f"{error.status}, error {error.code}: {why}", int(error.status), int(error.code))
