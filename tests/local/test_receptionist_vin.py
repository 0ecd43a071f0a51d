"""VINs by voice: the receptionist asks what the tool asks for, and gives it all that the caller said."""

from typing import Any

import pytest

from tests.local.dealership import KNOWN, Calendar, Conversation

SPELLED = "two H G F E two F five eight N H five one two three four five"
KEYPAD = "If it has been misunderstood twice, ask the caller to type the VIN on the telephone's keypad."
CIVIC = {
    "usable": True,
    "vin": "2HGFE2F58NH512345",
    "year": 2022,
    "make": "Honda",
    "model": "Civic",
    "say": "That is a twenty twenty-two Honda Civic. I have two, H, G; F, E, two. Is that right?",
    "note": "",
}


def not_read(say: str, note: str = f"Ask that, and nothing else. {KEYPAD}") -> dict[str, Any]:
    return {
        "usable": False,
        "vin": "2HG*",
        "year": None,
        "make": None,
        "model": None,
        "say": say,
        "note": note,
    }


DOUBT = not_read("The fourth character: is it F as in Frank, or S as in Sam?")


class Vins(Calendar):
    """Answers `decode_vin` with these, one after the other."""

    def __init__(self, *answers: dict[str, Any]) -> None:
        super().__init__()
        self.answers = list(answers)

    def decode_vin(self, vin: str) -> dict[str, Any]:
        return self.answers.pop(0)

    @property
    def asked(self) -> list[str]:
        """What the tool was given, each time."""
        return [arguments["vin"] for _, arguments in self.ran]


def reading(*answers: dict[str, Any]) -> tuple[Conversation, Vins, str]:
    """A call in which the VIN was read out; what was said to it."""
    calendar = Vins(*answers)
    call = Conversation(calendar, KNOWN)
    call.say("Can I give you my VIN?")
    return call, calendar, call.say(SPELLED)


def test_what_the_tool_says_of_a_car_is_read_back_and_confirmed() -> None:
    call, calendar, heard = reading(CIVIC)
    assert CIVIC["say"] in heard
    assert "Thank you. Is there anything else" in call.say("yes")
    assert calendar.asked == [SPELLED]


def test_a_vin_that_was_read_back_wrongly_is_read_out_again_from_the_start() -> None:
    call, calendar, _ = reading(CIVIC, CIVIC)
    assert "once more, slowly" in call.say("no")
    call.say(SPELLED)
    assert calendar.asked == [SPELLED, SPELLED]


@pytest.mark.parametrize("told", ["F as in Frank", "F as in Frank.", "Frank, F as in Frank"])
def test_a_doubtful_character_is_asked_for_and_given_with_its_place(told: str) -> None:
    call, calendar, heard = reading(DOUBT, CIVIC)
    assert heard.endswith("is it F as in Frank, or S as in Sam?")
    assert "Honda Civic" in call.say(told)
    assert calendar.asked[1] == f"{SPELLED}, fourth is {told.rstrip('.')}"


def test_two_doubtful_characters_get_their_places_in_order() -> None:
    both = "The fourth character: is it F as in Frank, or S as in Sam? And the ninth character: is it eight or A?"
    call, calendar, _ = reading(not_read(both), CIVIC)
    call.say("F as in Frank and the number eight")
    assert calendar.asked[1] == f"{SPELLED}, fourth is F as in Frank, ninth is the number eight"


def test_a_repaired_vin_is_decoded_when_the_caller_says_yes() -> None:
    note = f"If the caller says yes, call decode_vin with exactly 2HGFE2F58NH512345. {KEYPAD}"
    offered = not_read("I heard sixteen characters; one is missing. Is it two, H, G; F, E, two?", note)
    call, calendar, heard = reading(offered, CIVIC)
    assert heard.endswith("Is it two, H, G; F, E, two?")
    call.say("yes it is")
    assert calendar.asked[1] == "2HGFE2F58NH512345"


def test_who_is_not_understood_twice_types_it_and_the_keys_go_with_what_was_said() -> None:
    call, calendar, _ = reading(DOUBT, DOUBT, CIVIC)
    heard = call.say("F as in Frank")
    assert "type it on your keypad" in heard
    keys = "[The caller pressed 24433235864512345# on the keypad.]"
    assert "Honda Civic" in call.say(keys)
    assert calendar.asked[2].endswith(keys)
    assert calendar.asked[2].startswith(SPELLED)


def test_what_is_missing_may_be_a_single_character() -> None:
    call, calendar, _ = reading(
        not_read("I have sixteen characters. A VIN has seventeen. Which are missing?"), CIVIC
    )
    call.say("five")
    assert calendar.asked[1] == f"{SPELLED}, five"


def test_where_the_tool_asks_for_all_of_it_again_what_was_said_before_is_dropped() -> None:
    call, calendar, _ = reading(not_read("Please read it once more, each letter with a word."), CIVIC)
    call.say(SPELLED)
    assert calendar.asked == [SPELLED, SPELLED]


def test_what_is_not_a_character_is_no_answer_to_a_question_for_one() -> None:
    call, calendar, _ = reading(DOUBT)
    assert "We're open" in call.say("what are your hours?")
    assert calendar.asked == [SPELLED]


def test_a_partial_answer_is_told_with_what_it_says() -> None:
    partial = CIVIC | {
        "usable": False,
        "partial": True,
        "model": None,
        "say": "That is a Honda. Is that right?",
    }
    call, _, heard = reading(partial)
    assert "That is a Honda. Is that right?" in heard
    assert "Thank you." in call.say("yes")


def test_a_vin_that_is_longer_than_the_tool_takes_is_given_by_its_characters() -> None:
    long = " ".join(["H as in " + "a" * 50] * 17)
    calendar = Vins(CIVIC)
    call = Conversation(calendar, KNOWN)
    call.say("Can I give you my VIN?")
    call.say(long)
    assert calendar.asked == ["H" * 17]
