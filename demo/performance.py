"""One call, dialled, followed and recorded."""

import asyncio
import contextlib
import datetime as dt
from dataclasses import dataclass, field
from pathlib import Path
from zoneinfo import ZoneInfo

from rich.console import Console

from demo.board import Board
from demo.caller import Caller
from demo.dial import Telephone, place_call
from demo.report import INTERRUPTION, Record, read_record
from demo.scenario import Scenario
from demo.stage import DemoStage
from demo.view import print_row, shown
from demo.voice import Ear, Mouth
from demo.watch import Watch

NAME = "Sarah"
CALL_S = 200.0


@dataclass
class Performance:
    """A call that is over."""

    board: Board
    wav: Path
    record: Record = field(default_factory=Record)
    stages: list[str] = field(default_factory=list)
    turns: list[tuple[str, str]] = field(default_factory=list)
    call_s: float = 0.0
    failure: str = ""


async def perform(
    stage: DemoStage, wish: Scenario, console: Console, wav: Path, *, mute: bool
) -> Performance:
    """Dials, waits for the end, and reads what Postgres holds."""
    settings = stage.app.settings
    live = console.is_terminal
    board = Board((lambda row: None) if live else (lambda row: print_row(console, row)))
    watch = Watch(board, NAME)
    ear = Ear(watch.caller_hears)
    today = dt.datetime.now(wish.starts_at.tzinfo).date()
    caller = Caller(wish, Mouth(settings.deepgram_base_url), ear, today, mute=mute)
    if not mute:
        await caller.rehearse()
    done = Performance(board, wav)
    telephone = Telephone(stage.app.url, settings.twilio_account_sid, settings.twilio_auth_token)
    async with (
        stage.tap.passing(settings.deepgram_base_url, watch.agent_hears),
        ear.open(settings),
        shown(board, console) if live else contextlib.nullcontext(),
    ):
        call = await place_call(telephone, caller, watch, settings.redis_url, max_s=CALL_S)
        board.settle_all()
    await asyncio.to_thread(call.record, wav)
    done.call_s, done.failure = call.took_s, call.failure
    done.stages, done.turns = [str(stage) for stage in caller.stages], caller.turns
    done.record = await read_record(settings.database_url, call.sid, ZoneInfo(settings.timezone))
    if (took_ms := caller.interruption.took_ms) is not None:
        done.record.legs[INTERRUPTION] = [took_ms]
    return done
