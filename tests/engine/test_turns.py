"""Turn-taking: the whole table of `engine.turns`, and silence."""

import dataclasses

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.settings import Settings
from engine.turns import (
    Agent,
    Answer,
    AskAgain,
    Decision,
    Fill,
    Goodbye,
    Ignore,
    Interrupt,
    Manners,
    Prepare,
    TurnTaking,
    words_of,
)

NOISES = frozenset({"mm-hmm", "okay", "yeah", "i see", "got it", "right"})
MANNERS = Manners(min_words=2, noises=NOISES, silence_s=7.0, prompts=2, fill_s=0.9, fill_again_s=4.0)
SILENT = (Agent.QUIET,)
BUSY = (Agent.THINKING, Agent.SPEAKING)


def turns(agent: Agent, manners: Manners = MANNERS) -> TurnTaking:
    taking = TurnTaking(manners, 0.0)
    taking.agent_is(agent, 0.0)
    return taking


# ---------------------------------------------------------------- the table


@pytest.mark.parametrize(
    ("agent", "text", "decided"),
    [
        (Agent.QUIET, "mm-hmm", []),
        (Agent.QUIET, "I need an oil change", []),
        (Agent.THINKING, "mm-hmm", []),
        (Agent.THINKING, "wait a moment", [Interrupt()]),
        (Agent.SPEAKING, "mm-hmm", []),
        (Agent.SPEAKING, "wait a moment", [Interrupt()]),
    ],
)
def test_an_interim_interrupts_only_an_agent_that_is_at_it_and_only_with_words(
    agent: Agent, text: str, decided: list[Decision]
) -> None:
    assert turns(agent).interim(1.0, text) == decided


@pytest.mark.parametrize(
    ("agent", "text", "decided"),
    [
        (Agent.QUIET, "okay", [Answer(3, "okay")]),
        (Agent.QUIET, "an oil change", [Answer(3, "an oil change")]),
        (Agent.THINKING, "okay", [Ignore(3)]),
        (Agent.THINKING, "no", [Interrupt(), Answer(3, "no")]),
        (Agent.SPEAKING, "okay", [Ignore(3)]),
        (Agent.SPEAKING, "no", [Interrupt(), Answer(3, "no")]),
    ],
)
def test_an_utterance_that_is_over_is_answered_unless_it_is_a_noise_to_a_busy_agent(
    agent: Agent, text: str, decided: list[Decision]
) -> None:
    assert turns(agent).ended(1.0, 3, text) == decided


@pytest.mark.parametrize(
    ("agent", "text", "decided"),
    [
        (Agent.QUIET, "an oil change", [Prepare("an oil change")]),
        (Agent.QUIET, "okay", [Prepare("okay")]),
        (Agent.QUIET, "...", []),
        (Agent.THINKING, "an oil change", []),
        (Agent.SPEAKING, "an oil change", []),
    ],
)
def test_only_a_quiet_agent_thinks_about_what_may_be_all(
    agent: Agent, text: str, decided: list[Decision]
) -> None:
    assert turns(agent).end_expected(text) == decided


@pytest.mark.parametrize("agent", BUSY)
def test_a_key_interrupts_a_busy_agent(agent: Agent) -> None:
    taking = turns(agent)
    assert taking.key_pressed(1.0) == [Interrupt()]
    assert taking.agent is Agent.QUIET


def test_a_key_pressed_to_a_quiet_agent_interrupts_nothing() -> None:
    assert turns(Agent.QUIET).key_pressed(1.0) == []


@pytest.mark.parametrize("agent", list(Agent))
def test_an_utterance_without_a_word_is_nobodys_turn(agent: Agent) -> None:
    assert turns(agent).ended(1.0, 4, " ... ") == [Ignore(4)]
    assert turns(agent).interim(1.0, "...") == []


def test_who_was_interrupted_is_not_interrupted_twice() -> None:
    taking = turns(Agent.SPEAKING)
    assert taking.interim(1.0, "wait a moment") == [Interrupt()]
    assert taking.agent is Agent.QUIET
    assert taking.interim(1.2, "wait a moment please") == []
    assert taking.ended(1.5, 2, "wait a moment please") == [Answer(2, "wait a moment please")]


# ---------------------------------------------------------------- what counts as a word


@pytest.mark.parametrize(
    "noise",
    ["mm-hmm", "Mm-hmm.", "MM-HMM!", "Mhm,", "mhmm", "mm hmm", "Hmm...", "um", "uhh", "I see.", "Yeah, okay.",
     "Got it, right."],
)  # fmt: skip
def test_a_caller_who_says_mm_hmm_is_not_interrupting(noise: str) -> None:
    taking = turns(Agent.SPEAKING)
    assert taking.interim(1.0, noise) == []
    assert taking.ended(1.5, 1, noise) == [Ignore(1)]
    assert taking.agent is Agent.SPEAKING


@pytest.mark.parametrize("text", ["the", "Yeah, no.", "mm-hmm stop", "I", "I see, stop", "got"])
def test_one_word_beside_noises_is_no_interruption_before_the_utterance_is_over(text: str) -> None:
    taking = turns(Agent.SPEAKING)
    assert taking.interim(1.0, text) == []
    assert taking.ended(1.5, 1, text) == [Interrupt(), Answer(1, text)]


@pytest.mark.parametrize("count", [1, 2, 3, 5])
def test_an_interim_interrupts_from_the_set_number_of_words_on(count: int) -> None:
    manners = dataclasses.replace(MANNERS, min_words=count)
    words = ["what", "about", "next", "tuesday", "morning"]
    for said in range(1, 6):
        decided = turns(Agent.SPEAKING, manners).interim(1.0, " ".join(words[:said]))
        assert decided == ([Interrupt()] if said >= count else [])


def test_a_noise_of_two_words_wins_over_one_that_it_begins_with() -> None:
    for noises in (("i", "i see"), ("i see", "i")):
        manners = dataclasses.replace(MANNERS, min_words=1, noises=frozenset(noises))
        assert turns(Agent.SPEAKING, manners).interim(1.0, "I see") == []


def test_apostrophes_and_hyphens_belong_to_a_word() -> None:
    assert words_of("Don't you? It’s a drive-through: 2 lanes_wide") == [
        "don't", "you", "it’s", "a", "drive-through", "2", "lanes", "wide",
    ]  # fmt: skip


@given(text=st.text(max_size=80), agent=st.sampled_from(list(Agent)))
def test_no_text_breaks_it_and_a_whole_utterance_is_always_decided(text: str, agent: Agent) -> None:
    taking = turns(agent)
    assert taking.interim(1.0, text) in ([], [Interrupt()])
    last = taking.ended(2.0, 9, text)[-1]
    assert last in (Answer(9, text), Ignore(9))
    assert isinstance(last, Answer) or not words_of(text) or taking.agent is agent


def test_the_default_noises_of_the_settings_do_not_interrupt() -> None:
    noises = Settings(_env_file=None).listener_noises  # type: ignore[call-arg]
    manners = dataclasses.replace(MANNERS, noises=noises)
    for noise in noises:
        assert turns(Agent.SPEAKING, manners).ended(1.0, 1, f"{noise.capitalize()}.") == [Ignore(1)]


# ---------------------------------------------------------------- silence


def test_a_silent_caller_is_asked_and_asked_again_and_then_let_go() -> None:
    taking = turns(Agent.QUIET)
    decided: list[Decision] = []
    for _ in range(3):
        due = taking.deadline_s()
        assert due is not None
        assert taking.silent(due - 0.01) == []
        decided += taking.silent(due)
    assert decided == [AskAgain(1), AskAgain(2), Goodbye()]


def test_without_prompts_silence_is_goodbye_at_once() -> None:
    manners = dataclasses.replace(MANNERS, prompts=0)
    assert turns(Agent.QUIET, manners).silent(7.0) == [Goodbye()]


def test_a_timer_that_rings_a_moment_early_is_not_asked_to_ring_again() -> None:
    taking = turns(Agent.QUIET)
    assert taking.silent(7.0 - 0.001) == [AskAgain(1)]


def test_silence_counts_from_the_end_of_what_the_agent_said() -> None:
    taking = turns(Agent.SPEAKING)
    assert taking.deadline_s() is None
    assert taking.silent(1000.0) == []
    taking.agent_is(Agent.QUIET, 12.0)
    assert taking.deadline_s() == 19.0


def test_silence_counts_from_the_callers_last_words_and_any_word_starts_the_asking_anew() -> None:
    taking = turns(Agent.QUIET)
    assert taking.silent(7.0) == [AskAgain(1)]
    taking.interim(9.0, "hm I")
    assert taking.deadline_s() == 16.0
    assert taking.silent(16.0) == [AskAgain(1)]


def test_a_key_counts_as_words_for_silence() -> None:
    taking = turns(Agent.QUIET)
    taking.key_pressed(5.0)
    assert taking.deadline_s() == 12.0


def test_voice_without_words_is_still_silence() -> None:
    taking = turns(Agent.QUIET)
    taking.interim(5.0, " ")
    assert taking.deadline_s() == 7.0


def test_an_agent_that_thinks_for_long_says_so_soon_and_again_after_a_longer_silence() -> None:
    taking = turns(Agent.THINKING)
    assert taking.deadline_s() == 0.9
    assert taking.silent(0.8) == []
    assert taking.silent(0.9) == [Fill()]
    assert taking.deadline_s() is None
    taking.agent_is(Agent.SPEAKING, 1.0)  # the filler itself
    taking.agent_is(Agent.THINKING, 2.0)
    assert taking.deadline_s() == 6.0
    taking.agent_is(Agent.QUIET, 6.0)
    taking.agent_is(Agent.THINKING, 7.0)
    assert taking.deadline_s() == 7.9


def test_an_agent_that_said_something_in_this_turn_does_not_fill_the_next_short_pause() -> None:
    taking = turns(Agent.THINKING)
    taking.agent_is(Agent.SPEAKING, 0.5)
    taking.agent_is(Agent.THINKING, 2.0)
    assert taking.deadline_s() == 6.0


def test_a_model_in_trouble_after_it_said_something_is_filled_for_soon_but_once() -> None:
    taking = turns(Agent.THINKING)
    taking.agent_is(Agent.SPEAKING, 0.5)
    taking.troubled()
    taking.agent_is(Agent.THINKING, 2.0)
    assert taking.deadline_s() == 2.9
    assert taking.silent(2.9) == [Fill()]
    taking.agent_is(Agent.SPEAKING, 3.0)
    taking.troubled()
    taking.agent_is(Agent.THINKING, 4.0)
    assert taking.deadline_s() == 8.0


def test_an_interruption_begins_a_turn_in_which_nothing_was_said() -> None:
    taking = turns(Agent.SPEAKING)
    taking.ended(1.0, 1, "no, on Monday")
    taking.agent_is(Agent.THINKING, 1.0)
    assert taking.deadline_s() == 1.9


def test_who_resumes_a_call_does_not_fill_as_if_nothing_had_been_said() -> None:
    taking = turns(Agent.QUIET)
    taking.resumed(1.0, 0.5)
    taking.agent_is(Agent.THINKING, 1.0)
    assert taking.deadline_s() == 5.0


def test_telling_the_same_state_again_does_not_push_the_deadline() -> None:
    taking = turns(Agent.QUIET)
    taking.agent_is(Agent.QUIET, 5.0)
    assert taking.deadline_s() == 7.0


def test_a_noise_to_a_thinking_agent_does_not_put_the_filler_off() -> None:
    taking = turns(Agent.THINKING)
    taking.ended(0.5, 1, "okay")
    assert taking.deadline_s() == 0.9
