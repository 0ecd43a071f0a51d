"""Utterances from a recogniser's results: Deepgram's order rules, and what is kept until it is taken."""

from hypothesis import given
from hypothesis import strategies as st

from engine.messages import Final, Interim, SpeechStarted, TurnEnded, TurnResumed, Utterance
from engine.utterances import Told, Utterances


class Recogniser:
    """Says results to `Utterances`, a second apart."""

    def __init__(self) -> None:
        self.utterances = Utterances()
        self.now_s = 0.0

    def says(self, text: str, *, final: bool = False, last: bool = False) -> list[Told]:
        self.now_s += 1.0
        at = 1000.0 + self.now_s
        return self.utterances.heard(
            self.now_s, at, text, final=final or last, last=last, spoke_until=at - 0.5
        )

    def held(self) -> list[tuple[int, str, bool]]:
        return [(u.utterance, u.text, u.ended) for u in self.utterances.held(self.now_s)]


def test_an_interim_is_replaced_by_the_next() -> None:
    says = Recogniser().says
    assert says("I need") == [Interim(1, "I need", 1001.0)]
    assert says("I need an oil") == [Interim(1, "I need an oil", 1002.0)]


def test_a_final_that_is_not_speech_final_ends_a_span_and_no_turn() -> None:
    says = Recogniser().says
    assert says("I need an oil change", final=True) == [Final(1, "I need an oil change", 1001.0)]
    assert says("for my") == [Interim(1, "I need an oil change for my", 1002.0)]


def test_a_turn_is_all_its_finals_joined_and_not_the_last_one() -> None:
    says = Recogniser().says
    says("I need an oil change", final=True)
    says("for my truck", final=True)
    told = says("tomorrow.", last=True)
    text = "I need an oil change for my truck tomorrow."
    assert told == [Final(1, text, 1003.0), TurnEnded(1, text, at=1003.0, spoke_until=1002.5)]


def test_a_final_shorter_than_its_interim_gives_the_tail_back_in_the_next_span() -> None:
    says = Recogniser().says
    says("my number is five five five")
    says("my number is", final=True)
    says("five five five")
    assert says("five five five.", last=True)[-1] == TurnEnded(
        1, "my number is five five five.", at=1004.0, spoke_until=1003.5
    )


def test_an_empty_final_in_silence_says_nothing() -> None:
    recogniser = Recogniser()
    assert recogniser.says("", final=True) == []
    assert recogniser.says("  ", last=True) == []
    assert recogniser.held() == []


def test_an_empty_speech_final_ends_the_turn_of_the_words_before_it() -> None:
    recogniser = Recogniser()
    recogniser.says("Tomorrow at nine", final=True)
    assert recogniser.says("", last=True) == [TurnEnded(1, "Tomorrow at nine", at=1002.0, spoke_until=1000.5)]


def test_an_empty_final_takes_back_the_interim_of_its_span() -> None:
    recogniser = Recogniser()
    recogniser.says("uh")
    recogniser.says("", final=True)
    assert not recogniser.utterances.pending
    assert recogniser.utterances.over(1.0) == []


def test_a_gap_ends_a_turn_that_speech_final_has_not_ended() -> None:
    recogniser = Recogniser()
    recogniser.says("Tomorrow", final=True)
    recogniser.says("at nine")
    assert recogniser.utterances.over(1005.0) == [
        TurnEnded(1, "Tomorrow at nine", at=1005.0, spoke_until=1001.5)
    ]


def test_a_gap_after_speech_final_or_with_no_words_ends_nothing() -> None:
    recogniser = Recogniser()
    assert recogniser.utterances.over(1.0) == []
    recogniser.says("Hello.", last=True)
    assert recogniser.utterances.over(1005.0) == []


def test_voice_names_the_utterance_that_it_may_belong_to() -> None:
    recogniser = Recogniser()
    assert recogniser.utterances.voice() == [SpeechStarted(1)]
    recogniser.says("Hello")
    assert recogniser.utterances.voice() == [SpeechStarted(1)]
    recogniser.says("Hello.", last=True)
    assert recogniser.utterances.voice() == [SpeechStarted(2)]


def test_words_are_unsettled_until_a_final_covers_them() -> None:
    recogniser = Recogniser()
    assert not recogniser.utterances.unsettled
    recogniser.says("I need an oil")
    assert recogniser.utterances.unsettled
    recogniser.says("I need an oil", final=True)
    assert not recogniser.utterances.unsettled
    assert recogniser.utterances.pending


# ---------------------------------------------------------------- kept until taken


def test_what_was_said_is_held_until_it_is_taken() -> None:
    recogniser = Recogniser()
    recogniser.says("One.", last=True)
    recogniser.says("Two.", last=True)
    recogniser.says("three")
    assert recogniser.held() == [(1, "One.", True), (2, "Two.", True), (3, "three", False)]
    recogniser.utterances.took(2)
    assert recogniser.held() == [(3, "three", False)]
    recogniser.utterances.took(2)
    assert recogniser.held() == [(3, "three", False)]


def test_the_age_of_what_is_held_counts_from_its_last_words() -> None:
    recogniser = Recogniser()
    recogniser.says("One")
    assert recogniser.utterances.held(3.5) == (Utterance(1, "One", False, 2500.0),)


def test_an_open_utterance_is_not_lost_by_taking_its_own_number() -> None:
    recogniser = Recogniser()
    recogniser.says("still speak")
    recogniser.utterances.took(1)
    assert recogniser.says("still speaking", final=True) == [Final(1, "still speaking", 1002.0)]


def test_taking_ahead_of_what_was_heard_moves_the_numbers_on() -> None:
    recogniser = Recogniser()
    recogniser.utterances.took(4)
    assert recogniser.says("Hello") == [Interim(5, "Hello", 1001.0)]


def test_what_was_said_before_anybody_had_the_call_is_numbered_by_who_takes_it_first() -> None:
    recogniser = Recogniser()  # of a new stream: the session knows six utterances of the stream before
    recogniser.says("One.", last=True)
    recogniser.says("two")
    recogniser.utterances.adopt(7)
    assert recogniser.held() == [(7, "One.", True), (8, "two", False)]
    assert recogniser.says("Two.", last=True)[-1] == TurnEnded(8, "Two.", at=1003.0, spoke_until=1002.5)
    recogniser.utterances.adopt(8)
    assert recogniser.held() == [(8, "Two.", True)]


def test_an_ended_utterance_that_the_session_has_is_not_held_for_a_successor() -> None:
    recogniser = Recogniser()
    recogniser.utterances.adopt(1)
    for text in ("One.", "Two.", "Three."):
        recogniser.says(text, last=True)
    recogniser.utterances.adopt(3)
    assert recogniser.held() == [(3, "Three.", True)]
    recogniser.utterances.adopt(3)
    assert recogniser.held() == [(3, "Three.", True)]


def test_a_successor_of_a_silent_stream_counts_on_from_its_own_number() -> None:
    recogniser = Recogniser()
    recogniser.utterances.adopt(5)
    assert recogniser.says("Hello.", last=True)[-1] == TurnEnded(5, "Hello.", at=1001.0, spoke_until=1000.5)


def test_an_utterance_that_may_be_over_is_open_until_it_is() -> None:
    utterances = Utterances()
    utterances.heard(1.0, 1001.0, "Hello.", final=True, last=False, spoke_until=1000.5)  # by another socket
    told = utterances.likely_over(2.0, 1002.0, "An oil change", spoke_until=1001.5)
    whole = "Hello. An oil change"
    assert told == [Interim(1, whole, 1002.0), TurnEnded(1, whole, 1002.0, 1001.5, eager=True)]
    [held] = utterances.held(2.0)
    assert (held.text, held.ended) == (whole, False)
    assert utterances.goes_on() == [TurnResumed(1)]
    assert utterances.goes_on() == []
    text = "An oil change on Friday."
    told = utterances.heard(3.0, 1003.0, text, final=True, last=True, spoke_until=1002.5)
    assert told[-1] == TurnEnded(1, f"Hello. {text}", 1003.0, 1002.5)
    assert utterances.goes_on() == []


def test_what_has_no_words_is_not_expected_to_end() -> None:
    assert Utterances().likely_over(1.0, 1001.0, " ", spoke_until=1000.0) == []


EVENTS = st.one_of(
    st.tuples(st.just("interim"), st.sampled_from(["", "a", "b c"])),
    st.tuples(st.just("final"), st.sampled_from(["", "a", "b c"])),
    st.tuples(st.just("last"), st.sampled_from(["", "a", "b c"])),
    st.tuples(st.just("gap"), st.just("")),
    st.tuples(st.just("took"), st.just("")),
)


@given(events=st.lists(EVENTS, max_size=40))
def test_final_words_are_told_once_each_in_order_and_numbers_only_grow(
    events: list[tuple[str, str]],
) -> None:
    recogniser = Recogniser()
    ended: list[TurnEnded] = []
    finals: list[str] = []
    for kind, text in events:
        told: list[Told] = []
        if kind == "gap":
            told = recogniser.utterances.over(1.0)
        elif kind == "took":
            recogniser.utterances.took(ended[-1].utterance if ended else 0)
        else:
            told = recogniser.says(text, final=kind == "final", last=kind == "last")
            finals += text.split() if kind != "interim" else []
        ended += [event for event in told if isinstance(event, TurnEnded)]
    assert [event.utterance for event in ended] == list(range(1, len(ended) + 1))
    kept = [text for _, text, over in recogniser.held() if not over]
    spoken = " ".join([event.text for event in ended] + kept).split()
    # Every word of a final is there, in order; beside them only words of interims that nothing replaced.
    remaining = iter(spoken)
    assert all(word in remaining for word in finals)
