"""The proxy that holds: nobody notices it, nor that the app was away, if not for too long."""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator

import httpx2
import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route, WebSocketRoute
from starlette.websockets import WebSocket
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed

from launcher.ports import free_ports
from local.serving import bound, serving_on
from simulators.holding import holding

LIMIT_S = 20.0


async def echo(request: Request) -> Response:
    return PlainTextResponse(f"{request.headers['host']} {(await request.body()).decode()}")


async def echo_socket(socket: WebSocket) -> None:
    await socket.accept()
    async for text in socket.iter_text():
        await socket.send_text(text)


@contextlib.asynccontextmanager
async def app_on(port: int) -> AsyncIterator[None]:
    app = Starlette(
        routes=[Route("/webhook", echo, methods=["POST"]), WebSocketRoute("/stream", echo_socket)]
    )
    async with serving_on(bound(port=port), app):
        yield


async def post(client: httpx2.AsyncClient, url: str, body: str) -> str:
    return (await client.post(f"{url}/webhook", content=body)).raise_for_status().text


@pytest.fixture
def port() -> int:
    [port] = free_ports(1)
    return port


async def test_webhooks_and_sockets_pass_as_they_came(port: int) -> None:
    async with app_on(port), holding(port) as url, httpx2.AsyncClient(trust_env=False) as client:
        body = "a" * 200_000
        host = url.removeprefix("http://")
        assert await asyncio.gather(*(post(client, url, body) for _ in range(5))) == [f"{host} {body}"] * 5
        async with connect(f"ws://{host}/stream", proxy=None) as socket:
            await socket.send("hello")
            assert await socket.recv() == "hello"


async def test_who_comes_while_the_app_is_away_is_served_when_it_is_back(port: int) -> None:
    async with holding(port, LIMIT_S) as url, httpx2.AsyncClient(trust_env=False, timeout=LIMIT_S) as client:

        async def stream() -> str:
            async with connect(f"{url.replace('http', 'ws')}/stream", proxy=None) as socket:
                await socket.send("hello")
                return str(await socket.recv())

        asked = asyncio.gather(post(client, url, "ring"), stream())
        done, _ = await asyncio.wait({asked}, timeout=0.5)
        assert not done
        async with app_on(port), asyncio.timeout(LIMIT_S):
            assert await asked == [f"{url.removeprefix('http://')} ring", "hello"]


async def test_who_is_held_for_too_long_is_let_go(port: int) -> None:
    async with holding(port, 0.3) as url, httpx2.AsyncClient(trust_env=False, timeout=LIMIT_S) as client:
        began_s = time.monotonic()
        with pytest.raises(httpx2.RemoteProtocolError):
            await post(client, url, "ring")
        assert time.monotonic() - began_s > 0.3


async def test_the_end_of_either_side_is_the_end_of_the_other(port: int) -> None:
    async with holding(port) as url:
        async with app_on(port):
            socket = await connect(f"{url.replace('http', 'ws')}/stream", proxy=None)
        async with asyncio.timeout(LIMIT_S):
            with pytest.raises(ConnectionClosed):
                await socket.recv()

    gone = asyncio.Event()

    async def upstream(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        gone.set()
        writer.close()

    server = await asyncio.start_server(upstream, "127.0.0.1", port)
    async with server, holding(port) as url, asyncio.timeout(LIMIT_S):
        _, writer = await asyncio.open_connection("127.0.0.1", int(url.rpartition(":")[2]))
        writer.close()
        await gone.wait()
