"""Calls that nobody made: `make doctor` rings, to see whether the app would answer.

They are known by their SID, which only a signed webhook can bring, and are no line in the log of calls. Beyond that
they are calls as others: they take a slot while they last, and Redis forgets their sessions in time.
"""

import secrets

PROBE = "CAd0c70d0c70d0c7"  # Twilio's SIDs are random: one in 2**56 begins so
_DIGITS = 34 - len(PROBE)


def new_probe() -> str:
    """A CallSid of Twilio's form."""
    return PROBE + secrets.token_hex(_DIGITS)[:_DIGITS]


def is_probe(call: str) -> bool:
    """Whether `make doctor` made this call."""
    return call.startswith(PROBE)
