"""Marks: what is put into the audio is what is heard, whatever happens on the way."""

import asyncio
import itertools
import time
from asyncio.subprocess import PIPE

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.audio import FRAME_BYTES, silence
from local.speech.ports import Completed, Heard, Interim, Started
from simulators.caller import Listener
from simulators.marks import MarkReader, MarksDelays, MarksRecogniser, MarksVoice, mark_audio, text_of
from tests.processes import ended, listening

SENTENCE = "I need an oil change tomorrow at nine."
FAST = MarksDelays(final_s=0.01, first_audio_s=0.01, voice_speed=100.0)


def pieces_of(audio: bytes, sizes: list[int]) -> list[bytes]:
    pieces, at, turn = [], 0, 0
    while at < len(audio):
        size = sizes[turn % len(sizes)]
        pieces.append(audio[at : at + size])
        at, turn = at + size, turn + 1
    return pieces


@settings(deadline=None)  # up to 64,000 feeds of a byte each
@given(
    text=st.text(max_size=80),
    source=st.integers(0, 2**32 - 1),
    number=st.integers(0, 2**16 - 1),
    before=st.integers(0, 400),
    sizes=st.lists(st.integers(1, 700), min_size=1, max_size=5),
    rate=st.floats(1, 50),
)
def test_any_text_is_heard_exactly_at_any_alignment(
    text: str, source: int, number: int, before: int, sizes: list[int], rate: float
) -> None:
    audio = b"\xff" * before + mark_audio(text, source, number, rate) + silence(50)
    reader = MarkReader()
    frames = [frame for piece in pieces_of(audio, sizes) for frame in reader.feed(piece)]
    assert text_of(frames) == text
    assert {(frame.source, frame.number) for frame in frames} <= {(source, number)}
    assert [frame.at for frame in frames] == [before + n * FRAME_BYTES for n in range(len(frames))]
    assert [frame.last for frame in frames] == [False] * (len(frames) - 1) + [True] * bool(text)


@settings(deadline=None)
@given(text=st.text(min_size=1, max_size=60), data=st.data())
def test_lost_frames_cost_their_own_characters_only(text: str, data: st.DataObject) -> None:
    audio = mark_audio(text, 7, 0)
    count = len(audio) // FRAME_BYTES
    lost = data.draw(st.sets(st.integers(0, count - 1)))
    whole = MarkReader().feed(audio)
    kept = [audio[n * FRAME_BYTES : (n + 1) * FRAME_BYTES] for n in range(count) if n not in lost]
    reader = MarkReader()
    heard = [frame for piece in kept for frame in reader.feed(piece)]
    assert [frame.index for frame in heard] == [n for n in range(count) if n not in lost]
    assert text_of(heard) == text_of(frame for frame in whole if frame.index not in lost)


@settings(deadline=None)
@given(cut=st.integers(1, FRAME_BYTES - 1), at=st.integers(0, 20))
def test_samples_lost_inside_a_frame_cost_no_other_frame(cut: int, at: int) -> None:
    audio = mark_audio(SENTENCE, 7, 0)
    broken = audio[: at * FRAME_BYTES + cut] + audio[(at + 1) * FRAME_BYTES :]
    heard = [frame.index for frame in MarkReader().feed(broken)]
    # The frame itself may survive, if the bits that follow happen to be the lost ones.
    others = [index for index in heard if index != at]
    assert others == [n for n in range(len(audio) // FRAME_BYTES) if n != at]


@settings(deadline=None)
@given(noise=st.binary(max_size=5000))
def test_noise_says_nothing(noise: bytes) -> None:
    assert MarkReader().feed(noise) == []


def test_a_sentence_takes_the_time_that_speaking_it_would() -> None:
    assert len(mark_audio("x" * 30, 1, 0)) == 2 * 8000
    assert mark_audio("", 1, 0) == b""


@pytest.mark.parametrize("rate", [0.0, 51.0])
def test_a_rate_that_does_not_fit_is_refused(rate: float) -> None:
    with pytest.raises(ValueError, match="characters_per_s"):
        mark_audio("x", 1, 0, rate)


def test_marking_and_reading_a_frame_is_nearly_free() -> None:
    text = SENTENCE * 20
    took_us = []
    for _ in range(5):  # garbage may be collected in one of them
        start = time.process_time()
        audio = mark_audio(text, 1, 0)
        reader = MarkReader()
        heard = [frame for piece in pieces_of(audio, [FRAME_BYTES]) for frame in reader.feed(piece)]
        took_us.append((time.process_time() - start) / len(heard) * 1e6)
        assert text_of(heard) == text
    assert min(took_us) < 60  # 4 measured, both ways together


async def hear(
    audio: bytes, endpointing_ms: int | None = 300, delays: MarksDelays = FAST, until: int = 1
) -> list[Heard]:
    """All that a recogniser tells of this audio, until it has completed `until` times."""
    told: list[Heard] = []
    done = asyncio.Event()

    def tell(heard: Heard) -> None:
        told.append(heard)
        if sum(isinstance(event, Completed) for event in told) == until:
            done.set()

    recogniser = MarksRecogniser(endpointing_ms, delays)
    await recogniser.open(tell)
    for piece in pieces_of(audio, [FRAME_BYTES]):
        recogniser.feed(piece)
    await asyncio.wait_for(done.wait(), 10)
    await recogniser.close()
    return told


async def test_an_utterance_starts_grows_word_by_word_and_completes() -> None:
    told = await hear(silence(100) + mark_audio(SENTENCE, 7, 0))
    interims = [event.text for event in told if isinstance(event, Interim)]
    assert told[0] == Started(0.1)
    assert interims == sorted(interims, key=len)
    assert all(SENTENCE.startswith(text) for text in interims)
    assert "I need" in interims
    last = told[-1]
    assert isinstance(last, Completed)
    assert (last.text, last.ended) == (SENTENCE, True)


async def test_interims_keep_their_distance_except_for_the_second_word() -> None:
    told = await hear(mark_audio("a b c d e f g h i j k l m n o p", 7, 0))
    ends = [event.end_s for event in told if isinstance(event, Interim)]
    gaps = [b - a for a, b in itertools.pairwise(ends[1:])]
    assert min(gaps) >= 0.25 - 1e-9


async def test_a_caller_cut_short_is_heard_as_far_as_they_got() -> None:
    audio = mark_audio(SENTENCE, 7, 0)
    told = await hear(audio[: 40 * FRAME_BYTES] + silence(320))
    last = told[-1]
    assert isinstance(last, Completed)
    assert last.text == "I need an oi"


async def test_a_caller_who_goes_on_at_once_has_not_ended_the_turn() -> None:
    told = await hear(mark_audio("One.", 7, 0) + mark_audio("Two.", 7, 1), until=2)
    completed = [(event.text, event.ended) for event in told if isinstance(event, Completed)]
    assert completed == [("One.", False), ("Two.", True)]


async def test_flush_completes_what_is_open_at_once() -> None:
    told: list[Heard] = []
    recogniser = MarksRecogniser(300, MarksDelays(final_s=60))
    await recogniser.open(told.append)
    recogniser.feed(mark_audio(SENTENCE, 7, 0))
    await recogniser.flush()
    assert isinstance(told[-1], Completed)
    count = len(told)
    await recogniser.flush()
    assert len(told) == count
    await recogniser.close()


async def test_a_voice_says_its_text_in_unaligned_pieces_and_counts() -> None:
    voice = MarksVoice(9, FAST)
    for number in range(2):
        pieces = [piece async for piece in voice.say(SENTENCE)]
        frames = MarkReader().feed(b"".join(pieces))
        assert text_of(frames) == SENTENCE
        assert {(frame.source, frame.number) for frame in frames} == {(9, number)}
        assert all(len(piece) % FRAME_BYTES for piece in pieces[:-1])


async def test_marks_are_served_by_a_process_that_ends_with_its_parents_pipe() -> None:
    arguments = ("--with-parent", "--final-s", "0.01")
    async with listening("simulators.marks", *arguments, stdin=PIPE) as (process, port):
        reader, writer = await asyncio.wait_for(asyncio.open_connection("127.0.0.1", port), 10)
        writer.write(b"GET /healthz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        answer = await asyncio.wait_for(reader.read(), 10)
        writer.close()
        assert answer.startswith(b"HTTP/1.1 200")
        assert process.stdin is not None
        process.stdin.close()
        assert await ended(process) == 0


def test_a_caller_understands_a_sentence_that_another_voice_went_on_with_in_the_midst_of_a_word() -> None:
    heard = Listener(MarkReader(), own_source=9)
    for audio in (mark_audio("Than", 1, 0), mark_audio("ks for calling.", 2, 0)):
        for at in range(0, len(audio), FRAME_BYTES):
            heard.hear(audio[at : at + FRAME_BYTES], 0.0)
    assert heard.find("thanks  for")
    assert not heard.find("thanks")  # it was found before
    assert heard.find("calling")
