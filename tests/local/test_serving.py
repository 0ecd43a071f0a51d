"""A server inside a test or a process: where it says, at once, and gone when its block is over."""

import asyncio
import socket
from collections.abc import AsyncIterator

import httpx2
import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response, StreamingResponse
from starlette.routing import Route

from local.serving import bound, serving, serving_on

LIMIT_S = 10.0


async def hello(request: Request) -> Response:
    return PlainTextResponse("hello")


async def endless(request: Request) -> Response:
    async def body() -> AsyncIterator[bytes]:
        yield b"and so on"
        await asyncio.Event().wait()

    return StreamingResponse(body())


APP = Starlette(routes=[Route("/", hello), Route("/endless", endless)])


async def test_it_answers_inside_the_block_and_not_after() -> None:
    async with httpx2.AsyncClient(timeout=LIMIT_S) as http:
        async with serving(APP) as server:
            assert (await http.get(server.http_url)).text == "hello"
        with pytest.raises(httpx2.ConnectError):
            await http.get(server.http_url)


async def test_a_port_that_is_taken_is_an_oserror() -> None:
    with bound() as taken:
        taken.listen()
        with pytest.raises(OSError, match="in use"):
            async with serving(APP, port=taken.getsockname()[1]):
                pass


async def test_a_socket_that_can_not_be_listened_on_tells_why() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as datagrams:
        datagrams.bind(("127.0.0.1", 0))
        with pytest.raises(ValueError, match="Stream Socket"):
            async with serving_on(datagrams, APP):
                pass


async def test_a_client_that_stays_does_not_keep_the_server() -> None:
    async with asyncio.timeout(3 * LIMIT_S), httpx2.AsyncClient(timeout=LIMIT_S) as http:
        async with serving(APP) as server:
            stream = http.stream("GET", f"{server.http_url}/endless")
            answer = await stream.__aenter__()
        assert answer.status_code == 200
        with pytest.raises(httpx2.HTTPError):
            await answer.aread()
        await stream.__aexit__(None, None, None)
