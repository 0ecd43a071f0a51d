"""The loop that reads a call's socket, in virtual time; whole sockets are tested in whole calls."""

import asyncio
import json
from collections.abc import Awaitable, Callable, Collection
from types import SimpleNamespace
from typing import Any, ClassVar

import pytest

from engine.actor import Actor, spawn
from engine.clock import now, run_virtual
from engine.leases import LeaseActor, StreamOver
from engine.media_stream import UNKNOWN_LIMIT, Left, MediaStreams, _relay
from engine.messages import CallerAudio, CallerGone, DtmfPressed, MarkEchoed, Tick
from engine.redis_client import SessionAway
from engine.session import Renewed
from engine.settings import Settings
from engine.twilio.stream import StreamReader

QUIET_S = 10.0
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

    scope: ClassVar[dict[str, Any]] = {}

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
        return await _relay(Socket(*said), reader, stream, QUIET_S), now()  # type: ignore[arg-type]

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
    why, took_s, _ = relay((0.02, media(1)), (QUIET_S - 1, media(2)))
    assert why == "dropped"
    last_s = 0.02 + QUIET_S - 1
    assert last_s + QUIET_S <= took_s <= last_s + QUIET_S * 1.25 + 0.1


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

    scope: ClassVar[dict[str, Any]] = {}

    def __init__(self) -> None:
        self._messages: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        self.accepted = False
        self.closed: int | None = None
        self.closed_at_s = 0.0

    def says(self, message: dict[str, Any]) -> None:
        self._messages.put_nowait({"type": "websocket.receive", "text": json.dumps(message)})

    async def accept(self) -> None:
        self.accepted = True

    async def close(self, code: int) -> None:
        self.closed = code
        self.closed_at_s = now()

    async def receive(self) -> dict[str, Any]:
        return await self._messages.get()


class SlowStore:
    """A session store that takes a second to list the call."""

    async def redeem(self, token: str) -> str:
        return "CA1"

    async def glance(self, call: str) -> Any:
        return SimpleNamespace(info=SimpleNamespace(call=call))

    async def live(self, where: Any) -> None:
        await asyncio.sleep(1.0)

    async def over(self, call: str, stream: str) -> None:
        pass


class OpenDoor:
    """Nobody waits before it; `signed` are the sockets that are Twilio's."""

    def __init__(self, *signed: object) -> None:
        self._signed = signed

    async def enter(self) -> None:
        pass

    def stream_is_signed(self, websocket: object) -> bool:
        return websocket in self._signed


def media_streams(
    door: OpenDoor,
    stream: Stream | None,
    left: Callable[[Left], None] | None = None,
    store: SlowStore | None = None,
    **settings: Any,
) -> MediaStreams:
    """The streams of a replica; without `stream`, none may begin."""

    def make_stream(*_: Any) -> Actor:
        assert stream is not None, "a stream began"
        return stream

    chosen = Settings(_env_file=None, **settings)  # type: ignore[call-arg]
    return MediaStreams(chosen, door, store or SlowStore(), make_stream, left or [].append)  # type: ignore[arg-type]


def test_no_frame_is_lost_while_the_call_is_being_listed_and_then_its_stream_is_told() -> None:
    async def story() -> None:
        socket, stream = Queued(), Stream()
        streams = media_streams(OpenDoor(), stream)
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


# ---------------------------------------------------------------- sockets that are nobody's call

CONNECTED = {"event": "connected", "protocol": "Call", "version": "1.0.0"}


def turned_away(*sockets: Queued, door: OpenDoor, says: Any = None, **settings: Any) -> None:
    """Serves sockets, none of which may become a stream, to their ends. `says(socket)` runs beside each."""

    async def story() -> None:
        streams = media_streams(door, None, **settings)
        talking = [asyncio.create_task(says(socket)) for socket in sockets if says is not None]
        await asyncio.gather(*(streams.serve(socket) for socket in sockets))  # type: ignore[arg-type]
        for task in talking:
            task.cancel()

    run_virtual(story())


def test_a_socket_that_says_nothing_is_closed_within_five_seconds() -> None:
    socket = Queued()
    turned_away(socket, door=OpenDoor())
    assert (socket.closed, socket.accepted) == (1008, True)
    assert socket.closed_at_s < 5.0


def test_a_socket_that_goes_on_and_on_without_a_start_is_closed_within_five_seconds() -> None:
    async def chatters(socket: Queued) -> None:
        socket.says(CONNECTED)
        while True:
            await asyncio.sleep(0.9)
            socket.says({"event": "hello"})

    socket = Queued()
    turned_away(socket, door=OpenDoor(), says=chatters)
    assert socket.closed == 1008
    assert socket.closed_at_s < 5.0


def test_of_sockets_that_nobody_vouches_for_only_so_many_are_open_and_twilios_own_are_not_kept_out() -> None:
    strangers, twilios = [Queued() for _ in range(UNKNOWN_LIMIT + 100)], Queued()
    turned_away(*strangers, twilios, door=OpenDoor(twilios))
    assert sum(one.accepted for one in strangers) == UNKNOWN_LIMIT
    assert all(one.closed == 1008 for one in strangers)
    assert all(one.accepted or one.closed_at_s == 0.0 for one in strangers)
    assert twilios.accepted


def test_places_of_sockets_that_were_closed_are_free_again() -> None:
    async def story() -> None:
        streams = media_streams(OpenDoor(), None)
        for _ in range(2):
            sockets = [Queued() for _ in range(UNKNOWN_LIMIT)]
            await asyncio.gather(*(streams.serve(socket) for socket in sockets))  # type: ignore[arg-type]
            assert all(one.accepted for one in sockets)

    run_virtual(story())


def test_by_setting_a_stream_without_twilios_signature_is_not_even_accepted() -> None:
    strangers, twilios = Queued(), Queued()
    account = {"twilio_account_sid": "AC1", "twilio_auth_token": "a-token"}
    turned_away(strangers, twilios, door=OpenDoor(twilios), strict_stream_signature=True, **account)
    assert (strangers.accepted, strangers.closed) == (False, 1008)
    assert twilios.accepted


# ---------------------------------------------------------------- the slots of running calls


class CountingStore(SlowStore):
    """Remembers which calls' slots were renewed when."""

    lease_s = 10.0

    def __init__(self) -> None:
        self.renewed: list[tuple[float, list[str]]] = []
        self.away = False
        self.drained_at = 0.0

    def when_back(self, call: Callable[[], None]) -> None:
        self.is_back = call

    async def renew(self, calls: list[str]) -> Renewed:
        self.renewed.append((now(), list(calls)))
        if self.away:
            raise SessionAway("Redis is away")
        return Renewed(max(0.0, self.drained_at - now()) if self.drained_at else None, [])


async def _nobody(_: Collection[str]) -> None:
    """No call is listed again."""


def leases_of(
    store: CountingStore,
    calls: Callable[[], Collection[str]],
    drained: Callable[[], None] = lambda: None,
    list_again: Callable[[Collection[str]], Awaitable[None]] = _nobody,
) -> LeaseActor:
    return LeaseActor(store, calls, drained, list_again)  # type: ignore[arg-type]


def test_slots_of_all_calls_are_renewed_in_one_write_also_when_one_was_lost() -> None:
    async def story() -> list[tuple[float, list[str]]]:
        store, calls = CountingStore(), ["CA1", "CA2"]
        leases = spawn(leases_of(store, lambda: calls), "leases")
        await asyncio.sleep(9.0)
        store.away = True
        await asyncio.sleep(3.0)
        store.away = False
        calls.remove("CA1")
        await asyncio.sleep(3.0)
        calls.clear()
        await asyncio.sleep(10.0)
        await leases.kill()
        return store.renewed

    renewed = run_virtual(story())
    assert [calls for _, calls in renewed] == [["CA1", "CA2"]] * 3 + [["CA2"]]
    assert all(at <= 10.0 * n / 3 + 0.1 for n, (at, _) in enumerate(renewed, 1))


def test_slots_are_renewed_as_soon_as_redis_is_back_before_others_get_them() -> None:
    async def story() -> list[float]:
        store = CountingStore()
        leases = spawn(leases_of(store, lambda: ["CA1"]), "leases")
        await asyncio.sleep(4.0)
        store.is_back()
        await asyncio.sleep(0.1)
        await leases.kill()
        return [at for at, _ in store.renewed]

    assert run_virtual(story()) == pytest.approx([10 / 3, 4.0], abs=0.05)


def test_the_slot_of_a_call_that_ended_while_redis_was_away_is_given_back_when_it_is_back() -> None:
    class Away(CountingStore):
        def __init__(self) -> None:
            super().__init__()
            self.given_back: list[str] = []

        async def over(self, call: str, stream: str) -> None:
            if self.away:
                raise SessionAway("Redis is away")
            self.given_back.append(call)

    async def story() -> None:
        store = Away()
        leases = spawn(leases_of(store, list), "leases")
        store.away = True
        leases.tell(StreamOver("CA1", "MZ1"))
        await asyncio.sleep(1.0)
        store.is_back()  # and away again before it is told
        await asyncio.sleep(1.0)
        store.away = False
        store.is_back()
        await asyncio.sleep(0.1)
        assert store.given_back == ["CA1"]
        store.is_back()
        await asyncio.sleep(0.1)
        assert store.given_back == ["CA1"]
        await leases.kill()

    run_virtual(story())


def test_a_running_call_that_redis_does_not_know_is_listed_again_and_its_stream_tells_where_it_runs() -> None:
    class Forgetful(CountingStore):
        def __init__(self) -> None:
            super().__init__()
            self.listed: list[str] = []

        async def renew(self, calls: list[str]) -> Renewed:
            return Renewed(None, [call for call in calls if not self.listed])

        async def live(self, where: Any) -> None:
            await asyncio.sleep(0.01)
            if now() < 1.0:
                raise SessionAway("Redis is away")
            self.listed.append(where.stream)

    async def story() -> None:
        socket, stream, store = Queued(), Stream(), Forgetful()
        streams = media_streams(OpenDoor(), stream, store=store)
        streams.start()
        serving = asyncio.create_task(streams.serve(socket))  # type: ignore[arg-type]
        socket.says({"event": "connected", "protocol": "Call", "version": "1.0.0"})
        socket.says(START | {"start": START["start"] | {"customParameters": {"token": "t"}}})  # type: ignore[operator]
        for chunk in range(1, 601):
            socket.says(media(chunk))
            await asyncio.sleep(0.02)
        assert store.listed == [SID]
        assert stream.told == [Tick("listed"), Tick("listed")]
        socket.says({"event": "stop", "streamSid": SID, "stop": {"accountSid": "AC1", "callSid": "CA1"}})
        await serving
        await streams.close()

    run_virtual(story())


def test_a_slot_that_is_given_back_while_slots_are_renewed_stays_free() -> None:
    class Slots(CountingStore):
        """A Redis that needs a while for a renewal, and runs what comes by another connection meanwhile."""

        def __init__(self) -> None:
            super().__init__()
            self.taken = {"CA1", "CA2"}

        async def renew(self, calls: list[str]) -> Renewed:
            calls = list(calls)
            await asyncio.sleep(0.1)
            self.taken.update(calls)
            return Renewed(None, [])

        async def over(self, call: str, stream: str) -> None:
            self.taken.discard(call)

    async def story() -> set[str]:
        store, calls = Slots(), ["CA1", "CA2"]
        leases = spawn(leases_of(store, lambda: calls), "leases")
        await asyncio.sleep(10.0 / 3 + 0.05)  # in the middle of the first renewal
        calls.remove("CA1")
        leases.tell(StreamOver("CA1", "MZ1"))
        await asyncio.sleep(1.0)
        await leases.kill()
        return store.taken

    assert run_virtual(story()) == {"CA2"}


def test_streams_are_told_when_the_apps_drain_is_over_and_so_are_those_that_begin_later() -> None:
    async def story() -> list[float]:
        store, told = CountingStore(), list[float]()
        leases = spawn(leases_of(store, lambda: ["CA1"], lambda: told.append(now())), "leases")
        await asyncio.sleep(9.0)
        store.drained_at = now() + 20.0
        await asyncio.sleep(27.0)
        await leases.kill()
        return told

    assert run_virtual(story()) == pytest.approx([29.0, 30.0, 30.0 + 10 / 3], abs=0.5)
