"""The server's WebSocket on real sockets, under uvicorn as Serve starts it."""

import asyncio
import contextlib
import itertools
import socket
from collections.abc import AsyncIterator, Awaitable, Callable

import pytest
import uvicorn
from hypothesis import given
from hypothesis import strategies as st
from starlette.applications import Starlette
from starlette.routing import WebSocketRoute
from starlette.websockets import WebSocket, WebSocketDisconnect
from uvicorn.server import ServerState
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed
from websockets.frames import Close, Frame, Opcode

from engine import media_socket
from engine.media_socket import MediaSocket, Message, Say, hear, sender

LIMIT_S = 20.0
HANDSHAKE = (
    b"GET / HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
)
Endpoint = Callable[[WebSocket], Awaitable[None]]


@contextlib.asynccontextmanager
async def server_of(endpoint: Endpoint, *, installed: bool = True) -> AsyncIterator[str]:
    """The URL of a server whose one WebSocket is `endpoint`; `installed` as in an ingress replica."""
    before = dict(uvicorn.config.WS_PROTOCOLS)
    if installed:
        media_socket.install()
    try:
        with socket.create_server(("127.0.0.1", 0)) as listener:
            config = uvicorn.Config(
                Starlette(routes=[WebSocketRoute("/", endpoint)]), lifespan="off", log_config=None
            )
            server = uvicorn.Server(config)
            serving = asyncio.create_task(server.serve([listener]))
            try:
                yield f"ws://127.0.0.1:{listener.getsockname()[1]}/"
            finally:
                server.should_exit = server.force_exit = True
                await serving
    finally:
        uvicorn.config.WS_PROTOCOLS.clear()
        uvicorn.config.WS_PROTOCOLS.update(before)


@contextlib.asynccontextmanager
async def talking(endpoint: Endpoint, *, installed: bool = True) -> AsyncIterator[ClientConnection]:
    """A client of such a server. What the endpoint raises is raised at the end."""
    done: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    async def watched(websocket: WebSocket) -> None:
        try:
            await websocket.accept()
            await endpoint(websocket)
            done.set_result(None)
        except Exception as error:
            done.set_exception(error)

    async with (
        asyncio.timeout(LIMIT_S),
        server_of(watched, installed=installed) as url,
        connect(url, proxy=None) as client,
    ):
        yield client
        await done


class Ear:
    """Remembers what it is handed, until a last message."""

    def __init__(self, last: bytes = b"last") -> None:
        self.heard: list[bytes] = []
        self._last = last

    def take(self, message: Message) -> bool:
        self.heard.append(message if isinstance(message, bytes) else message.encode())
        return self.heard[-1] == self._last


both = pytest.mark.parametrize("installed", [True, False], ids=["short", "through the app"])


@both
async def test_messages_come_whole_and_in_order_also_those_from_before_anybody_heard(installed: bool) -> None:
    first, second = Ear(b"99"), Ear()
    said = asyncio.Event()

    async def endpoint(websocket: WebSocket) -> None:
        await said.wait()
        await hear(websocket, first.take)
        await asyncio.sleep(0.05)  # nobody hears meanwhile
        await hear(websocket, second.take)

    async with talking(endpoint, installed=installed) as client:
        for n in range(150):
            await client.send(str(n))
        said.set()
        await client.send(["l", "a", "st"])
    assert [*first.heard, *second.heard] == [*(str(n).encode() for n in range(150)), b"last"]
    assert first.heard[-1] == b"99"


async def test_while_nobody_hears_only_so_much_is_read() -> None:
    hears, ear = asyncio.Event(), Ear()

    async def endpoint(websocket: WebSocket) -> None:
        await hears.wait()
        await hear(websocket, ear.take)

    async with talking(endpoint) as client:
        sending = asyncio.create_task(send_all(client, ["x" * 10_000] * 2000))
        _, late = await asyncio.wait([sending], timeout=1.0)
        assert late  # 20 MB are more than all buffers between
        hears.set()
        await sending
        await client.send("last")
    assert len(ear.heard) == 2001


async def send_all(client: ClientConnection, words: list[str]) -> None:
    for word in words:
        await client.send(word)


@both
async def test_the_end_of_the_socket_is_told_after_what_was_said_before(installed: bool) -> None:
    ear, closed = Ear(), asyncio.Event()
    codes: list[int] = []

    async def endpoint(websocket: WebSocket) -> None:
        await closed.wait()
        try:
            await hear(websocket, ear.take)
        except WebSocketDisconnect as end:
            codes.append(end.code)

    async with talking(endpoint, installed=installed) as client:
        await client.send("a word")
        closing = asyncio.create_task(client.close(4001))
        await asyncio.sleep(0.05)
        closed.set()
        await closing
    assert (ear.heard, codes) == ([b"a word"], [4001])


@both
async def test_a_socket_that_is_cut_ends_who_hears(installed: bool) -> None:
    codes: list[int] = []

    async def endpoint(websocket: WebSocket) -> None:
        try:
            await hear(websocket, Ear().take)
        except WebSocketDisconnect as end:
            codes.append(end.code)

    async with talking(endpoint, installed=installed) as client:
        client.transport.abort()
    assert len(codes) == 1


@both
async def test_what_the_taker_raises_is_raised_and_nothing_more_is_taken(installed: bool) -> None:
    taken: list[Message] = []

    def take(message: Message) -> bool:
        taken.append(message)
        raise ValueError("enough")

    async def endpoint(websocket: WebSocket) -> None:
        with pytest.raises(ValueError, match="enough"):
            await hear(websocket, take)

    async with talking(endpoint, installed=installed) as client:
        for word in ("one", "two", "three"):
            await client.send(word)
    assert len(taken) == 1


@both
async def test_who_stops_hearing_leaves_the_rest_to_the_next(installed: bool) -> None:
    ear, heard = Ear(), asyncio.Event()

    async def endpoint(websocket: WebSocket) -> None:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.05):
                await hear(websocket, lambda _: False)
        heard.set()
        await hear(websocket, ear.take)

    async with talking(endpoint, installed=installed) as client:
        await heard.wait()
        await client.send("last")
    assert ear.heard == [b"last"]


@both
async def test_what_is_said_arrives_in_order_and_after_the_end_it_raises(installed: bool) -> None:
    async def endpoint(websocket: WebSocket) -> None:
        say = sender(websocket)
        for n in range(100):
            await say([f"ä{n}"])
        with pytest.raises(WebSocketDisconnect):
            await hear(websocket, lambda _: False)
        with pytest.raises((WebSocketDisconnect, RuntimeError)):
            await say(["too late"])

    async with talking(endpoint, installed=installed) as client:
        assert [await client.recv() for _ in range(100)] == [f"ä{n}" for n in range(100)]
        await client.close()


async def test_who_speaks_waits_while_the_other_end_takes_nothing() -> None:
    said: list[int] = []
    began = asyncio.Event()

    async def speak(say: Say) -> None:
        for n in range(1_000_000):
            await say(["x" * 10_000])
            said.append(n)
            began.set()

    async def endpoint(websocket: WebSocket) -> None:
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(speak(sender(websocket)), 1.0)

    async with talking(endpoint) as client:
        client.transport.pause_reading()
        await began.wait()
        await asyncio.sleep(1.2)
        client.transport.resume_reading()
        with contextlib.suppress(ConnectionClosed):
            while True:
                await client.recv()
    assert len(said) < 10_000


async def test_a_socket_that_we_close_is_closed_though_the_other_end_does_not_answer() -> None:
    async def endpoint(websocket: WebSocket) -> None:
        await websocket.close(1008)

    async with server_of(accepting(endpoint)) as url:
        host, port = url.removeprefix("ws://").rstrip("/").split(":")
        reader, writer = await asyncio.open_connection(host, int(port))
        writer.write(HANDSHAKE)
        began = asyncio.get_running_loop().time()
        async with asyncio.timeout(LIMIT_S):
            while await reader.read(1000):
                pass
        assert asyncio.get_running_loop().time() - began < 5.0  # uvicorn's own limit is ten
        writer.close()


def accepting(endpoint: Endpoint) -> Endpoint:
    """The same after the handshake."""

    async def accepted(websocket: WebSocket) -> None:
        await websocket.accept()
        await endpoint(websocket)

    return accepted


async def test_nothing_is_compressed_though_the_other_end_offers_it() -> None:
    async def endpoint(websocket: WebSocket) -> None:
        await hear(websocket, Ear().take)

    async with talking(endpoint) as client:
        assert "permessage-deflate" in client.request.headers["Sec-WebSocket-Extensions"]  # type: ignore[union-attr]
        assert "Sec-WebSocket-Extensions" not in client.response.headers  # type: ignore[union-attr]
        await client.send("last")


# ---------------------------------------------------------------- frames, however they are cut

frames = st.lists(
    st.tuples(
        st.sampled_from([Opcode.TEXT, Opcode.TEXT, Opcode.PING]),
        st.one_of(st.binary(max_size=130), st.binary(min_size=130, max_size=400)),
        st.booleans(),
    ),
    max_size=12,
)


class Transport:
    """Takes everything."""

    def __init__(self) -> None:
        self.written = b""
        self.closing = False

    def get_extra_info(self, name: str) -> None:
        return None

    def write(self, data: bytes) -> None:
        self.written += data

    def is_closing(self) -> bool:
        return self.closing

    def close(self) -> None:
        self.closing = True

    def pause_reading(self) -> None:
        pass

    resume_reading = pause_reading


async def opened(heard: list[Message]) -> tuple[MediaSocket, Transport]:
    """A connection after its handshake, to which somebody listens."""

    hears = asyncio.Event()

    async def app(scope: object, receive: object, send: Callable[[object], Awaitable[None]]) -> None:
        await send({"type": "websocket.accept"})
        hears.set()  # what follows waits for nothing until somebody hears
        with contextlib.suppress(WebSocketDisconnect):
            await scope["extensions"]["trunkline.media_socket"].hear(lambda one: heard.append(one) or False)  # type: ignore[index, func-returns-value]

    config = uvicorn.Config(app, lifespan="off", log_config=None)  # type: ignore[arg-type]
    config.load()
    made, transport = MediaSocket(config, ServerState(), {}), Transport()
    made.connection_made(transport)  # type: ignore[arg-type]
    made.data_received(HANDSHAKE)
    await hears.wait()
    return made, transport


@given(frames=frames, cuts=st.lists(st.integers(1, 300), min_size=1, max_size=30), whole=st.booleans())
def test_however_the_bytes_are_cut_the_same_messages_come(
    frames: list[tuple[Opcode, bytes, bool]], cuts: list[int], whole: bool
) -> None:
    texts: list[bytes] = []
    reads: list[bytes] = []
    for opcode, payload, in_two in frames:
        if opcode is Opcode.PING:
            reads.append(Frame(Opcode.PING, payload[:125]).serialize(mask=True))
            continue
        texts.append(payload)
        if in_two:
            reads.append(Frame(Opcode.TEXT, payload[:7], fin=False).serialize(mask=True))
            reads.append(Frame(Opcode.CONT, payload[7:]).serialize(mask=True))
        else:
            reads.append(Frame(Opcode.TEXT, payload).serialize(mask=True))
    if not whole:
        stream, reads, cut = b"".join(reads), [], itertools.cycle(cuts)
        while stream:
            length = next(cut)
            reads.append(stream[:length])
            stream = stream[length:]

    async def run() -> list[Message]:
        heard: list[Message] = []
        made, _ = await opened(heard)
        for read in reads:
            made.data_received(read)
        made.connection_lost(None)
        await asyncio.gather(*made.tasks)
        return heard

    assert asyncio.run(run()) == texts


async def test_text_after_the_close_is_not_heard() -> None:
    heard: list[Message] = []
    made, transport = await opened(heard)
    made.data_received(Frame(Opcode.TEXT, b"one word").serialize(mask=True))
    made.data_received(Frame(Opcode.CLOSE, Close(1000, "").serialize()).serialize(mask=True))
    made.data_received(Frame(Opcode.TEXT, b"too late").serialize(mask=True))
    assert (heard, transport.closing) == ([b"one word"], True)


async def test_text_that_is_not_masked_ends_the_connection() -> None:
    heard: list[Message] = []
    made, transport = await opened(heard)
    made.data_received(Frame(Opcode.TEXT, b"not masked").serialize(mask=False))
    assert (heard, transport.closing) == ([], True)


async def test_a_message_within_another_ends_the_connection() -> None:
    heard: list[Message] = []
    made, transport = await opened(heard)
    made.data_received(Frame(Opcode.TEXT, b"begun", fin=False).serialize(mask=True))
    made.data_received(Frame(Opcode.TEXT, b"within").serialize(mask=True))
    assert (heard, transport.closing) == ([], True)
