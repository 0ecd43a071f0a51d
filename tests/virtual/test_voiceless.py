"""No voice can be had in the middle of a call: what becomes of its caller. In virtual time."""

import asyncio
from typing import Any

import pytest

from engine.clock import now, run_virtual
from engine.redis_client import SessionAway
from engine.routes import Route, Routes
from engine.vendors.deepgram import VendorLost
from engine.vendors.ways import SpeakWay
from tests.virtual.rig import CALL, Rig, Voice, _SpeakSocket, new_settings, with_rig

OPEN: dict[str, Any] = {"answer": {"say": "We open at eight in the morning.", "first_token_s": 0.3}}


class DownVoice(Voice):
    """While `down`, it refuses every socket with 503."""

    down = False

    def socket(self) -> Any:
        return _Refusing(self)

    def goes_down(self, rig: Rig) -> None:
        """With the socket that there is."""
        self.down = True
        tts = rig.stream._tts  # type: ignore[union-attr]
        tts._lose(tts._line, "gone", VendorLost("gone"))


class _Refusing(_SpeakSocket):
    async def open(self) -> None:
        await super().open()
        if self._voice.down:  # type: ignore[attr-defined]
            raise VendorLost("HTTP 503", status=503)


class MuteVoice(Voice):
    """While `mute`, its sockets take everything and tell nothing."""

    mute = False

    def socket(self) -> Any:
        return _Mute(self)


class _Mute(_SpeakSocket):
    async def say(self, text: str) -> None:
        if not self._voice.mute:  # type: ignore[attr-defined]
            await super().say(text)

    async def clear(self) -> None:
        if not self._voice.mute:  # type: ignore[attr-defined]
            await super().clear()


class TwoVoices(Rig):
    """Another vendor speaks when the first does not."""

    def speak_routes(self) -> Routes[Any]:
        second = Voice()
        second._alphabet = self.voice._alphabet
        return Routes(
            [
                Route("first", SpeakWay("one", self.voice.socket)),
                Route("second", SpeakWay("two", second.socket)),
            ]
        )


async def greeted(rig: Rig) -> None:
    await rig.hears("How can I help?")
    await rig.quiet()


async def asks_into_the_silence(rig: Rig, every_s: float, limit_s: float) -> float:
    """The caller asks, and again after so much silence, until they are answered or the stream is over; how long."""
    since_s = now()

    def over() -> bool:
        return rig.closed.is_set() or "We open" in rig.heard or now() - since_s > limit_s

    while not over():
        await rig.mouth.say("Hello are you there")
        quiet_s = now()
        while now() - quiet_s < every_s and not over():
            await asyncio.sleep(0.02)
            quiet_s = now() if rig.ear.speaking() else quiet_s
    return now() - since_s


@pytest.mark.parametrize("every_s", [2.0, 4.0, 7.0])
def test_who_goes_on_asking_into_the_silence_is_put_through(redis_url: str, every_s: float) -> None:
    voice = DownVoice()

    async def story(rig: Rig) -> None:
        await greeted(rig)
        voice.goes_down(rig)
        assert await asks_into_the_silence(rig, every_s, 60.0) < 25.0
        assert rig.closed.is_set()
        assert (await rig.sessions.read(CALL)).next == "unsaid"  # type: ignore[union-attr]

    run_virtual(with_rig(Rig(redis_url, [OPEN], voice=voice), story))


@pytest.mark.parametrize("every_s", [1.0, 1.5, 3.0])
def test_who_does_not_wait_for_a_mute_voice_is_answered_by_the_second(redis_url: str, every_s: float) -> None:
    voice = MuteVoice()

    async def story(rig: Rig) -> None:
        await greeted(rig)
        voice.mute = True
        assert await asks_into_the_silence(rig, every_s, 60.0) < 10.0
        assert not rig.closed.is_set()

    run_virtual(with_rig(TwoVoices(redis_url, [OPEN], voice=voice), story))


def test_a_redis_that_is_away_too_keeps_nobody_in_silence(
    redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    voice = DownVoice()

    async def story(rig: Rig) -> None:
        await greeted(rig)
        voice.goes_down(rig)
        rig.store.away = True

        async def away(*_: Any) -> None:
            raise SessionAway("away")

        object.__setattr__(rig.stream._ports, "gave_up", away)  # type: ignore[union-attr]
        await rig.mouth.say("When do you open")
        await rig.until(rig.closed.is_set, new_settings().voice_wait_s * 2)

    run_virtual(with_rig(Rig(redis_url, [OPEN], voice=voice), story))


@pytest.mark.parametrize(("tool", "what"), [("transfer_call", "transfer"), ("end_call", "hangup")])
def test_what_was_decided_is_done_though_its_last_words_were_not_heard(
    redis_url: str, tool: str, what: str
) -> None:
    voice = DownVoice()
    ends = {
        "answer": {"say": "As you wish.", "calls": [{"name": tool, "arguments": {}}], "first_token_s": 0.3}
    }

    async def story(rig: Rig) -> None:
        await greeted(rig)
        voice.goes_down(rig)
        await rig.mouth.say("I want a person please")
        await rig.until(rig.closed.is_set, 60)
        assert (await rig.sessions.read(CALL)).next == what  # type: ignore[union-attr]

    settings = new_settings(transfer_number="+13125550177")
    run_virtual(with_rig(Rig(redis_url, [ends], voice=voice, settings=settings), story))
