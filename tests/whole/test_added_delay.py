"""What the engine adds to its vendors' own time, measured at the vendors and at the caller's ear."""

import asyncio
from statistics import median

import pytest

from engine.callrows import Leg
from simulators.caller import Caller
from simulators.marks import MarksDelays
from simulators.model import says
from tests.whole.bench import Bench, Talk

pytestmark = [pytest.mark.whole, pytest.mark.asyncio(loop_scope="session")]

FINAL_S, FIRST_TOKEN_S, FIRST_AUDIO_S = 0.3, 0.4, 0.2
TURNS = 5
# Of medians: what the engine may add. Measured on two busy cores: 10, 11, 40 and 6, where voice to voice holds what a
# caller's line adds, a grain of 20 ms at each end.
LIMITS_MS = {
    "final to request": 50.0,
    "sentence to voice": 50.0,
    "voice to voice": 50.0,
    "interim to clear": 50.0,
}
REPLY = "Very well. I go on with this for a while, so that you have something to interrupt."


def utterance(name: str, turn: int) -> str:
    """What this caller says in that turn: no interim of it is the beginning of another's."""
    return f"{name}{turn} please go on"


async def impatient_call(bench: Bench, name: str) -> Talk:
    """A caller who interrupts the greeting and then every answer."""

    async def person(c: Caller) -> None:
        await c.hears("Thanks for")
        for turn in range(TURNS):
            await c.say(utterance(name, turn))
            await c.hears("Very well. I")

    rules = says(REPLY, user="please go on", first_token_s=FIRST_TOKEN_S)
    return await bench.dial(person, rules)


def added_ms(bench: Bench, talk: Talk, name: str) -> dict[str, list[float]]:
    """For each turn, by leg, how much later than at once things happened, in milliseconds."""
    sentences, spoken, clears = talk.person.heard.sentences, *map(talk.call.journal.all, ("spoken", "clear"))
    asked = [a for a in bench.speech.asked_of(talk.person.heard.sources) if a.text == "Very well."]
    added: dict[str, list[float]] = {leg: [] for leg in LIMITS_MS}
    for turn, exchange in enumerate(talk.exchanges()):
        text = utterance(name, turn)
        assert exchange.first_s is not None
        heard_at = next(s.began_at for s in sentences if s.began_at > spoken[turn].at)
        delays_s = FINAL_S + FIRST_TOKEN_S + FIRST_AUDIO_S
        added["final to request"].append(exchange.started - bench.speech.final(text).at)
        added["sentence to voice"].append(asked[turn].at - exchange.started - exchange.first_s)
        added["voice to voice"].append(heard_at - spoken[turn].at - delays_s)
        added["interim to clear"].append(clears[turn].at - bench.speech.interim(2, text).at)
    return {leg: [1000 * value for value in values] for leg, values in added.items()}


async def the_engines_own_ms(bench: Bench, talks: list[Talk]) -> dict[str, list[float]]:
    """The same turns as the engine's own log has them: without sockets, and a vendor's parsing, in between."""
    rows = await bench.rows(
        "SELECT name, value_ms FROM call_metric WHERE call = ANY($1)", [talk.sid for talk in talks]
    )
    names = (Leg.FINAL_TO_REQUEST, Leg.FIRST_SENTENCE_TO_TTS, Leg.AUDIO_TO_CALLER, Leg.INTERIM_TO_CLEAR)
    return {f"{name} (own)": [row["value_ms"] for row in rows if row["name"] == name] for name in names}


async def measured_ms(
    bench: Bench, capsys: pytest.CaptureFixture[str], names: tuple[str, ...]
) -> dict[str, float]:
    """The median of each leg, of one call for each name; all of it printed."""
    talks = await asyncio.gather(*(impatient_call(bench, name) for name in names))
    await asyncio.gather(*(talk.ended() for talk in talks))
    for talk in talks:
        await bench.logged(talk.sid, "caller_hung_up")
    each = [added_ms(bench, talk, name) for talk, name in zip(talks, names, strict=True)]
    added = {leg: [value for one in each for value in one[leg]] for leg in each[0]}
    assert all(len(values) == TURNS * len(names) for values in added.values())
    with capsys.disabled():
        for leg, values in (added | await the_engines_own_ms(bench, talks)).items():
            print(
                f"\n  {leg}: p50 {median(values):.1f} ms, worst {max(values):.1f} ms of {len(values)}", end=""
            )
    return {leg: median(values) for leg, values in added.items()}


async def test_the_engine_adds_little_to_its_vendors_delays(
    bench: Bench, capsys: pytest.CaptureFixture[str]
) -> None:
    """The best of three: other work on the machine is not the engine's delay."""
    bench.speech.delays = MarksDelays(final_s=FINAL_S, first_audio_s=FIRST_AUDIO_S)
    over: dict[str, float] = {}
    for names in (("Alpha", "Bravo"), ("Charlie", "Delta"), ("Echo", "Foxtrot")):
        added = await measured_ms(bench, capsys, names)
        over = {leg: ms for leg, ms in added.items() if ms > LIMITS_MS[leg]}
        if not over:
            break
    assert over == {}
