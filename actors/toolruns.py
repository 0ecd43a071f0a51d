"""The tools that a call's model asked for: which may run, which are running, what came of them."""

import json
from collections.abc import Sequence
from dataclasses import dataclass, field

import msgspec

from actors.legs import Legs
from engine.actor import Ref
from engine.calllog import CallLog
from engine.callrows import LogTool, kept_arguments
from engine.clock import wall
from engine.history import Returned, spoken, unanswered
from engine.messages import CallInfo, ToolCall, ToolRequest, ToolResult
from engine.record import CallRecord
from engine.tools import END_CALL, TRANSFER_CALL, ToolSpec, wrong_arguments

VERBS = (END_CALL, TRANSFER_CALL)
TOO_MANY = "too many tools in one turn: answer with what is known"
TOO_MANY_IN_CALL = "no more tools in this call: answer with what is known, and offer what needs none"
WRONG_REPLIES = 2  # in one turn; a model that has not learnt by then is made to answer, which is sooner heard
ALONE = "run alone: ask for it again when the other tools have answered"
TOO_LATE = "the call went on instead"
UNPROTECTED = "nothing can be changed at the moment: say so, and that the caller may try again later"
HELD_S = (0.1, 0.3, 0.6)  # until the session is written again, each time: Redis may only be slow


@dataclass
class Plan:
    """What is to become of one reply's calls, but for its verb: each is run, held until the session has it, or
    refused (and why). `enough`: no further call is wanted in this turn."""

    run: list[ToolCall] = field(default_factory=list)
    held: list[ToolCall] = field(default_factory=list)
    refused: list[tuple[ToolCall, str]] = field(default_factory=list)
    enough: bool = False


@dataclass(frozen=True)
class _Run:
    call: ToolCall
    turn: int
    began_at: float


class ToolRuns:
    """One call's tools. Results go into the record; whoever owns it saves them."""

    def __init__(
        self,
        info: CallInfo,
        record: CallRecord,
        tools: Ref,
        specs: Sequence[ToolSpec],
        log: CallLog,
        legs: Legs,
        limit_per_turn: int,
        limit: int,
    ) -> None:
        self._info = info
        self._record = record
        self._tools = tools
        self._changing = {spec.name for spec in specs if spec.changes}
        self._specs = {spec.name: spec for spec in specs}
        self._names = [spec.name for spec in specs]
        self._log = log
        self._legs = legs
        self._limit_per_turn = limit_per_turn
        self._limit = limit
        self._running: dict[str, _Run] = {}
        self._held: list[tuple[ToolCall, int]] = []
        self._pauses_s: list[float] = []

    @property
    def busy(self) -> bool:
        """Whether a tool is running, or is held."""
        return bool(self._running or self._held)

    @property
    def used_up(self) -> bool:
        """Whether the model has been told that there are no more tools in this call."""
        return self._record.calls_made() > self._limit

    def verb(self, calls: tuple[ToolCall, ...]) -> ToolCall | None:
        """The call that ends the conversation, if the reply asks for no tool beside it."""
        return calls[0] if calls and all(call.name in VERBS for call in calls) else None

    def plan(self, calls: tuple[ToolCall, ...], turn: int) -> Plan:
        """Sorts a reply's calls, which are in the record. Changes need a session that holds them: without, they would
        be made again after a crash, or be unknown to who goes on."""
        plan = Plan()
        verbs = [call for call in calls if call.name in VERBS]
        others = [call for call in calls if call not in verbs]
        in_turn = sum(map(len, self._record.called(turn))) - len(calls)
        in_call = self._record.calls_made() - len(calls)
        for place, call in enumerate(others):
            if in_call + place >= self._limit:
                plan.refused.append((call, TOO_MANY_IN_CALL))
                plan.enough = True
            elif in_turn + place >= self._limit_per_turn:
                plan.refused.append((call, TOO_MANY))
                plan.enough = True
            elif why := self._wrong(call):
                plan.refused.append((call, why))
            elif call.name in self._changing and not self._record.protected:
                plan.held.append(call)
            else:
                plan.run.append(call)
        verb = self.verb(calls)
        plan.refused += [(call, ALONE) for call in verbs if call is not verb]
        wrong = sum(any(map(self._wrong, called)) for called in self._record.called(turn))
        plan.enough = plan.enough or wrong >= WRONG_REPLIES
        return plan

    def _wrong(self, call: ToolCall) -> str:
        """Why no tool can take that call, for the model; "" if one can."""
        if call.name not in self._names and call.name not in VERBS:
            return f"there is no tool {call.name!r}; there are: {', '.join(self._names)}"
        return wrong_arguments(call.arguments)

    def start(self, call: ToolCall, turn: int) -> None:
        """Runs a call that is in the session. Its key is the same whoever sends it again."""
        info, record = self._info, self._record
        self._running[call.id] = run = _Run(call, turn, wall())
        record.meta.tool_runs += 1
        self._log.log_call_event(info.call, "tool_called", {"turn": turn, "tool": call.name}, wall())
        self._log.write(self._row(run))
        self._tools.tell(
            ToolRequest(
                info.call,
                record.epoch,
                call.name,
                call.arguments,
                info.caller,
                self._key(call.id),
                info.attested,
                spoken(record.items, turn) if self._specs[call.name].wants_spoken else (),
                tuple(self._key(unknown) for unknown in record.unknown()),
            )
        )

    def _key(self, call_id: str) -> str:
        return f"{self._info.call}:{call_id}"

    @property
    def holding(self) -> bool:
        """Whether a change is held."""
        return bool(self._held)

    def hold(self, call: ToolCall, turn: int) -> None:
        """Waits with a change until the session has it."""
        if not self._held:
            self._pauses_s = list(HELD_S)
        self._held.append((call, turn))

    def held_for_s(self) -> float | None:
        """How long to wait until the session is written again; None if nothing is held, or it has been long enough."""
        return self._pauses_s.pop(0) if self._held and self._pauses_s else None

    def release(self) -> None:
        """The session has what is held: runs it."""
        held, self._held = self._held, []
        for call, turn in held:
            self.start(call, turn)

    def refuse_held(self) -> int:
        """The session can't be written: puts that into the record, as results; the turn that they belong to."""
        held, self._held = self._held, []
        for call, turn in held:
            self._record.add(returned(turn, call, UNPROTECTED))
        return held[-1][1]

    def resume(self) -> None:
        """Runs what a predecessor was asked for and has no result of; an end that it did not decide on is refused."""
        for turn, call in unanswered(self._record.items):
            why = TOO_LATE if call.name in VERBS else self._wrong(call)
            if why:
                self._record.add(returned(turn, call, why))
            else:
                self.start(call, turn)

    def finish(self, result: ToolResult) -> int | None:
        """Puts a result into the record; the turn that it belongs to, or None for one that was had already."""
        call_id = _call_id(result.key)
        run = self._running.pop(call_id, None)
        if run is None or self._record.has_result(call_id):
            return None
        settled = tuple(map(_call_id, result.settled))
        self._record.add(Returned(run.turn, call_id, result.result, result.ok, result.unknown, settled))
        at = wall()
        self._legs.tool(run.turn, self._record.meta.tool_runs, (at - run.began_at) * 1000, at)
        detail = {
            "turn": run.turn,
            "tool": run.call.name,
            "ok": result.ok,
            "pid": result.pid,
            "replayed": result.replayed,
            "unknown": result.unknown,
        }
        self._log.log_call_event(self._info.call, "tool_returned", detail, at)
        self._log.write(self._row(run, result))
        return run.turn

    def _row(self, run: _Run, result: ToolResult | None = None) -> LogTool:
        """The run for the call log, before and after."""
        spec = self._specs[run.call.name]
        asked = LogTool(
            self._info.call,
            run.call.id,
            run.turn,
            spec.name,
            kept_arguments(run.call.arguments, spec.logged),
            run.began_at,
        )
        if result is None:
            return asked
        return msgspec.structs.replace(
            asked,
            ok=result.ok,
            unknown=result.unknown,
            replayed=result.replayed,
            made=spec.outcome if result.ok else "",
            took_ms=(wall() - run.began_at) * 1000,
        )


def _call_id(key: str) -> str:
    return key.rpartition(":")[2]


def returned(turn: int, call: ToolCall, why: str = "") -> Returned:
    """The engine's own answer to a call: done, or why not."""
    return Returned(turn, call.id, json.dumps({"error": why} if why else {"ok": True}), not why)
