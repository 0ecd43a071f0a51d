"""mu-law: G.711's own properties, and the two tables."""

from hypothesis import given
from hypothesis import strategies as st

from engine import audio


def test_every_code_survives_decoding_and_encoding() -> None:
    for code in range(256):
        again = audio.code_of(audio.linear_of(code))
        assert again == code or (code, again) == (0x7F, 0xFF)  # negative zero has no sample of its own


def test_the_extremes_are_those_of_g711() -> None:
    assert audio.linear_of(0x00) == -32124
    assert audio.linear_of(0x80) == 32124
    assert audio.linear_of(0xFF) == audio.linear_of(0x7F) == 0
    assert (audio.code_of(32767), audio.code_of(-32768)) == (0x80, 0x00)


@given(sample=st.integers(-32768, 32767))
def test_a_sample_is_kept_within_its_step(sample: int) -> None:
    clipped = max(-32635, min(32635, sample))
    error = abs(audio.linear_of(audio.code_of(sample)) - clipped)
    assert error <= (abs(clipped) + 132) / 32 + 4


def test_tables_hold_what_the_functions_say() -> None:
    assert audio.decode_table() == tuple(audio.linear_of(code) for code in range(256))
    table = audio.encode_table()
    assert len(table) == 0x10000
    for sample in (-32768, -32124, -1000, -1, 0, 1, 1000, 32124, 32767):
        assert table[sample & 0xFFFF] == audio.code_of(sample)


@given(count=st.integers(0, 10**7))
def test_bytes_and_milliseconds_are_each_others_inverse(count: int) -> None:
    assert audio.bytes_of(audio.ms_of(count)) == count
    assert len(audio.silence(audio.ms_of(count % 10_000))) == count % 10_000


def test_silence_is_mu_law_zero() -> None:
    assert audio.silence(20) == b"\xff" * audio.FRAME_BYTES
    assert audio.FRAME_BYTES == 160
