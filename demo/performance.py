"""One call, dialled, followed and recorded."""

import asyncio
import contextlib
import datetime as dt
import time
from dataclasses import dataclass, field
from pathlib import Path
from zoneinfo import ZoneInfo

from rich.console import Console

from demo.board import Board
from demo.caller import Caller
from demo.report import INTERRUPTION, Record, read_record
from demo.scenario import Scenario
from demo.stage import CALLED, CALLER, DemoStage
from demo.view import print_row, shown
from demo.voice import Ear, Mouth
from demo.watch import LOOK_S, Watch
from engine.settings import Settings
from simulators.twilio import CallFailed, SimTwilio

NAME = "Sarah"
CALL_S = 150.0
SETTLE_S = 15.0
QUIET_BELOW = 200
_PREFIX = "/api/v1/voice"


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
    done = Performance(board, wav)
    async with (
        stage.tap.passing(settings.deepgram_base_url, watch.agent_hears),
        ear.open(settings),
        shown(board, console) if live else contextlib.nullcontext(),
    ):
        sid = await _call(settings, watch, caller, done)
        board.settle_all()
    done.stages, done.turns = [str(stage) for stage in caller.stages], caller.turns
    done.record = await read_record(settings.database_url, sid, ZoneInfo(settings.timezone))
    if (took_ms := caller.interruption.took_ms) is not None:
        done.record.legs[INTERRUPTION] = [took_ms]
    return done


async def _call(settings: Settings, watch: Watch, caller: Caller, done: Performance) -> str:
    """The call from ringing to its end; its sid."""
    base = f"http://{settings.host}:{settings.port}{_PREFIX}"
    began = time.monotonic()
    async with SimTwilio(settings.twilio_auth_token, settings.twilio_account_sid) as twilio:
        call = await twilio.dial(
            f"{base}/incoming",
            caller=CALLER,
            called=CALLED,
            status_url=f"{base}/status",
            person=caller,
            max_s=CALL_S,
            quiet_below=QUIET_BELOW,
        )
        call.journal.on_event(watch.line_event)
        following = asyncio.create_task(watch.follow(settings, call.sid), name="follow")
        try:
            await call.ended(CALL_S + SETTLE_S)
        except CallFailed as failed:
            done.failure = str(failed)
            watch.failed(str(failed))
        finally:
            await asyncio.wait([following], timeout=3 * LOOK_S)  # the last words' fate
            following.cancel()
            await asyncio.wait([following])
        if not following.cancelled():
            following.result()
    done.call_s = time.monotonic() - began
    await asyncio.to_thread(call.record, done.wav)
    return call.sid
