"""What a call cost: its usage, at the prices of the settings, in millionths of a dollar.

Usage is told by several processes, some of it after the call's end, so totals and cost are computed from the rows each
time some come: the same rows give the same cost.
"""

from typing import Any

import msgspec
import sqlalchemy as sa

from engine.calltables import call_log, call_usage
from engine.settings import Settings


class Prices(msgspec.Struct, frozen=True):
    """In dollars: a million tokens, a minute of recognition and of telephone, a thousand characters of speech."""

    tokens_in: float = 0.0
    tokens_cached: float = 0.0
    tokens_out: float = 0.0
    recognition: float = 0.0
    speech: float = 0.0
    telephone: float = 0.0

    @classmethod
    def of(cls, settings: Settings) -> "Prices":
        """Those of the settings."""
        return cls(
            settings.price_tokens_in,
            settings.price_tokens_cached,
            settings.price_tokens_out,
            settings.price_recognition,
            settings.price_speech,
            settings.price_telephone,
        )


def settle_costs(prices: Prices) -> sa.Update:
    """The statement that sums up the usage and cost of an ended call; its sid is the parameter `settled`.

    Tokens are told twice, by each request and at the call's end: the greater sum is the whole one, should rows be lost.
    Telephone is charged by the minute begun (Twilio, Billing changes, 2022-09-27).
    """
    used = (
        sa.select(
            call_log.c.call,
            *(_total(name) for name in _SUMMED),
            call_log.c.duration_ms,
        )
        .select_from(call_log.outerjoin(call_usage))
        .where(call_log.c.call == sa.bindparam("settled"), call_log.c.ended_at.is_not(None))
        .group_by(call_log.c.call)
        .subquery()
    )
    totals: dict[str, Any] = {
        name: sa.func.greatest(call_log.c[name], used.c[name]) if name in _TOLD else used.c[name]
        for name in _SUMMED
    }
    amount = {name: sa.func.coalesce(total, 0) for name, total in totals.items()}
    minutes = sa.func.ceil(sa.func.coalesce(used.c.duration_ms, 0) / 60_000)
    micros = (
        (amount["prompt_tokens"] - amount["cached_tokens"]) * sa.literal(prices.tokens_in, sa.Double)
        + amount["cached_tokens"] * sa.literal(prices.tokens_cached, sa.Double)
        + amount["completion_tokens"] * sa.literal(prices.tokens_out, sa.Double)
        + amount["heard_ms"] / 60_000 * sa.literal(prices.recognition * 1e6, sa.Double)
        + amount["spoken_chars"] * sa.literal(prices.speech * 1e3, sa.Double)
        + minutes * sa.literal(prices.telephone * 1e6, sa.Double)
    )
    return (
        sa.update(call_log)
        .where(call_log.c.call == used.c.call)
        .values(totals | {"cost_micros": sa.cast(sa.func.round(micros), sa.BigInteger)})
    )


_TOLD = ("prompt_tokens", "cached_tokens", "completion_tokens")
_SUMMED = (*_TOLD, "heard_ms", "spoken_chars")


def _total(name: str) -> sa.Label[Any]:
    column = call_usage.c[name]
    return sa.cast(sa.func.sum(column), column.type).label(name)
