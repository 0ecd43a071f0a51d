"""A proxy as users have one in front for TLS: while the app can't be reached it holds who comes, and tries again.

    async with holding(8000) as url:
        call = await twilio.dial(f"{url}/voice")

It passes bytes on, so that webhooks and WebSockets are one to it. As in Caddy with `lb_try_duration 5s`, only a
connection that could not be made is tried again: what was sent on one may have been acted on.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Coroutine

from local.serving import bound

HOLD_S = 5.0
TRY_EVERY_S = 0.1
_PIECE_BYTES = 64 * 1024


@contextlib.asynccontextmanager
async def holding(port: int, hold_s: float = HOLD_S) -> AsyncIterator[str]:
    """A proxy before this local port, for as long as the block runs; its own address.

    Who comes is held for `hold_s` at most, then let go without an answer.
    """
    links: set[asyncio.Task[None]] = set()

    def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        link = asyncio.create_task(_link(reader, writer, port, hold_s))
        links.add(link)
        link.add_done_callback(links.discard)

    server = await asyncio.start_server(accept, sock=bound())
    try:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    finally:
        server.close()
        for link in links:
            link.cancel()
        await asyncio.gather(*links, return_exceptions=True)


async def _link(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, port: int, hold_s: float) -> None:
    with contextlib.closing(writer):
        upstream = await _reached(port, hold_s)
        if upstream is not None:
            with contextlib.closing(upstream[1]):
                await _joined(_passed_on(reader, upstream[1]), _passed_on(upstream[0], writer))


async def _reached(port: int, hold_s: float) -> tuple[asyncio.StreamReader, asyncio.StreamWriter] | None:
    """A connection to this local port, tried for so long."""
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(hold_s):
            while True:
                with contextlib.suppress(OSError):
                    return await asyncio.open_connection("127.0.0.1", port)
                await asyncio.sleep(TRY_EVERY_S)
    return None


async def _passed_on(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Until one of them ends, however."""
    with contextlib.suppress(OSError):
        while piece := await reader.read(_PIECE_BYTES):
            writer.write(piece)
            await writer.drain()


async def _joined(there: Coroutine[None, None, None], back: Coroutine[None, None, None]) -> None:
    """Both ways, until one of them ends: the other has nobody to talk to then."""
    async with asyncio.TaskGroup() as group:
        ways = [group.create_task(there), group.create_task(back)]
        await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
        for way in ways:
            way.cancel()
