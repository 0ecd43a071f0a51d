"""The caller's audio, kept until it has become words."""

from hypothesis import given
from hypothesis import strategies as st

from engine import audio
from engine.kept_audio import LEAD_MS, KeptAudio

LEAD = audio.bytes_of(LEAD_MS)


def frames(count: int, first: int = 0) -> list[bytes]:
    """Frames that say where in the stream they are."""
    return [bytes([(first + n) % 251]) * audio.FRAME_BYTES for n in range(count)]


def kept_of(speech: list[bytes], limit_ms: float = 10_000) -> KeptAudio:
    kept = KeptAudio(limit_ms)
    for frame in speech:
        kept.hear(frame, loud=True)
    return kept


def test_a_socket_is_given_each_byte_once() -> None:
    kept = kept_of(frames(3))
    assert kept.take() == (b"".join(frames(3)), 480)
    kept.hear(b"x" * 160, loud=False)
    assert kept.take() == (b"x" * 160, 0)
    assert kept.waiting_bytes == 0


def test_a_new_socket_is_given_all_that_no_final_has_covered() -> None:
    kept = kept_of(frames(10))
    kept.take()
    kept.forget(kept.position(0.1))
    kept.begin()
    assert kept.take()[0] == b"".join(frames(10))[800:]


def test_a_final_that_ends_within_a_frame_leaves_the_rest_of_it() -> None:
    kept = kept_of(frames(2))
    kept.take()
    kept.forget(100)
    kept.begin()
    assert kept.take()[0] == b"".join(frames(2))[100:]


def test_a_new_sockets_seconds_are_mapped_onto_the_stream() -> None:
    kept = kept_of(frames(100))
    kept.take()
    kept.forget(kept.position(1.0))
    kept.begin()
    kept.take()
    assert kept.position(0.0) == 8000
    assert kept.position(0.5) == 12_000


def test_what_was_never_given_is_left_out_of_a_sockets_seconds() -> None:
    kept = kept_of(frames(5), limit_ms=1000)
    kept.take()
    for frame in frames(100, 5):
        kept.hear(frame, loud=True)
    taken, _ = kept.take()
    assert len(taken) == 8000
    assert kept.position(0.05) == 400
    assert kept.position(0.1) == 105 * 160 - 8000
    assert kept.dropped == 55


def test_quiet_before_speech_is_kept_for_a_moment_only() -> None:
    kept = KeptAudio(10_000)
    for _ in range(500):
        kept.hear(audio.SILENCE * 160, loud=False)
        kept.take()
    assert kept.bytes_kept == LEAD
    kept.hear(b"a" * 160, loud=True)
    kept.hear(audio.SILENCE * 160, loud=False)
    assert kept.bytes_kept == LEAD + 320


def test_a_long_quiet_without_a_socket_is_not_given_to_the_next_one() -> None:
    kept = KeptAudio(10_000)
    for _ in range(400):
        kept.hear(audio.SILENCE * 160, loud=False)
    assert kept.waiting_bytes == 400 * 160
    kept.begin()
    assert kept.take() == (audio.SILENCE * LEAD, 0)


def test_what_a_socket_has_not_been_given_is_not_forgotten() -> None:
    kept = kept_of(frames(2))
    kept.take()
    kept.hear(b"z" * 160, loud=True)
    kept.forget(10_000)
    assert kept.take()[0] == b"z" * 160


OPERATIONS = st.lists(
    st.one_of(
        st.tuples(st.just("hear"), st.booleans()),
        st.tuples(st.just("take"), st.just(False)),
        st.tuples(st.just("begin"), st.just(False)),
        st.tuples(st.just("final"), st.floats(0, 1)),
    ),
    max_size=300,
)


@given(OPERATIONS)
def test_a_socket_hears_all_speech_that_is_not_final_whatever_happened(
    operations: list[tuple[str, float]],
) -> None:
    kept = KeptAudio(60_000)
    loud_from: list[int] = []  # positions of speech that no final has covered
    position = given_bytes = 0
    for name, value in operations:
        if name == "hear":
            kept.hear(position.to_bytes(4, "big") * 40, loud=bool(value))
            if value:
                loud_from.append(position)
            position += 160
        elif name == "take":
            given_bytes += len(kept.take()[0])
        elif name == "begin":
            kept.begin()
            given_bytes = 0
        elif given_bytes:
            until = kept.position(value * given_bytes / 8000)
            kept.forget(until)
            loud_from = [at for at in loud_from if at + 160 > until]
    kept.begin()
    heard, _ = kept.take()
    for at in loud_from:
        assert at.to_bytes(4, "big") in heard
    assert kept.position(len(heard) / 8000) == position
