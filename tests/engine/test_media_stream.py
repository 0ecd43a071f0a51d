"""The loop that reads a call's socket, in virtual time; whole sockets are tested in whole calls."""

import asyncio
import json
from typing import Any

from engine.clock import now, run_virtual
from engine.media_stream import QUIET_LIMIT_S, _relay
from engine.messages import CallerAudio, DtmfPressed, MarkEchoed
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
