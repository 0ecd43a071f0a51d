"""A model under trouble: each fault in a whole call in virtual time, and what its caller hears when.

    heard = measure(fault, redis_url)

A fault is scripted (`simulators.model`) for the first model, and mostly there is a second that is well. Times count
from the end of the caller's turn, as recognition tells it; synthesis takes 0.2 s, as the rig has it.
"""

from dataclasses import dataclass, field
from typing import Any

from engine.clock import now, run_virtual
from engine.phrases import APOLOGY, FILLERS
from tests.virtual.rig import Rig, new_settings, with_rig

FILLER_LIMIT_S = 1.2
ANSWER_LIMIT_S = 6.0

QUESTION = "When do you open"
ANSWER = "We open at eight in the morning. On Sunday we are closed. Is that fine?"
WELL: dict[str, Any] = {"answer": {"say": ANSWER, "first_token_s": 0.5}}
AFTER_TOOL = {"after_tool": "*", "answer": {"say": ANSWER, "first_token_s": 0.5}}


@dataclass(frozen=True)
class Fault:
    """What the first model does, and what the second, if there is one."""

    name: str
    rules: list[dict[str, Any]]
    spare_rules: list[dict[str, Any]] | None = None
    answered: bool = True  # or the caller hears an apology
    settings: dict[str, Any] = field(default_factory=dict)

    def __str__(self) -> str:
        return f"{self.name}, {'no second model' if self.spare_rules is None else 'a second model'}"


@dataclass(frozen=True)
class CallHeard:
    """What a caller heard. `first_s`: anything at all; `useful_s`: the answer, or the apology for none; `whole_s`: its
    last word. `silence_s`: the longest stretch without a sound until then."""

    fault: str
    first_s: float
    first: str
    useful_s: float
    whole_s: float
    silence_s: float
    heard: str
    asked: int

    @property
    def told(self) -> str:
        """What the caller hears, in a few words."""
        useful = "an apology" if APOLOGY in self.heard else "the answer"
        return f"a filler, then {useful}" if self.first == "a filler" else useful


def fails(times: int | None = None, **failure: Any) -> dict[str, Any]:
    """A rule by which the model fails in that way, each time or the first few times."""
    answer = {"say": ANSWER, "first_token_s": 0.5, "gap_s": 0.02, "failure": failure}
    if failure.get("status"):
        answer["first_token_s"] = 0.0
    return {"times": times, "answer": answer}


def calls(*named: tuple[str, Any], times: int | None = None, **when: Any) -> dict[str, Any]:
    """A rule by which the model calls tools by these names, with these arguments."""
    called = [{"name": name, "arguments": arguments} for name, arguments in named]
    return {"times": times, "answer": {"calls": called, "first_token_s": 0.5}, **when}


NOT_JSON = ("get_slots", '{"day": "Mon')
UNKNOWN = ("get_weather", {"day": "Monday"})
BOTH = {"spare_rules": [WELL]}

FAULTS = [
    Fault("429 once", [fails(1, status=429), WELL]),
    Fault("429, wait 1 s", [fails(1, status=429, headers={"retry-after": "1"}), WELL]),
    Fault("429, wait 30 s", [fails(status=429, headers={"retry-after": "30"})], **BOTH),
    Fault("429, wait 30 s", [fails(status=429, headers={"retry-after": "30"})], answered=False),
    Fault("429 for ever", [fails(status=429)], **BOTH),
    Fault("429 for ever", [fails(status=429)], answered=False),
    Fault("500 once", [fails(1, status=500), WELL]),
    Fault("500 for ever", [fails(status=500)], **BOTH),
    Fault("500 for ever", [fails(status=500)], answered=False),
    Fault("500 of both", [fails(status=500)], [fails(status=500)], answered=False),
    Fault("wrong key", [fails(status=401)], **BOTH),
    Fault("wrong key", [fails(status=401)], answered=False),
    Fault("no first token once", [fails(1, how="stall"), WELL]),
    Fault("no first token", [fails(how="stall")], **BOTH),
    Fault("no first token", [fails(how="stall")], answered=False),
    Fault("no first token of both", [fails(how="stall")], [fails(how="stall")], answered=False),
    Fault("stall in the first sentence", [fails(how="stall", after_tokens=3)], **BOTH),
    Fault("stall in the second sentence", [fails(how="stall", after_tokens=9)], **BOTH),
    Fault("stall in the second sentence once", [fails(1, how="stall", after_tokens=9), WELL]),
    Fault("end without finish", [fails(how="end", after_tokens=9)], **BOTH),
    Fault("end without finish once", [fails(1, how="end", after_tokens=9), WELL]),
    Fault("end without finish at once", [fails(how="end")], answered=False),
    Fault("broken connection", [fails(how="reset", after_tokens=9)], **BOTH),
    Fault("error in the stream", [fails(how="error", after_tokens=9)], **BOTH),
    Fault("malformed arguments once", [calls(NOT_JSON, times=1), AFTER_TOOL]),
    Fault("malformed arguments for ever", [calls(NOT_JSON), calls(NOT_JSON, after_tool="*")], answered=False),
    Fault("unknown tool once", [calls(UNKNOWN, times=1), AFTER_TOOL]),
    Fault("unknown tool for ever", [calls(UNKNOWN), calls(UNKNOWN, after_tool="*")], answered=False),
]
"""Faults of which a caller hears the whole answer, or an apology."""


def measure(fault: Fault, redis_url: str) -> CallHeard:
    """Plays a call with that fault in its first answer. Raises AssertionError if nothing comes of it."""
    found: list[CallHeard] = []

    async def story(rig: Rig) -> None:
        await rig.hears("How can I help?")
        await rig.quiet()
        before = len(rig.heard)
        await rig.mouth.say(QUESTION)
        began_s = now()
        times: dict[str, float] = {}

        async def reached(what: str, *words: str) -> None:
            await rig.until(lambda: any(one in rig.heard[before:] for one in words))
            times[what] = now() - began_s

        await rig.until(lambda: len(rig.heard) > before)
        times["first"] = now() - began_s
        await reached("useful", ANSWER[:3], APOLOGY[:3])
        await reached("whole", "that fine?", APOLOGY)
        silence_s = rig.ear.longest_silence_s(began_s)
        await rig.until(lambda: not rig.ear.speaking())
        heard = rig.heard[before:]
        first = "a filler" if any(heard.startswith(filler) for filler in FILLERS) else "the reply"
        asked = len(rig.brain.asked) + len(rig.spare.asked)
        found.append(
            CallHeard(
                str(fault), times["first"], first, times["useful"], times["whole"], silence_s, heard, asked
            )
        )

    async def run() -> None:
        rig = Rig(
            redis_url, fault.rules, settings=new_settings(**fault.settings), spare_rules=fault.spare_rules
        )
        await with_rig(rig, story)

    run_virtual(run())
    return found[0]
