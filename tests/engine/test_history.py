"""What the model is shown of a call: what was heard, and an answer to every tool call."""

import json
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.history import (
    MS_A_CHARACTER,
    NOT_THE_MODEL,
    AnyItem,
    Called,
    Cause,
    ReplyDone,
    Returned,
    Said,
    TurnBegan,
    cut_at_word,
    model_messages,
    unanswered,
    was_interrupted,
)
from engine.messages import Playback, ToolCall, Usage

TEXT = "Your oil change is booked for nine."


def began(turn: int, text: str = "An oil change.") -> TurnBegan:
    return TurnBegan(turn, Cause.SPEECH, text, 1000.0, turn)


def said(text: str, request: int = 1, turn: int = 1, index: int = 0, **more: Any) -> Said:
    return Said(turn, index, text, request, **more)


def dropped(text: str, played_ms: float, audio_ms: float | None, request: int = 1) -> Said:
    return said(text, request, state=Playback.DROPPED, played_ms=played_ms, audio_ms=audio_ms)


# ---------------------------------------------------------------- what was heard


@pytest.mark.parametrize("state", [Playback.QUEUED, Playback.PLAYING, Playback.PLAYED])
def test_what_was_played_or_still_will_be_counts_whole(state: Playback) -> None:
    assert said(TEXT, state=state, played_ms=10.0, audio_ms=2000.0).heard() == TEXT


def test_a_dropped_sentence_is_cut_at_the_word_where_playback_stopped() -> None:
    assert dropped(TEXT, 900.0, 2000.0).heard() == "Your oil change"
    assert dropped(TEXT, 0.0, 2000.0).heard() == ""
    assert dropped(TEXT, 2000.0, 2000.0).heard() == TEXT


def test_a_sentence_cut_before_its_length_was_known_is_measured_by_the_usual_speed() -> None:
    almost_half_ms = len(TEXT) * MS_A_CHARACTER * 0.45
    assert dropped(TEXT, almost_half_ms, None).heard() == "Your oil change"
    assert dropped(TEXT, 60_000.0, None).heard() == TEXT


def test_a_sentence_with_no_audio_and_no_text_is_heard_as_nothing() -> None:
    assert dropped("", 0.0, 0.0).heard() == ""
    assert dropped("", 5.0, None).heard() == ""


@given(text=st.text(max_size=200), share=st.floats(-1, 2, allow_nan=False))
def test_a_cut_is_a_beginning_that_ends_with_a_word_of_the_text(text: str, share: float) -> None:
    cut = cut_at_word(text, share)
    assert text.startswith(cut)
    assert text.split()[: len(cut.split())] == cut.split()
    assert cut == "" or not cut[-1].isspace()


@given(text=st.text(max_size=200), shares=st.tuples(st.floats(0, 1), st.floats(0, 1)))
def test_who_heard_longer_heard_no_less(text: str, shares: tuple[float, float]) -> None:
    shorter, longer = sorted(shares)
    assert cut_at_word(text, longer).startswith(cut_at_word(text, shorter))


@given(text=st.text(max_size=200))
def test_all_of_it_is_all_and_none_is_none(text: str) -> None:
    assert cut_at_word(text, 1.0) == text.rstrip()
    assert cut_at_word(text, 0.0) == ""


# ---------------------------------------------------------------- as chat messages


def test_a_whole_exchange_reads_as_it_was_spoken() -> None:
    items: list[AnyItem] = [
        TurnBegan(1, Cause.GREETING, "", 1000.0),
        said("Hello.", request=0),
        said("How can I help?", request=0, index=1),
        began(2),
        said("For when?", request=1, turn=2),
        ReplyDone(2, 1, Usage()),
    ]
    assert model_messages(items) == [
        {"role": "assistant", "content": "Hello. How can I help?"},
        {"role": "user", "content": "An oil change."},
        {"role": "assistant", "content": "For when?"},
    ]


def test_a_call_of_tools_stands_in_the_message_that_was_said_with_it_and_is_answered_right_after() -> None:
    calls = (ToolCall("a", "find_slots", '{"day": "mon"}'), ToolCall("b", "find_customer", ""))
    items: list[AnyItem] = [
        began(1),
        said("Let me look."),
        Called(1, 1, calls),
        ReplyDone(1, 1, Usage()),
        Returned(1, "b", '{"name": "Ann"}', True),
        said("One moment, please.", request=NOT_THE_MODEL, index=1),  # the filler, while they ran
        Returned(1, "a", "[9]", True),
        said("Nine is free.", request=2, index=2),
    ]
    messages = model_messages(items)
    assert [message["role"] for message in messages] == [
        "user", "assistant", "tool", "tool", "assistant",
    ]  # fmt: skip
    assert messages[1]["content"] == "Let me look. One moment, please."
    assert [call["function"] for call in messages[1]["tool_calls"]] == [
        {"name": "find_slots", "arguments": '{"day": "mon"}'},
        {"name": "find_customer", "arguments": "{}"},
    ]
    assert messages[2] == {"role": "tool", "tool_call_id": "a", "content": "[9]"}
    assert messages[3] == {"role": "tool", "tool_call_id": "b", "content": '{"name": "Ann"}'}
    assert [message["content"] for message in messages[4:]] == ["Nine is free."]


def test_a_call_without_a_result_is_answered_with_that() -> None:
    items: list[AnyItem] = [began(1), Called(1, 1, (ToolCall("a", "find_slots", "{}"),))]
    answer = model_messages(items)[-1]
    assert answer["tool_call_id"] == "a"
    assert "no result" in json.loads(answer["content"])["error"]
    assert unanswered(items) == [(1, ToolCall("a", "find_slots", "{}"))]
    assert unanswered([*items, Returned(1, "a", "{}", True)]) == []


def test_a_reply_of_which_nothing_was_heard_vanishes() -> None:
    items: list[AnyItem] = [began(1), dropped("We open at nine.", 0.0, 900.0), began(2, "Stop.")]
    assert [message["role"] for message in model_messages(items)] == ["user", "user"]


def test_the_sentence_that_was_cut_is_cut_and_those_after_it_are_not_there() -> None:
    items: list[AnyItem] = [
        began(1),
        said("Yes.", state=Playback.PLAYED),
        dropped(TEXT, 900.0, 2000.0),
        dropped("Anything else?", 0.0, 800.0),
    ]
    assert model_messages(items)[-1] == {"role": "assistant", "content": "Yes. Your oil change"}
    assert was_interrupted(items, 1)
    assert not was_interrupted(items, 2)
    assert not was_interrupted(items[:2], 1)


def test_keys_are_told_as_the_callers_words() -> None:
    assert model_messages([TurnBegan(1, Cause.KEYS, "[The caller pressed 12 on the keypad.]", 0.0)]) == [
        {"role": "user", "content": "[The caller pressed 12 on the keypad.]"}
    ]


IDS = st.sampled_from("abcdef")
ITEMS = st.lists(
    st.one_of(
        st.builds(began, st.integers(1, 3), st.sampled_from(["", "Hi.", "A car."])),
        st.builds(
            Said,
            st.integers(1, 3),
            st.integers(0, 3),
            st.sampled_from([TEXT, "No.", ""]),
            st.integers(0, 3),
            st.sampled_from(list(Playback)),
            st.floats(0, 3000),
            st.none() | st.floats(0, 3000),
        ),
        st.builds(
            Called,
            st.integers(1, 3),
            st.integers(1, 3),
            st.lists(st.builds(ToolCall, IDS, st.just("f"), st.just("{}")), min_size=1, max_size=3).map(
                lambda calls: tuple({call.id: call for call in calls}.values())
            ),
        ),
        st.builds(Returned, st.integers(1, 3), IDS, st.just("{}"), st.booleans()),
        st.builds(ReplyDone, st.integers(1, 3), st.integers(1, 3), st.just(Usage())),
    ),
    max_size=30,
)


@given(items=ITEMS)
def test_every_call_is_answered_once_right_after_it_whatever_the_history(items: list[AnyItem]) -> None:
    messages = model_messages(items)
    place = 0
    while place < len(messages):
        message = messages[place]
        assert message["role"] in ("user", "assistant")
        assert message["content"] or message.get("tool_calls")
        calls = [call["id"] for call in message.get("tool_calls", ())]
        answers = messages[place + 1 : place + 1 + len(calls)]
        assert [answer["role"] for answer in answers] == ["tool"] * len(calls)
        assert [answer["tool_call_id"] for answer in answers] == calls
        place += 1 + len(calls)


@given(items=ITEMS)
def test_every_word_that_was_heard_is_shown_and_no_other(items: list[AnyItem]) -> None:
    shown = [m["content"] for m in model_messages(items) if m["role"] == "assistant" and m["content"]]
    heard = [item.heard() for item in items if isinstance(item, Said)]
    assert " ".join(shown).split() == " ".join(heard).split()


@given(items=ITEMS)
def test_a_history_survives_its_way_to_the_session_and_back(items: list[AnyItem]) -> None:
    decoder = msgspec.json.Decoder(AnyItem)
    assert [decoder.decode(msgspec.json.encode(item)) for item in items] == items
