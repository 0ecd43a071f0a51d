"""Actors: a class with a mailbox, run by one task; told things, never called.

    class Greeter(Actor):
        async def receive(self, message: Any) -> None:
            print("hello", message)

    greeter = spawn(Greeter(), "greeter")
    greeter.tell("world")

An actor shares nothing. It knows others as `Ref`s; a Ref is the same whether its actor lives here or across
a link. Timers are messages to oneself. A parent supervises: when a child fails, the parent is told
`Down(child, reason)` and decides. Everything an actor started (children, tasks, timers) ends with it.
"""

import asyncio
import logging
from collections import deque
from collections.abc import Callable, Coroutine
from typing import Any, Protocol

from engine.messages import Down

MAILBOX_LIMIT = 4096  # messages; a mailbox this full belongs to an actor that hangs
STOP_LIMIT_S = 5.0

log = logging.getLogger("engine.actor")


class Ref(Protocol):
    """Someone who can be told things."""

    def tell(self, message: Any) -> None:
        """Puts `message` in the mailbox. Never blocks and never raises; what a stopped actor is told is lost."""


class _Stop:
    """Told to an actor to end after what it has already been told."""


_STOP = _Stop()


class Actor:
    """Base of all actors. Override `receive`, and `started` and `stopped` where needed."""

    name = "actor"

    def __init__(self) -> None:
        self._mailbox: deque[Any] = deque()
        self._some: asyncio.Future[None] | None = None  # while the mailbox is empty
        self._task: asyncio.Task[None] | None = None
        self._parent: Ref | None = None
        self._children: dict[str, Actor] = {}
        self._work: set[asyncio.Task[None]] = set()
        self._timers: set[asyncio.TimerHandle] = set()
        self._over = False
        self.observe: Callable[[Any], None] | None = None

    # --- for subclasses

    async def started(self) -> None:
        """Runs before the first message."""

    async def receive(self, message: Any) -> None:
        """Runs for each message, one at a time. An exception ends the actor and reaches its parent as `Down`."""
        raise NotImplementedError(type(self).__name__)

    async def stopped(self) -> None:
        """Runs once at the end, after children and tasks have ended; must not hang."""

    def after(self, seconds: float, message: Any) -> asyncio.TimerHandle:
        """Tells this actor `message` in that many seconds, unless the handle is cancelled or the actor ends."""

        def ring() -> None:
            self._timers.discard(handle)
            self.tell(message)

        handle = self._loop.call_later(seconds, ring)
        self._timers.add(handle)
        return handle

    def cancel(self, timer: asyncio.TimerHandle | None) -> None:
        """Cancels a timer from `after`; None and spent ones are fine."""
        if timer is not None:
            timer.cancel()
            self._timers.discard(timer)

    def spawn(self, child: "Actor", name: str) -> "Actor":
        """Starts `child`; its failure is told to this actor as `Down(name, reason)`."""
        self._children[name] = child
        child._start(name, self)
        child.when_over(lambda: self._forget(name, child))
        return child

    def _forget(self, name: str, child: "Actor") -> None:
        if self._children.get(name) is child:
            del self._children[name]

    def work(self, job: Coroutine[Any, Any, None], name: str) -> asyncio.Task[None]:
        """Runs `job` beside the mailbox; its failure is told to this actor as `Down(name, reason)`."""

        async def watched() -> None:
            try:
                await job
            except Exception as error:
                log.warning("%s: %s failed", self.name, name, exc_info=True)
                self.tell(Down(name, _reason(error)))

        task = asyncio.get_running_loop().create_task(watched(), name=f"{self.name}/{name}")
        self._work.add(task)
        task.add_done_callback(self._work.discard)
        task.add_done_callback(lambda _: job.close())  # cancelled before its first step, it never began
        return task

    # --- for everybody

    def tell(self, message: Any) -> None:
        """See `Ref.tell`."""
        if self._over:
            return
        if len(self._mailbox) < MAILBOX_LIMIT:
            self._mailbox.append(message)
            if self._some is not None and not self._some.done():  # done: this actor is being cancelled
                self._some.set_result(None)
        else:
            log.error(
                "%s: mailbox is full (%d messages): the actor hangs and is ended", self.name, MAILBOX_LIMIT
            )
            self._over = True
            if self._task is not None:
                self._task.cancel("mailbox full")

    def stop(self) -> None:
        """Ends the actor after what it has already been told."""
        self.tell(_STOP)

    @property
    def over(self) -> bool:
        """Whether the actor has ended or is ending."""
        return self._over

    def when_over(self, call: Callable[[], None]) -> None:
        """Calls `call` on the loop when the actor has ended, however it ended."""
        if self._task is not None:
            self._task.add_done_callback(lambda _: call())

    async def ended(self) -> None:
        """Waits until the actor and all it started have ended."""
        if self._task is not None:
            await asyncio.wait([self._task])

    async def kill(self) -> None:
        """Ends the actor now, in the middle of what it does, and waits for it."""
        if self._task is not None and not self._task.done():
            self._over = True
            self._task.cancel()
            await asyncio.wait([self._task], timeout=STOP_LIMIT_S)

    # --- the loop

    def _start(self, name: str, parent: Ref | None) -> None:
        self.name = name
        self._parent = parent
        self._loop = asyncio.get_running_loop()
        self._task = self._loop.create_task(self._run(), name=name)

    async def _run(self) -> None:
        reason = ""
        try:
            await self.started()
            # `over` is for a cancellation that `receive` has swallowed, as `asyncio.wait_for` in Python 3.11 may.
            while not self._over and (message := await self._next_message()) is not _STOP:
                if self.observe is not None:
                    self.observe(message)
                await self.receive(message)
        except Exception as error:
            log.error("%s failed", self.name, exc_info=True)
            reason = _reason(error)
        except asyncio.CancelledError:
            if len(self._mailbox) < MAILBOX_LIMIT:
                raise
            reason = f"mailbox full: {MAILBOX_LIMIT} messages were not read"
        finally:
            self._over = True
            await self._wind_up()
            if reason and self._parent is not None:
                self._parent.tell(Down(self.name, reason))

    async def _next_message(self) -> Any:
        """An `asyncio.Queue` asks for the running loop at each empty look, a system call in Python 3.11."""
        while not self._mailbox:
            self._some = self._loop.create_future()
            try:
                await self._some
            finally:
                self._some = None
        return self._mailbox.popleft()

    async def _wind_up(self) -> None:
        for timer in self._timers:
            timer.cancel()
        self._timers.clear()
        ending = list(self._work)
        for task in ending:
            task.cancel()
        for child in list(self._children.values()):
            child.stop()
            if child._task is not None:
                ending.append(child._task)
        if ending:
            _, late = await asyncio.wait(ending, timeout=STOP_LIMIT_S)
            for task in late:
                log.error("%s: %s did not end in %s s", self.name, task.get_name(), STOP_LIMIT_S)
                task.cancel()
        try:
            async with asyncio.timeout(STOP_LIMIT_S):
                await self.stopped()
        except Exception:
            log.error("%s: cleaning up failed", self.name, exc_info=True)


def spawn(actor: Actor, name: str, parent: Ref | None = None) -> Actor:
    """Starts an actor that no other actor owns; `parent`, if any, is told when it fails."""
    actor._start(name, parent)
    return actor


def running() -> list[str]:
    """The names of the actors that run in this event loop."""
    coroutines = ((task.get_name(), task.get_coro()) for task in asyncio.all_tasks())
    return sorted(name for name, one in coroutines if getattr(one, "cr_code", None) is Actor._run.__code__)


def _reason(error: BaseException) -> str:
    return f"{type(error).__name__}: {error}"


class Taped:
    """A Ref that shows every message to `observe` before it passes it on."""

    def __init__(self, ref: Ref, observe: Callable[[Any], None]) -> None:
        self._ref = ref
        self._observe = observe

    def tell(self, message: Any) -> None:
        self._observe(message)
        self._ref.tell(message)
