"""Speech servers that fail in ways that their own settings don't have."""

import asyncio

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from simulators.marks import MarksDelays
from simulators.vendors import Speech


class _Wrapped(Speech):
    def __init__(self, delays: MarksDelays | None = None) -> None:
        super().__init__(delays or MarksDelays())
        self._inner: ASGIApp = self.app

        async def app(scope: Scope, receive: Receive, send: Send) -> None:  # uvicorn takes no method for one
            await self._serve(scope, receive, send)

        self.app = app

    async def _serve(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self._inner(scope, receive, send)


class Hanging(_Wrapped):
    """While `hangs`, it takes connections and lets handshakes and requests for `what` ("listen", "speak") wait."""

    def __init__(self, what: str, delays: MarksDelays | None = None) -> None:
        super().__init__(delays)
        self.hangs = False
        self._what = what

    async def _serve(self, scope: Scope, receive: Receive, send: Send) -> None:
        if self.hangs and self._what in scope.get("path", ""):
            await asyncio.sleep(3600)
        await self._inner(scope, receive, send)


class HalfOpen(_Wrapped):
    """Listen sockets that were open or opened while it was `dead` never tell anything, even afterwards."""

    def __init__(self) -> None:
        super().__init__()
        self.dead = False

    async def _serve(self, scope: Scope, receive: Receive, send: Send) -> None:
        died = False

        async def told(message: Message) -> None:
            nonlocal died
            died = died or self.dead
            if not died or message["type"] != "websocket.send":
                await send(message)

        listens = scope["type"] == "websocket" and "listen" in scope["path"]
        await self._inner(scope, receive, told if listens else send)


class Late(_Wrapped):
    """Tells what it hears so much later, as vendors far away do."""

    def __init__(self, late_s: float) -> None:
        super().__init__()
        self._late_s = late_s

    async def _serve(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "websocket" or "listen" not in scope["path"]:
            await self._inner(scope, receive, send)
            return
        loop = asyncio.get_running_loop()
        waiting: asyncio.Queue[tuple[float, Message]] = asyncio.Queue()

        async def later() -> None:
            while True:
                due_s, message = await waiting.get()
                await asyncio.sleep(due_s - loop.time())
                await send(message)

        async def told(message: Message) -> None:
            if message["type"] == "websocket.send":
                waiting.put_nowait((loop.time() + self._late_s, message))
            else:
                await send(message)

        telling = asyncio.create_task(later())
        try:
            await self._inner(scope, receive, told)
        finally:
            telling.cancel()
