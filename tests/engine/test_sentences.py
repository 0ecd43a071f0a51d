"""Cutting a model's text into sentences."""

import re

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from engine.sentences import CLAUSE_AFTER, LONGEST, SentenceCutter


def cut(*pieces: str) -> list[str]:
    cutter = SentenceCutter()
    return [sentence for piece in pieces for sentence in cutter.feed(piece)] + cutter.flush()


@pytest.mark.parametrize(
    ("text", "sentences"),
    [
        ("Hello. How can I help?", ["Hello.", "How can I help?"]),
        ("Sure! We can. Is 9 fine?", ["Sure!", "We can.", "Is 9 fine?"]),
        ("Ask for Mr. Smith or Dr. Ngo. They know.", ["Ask for Mr. Smith or Dr. Ngo.", "They know."]),
        ("It is $49.95 plus 7.5 percent. Fine?", ["It is $49.95 plus 7.5 percent.", "Fine?"]),
        ("We open at 8 a.m. on Monday. Bye.", ["We open at 8 a.m. on Monday.", "Bye."]),
        ("We close at 6 p.m. Anything else?", ["We close at 6 p.m.", "Anything else?"]),
        ("We take e.g. tires, oil, etc. at any time. Yes?",
         ["We take e.g. tires, oil, etc. at any time.", "Yes?"]),
        ('He said "Come in." Then he left.', ['He said "Come in."', "Then he left."]),
        ("Well... let me see. Yes.", ["Well...", "let me see.", "Yes."]),
        ("One\nTwo\n\nThree", ["One", "Two", "Three"]),
        ("**Great!** Your _slot_ is `9:00`.", ["Great!", "Your slot is 9:00."]),
        ("## Times\n- nine\n- ten", ["Times", "- nine", "- ten"]),
        ("J. Doe is here. Hi.", ["J. Doe is here.", "Hi."]),
        ("  two   spaces\there.  ", ["two spaces here."]),
        ("No end", ["No end"]),
        ("", []),
        ("... *** \n . ", []),
    ],
)  # fmt: skip
def test_a_text_is_cut_where_a_speaker_would_pause(text: str, sentences: list[str]) -> None:
    assert cut(text) == sentences


def test_a_sentence_leaves_as_soon_as_it_is_known_to_be_over() -> None:
    cutter = SentenceCutter()
    assert cutter.feed("Hello there.") == []  # "Hello there.5" may follow
    assert cutter.feed(" How") == ["Hello there."]
    assert cutter.feed(" are you?") == []
    assert cutter.flush() == ["How are you?"]
    assert cutter.flush() == []


FIRST = (
    "I can certainly help you with that oil change for your Camry this week at our place, and we have room"
)


def test_a_long_first_sentence_leaves_at_a_clause() -> None:
    assert len(FIRST) > CLAUSE_AFTER
    cutter = SentenceCutter()
    assert cutter.feed(FIRST) == [FIRST[: FIRST.index(",") + 1]]
    assert cutter.feed(" tomorrow. ") == ["and we have room tomorrow."]


def test_a_later_sentence_is_left_whole_at_its_clauses() -> None:
    assert cut("Yes. " + FIRST + ".") == ["Yes.", FIRST + "."]


def test_a_short_first_sentence_is_left_whole_at_its_clauses() -> None:
    assert cut("Sure, we can. Bye.") == ["Sure, we can.", "Bye."]


def test_text_that_never_ends_is_cut_at_a_space_or_at_last_anywhere() -> None:
    words = cut("word " * 200)
    assert all(len(sentence) <= LONGEST for sentence in words)
    assert " ".join(words) == ("word " * 200).strip()
    blocks = cut("x" * 1000)
    assert all(len(block) <= LONGEST for block in blocks)
    assert "".join(blocks) == "x" * 1000


TEXT = st.lists(
    st.sampled_from(
        ["Hello", "the", "Mr.", "8", "a.m.", "p.m.", "49.95", "e.g.", ".", "?", "!", "...", ",", ";", "\n",
         " ", " ", " ", "**", "é", "—", '"', "A.", "Camry", "word" * 20]
    ),
    max_size=60,
).map("".join)  # fmt: skip


def only_words(text: str) -> str:
    return "".join(re.findall(r"\w", text)).replace("_", "")


@given(text=TEXT)
def test_no_word_is_lost_and_none_is_made_up(text: str) -> None:
    assert only_words("".join(cut(text))) == only_words(text)


@given(text=st.text(max_size=400))
def test_no_text_breaks_it_and_nothing_unspeakable_comes_out(text: str) -> None:
    sentences = cut(text)
    assert only_words("".join(sentences)) == only_words(text)
    for sentence in sentences:
        assert sentence == sentence.strip()
        assert re.search(r"\w", sentence)
        assert not re.search(r"[*#`_\n]", sentence)
        assert len(sentence) <= LONGEST


@given(text=TEXT, cuts=st.lists(st.integers(0, 2000), max_size=20))
@example(text=FIRST + ". Is that fine?", cuts=[])
@example(text="word " * 80 + ". Yes.", cuts=[])
@example(text="We close at 6 p.m. Anything else? \n\n**Fine.** Bye", cuts=[])
def test_the_pieces_in_which_it_comes_do_not_matter(text: str, cuts: list[int]) -> None:
    places = sorted(min(place, len(text)) for place in cuts)
    pieces = [text[a:b] for a, b in zip([0, *places], [*places, len(text)], strict=True)]
    assert cut(*pieces) == cut(*text)
