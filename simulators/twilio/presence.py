"""Someone on the line: its clock, and the person's script, from the answer to the end of the call."""

import asyncio
from collections.abc import Callable

from simulators.twilio.journal import CallOver
from simulators.twilio.line import Line, Person

SCRIPT_GRACE_S = 5.0


class Presence:
    """Owns the two tasks. A failure is told to `on_failure`; whatever ends the script hangs up."""

    def __init__(
        self,
        line: Line,
        person: Person | None,
        hang_up: Callable[[], None],
        on_failure: Callable[[Exception], None],
    ) -> None:
        self._line = line
        self._person = person
        self._hang_up = hang_up
        self._on_failure = on_failure
        self._clock: asyncio.Task[None] | None = None
        self._script: asyncio.Task[None] | None = None

    def begin(self) -> None:
        """The call is answered."""
        self._clock = asyncio.create_task(self._tick(), name="the line's clock")
        if self._person is not None:
            self._script = asyncio.create_task(self._act(self._person), name="the person's script")

    async def end(self) -> None:
        """The call is over: its waits raise by now, so that a script that goes on for 5 s is at fault."""
        if self._script is not None:
            await asyncio.wait({self._script}, timeout=SCRIPT_GRACE_S)
            if not self._script.done():
                self._on_failure(CallOver(f"the person's script went on {SCRIPT_GRACE_S} s after the call"))
        tasks = [task for task in (self._script, self._clock) if task is not None]
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)

    async def _tick(self) -> None:
        try:
            await self._line.tick_on()
        except Exception as error:
            self._on_failure(error)
            self._hang_up()

    async def _act(self, person: Person) -> None:
        try:
            await person(self._line)
        except Exception as error:
            self._on_failure(error)
        finally:
            self._hang_up()
