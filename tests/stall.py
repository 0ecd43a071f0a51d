"""A server that hangs: what stands before it lets nothing through while it is told to."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from urllib.parse import urlsplit


class Stall:
    """Stands before the server of a URL; while `flowing` is not set, nothing gets through."""

    def __init__(self, url: str) -> None:
        self._host, self._port = urlsplit(url).hostname, urlsplit(url).port
        self.flowing = asyncio.Event()
        self.flowing.set()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        up_reader, up_writer = await asyncio.open_connection(self._host, self._port)
        try:
            async with asyncio.TaskGroup() as both:
                both.create_task(self._pass(reader, up_writer))
                both.create_task(self._pass(up_reader, writer))
        except* OSError:
            pass  # one side is gone, and the other goes with it
        finally:
            writer.transport.abort()
            up_writer.transport.abort()

    async def _pass(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(65536):
            await self.flowing.wait()
            writer.write(data)
        writer.close()


@asynccontextmanager
async def stall_before(url: str) -> AsyncIterator[tuple[Stall, str]]:
    """A `Stall` before a server, and the server's URL through it."""
    stall = Stall(url)
    server = await asyncio.start_server(stall.serve, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    try:
        yield stall, url.replace(f":{urlsplit(url).port}/", f":{port}/")
    finally:
        stall.flowing.set()
        server.close()
