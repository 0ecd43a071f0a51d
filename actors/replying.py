"""The agent's reply to a turn: the model is asked, its sentences are spoken, its calls of tools are run.

A turn has one reply and a reply one or more requests: the model is asked again when its tools have answered. What the
model tells of any other request is not heard. How often one request is tried is LlmActor's business; here it is
answered, or it has failed and the caller hears an apology.
"""

from dataclasses import dataclass
from typing import Any

from actors.ending import Ending
from actors.legs import Legs
from actors.speaking import Speaking
from actors.speculating import Speculating
from actors.toolruns import ToolRuns, returned
from engine import phrases
from engine.actor import Ref
from engine.calllog import CallLog
from engine.callrows import LogUsage, Part
from engine.clock import wall
from engine.history import (
    GO_ON,
    NOT_THE_MODEL,
    AnyItem,
    Called,
    Cause,
    ReplyDone,
    Said,
    TurnBegan,
    model_messages,
    unfinished_turn,
)
from engine.messages import AttemptFailed, Cancel, ReplyEnded, ReplyFailed, Respond, ToolCall, Usage
from engine.outcomes import End
from engine.record import CallRecord
from engine.sentences import is_whole
from engine.telemetry import count
from engine.tools import TRANSFER_CALL


@dataclass(frozen=True)
class Brief:
    """What the model is told beside the conversation."""

    prompt: str
    tools: list[dict[str, Any]]
    verbs: list[dict[str, Any]]  # those of the tools that the engine runs itself


@dataclass
class _Reply:
    turn: int
    request: int = 0  # 0: not asked for yet
    ended: bool = False
    go_on: bool = False
    may_call: bool = True


class Replying:
    """One call's replies, of which at most one is under way. All that writes raises `Fenced`."""

    def __init__(
        self,
        record: CallRecord,
        brief: Brief,
        llm: Ref,
        speaking: Speaking,
        runs: ToolRuns,
        ending: Ending,
        log: CallLog,
        legs: Legs,
    ) -> None:
        self._record = record
        self._brief = brief
        self._llm = llm
        self._speaking = speaking
        self._runs = runs
        self._ending = ending
        self._log = log
        self._legs = legs
        self._reply: _Reply | None = None
        self._cancelled: set[int] = set()  # requests whose usage is still to come
        self.speculating = Speculating(llm, self._cancelled.add, self.settle)
        self._fillers = 0
        self._fallback = ""  # the route that answered last, if not the first

    @property
    def under_way(self) -> bool:
        """Whether the caller waits for a reply, or for more of it."""
        return self._reply is not None

    @property
    def usage_is_due(self) -> bool:
        """Whether a request that was cancelled has not told yet what it cost."""
        return bool(self._cancelled)

    # --- asking

    def begin(self, turn: int, *, go_on: bool = False) -> None:
        """A turn waits for its reply. The request's number is taken at once, so that no successor uses it again."""
        self._reply = _Reply(turn, go_on=go_on)
        self._record.meta.request += 1

    def resume(self) -> None:
        """A reply that a predecessor did not finish goes on after what it said."""
        turn = unfinished_turn(self._record.items)
        if turn is not None:
            self.begin(turn, go_on=any(True for _ in self._record.sentences(turn)))

    def ask(self) -> None:
        """Asks the model, once what the caller heard is known and no tool is running."""
        reply = self._reply
        if reply is None or reply.request:
            return
        if self._speaking.clearing or self._runs.busy or self._ending.gone:
            return
        ask = self._question(reply, self._record.meta.request, self._record.items)
        reply.request = self.speculating.asked_already(ask)
        if not reply.request:
            reply.request = ask.request
            self._llm.tell(ask)
        self._legs.asked(reply.turn, reply.request)

    def speculate(self, text: str) -> None:
        """The caller's turn may be over with that text: the model is asked what it will be asked if it is."""
        if self._reply is not None or self._speaking.clearing or self._runs.busy or self._ending.near:
            return
        meta = self._record.meta
        meta.request += 1
        reply = _Reply(meta.turn + 1)
        items = [*self._record.items, TurnBegan(reply.turn, Cause.SPEECH, text, 0.0)]
        self.speculating.think(text, self._question(reply, meta.request, items))

    def _question(self, reply: _Reply, request: int, items: list[AnyItem]) -> Respond:
        messages = [{"role": "system", "content": self._brief.prompt}, *model_messages(items)]
        if reply.go_on:
            messages.append({"role": "system", "content": GO_ON})
        return Respond(
            reply.turn,
            request,
            self._record.next_index(reply.turn),
            messages,
            self._tools_for(reply),
            self._may_have_been_whole(reply),
        )

    def _tools_for(self, reply: _Reply) -> list[dict[str, Any]]:
        if not reply.may_call:
            return []
        return self._brief.verbs if self._runs.used_up else self._brief.tools

    def cancel(self) -> None:
        """The caller wants no more of it, nor of what may have been to come."""
        self.speculating.drop()
        reply, self._reply = self._reply, None
        if reply is not None and reply.request and not reply.ended:
            self._cancelled.add(reply.request)
            self._llm.tell(Cancel(reply.request))

    async def _ask_again(self, reply: _Reply) -> None:
        """A further request in the same turn."""
        self._record.meta.request += 1
        reply.request, reply.ended = 0, False
        await self._record.save()
        self.ask()

    # --- what the model says

    async def sentence(self, request: int, text: str) -> None:
        """The model said a sentence."""
        reply = self._answered_by(request)
        if reply is not None:
            self._legs.sentence(reply.turn, wall())
            await self._speaking.say(reply.turn, [text], request)

    async def fill(self) -> None:
        """The caller waits for long: says that the agent is at work."""
        if self._reply is not None:
            filler = phrases.FILLERS[self._fillers % len(phrases.FILLERS)]
            self._fillers += 1
            count("fillers")
            await self._speaking.say(self._reply.turn, [filler], NOT_THE_MODEL)

    def settle(self, over: ReplyEnded | ReplyFailed) -> None:
        """Counts what a request cost, whether or not it was cancelled."""
        self._record.meta.count(over.usage)
        model = over.model if isinstance(over, ReplyEnded) else ""
        self._log.write(LogUsage(self._record.call, Part.MODEL, str(over.request), wall(), model, over.usage))
        self._legs.replied(over.request, over.timings)
        self._cancelled.discard(over.request)

    async def over(self, over: ReplyEnded | ReplyFailed) -> None:
        """The model says no more to that request."""
        record, reply = self._record, self._answered_by(over.request)
        if reply is None:
            await record.save()
            return
        if isinstance(over, ReplyFailed):
            await self._failed(reply, over.why)
            return
        reply.ended = True
        self._answered(over)
        record.add(ReplyDone(reply.turn, over.request, over.usage))
        await record.save()
        if not self._runs.busy:
            self._reply = None

    def troubled(self, failed: AttemptFailed) -> None:
        """An attempt failed; another follows."""
        reply = self._answered_by(failed.request)
        if reply is not None:
            count("attempts_failed")
            self._tell_log("attempt_failed", {"turn": reply.turn, "why": failed.why, "route": failed.route})

    def _answered(self, ended: ReplyEnded) -> None:
        self._record.meta.model = ended.model or self._record.meta.model
        if ended.fallback != self._fallback:
            self._fallback = ended.fallback
            self._tell_log("model_switched", {"to": ended.fallback or "the first", "model": ended.model})

    async def _failed(self, reply: _Reply, why: str) -> None:
        self._tell_log("reply_failed", {"turn": reply.turn, "why": why})
        count("replies_failed")
        self._reply = None
        self._record.add(ReplyDone(reply.turn, reply.request, Usage()))
        await self._speaking.say(reply.turn, [self._sorry(reply)], reply.request)

    def _sorry(self, reply: _Reply) -> str:
        """The apology, which takes back a clause that was said and has no end now."""
        said = [one for one in self._record.sentences(reply.turn) if one.request != NOT_THE_MODEL]
        if not said or is_whole(said[-1].text):
            return phrases.APOLOGY
        begun = said[-1].request == reply.request or reply.go_on
        return phrases.LOST_THREAD if begun else phrases.APOLOGY

    def _answered_by(self, request: int) -> _Reply | None:
        reply = self._reply
        return reply if reply is not None and reply.request == request else None

    def _may_have_been_whole(self, reply: _Reply) -> bool:
        """Whether it goes on after words of a predecessor's that may have been all: it died before it knew."""
        if not reply.go_on:
            return False
        of_turn = (item for item in reversed(self._record.items) if item.turn == reply.turn)
        last = next(i for i in of_turn if not (isinstance(i, Said) and i.request == NOT_THE_MODEL))
        return isinstance(last, Said)

    # --- tools

    async def tool_calls(self, request: int, calls: tuple[ToolCall, ...]) -> None:
        """The model asks for tools."""
        reply = self._answered_by(request)
        if reply is None:
            return
        self._record.add(Called(reply.turn, request, calls))
        verb = self._runs.verb(calls)
        if verb is None:
            await self._record.save()
        plan = self._runs.plan(calls, reply.turn)
        for call, why in plan.refused:
            self._record.add(returned(reply.turn, call, why))
        if verb is not None:
            await self._end_call(reply, verb)
            return
        if plan.refused:
            await self._record.save()
        for call in plan.run:
            self._runs.start(call, reply.turn)
        for call in plan.held:
            self._runs.hold(call, reply.turn)
        reply.may_call = not plan.enough  # it was told why: now it has to answer
        if not self._runs.busy:
            await self._ask_again(reply)

    async def tool_returned(self, turn: int) -> None:
        """A tool that this turn's reply called has its result in the session."""
        reply = self._reply
        if self._runs.busy or reply is None:
            return
        if reply.turn == turn:
            await self._ask_again(reply)
        else:
            self.ask()

    async def _end_call(self, reply: _Reply, verb: ToolCall) -> None:
        """In the one write in which the verb gets into the session, so does what follows from it."""
        transfers = verb.name == TRANSFER_CALL
        ending = End.TRANSFERRED if transfers else End.COMPLETED
        self._record.add(returned(reply.turn, verb))
        self._ending.intend(ending)
        if not any(True for _ in self._record.sentences(reply.turn)):
            words = phrases.TRANSFERRING if transfers else phrases.GOODBYE
            await self._speaking.say(reply.turn, [words], reply.request)
        await self._ending.decide(ending)

    def _tell_log(self, kind: str, detail: dict[str, Any]) -> None:
        self._log.log_call_event(self._record.call, kind, detail, wall())
