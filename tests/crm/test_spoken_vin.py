"""What recognition makes of a VIN that is read out."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crm.spoken_vin import hear
from crm.vin import ALPHABET, LENGTH, check_digit
from crm.vin_words import WORDS

LETTERS = "".join(sorted(ALPHABET))
vins = (
    st.text(LETTERS, min_size=17, max_size=17)
    .map(lambda v: v[:8] + check_digit(v) + v[9:13] + "4352")
    .map(lambda v: v[:8] + check_digit(v) + v[9:])
)
RADIO = (
    "alpha bravo charlie delta echo foxtrot golf hotel juliet kilo lima mike november papa romeo sierra tango "
    "uniform victor whiskey x-ray yankee zulu"
)
NATO = RADIO.split()
PIECES = "double no triple fourth keys 12 * # as in b for like character pressed on the keypad thousand 9 twenty | <"
DIGITS = ["zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine"]


@pytest.mark.parametrize(
    "said",
    [
        "1HGCM82633A004352",
        "1hgcm-8263 3a00 4352",
        "It's one H G C M eight two six three three A zero zero four three five two.",
        "one hotel golf charlie mike eight two six double three alpha oh oh four three five two",
        "1 H G C as in Charlie M as in Mike 8 2 6 3 3 A 0 0 4 3 5 2",
        "one aitch gee see em eight two six thirty three A double zero forty three fifty two",
        "1HGCM82633AOO4352",
        "one h g, c like charlie, m for mary, eighty two sixty three, three, capital a, oh, oh, forty three 52",
        "my vin is 1HG CM8 263 3A0 04352, thank you",
        "one henry george charlie mary eight two six three three adam zero zero four three five two",
        "one h g c m eight two five, no, six three three a zero zero four three five two",
        "one h g c m eight two six three three a oh oh four three two, sorry, three five two",
        "one h g d as in charlie m eight two six three three a o o four three five two",
    ],
)
def test_a_spoken_number_is_understood(said: str) -> None:
    assert hear(said).text == "1HGCM82633A004352"


@pytest.mark.parametrize(
    ("said", "heard"),
    [
        ("double u", "W"),
        ("double you x-ray", "WX"),
        ("triple nine", "999"),
        ("double b as in boy", "BB"),
        ("I O Q", "100"),
        ("India Oscar Quebec", "100"),
        ("twenty", "20"),
        ("twenty oh", "200"),
        ("seventeen", "17"),
        ("two hundred", "200"),
        ("five thousand", "5000"),
        ("niner fife tree", "953"),
        ("B for boy", "B"),
        ("B for two", "B42"),
        ("b four two", "B42"),
        ("d like david", "D"),
        ("B as in David", "D"),
        ("P as in baseball", "B"),
        ("C as in knowledge", "C"),
        ("three as in Charlie", "C"),
        ("capital h", "H"),
        ("wait a second, H", "H"),
        ("three four, no, three five", "35"),
        ("three four, no, five", "35"),
        ("no five", "5"),
        ("HGCM", "HGCM"),
        ("hello", ""),
        ("²", "2"),
        ("٣", ""),
    ],
)
def test_words_become_characters(said: str, heard: str) -> None:
    comma = (
        said == "B, boy"
    )  # a pause between a letter and its word: two letters, or one? The length will tell
    assert hear(said).text == ("BB" if comma else heard)


def test_what_was_said_with_a_word_is_sure_and_a_letter_alone_is_not() -> None:
    symbols = hear("b, d as in david, bravo, five, niner, c as in knowledge").symbols
    assert [symbol.sure for symbol in symbols] == [False, True, True, False, True, False]


@pytest.mark.parametrize(
    ("said", "placed"),
    [
        ("fourth is D as in David", {3: "D"}),
        ("the seventh character is november", {6: "N"}),
        ("4th D, 12th 5", {3: "D", 11: "5"}),
        ("character 4 is D", {3: "D"}),
        ("position eleven: H", {10: "H"}),
        ("fourth D as in David and the seventeenth is nine", {3: "D", 16: "9"}),
        ("character 44 is D", {}),
    ],
)
def test_an_answer_names_its_place(said: str, placed: dict[int, str]) -> None:
    assert {at: symbol.char for at, symbol in hear(said).placed.items()} == placed


@pytest.mark.parametrize(
    ("said", "keys", "text"),
    [
        ("keys 24433", "24433", ""),
        ("keys: 244 33, 1 H G", "24433", "1HG"),
        ("keys 24433 1hgcm8", "24433", "1HGCM8"),
        ("[The caller pressed 2443# on the keypad.]", "2443", ""),
        (
            "[The caller pressed 24 on the keypad.] one h [The caller pressed 43# on the keypad.]",
            "2443",
            "1H",
        ),
        ("keys 2449*3#", "2443", ""),
        ("keys *2", "2", ""),
    ],
)
def test_pressed_keys_are_kept_apart(said: str, keys: str, text: str) -> None:
    heard = hear(said)
    assert (heard.keys, heard.text) == (keys, text)


def test_words_that_are_no_characters_are_told() -> None:
    heard = hear("one h sandwich g")
    assert (heard.text, heard.strange) == ("1HG", ("sandwich",))


def _forms(char: str) -> st.SearchStrategy[str]:
    if char.isdigit():
        zero = ["oh"] if char == "0" else []
        return st.sampled_from([char, DIGITS[int(char)], *zero])
    radio = next(word for word in NATO if word[0] == char.lower())
    word = WORDS[char]
    plain = [char, char.lower(), radio, radio.upper()]
    return st.sampled_from([*plain, f"{char} as in {word}", f"{char.lower()} like {word}", f"capital {char}"])


@given(vins, st.data())
def test_a_number_read_out_in_any_mixture_of_ways_comes_back(vin: str, data: st.DataObject) -> None:
    said, at = [], 0
    while at < LENGTH:
        char = vin[at]
        if vin[at : at + 2] == char * 2 and data.draw(st.booleans()):
            said.append(f"double {DIGITS[int(char)] if char.isdigit() else char}")
            if char == "U" or vin[at + 2 : at + 3] == "U":
                said[-1] = f"{char} {char}"  # "double u" is W
            at += 2
        elif (
            char in "23456789"
            and vin[at + 1 : at + 2]
            and vin[at + 1] in "123456789"
            and data.draw(st.booleans())
        ):
            tens = ["twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety"][
                int(char) - 2
            ]
            said.append(f"{tens} {DIGITS[int(vin[at + 1])]}")
            at += 2
        else:
            said.append(data.draw(_forms(char)))
            at += 1
    assert hear(data.draw(st.sampled_from([", ", ". "])).join(said)).text == vin


@given(
    st.text(max_size=300)
    | st.lists(
        st.sampled_from(PIECES.split()),
        max_size=40,
    ).map(" ".join)
)
def test_whatever_is_said_is_heard_as_characters_of_a_vin(said: str) -> None:
    heard = hear(said)
    assert ALPHABET.issuperset(heard.text)
    assert all(symbol.char in ALPHABET and 0 <= at < LENGTH for at, symbol in heard.placed.items())
    assert set(heard.keys) <= set("0123456789")


def test_a_text_of_any_length_is_read() -> None:
    assert hear("double b as in boy, no, five, " * 4000).text == "B5" * 4000
