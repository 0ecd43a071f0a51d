"""`make serve`, `make deploy` and SIGTERM with calls on: real processes, on a copy of the code, which changes."""

import asyncio
import contextlib
import json
import os
import shutil
import signal
import sys
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx2
import pytest

from engine import phrases
from engine.settings import Settings
from engine.webhooks import BUSY
from launcher import processes
from launcher.app import RunningApp
from launcher.ports import free_ports
from launcher.stage import Stage
from local.serving import bound, serving_on
from simulators.caller import Caller
from simulators.marks import MarksDelays
from simulators.model import says
from simulators.twilio import SimTwilio
from simulators.vendors import CarServer, ModelServer, Speech
from tests.chaos.trials import Row, Trials
from tests.chaos.victims import (
    GREETING,
    Moments,
    Script,
    heard,
    heard_in_order,
    in_one_stream,
    note_heard,
    turns_of,
    where,
)
from tests.whole.bench import ACCOUNT, AUTH_TOKEN, FALLBACK, LIMIT_S, Bench, Talk, eventually

pytestmark = [pytest.mark.whole, pytest.mark.asyncio(loop_scope="session")]

REPO = Path(__file__).parents[2]
PRODUCT = ("actors", "crm", "engine", "launcher", "local", "serve_app.py")
PLACEMENT = os.environ.get("PLACEMENT", "split")
DRAIN_S = 10.0
LATE_S = 5.0  # by so much may the test see late that the new version answers
START_S = 180.0  # ten times what was measured
NEW_GREETING = ["You have reached Elm.", *GREETING[1:]]
NEW_APOLOGY = "Excuse me, I was away."
ANSWER = "So I do."


@dataclass
class Served:
    """`make serve` on a copy of the code, and what is around it."""

    bench: Bench
    process: asyncio.subprocess.Process
    code: Path
    environment: dict[str, str]

    def change(self, path: str, old: str, new: str) -> None:
        """Another version of the code."""
        text = (self.code / path).read_text()
        assert old in text
        (self.code / path).write_text(text.replace(old, new))

    async def deploy(self) -> str:
        """`make deploy`: what it says."""
        process = await started("launcher.deploy", self.code, self.environment, asyncio.subprocess.PIPE)
        async with asyncio.timeout(START_S):
            told, _ = await process.communicate()
        assert process.returncode == 0, told.decode()
        return " ".join(told.decode().split())

    async def ingress_pid(self) -> int:
        """A process that takes new calls. A connection that is kept stays with an older HAProxy, and an older app."""
        async with httpx2.AsyncClient(timeout=LIMIT_S, trust_env=False) as http:
            # On a busy machine one that has just started may find Redis slow, and says 503 with its pid.
            return int((await http.get(f"{self.bench.app.url}/calls")).json()["pid"])

    async def ingress_pids(self) -> set[int]:
        """Both processes that take new calls."""
        seen: set[int] = set()

        async def look() -> bool:
            seen.add(await self.ingress_pid())
            return len(seen) == 2

        await eventually(look, "an answer of both ingress replicas")
        return seen


async def started(
    module: str, code: Path, environment: dict[str, str], output: Any
) -> asyncio.subprocess.Process:
    """Our code there as a process, and Ray's processes below it."""
    return await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", module),
        cwd=code,
        env=environment,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=output,
        stderr=asyncio.subprocess.STDOUT,
    )


@contextlib.asynccontextmanager
async def served(directory: Path) -> AsyncIterator[Served]:
    """Starts it, with scripted vendors and a Twilio."""
    code = directory / "app"
    code.mkdir(parents=True)
    for part in PRODUCT:
        if (REPO / part).is_dir():
            shutil.copytree(REPO / part, code / part, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(REPO / part, code / part)
    bench_parts = Speech(), ModelServer(), CarServer()
    async with contextlib.AsyncExitStack() as stack:
        listeners = [stack.enter_context(bound()) for _ in bench_parts]
        for listener, part in zip(listeners, bench_parts, strict=True):
            await stack.enter_async_context(serving_on(listener, part.app))
        environment = environment_of(code, [one.getsockname()[1] for one in listeners])
        with (directory / "serve.log").open("w") as log:
            process = await started("launcher.serve", code, environment, log)
        stack.push_async_callback(ended, process)
        facts = await running(process, code, directory / "serve.log")
        bench = Bench(app_of(facts), *bench_parts)
        await bench.open()
        stack.push_async_callback(bench.close)
        bench.speech.delays = MarksDelays(final_s=0.1, first_audio_s=0.05)
        bench.twilio = await stack.enter_async_context(SimTwilio(AUTH_TOKEN, ACCOUNT))
        yield Served(bench, process, code, environment)


def environment_of(code: Path, ports: list[int]) -> dict[str, str]:
    """What the app is given: nothing of this process's Ray, and the copy of the code before all else."""
    speech, model, cars = ports
    settings = {
        "port": str(free_ports(1)[0]),
        "deepgram_api_key": "key",
        "deepgram_base_url": f"http://127.0.0.1:{speech}",
        "openai_api_key": "key",
        "openai_base_url": f"http://127.0.0.1:{model}/v1",
        "nhtsa_base_url": f"http://127.0.0.1:{cars}/api/vehicles",
        "twilio_account_sid": ACCOUNT,
        "twilio_auth_token": AUTH_TOKEN,
        "dealership_name": "Elm",
        "fallback_number": FALLBACK,
        "placement": PLACEMENT,
        "drain_s": str(DRAIN_S),
        "silence_prompt_s": "8",  # who waits for the end of the drain time is not to be asked just then
    }
    own = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")}
    return own | {name.upper(): value for name, value in settings.items()} | {"PYTHONPATH": str(code)}


async def running(process: asyncio.subprocess.Process, code: Path, log: Path) -> dict[str, Any]:
    """What the app tells other commands, once it runs."""

    async def look() -> dict[str, Any] | None:
        assert process.returncode is None, log.read_text()  # noqa: ASYNC240 - it is over then
        return read(code / ".trunkline" / "run.json")

    return await eventually(look, "the start of make serve", timeout_s=START_S)


def read(run_file: Path) -> dict[str, Any] | None:
    return dict(json.loads(run_file.read_text())) if run_file.exists() else None


def app_of(facts: dict[str, Any]) -> RunningApp:
    settings = Settings(  # type: ignore[call-arg]
        _env_file=None, database_url=facts["database_url"], redis_url=facts["redis_url"]
    )
    stage = Stage(settings, None, Path("unused"), prepare=False)
    return RunningApp(facts["url"], settings, stage, Path(facts["run_dir"]), Path(facts["logs"]), {})


async def ended(process: asyncio.subprocess.Process) -> None:
    """Its end, at the latest by the signals of somebody in a hurry."""
    while process.returncode is None:
        process.send_signal(signal.SIGTERM)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(1.0):
                await process.wait()


# ---------------------------------------------------------------- callers


async def is_greeted(c: Caller) -> None:
    await c.hears("help you today?")
    await c.quiet(0.2)


async def one_turn(c: Caller) -> None:
    await c.say("Go on")
    await c.hears("I do.")
    await c.quiet(0.2)


def chats(until: asyncio.Event, moments: Moments) -> Script:
    """A caller who talks until something has happened."""

    async def person(c: Caller) -> None:
        await is_greeted(c)
        moments.reached("greeted")
        while not until.is_set():
            await one_turn(c)

    return person


def resumes(until: asyncio.Event, moments: Moments) -> Script:
    """A caller who then waits for the apology, and talks on; not for so long that they are asked whether they are
    there, because that might be what is cut.
    """

    async def person(c: Caller) -> None:
        await chats(until, moments)(c)
        for _ in range(2):
            await one_turn(c)
        await c.hears("say that again?", timeout_s=60.0)
        await c.quiet(0.2)
        await one_turn(c)

    return person


def stays(until: asyncio.Event, moments: Moments) -> Script:
    """A caller who then waits for what comes."""

    async def person(c: Caller) -> None:
        await chats(until, moments)(c)
        await c.ended(timeout_s=60.0)

    return person


async def listens(c: Caller) -> None:
    await c.ended()


async def dial(bench: Bench, script: Script) -> Talk:
    return await bench.dial(script, says(ANSWER, user="go on"))


def told_of(talk: Talk) -> list[str]:
    return [" ".join(one.text.split()) for one in heard(talk)]


def expected_of(talk: Talk, greeting: list[str], *last: str) -> list[str]:
    """A greeting, an answer to all that the caller said and, where they were silent for long, the question for them."""
    answers = len(talk.call.journal.all("spoken"))
    asked = [one for one in told_of(talk) if one == phrases.ARE_YOU_THERE]
    return [*greeting, *[ANSWER] * answers, *asked, *last]


def note_after_silence(row: Row, talk: Talk, expected: list[str]) -> None:
    """As `note_heard`, of a caller who has been silent: what is said then answers nobody, and wasn't waited for."""
    before = row.silence_s
    note_heard(row, talk, expected)
    row.silence_s = before


async def whole(row: Row, talk: Talk, greeting: list[str]) -> None:
    """The call ended as its caller wished, in its stream, and each sentence was heard."""
    await talk.ended()
    expected = expected_of(talk, greeting)
    note_heard(row, talk, expected)
    heard_in_order(talk, expected)
    in_one_stream(talk)
    if talk.gaps():
        print(f"late frames, with the new version starting on the same cores: {talk.gaps()}")


# ---------------------------------------------------------------- the test


async def test_a_new_version_takes_the_new_calls_and_neither_it_nor_the_end_cuts_one_in_its_drain_time(
    trials: Trials, tmp_path: Path
) -> None:
    deploys = trials.of("new version deployed", "every sentence; past the drain time an apology")
    stops = trials.of("SIGTERM to the launcher", "every sentence; past the drain time why, then the fallback")
    for number, (deployed, stopped) in enumerate(zip(deploys, stops, strict=True)):
        async with served(tmp_path / str(number)) as app:
            await is_replaced(app, deployed)
            await is_stopped(app, stopped)


async def is_replaced(app: Served, row: Row) -> None:
    bench, moments, replaced = app.bench, Moments(), asyncio.Event()
    seen = asyncio.Event()
    older = await app.ingress_pids()
    ending = [await dial(bench, chats(replaced, moments)) for _ in range(2)]
    lasting = await dial(bench, resumes(seen, moments))
    await moments.all(3, "greeted")
    app.change("crm/greeting.py", "{hello} for calling", "You have reached")  # told by an ingress
    app.change("engine/phrases.py", "Sorry, we were cut off for a moment.", NEW_APOLOGY)  # by a CallActor

    meanwhile = asyncio.create_task(keep_dialling(app, replaced))
    watch = asyncio.create_task(answers_other_than(app, older, seen))
    began_at = time.monotonic()
    print(await app.deploy())
    print(f"that took {time.monotonic() - began_at:.1f} s")
    newer_at = await watch
    replaced.set()

    newer = await app.ingress_pids()
    assert newer.isdisjoint(older)
    await all_new(app, row, newer)
    for talk in await meanwhile:
        await talk.ended()
        greeting = NEW_GREETING if told_of(talk)[0] == NEW_GREETING[0] else list(GREETING)
        await whole(row, talk, greeting)
    for talk in ending:
        await whole(row, talk, list(GREETING))
    await went_on(bench, row, lasting, newer_at)


async def keep_dialling(app: Served, until: asyncio.Event) -> list[Talk]:
    """A caller every other second."""
    talks = []
    while not until.is_set():
        talks.append(await dial(app.bench, is_greeted))
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(2.0):
                await until.wait()
    return talks


async def answers_other_than(app: Served, older: set[int], seen: asyncio.Event) -> float:
    """When another process than these first answers, and the older ones' drain time begins; `seen` is set then."""

    async def look() -> bool:
        return await app.ingress_pid() not in older

    await eventually(look, "an answer of the new version", timeout_s=START_S)
    seen.set()
    return time.monotonic()


async def all_new(app: Served, row: Row, newer: set[int]) -> None:
    """Whoever calls now is answered by the new version."""
    moments, placed = Moments(), asyncio.Event()
    talks = [await dial(app.bench, chats(placed, moments)) for _ in range(4)]
    await moments.all(len(talks), "greeted")
    places = await where(app.bench, talks)
    assert {places[talk.sid].ingress_pid for talk in talks} <= newer
    placed.set()
    for talk in talks:
        await whole(row, talk, NEW_GREETING)


async def went_on(bench: Bench, row: Row, talk: Talk, newer_at: float) -> None:
    """A call that outlasts the drain time: not before its end, in a new stream, with the new version's apology."""
    await talk.ended()
    again = phrases.CUT_OFF.partition(". ")[2]
    expected = expected_of(talk, list(GREETING), NEW_APOLOGY, again)
    note_after_silence(row, talk, expected)
    assert sorted(told_of(talk)) == sorted(expected)
    assert talk.webhooks() == ["incoming", "stream-ended", "status"]
    closed = talk.call.journal.all("closed")[0]
    print(f"a call that stayed was moved {closed.at - newer_at:.1f} s after the new version's first answer")
    assert closed.at - newer_at >= DRAIN_S - LATE_S
    assert [event["cut_off"] for event in await bench.events(talk.sid, "call_resumed")] == [True]
    asked = talk.exchanges()[-1].request["messages"]
    assert len(turns_of(asked, "user")) == len(talk.call.journal.all("spoken"))
    began = next(one for one in heard(talk) if one.text.split() == NEW_APOLOGY.split()).began_at
    row.recovered_s.append(began - closed.at)


async def is_stopped(app: Served, row: Row) -> None:
    bench, moments, draining = app.bench, Moments(), asyncio.Event()
    ending = [await dial(bench, chats(draining, moments)) for _ in range(2)]
    staying = await dial(bench, stays(draining, moments))
    await moments.all(3, "greeted")

    signalled_at = time.monotonic()
    app.process.send_signal(signal.SIGTERM)

    async def takes_no_calls() -> bool:
        return await bench.exists("trunkline:draining")

    await eventually(takes_no_calls, "the end of admission")
    refused = await dial(bench, listens)
    draining.set()
    await refused.ended()
    assert [event.detail["text"] for event in refused.call.journal.all("say")] == [BUSY.dialling]
    assert [event.detail["number"] for event in refused.call.journal.all("dial")] == [FALLBACK]
    for talk in ending:
        await whole(row, talk, NEW_GREETING)

    await staying.ended()
    expected = expected_of(staying, NEW_GREETING, phrases.UNAVAILABLE_DIALLING)
    note_after_silence(row, staying, expected)
    assert told_of(staying) == expected
    assert [event.detail["number"] for event in staying.call.journal.all("dial")] == [FALLBACK]
    told_s = heard(staying)[-1].began_at - signalled_at
    print(f"a call that stayed was told {told_s:.1f} s after SIGTERM")
    assert told_s >= DRAIN_S
    async with asyncio.timeout(START_S):
        assert await app.process.wait() == 0
    print(f"all was over {time.monotonic() - signalled_at:.1f} s after SIGTERM")
    assert processes.find_writers(bench.app.run_dir) == []
