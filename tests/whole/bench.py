"""A running app with its vendors and a Twilio around it, and what it has written of its calls."""

import asyncio
import itertools
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, TypeVar
from urllib.parse import urlsplit

import asyncpg
import httpx2
import msgspec
import redis.asyncio as redis_async
from twilio.request_validator import RequestValidator

from crm.demo_data import CUSTOMERS
from engine.audio import FRAME_MS
from engine.door import TRIED_AGAIN
from engine.probe import PROBE
from engine.session import SessionStore, Stored, Whereabouts
from launcher.app import RunningApp
from local.chat import Exchange
from simulators.caller import Caller, Gap, MarksPerson
from simulators.model import Rule
from simulators.twilio import SimCall, SimTwilio
from simulators.twilio.fields import Identity
from simulators.vendors import CarServer, ModelServer, Speech, caller_of

ACCOUNT, AUTH_TOKEN = "AC" + "1" * 32, "whole-calls-auth-token"
FALLBACK = "+13125550199"
SARAH, TOM = "+13125550142", "+13125550188"
TRANSFER = "+13125550177"  # the dealership's people
LIMIT_S = 30.0
VOICE = "/api/v1/voice"
USUAL: dict[str, Any] = {  # settings of an app that is tested, but for addresses
    "_env_file": None,
    "base_url": "",
    "database_url": "",
    "redis_url": "",
    "deepgram_api_key": "key",
    "openai_api_key": "key",
    "twilio_account_sid": ACCOUNT,
    "twilio_auth_token": AUTH_TOKEN,
    "dealership_name": "Elm",  # short greetings
    "transfer_number": TRANSFER,
    "fallback_number": FALLBACK,
    "tool_replicas": 2,
    "tool_replicas_max": 2,  # pids tell replicas apart only while none is added for load
    "tool_calls_per_turn": 3,
    "token_ttl_s": 5,
    "filler_s": 4.0,  # scripted models are slow on purpose, and callers count sentences
    "session_write_ms": 500,  # fifty callers and the tests beside them share two cores: a late Redis is no outage
    "capacity": 100,
    "silence_prompt_s": 2.0,
    "silence_prompts": 1,
    "max_call_s": 120.0,
}

Found = TypeVar("Found")


async def eventually(
    look: Callable[[], Awaitable[Found | None]], what: str, timeout_s: float = LIMIT_S
) -> Found:
    """Looks until it finds something true; what it finds. Fails with `what` after `timeout_s`."""
    deadline = time.monotonic() + timeout_s
    while not (found := await look()):
        assert time.monotonic() < deadline, f"{what} did not come in {timeout_s:g} s"
        await asyncio.sleep(0.03)
    return found


@dataclass
class Talk:
    """One call from all sides."""

    bench: "Bench"
    caller: str
    call: SimCall
    person: MarksPerson
    first_exchange: int
    last_exchange: int | None = None  # set when the same number calls again

    @property
    def sid(self) -> str:
        """The call's SID."""
        return self.call.sid

    async def ended(self, timeout_s: float = 90.0) -> str:
        """The call's last status; raises what failed in the person's script."""
        return await self.call.ended(timeout_s)

    def exchanges(self) -> list[Exchange]:
        """What the model was asked on this call."""
        asked = self.bench.model.record.exchanges[self.first_exchange : self.last_exchange]
        return [exchange for exchange in asked if caller_of(exchange.request) == self.caller]

    def heard(self) -> list[str]:
        """The sentences that were played, as far as they were."""
        return [" ".join(sentence.text.split()) for sentence in self.person.heard.sentences]

    def webhooks(self) -> list[str]:
        """What Twilio asked on this call: the last part of each webhook's path."""
        asked = self.call.journal.all("webhook")
        return [urlsplit(event.detail["url"]).path.rpartition("/")[2] for event in asked]

    def gaps(self) -> list[Gap]:
        """Holes in sentences, but for those that come with a stall of this process's own."""
        stalls = self.call.journal.all("stalled")
        return [
            gap for gap in self.person.heard.gaps if not any(abs(gap.at - stall.at) < 1.0 for stall in stalls)
        ]


def audible(gap: Gap) -> bool:
    """A frame or two of silence come of other work on two cores; `make bench` counts them, with nothing beside it."""
    return bool(gap.missing_frames) or gap.silent_ms > 2 * FRAME_MS


class Bench:
    """Everything a test needs; one for all tests."""

    def __init__(self, app: RunningApp, speech: Speech, model: ModelServer, cars: CarServer) -> None:
        self.app = app
        self.speech = speech
        self.model = model
        self.cars = cars
        self.twilio = SimTwilio(AUTH_TOKEN, ACCOUNT)  # replaced for each test
        self.http = httpx2.AsyncClient(base_url=app.url, timeout=LIMIT_S, trust_env=False)
        self._store = SessionStore(app.settings.redis_url, 3600, 100, 60)
        self._redis = redis_async.Redis.from_url(app.settings.redis_url)
        known = {phone[-2:] for person in CUSTOMERS for phone in person.phones} | {TOM[-2:], "77", "00", "99"}
        few = (f"+131255501{n:02}" for n in range(100) if f"{n:02}" not in known)
        self._talks: dict[str, Talk] = {}  # the last of each number
        self._numbers = itertools.chain(few, (f"+1312555{n:04}" for n in range(2000, 10_000)))

    async def open(self) -> None:
        """Connects to the app's Postgres."""
        self._rows = await asyncpg.connect(self.app.settings.database_url, timeout=LIMIT_S)
        await self._rows.set_type_codec(
            "jsonb", schema="pg_catalog", encoder=_encoded, decoder=msgspec.json.decode
        )

    async def close(self) -> None:
        """Closes what `open` and `__init__` opened."""
        await self._rows.close(timeout=10)
        await self._redis.aclose()
        await self._store.close()
        await self.http.aclose()

    # --- calls

    def number(self) -> str:
        """The number of a caller whom nobody knows, never given twice."""
        return next(self._numbers)

    async def dial(
        self,
        script: Callable[[Caller], Awaitable[None]],
        *rules: Rule,
        caller: str | None = None,
        base: str = "",
        **options: Any,
    ) -> Talk:
        """A person calls, and the model answers that number by these rules.

        Twilio reaches the app at `base`, if that is not its own address.
        """
        base = base or self.app.url
        number = caller or self.number()
        self.model.answers(number, *rules)
        person = MarksPerson(script)
        first = len(self.model.record.exchanges)
        if number in self._talks:
            self._talks[number].last_exchange = first
        options = {"status_url": f"{base}{VOICE}/status", "max_s": 90.0, **options}
        call = await self.twilio.dial(
            f"{base}{VOICE}/incoming#{TRIED_AGAIN}", caller=number, person=person, **options
        )
        self._talks[number] = talk = Talk(self, number, call, person, first)
        return talk

    def ringing(self, caller: str) -> dict[str, str]:
        """The fields of a voice request, for a call made without `dial`."""
        return Identity(ACCOUNT, caller, "+13125550100", "TN-Validation-Passed-A").voice("ringing")

    async def post(
        self, path: str, fields: dict[str, str], *, base: str = "", headers: dict[str, str] | None = None
    ) -> httpx2.Response:
        """A webhook as Twilio sends it, signed for `base` (the app's own address if empty)."""
        url = f"{base or self.app.url}{VOICE}/{path}"
        signed = {"X-Twilio-Signature": str(RequestValidator(AUTH_TOKEN).compute_signature(url, fields))}
        return await self.http.post(f"{VOICE}/{path}", data=fields, headers=signed | (headers or {}))

    async def slow_cars(self, delay_s: float, times: int) -> None:
        """NHTSA takes so long for its next answers."""
        await self.cars.faults(delay_s=delay_s, times=times)

    # --- what the app wrote

    async def rows(self, statement: str, *arguments: Any) -> list[dict[str, Any]]:
        """Rows of the app's Postgres."""
        found = await self._rows.fetch(statement, *arguments, timeout=LIMIT_S)
        return [dict(row) for row in found]

    async def logged(self, sid: str, ending: str) -> dict[str, Any]:
        """The call's line in the call log, once it ended so: the log is written behind the call."""
        found: list[dict[str, Any]] = []

        async def look() -> bool:
            found[:] = await self.rows("SELECT * FROM call_log WHERE call = $1", sid)
            return bool(found) and found[0]["ending"] == ending

        try:
            await eventually(look, f"the ending {ending}")
        except AssertionError as error:
            raise AssertionError(f"{error}: the log has {found}") from None
        return found[0]

    async def events(self, sid: str, kind: str) -> list[dict[str, Any]]:
        """Details of the call's events of one kind, in order."""
        found = await self.rows(
            "SELECT detail FROM call_event WHERE call = $1 AND kind = $2 ORDER BY at", sid, kind
        )
        return [row["detail"] for row in found]

    async def session(self, sid: str) -> Stored:
        """The call's session as Redis holds it."""
        stored = await self._store.read(sid)
        assert stored is not None, f"no session of {sid}"
        return stored

    async def ttl_s(self, sid: str) -> int:
        """How long Redis keeps the session."""
        return int(await self._redis.ttl(f"call:{sid}"))

    async def poison(self, sid: str) -> None:
        """Makes the call's history unreadable."""
        await self._redis.hset(f"call:{sid}", "item:000001", b"no JSON at all")

    async def exists(self, key: str) -> bool:
        """Whether Redis has this key."""
        return bool(await self._redis.exists(key))

    async def probed(self) -> list[str]:
        """The calls that the doctor has made."""
        keys = [key.decode() async for key in self._redis.scan_iter(f"call:{PROBE}*")]
        return [key.removeprefix("call:") for key in keys]

    async def kept_for_ever(self) -> list[str]:
        """The keys that Redis will never forget by itself, but for the one by which all known callers are dropped."""
        keys = [key.decode() async for key in self._redis.scan_iter() if await self._redis.ttl(key) == -1]
        return [key for key in keys if key != "crm:callers"]

    async def slots(self) -> list[str]:
        """The calls that count against the capacity."""
        return await self._store.slots()

    async def live(self) -> list[str]:
        """The app's live calls."""
        return [where.call for where in await self.whereabouts()]

    async def whereabouts(self) -> list[Whereabouts]:
        """Where each live call runs."""
        answer = await self.http.get("/calls")
        return msgspec.convert(answer.raise_for_status().json()["calls"], list[Whereabouts])

    async def quiet(self) -> None:
        """Waits until no call is live and no socket to the vendors of speech is open."""
        left: list[object] = []

        async def look() -> bool:
            left[:] = [*self.speech.watch.sockets, *await self.live()]
            return not left

        try:
            await eventually(look, "the end of all calls and sockets")
        except AssertionError as error:
            raise AssertionError(f"{error}: left are {left}") from None


MakesCall = Callable[[Bench], Awaitable[Talk]]


def _encoded(value: Any) -> str:
    return msgspec.json.encode(value).decode()
