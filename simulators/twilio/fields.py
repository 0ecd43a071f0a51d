"""What the app is told of a call: the form fields of voice requests and callbacks.

Twilio, "TwiML Voice: Twilio's Request", "TwiML Voice: <Stream>", "Call resource" (status callbacks).
"""

import uuid
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import format_datetime


def new_sid(kind: str) -> str:
    """Two letters and 32 hex digits, as Twilio makes them."""
    return kind + uuid.uuid4().hex


@dataclass(frozen=True, slots=True)
class Identity:
    """Who calls whom. `stir` is the verdict on the caller's number, None where there is none."""

    account: str
    caller: str
    called: str
    stir: str | None
    call: str = field(default_factory=lambda: new_sid("CA"))

    def voice(self, status: str) -> dict[str, str]:
        """The usual fields of a voice request."""
        fields = {
            "CallSid": self.call,
            "AccountSid": self.account,
            "From": self.caller,
            "Caller": self.caller,
            "To": self.called,
            "Called": self.called,
            "CallStatus": status,
            "ApiVersion": "2010-04-01",
            "Direction": "inbound",
            "FromCountry": "US",
            "FromState": "IL",
            "FromCity": "",
            "FromZip": "",
            "ToCountry": "US",
            "CallToken": self.call[2:],
        }
        return fields if self.stir is None else fields | {"StirVerstat": self.stir}

    def ended(self, status: str, duration_s: int) -> dict[str, str]:
        """The status callback at a call's end. `Duration` is in minutes, begun ones whole."""
        return self.voice(status) | {
            "CallDuration": str(duration_s),
            "Duration": str(-(-duration_s // 60)),
            "Timestamp": format_datetime(datetime.now(UTC)),
            "CallbackSource": "call-progress-events",
            "SequenceNumber": "0",
        }

    def stream(self, stream: str, name: str, event: str, error: str) -> dict[str, str]:
        """A stream's status callback; `event` is started, stopped or error."""
        fields = {
            "AccountSid": self.account,
            "CallSid": self.call,
            "StreamSid": stream,
            "StreamName": name,
            "StreamEvent": f"stream-{event}",
            "Timestamp": datetime.now(UTC).isoformat(),
        }
        return fields | {"StreamError": error} if error else fields
