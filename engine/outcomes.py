"""What came of a call, decided from facts: how it ended, what its tools did, whether the caller was answered.

Two columns of the call log say it. `ending` is how the call ended (`End`), `outcome` what the caller got:

1. A change that a tool made is the outcome, however the call ended: "booked" stays true of a call that was then
   transferred, or dropped, and `ending` says that it was. What a tool's success makes of a call is the tool's to say
   (`ToolSpec.outcome`); a run that was refused, or whose result is not known, made nothing.
2. Of several changes the one that was asked for last stands, for it is what the caller left with: a booking that is
   cancelled again in the same call is "cancelled", one that is cancelled for another is "booked". Each run has a row.
3. Without a change, the ending decides if it was a transfer (`transferred`), came while it rang (`abandoned`), or was
   ours (`failed`: it could not go on, the stream broke, its process died, it was refused at the door).
4. Else it was a conversation: `answered` if a question of the caller's had an answer that was heard, `failed` if it had
   only apologies, `abandoned` if it had neither, that is, the caller said nothing, or left before the answer.
"""

from collections.abc import Mapping, Sequence
from enum import StrEnum
from typing import NamedTuple

from engine import phrases
from engine.history import NOT_THE_MODEL, AnyItem, Called, Cause, Returned, Said, TurnBegan


class End(StrEnum):
    """How a call ended."""

    COMPLETED = "completed"  # the agent said goodbye
    CALLER_HUNG_UP = "caller_hung_up"
    TRANSFERRED = "transferred"
    SILENT = "silent"  # the caller never answered the prompts
    DROPPED = "dropped"  # the stream broke and nobody resumed it
    FAILED = "failed"  # we could not go on
    ABANDONED = "abandoned"  # hung up while ringing
    REFUSED = "refused"  # at the webhook: no slot, draining, or Redis away
    LOST = "lost"  # nobody told its end: set by the sweeper


class Outcome(StrEnum):
    """What came of a call in which no tool changed anything; those that did say it themselves."""

    ANSWERED = "answered"
    TRANSFERRED = "transferred"
    ABANDONED = "abandoned"
    FAILED = "failed"


class Facts(NamedTuple):
    """What an outcome is decided from.

    `made`: what successful runs of tools made of the call, in the order in which they were asked for. `answers`: the
    caller's turns of which an answer was heard. `apologies`: those that could not be answered. `connected`: a stream
    began.
    """

    ending: End
    made: tuple[str, ...] = ()
    answers: int = 0
    apologies: int = 0
    connected: bool = True


_OURS = {End.FAILED, End.DROPPED, End.LOST, End.REFUSED}
_SORRY = {phrases.APOLOGY, phrases.LOST_THREAD}


def outcome_of(facts: Facts) -> str:
    """An `Outcome`, or what the call's last change made of it."""
    if facts.made:
        return facts.made[-1]
    if facts.ending is End.TRANSFERRED:
        return Outcome.TRANSFERRED
    if facts.ending is End.REFUSED:
        return Outcome.FAILED
    if facts.ending is End.ABANDONED or not facts.connected:
        return Outcome.ABANDONED
    if facts.ending in _OURS:
        return Outcome.FAILED
    if facts.answers:
        return Outcome.ANSWERED
    return Outcome.FAILED if facts.apologies else Outcome.ABANDONED


def facts_of(items: Sequence[AnyItem], ending: End, outcomes: Mapping[str, str]) -> Facts:
    """The facts of a call, from its history; `outcomes` by tool: what its success makes of a call."""
    done = {item.id for item in items if isinstance(item, Returned) and item.ok}
    asked = [call for item in items if isinstance(item, Called) for call in item.calls]
    made = (outcomes.get(call.name, "") for call in asked if call.id in done)
    callers = {i.turn for i in items if isinstance(i, TurnBegan) and i.cause in (Cause.SPEECH, Cause.KEYS)}
    heard = [i for i in items if isinstance(i, Said) and i.turn in callers and i.at and i.heard()]
    sorry = {said.turn for said in heard if said.text in _SORRY}
    answered = {said.turn for said in heard if said.request != NOT_THE_MODEL and said.text not in _SORRY}
    return Facts(ending, tuple(filter(None, made)), len(answered), len(sorry - answered))
