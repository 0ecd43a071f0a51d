"""Frames that recognition can wait for, and those that it can't."""

from hypothesis import given
from hypothesis import strategies as st

from engine import audio
from engine.quiet import HOLD_BYTES, Quiet

SILENT = audio.silence(20)
NOISE = bytes(audio.code_of(sample) for sample in (80, -80) * 80)  # 52 dB below full scale
SPEECH = bytes(audio.code_of(sample) for sample in (2000, -2000) * 80)
SOFT = bytes(audio.code_of(sample) for sample in (400, -400) * 80)
CLICK = SPEECH[:4] + SILENT[4:]


def sends(frames: list[bytes]) -> list[int]:
    """How many frames go at once, each time that some do."""
    quiet, held, sent = Quiet(300), 0, []
    for frame in frames:
        held += 1
        quiet.hear(frame)
        if not quiet.may_wait(held * len(frame)):
            sent.append(held)
            held = 0
    return sent


def test_speech_and_the_silence_after_it_go_frame_by_frame() -> None:
    frames = [SPEECH] * 20 + [SILENT] * 25
    assert sends(frames) == [1] * len(frames)


def test_a_call_begins_as_if_somebody_had_just_spoken() -> None:
    assert sends([SILENT] * 25) == [1] * 25


def test_a_long_quiet_goes_ten_frames_at_a_time_though_the_line_hums_or_clicks() -> None:
    for frame in (SILENT, NOISE, CLICK):
        assert sends([frame] * 125)[25:] == [10] * 10


def test_speech_ends_the_quiet_at_once_with_what_was_held() -> None:
    for first in (SPEECH, SOFT):
        assert sends([SILENT] * 28 + [first, SILENT, SILENT]) == [1] * 25 + [4, 1, 1]


@given(st.lists(st.sampled_from([SILENT, NOISE, SPEECH, SOFT, CLICK]), max_size=300))
def test_no_frame_waits_for_more_than_two_hundred_milliseconds_of_audio_and_no_speech_at_all(
    frames: list[bytes],
) -> None:
    at = 0
    for count in sends(frames):
        assert count * audio.FRAME_BYTES <= HOLD_BYTES
        assert not {SPEECH, SOFT} & set(frames[at : at + count - 1])
        at += count
    assert (len(frames) - at) * audio.FRAME_BYTES < HOLD_BYTES
    assert not {SPEECH, SOFT} & set(frames[at:])
