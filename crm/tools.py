"""The dealership's toolbox: seven tools for the model, and what is known of a caller.

What changes something goes through `crm.once`, so that it happens once, is refused to a superseded CallActor, and answers
the same when it is sent again.
"""

import asyncio
import datetime as dt
import os
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any
from zoneinfo import ZoneInfo

import msgspec
import structlog

from crm import appointments, lookups, once
from crm.access import trusted
from crm.context import Known, caller_context, look_up
from crm.desk import Desk
from crm.greeting import check_template
from crm.nhtsa import Nhtsa
from crm.ports import Records, RecordsAway, Work
from crm.records import e164
from crm.toolspec import BadArguments, Tool
from engine.messages import CallerContext, ToolRequest, ToolResult
from engine.tools import ToolSpec

_log = structlog.get_logger(__name__)

Answer = dict[str, Any]

AGAIN_S = 0.2  # between looks whether a change was made
AWAY = "The dealership's records can't be reached right now. Promise nothing; say so, or try once more."
UNKNOWN = (
    "It is not known whether this was done: the dealership's records went away at that moment. Promise nothing; "
    "look it up before it is tried again, and if that fails, say that it is not certain."
)


@dataclass
class _Attempts:
    """What is known of a change: `open` from its end on until that is answered, or its stored result was read."""

    open: bool = False


@dataclass(frozen=True)
class Limits:
    """How long things may take, in seconds. `run`: a tool; less than the engine waits, so that the model is told what
    is known. `context`: a caller's look-up. `nhtsa`: one try.
    """

    run: float = 7.0
    context: float = 2.0
    nhtsa: float = 2.0


@dataclass(frozen=True)
class House:
    """How the dealership wants to be spoken for. Empty `greeting` and `rules` mean our own.

    `timezone` counts only while the records can't be reached. `trust_caller_id` is `attested`, `always` or `never`.
    Raises `PromptError` for a bad template and `ZoneInfoNotFoundError` for an unknown zone.
    """

    name: str
    timezone: str
    greeting: str = ""
    rules: str = ""
    trust_caller_id: str = "attested"

    def __post_init__(self) -> None:
        check_template(self.greeting)
        ZoneInfo(self.timezone)


class DealershipTools:
    """Implements `engine.tools.Toolbox` on a dealership's records and NHTSA. `now` gives an aware time."""

    specs: tuple[ToolSpec, ...] = tuple(tool.spec for tool in TOOLS)

    def __init__(
        self, records: Records, nhtsa: Nhtsa, house: House, now: Callable[[], dt.datetime], limits: Limits = Limits()
    ) -> None:
        self._records = records
        self._nhtsa = nhtsa
        self._house = house
        self._now = now
        self._limits = limits
        self._known = Known()  # the workshop as it was last, for callers who come while the records are away
