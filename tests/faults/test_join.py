"""A sentence of real speech, joined from two syntheses of it at any place, is as well understood as one of a piece."""

import difflib
import random
import re

import pytest

from engine import audio
from local.speech.ports import Completed
from local.speech.wording import Wording
from tests.faults.figures import Figures

moonshine = pytest.importorskip("local.speech.moonshine")
piper = pytest.importorskip("local.speech.piper")

pytestmark = pytest.mark.speech

SENTENCES = (
    "Your car needs new brakes and an oil change before the winter comes to town.",
    "You are booked for Tuesday the third at nine thirty in the morning.",
    "We have two times free on Friday, one at ten and one at half past two.",
)
TRIED = 9


def misheard(model: object, mulaw: bytes, said: str) -> int:
    """Words that were added or left out."""
    ear = moonshine._Ear(model.transcriber, Wording(()))  # type: ignore[attr-defined]
    events = [*ear.hear(audio.silence(300) + mulaw + audio.silence(600)), *ear.flush()]
    heard = " ".join(event.text for event in events if isinstance(event, Completed))
    words = [re.findall(r"[a-z']+", text.lower()) for text in (said, heard)]
    changes = difflib.SequenceMatcher(None, *words, autojunk=False).get_opcodes()
    return sum(max(b - a, d - c) for op, a, b, c, d in changes if op != "equal")


def test_a_joined_sentence_is_understood_as_one_of_a_piece_is(figures: Figures) -> None:
    voice, ear, chance = piper.Piper(), moonshine.Moonshine(), random.Random(1)
    whole = joined = words = 0
    for number in range(TRIED * figures.count):
        text = SENTENCES[number % len(SENTENCES)]
        first, second = (b"".join(voice.sentences(text, "joe")) for _ in range(2))
        at = round(len(first) * chance.uniform(0.15, 0.85))
        words += len(text.split())
        whole += misheard(ear, first, text)
        joined += misheard(ear, first[:at] + second[at:], text)
    told = f"{joined} of {words} words misheard, {whole} in sentences of a piece"
    next(iter(figures.of("voice: two syntheses joined, real speech", "", told)))
    assert joined <= whole + TRIED * figures.count  # a word at each join, at most
