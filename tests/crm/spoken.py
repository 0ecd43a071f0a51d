"""A model that says what its tools answered, and nothing else; and the checker that compares it with the rows.

The caller wants one appointment at most. So there is one booked row at most, whatever was asked how often; and what was
heard of it, in the order in which it was heard, fits the rows in the end.
"""

import json
import re
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from engine.messages import ModelDelta, ModelDone, Respond, Usage
from local.receptionist.continuing import split_go_on, unsaid

BOOKING = {
    "service": "oil change",
    "date": "2026-11-27",
    "time": "09:00",
    "vehicle": "2019 Kia Rio",
    "name": "Bo Diaz",
}
BOOK, AGAIN, TWICE, CANCEL = "Please book it.", "Please try it again.", "Book it, twice.", "Please cancel it."
LATER = "Then try it at ten."  # in place of the first: still one appointment is wanted

# What is said of an outcome that is not known; everything else that is an error was not done.
_OPEN = re.compile(r"not known|not certain|can't be reached")

BOOKED = "It is booked, its number is {}."
NOT_BOOKED = "It is not booked."
MAYBE_BOOKED = "It is not certain whether it is booked."
CANCELLED = "Number {} is cancelled."
NOT_CANCELLED = "It is not cancelled."
MAYBE_CANCELLED = "It is not certain whether it is cancelled."


class Teller:
    """Implements `actors.llm.Model`."""

    name = "teller"

    async def stream(self, ask: Respond) -> AsyncIterator[ModelDelta | ModelDone]:
        """One reply, which follows from the conversation alone."""
        messages, said = split_go_on(
            [m for m in ask.messages if m.get("role") != "system" or m is ask.messages[-1]]
        )
        text, calls = _answer(messages)
        rest = unsaid(said, text) if said else None
        yield ModelDelta(ask.request, text=text if rest is None else rest)
        for place, (name, arguments) in enumerate(calls):
            yield ModelDelta(
                ask.request,
                tool_index=place,
                tool_id="v",
                tool_name=name,
                tool_arguments=json.dumps(arguments),
            )
        yield ModelDone(ask.request, "tool_calls" if calls else "stop", Usage(100, 64, 10), self.name)


def _answer(messages: list[dict[str, Any]]) -> tuple[str, list[tuple[str, Any]]]:
    names = {c["id"]: c["function"]["name"] for m in messages for c in m.get("tool_calls") or ()}
    results = [(names[m["tool_call_id"]], json.loads(m["content"])) for m in messages if m["role"] == "tool"]
    last = next(n for n, m in reversed(list(enumerate(messages))) if m["role"] == "user")
    now = [m for m in messages[last:] if m["role"] == "tool"]
    if now:
        told = [_told(name, result) for name, result in results[-len(now) :]]
        return " ".join(
            sorted(told, key=(MAYBE_BOOKED, MAYBE_CANCELLED).__contains__)
        ), []  # doubts come last
    wish = messages[last]["content"]
    if wish == CANCEL:
        return "", [("cancel_appointment", {"appointment_id": _number(results)})]
    booking = BOOKING | {"time": "10:00"} if wish == LATER else BOOKING
    return "", [("book_appointment", booking)] * (2 if wish == TWICE else 1)


def _number(results: Sequence[tuple[str, Any]]) -> int:
    told = [r["appointment"]["id"] for _, one in results for r in _all(one) if r.get("appointment")]
    return int(told[-1])


def _all(result: dict[str, Any]) -> list[dict[str, Any]]:
    return [result, *result.get("earlier", ())]


def _told(name: str, result: dict[str, Any]) -> str:
    done = [text for one in result.get("earlier", ()) if (text := _done(one))] or [_done(result)]
    if any(done):
        return " ".join(filter(None, done))
    unsure = bool(_OPEN.search(str(result.get("error", ""))))
    if name == "book_appointment":
        return MAYBE_BOOKED if unsure else NOT_BOOKED
    return MAYBE_CANCELLED if unsure else NOT_CANCELLED


def _done(result: dict[str, Any]) -> str:
    if result.get("booked"):
        return BOOKED.format(result["appointment"]["id"])
    if result.get("cancelled"):
        return CANCELLED.format(result["appointment"]["id"])
    return ""


# ---------------------------------------------------------------- the checker

_CLAIMS = {
    re.compile(re.escape(text).replace(re.escape("{}"), r"(\d+)")): text
    for text in (BOOKED, NOT_BOOKED, MAYBE_BOOKED, CANCELLED, NOT_CANCELLED, MAYBE_CANCELLED)
}


def claims(heard: str) -> list[tuple[str, int]]:
    """What was claimed in what a caller heard, in order, with the number that was told (0: none)."""
    found = [
        (match.start(), text, int(match.group(1)) if match.groups() else 0)
        for pattern, text in _CLAIMS.items()
        for match in pattern.finditer(heard)
    ]
    return [(text, number) for _, text, number in sorted(found)]


@dataclass
class Belief:
    """What a caller knows: which numbers are booked (or not), and what they were told is not certain."""

    numbers: dict[int, bool] = field(default_factory=dict)
    maybe_booked: bool = False
    maybe_cancelled: bool = False
    unsure: int = 0

    @classmethod
    def of(cls, told: Iterable[tuple[str, int]]) -> "Belief":
        """From what was told, in order. A clear word about a later try clears up the earlier ones."""
        belief = cls()
        for text, number in told:
            if text == BOOKED:
                belief.numbers[number] = True
                belief.maybe_booked = False
            elif text == NOT_BOOKED:
                belief.maybe_booked = False
            elif text == CANCELLED:
                belief.numbers[number] = False
                belief.maybe_cancelled = False
            elif text == NOT_CANCELLED:
                belief.maybe_cancelled = False
            elif text == MAYBE_BOOKED:
                belief.maybe_booked = True
            else:
                belief.maybe_cancelled = True
            belief.unsure += text in (MAYBE_BOOKED, MAYBE_CANCELLED)
        return belief


def lies(told: Sequence[tuple[str, int]], rows: Mapping[int, bool]) -> list[str]:
    """What is wrong with what was told, given the rows in the end: id -> booked (else cancelled)."""
    belief = Belief.of(told)
    wrong = []
    if sum(rows.values()) > 1:
        wrong.append(f"booked {sum(rows.values())} times")
    for number, booked in belief.numbers.items():
        if number not in rows:
            wrong.append(f"{number} was told as booked, and there is no such row")
        elif rows[number] != booked and not (booked and belief.maybe_cancelled):
            wrong.append(f"{number} was told as {'booked' if booked else 'cancelled'}, and is not")
    for number, booked in rows.items():
        if booked and number not in belief.numbers and not belief.maybe_booked:
            wrong.append(f"{number} is booked, and the caller was not told")
    return wrong
