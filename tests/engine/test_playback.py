"""The playback ledger against a Twilio that plays at real time, byte by byte."""

import math
from collections import deque
from dataclasses import dataclass, field

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from engine import audio
from engine.messages import Playback
from engine.playback import Changed, PlaybackLedger, SendAudio, SendMark, Step

RATE = audio.SAMPLE_RATE
WALL = 1_000_000.0
FRAME_MS = audio.FRAME_MS


@dataclass
class Sentence:
    """A sentence as the test knows it."""

    turn: int
    index: int
    added: bytearray = field(default_factory=bytearray)
    finished: bool = False
    dropped: bool = False
    told: list[Changed] = field(default_factory=list)

    @property
    def whole(self) -> bytes:
        """All its audio, filled up to whole frames if it is finished."""
        short = -len(self.added) % audio.FRAME_BYTES if self.finished else 0
        return bytes(self.added) + audio.SILENCE * short


class Twilio:
    """Plays what it is sent, in order, 8 bytes a millisecond, and echoes marks (Media Streams)."""

    def __init__(self) -> None:
        self.queue: deque[int | str] = deque()  # bytes still to be played, or a mark
        self.played = 0
        self.dry_bytes = 0

    @property
    def waiting(self) -> int:
        return sum(item for item in self.queue if isinstance(item, int))

    def marks_due(self) -> list[str]:
        """Marks that all audio before has been played of."""
        due: list[str] = []
        while self.queue and isinstance(self.queue[0], str):
            due.append(str(self.queue.popleft()))
        return due

    def until_mark(self) -> int | None:
        """Bytes until the next mark is due."""
        before = 0
        for item in self.queue:
            if isinstance(item, str):
                return before
            before += item
        return None

    def play(self, count: int) -> None:
        while count and self.queue and isinstance(self.queue[0], int):
            step = min(count, self.queue[0])
            self.queue[0] -= step
            self.played += step
            count -= step
            if not self.queue[0]:
                self.queue.popleft()
        self.dry_bytes += count

    def clear(self) -> list[str]:
        marks = [item for item in self.queue if isinstance(item, str)]
        self.queue.clear()
        return marks


class Bench:
    """A ledger, a Twilio without latency, and time in samples."""

    def __init__(self, lead_ms: float) -> None:
        self.lead_ms = lead_ms
        self.t = 12_345
        self.ledger = PlaybackLedger(lead_ms, WALL)
        self.twilio = Twilio()
        self.sentences: list[Sentence] = []
        self.sent = bytearray()  # since the last clear
        self.stretch: list[Sentence] = []  # sentences since the last clear
        self.stretch_from = 0  # Twilio's `played` at the last clear
        self.old_marks: list[str] = []

    @property
    def now_s(self) -> float:
        return self.t / RATE

    def carry_out(self, steps: list[Step]) -> None:
        for step in steps:
            if isinstance(step, SendAudio):
                assert step.payload
                assert len(step.payload) % audio.FRAME_BYTES == 0
                self.twilio.queue.append(len(step.payload))
                self.sent += step.payload
            elif isinstance(step, SendMark):
                self.twilio.queue.append(step.name)
            else:
                self.of(step.turn, step.index).told.append(step)

    def of(self, turn: int, index: int) -> Sentence:
        return next(s for s in self.sentences if (s.turn, s.index) == (turn, index))

    def look(self) -> None:
        """What happens at this moment: audio is sent, marks come back."""
        self.carry_out(self.ledger.due(self.now_s))
        while marks := self.twilio.marks_due():
            for mark in marks:
                self.carry_out(self.ledger.echoed(mark, self.now_s))
            self.carry_out(self.ledger.due(self.now_s))

    def pass_time(self, samples: int) -> None:
        """Time passes; audio is sent when the ledger says so."""
        until = self.t + samples
        while True:
            next_s = self.ledger.next_s(self.now_s)
            steps = [until - self.t]
            if next_s is not None:
                steps.append(max(1, math.ceil(next_s * RATE - 1e-6) - self.t))
            mark = self.twilio.until_mark()
            if mark:
                steps.append(mark)
            step = min(steps)
            ready, dry = self.sendable(), self.twilio.dry_bytes
            self.twilio.play(step)
            self.t += step
            assert not ready or self.twilio.dry_bytes == dry, "ran dry while the ledger held audio"
            self.look()
            if self.t >= until:
                return

    def sendable(self) -> bool:
        """Whether the sentence whose turn it is has a frame that was not sent, by the test's own count."""
        if self.ledger.paused:
            return False
        left = len(self.sent)
        for sentence in self.stretch:
            if left < len(sentence.whole):
                return len(sentence.whole) - left >= audio.FRAME_BYTES
            left -= len(sentence.whole)
            if not sentence.finished:
                return False
        return False

    def heard(self) -> dict[tuple[int, int], int]:
        """Bytes of each sentence of this stretch that were played."""
        left = self.twilio.played - self.stretch_from
        heard = {}
        for sentence in self.stretch:
            mine = min(left, len(sentence.whole))
            heard[sentence.turn, sentence.index] = mine
            left -= mine
        assert left == 0
        return heard

    def check_sent(self) -> None:
        """Bytes are passed on as they came, in order, with nothing put between."""
        expected = b"".join(s.whole for s in self.stretch)
        assert expected.startswith(self.sent)
        at = 0
        for sentence in self.stretch:  # nothing of the next before all of this one
            if not sentence.finished:
                assert len(self.sent) <= at + len(sentence.whole)
                break
            at += len(sentence.whole)


class PlaybackMachine(RuleBasedStateMachine):
    """Any arrival of audio, any waiting, any clear."""

    @initialize(lead_ms=st.sampled_from([60, 200, 300, 410, 2000]))
    def start(self, lead_ms: int) -> None:
        self.bench = Bench(lead_ms)
        self.turn = 1

    @rule()
    def expect(self) -> None:
        index = sum(s.turn == self.turn for s in self.bench.sentences)
        assert self.bench.ledger.expect(self.turn, index, f"{self.turn}.{index}")
        assert not self.bench.ledger.expect(self.turn, index, "again")
        sentence = Sentence(self.turn, index)
        self.bench.sentences.append(sentence)
        self.bench.stretch.append(sentence)

    @precondition(lambda self: self.bench.sentences)
    @rule(data=st.data(), size=st.integers(0, 12_000), byte=st.integers(0, 255))
    def add(self, data: st.DataObject, size: int, byte: int) -> None:
        sentence = data.draw(st.sampled_from(self.bench.sentences[-4:]))
        payload = bytes((byte + n * 7) % 251 for n in range(size))
        self.bench.ledger.add(sentence.turn, sentence.index, payload)
        if not sentence.dropped and not sentence.finished:
            sentence.added += payload
        self.bench.look()

    @precondition(lambda self: self.bench.sentences)
    @rule(data=st.data())
    def finish(self, data: st.DataObject) -> None:
        sentence = data.draw(st.sampled_from(self.bench.sentences[-4:]))
        self.bench.carry_out(self.bench.ledger.finish(sentence.turn, sentence.index, self.bench.now_s))
        if not sentence.dropped:
            sentence.finished = True
        self.bench.look()

    @rule(samples=st.integers(1, 4 * RATE))
    def wait(self, samples: int) -> None:
        self.bench.pass_time(samples)

    @rule(paused=st.booleans())
    def pause(self, paused: bool) -> None:
        self.bench.ledger.paused = paused
        self.bench.look()

    @rule()
    def clear(self) -> None:
        bench = self.bench
        heard = bench.heard()
        open_before = [s for s in bench.stretch if not s.told or s.told[-1].state is not Playback.PLAYED]
        bench.old_marks += bench.twilio.clear()
        bench.carry_out(bench.ledger.clear(bench.now_s))
        for sentence in open_before:
            last = sentence.told[-1]
            assert last.state is Playback.DROPPED
            assert abs(last.played_ms - audio.ms_of(heard[sentence.turn, sentence.index])) <= FRAME_MS
            assert last.audio_ms == (audio.ms_of(len(sentence.whole)) if sentence.finished else None)
            sentence.dropped = True
        bench.stretch, bench.stretch_from = [], bench.twilio.played
        bench.sent.clear()
        assert bench.ledger.idle
        self.turn += 1

    @precondition(lambda self: self.bench.old_marks)
    @rule(data=st.data())
    def echo_a_mark_from_before_a_clear(self, data: st.DataObject) -> None:
        mark = data.draw(st.sampled_from(self.bench.old_marks))
        assert self.bench.ledger.echoed(mark, self.bench.now_s) == []

    @invariant()
    def sent_as_it_came(self) -> None:
        self.bench.check_sent()

    @invariant()
    def no_further_ahead_than_the_lead(self) -> None:
        assert audio.ms_of(self.bench.twilio.waiting) <= self.bench.lead_ms + 1e-6

    @invariant()
    def the_ledger_knows_what_was_heard(self) -> None:
        heard = self.bench.heard()
        for entry in self.bench.ledger.ledger(self.bench.now_s):
            if entry.state in (Playback.QUEUED, Playback.PLAYING):
                assert abs(entry.played_ms - audio.ms_of(heard[entry.turn, entry.index])) <= FRAME_MS
            if entry.audio_ms is not None:
                sentence = self.bench.of(entry.turn, entry.index)
                assert entry.audio_ms == audio.ms_of(len(sentence.whole))
                assert entry.played_ms <= entry.audio_ms

    @invariant()
    def what_is_told_only_goes_forward(self) -> None:
        order = [Playback.QUEUED, Playback.PLAYING, Playback.PLAYED]
        for sentence in self.bench.sentences:
            states = [change.state for change in sentence.told]
            ranks = [order.index(s) if s in order else 2 for s in states]
            assert ranks == sorted(ranks)
            assert states[:-1].count(Playback.DROPPED) + states[:-1].count(Playback.PLAYED) == 0
            heard = [change.played_ms for change in sentence.told]
            assert heard == sorted(heard)


PlaybackMachine.TestCase.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
TestPlaybackMachine = PlaybackMachine.TestCase


# ---------------------------------------------------------------- told one by one


def bench_of(*lengths: int, lead_ms: float = 300) -> Bench:
    """A bench whose turn 1 has finished sentences of these lengths in bytes."""
    bench = Bench(lead_ms)
    for index, length in enumerate(lengths):
        bench.ledger.expect(1, index, "text")
        sentence = Sentence(1, index)
        bench.sentences.append(sentence)
        bench.stretch.append(sentence)
        sentence.added += bytes(n % 250 for n in range(length))
        bench.ledger.add(1, index, bytes(sentence.added), 5.0, 6.0)
        bench.carry_out(bench.ledger.finish(1, index, bench.now_s))
        sentence.finished = True
    bench.look()
    return bench


def test_a_sentence_is_told_when_it_starts_and_when_its_mark_is_back() -> None:
    bench = bench_of(8000)
    started_s = bench.now_s
    [started] = bench.sentences[0].told
    assert (started.state, started.played_ms, started.audio_ms) == (Playback.PLAYING, 0.0, 1000.0)
    assert started.at == pytest.approx(WALL + started_s)
    assert (started.asked_at, started.audio_at) == (5.0, 6.0)
    bench.pass_time(8000)
    played = bench.sentences[0].told[-1]
    assert (played.state, played.played_ms) == (Playback.PLAYED, 1000.0)
    assert bench.ledger.idle
    bench.pass_time(4000)
    assert bench.ledger.quiet_ms(bench.now_s) == pytest.approx(500.0)


def test_the_length_is_told_again_when_it_is_known_while_playing() -> None:
    bench = Bench(300)
    bench.ledger.expect(1, 0, "text")
    bench.sentences.append(Sentence(1, 0))
    bench.ledger.add(1, 0, b"\x01" * 1600)
    bench.carry_out(bench.ledger.due(bench.now_s))
    assert bench.sentences[0].told[-1].audio_ms is None
    bench.carry_out(bench.ledger.finish(1, 0, bench.now_s))
    assert bench.sentences[0].told[-1].audio_ms == 200.0


@pytest.mark.parametrize("length", [1, 159, 160, 161, 479])
def test_only_the_last_frame_is_filled_up_with_silence(length: int) -> None:
    bench = bench_of(length)
    filled = -length % audio.FRAME_BYTES
    assert bytes(bench.sent) == bytes(n % 250 for n in range(length)) + b"\xff" * filled


def test_the_lead_is_sent_at_once_and_kept() -> None:
    bench = bench_of(80_000)
    assert bench.twilio.waiting == audio.bytes_of(300)
    for _ in range(20):
        bench.pass_time(777)
        assert audio.bytes_of(180) <= bench.twilio.waiting <= audio.bytes_of(300)


def test_a_chunk_is_not_sent_three_samples_before_there_is_room_for_it() -> None:
    ledger = PlaybackLedger(60, WALL)
    ledger.expect(1, 0, "text")
    ledger.add(1, 0, bytes(1600))
    assert [len(step.payload) for step in ledger.due(0.0) if isinstance(step, SendAudio)] == [160] * 3
    room_s = ledger.next_s(0.0)
    assert room_s is not None
    assert ledger.due(room_s - 3 / RATE) == []
    assert ledger.due(room_s - 1e-9) != []


def test_a_sentence_without_audio_is_played_at_once() -> None:
    bench = bench_of(0)
    assert [change.state for change in bench.sentences[0].told] == [Playback.PLAYED]
    assert bench.ledger.idle


def test_what_the_clock_says_never_goes_past_a_mark_that_is_not_back() -> None:
    bench = bench_of(1600, 1600, 1600, lead_ms=2000)
    # Twilio is late by a lot: the clock says that all was played, no mark is back.
    late_s = bench.now_s + 10.0
    heard = {c.index: c.played_ms for c in bench.ledger.clear(late_s) if isinstance(c, Changed)}
    assert heard == {0: 200.0, 1: 0.0, 2: 0.0}


@given(lengths=st.lists(st.integers(1, 4000), min_size=2, max_size=5), back=st.data())
def test_with_some_marks_back_only_the_first_without_one_may_have_been_heard(
    lengths: list[int], back: st.DataObject
) -> None:
    bench = bench_of(*lengths, lead_ms=4000)
    marks = [item for item in bench.twilio.queue if isinstance(item, str)]
    count = back.draw(st.integers(0, len(marks)))
    for mark in marks[:count]:
        bench.carry_out(bench.ledger.echoed(mark, bench.now_s + 1.0))
    bench.carry_out(bench.ledger.clear(bench.now_s + back.draw(st.floats(1.0, 9.0))))
    last = [sentence.told[-1] for sentence in bench.sentences]
    assert [c.state for c in last] == [Playback.PLAYED] * count + [Playback.DROPPED] * (len(last) - count)
    assert all(change.played_ms == 0.0 for change in last[count + 1 :])


def test_one_echo_stands_for_the_marks_before_it() -> None:
    bench = bench_of(1600, 1600, lead_ms=2000)
    marks = [item for item in bench.twilio.queue if isinstance(item, str)]
    steps = bench.ledger.echoed(marks[1], bench.now_s + 0.4)
    assert [(c.index, c.state) for c in steps if isinstance(c, Changed)] == [
        (0, Playback.PLAYED),
        (1, Playback.PLAYED),
    ]
    assert bench.ledger.echoed(marks[0], bench.now_s + 0.5) == []


def test_a_mark_from_before_a_clear_confirms_nothing_of_what_came_after() -> None:
    bench = bench_of(1600)
    [old] = bench.twilio.clear()
    bench.carry_out(bench.ledger.clear(bench.now_s))
    bench.ledger.expect(2, 0, "next")
    bench.sentences.append(Sentence(2, 0))
    bench.ledger.add(2, 0, b"\x02" * 1600)
    bench.carry_out(bench.ledger.finish(2, 0, bench.now_s))
    bench.carry_out(bench.ledger.due(bench.now_s))
    assert bench.ledger.echoed(old, bench.now_s) == []
    assert bench.sentences[-1].told[-1].state is Playback.PLAYING


def test_a_cut_sentence_that_was_whole_keeps_its_full_length() -> None:
    bench = bench_of(16_000)
    bench.pass_time(4000)
    [cut] = bench.ledger.clear(bench.now_s)
    assert isinstance(cut, Changed)
    assert (cut.state, cut.played_ms, cut.audio_ms) == (Playback.DROPPED, pytest.approx(500.0), 2000.0)


def test_after_a_clear_late_audio_of_what_was_dropped_is_dropped_and_the_next_turn_plays_at_once() -> None:
    bench = bench_of(16_000)
    bench.pass_time(4000)
    bench.carry_out(bench.ledger.clear(bench.now_s))
    bench.ledger.add(1, 0, b"\x01" * 1600)
    bench.carry_out(bench.ledger.finish(1, 0, bench.now_s))
    assert bench.ledger.due(bench.now_s) == []
    assert bench.ledger.next_s(bench.now_s) is None
    assert not bench.ledger.expect(1, 0, "text")
    assert bench.ledger.expect(2, 0, "next")
    bench.ledger.add(2, 0, b"\x02" * 800)
    [sent, _] = bench.ledger.due(bench.now_s)
    assert sent == SendAudio(b"\x02" * 800)


def test_paused_playback_holds_what_is_not_sent_and_goes_on_without_a_loss() -> None:
    bench = bench_of(16_000)
    bench.ledger.paused = True
    bench.pass_time(16_000)
    assert len(bench.sent) == audio.bytes_of(300)
    bench.ledger.paused = False
    bench.look()
    bench.pass_time(16_000)
    assert bytes(bench.sent) == bench.sentences[0].whole
    assert bench.sentences[0].told[-1].state is Playback.PLAYED


def test_a_gap_in_synthesis_does_not_count_as_heard() -> None:
    bench = Bench(300)
    bench.ledger.expect(1, 0, "text")
    sentence = Sentence(1, 0)
    bench.sentences.append(sentence)
    bench.stretch.append(sentence)
    for _ in range(2):
        sentence.added += b"\x01" * 1600
        bench.ledger.add(1, 0, b"\x01" * 1600)
        bench.look()
        bench.pass_time(8000)  # 200 ms of audio, a second passes
    [entry] = bench.ledger.ledger(bench.now_s)
    assert (entry.state, entry.played_ms) == (Playback.PLAYING, pytest.approx(400.0))
