"""Calls like each other, many at once: four turns, one interruption, one tool, about 25 s; and what they measured."""

import asyncio
import itertools
from collections.abc import Iterator
from dataclasses import dataclass, field
from time import monotonic

from bench.vendors import FIRST_TOKEN_S, BenchModel, BenchSpeech
from local.chat import Exchange
from simulators.caller import Caller, MarksPerson
from simulators.model import says, tool
from simulators.twilio import SimCall, SimTwilio
from simulators.vendors import caller_of

VOICE = "/api/v1/voice"
CALL_LIMIT_S = 120.0
FIRST_WORDS = ("we open at eight.", "", "once upon a time there was a car.", "I have stopped.")
_SERIAL = itertools.count(1)  # of all runs: the vendors' records are searched by name
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


@dataclass
class Measured:
    """What many calls saw. Milliseconds for each leg; `wrong` says what a call found amiss."""

    legs: dict[str, list[float]] = field(default_factory=lambda: {leg: [] for leg in LEGS})
    calls: int = 0
    gaps: int = 0
    stalls: int = 0
    wrong: list[str] = field(default_factory=list)


def _numbers() -> Iterator[str]:
    """Fictional numbers, enough that no two live calls share one."""
    areas = range(312, 332)
    return itertools.cycle(f"+1{area}55501{last:02}" for last in range(18, 98) for area in areas)


def _script(name: str, date: str) -> tuple[list[str], list[object]]:
    """What the caller says, turn by turn, and the model's rules."""
    said = [
        f"{name} asks when you open",
        f"{name} asks what is free",
        f"{name} wants a story",
        f"{name} says stop please",
    ]
    delay = {"first_token_s": FIRST_TOKEN_S, "gap_s": 0.02}
    rules: list[object] = [
        says(f"{name}, {FIRST_WORDS[0]} Is there more?", user=said[0], **delay),
        says("", tool("get_available_slots", date=date, service="Oil Change"), user=said[1], **delay),
        says(f"{name}, nine is free. Or ten, if you like.", after="get_available_slots", **delay),
        says(
            f"{name}, {FIRST_WORDS[2]} It stood in a garage for many years, and nobody drove it.",
            user=said[2],
            **delay,
        ),
        says(f"{name}, {FIRST_WORDS[3]} Goodbye.", user=said[3], **delay),
    ]
    return said, rules


class Load:
    """Keeps a number of calls up at one app."""

    def __init__(
        self, url: str, twilio: SimTwilio, speech: BenchSpeech, model: BenchModel, date: str
    ) -> None:
        self._url = url
        self._twilio = twilio
        self._speech = speech
        self._model = model
        self._date = date
        self._numbers = _numbers()

    async def run(self, calls: int, ramp_s: float, window_s: float) -> Measured:
        """`calls` lines, each of which calls again and again until the window has passed; calls end whole."""
        measured = Measured()
        until = monotonic() + ramp_s + window_s

        async def line(place: int) -> None:
            await asyncio.sleep(ramp_s * place / calls)
            while monotonic() < until:
                await self._one(measured)

        await asyncio.gather(*(line(place) for place in range(calls)))
        return measured

    async def _one(self, measured: Measured) -> None:
        name, number = f"Caller{next(_SERIAL):04}", next(self._numbers)
        said, rules = _script(name, self._date)
        self._model.answers(number, *rules)  # type: ignore[arg-type]
        first = len(self._model.record.exchanges)
        spoken_at: list[float] = []

        async def script(c: Caller) -> None:
            c.line.on_spoken(spoken_at.append)
            await c.quiet(0.5)
            for turn, words in enumerate(said):
                await c.say(words)
                if turn == 2:
                    await c.hears("there was a")
                else:
                    await c.hears(("more?", "you like.", "", "Goodbye.")[turn])
                    await c.quiet(1.0)

        person = MarksPerson(script)
        dialled = monotonic()
        try:
            call = await self._twilio.dial(
                f"{self._url}{VOICE}/incoming",
                caller=number,
                person=person,
                status_url=f"{self._url}{VOICE}/status",
                max_s=CALL_LIMIT_S,
                keep_audio=False,
            )
            await call.ended(CALL_LIMIT_S + 10)
        except Exception as error:
            measured.wrong.append(f"{name}: {type(error).__name__}: {error}")
            return
        exchanges = [e for e in self._model.record.exchanges[first:] if caller_of(e.request) == number]
        try:
            _measure(
                measured, name, said, dialled, call, person, exchanges, self._speech, self._model, spoken_at
            )
        except (StopIteration, IndexError, KeyError) as error:
            measured.wrong.append(f"{name}: not measured: {error!r}")
        self._twilio.calls.remove(call)


def _measure(
    measured: Measured,
    name: str,
    said: list[str],
    dialled: float,
    call: SimCall,
    person: MarksPerson,
    exchanges: list[Exchange],
    speech: BenchSpeech,
    model: BenchModel,
    spoken_at: list[float],
) -> None:
    journal, heard, legs = call.journal, person.heard, measured.legs
    measured.calls += 1
    stalls, audio = journal.all("stalled"), journal.all("audio")
    measured.stalls += len(stalls)
    gaps = [gap for gap in heard.gaps if not any(abs(gap.at - stall.at) < 1.0 for stall in stalls)]
    measured.gaps += len(gaps)
    measured.wrong += [
        f"{name}: a gap of {gap.silent_ms:.0f} ms, {1000 * (gap.at - audio[0].at):.0f} ms after the first audio"
        for gap in gaps
    ]
    if foreign := [
        s.text for s in heard.sentences[1:] if s.text.startswith("Caller") and not s.text.startswith(name)
    ]:
        measured.wrong.append(f"{name} heard {foreign}")
    frames_at = speech.frames_at.pop(person.source)
    if len(frames_at) != len(spoken_at):
        measured.wrong.append(f"{name}: {len(spoken_at)} frames spoken, {len(frames_at)} arrived")
    legs["frame to recogniser"] += [1000 * (b - a) for a, b in zip(spoken_at, frames_at, strict=False)]
    legs["set-up"].append(1000 * (audio[0].at - dialled - speech.delays.first_audio_s))
    finals = {t.text: t.at for t in speech.told if t.final and t.text in said}
    asked = {a.text: a for a in speech.asked if a.text.startswith(name)}
    first_words = [f"{name}, {words}" if words else "" for words in FIRST_WORDS]
    by_user = {e.request["messages"][-1].get("content"): e for e in exchanges}
    for turn, words in enumerate(said):
        exchange = by_user[words]
        request = 1000 * (exchange.started - finals[words])
        legs["final to request"].append(request)
        if not first_words[turn] or exchange.first_s is None:
            continue
        ask = asked[first_words[turn]]
        # A sentence is complete when the next one begins.
        complete = model.pieces_at[id(exchange.request)][len(first_words[turn].split())]
        sentence = 1000 * (ask.at - complete)
        arrived = next(event.at for event in audio if event.at > ask.at)
        voiced = 1000 * (arrived - speech.voiced_at[first_words[turn]])
        legs["sentence to voice"].append(sentence)
        legs["voice to caller"].append(voiced)
        legs["added to a turn"].append(request + sentence + voiced)
    clears = journal.all("clear")
    interim = next(
        t for t in speech.told if not t.final and said[3].startswith(t.text) and len(t.text.split()) >= 2
    )
    if len(clears) != 1:
        measured.wrong.append(f"{name}: {len(clears)} clears")
    else:
        legs["interim to clear"].append(1000 * (clears[0].at - interim.at))
