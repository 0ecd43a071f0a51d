"""What a caller waits for while it rings: how long it takes to know them, and the whole webhook.

One webhook after the other, of demo customers and of numbers that nobody has: each number twice, so that it is looked
up in Postgres, and is still known when it rings again. How long that took is measured in the replica, which writes it
into the log of calls.
"""

import asyncio
from time import monotonic

import asyncpg
import httpx2
from twilio.request_validator import RequestValidator

from bench.results import Spread, spread_of
from bench.targets import ACCOUNT, AUTH_TOKEN, Running
from crm.demo_data import CUSTOMERS
from engine.callrows import Leg
from simulators.twilio.fields import Identity

VOICE = "/api/v1/voice"
CALLED, ATTESTED = "+13125550100", "TN-Validation-Passed-A"
ROUNDS = 20  # of each customer, and as many numbers of nobody
PAUSE_S = 0.02  # between two: how long one takes is asked, not how many there can be
LOGGED_S = 30.0
KEPT, LOOKED_UP = "caller known, kept", "caller known, from Postgres"
WEBHOOK_KEPT, WEBHOOK_LOOKED_UP = "webhook, kept", "webhook, from Postgres"
LEGS = (KEPT, LOOKED_UP, WEBHOOK_KEPT, WEBHOOK_LOOKED_UP)


async def ringing(target: Running) -> dict[str, Spread]:
    """The legs of an idle engine, in milliseconds."""
    took: dict[str, float] = {}
    database = await asyncpg.connect(target.database_url)
    try:
        async with httpx2.AsyncClient(trust_env=False) as client:
            for number in [
                person.phones[0] for person in CUSTOMERS
            ] * 2:  # imports and connections, which come once
                await _ring(client, target.url, number)
            for round_ in range(ROUNDS):
                for number in {person.phones[0] for person in CUSTOMERS} | {f"+1{212 + round_}5550100"}:
                    await _forget(database, number)
                    for _ in range(2):
                        call, ms = await _ring(client, target.url, number)
                        took[call] = ms
                        await asyncio.sleep(PAUSE_S)
        looked_up, kept = (
            await _logged(database, Leg.CONTEXT, took),
            await _logged(database, Leg.CONTEXT_KEPT, took),
        )
    finally:
        await database.close()
    return {
        KEPT: spread_of(list(kept.values())),
        LOOKED_UP: spread_of(list(looked_up.values())),
        WEBHOOK_KEPT: spread_of([took[call] for call in kept]),
        WEBHOOK_LOOKED_UP: spread_of([took[call] for call in looked_up]),
    }


async def _ring(client: httpx2.AsyncClient, url: str, number: str) -> tuple[str, float]:
    """A call of this number that is given up at once, and how long its webhook took, in milliseconds."""
    who = Identity(ACCOUNT, number, CALLED, ATTESTED)
    began = monotonic()
    answer = await _post(client, f"{url}{VOICE}/incoming", who.voice("ringing"))
    ms = 1000 * (monotonic() - began)
    if "<Connect" not in answer:
        raise RuntimeError(f"the webhook answered {answer!r}")
    await _post(client, f"{url}{VOICE}/status", who.ended("canceled", 0))
    return who.call, ms


async def _post(client: httpx2.AsyncClient, url: str, fields: dict[str, str]) -> str:
    signature = RequestValidator(AUTH_TOKEN).compute_signature(url, fields)
    answer = await client.post(url, data=fields, headers={"X-Twilio-Signature": signature})
    answer.raise_for_status()
    return answer.text


async def _forget(database: asyncpg.Connection, number: str) -> None:
    """As any change of the record does; the triggers tell it."""
    await database.execute("INSERT INTO opt_out (phone, kind) VALUES ($1, 'contact')", number)
    await database.execute("DELETE FROM opt_out WHERE phone = $1", number)
    await asyncio.sleep(PAUSE_S)


async def _logged(database: asyncpg.Connection, leg: Leg, took: dict[str, float]) -> dict[str, float]:
    """By call, what the log has of this leg; it is written behind the calls' backs."""
    names = [Leg.CONTEXT.value, Leg.CONTEXT_KEPT.value]
    async with asyncio.timeout(LOGGED_S):
        while True:
            rows = await database.fetch(
                "SELECT call, name, value_ms FROM call_metric WHERE call = ANY($1) AND name = ANY($2)",
                list(took),
                names,
            )
            if len(rows) >= len(took):
                return {row["call"]: row["value_ms"] for row in rows if row["name"] == leg}
            await asyncio.sleep(0.1)
