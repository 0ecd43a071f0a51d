"""Fifty calls at once: each caller hears what is theirs, may interrupt, and has booked once."""

import asyncio
import datetime as dt
import time
from collections import Counter

import pytest

from engine.phrases import FILLERS
from simulators.caller import Caller
from simulators.marks import MarksDelays
from simulators.model import says, tool
from tests.whole.bench import Bench, Talk, audible, eventually
from tests.whole.booking import ZONE, quiet_days

pytestmark = [pytest.mark.whole, pytest.mark.asyncio(loop_scope="session")]

CALLS = 50
RAMP_S = 3.0
LATE_MS, NEAR_S = 100.0, 3.0
A_DAYS_TIMES = 18  # from eight to half past four, each for one car in this test
CUT = "It stood in a garage for many years, and nobody ever took it out on the road."
UNHEARD = "At last it rusted away."


class Customer:
    """A caller whose name is in everything that is said to them, and who wants an hour of their own."""

    def __init__(self, bench: Bench, place: int) -> None:
        self.name = "Caller" + "abcdefghij"[place // 10] + "abcdefghij"[place % 10]  # no digit is spoken
        self.number = bench.number()
        day, hour = divmod(place, A_DAYS_TIMES)
        opens = dt.datetime.combine(quiet_days()[day], dt.time(8), ZONE)
        self.wants = opens + dt.timedelta(minutes=30 * hour)

    async def dials(self, bench: Bench) -> Talk:
        name, date = self.name, self.wants.date().isoformat()
        wanted = {"service": "oil change", "date": date, "time": f"{self.wants:%H:%M}"}
        return await bench.dial(
            self._talks,
            says(f"{name}, there was a car. {CUT} {UNHEARD}", user=f"{name} wants a story"),
            says(f"{name}, I have stopped.", user=f"stop please {name}"),
            says("", tool("book_appointment", vehicle=None, name=None, **wanted), user=f"{name} books"),
            says(f"{name}, you are booked.", after="book_appointment", result='"booked":true'),
            caller=self.number,
            keep_audio=False,
        )

    async def _talks(self, c: Caller) -> None:
        await c.hears(f"Hi {self.name}, thanks")
        await c.hears("help you today?")
        await c.quiet(0.2)
        await c.say(f"{self.name} wants a story")
        await c.hears("was a car.")
        await c.say(f"Stop please {self.name}")
        await c.hears(f"{self.name}, I have stopped.")
        await c.quiet(0.2)
        await c.say(f"{self.name} books")
        await c.hears(f"{self.name}, you are booked.")
        await c.quiet(0.2)


async def test_fifty_callers_at_once_each_hear_their_own_interrupt_and_book_once(bench: Bench) -> None:
    customers = [Customer(bench, place) for place in range(CALLS)]
    for one in customers:
        await bench.rows(
            "WITH one AS (INSERT INTO customer (name, since) VALUES ($2, 2026) RETURNING id) "
            "INSERT INTO customer_phone (phone, customer_id) SELECT $1, id FROM one",
            one.number,
            one.name,
        )

    # The vendors share our process: a voice that is far ahead leaves the pace of playback to the engine alone.
    bench.speech.delays = MarksDelays(final_s=0.1, first_audio_s=0.05, voice_speed=1000.0)
    talks = []
    began = time.monotonic()
    for place, one in enumerate(customers):
        await asyncio.sleep(began + RAMP_S * place / CALLS - time.monotonic())
        talks.append(await one.dials(bench))
    await eventually(lambda: all_live(bench), "the time at which all calls are live")
    for talk in talks:
        await talk.ended()

    print(f"{CALLS} calls in {time.monotonic() - began:.1f} s, stalls of ours: {stalls(talks)}")
    overloaded = late_steps(talks)
    for one, talk in zip(customers, talks, strict=True):
        they_heard_what_is_theirs(one, talk)
        they_interrupted(one, talk, overloaded)
        assert [gap for gap in talk.gaps() if audible(gap) and not near(overloaded, gap.at)] == []
        assert talk.call.errors == []
    voices = Counter(source for talk in talks for source in talk.person.heard.sources)
    assert [source for source, heard_by in voices.items() if heard_by > 1] == []
    for one, talk in zip(customers, talks, strict=True):
        booked = await bench.rows(
            "SELECT * FROM appointment WHERE call = $1 OR phone = $2", talk.sid, one.number
        )
        assert [(row["starts_at"], row["phone"], row["call"], row["status"]) for row in booked] == [
            (one.wants, one.number, talk.sid, "booked")
        ]


async def all_live(bench: Bench) -> bool:
    return len(await bench.live()) == CALLS


def stalls(talks: list[Talk]) -> str:
    lasted_ms = [event.detail["ms"] for talk in talks for event in talk.call.journal.all("stalled")]
    return f"{len(lasted_ms)}, up to {max(lasted_ms, default=0.0):.0f} ms"


def late_steps(talks: list[Talk]) -> list[float]:
    """When the machine had more to do than it can: callers' steps of 20 ms came as late as five of them."""
    steps = [event for talk in talks for event in talk.call.journal.all("stalled")]
    return [step.at for step in steps if step.detail["ms"] >= LATE_MS]


def near(times: list[float], at: float) -> bool:
    return any(abs(at - one) < NEAR_S for one in times)


def they_heard_what_is_theirs(one: Customer, talk: Talk) -> None:
    """Every sentence of the agent's, in order, and nobody else's."""
    told = [text for text in talk.heard() if text not in FILLERS and not CUT.startswith(text)]
    assert told == [
        f"Hi {one.name}, thanks for calling Elm.",
        "How can I help you today?",
        f"{one.name}, there was a car.",
        f"{one.name}, I have stopped.",
        f"{one.name}, you are booked.",
    ]
    assert talk.person.heard.echoed_frames == 0


def they_interrupted(one: Customer, talk: Talk, overloaded: list[float]) -> None:
    """The agent fell silent in the midst of its story, and knows how much of it was heard."""
    clears = talk.call.journal.all("clear")
    if any(near(overloaded, clear.at) for clear in clears):
        return  # the callers' clock had stood still, and the agent's not
    assert len(clears) == 1
    cut = [sentence for sentence in talk.person.heard.sentences if not sentence.whole]
    assert len(cut) <= 1
    asked = talk.exchanges()[-1].request["messages"]
    [story] = [str(m["content"]) for m in asked if str(m["content"]).startswith(f"{one.name}, there")]
    heard = " ".join([f"{one.name}, there was a car.", *(sentence.text for sentence in cut)]).split()
    assert abs(len(story.split()) - len(heard)) <= 1, f"history has {story!r}, heard {heard}"
