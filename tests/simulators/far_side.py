"""The app's side of a call, for tests: documents by path, and what is done on the stream."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable

from starlette.applications import Starlette
from starlette.datastructures import FormData
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route, WebSocketRoute
from starlette.websockets import WebSocket, WebSocketDisconnect

from engine.twilio import signature, stream
from engine.twilio.stream import Event, Mark, Media, Start, Stop, StreamReader
from local.serving import bound, serving_on

TOKEN = "0123456789abcdef"
LIMIT_S = 20.0

Answer = str | Response | Callable[[], Awaitable[str | Response]]


class Stream:
    """One stream as the app sees it, read with the engine's own codec."""

    def __init__(self, socket: WebSocket) -> None:
        self.reader = StreamReader()
        self.sid = ""
        self.start: Start | None = None
        self.media: list[Media] = []
        self.events: list[Event] = []
        self.ended = ""
        self.over = asyncio.Event()
        self.signed = signature.stream_is_signed(
            TOKEN, str(socket.url), socket.headers.get("x-twilio-signature")
        )
        self._socket = socket

    async def next(self) -> Event | None:
        """The next event, or None at the end."""
        try:
            async with asyncio.timeout(LIMIT_S):
                event = self.reader.receive(await self._socket.receive_text())
        except WebSocketDisconnect as gone:
            self.ended = f"closed {gone.code}"
            return None
        assert event is not None
        self.events.append(event)
        if isinstance(event, Start):
            self.start, self.sid = event, event.stream
        if isinstance(event, Media):
            self.media.append(event)
        return event

    async def until(self, wanted: Callable[[Event], bool]) -> Event:
        """Reads on until an event that is wanted."""
        while (event := await self.next()) is not None:
            if wanted(event):
                return event
        raise AssertionError(f"the stream ended ({self.ended}) after {self.events[-3:]}")

    async def begin(self) -> None:
        """Reads `connected` and `start`."""
        await self.until(lambda event: isinstance(event, Start))

    async def frames(self, count: int) -> None:
        """Lets `count` frames of the caller's go by: the only clock that a far side needs."""
        for _ in range(count):
            await self.until(lambda event: isinstance(event, Media))

    async def echo(self, name: str) -> None:
        """Waits for a mark."""
        await self.until(lambda event: event == Mark(name))

    async def rest(self) -> None:
        """Reads to the end."""
        while await self.next() is not None:
            pass

    async def play(self, audio: bytes) -> None:
        await self._socket.send_text(stream.media(self.sid, audio))

    async def mark(self, name: str) -> None:
        await self._socket.send_text(stream.mark(self.sid, name))

    async def clear(self) -> None:
        await self._socket.send_text(stream.clear(self.sid))

    async def send(self, text: str) -> None:
        await self._socket.send_text(text)

    async def close(self) -> None:
        await self._socket.close()

    @property
    def caller(self) -> bytes:
        """All that the caller said."""
        return b"".join(media.payload for media in self.media)

    @property
    def stopped(self) -> bool:
        """Whether `stop` came."""
        return any(isinstance(event, Stop) for event in self.events)


class FarSide:
    """The app. `answers[path]` is what a webhook gets, `talk` what is done on each stream."""

    def __init__(self, port: int) -> None:
        self.http = f"http://127.0.0.1:{port}"
        self.ws = f"ws://127.0.0.1:{port}/media"
        self.answers: dict[str, list[Answer]] = {}
        self.asked: list[tuple[str, FormData]] = []
        self.unsigned: list[str] = []
        self.streams: list[Stream] = []
        self.talk: Callable[[Stream], Awaitable[None]] = Stream.rest
        self.failure: BaseException | None = None

    def connect(self, after: str = "", action: str | None = "/after", path: str = "") -> str:
        """TwiML that streams, with `after` behind `</Connect>`."""
        attribute = f' action="{action}"' if action else ""
        return (
            f'<Response><Connect{attribute}><Stream url="{self.ws}{path}" statusCallback="/stream">'
            f'<Parameter name="token" value="3f9c"/></Stream></Connect>{after}</Response>'
        )

    def forms(self, path: str) -> list[FormData]:
        """The forms that were posted to `path`."""
        return [form for asked, form in self.asked if asked == path]

    async def webhook(self, request: Request) -> Response:
        form = await request.form()
        path = request.url.path
        self.asked.append((path, form))
        header = request.headers.get("x-twilio-signature")
        if not signature.webhook_is_signed(TOKEN, str(request.url), form, header):
            self.unsigned.append(path)
        answers = self.answers.get(path, [])
        answer: Answer = answers.pop(0) if len(answers) > 1 else answers[0] if answers else "<Response/>"
        if callable(answer) and not isinstance(answer, Response):
            answer = await answer()
        return answer if isinstance(answer, Response) else Response(answer, media_type="text/xml")

    async def media(self, socket: WebSocket) -> None:
        conversation = Stream(socket)
        self.streams.append(conversation)
        await socket.accept()
        try:
            await conversation.begin()
            await self.talk(conversation)
        except BaseException as error:
            self.failure = error
            raise
        finally:
            conversation.over.set()
            with contextlib.suppress(RuntimeError):  # closed already, by either side
                await socket.close()


@contextlib.asynccontextmanager
async def far_side() -> AsyncIterator[FarSide]:
    """An app that listens on a free port of loopback; raises what went wrong in it."""
    with bound() as listener:
        far = FarSide(listener.getsockname()[1])
        routes = [
            WebSocketRoute("/media", far.media),
            Route("/{path:path}", far.webhook, methods=["POST"]),
        ]
        async with serving_on(listener, Starlette(routes=routes)):
            yield far
        if far.failure is not None:
            raise far.failure
        assert far.unsigned == []
