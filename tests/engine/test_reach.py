"""What a process knows of a server that hangs, is slow, or comes back; in virtual time."""

import asyncio
from collections.abc import Awaitable, Callable

from engine.clock import run_virtual
from engine.reach import Reach


class Server:
    """Answers a look after `delay_s`, or not within a second; below 0, it refuses at once."""

    def __init__(self) -> None:
        self.delay_s = 0.0
        self.looks = 0
        self.reach = Reach("it", self._look, (TimeoutError,), in_time_s=0.1, silent_s=2.0, pause_s=0.25)

    async def _look(self) -> None:
        self.looks += 1
        if self.delay_s < 0:
            raise TimeoutError("refused")
        async with asyncio.timeout(1.0):
            await asyncio.sleep(self.delay_s)


def played(story: Callable[[Server, Reach], Awaitable[None]]) -> None:
    async def all_of_it() -> None:
        server = Server()
        await story(server, server.reach)
        await server.reach.close()

    run_virtual(all_of_it())


def test_nobody_looks_at_a_server_that_answers() -> None:
    async def story(server: Server, reach: Reach) -> None:
        await asyncio.sleep(60)
        assert (reach.away, reach.silent, server.looks) == (False, False, 0)

    played(story)


def test_one_that_hangs_is_away_at_once_and_silent_after_a_while() -> None:
    async def story(server: Server, reach: Reach) -> None:
        server.delay_s = 60.0
        reach.missed("TimeoutError")
        assert (reach.away, reach.silent) == (True, False)
        await asyncio.sleep(1.9)
        assert not reach.silent
        await asyncio.sleep(0.2)
        assert reach.silent

    played(story)


def test_one_that_answers_late_stays_away_and_is_never_silent() -> None:
    async def story(server: Server, reach: Reach) -> None:
        server.delay_s = 0.2
        reach.missed("TimeoutError")
        for _ in range(100):
            await asyncio.sleep(0.1)
            assert (reach.away, reach.silent) == (True, False)

    played(story)


def test_one_look_at_a_time_finds_that_it_is_back_and_all_are_told_once() -> None:
    async def story(server: Server, reach: Reach) -> None:
        told: list[str] = []
        for name in ("slots", "others"):
            reach.when_back(lambda name=name: told.append(name))  # type: ignore[misc]
        server.delay_s = 60.0
        for _ in range(50):
            reach.missed("TimeoutError")  # whoever asks finds out
            await asyncio.sleep(0.1)
        assert server.looks <= 5
        server.delay_s = 0.05
        await asyncio.sleep(1.4)
        assert (reach.away, told) == (False, ["slots", "others"])
        reach.missed("ConnectionError")
        await asyncio.sleep(0.1)
        assert (reach.away, told) == (False, ["slots", "others"] * 2)

    played(story)


def test_one_that_refuses_is_asked_now_and_then() -> None:
    async def story(server: Server, reach: Reach) -> None:
        server.delay_s = -1.0
        reach.missed("ConnectionError")
        await asyncio.sleep(10.1)
        assert server.looks == 41

    played(story)


def test_one_that_answers_looks_and_refuses_the_rest_is_not_looked_at_without_a_pause() -> None:
    async def story(server: Server, reach: Reach) -> None:
        def asked() -> None:
            asyncio.get_running_loop().call_soon(reach.missed, "ReadOnlyError")

        reach.when_back(asked)
        reach.missed("ReadOnlyError")
        await asyncio.sleep(10.1)
        assert server.looks == 41

    played(story)


def test_one_that_is_closed_looks_no_more() -> None:
    async def story(server: Server, reach: Reach) -> None:
        server.delay_s = 60.0
        reach.missed("TimeoutError")
        await asyncio.sleep(0.1)
        await reach.close()
        await reach.close()
        await asyncio.sleep(60)
        assert server.looks == 1

    played(story)
