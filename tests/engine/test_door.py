"""The door: what a webhook may be, and what is said when nobody checks it."""

import asyncio
import logging
from collections.abc import AsyncIterator
from typing import Any
from urllib.parse import urlencode

import httpx2
import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from twilio.request_validator import RequestValidator

from engine.door import FORM_LIMIT, Door
from engine.settings import Settings

TOKEN = "a-token"
URL = "http://door.example.com/hook"
TYPE = {"Content-Type": "application/x-www-form-urlencoded"}


def door(**given: Any) -> Door:
    return Door(Settings(_env_file=None, **given))  # type: ignore[call-arg]


def signing_door() -> Door:
    return door(twilio_account_sid="AC0", twilio_auth_token=TOKEN, base_url="http://door.example.com")


async def post(door: Door, content: bytes | AsyncIterator[bytes], **headers: str) -> httpx2.Response:
    """What an app with this door answers: the form as JSON, or 403."""

    async def hook(request: Request) -> Response:
        form = await door.signed_form(request)
        return Response(status_code=403) if form is None else JSONResponse(dict(form.items()))

    app = Starlette(routes=[Route("/hook", hook, methods=["POST"])])
    async with httpx2.AsyncClient(transport=httpx2.ASGITransport(app=app)) as client:
        return await client.post(URL, content=content, headers=TYPE | headers)


async def in_pieces(pieces: int, size: int) -> AsyncIterator[bytes]:
    yield b"pad="
    for _ in range(pieces):
        yield b"x" * size


async def test_a_signed_form_is_read() -> None:
    fields = {"CallSid": "CA1", "From": "+13125550142"}
    signature = str(RequestValidator(TOKEN).compute_signature(URL, fields))
    body = urlencode(fields).encode()

    answer = await post(signing_door(), body, **{"X-Twilio-Signature": signature})

    assert (answer.status_code, answer.json()) == (200, fields)
    assert (await post(signing_door(), body)).status_code == 403


async def test_a_form_of_the_longest_length_is_read_and_a_longer_one_is_refused() -> None:
    longest = b"pad=" + b"x" * (FORM_LIMIT - 4)
    assert (await post(door(), longest)).status_code == 200
    assert (await post(door(), longest + b"x")).status_code == 413


async def test_a_body_that_does_not_tell_its_length_is_refused_where_it_is_too_long() -> None:
    read = 0

    async def endless() -> AsyncIterator[bytes]:
        nonlocal read
        async for piece in in_pieces(1000, 1024):
            read += len(piece)
            yield piece

    assert (await post(door(), endless())).status_code == 413
    assert (await post(door(), in_pieces(10, 1024))).status_code == 200
    assert read < 2 * FORM_LIMIT


async def test_a_body_longer_than_it_says_is_refused() -> None:
    answer = await post(door(), in_pieces(100, 1024), **{"Content-Length": "10"})
    assert answer.status_code == 413


def test_a_door_that_checks_nothing_says_so_once(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING, "engine.door"):
        signing_door()
        assert caplog.messages == []
        door()
    [said] = caplog.messages
    assert "TWILIO_AUTH_TOKEN is not set" in said


async def test_of_many_who_come_at_once_each_has_a_pass_of_the_loop_to_itself() -> None:
    passes, entered = 0, []

    async def serving() -> None:
        nonlocal passes
        while True:
            passes += 1
            await asyncio.sleep(0)

    async def come(door: Door) -> None:
        await door.enter()
        entered.append(passes)

    one = door()
    running_call = asyncio.create_task(serving())
    await asyncio.gather(*(come(one) for _ in range(200)))
    running_call.cancel()

    assert len(set(entered)) == 200
