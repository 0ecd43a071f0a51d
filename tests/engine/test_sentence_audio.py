"""How a sentence goes on that was cut."""

from hypothesis import given
from hypothesis import strategies as st

from engine.messages import Speak
from engine.sentence_audio import SentenceAudio, letters, rest_of

TEXT = "You are booked for Tuesday at nine."
PACE = 100.0


def cut_after(told: int) -> SentenceAudio:
    sentence = SentenceAudio.of(Speak(1, 1, 0, TEXT))
    assert sentence.ask("anna", PACE) == TEXT
    assert sentence.hear(b"a" * told) == b"a" * told
    return sentence


def test_the_same_voice_says_all_again_and_what_was_passed_on_is_dropped() -> None:
    sentence = cut_after(960)
    assert sentence.ask("anna", PACE) == TEXT
    assert sentence.hear(b"a" * 600) == b""
    assert sentence.hear(b"a" * 360 + b"b" * 300) == b"b" * 300
    assert sentence.hear(b"c") == b"c"


def test_a_sentence_that_is_cut_twice_goes_on_where_it_was_cut_last() -> None:
    sentence = cut_after(960)
    sentence.ask("anna", PACE)
    sentence.hear(b"a" * 960 + b"b" * 480)
    sentence.ask("anna", PACE)
    assert sentence.hear(b"x" * 1440 + b"c") == b"c"


def test_a_frame_that_was_cut_is_passed_on_whole() -> None:
    sentence = cut_after(1000)
    sentence.ask("anna", PACE)
    assert sentence.hear(b"a" * 960 + b"b" * 160) == b"b" * 160


def test_another_voice_begins_with_the_word_that_was_cut() -> None:
    sentence = cut_after(1000)  # ten characters: in the middle of "booked"
    assert sentence.ask("bob", PACE) == "booked for Tuesday at nine."
    assert sentence.hear(b"b" * 200) == b"b" * 200


def test_the_rest_of_a_rest_is_found_by_the_second_voices_pace() -> None:
    sentence = cut_after(1000)
    sentence.ask("bob", PACE)
    sentence.hear(b"b" * 3000)
    assert sentence.ask("carl", 200.0) == "Tuesday at nine."


def test_a_price_takes_many_times_as_long_as_it_has_characters() -> None:
    text = "It comes to $1,249.50 on Thursday."
    said = "It comes to one thousand two hundred forty-nine dollars and fifty cents"
    assert rest_of(text, len(said) * 0.5) == "$1,249.50 on Thursday."
    assert rest_of(text, len(said) + 4) == "Thursday."


def test_nothing_was_said_so_nothing_is_dropped() -> None:
    sentence = SentenceAudio.of(Speak(1, 1, 0, TEXT))
    sentence.ask("anna", PACE)
    assert sentence.ask("bob", PACE) == TEXT
    assert sentence.hear(b"b" * 8) == b"b" * 8


@given(st.text(alphabet="ab .,é7$", max_size=40), st.floats(0, 100))
def test_a_rest_is_the_end_of_its_text_and_begins_with_a_word(text: str, characters: float) -> None:
    rest = rest_of(text, characters)
    assert text.endswith(rest)
    if text.strip():
        assert rest.strip()
        assert rest == text or not rest[0].isspace()
        assert letters(text[: len(text) - len(rest)]) <= characters
