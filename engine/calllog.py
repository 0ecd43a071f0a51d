"""The call in Postgres, for analytics and audit: the writer that never holds a call up.

A row in `call_log` is one call, the other tables' rows hang on it (`engine/calltables.py`). Several
processes write about one call (the ingress, the host, the host that resumed it), in any order, and a batch
is sent again when its outcome is unknown. So each row has a key of its own, each write is an upsert that can
be repeated, and a row about a call that nobody has opened yet opens it with its caller unknown.
"""

import asyncio
import contextlib
from collections import deque
from itertools import islice
from typing import Any

import sqlalchemy as sa
import structlog
from sqlalchemy.exc import DBAPIError, SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncEngine

from engine.callcost import Prices, settle_costs
from engine.callrows import (
    STATEMENTS,
    STUB,
    Entry,
    FinalizeCall,
    LogEvent,
    LogMetric,
    LogTranscript,
    LogUsage,
    OpenCall,
    Row,
    Speaker,
    row_of,
)
from engine.clock import now, outside
from engine.messages import CallInfo, Usage
from engine.outcomes import End
from engine.probe import is_probe
from engine.supervision import BackOff, Supervision
from engine.telemetry import count

_log = structlog.get_logger(__name__)

_CANCEL_S = 5.0  # SQLAlchemy gives a connection 2 s to close

# SQLAlchemy's asyncpg dialect wraps what asyncpg raises; refused sockets and deadlines come as they are.
_AWAY = (SQLAlchemyError, OSError, TimeoutError)


class CallLog:
    """Writes the log of all calls of this process, behind their backs.

    `write` and the methods that are named for what they log append to a spool and return: they never wait
    and never raise. One task writes the spool in batches of `batch_rows`, or what there is `linger_s` after
    the first row; while Postgres is away it retries, and the spool fills. A full spool (`limit` rows) drops
    what comes, counted in `dropped` and logged; its last tenth is kept for openings and ends of calls. Rows
    that Postgres refuses for what is in them are dropped alone. Use from one event loop; the owner of
    `engine` disposes of it after `close`.
    """

    def __init__(
        self,
        engine: AsyncEngine,
        *,
        limit: int = 20_000,
        batch_rows: int = 200,
        linger_s: float = 0.25,
        write_s: float = 10.0,
        back_off: BackOff = Supervision.log,
        prices: Prices = Prices(),  # noqa: B008 - frozen
    ) -> None:
        """A batch that takes longer than `write_s` has met a Postgres that hangs."""
        self.dropped = 0
        self._engine = engine
        self._limit = limit
        self._batch_rows = batch_rows
        self._linger_s = linger_s
        self._write_s = write_s
        self._back_off = back_off
        self._settle_costs = settle_costs(prices)
        self._rows: deque[Row] = deque()
        self._accepted = 0  # rows ever appended
        self._settled = 0  # of those, rows written or refused
        self._flushes: dict[asyncio.Future[None], int] = {}
        self._some = asyncio.Event()
        self._hurry = asyncio.Event()
        self._closing = False
        self._dropping = False
        self._away_since: float | None = None
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Starts the writing task on the running loop. Entries told before wait for it."""
        if self._task is None:
            self._task = asyncio.get_running_loop().create_task(self._run(), name="call log")
            self._task.add_done_callback(_report)

    def open_call(self, info: CallInfo, answered_at: float | None = None) -> None:
        """The call exists; told again with `answered_at` (Unix seconds) when its stream started."""
        self.write(OpenCall(info, answered_at))

    def log_call_event(
        self, call: str, kind: str, detail: dict[str, Any], at: float, seq: int | None = None
    ) -> None:
        """Something happened at `at` (Unix seconds). With `seq`, a repetition on another host is ignored."""
        self.write(LogEvent(call, kind, detail, at, seq))

    def log_transcript(
        self,
        call: str,
        turn: int,
        index: int,
        speaker: Speaker,
        text: str,
        at: float,
        interrupted: bool = False,
    ) -> None:
        """One sentence as heard, from `at` (Unix seconds) on."""
        self.write(LogTranscript(call, turn, index, speaker, text, at, interrupted))

    def log_performance_metric(
        self, call: str, turn: int, name: str, value_ms: float, at: float, n: int = 0
    ) -> None:
        """One latency (see `Leg`) in milliseconds, which ended at `at` (Unix seconds)."""
        self.write(LogMetric(call, turn, name, value_ms, at, n))

    def finalize_call_log(
        self,
        call: str,
        ending: End,
        ended_at: float,
        outcome: str = "",
        *,
        turns: int | None = None,
        interruptions: int | None = None,
        tool_calls: int | None = None,
        usage: Usage | None = None,
    ) -> None:
        """The call ended at `ended_at` (Unix seconds), with these totals; tokens are of the whole call.

        Who does not know its outcome or totals leaves them out.
        """
        self.write(FinalizeCall(call, ending, ended_at, outcome, turns, interruptions, tool_calls, usage))

    def write(self, entry: Entry) -> None:
        """Appends one entry to the spool, or drops and counts it; a probe's is none. Never waits, never raises."""
        weighty = isinstance(entry, OpenCall | FinalizeCall)
        if self._closing or len(self._rows) >= (self._limit if weighty else self._limit - self._limit // 10):
            self._drop(1, "closed" if self._closing else "full")
            return
        try:
            if is_probe(entry.info.call if isinstance(entry, OpenCall) else entry.call):
                return
            row = row_of(entry)
        except Exception as error:  # a call must not die of its log, whatever it is told
            count("call_log_malformed")
            _log.error("call_log_malformed", entry=type(entry).__name__, error=type(error).__name__)
            return
        self._rows.append(row)
        self._accepted += 1
        self._signal()

    async def flush(self, timeout: float) -> bool:
        """Waits until all that was told so far is written; False when `timeout` seconds were not enough."""
        if self._settled >= self._accepted:
            return True
        done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._flushes[done] = self._accepted
        self._signal()
        try:
            async with asyncio.timeout(timeout):
                await done
        except TimeoutError:
            return False
        finally:
            self._flushes.pop(done, None)
            self._signal()
        return True

    async def close(self, timeout: float = 5.0) -> None:
        """Writes what is left for at most `timeout` seconds, drops the rest, counted, and ends the task.

        Safe to call twice. Raises what the task died of, if it did.
        """
        self._closing = True
        self._signal()
        task, self._task = self._task, None
        if task is not None:
            try:
                await asyncio.wait({task}, timeout=timeout)
            finally:
                task.cancel()
            await asyncio.wait({task}, timeout=_CANCEL_S)
        if self._rows:
            self._drop(len(self._rows), "unwritten")
            self._settle(len(self._rows))
        if task is not None and task.done() and not task.cancelled():
            task.result()

    async def _run(self) -> None:
        failed = 0
        while True:
            await self._some.wait()
            if not self._rows:
                return  # closing, and all is written
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self._linger_s):
                    await self._hurry.wait()
            try:
                await self._store(list(islice(self._rows, self._batch_rows)))
            except _AWAY as error:
                self._note_away(error)
                await asyncio.sleep(self._back_off.pause_s(failed))
                failed += 1
            else:
                self._note_back()
                failed = 0

    async def _store(self, rows: list[Row]) -> None:
        """Writes the rows, which head the spool, and takes them off it; halves them to find a refused one."""
        try:
            async with asyncio.timeout(self._write_s):
                await outside(self._insert(rows))
            self._settle(len(rows))
            return
        except SQLAlchemyError as error:
            if not _refused(error):
                raise
            reason = type(getattr(error, "orig", error)).__name__
        if len(rows) > 1:
            await self._store(rows[: len(rows) // 2])
            await self._store(rows[len(rows) // 2 :])
            return
        # The error's text holds the row's values, which are private.
        count("call_log_refused")
        _log.error("call_log_refused", entry=rows[0][0].__name__, call=rows[0][1]["call"], reason=reason)
        self._settle(1)

    async def _insert(self, rows: list[Row]) -> None:
        async with self._engine.begin() as connection:
            calls = sorted({row["call"] for _, row in rows})
            await connection.execute(STUB, [{"call": call} for call in calls])
            for kind, statement in STATEMENTS.items():
                told = [row for row_kind, row in rows if row_kind is kind]
                # Two processes that lock calls in the same order can't lock each other out.
                if told:
                    await connection.execute(statement, sorted(told, key=lambda row: str(row["call"])))
            touched = {row["call"] for kind, row in rows if kind in (OpenCall, LogUsage, FinalizeCall)}
            if touched:
                settled = [{"settled": call} for call in sorted(touched)]
                await connection.execute(self._settle_costs, settled)

    def _settle(self, rows: int) -> None:
        for _ in range(rows):
            self._rows.popleft()
        self._settled += rows
        for done, accepted in self._flushes.items():
            if self._settled >= accepted and not done.done():
                done.set_result(None)
        self._signal()

    def _signal(self) -> None:
        _put(self._some, bool(self._rows) or self._closing)
        _put(self._hurry, len(self._rows) >= self._batch_rows or bool(self._flushes) or self._closing)

    def _drop(self, rows: int, why: str) -> None:
        self.dropped += rows
        count("call_log_dropped", rows)
        if not self._dropping:
            self._dropping = True
            _log.error("call_log_dropping", why=why, spooled=len(self._rows), dropped=self.dropped)

    def _note_away(self, error: BaseException) -> None:
        if self._away_since is None:
            self._away_since = now()
            what = getattr(error, "orig", None) or error
            _log.warning("call_log_away", error=f"{type(what).__name__}: {what}", spooled=len(self._rows))

    def _note_back(self) -> None:
        if self._away_since is not None:
            away_s = round(now() - self._away_since, 3)
            _log.info("call_log_back", away_s=away_s, spooled=len(self._rows), dropped=self.dropped)
        self._away_since = None
        self._dropping = False


def _refused(error: SQLAlchemyError) -> bool:
    """Whether the rows are at fault (SQLSTATE classes 21, 22, 23), so that trying again can't help."""
    if isinstance(error, DBAPIError):
        return str(getattr(error.orig, "sqlstate", None) or "")[:2] in {"21", "22", "23"}
    return isinstance(error, sa.exc.StatementError)  # raised while parameters were bound


def _put(event: asyncio.Event, wanted: bool) -> None:
    if wanted:
        event.set()
    else:
        event.clear()


def _report(task: asyncio.Task[None]) -> None:
    if not task.cancelled() and (error := task.exception()) is not None:
        count("call_log_crashed")
        _log.error("call_log_crashed", exc_info=error)
