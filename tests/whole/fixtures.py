"""One app for all whole calls: the real stack, with vendors that tests script. It takes 15 to 20 s to start.

Tests and vendors share one event loop, which lives as long as the app, so that the app's pooled connections to the
vendors outlive a test as they would outlive a call.
"""

import contextlib
import socket
from collections.abc import AsyncIterator, Iterator

import pytest
import pytest_asyncio
from starlette.types import Receive, Scope, Send

from engine.settings import load_settings
from launcher.app import MODEST, RunningApp, running_app
from launcher.ports import free_ports
from local.serving import bound, serving_on
from simulators.marks import MarksDelays
from simulators.twilio import SimTwilio
from simulators.vendors import CarServer, ModelServer, Speech
from tests.whole.bench import ACCOUNT, AUTH_TOKEN, USUAL, Bench, MakesCall, Talk


@pytest.fixture(scope="session")
def listeners() -> Iterator[list[socket.socket]]:
    """Sockets of speech, the model, NHTSA and Twilio: bound before the app starts, so that nobody takes the ports."""
    with contextlib.ExitStack() as held:
        yield [held.enter_context(bound()) for _ in range(4)]


@pytest.fixture(scope="session")
def app(listeners: list[socket.socket], tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningApp]:
    """The app. Its logs stay in pytest's temporary directory."""
    speech, model, cars, twilio = (one.getsockname()[1] for one in listeners)
    [own] = free_ports(1)
    settings = load_settings(
        **USUAL,
        port=own,
        deepgram_base_url=f"http://127.0.0.1:{speech}",
        openai_base_url=f"http://127.0.0.1:{model}/v1",
        nhtsa_base_url=f"http://127.0.0.1:{cars}/api/vehicles",
        twilio_base_url=f"http://127.0.0.1:{twilio}",
        # Two, although one starts sooner: a call's webhook, stream and stream's end then meet different replicas.
        ingress_replicas=2,
        tape_dir=str(tmp_path_factory.mktemp("tapes")),
    )
    with running_app(settings, directory=tmp_path_factory.mktemp("whole"), niceness=MODEST) as running:
        yield running


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def whole_bench(app: RunningApp, listeners: list[socket.socket]) -> AsyncIterator[Bench]:
    """The app with its vendors listening."""
    bench = Bench(app, Speech(), ModelServer(), CarServer())

    async def rest(scope: Scope, receive: Receive, send: Send) -> None:
        await bench.twilio.rest.app(scope, receive, send)  # of the Twilio that the test has

    async with (
        serving_on(listeners[0], bench.speech.app),
        serving_on(listeners[1], bench.model.app),
        serving_on(listeners[2], bench.cars.app),
        serving_on(listeners[3], rest),
    ):
        await bench.open()
        yield bench
        await bench.close()


@contextlib.asynccontextmanager
async def own_twilio(bench: Bench) -> AsyncIterator[None]:
    """A Twilio of its own for the bench, and vendors at their usual pace; quiet at the end."""
    bench.speech.delays = MarksDelays(final_s=0.1, first_audio_s=0.05)
    async with SimTwilio(AUTH_TOKEN, ACCOUNT) as twilio:
        bench.twilio = twilio
        yield
    await bench.quiet()


@pytest_asyncio.fixture(loop_scope="session")
async def bench(whole_bench: Bench) -> AsyncIterator[Bench]:
    """The bench as a test finds it."""
    async with own_twilio(whole_bench):
        yield whole_bench


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def calls(request: pytest.FixtureRequest, whole_bench: Bench) -> AsyncIterator[dict[MakesCall, Talk]]:
    """What the run's tests name with `@pytest.mark.call`, over: most of a call is waiting, so they wait together."""
    marks = (mark for item in request.session.items for mark in item.iter_markers("call"))
    async with own_twilio(whole_bench):
        talks = {
            makes: await makes(whole_bench)
            for makes in dict.fromkeys(mark.kwargs["made_by"] for mark in marks)
        }
        for talk in talks.values():
            await talk.call.settled()
        yield talks


@pytest.fixture
def talk(request: pytest.FixtureRequest, calls: dict[MakesCall, Talk]) -> Talk:
    """The call that the test names. `await talk.ended()` raises what failed in it."""
    return calls[request.node.get_closest_marker("call").kwargs["made_by"]]
