"""MediaActor with a far end that plays in virtual time: what is sent, what was heard, and when a call may end."""

import asyncio
from collections.abc import Coroutine, Sequence
from typing import Any

import msgspec
import pytest

from actors import media
from actors.media import MediaActor
from engine import audio
from engine.actor import spawn
from engine.clock import now, run_virtual, wall
from engine.messages import (
    Adopt,
    CallerGone,
    Clear,
    Cleared,
    Down,
    DtmfPressed,
    HangUp,
    Hush,
    MarkEchoed,
    MediaHeld,
    Noted,
    Pause,
    Playback,
    PlayedOut,
    Resume,
    Speak,
    SpeechAudio,
    SpeechPlayed,
    SpeechWhole,
    Transfer,
)
from engine.settings import Settings
from tests.actors.told import Told

SID = "MZ0123"
SETTINGS = Settings(_env_file=None)  # type: ignore[call-arg]
LEAD_MS = SETTINGS.playback_lead_ms


class _Body(msgspec.Struct):
    payload: bytes = b""
    name: str = ""


class _Sent(msgspec.Struct, rename="camel"):
    event: str
    stream_sid: str
    media: _Body | None = None
    mark: _Body | None = None


class FarEnd:
    """Twilio as it plays: audio in order at real time, marks echoed when reached, or at a clear."""

    def __init__(self) -> None:
        self.actor: MediaActor | None = None
        self.events: list[tuple[float, str]] = []
        self.audio = bytearray()
        self.plays_until_s = 0.0
        self.echoes = True
        self.takes = asyncio.Event()
        self.takes.set()
        self._marks: dict[str, asyncio.TimerHandle] = {}

    async def send(self, texts: Sequence[str]) -> None:
        await self.takes.wait()
        for text in texts:
            self._came(text)

    def _came(self, text: str) -> None:
        message = msgspec.json.decode(text, type=_Sent)
        assert message.stream_sid == SID
        self.events.append((now(), message.event))
        if message.media is not None:
            self.audio += message.media.payload
            ms = audio.ms_of(len(message.media.payload))
            self.plays_until_s = max(self.plays_until_s, now()) + ms / 1000
        elif message.mark is not None:
            name = message.mark.name
            at = max(self.plays_until_s, now())
            self._marks[name] = asyncio.get_running_loop().call_at(at, self._echo, name)
        else:
            self.plays_until_s = now()
            for name in list(self._marks):
                self._marks[name].cancel()
                self._echo(name)

    def _echo(self, name: str) -> None:
        self._marks.pop(name, None)
        if self.echoes and self.actor is not None:
            self.actor.tell(MarkEchoed(name))

    def count(self, event: str) -> int:
        return sum(name == event for _, name in self.events)


class Bench:
    """A MediaActor and everybody that it knows."""

    def __init__(self) -> None:
        self.far = FarEnd()
        self.call, self.stream, self.tts = Told(), Told(), Told()
        self.actor = MediaActor(SID, self.far.send, self.call, self.stream, SETTINGS)
        self.actor.tts = self.tts
        self.far.actor = self.actor
        spawn(self.actor, "media", self.stream)
        self.actor.tell(Adopt(1, 1, 0))

    def says(self, turn: int, index: int, ms: float = 1000.0, *, whole: bool = True) -> None:
        """A sentence, and its audio at once."""
        self.actor.tell(Speak(1, turn, index, "text"))
        self.hears(turn, index, ms)
        if whole:
            self.actor.tell(SpeechWhole(1, turn, index))

    def hears(self, turn: int, index: int, ms: float) -> None:
        self.actor.tell(SpeechAudio(1, turn, index, bytes([turn]) * audio.bytes_of(ms), 1.0, 2.0))

    def played(self, turn: int, index: int) -> list[tuple[Playback, float]]:
        return [
            (p.state, round(p.played_ms, 3))
            for p in self.call.of(SpeechPlayed)
            if (p.turn, p.index) == (turn, index)
        ]


def story(work: Coroutine[Any, Any, None]) -> None:
    """Runs a test in virtual time."""
    run_virtual(work)


# ---------------------------------------------------------------- speaking


def test_a_sentence_is_passed_on_played_and_told() -> None:
    async def it() -> None:
        bench = Bench()
        bench.says(1, 0, 990.0)
        await asyncio.sleep(5)
        assert bench.tts.all == [Speak(1, 1, 0, "text")]
        assert bytes(bench.far.audio) == b"\x01" * 7920 + b"\xff" * 80
        assert bench.played(1, 0)[0] == (Playback.PLAYING, 0.0)
        assert bench.played(1, 0)[-1] == (Playback.PLAYED, 1000.0)
        first = bench.call.of(SpeechPlayed)[0]
        assert (first.asked_at, first.audio_at) == (1.0, 2.0)
        assert first.at == pytest.approx(wall() - 5, abs=0.01)
        assert bench.call.of(SpeechPlayed)[-1].audio_ms == 1000.0
        await bench.actor.kill()

    story(it())


def test_the_far_end_is_kept_ahead_by_the_lead_and_no_more() -> None:
    async def it() -> None:
        bench = Bench()
        bench.says(1, 0, 3000.0)
        await asyncio.sleep(0.001)
        for _ in range(100):
            ahead_s = bench.far.plays_until_s - now()
            assert 0.15 < ahead_s <= 0.3001
            await asyncio.sleep(0.025)
        await bench.actor.kill()

    story(it())


def test_synthesis_that_comes_in_bits_is_played_without_a_break() -> None:
    async def it() -> None:
        bench = Bench()
        bench.says(1, 0, 500.0, whole=False)
        for _ in range(20):
            await asyncio.sleep(0.099)
            bench.hears(1, 0, 101.0)
        bench.actor.tell(SpeechWhole(1, 1, 0))
        began = bench.far.events[0][0]
        await asyncio.sleep(3)
        assert bench.far.plays_until_s - began == pytest.approx(audio.ms_of(len(bench.far.audio)) / 1000)
        assert bench.played(1, 0)[-1] == (Playback.PLAYED, 2520.0)
        await bench.actor.kill()

    story(it())


def test_a_sentence_is_spoken_once_and_never_for_an_older_epoch() -> None:
    async def it() -> None:
        bench = Bench()
        bench.actor.tell(Adopt(3, 1, 0))
        bench.actor.tell(Speak(3, 1, 0, "text"))
        bench.actor.tell(Speak(3, 1, 0, "text"))
        bench.actor.tell(Speak(2, 1, 1, "of the past"))
        await asyncio.sleep(1)
        assert bench.tts.all == [Speak(3, 1, 0, "text")]
        await bench.actor.kill()

    story(it())


def test_hush_goes_to_synthesis_in_order() -> None:
    async def it() -> None:
        bench = Bench()
        bench.actor.tell(Speak(1, 1, 0, "text"))
        bench.actor.tell(Hush(1))
        bench.actor.tell(Speak(1, 2, 0, "text"))
        await asyncio.sleep(1)
        assert bench.tts.all == [Speak(1, 1, 0, "text"), Hush(1), Speak(1, 2, 0, "text")]
        await bench.actor.kill()

    story(it())


# ---------------------------------------------------------------- interrupted


def test_a_clear_stops_the_far_end_and_tells_what_was_heard_before_it_is_answered() -> None:
    async def it() -> None:
        bench = Bench()
        bench.says(1, 0, 1000.0)
        bench.says(1, 1, 2000.0)
        await asyncio.sleep(1.5)
        at = wall()
        bench.actor.tell(Clear())
        cleared = await bench.call.next(Cleared)
        assert cleared.at == pytest.approx(at, abs=0.001)
        assert bench.call.all[-1] == cleared
        assert bench.played(1, 0)[-1] == (Playback.PLAYED, 1000.0)
        state, heard_ms = bench.played(1, 1)[-1]
        assert state is Playback.DROPPED
        assert heard_ms == pytest.approx(500.0, abs=audio.FRAME_MS)
        assert bench.call.of(SpeechPlayed)[-1].audio_ms == 2000.0
        await asyncio.sleep(5)
        assert bench.far.count("clear") == 1
        assert bench.far.events[-1][1] == "clear"
        assert bench.call.all[-1] == cleared
        await bench.actor.kill()

    story(it())


def test_a_clear_while_nothing_plays_is_answered_too() -> None:
    async def it() -> None:
        bench = Bench()
        bench.actor.tell(Clear())
        await bench.call.next(Cleared)
        assert bench.call.of(SpeechPlayed) == []
        await bench.actor.kill()

    story(it())


def test_marks_that_a_clear_brings_back_do_not_count_as_played() -> None:
    async def it() -> None:
        bench = Bench()
        bench.says(1, 0, 200.0)  # all of it, and its mark, is with the far end
        await asyncio.sleep(0.05)
        bench.actor.tell(Clear())
        bench.says(2, 0, 400.0)
        await asyncio.sleep(0.01)
        assert bench.played(1, 0)[-1][0] is Playback.DROPPED
        assert bench.played(2, 0)[-1][0] is Playback.PLAYING
        await asyncio.sleep(2)
        assert bench.played(2, 0)[-1] == (Playback.PLAYED, 400.0)
        await bench.actor.kill()

    story(it())


def test_paused_playback_goes_on_where_it_was() -> None:
    async def it() -> None:
        bench = Bench()
        bench.says(1, 0, 2000.0)
        await asyncio.sleep(0.5)
        bench.actor.tell(Pause())
        await asyncio.sleep(10)
        sent = len(bench.far.audio)
        assert audio.ms_of(sent) <= 500 + LEAD_MS
        bench.actor.tell(Resume())
        await asyncio.sleep(5)
        assert bytes(bench.far.audio) == b"\x01" * 16_000
        assert bench.played(1, 0)[-1] == (Playback.PLAYED, 2000.0)
        await bench.actor.kill()

    story(it())


# ---------------------------------------------------------------- the last words


def test_hanging_up_waits_for_the_mark_of_the_last_words() -> None:
    async def it() -> None:
        bench = Bench()
        bench.says(1, 0, 1500.0)
        bench.actor.tell(HangUp())
        out = await bench.stream.next(PlayedOut)
        assert out == PlayedOut(HangUp())
        assert now() == pytest.approx(1.5, abs=0.01)
        assert bench.played(1, 0)[-1] == (Playback.PLAYED, 1500.0)
        await asyncio.sleep(60)
        assert len(bench.stream.of(PlayedOut)) == 1
        await bench.actor.kill()

    story(it())


def test_hanging_up_and_transferring_in_silence_are_at_once() -> None:
    async def it() -> None:
        bench = Bench()
        bench.actor.tell(Transfer("+13125550142"))
        assert await bench.stream.next(PlayedOut) == PlayedOut(Transfer("+13125550142"))
        assert now() < 0.01
        await bench.actor.kill()

    story(it())


def test_a_clear_takes_a_waiting_hang_up_back() -> None:
    async def it() -> None:
        bench = Bench()
        bench.says(1, 0, 1500.0)
        bench.actor.tell(HangUp())
        await asyncio.sleep(0.5)
        bench.actor.tell(Clear())
        await asyncio.sleep(120)
        assert bench.stream.of(PlayedOut) == []
        await bench.actor.kill()

    story(it())


def test_a_mark_that_never_comes_back_is_waited_for_only_so_long() -> None:
    async def it() -> None:
        bench = Bench()
        bench.far.echoes = False
        bench.says(1, 0, 1500.0)
        bench.actor.tell(HangUp())
        await bench.stream.next(PlayedOut)
        assert now() == pytest.approx(1.5 + SETTINGS.marks_wait_s, abs=0.05)
        await bench.actor.kill()

    story(it())


def test_last_words_that_are_never_synthesised_are_waited_for_only_so_long() -> None:
    async def it() -> None:
        bench = Bench()
        bench.actor.tell(Speak(1, 1, 0, "text"))
        bench.actor.tell(HangUp())
        await bench.stream.until(lambda told: bool(told.of(PlayedOut)), limit_s=100)
        assert now() == pytest.approx(SETTINGS.last_words_s, abs=0.05)
        await bench.actor.kill()

    story(it())


# ---------------------------------------------------------------- keys, and taking over


def test_keys_are_numbered_among_all_that_is_told_and_kept_until_they_are_noted() -> None:
    async def it() -> None:
        bench = Bench()
        bench.says(1, 0, 100.0)
        for digit in "12#":
            bench.actor.tell(DtmfPressed(0, digit))
        await asyncio.sleep(1)
        told = [m.n for m in bench.call.all if isinstance(m, SpeechPlayed | DtmfPressed)]
        assert told == list(range(1, len(told) + 1))
        keys = bench.call.of(DtmfPressed)
        assert [key.digit for key in keys] == ["1", "2", "#"]
        bench.actor.tell(Noted(keys[0].n))
        bench.actor.tell(Adopt(2, 1, 0))
        assert (await bench.stream.next(MediaHeld, 2)).dtmf == tuple(keys[1:])
        bench.actor.tell(Adopt(3, 1, keys[1].n))
        assert (await bench.stream.next(MediaHeld, 3)).dtmf == (keys[2],)
        await bench.actor.kill()

    story(it())


def test_numbers_go_on_from_what_the_session_has_noted() -> None:
    async def it() -> None:
        bench = Bench()
        bench.actor.tell(Adopt(2, 1, 41))
        bench.actor.tell(DtmfPressed(0, "5"))
        assert (await bench.call.next(DtmfPressed)).n == 42
        await bench.actor.kill()

    story(it())


def test_keys_pressed_before_anybody_has_the_call_are_held() -> None:
    async def it() -> None:
        far, call, stream = FarEnd(), Told(), Told()
        actor = MediaActor(SID, far.send, call, stream, SETTINGS)
        spawn(actor, "media")
        actor.tell(DtmfPressed(0, "9"))
        actor.tell(Adopt(1, 1, 0))
        held = await stream.next(MediaHeld)
        assert [key.digit for key in held.dtmf] == ["9"]
        assert call.all == []
        await actor.kill()

    story(it())


def test_a_successor_learns_the_whole_ledger_and_how_long_it_has_been_quiet() -> None:
    async def it() -> None:
        bench = Bench()
        bench.says(1, 0, 1000.0)
        bench.says(1, 1, 1000.0)
        bench.actor.tell(Speak(1, 1, 2, "text"))
        await asyncio.sleep(1.5)
        bench.actor.tell(Adopt(2, 1, 0))
        held = await bench.stream.next(MediaHeld, 2)
        assert [(e.index, e.state, round(e.played_ms)) for e in held.ledger] == [
            (0, Playback.PLAYED, 1000),
            (1, Playback.PLAYING, 500),
            (2, Playback.QUEUED, 0),
        ]
        assert held.quiet_ms == 0.0
        bench.actor.tell(SpeechWhole(1, 1, 2))
        await asyncio.sleep(2.5)
        bench.actor.tell(Adopt(3, 1, 0))
        assert (await bench.stream.next(MediaHeld, 3)).quiet_ms == pytest.approx(2000.0, abs=5)
        bench.actor.tell(Adopt(2, 1, 0))
        await asyncio.sleep(1)
        assert len(bench.stream.of(MediaHeld)) == 3
        await bench.actor.kill()

    story(it())


# ---------------------------------------------------------------- the end


def test_when_the_caller_is_gone_what_they_had_heard_is_told_first() -> None:
    async def it() -> None:
        bench = Bench()
        bench.says(1, 0, 1000.0)
        await asyncio.sleep(0.4)
        bench.actor.tell(CallerGone("stop"))
        assert await bench.call.next(CallerGone) == CallerGone("stop")
        assert bench.call.all[-1] == CallerGone("stop")
        state, heard_ms = bench.played(1, 0)[-1]
        assert (state, heard_ms) == (Playback.DROPPED, pytest.approx(400.0, abs=audio.FRAME_MS))
        await bench.actor.kill()

    story(it())


@pytest.mark.parametrize("pieces", [0, 1, 12])
def test_a_voice_that_is_lost_in_or_before_a_sentence_is_told_of_when_the_caller_has_waited(
    pieces: int,
) -> None:
    """However much of the sentence came, and however long it took to come."""

    async def it() -> None:
        bench = Bench()
        bench.actor.tell(Speak(1, 1, 0, "text"))
        for _ in range(pieces):
            bench.hears(1, 0, 1000.0)
            await asyncio.sleep(1.0)
        await bench.stream.until(lambda told: bool(told.of(Down)), limit_s=100)
        [down] = bench.stream.of(Down)
        assert down.child == "voice"
        assert now() == pytest.approx(pieces + SETTINGS.voice_wait_s, abs=0.1)
        await bench.actor.kill()

    story(it())


def test_a_far_end_that_takes_nothing_is_the_streams_affair() -> None:
    async def it() -> None:
        bench = Bench()
        bench.far.takes.clear()
        bench.says(1, 0, 1000.0)
        down = await bench.stream.next(Down)
        assert down.child == "writer"
        assert now() == pytest.approx(SETTINGS.stream_send_s, abs=0.01)
        await bench.actor.kill()

    story(it())


def test_more_than_the_outbox_holds_ends_the_actor(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(media, "OUTBOX_LIMIT", 10)

    async def it() -> None:
        bench = Bench()
        bench.far.takes.clear()
        for _ in range(20):
            bench.actor.tell(Clear())
        down = await bench.stream.next(Down)
        assert down.child == "media"
        assert "QueueFull" in down.reason

    story(it())
