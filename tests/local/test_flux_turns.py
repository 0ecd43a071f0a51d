"""Flux's turns on the server's side: which event follows from what was heard, and from how much audio."""

import pytest

from local.speech.ports import Completed, Heard, Interim, Started
from local.speech.turns import CERTAIN_S, LATE_S, UPDATE_S, Event, Info, Thresholds, Trigger, Turns

EAGER = Thresholds(eot=0.75, eager_eot=0.5)
EAGER_S, END_S = 0.5 * CERTAIN_S, 0.75 * CERTAIN_S


class Socket:
    """Turns, and the audio that has come so far; without `Update`s unless they are asked for."""

    def __init__(self, thresholds: Thresholds = EAGER) -> None:
        self.turns = Turns(thresholds)
        self.now_s = 0.0

    def hears(self, *heard: Heard) -> list[Info]:
        return [info for one in heard for info in self.turns.heard(one, self.now_s)]

    def passes(self, seconds: float, step_s: float = 0.02) -> list[Info]:
        until_s, told = self.now_s + seconds, []
        while self.now_s < until_s - 1e-9:
            self.now_s += step_s
            told += self.turns.passed(self.now_s)
        return told

    def says(self, text: str, seconds: float = 1.0) -> list[Info]:
        """A voice for that long, heard at once and completed by a pause."""
        began_s = self.now_s
        told = self.hears(Started(began_s), Interim(text.split()[0], began_s, began_s + seconds / 2))
        told += self.passes(seconds)
        return told + self.hears(Completed(text, began_s, self.now_s))


def events(told: list[Info]) -> list[Event]:
    return [info.event for info in told if info.event is not Event.UPDATE]


def test_a_turn_starts_is_expected_to_end_and_ends() -> None:
    socket = Socket()
    told = socket.says("I need an oil change.") + socket.passes(2.0)
    assert events(told) == [Event.START_OF_TURN, Event.EAGER_END_OF_TURN, Event.END_OF_TURN]
    eager, end = (info for info in told if info.event in (Event.EAGER_END_OF_TURN, Event.END_OF_TURN))
    assert eager.end_s == pytest.approx(1.0 + EAGER_S, abs=0.021)
    assert end.end_s == pytest.approx(1.0 + END_S, abs=0.021)
    assert eager.transcript == end.transcript == "I need an oil change."
    assert (eager.trigger, end.trigger) == (None, Trigger.MODEL)


def test_without_an_eager_threshold_nothing_is_told_before_the_end() -> None:
    socket = Socket(Thresholds())
    assert events(socket.says("Hello.") + socket.passes(2.0)) == [Event.START_OF_TURN, Event.END_OF_TURN]


def test_without_audio_no_turn_ends() -> None:
    socket = Socket()
    socket.says("Hello.")
    assert socket.passes(0.0) == []
    assert socket.turns.under_way


def test_words_after_an_expected_end_take_it_back_before_they_are_told() -> None:
    socket = Socket()
    told = socket.says("I need an oil change") + socket.passes(EAGER_S + 0.04)
    told += socket.says("on Friday.") + socket.passes(2.0)
    assert events(told) == [
        Event.START_OF_TURN,
        Event.EAGER_END_OF_TURN,
        Event.TURN_RESUMED,
        Event.EAGER_END_OF_TURN,
        Event.END_OF_TURN,
    ]
    resumed = next(info for info in told if info.event is Event.TURN_RESUMED)
    assert resumed.transcript == "I need an oil change"
    assert told[-1].turn == 1
    ended = next(info for info in told if info.event is Event.END_OF_TURN)
    assert (ended.turn, ended.transcript) == (0, "I need an oil change on Friday.")


def test_the_next_turn_has_the_next_number_and_none_of_the_last_ones_words() -> None:
    socket = Socket()
    socket.says("One.")
    socket.passes(2.0)
    told = socket.says("Two.") + socket.passes(2.0)
    ended = next(info for info in told if info.event is Event.END_OF_TURN)
    assert (ended.turn, ended.transcript) == (1, "Two.")


def test_an_update_comes_each_quarter_of_a_second_in_which_nothing_else_is_told() -> None:
    socket = Socket()
    socket.hears(Started(0.0), Interim("Well", 0.0, 0.1))
    told = socket.passes(4 * UPDATE_S)
    assert {info.event for info in told} == {Event.UPDATE}
    assert 3 <= len(told) <= 4
    assert {info.transcript for info in told} == {"Well"}


def test_nobody_is_sure_of_an_end_while_the_voice_goes_on() -> None:
    socket = Socket()
    socket.hears(Started(0.0), Interim("Well", 0.0, 0.1))
    assert events(socket.passes(3.0)) == []


def test_a_turn_that_nothing_ends_times_out() -> None:
    socket = Socket(Thresholds(timeout_ms=1000))
    socket.hears(Started(0.0), Interim("Well", 0.0, 0.1))
    socket.passes(LATE_S + 1.0)
    assert not socket.turns.timed_out(socket.now_s)
    socket.passes(0.2)
    assert socket.turns.timed_out(socket.now_s)
    assert socket.turns.end(socket.now_s, Trigger.TIMEOUT).transcript == "Well"


def test_after_a_pause_the_time_out_is_the_silence() -> None:
    socket = Socket(Thresholds(eot=1.0, timeout_ms=1000))
    socket.says("Hello.")
    socket.passes(0.98)
    assert not socket.turns.timed_out(socket.now_s)
    socket.passes(0.04)
    assert socket.turns.timed_out(socket.now_s)


def test_a_threshold_of_one_leaves_the_end_to_the_client() -> None:
    socket = Socket(Thresholds(eot=1.0))
    assert events(socket.says("Hello.") + socket.passes(4.5)) == [Event.START_OF_TURN]


def test_a_voice_without_words_is_not_expected_to_end() -> None:
    socket = Socket()
    assert events(socket.hears(Started(0.0), Completed("", 0.0, 0.5)) + socket.passes(3.0)) == [
        Event.START_OF_TURN
    ]
