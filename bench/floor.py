"""`python -m bench.floor PORT SPEECH MODEL`: the least Python that relays the same call, on uvicorn alone.

No Ray, no HAProxy, no database, no session, no signature, no survival: what sockets and JSON cost, and nothing else.
"""

import asyncio
import base64
import contextlib
import json
import sys
from typing import Any

import httpx2
import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route, WebSocketRoute
from starlette.websockets import WebSocket, WebSocketDisconnect
from websockets.asyncio.client import ClientConnection, connect

LEAD_S = 0.3
CHUNK = 800
TOOL = {"type": "function", "function": {"name": "get_available_slots", "parameters": {"type": "object"}}}


class Call:
    """One call: three sockets and a model."""

    def __init__(self, twilio: WebSocket, speech: str, model: str, http: httpx2.AsyncClient) -> None:
        self._twilio = twilio
        self._speech = speech
        self._model = model
        self._http = http
        self._messages: list[dict[str, Any]] = []
        self._replying: asyncio.Task[None] | None = None
        self._audio = bytearray()
        self._sent_until = 0.0
        self._more = asyncio.Event()
        self._dropping = 0  # Clears whose Cleared has not come

    async def run(self) -> None:
        """From the stream's start to its end."""
        await self._twilio.accept()
        while True:
            message = json.loads(await self._twilio.receive_text())
            if message["event"] == "start":
                break
        self._sid = message["start"]["streamSid"]
        number = message["start"]["customParameters"]["caller"]
        self._messages = [{"role": "system", "content": f"Caller's number: {number}."}]
        options = "encoding=mulaw&sample_rate=8000"
        listen = f"{self._speech}/v1/listen?model=nova-3&interim_results=true&endpointing=300&{options}"
        headers = {"Authorization": "Token key"}
        async with (
            connect(listen, additional_headers=headers, compression=None, proxy=None) as ear,
            connect(
                f"{self._speech}/v1/speak?model=aura-2&{options}",
                additional_headers=headers,
                compression=None,
                proxy=None,
            ) as voice,
        ):
            self._voice = voice
            jobs = [asyncio.create_task(job) for job in (self._listen(ear), self._speak(voice), self._pace())]
            await self._say("Thanks for calling Elm. How can I help you today?")
            try:
                while True:
                    message = json.loads(await self._twilio.receive_text())
                    if message["event"] == "media":
                        await ear.send(base64.b64decode(message["media"]["payload"]))
                    elif message["event"] == "stop":
                        return
            except WebSocketDisconnect:
                return
            finally:
                jobs.extend([self._replying] if self._replying else [])
                for job in jobs:
                    job.cancel()
                await asyncio.gather(*jobs, return_exceptions=True)

    async def _listen(self, ear: ClientConnection) -> None:
        async for text in ear:
            message = json.loads(text)
            if message.get("type") != "Results":
                continue
            words = message["channel"]["alternatives"][0]["transcript"]
            if message["is_final"] and message["speech_final"] and words:
                await self._interrupt()
                self._messages.append({"role": "user", "content": words})
                self._replying = asyncio.create_task(self._reply())
            elif len(words.split()) >= 2:
                await self._interrupt()

    async def _interrupt(self) -> None:
        busy = self._replying is not None and not self._replying.done()
        if busy and self._replying is not None:
            self._replying.cancel()
        if busy or self._audio or self._sent_until > asyncio.get_running_loop().time():
            self._audio.clear()
            self._sent_until = 0.0
            self._dropping += 1
            await self._twilio.send_text(json.dumps({"event": "clear", "streamSid": self._sid}))
            await self._voice.send('{"type":"Clear"}')

    async def _reply(self) -> None:
        body = {"model": "gpt-4o", "stream": True, "messages": self._messages, "tools": [TOOL]}
        said, rest, call = "", "", ""
        headers = {"Authorization": "Bearer key"}
        async with self._http.stream(
            "POST", f"{self._model}/chat/completions", json=body, headers=headers
        ) as answer:
            async for line in answer.aiter_lines():
                if not line.startswith("data: {"):
                    continue
                choices = json.loads(line[6:])["choices"]
                delta = choices[0]["delta"] if choices else {}
                rest += delta.get("content") or ""
                call = next((part["id"] for part in delta.get("tool_calls") or () if part.get("id")), call)
                sentence, stop, more = rest.partition(". ")
                if stop:
                    said, rest = said + sentence + stop, more
                    await self._say(sentence + ".")
        if rest.strip():
            said += rest
            await self._say(rest)
        if not call:
            self._messages.append({"role": "assistant", "content": said})
            return
        function = {"name": "get_available_slots", "arguments": "{}"}
        self._messages.append(
            {
                "role": "assistant",
                "content": said or None,
                "tool_calls": [{"id": call, "type": "function", "function": function}],
            }
        )
        self._messages.append({"role": "tool", "tool_call_id": call, "content": "Nine and ten are free."})
        await self._reply()

    async def _say(self, text: str) -> None:
        await self._voice.send(json.dumps({"type": "Speak", "text": text}))
        await self._voice.send('{"type":"Flush"}')

    async def _speak(self, voice: ClientConnection) -> None:
        async for message in voice:
            if isinstance(message, bytes):
                if not self._dropping:
                    self._audio += message
                    self._more.set()
            elif json.loads(message)["type"] == "Cleared":
                self._dropping -= 1

    async def _pace(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            if not self._audio:
                self._more.clear()
                await self._more.wait()
            await asyncio.sleep(self._sent_until - LEAD_S - loop.time())
            chunk = bytes(self._audio[:CHUNK])
            if not chunk:
                continue
            del self._audio[:CHUNK]
            self._sent_until = max(self._sent_until, loop.time()) + len(chunk) / 8000
            media = {"payload": base64.b64encode(chunk).decode()}
            await self._twilio.send_text(
                json.dumps({"event": "media", "streamSid": self._sid, "media": media})
            )


def app(speech: str, model: str) -> Starlette:
    """The relay: one webhook, one socket."""
    http = httpx2.AsyncClient(timeout=30, trust_env=False)

    async def incoming(request: Request) -> Response:
        form = await request.form()
        stream = f"ws://{request.headers['host']}/api/v1/voice/media-stream"
        parameter = f'<Parameter name="caller" value="{form["From"]}"/>'
        return Response(
            f'<?xml version="1.0"?><Response><Connect><Stream url="{stream}">{parameter}</Stream></Connect></Response>',
            media_type="text/xml",
        )

    async def status(_: Request) -> Response:
        return Response(status_code=204)

    async def media(websocket: WebSocket) -> None:
        await Call(websocket, speech, model, http).run()
        with contextlib.suppress(RuntimeError, WebSocketDisconnect):
            await websocket.close()

    return Starlette(
        routes=[
            Route("/api/v1/voice/incoming", incoming, methods=["POST"]),
            Route("/api/v1/voice/status", status, methods=["POST"]),
            WebSocketRoute("/api/v1/voice/media-stream", media),
        ]
    )


def main() -> None:
    """Serves until SIGTERM."""
    port, speech, model = int(sys.argv[1]), sys.argv[2].replace("http", "ws"), sys.argv[3]
    uvicorn.run(
        app(speech, model),
        host="127.0.0.1",
        port=port,
        ws="websockets-sansio",
        ws_per_message_deflate=False,
        log_level="warning",
    )


if __name__ == "__main__":
    main()
