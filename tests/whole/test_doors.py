"""Who gets in: signed webhooks, streams with their one-time token, and what callers hear first."""

import asyncio
import json
from typing import Any
from xml.etree import ElementTree

import pytest
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed

from simulators.caller import Caller
from simulators.twilio.fields import new_sid
from tests.whole.bench import SARAH, TOM, VOICE, Bench, Talk, eventually

pytestmark = [pytest.mark.whole, pytest.mark.asyncio(loop_scope="session")]

POLICY = 1008


def document(text: str) -> tuple[str, str, dict[str, str]]:
    """Of a document with one stream: its URL, the `action`, the parameters."""
    response = ElementTree.fromstring(text)
    assert response.tag == "Response"
    [connected] = response.findall("Connect")
    [stream] = connected.findall("Stream")
    parameters = {p.attrib["name"]: p.attrib["value"] for p in stream.findall("Parameter")}
    return stream.attrib["url"], connected.attrib["action"], parameters


async def rung(bench: Bench) -> tuple[str, str, str]:
    """A call rings: its SID, its stream's URL and token."""
    fields = bench.ringing(bench.number())
    answer = await bench.post("incoming", fields)
    url, _, parameters = document(answer.text)
    return fields["CallSid"], url, parameters["token"]


def begin(call: str, token: str) -> list[str]:
    """Twilio's first two messages."""
    stream = new_sid("MZ")
    body = {
        "streamSid": stream,
        "accountSid": "AC" + "1" * 32,
        "callSid": call,
        "tracks": ["inbound"],
        "customParameters": {"token": token},
        "mediaFormat": {"encoding": "audio/x-mulaw", "sampleRate": 8000, "channels": 1},
    }
    start = {"event": "start", "sequenceNumber": "1", "streamSid": stream, "start": body}
    return ['{"event":"connected","protocol":"Call","version":"1.0.0"}', json.dumps(start)]


async def closed(socket: ClientConnection) -> int | None:
    """The code that the server closes the socket with."""
    async with asyncio.timeout(20):
        try:
            while True:
                await socket.recv()
        except ConnectionClosed:
            return socket.close_code


async def refusal(url: str, messages: list[str]) -> int | None:
    """What a stream that says this is closed with."""
    async with connect(url, proxy=None, open_timeout=20) as socket:
        for message in messages:
            await socket.send(message)
        return await closed(socket)


async def opened(bench: Bench) -> tuple[int, int]:
    """How many sockets to the vendors of speech were ever opened, and how often the model was asked."""
    return bench.speech.watch.opened, len(bench.model.record.exchanges)


async def test_a_webhook_without_twilios_signature_gets_nothing(bench: Bench) -> None:
    fields = bench.ringing(bench.number())
    for path in ("incoming", "stream-ended", "status"):
        unsigned = await bench.http.post(f"{VOICE}/{path}", data=fields)
        forged = await bench.http.post(
            f"{VOICE}/{path}", data=fields, headers={"X-Twilio-Signature": "bm90IGl0"}
        )
        assert (unsigned.status_code, forged.status_code) == (403, 403)
    elsewhere = await bench.post("incoming", fields, base="https://elsewhere.example.com")
    assert elsewhere.status_code == 403
    assert not await bench.exists(f"call:{fields['CallSid']}")


async def test_the_answer_has_the_stream_its_action_and_its_token(bench: Bench) -> None:
    answer = await bench.post("incoming", bench.ringing(bench.number()))
    url, action, parameters = document(answer.text)

    assert answer.headers["content-type"].startswith("text/xml")
    assert url == f"{bench.app.url.replace('http', 'ws', 1)}{VOICE}/media-stream"
    assert action == f"{bench.app.url}{VOICE}/stream-ended?broken=0#rc=2&rp=ct,rt,5xx"
    assert len(parameters["token"]) >= 32
    assert await bench.exists(f"token:{parameters['token']}")


async def test_without_a_base_url_addresses_are_those_that_twilio_called(bench: Bench) -> None:
    base = "https://voice.example.com"
    headers = {"Host": "voice.example.com", "X-Forwarded-Proto": "https"}

    answer = await bench.post("incoming", bench.ringing(bench.number()), base=base, headers=headers)

    assert answer.status_code == 200
    url, action, _ = document(answer.text)
    assert url == f"wss://voice.example.com{VOICE}/media-stream"
    assert action.startswith(f"{base}{VOICE}/stream-ended?")


async def test_a_webhook_without_a_call_is_told_so(bench: Bench) -> None:
    fields = bench.ringing(bench.number())
    del fields["CallSid"]

    answer = await bench.post("incoming", fields)

    assert answer.status_code == 400
    assert "CallSid" in answer.text


async def test_a_token_opens_the_stream_of_its_call_once_and_only_for_a_while(bench: Bench) -> None:
    call, url, token = await rung(bench)
    other, _, others_token = await rung(bench)
    late_call, _, late_token = await rung(bench)

    refused = {
        "none": await refusal(url, begin(call, "")),
        "unknown": await refusal(url, begin(call, "x" * len(token))),
        "another call's": await refusal(url, begin(call, others_token)),
    }
    async with connect(url, proxy=None, open_timeout=20) as socket:
        for message in begin(call, token):
            await socket.send(message)
        async with asyncio.timeout(20):
            assert json.loads(await socket.recv())["event"] == "media"  # the greeting: it is open
        refused["used"] = await refusal(url, begin(call, token))

    async def look() -> bool:
        return not await bench.exists(f"token:{late_token}")

    await eventually(look, "the end of an unused token")
    refused["expired"] = await refusal(url, begin(late_call, late_token))

    assert refused == dict.fromkeys(refused, POLICY)
    assert other not in await bench.live()


async def test_a_stream_that_does_not_begin_as_twilios_do_is_closed_and_opens_nothing_at_the_vendors(
    bench: Bench,
) -> None:
    call, url, token = await rung(bench)
    connected, start = begin(call, token)
    before = await opened(bench)
    audio = {"track": "inbound", "chunk": "1", "timestamp": "1", "payload": "//8="}
    media = json.dumps({"event": "media", "sequenceNumber": "1", "media": audio})
    beginnings = {
        "garbage": ["no JSON at all"],
        "nothing": [],
        "audio first": [connected, media],
        "a start of nobody": [connected, start.replace(call, "")],
        "something long": [connected, json.dumps({"event": "x", "pad": "x" * 70_000})],
    }

    codes = await asyncio.gather(*(refusal(url, messages) for messages in beginnings.values()))

    assert dict(zip(beginnings, codes, strict=True)) == dict.fromkeys(beginnings, POLICY)
    assert await opened(bench) == before


async def test_everyone_is_greeted_by_what_may_be_said_to_them(bench: Bench) -> None:
    async def listens(c: Caller) -> None:
        await c.hears("help you today?")

    async def call(number: str | None, **options: Any) -> Talk:
        return await bench.dial(listens, caller=number, **options)

    talks = [
        await call(SARAH),
        await call(SARAH, stir="TN-Validation-Passed-B"),
        await call(TOM),
        await call(None),
        await call("anonymous", stir=None),
    ]
    for talk in talks:
        await talk.ended()

    attested, unattested, customer, unknown, withheld = (" ".join(talk.heard()) for talk in talks)
    month = attested.partition(" oil change in ")[2].partition("?")[0]
    assert month.split()[0] == "March"
    assert attested == (
        f"Hi Sarah, thanks for calling Elm. How is the Civic since its oil change in {month}? "
        "How can I help you today?"
    )
    assert unattested == "Hi Sarah, thanks for calling Elm. How can I help you today?"
    assert customer == "Hi Tom, thanks for calling Elm. How can I help you today?"
    assert unknown == withheld == "Thanks for calling Elm. How can I help you today?"


async def test_health_is_told_part_by_part(bench: Bench) -> None:
    alive, ready = await bench.http.get("/healthz"), await bench.http.get("/readyz")

    assert (alive.status_code, alive.text) == (200, "ok")
    assert ready.status_code == 200
    assert ready.json() == {
        "ready": True,
        "parts": {"redis": "ok", "postgres": "ok", "hosts": "ok", "tools": "ok"},
    }
