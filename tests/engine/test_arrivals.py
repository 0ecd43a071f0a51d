"""Requests in turns, on a real server."""

import asyncio
import contextlib
import socket
import time
from collections.abc import AsyncIterator, Iterator
from types import SimpleNamespace

import httpx2
import pytest
import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route, WebSocketRoute
from starlette.websockets import WebSocket
from websockets.asyncio.client import connect

from engine import arrivals
from engine.arrivals import LONGEST_REST_S, Arrivals, PacedProtocol, pace_requests
from local.serving import bound, serving_on

CROWD = 150
LONG_BODY = 30_000_000
GET = b"GET /pass HTTP/1.1\r\nHost: a.example.com\r\nConnection: close\r\n\r\n"


@pytest.fixture(autouse=True)
def paced(monkeypatch: pytest.MonkeyPatch) -> None:
    """The servers that a test starts; those of other tests are left alone."""
    monkeypatch.setitem(uvicorn.config.HTTP_PROTOCOLS, "auto", uvicorn.config.HTTP_PROTOCOLS["auto"])
    pace_requests()


class Server:
    """Notes in which pass of the loop each request was begun; answers with the length of what it was sent."""

    def __init__(self) -> None:
        self.passes = 0
        self.begun_in: list[int] = []
        self.begun = asyncio.Event()
        routes = [
            Route("/pass", self._request, methods=["GET", "POST"]),
            Route("/-/healthz", self._health, methods=["GET"]),
            WebSocketRoute("/echo", self._echo),
        ]
        self.app = Starlette(routes=routes)

    @contextlib.asynccontextmanager
    async def serving(self) -> AsyncIterator[int]:
        """The port."""
        counting = asyncio.create_task(self._count())
        with bound() as listening:
            async with serving_on(listening, self.app) as at:
                yield at.port
        counting.cancel()

    async def _count(self) -> None:
        while True:
            self.passes += 1
            await asyncio.sleep(0)

    async def _request(self, request: Request) -> Response:
        self.begun_in.append(self.passes)
        self.begun.set()
        return PlainTextResponse(str(len(await request.body())))

    async def _health(self, _: Request) -> Response:
        return PlainTextResponse(str(len(self.begun_in)))

    async def _echo(self, websocket: WebSocket) -> None:
        await websocket.accept()
        await websocket.send_text(await websocket.receive_text())
        await websocket.close()


@contextlib.contextmanager
def crowd(port: int, sends: bytes) -> Iterator[list[socket.socket]]:
    """They are connected, and have sent it, before the loop runs again."""
    with contextlib.ExitStack() as held:
        sockets = [held.enter_context(socket.create_connection(("127.0.0.1", port))) for _ in range(CROWD)]
        for one in sockets:
            one.sendall(sends)
            one.setblocking(False)
        yield sockets


async def answer(one: socket.socket) -> bytes:
    """All that is answered."""
    loop, told = asyncio.get_running_loop(), b""
    async with asyncio.timeout(30):
        while piece := await loop.sock_recv(one, 4096):
            told += piece
    return told


async def test_of_many_requests_that_come_at_once_each_has_a_pass_of_the_loop_to_itself() -> None:
    server = Server()
    async with server.serving() as port:
        with crowd(port, GET) as sockets:
            answers = [await answer(one) for one in sockets]
    assert all(text.startswith(b"HTTP/1.1 200") for text in answers)
    assert len(set(server.begun_in)) == CROWD


async def test_haproxys_check_of_a_replica_does_not_wait_behind_a_crowd() -> None:
    check = b"GET /-/healthz HTTP/1.0\r\n\r\n"
    async with Server().serving() as port:
        with crowd(port, GET), socket.create_connection(("127.0.0.1", port)) as checking:
            checking.sendall(check)
            checking.setblocking(False)
            begun_before = (await answer(checking)).rpartition(b"\r\n\r\n")[2]
    assert int(begun_before) < CROWD // 2


async def test_who_has_gone_while_they_waited_holds_nobody_up() -> None:
    server, failed = Server(), []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: failed.append(context))
    async with server.serving() as port:
        with crowd(port, GET):
            pass
        async with httpx2.AsyncClient(trust_env=False) as client:
            assert (await client.get(f"http://127.0.0.1:{port}/pass")).status_code == 200
    assert failed == []


async def test_a_server_may_end_while_a_crowd_waits() -> None:
    server, failed = Server(), []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: failed.append(context))
    async with server.serving() as port:
        with crowd(port, GET):
            await asyncio.wait_for(server.begun.wait(), 30)
    last = Visitor(0.0)
    arrivals._ARRIVALS.wait(last)  # type: ignore[arg-type]
    await asyncio.wait_for(last.entered.wait(), 30)
    assert len(server.begun_in) < CROWD
    assert failed == []


async def test_a_long_body_arrives_whole_and_its_connection_serves_the_next_request() -> None:
    async def pieces() -> AsyncIterator[bytes]:
        for _ in range(40):
            yield b"x" * 50_000

    async with Server().serving() as port, httpx2.AsyncClient(trust_env=False) as client:
        url = f"http://127.0.0.1:{port}/pass"
        answers = [await client.post(url, content=content) for content in (pieces(), b"", b"y" * 2_000_000)]
    assert [answer.text for answer in answers] == ["2000000", "0", "2000000"]


async def test_of_who_waits_no_more_is_read_until_their_turn(monkeypatch: pytest.MonkeyPatch) -> None:
    waiting: list[PacedProtocol] = []
    monkeypatch.setattr(arrivals, "_ARRIVALS", SimpleNamespace(wait=waiting.append))
    head = b"POST /pass HTTP/1.1\r\nHost: a.example.com\r\nConnection: close\r\nContent-Length: %d\r\n\r\n"
    async with Server().serving() as port:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(head % LONG_BODY + b"x" * LONG_BODY)
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(writer.drain(), 1.0)  # the sockets between us are full
        [one] = waiting
        assert len(one._held) < LONG_BODY // 10
        monkeypatch.setattr(arrivals, "_ARRIVALS", Arrivals())
        one.enter()
        answered = await asyncio.wait_for(reader.read(), 30)
        writer.close()
    assert answered.endswith(str(LONG_BODY).encode())


async def test_a_socket_opens_and_what_is_no_request_is_told_so() -> None:
    async with Server().serving() as port:
        async with connect(f"ws://127.0.0.1:{port}/echo", proxy=None) as echo:
            await echo.send("hello")
            assert await echo.recv() == "hello"
        with crowd(port, b"no request\r\n\r\n") as sockets:
            assert (await answer(sockets[0])).startswith(b"HTTP/1.1 400")


class Visitor:
    """Holds the loop up for so long, and notes for how long it did."""

    def __init__(self, busy_s: float) -> None:
        self.entered = asyncio.Event()
        self.took_s = 0.0
        self._busy_s = busy_s

    def enter(self) -> None:
        began = time.monotonic()
        time.sleep(self._busy_s)
        self.took_s = time.monotonic() - began
        self.entered.set()


async def rested_s(busy_s: float, count: int) -> float:
    """How long a crowd was made to rest in all."""
    turns, visitors = Arrivals(), [Visitor(busy_s) for _ in range(count)]
    began = time.monotonic()
    for one in visitors:
        turns.wait(one)  # type: ignore[arg-type]
    await asyncio.wait_for(visitors[-1].entered.wait(), 30)
    return time.monotonic() - began - sum(one.took_s for one in visitors)


async def test_a_crowd_leaves_as_much_time_to_others_as_it_takes() -> None:
    assert await rested_s(0.002, 50) > 0.8 * 49 * 0.002


async def test_on_a_slow_machine_a_crowd_does_not_wait_for_ever() -> None:
    assert await rested_s(0.1, 5) < 4 * LONGEST_REST_S * 10


def test_the_servers_of_this_process_are_paced() -> None:
    config = uvicorn.Config(lambda: None, factory=True)
    config.load()
    assert config.http_protocol_class is PacedProtocol
