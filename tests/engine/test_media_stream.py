"""The loop that reads a call's socket, in virtual time; whole sockets are tested in whole calls."""

import asyncio
import json
from types import SimpleNamespace
from typing import Any

from engine.actor import Actor
from engine.clock import now, run_virtual
from engine.media_stream import QUIET_LIMIT_S, MediaStreams, _relay
from engine.messages import CallerAudio, CallerGone, DtmfPressed, MarkEchoed, Tick
from engine.settings import Settings
from engine.twilio.stream import StreamReader

SID = "MZ" + "1" * 32
START = {
    "event": "start",
    "streamSid": SID,
    "start": {
        "streamSid": SID,
        "accountSid": "AC1",
        "callSid": "CA1",
        "tracks": ["inbound"],
        "customParameters": {},
        "mediaFormat": {"encoding": "audio/x-mulaw", "sampleRate": 8000, "channels": 1},
    },
}


class Socket:
    """A Twilio that says these things, each after a pause in seconds, and then nothing."""

    def __init__(self, *said: tuple[float, dict[str, Any]]) -> None:
        self._said = list(said)

    async def receive(self) -> dict[str, Any]:
        if not self._said:
            await asyncio.sleep(3600)
        pause_s, message = self._said.pop(0)
        await asyncio.sleep(pause_s)
        return message if "type" in message else {"type": "websocket.receive", "text": json.dumps(message)}


class Told:
    """A stream that remembers."""

    def __init__(self) -> None:
        self.told: list[Any] = []
        self.audio = self

    def tell(self, message: Any) -> None:
        self.told.append(message)


def media(chunk: int) -> dict[str, Any]:
    body = {"track": "inbound", "chunk": str(chunk), "timestamp": "20", "payload": "/w=="}
    return {"event": "media", "streamSid": SID, "media": body}


def relay(*said: tuple[float, dict[str, Any]]) -> tuple[str, float, list[Any]]:
    """Why the stream ended, after how many virtual seconds, and what was passed on."""
    stream = Told()
    reader = StreamReader()
    reader.receive(json.dumps({"event": "connected", "protocol": "Call", "version": "1.0.0"}))
    reader.receive(json.dumps(START))

    async def run() -> tuple[str, float]:
        return await _relay(Socket(*said), reader, stream), now()  # type: ignore[arg-type]

    why, took_s = run_virtual(run())
    return why, took_s, stream.told


def test_what_twilio_says_is_passed_on_until_its_stop() -> None:
    dtmf = {"event": "dtmf", "streamSid": SID, "dtmf": {"track": "inbound_track", "digit": "5"}}
    mark = {"event": "mark", "streamSid": SID, "mark": {"name": "s-7"}}
    stop = {"event": "stop", "streamSid": SID, "stop": {"accountSid": "AC1", "callSid": "CA1"}}
    why, _, told = relay((0.02, media(1)), (0.02, dtmf), (0.02, mark), (0.02, stop))
    assert why == "stop"
    assert told == [CallerAudio(b"\xff"), DtmfPressed(0, "5"), MarkEchoed("s-7")]


def test_a_half_open_socket_is_given_up_after_ten_seconds_of_nothing() -> None:
    why, took_s, _ = relay((0.02, media(1)), (QUIET_LIMIT_S - 1, media(2)))
    assert why == "dropped"
    last_s = 0.02 + QUIET_LIMIT_S - 1
    assert last_s + QUIET_LIMIT_S <= took_s <= last_s + QUIET_LIMIT_S * 1.25 + 0.1


def test_a_socket_that_is_closed_without_a_stop_was_dropped() -> None:
    why, _, _ = relay((0.02, media(1)), (0.02, {"type": "websocket.disconnect", "code": 1006}))
    assert why == "dropped"


# ---------------------------------------------------------------- a whole stream


class Recogniser:
    """Counts frames."""

    def __init__(self) -> None:
        self.frames = 0

    def tell(self, message: Any) -> None:
        self.frames += isinstance(message, CallerAudio)


class Stream(Actor):
    """As StreamActor: it has somebody to hear the caller once it has started."""

    def __init__(self) -> None:
        super().__init__()
        self.audio: Any = self
        self.recogniser = Recogniser()
        self.told: list[Any] = []

    async def started(self) -> None:
        self.audio = self.recogniser

    async def receive(self, message: Any) -> None:
        self.told.append(message)
        if isinstance(message, CallerGone):
            self.stop()


class Queued:
    """A socket whose messages wait, as uvicorn's do: what is there is read without a pause."""

    def __init__(self) -> None:
        self._messages: asyncio.Queue[dict[str, Any]] = asyncio.Queue()

    def says(self, message: dict[str, Any]) -> None:
        self._messages.put_nowait({"type": "websocket.receive", "text": json.dumps(message)})

    async def accept(self) -> None:
        pass

    async def close(self, code: int) -> None:
        pass

    async def receive(self) -> dict[str, Any]:
        return await self._messages.get()


class SlowStore:
    """A session store that takes a second to list the call."""

    async def redeem(self, token: str) -> str:
        return "CA1"

    async def glance(self, call: str) -> Any:
        return SimpleNamespace(info=SimpleNamespace(call=call))

    async def live(self, where: Any, for_s: float) -> None:
        await asyncio.sleep(1.0)

    async def over(self, call: str, stream: str) -> None:
        pass


def test_no_frame_is_lost_while_the_call_is_being_listed_and_then_its_stream_is_told() -> None:
    async def story() -> None:
        socket, stream = Queued(), Stream()
        door = SimpleNamespace(stream_may_open=lambda _: True)
        settings = Settings(_env_file=None)  # type: ignore[call-arg]
        streams = MediaStreams(settings, door, SlowStore(), lambda *_: stream)  # type: ignore[arg-type]
        serving = asyncio.create_task(streams.serve(socket))  # type: ignore[arg-type]
        parameters = {"customParameters": {"token": "t"}}
        socket.says({"event": "connected", "protocol": "Call", "version": "1.0.0"})
        socket.says(START | {"start": START["start"] | parameters})  # type: ignore[operator]
        for chunk in range(1, 61):
            socket.says(media(chunk))
            await asyncio.sleep(0.02)
        socket.says({"event": "stop", "streamSid": SID, "stop": {"accountSid": "AC1", "callSid": "CA1"}})
        await serving
        assert stream.recogniser.frames == 60
        assert stream.told == [Tick("listed"), CallerGone("stop")]

    run_virtual(story())
