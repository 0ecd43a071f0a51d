"""The actor runtime: order, timers, supervision, and that nothing outlives its owner."""

import asyncio
import contextlib
import gc
import warnings
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from engine import actor as runtime
from engine.actor import Actor, Taped, spawn
from engine.clock import now, run_virtual
from engine.messages import Down, Tick


class Diary(Actor):
    """Writes down what it is told; `on` says what else it does."""

    def __init__(self, on: dict[Any, Callable[["Diary"], Awaitable[None]]] | None = None) -> None:
        super().__init__()
        self.on = on or {}
        self.told: list[Any] = []
        self.at: list[float] = []
        self.ends: list[str] = []
        self.news = asyncio.Event()

    async def receive(self, message: Any) -> None:
        self.told.append(message)
        self.at.append(now())
        self.news.set()
        if isinstance(message, str) and message in self.on:
            await self.on[message](self)

    async def stopped(self) -> None:
        self.ends.append("stopped")


async def _fail(_: Diary) -> None:
    raise ValueError("out of tune")


async def _hang(_: Diary) -> None:
    await asyncio.Event().wait()


async def heard(diary: Diary, message: Any) -> None:
    """Waits until it was told that."""
    async with asyncio.timeout(20):
        while message not in diary.told:
            diary.news.clear()
            await diary.news.wait()


def test_messages_are_received_one_at_a_time_in_the_order_told() -> None:
    async def story() -> None:
        running: list[int] = []

        class Careful(Actor):
            async def receive(self, message: Any) -> None:
                running.append(message)
                await asyncio.sleep(0.5)
                assert running[-1] == message

        careful = spawn(Careful(), "careful")
        for n in range(100):
            careful.tell(n)
        careful.stop()
        await careful.ended()
        assert running == list(range(100))
        assert now() == pytest.approx(50.0)

    run_virtual(story())


def test_stop_lets_it_read_what_it_was_told_before_and_nothing_after() -> None:
    async def story() -> None:
        diary = Diary()
        spawn(diary, "diary")
        diary.tell("a")
        diary.stop()
        diary.tell("b")
        await diary.ended()
        diary.tell("c")
        assert diary.told == ["a"]
        assert diary.ends == ["stopped"]
        assert diary.over

    run_virtual(story())


def test_kill_ends_it_in_the_middle_of_what_it_does() -> None:
    async def story() -> None:
        diary = Diary({"hang": _hang})
        parent = Diary()
        spawn(diary, "diary", parent)
        diary.tell("hang")
        await heard(diary, "hang")
        await diary.kill()
        await diary.kill()
        assert diary.over
        assert diary.ends == ["stopped"]
        assert parent.told == []

    run_virtual(story())


async def _swallow(_: Diary) -> None:
    """As a library may: what it waited for was there when the cancellation came."""
    with contextlib.suppress(asyncio.CancelledError):
        await asyncio.Event().wait()


def test_kill_ends_it_although_what_it_does_swallows_the_cancellation() -> None:
    async def story() -> None:
        diary = Diary({"swallow": _swallow})
        spawn(diary, "diary")
        diary.tell("swallow")
        diary.tell("next")
        await heard(diary, "swallow")
        await diary.kill()
        assert now() < 1
        assert diary.told == ["swallow"]
        assert diary.ends == ["stopped"]

    run_virtual(story())


def test_an_actor_that_was_never_started_can_be_told_and_killed() -> None:
    async def story() -> None:
        diary = Diary()
        diary.tell("a")
        await diary.kill()
        await diary.ended()
        assert diary.told == []

    run_virtual(story())


# ---------------------------------------------------------------- timers


def test_a_timer_is_a_message_to_oneself_at_its_time() -> None:
    async def story() -> None:
        diary = Diary()
        spawn(diary, "diary")
        diary.after(2.5, Tick("b"))
        diary.after(1.0, Tick("a"))
        await heard(diary, Tick("b"))
        assert diary.told == [Tick("a"), Tick("b")]
        assert diary.at == pytest.approx([1.0, 2.5])
        diary.stop()
        await diary.ended()

    run_virtual(story())


def test_a_cancelled_timer_and_those_of_an_ended_actor_do_not_go_off() -> None:
    async def story() -> None:
        diary = Diary()
        spawn(diary, "diary")
        timer = diary.after(1.0, Tick("a"))
        spent = diary.after(0.1, Tick("spent"))
        await heard(diary, Tick("spent"))
        diary.cancel(timer)
        diary.cancel(timer)
        diary.cancel(spent)
        diary.cancel(None)
        await asyncio.sleep(5)
        late = diary.after(60.0, Tick("late"))
        diary.stop()
        await diary.ended()
        assert late.cancelled()
        assert diary.told == [Tick("spent")]

    run_virtual(story())


# ---------------------------------------------------------------- supervision


@pytest.mark.parametrize("where", ["started", "receive"])
def test_a_failure_reaches_the_parent_with_its_reason_and_ends_the_child(where: str) -> None:
    class Broken(Actor):
        async def started(self) -> None:
            if where == "started":
                raise ValueError("out of tune")

        async def receive(self, message: Any) -> None:
            raise ValueError("out of tune")

    async def story() -> None:
        parent = Diary()
        spawn(parent, "parent")
        child = parent.spawn(Broken(), "child")
        child.tell("a")
        await heard(parent, Down("child", "ValueError: out of tune"))
        assert child.over
        assert parent._children == {}
        parent.stop()
        await parent.ended()

    run_virtual(story())


def test_a_child_that_stops_in_good_order_is_no_news() -> None:
    async def story() -> None:
        parent = Diary()
        spawn(parent, "parent")
        child = parent.spawn(Diary(), "child")
        child.stop()
        await child.ended()
        await asyncio.sleep(1)
        assert parent.told == []
        await parent.kill()

    run_virtual(story())


def test_a_restarted_child_is_not_forgotten_with_its_predecessor() -> None:
    async def story() -> None:
        parent = Diary()
        spawn(parent, "parent")
        old = parent.spawn(Diary(), "child")
        new = parent.spawn(Diary(), "child")
        old.stop()
        await old.ended()
        await asyncio.sleep(0)
        parent.stop()
        await parent.ended()
        assert new.over

    run_virtual(story())


@pytest.mark.parametrize("how", ["stop", "kill", "fail"])
def test_all_that_an_actor_started_ends_with_it(how: str) -> None:
    async def story() -> None:
        parent = Diary({"fail": _fail})
        spawn(parent, "parent")
        child, grandchild = Diary(), Diary()
        parent.spawn(child, "child")
        child.spawn(grandchild, "grandchild")
        cancelled = asyncio.Event()

        async def job() -> None:
            try:
                await asyncio.Event().wait()
            finally:
                cancelled.set()

        parent.work(job(), "job")
        parent.after(100.0, Tick("late"))
        await asyncio.sleep(0.01)
        if how == "stop":
            parent.stop()
        elif how == "fail":
            parent.tell("fail")
        else:
            await parent.kill()
        await parent.ended()
        assert (child.ends, grandchild.ends, parent.ends) == (["stopped"], ["stopped"], ["stopped"])
        assert cancelled.is_set()
        assert asyncio.all_tasks() == {asyncio.current_task()}
        assert now() < 1.0

    run_virtual(story())


def test_a_child_that_hangs_does_not_keep_its_parent() -> None:
    async def story() -> None:
        parent = Diary()
        spawn(parent, "parent")
        child = Diary({"hang": _hang})
        parent.spawn(child, "child")
        child.tell("hang")
        parent.stop()
        await parent.ended()
        assert now() == pytest.approx(runtime.STOP_LIMIT_S)
        await child.ended()
        assert child.ends == ["stopped"]

    run_virtual(story())


def test_cleaning_up_that_hangs_or_fails_does_not_keep_the_actor() -> None:
    class Clingy(Actor):
        async def stopped(self) -> None:
            await asyncio.Event().wait()

    class Broken(Actor):
        async def stopped(self) -> None:
            raise ValueError("broken")

    async def story() -> None:
        for actor in (Clingy(), Broken()):
            spawn(actor, "actor")
            actor.stop()
            await actor.ended()
        assert now() == pytest.approx(runtime.STOP_LIMIT_S)

    run_virtual(story())


def test_work_that_fails_is_told_and_the_actor_lives() -> None:
    async def story() -> None:
        diary = Diary()
        spawn(diary, "diary")

        async def fail() -> None:
            raise ValueError("out of tune")

        async def done() -> None:
            await asyncio.sleep(1)

        diary.work(fail(), "song")
        diary.work(done(), "walk")
        await heard(diary, Down("song", "ValueError: out of tune"))
        await asyncio.sleep(2)
        assert diary.told == [Down("song", "ValueError: out of tune")]
        assert not diary.over
        assert diary._work == set()
        await diary.kill()

    run_virtual(story())


def test_work_that_is_cancelled_before_it_began_is_closed() -> None:
    async def story() -> None:
        diary = Diary()
        spawn(diary, "diary")

        async def never() -> None:
            raise AssertionError("ran")

        diary.work(never(), "never").cancel()
        await asyncio.sleep(1)
        assert diary.told == []
        await diary.kill()

    with warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always")
        run_virtual(story())
        gc.collect()
    assert [str(warning.message) for warning in warned if "never awaited" in str(warning.message)] == []


# ---------------------------------------------------------------- the mailbox's bound


def test_an_actor_that_does_not_read_is_ended_and_its_parent_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runtime, "MAILBOX_LIMIT", 8)

    async def story() -> None:
        parent, child = Diary(), Diary({"hang": _hang})
        spawn(parent, "parent")
        parent.spawn(child, "child")
        child.tell("hang")
        await heard(child, "hang")
        for n in range(20):
            child.tell(n)
        await child.ended()
        await asyncio.sleep(0)
        [down] = parent.told
        assert down.child == "child"
        assert "mailbox full" in down.reason
        await parent.kill()

    run_virtual(story())


def test_telling_an_actor_whose_task_is_just_being_cancelled_raises_nothing() -> None:
    async def story() -> None:
        diary = Diary()
        spawn(diary, "diary")
        await asyncio.sleep(0.01)
        assert diary._task is not None
        diary._task.cancel()
        diary.tell("too late")
        await diary.ended()

    run_virtual(story())


def test_as_many_messages_as_the_mailbox_holds_do_no_harm(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runtime, "MAILBOX_LIMIT", 8)

    async def story() -> None:
        diary = Diary()
        spawn(diary, "diary")
        for n in range(8):
            diary.tell(n)
        await heard(diary, 7)
        assert diary.told == list(range(8))
        await diary.kill()

    run_virtual(story())


# ---------------------------------------------------------------- observers


def test_an_observer_sees_each_message_before_it_is_received() -> None:
    async def story() -> None:
        seen: list[tuple[Any, int]] = []
        diary = Diary()
        diary.observe = lambda message: seen.append((message, len(diary.told)))
        spawn(diary, "diary")
        diary.tell("a")
        diary.tell("b")
        diary.stop()
        await diary.ended()
        assert seen == [("a", 0), ("b", 1)]

    run_virtual(story())


def test_a_taped_ref_shows_what_passes_through_it() -> None:
    async def story() -> None:
        seen: list[Any] = []
        diary = Diary()
        spawn(diary, "diary")
        Taped(diary, seen.append).tell("a")
        diary.stop()
        await diary.ended()
        assert seen == diary.told == ["a"]

    run_virtual(story())


def test_actors_are_counted_while_they_run_and_plain_tasks_are_not() -> None:
    async def story() -> None:
        plain = asyncio.create_task(_hang(Diary()))
        diary = spawn(Diary({"hang": _hang}), "diary")
        child = Diary()
        diary.spawn(child, "child")
        assert runtime.running() == ["child", "diary"]
        await child.kill()
        assert runtime.running() == ["diary"]
        await diary.kill()
        assert runtime.running() == []
        plain.cancel()

    run_virtual(story())
