"""A call that was put on tape goes the same way again, and a tape notices when the code does not."""

import time
from pathlib import Path
from typing import Any

import pytest

from actors.call import CallActor
from actors.parts import CallPorts
from actors.speaking import Speaking
from actors.taping import make_taped_call
from engine.history import Cause
from engine.messages import Interim, Start, Tick
from engine.settings import Settings
from engine.tape import TapeLine, read_tape
from tests.virtual.replays import NoHush, again
from tests.virtual.rig import CALL, Rig
from tests.virtual.test_conversation import BYE, LONG, OFFER, SLOTS, play


class TapedRig(Rig):
    """A rig whose calls are recorded."""

    directory: Path

    def _make_call(self, start: Any, ref: Any) -> Any:
        plain = super()._make_call(start, ref)
        assert isinstance(plain, CallActor)
        return make_taped_call(start, plain._ports, self.settings, self.directory)


@pytest.fixture
def tape(redis_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[TapeLine]:
    """The tape of a call with a tool, an interruption and a goodbye."""
    TapedRig.directory = tmp_path
    monkeypatch.setattr("tests.virtual.test_conversation.Rig", TapedRig)

    async def story(rig: Rig) -> None:
        await rig.hears("How can I help?")
        await rig.mouth.say("What times are free on Friday")
        await rig.hears("nine and")
        await rig.mouth.say("Tell me a story")
        await rig.hears("It stood")
        await rig.mouth.say("That is all thanks")
        await rig.until(rig.closed.is_set)
        await rig.stream.ended()

    play(story, redis_url, SLOTS, OFFER, LONG, BYE)
    return read_tape(tmp_path / f"{CALL}.jsonl")


def test_a_replay_tells_the_same_messages_and_takes_a_hundredth_of_the_time(tape: list[TapeLine]) -> None:
    began = time.perf_counter()
    assert again(tape) is None
    took = time.perf_counter() - began
    call_s = tape[-1].t
    print(f"{call_s:.1f} s of call replayed in {took * 1000:.0f} ms: {call_s / took:.0f} times faster")
    assert call_s / took > 10


def test_a_timer_that_rang_late_on_a_busy_machine_rings_late_in_the_replay_too(tape: list[TapeLine]) -> None:
    place = next(n for n, line in enumerate(tape) if line.message == Tick("unattached"))
    later = next(n for n in range(place, len(tape)) if isinstance(tape[n].message, Interim))
    late = TapeLine(tape[later].t, "in", "call", Tick("unattached"))
    busy = [*tape[:place], *tape[place + 1 : later + 1], late, *tape[later + 1 :]]
    assert tape[later].t - tape[place].t > 0.001
    assert again(busy) is None


def test_a_tape_notices_a_timer_that_does_not_ring(tape: list[TapeLine]) -> None:
    class Patient(CallActor):
        def __init__(self, start: Start, ports: CallPorts, settings: Settings) -> None:
            super().__init__(start, ports, settings.model_copy(update={"attach_s": 3600.0}))

    difference = again(tape, Patient)
    assert difference is not None
    assert "unattached" in difference.expected


def test_a_tape_notices_that_hush_is_gone(tape: list[TapeLine]) -> None:
    difference = again(tape, NoHush)
    assert difference is not None
    assert "Hush" in difference.expected


def test_a_tape_notices_words_that_were_not_said(
    tape: list[TapeLine], monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = Speaking.say_turn

    async def impatient(self: Speaking, cause: Cause, text: str) -> None:
        await plain(self, cause, text + " Hurry up.")

    monkeypatch.setattr(Speaking, "say_turn", impatient)
    difference = again(tape)
    assert difference is not None
    assert "Hurry up" in difference.got


def test_a_tape_notices_another_taste_of_what_interrupts(
    tape: list[TapeLine], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("engine.turns.TurnTaking._countable", lambda self, text: 0)
    difference = again(tape)
    assert difference is not None
    assert "Cancel" in difference.expected or "Clear" in difference.expected or "Hush" in difference.expected
