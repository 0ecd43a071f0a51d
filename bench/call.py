"""One call like all others: four turns, one interruption, one tool, about 30 s; and what its legs took."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from bench.vendors import FIRST_TOKEN_S, BenchSpeech, Notes
from local.chat import Exchange
from simulators.caller import Caller, Gap, MarksPerson
from simulators.model import Rule, says, tool
from simulators.twilio import SimCall

REPLIES = ("we open at eight.", "", "once upon a time there was a car.", "I have stopped.")
"""The first sentence of each turn's reply, after the call's name; the second turn asks a tool first."""
THINKING_S = 1.75  # the caller's, between a reply and the next turn
LEGS = (
    "frame to recogniser",
    "final to request",
    "sentence to voice",
    "voice to caller",
    "added to a turn",
    "interim to clear",
    "set-up",
)
"""What is measured, in milliseconds, by the callers' and the vendors' clock, which is one.

`added to a turn` is the sum of the three before it; `set-up` is from the webhook to the first audio of the greeting,
less the voice's own delay.
"""

Sample = Callable[[str, float, float], None]
"""Takes a leg's name, when it ended, and how many milliseconds it took."""


@dataclass(frozen=True)
class Part:
    """The text of a call that is named `name`, so that no two calls say the same."""

    name: str
    date: str

    @property
    def said(self) -> list[str]:
        """What the caller says, turn by turn."""
        return [
            f"{self.name} asks when you open",
            f"{self.name} asks what is free",
            f"{self.name} wants a story",
            f"{self.name} says stop please",
        ]

    def first_words(self, turn: int) -> str:
        """The first sentence of the reply, "" where a tool comes first."""
        return f"{self.name}, {REPLIES[turn]}" if REPLIES[turn] else ""

    def rules(self) -> list[Rule]:
        """The model's script."""
        said = self.said
        delay: dict[str, Any] = {"first_token_s": FIRST_TOKEN_S, "gap_s": 0.02}
        slots = tool("get_available_slots", date=self.date, service="Oil Change")
        return [
            says(f"{self.first_words(0)} Is there more?", user=said[0], **delay),
            says("", slots, user=said[1], **delay),
            says(f"{self.name}, nine is free. Or ten, if you like.", after="get_available_slots", **delay),
            says(
                f"{self.first_words(2)} It stood in a garage for many years, and nobody drove it.",
                user=said[2],
                **delay,
            ),
            says(f"{self.first_words(3)} Goodbye.", user=said[3], **delay),
        ]

    async def play(self, caller: Caller) -> None:
        """What the caller does; the fourth turn interrupts the reply to the third."""
        await caller.quiet(0.5)
        for turn, words in enumerate(self.said):
            await caller.say(words)
            if turn == 2:
                await caller.hears("there was a")
            else:
                await caller.hears(("more?", "you like.", "", "Goodbye.")[turn])
                await caller.quiet(THINKING_S)


def gaps_of(person: MarksPerson, call: SimCall) -> list[Gap]:
    """Sentences not heard in one piece, but for what the callers' own lateness or an interruption explains."""
    stalls = [event.at for event in call.journal.all("stalled")]
    clears = [event.at for event in call.journal.all("clear")]
    return [
        gap
        for gap in person.heard.gaps
        if not any(abs(gap.at - at) < 1.0 for at in stalls)
        and not any(0.0 <= gap.at - at < 1.0 for at in clears)  # a rest that was on its way
    ]


def measure(
    part: Part,
    dialled: float,
    call: SimCall,
    person: MarksPerson,
    speech: BenchSpeech,
    exchanges: list[tuple[Exchange, list[float]]],
    sample: Sample,
) -> list[str]:
    """Hands each leg of a call that went to its end to `sample`, and returns what was amiss."""
    wrong: list[str] = []
    name, journal = part.name, call.journal
    if foreign := [
        s.text for s in person.heard.sentences if s.text.startswith("Caller") and not s.text.startswith(name)
    ]:
        wrong.append(f"{name} heard {foreign}")
    if lost := speech.frames.lost(person.source):
        wrong.append(f"{name}: {lost} frames that were spoken did not arrive")
    audio = [event.at for event in journal.all("audio")]
    sample("set-up", audio[0], 1000 * (audio[0] - dialled - speech.delays.first_audio_s))
    notes = speech.notes[name]
    for turn, words in enumerate(part.said):
        _measure_turn(part.first_words(turn), words, notes, exchanges, audio, sample)
    stop = part.said[3]
    interim = next(
        t for t in notes.told if not t.final and stop.startswith(t.text) and len(t.text.split()) >= 2
    )
    clears = journal.all("clear")
    clear = next(event for event in clears if event.at >= interim.at)
    sample("interim to clear", clear.at, 1000 * (clear.at - interim.at))
    if any(event.detail["dropped_ms"] for event in clears if event is not clear):
        wrong.append(f"{name}: speech was cleared that nobody had interrupted")
    return wrong


def _measure_turn(
    reply: str,
    words: str,
    notes: Notes,
    exchanges: list[tuple[Exchange, list[float]]],
    audio: list[float],
    sample: Sample,
) -> None:
    final = next(t.at for t in notes.told if t.final and t.text == words)
    exchange, pieces = next(
        (e, at) for e, at in exchanges if e.request["messages"][-1].get("content") == words
    )
    request = 1000 * (exchange.started - final)
    sample("final to request", exchange.started, request)
    if not reply:
        return
    asked = next(at for text, at in notes.asked.items() if text.startswith(reply))
    first_voiced = next(at for text, at in notes.voiced.items() if text.startswith(reply))
    complete = pieces[len(reply.split())]  # a sentence is complete when the next one begins
    sentence = 1000 * (asked - complete)
    heard = next(at for at in audio if at > asked)
    voice = 1000 * (heard - first_voiced)
    sample("sentence to voice", asked, sentence)
    sample("voice to caller", heard, voice)
    sample("added to a turn", heard, request + sentence + voice)


def number_of(serial: int) -> str:
    """A fictional telephone number for the call of this serial; no two live calls share one."""
    return f"+1{312 + serial % 20}55501{18 + serial // 20 % 80:02}"
