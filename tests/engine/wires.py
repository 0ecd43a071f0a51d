"""Two halves of a wire joined inside this process, in real or virtual time."""

import asyncio
from typing import Any

from engine.wire import HostWire, NearWire


class Pipe(asyncio.Transport):
    """One direction: what is written reaches `peer` in the next turn of the loop, unless the pipe is `stuck`."""

    def __init__(self) -> None:
        super().__init__()
        self.peer: asyncio.Protocol | None = None
        self.back: Pipe | None = None
        self.stuck = False
        self.writes: list[bytes] = []
        self._closing = False

    def write(self, data: Any) -> None:
        self.writes.append(bytes(data))
        asyncio.get_running_loop().call_soon(self._arrive, bytes(data))

    def _arrive(self, data: bytes) -> None:
        if data and not self.stuck and not self._closing and self.peer is not None:
            self.peer.data_received(data)

    def is_closing(self) -> bool:
        return self._closing

    def abort(self) -> None:
        """Ends both directions; each end learns of it in the next turn of the loop."""
        for one in (self, self.back):
            if one is not None and not one._closing:
                one._closing = True
                if one.peer is not None:
                    asyncio.get_running_loop().call_soon(one.peer.connection_lost, None)


def join(near: NearWire, far: HostWire) -> tuple[Pipe, Pipe]:
    """Connects both; the pipes from and to `near`."""
    out, back = Pipe(), Pipe()
    out.peer, back.peer = far, near
    out.back, back.back = back, out
    near.connection_made(out)
    far.connection_made(back)
    return out, back
