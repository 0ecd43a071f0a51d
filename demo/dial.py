"""A call by the simulated telephone to an app that runs, shown on a board while it lasts."""

import asyncio
import time
from dataclasses import dataclass
from pathlib import Path

from demo.watch import LOOK_S, Watch
from simulators.twilio import CallFailed, Person, SimCall, SimTwilio

CALLER = "+13125550142"  # Sarah Mitchell, in the seed rows
CALLED = "+13125550100"
SETTLE_S = 15.0
_QUIET_BELOW = 200
_PREFIX = "/api/v1/voice"


@dataclass(frozen=True)
class Telephone:
    """Where the app answers, and whose account signs. `caller` is E.164, attested."""

    url: str
    account_sid: str
    auth_token: str
    caller: str = CALLER


@dataclass(frozen=True)
class Ended:
    """A call that is over. `failure`: what went wrong at the caller's end, "" for nothing."""

    call: SimCall
    took_s: float
    failure: str

    @property
    def sid(self) -> str:
        """The call's sid."""
        return self.call.sid

    def record(self, wav: Path) -> None:
        """Writes both sides: stereo, the caller left, the agent right."""
        self.call.record(wav)


async def place_call(
    telephone: Telephone, person: Person, watch: Watch, redis_url: str, *, max_s: float
) -> Ended:
    """Dials, and waits for the call's end; `max_s` bounds it."""
    base = f"{telephone.url}{_PREFIX}"
    began, failure = time.monotonic(), ""
    async with SimTwilio(telephone.auth_token, telephone.account_sid) as twilio:
        call = await twilio.dial(
            f"{base}/incoming",
            caller=telephone.caller,
            called=CALLED,
            status_url=f"{base}/status",
            person=person,
            max_s=max_s,
            quiet_below=_QUIET_BELOW,
        )
        call.journal.on_event(watch.line_event)
        following = asyncio.create_task(watch.follow(redis_url, call.sid), name="follow")
        try:
            await call.ended(max_s + SETTLE_S)
        except CallFailed as failed:
            failure = str(failed)
            watch.failed(failure)
        finally:
            await asyncio.wait([following], timeout=3 * LOOK_S)  # what became of the last words
            following.cancel()
            await asyncio.wait([following])
        if not following.cancelled():
            following.result()
    return Ended(call, time.monotonic() - began, failure)
