"""Short calls, each of which ends in a way of its own: for those who look for what calls leave behind."""

import asyncio
import itertools
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass, field

from simulators.caller import Caller, MarksPerson
from simulators.model import Rule, says, tool
from simulators.nhtsa import vin
from simulators.twilio import SimCall, SimTwilio
from simulators.vendors import CarServer, ModelServer, caller_of

VOICE = "/api/v1/voice"
CALL_LIMIT_S = 60.0
TOOL_S = 0.7  # how long NHTSA takes
QUESTION = "Tell me this"
GREETING = (
    "T"  # it is interrupted, at its first letter: where a busy machine makes frames late, words have holes
)
_SERIALS = itertools.count(100_000)

_FICTIONAL = tuple(f"+131255501{last:02}" for last in range(18, 98))

Script = Callable[[Caller], Awaitable[None]]


@dataclass
class Call:
    """One call to be made; `person` None: the caller hangs up while it rings."""

    number: str
    person: Script | None
    rules: tuple[Rule, ...] = ()


@dataclass
class ShortCalls:
    """Makes calls in turn of each of `WAYS`. `numbers` are the callers'; no two live calls may share one."""

    url: str
    twilio: SimTwilio
    model: ModelServer
    cars: CarServer
    numbers: Iterator[str] = field(default_factory=lambda: itertools.cycle(_FICTIONAL))
    made: dict[str, int] = field(default_factory=dict)

    async def run(self, count: int, lines: int) -> None:
        """`count` calls, `lines` at once. Raises what went wrong on any of them."""
        await self.cars.faults(delay_s=TOOL_S, times=-1)
        ways = iter(itertools.islice(itertools.cycle(WAYS), count))

        async def line() -> None:
            for way in ways:
                await self._one(way)

        try:
            async with asyncio.TaskGroup() as group:
                for _ in range(lines):
                    group.create_task(line())
        finally:
            await self.cars.faults(times=0)

    async def _one(self, way: Callable[["ShortCalls", str], Call]) -> None:
        wanted = way(self, next(self.numbers))
        self.made[way.__name__] = self.made.get(way.__name__, 0) + 1
        self.model.answers(wanted.number, *wanted.rules)
        call = await self.twilio.dial(
            f"{self.url}{VOICE}/incoming",
            caller=wanted.number,
            person=MarksPerson(wanted.person) if wanted.person else None,
            status_url=f"{self.url}{VOICE}/status",
            max_s=CALL_LIMIT_S,
            keep_audio=False,
        )
        if wanted.person is None:
            await call.hang_up()
        await _ended(way.__name__, call)
        self.twilio.calls.remove(call)

    async def model_asked(self, number: str, first: int) -> None:
        """Waits until the model is asked on a call of this number, in its exchange number `first` or later."""
        await self.model.record.until(
            lambda exchanges: any(caller_of(one.request) == number for one in exchanges[first:]), CALL_LIMIT_S
        )


async def _ended(way: str, call: SimCall) -> None:
    try:
        await call.ended(CALL_LIMIT_S + 10)
    except Exception as error:
        error.add_note(f"a call that {way.replace('_', ' ')}")
        raise


def _asks(then: Script) -> Script:
    async def person(c: Caller) -> None:
        await c.hears(GREETING)
        await c.say(QUESTION)
        await then(c)

    return person


# ---------------------------------------------------------------- the ways


def hangs_up(_: ShortCalls, number: str) -> Call:
    """Once it is answered."""

    async def then(c: Caller) -> None:
        await c.hears("It is so.")

    return Call(number, _asks(then), (says("It is so.", user=QUESTION),))


def is_hung_up_on(_: ShortCalls, number: str) -> Call:
    """The agent says goodbye."""

    async def then(c: Caller) -> None:
        await c.ended()

    return Call(number, _asks(then), (says("Goodbye.", tool("end_call"), user=QUESTION),))


def hangs_up_in_the_greeting(_: ShortCalls, number: str) -> Call:
    async def person(c: Caller) -> None:
        await c.hears(GREETING)

    return Call(number, person)


def hangs_up_while_it_rings(_: ShortCalls, number: str) -> Call:
    """There is a webhook, and never a stream."""
    return Call(number, None)


def hangs_up_while_a_tool_runs(calls: ShortCalls, number: str) -> Call:
    car = vin(next(_SERIALS))

    async def then(c: Caller) -> None:
        await calls.cars.until_asked(car, CALL_LIMIT_S)

    return Call(number, _asks(then), (says("", tool("decode_vin", vin=car), user=QUESTION),))


def hangs_up_while_the_model_thinks(calls: ShortCalls, number: str) -> Call:
    before = len(calls.model.record.exchanges)

    async def then(_: Caller) -> None:
        await calls.model_asked(number, before)

    return Call(number, _asks(then), (says("Well.", user=QUESTION, first_token_s=5.0),))


def is_cut_off(_: ShortCalls, number: str) -> Call:
    """And hangs up."""

    async def then(c: Caller) -> None:
        await c.hears("It")
        await c.cut()

    return Call(number, _asks(then), (says("It is so.", user=QUESTION),))


def is_cut_off_and_goes_on(_: ShortCalls, number: str) -> Call:
    """In a new stream."""

    async def then(c: Caller) -> None:
        await c.hears("It")
        await c.cut()
        await c.hears("cut off")
        await c.say("Once more then")
        await c.hears("Yes.")

    return Call(number, _asks(then), (says("It is so.", user=QUESTION), says("Yes.", user="once more")))


def is_put_through(_: ShortCalls, number: str) -> Call:
    """To a person."""

    async def then(c: Caller) -> None:
        await c.ended()

    return Call(number, _asks(then), (says("One moment.", tool("transfer_call"), user=QUESTION),))


WAYS = (
    hangs_up,
    is_hung_up_on,
    hangs_up_in_the_greeting,
    hangs_up_while_it_rings,
    hangs_up_while_a_tool_runs,
    hangs_up_while_the_model_thinks,
    is_cut_off,
    is_cut_off_and_goes_on,
    is_put_through,
)
