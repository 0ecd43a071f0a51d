"""A Twilio on this machine: it dials the app as the real one does, and keeps a person on the line.

    async with SimTwilio(auth_token, account_sid) as twilio:
        call = await twilio.dial("http://127.0.0.1:8000/voice", person=script)
        status = await call.ended()

Protocol: Twilio's documentation of voice webhooks, TwiML, Media Streams and signatures.
"""

import asyncio
from types import TracebackType
from typing import Self

from simulators.twilio.call import CallFailed, SimCall
from simulators.twilio.fields import Identity
from simulators.twilio.journal import CallEvent, CallOver, Journal
from simulators.twilio.line import Line, Person
from simulators.twilio.rest import Fault, PhoneNumber, SimRest
from simulators.twilio.webhook import Webhooks

__all__ = [
    "CallEvent",
    "CallFailed",
    "CallOver",
    "Fault",
    "Journal",
    "Line",
    "Person",
    "PhoneNumber",
    "SimCall",
    "SimRest",
    "SimTwilio",
]

LEAVE_S = 30.0


class SimTwilio:
    """One account. Leaving the context hangs up what still runs, waits, and raises what went unnoticed."""

    def __init__(self, auth_token: str, account_sid: str) -> None:
        self._webhooks = Webhooks(auth_token)
        self._account = account_sid
        self.calls: list[SimCall] = []
        self.rest = SimRest(account_sid, auth_token, self.calls)  # to be served, if the app is to reach it

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            for call in self.calls:
                await call.hang_up()
            async with asyncio.timeout(LEAVE_S):
                for call in self.calls:
                    await call.settled()
        finally:
            for call in self.calls:
                await call.abandon()
            await self._webhooks.close()
        if error is None:
            for call in self.calls:
                call.raise_failure()

    async def dial(
        self,
        voice_url: str,
        *,
        caller: str = "+13125550142",
        called: str = "+13125550100",
        stir: str | None = "TN-Validation-Passed-A",
        status_url: str | None = None,
        fallback_url: str | None = None,
        person: Person | None = None,
        action_on_hang_up: bool = False,
        max_s: float = 300.0,
        keep_audio: bool = True,
        quiet_below: int = 1,
        deaf: bool = False,
    ) -> SimCall:
        """Dials, and returns while it rings.

        `person` is the caller's script; with None the caller listens in silence until somebody hangs up.
        `action_on_hang_up`: `<Connect action>` is requested although the caller is gone (whether Twilio does
        so is unverified: an app must bear both). `max_s` ends a call that nobody ends, as a failure.
        `keep_audio` is 16 kB a second. Samples smaller than `quiet_below` are silence to the caller's ear: 1
        for simulated voices, which whisper; about 200 for real ones. `deaf` streams don't notice that the app closed
        them.
        """
        call = SimCall(
            self._webhooks,
            Identity(self._account, caller, called, stir),
            status_url=status_url,
            fallback_url=fallback_url,
            person=person,
            action_on_hang_up=action_on_hang_up,
            max_s=max_s,
            keep_audio=keep_audio,
            quiet_below=quiet_below,
            deaf=deaf,
        )
        self.calls.append(call)
        call.start(voice_url)
        return call
