"""CallActor: the conversation. Owns the call's record, commands its Llm, Stt, Tts and playback.

Told:  by Stream  Attached, Refused
       by Media   SpeechPlayed, Cleared, DtmfPressed, CallerGone
       by Stt     SpeechStarted, Interim, Final, TurnEnded, TurnResumed, SttLost, SttBack
       by Llm     Sentence, ToolCalls, AttemptFailed, ReplyEnded, ReplyFailed
       by tools   ToolResult
Tells: Stream     Attach, CallEnded
       Media      Speak, Hush, Clear, HangUp, Transfer, Noted
       Stt        Took
       Llm        Respond, Cancel
       tools      ToolRequest

Nothing is acted on before it is in the session: the caller's turn before `Respond`, calls of tools before
`ToolRequest`, results before the next `Respond`, each sentence before `Speak`. A refused write means that a newer epoch
has the call, and ends this actor silently. Who may speak is decided in `engine.turns` alone.
"""

import asyncio
from typing import Any

from actors import hearing
from actors.keys import Keys
from actors.parts import CallParts, CallPorts
from engine import phrases
from engine.actor import Actor
from engine.callrows import Speaker
from engine.clock import now, wall
from engine.history import Cause, TurnBegan
from engine.messages import (
    Attach,
    Attached,
    AttemptFailed,
    CallEnded,
    CallerGone,
    Cleared,
    Down,
    DtmfPressed,
    Interim,
    Refused,
    ReplyEnded,
    ReplyFailed,
    Sentence,
    SpeechPlayed,
    Start,
    SttBack,
    SttLost,
    Tick,
    Took,
    ToolCalls,
    ToolResult,
    TurnEnded,
    TurnResumed,
)
from engine.outcomes import End
from engine.record import Fenced
from engine.settings import Settings
from engine.telemetry import count
from engine.turns import (
    Agent,
    Answer,
    AskAgain,
    Decision,
    Fill,
    Goodbye,
    Ignore,
    Interrupt,
    Prepare,
)

LAST_WRITES_S = (0.1, 0.4, 1.0, 2.0)  # pauses in which the call's end waits for its last write
WRITE_AGAIN_S = 1.0  # pause between tries while Redis is away, which fail at once


class CallActor(Actor):
    """One call's conversation, from its session to its end."""

    def __init__(self, start: Start, ports: CallPorts, settings: Settings) -> None:
        super().__init__()
        self._start_message = start
        self._call = start.info.call
        self._ports = ports
        self._settings = settings
        self._attached = False
        self._keys = Keys(settings.keys_pause_s)
        self._told_taken = -1
        self._last_writes = list(LAST_WRITES_S)
        self._armed: tuple[float, asyncio.TimerHandle] | None = None
        self._writing_again = False
        self._ended_s: float | None = None  # since when everybody else takes the call for over

    async def started(self) -> None:
        ports, settings = self._ports, self._settings
        stored = await ports.store.take(self._call, self._start_message.last_epoch)
        stored.info = stored.info or self._start_message.info  # written again, should Redis lose them
        stored.context = self._context = stored.context or ports.context
        parts = CallParts.of(self, self._start_message.info, stored, ports, settings)
        self._record, self._legs, self._turns = parts.record, parts.legs, parts.turns
        self._speaking, self._hearing, self._ending = parts.speaking, parts.hearing, parts.ending
        self._replying, self._runs = parts.replying, parts.runs
        meta = self._record.meta
        ports.stream.tell(Attach(self._record.epoch, meta.took + 1, meta.noted))
        self.after(settings.attach_s, Tick("unattached"))

    async def receive(self, message: Any) -> None:
        try:
            await self._receive(message)
            for held in self._replying.speculating.released():
                await self._receive(held)
            self._tell_taken()
            self._follow_agent()
            self._arm()
            self._write_later()
        except Fenced:
            count("calls_fenced")
            self.stop()

    async def _receive(self, message: Any) -> None:
        match message:
            case Attached():
                await self._attach(message)
            case Refused():
                raise Fenced(f"{self._call}: refused")
            case Tick("unattached"):
                if not self._attached:
                    raise Fenced(f"{self._call}: no stream attached it")
            case Tick("unwritten"):
                await self._finish()
            case _ if self._ended_s is not None:
                count("told_after_the_end")
            case _ if not self._attached:
                count("told_before_attached")
            case Interim() | TurnEnded() | DtmfPressed() if self._ending.final:
                count("told_after_the_end")
            case Sentence() | ToolCalls() | ReplyEnded() | ReplyFailed() if self._replying.speculating.hold(
                message
            ):
                pass
            case Interim(utterance, text, at):
                self._hearing.words()
                self._replying.speculating.heard(text)
                if utterance > self._record.meta.took:
                    await self._decide(self._turns.interim(now(), text), interim_at=at)
            case TurnEnded(eager=True):
                if message.utterance > self._record.meta.took:
                    await self._decide(self._turns.end_expected(message.text))
            case TurnResumed():
                self._replying.speculating.drop()
            case TurnEnded():
                await self._turn_ended(message)
            case SpeechPlayed():
                await self._speaking.played(message, self._keys.may_note(message.n))
            case Cleared(at):
                self._speaking.cleared(at)
                self._replying.ask()
            case Sentence(request, _, text):
                await self._replying.sentence(request, text)
            case ToolCalls(request, calls):
                await self._replying.tool_calls(request, calls)
                self._hold()
            case ToolResult():
                await self._tool_result(message)
            case AttemptFailed():
                self._replying.troubled(message)
                self._turns.troubled()
            case ReplyEnded() | ReplyFailed():
                await self._reply_over(message)
            case DtmfPressed(n, digit):
                await self._key(n, digit)
            case CallerGone():
                await self._caller_gone(message)
            case Tick():
                await self._tick(message)
            case SttLost(why, for_good):
                self._log("stt_lost", {"why": why, "for_good": for_good})
                await self._hearing.lost(message)
            case SttBack(away_ms, by):
                self._log("stt_back", {"away_ms": away_ms, "by": by})
                self._hearing.back()
            case Down(child, reason):
                raise RuntimeError(f"{child} failed: {reason}")

    # --- taking the call

    async def _attach(self, attached: Attached) -> None:
        record = self._record
        self._attached = True
        cut_off = record.attach(attached.stream, attached.ledger)
        answered_at = record.meta.answered_at
        self._ports.log.open_call(self._start_message.info, answered_at)
        self.after(max(0.0, answered_at + self._settings.max_call_s - wall()), Tick("too_long"))
        if not record.items:
            self._log("call_started", {"stream": attached.stream, "epoch": record.epoch})
            await self._speaking.say_turn(Cause.GREETING, self._context.greeting)
        else:
            self._log("call_resumed", {"stream": attached.stream, "epoch": record.epoch, "cut_off": cut_off})
            self._speaking.log_again()
            await self._resume(cut_off)
            self._turns.resumed(now(), attached.silence_ms / 1000)
        self._follow_agent()
        for utterance in attached.utterances:
            if utterance.ended:
                await self._turn_ended(TurnEnded(utterance.utterance, utterance.text))
            else:
                await self._decide(self._turns.interim(now(), utterance.text), interim_at=wall())
        for key in attached.dtmf:
            await self._key(key.n, key.digit)

    async def _resume(self, cut_off: bool) -> None:
        """Goes on where the session and the ledger say that the call stands."""
        record = self._record
        if cut_off:
            await self._speaking.say_turn(Cause.RESUMED, phrases.CUT_OFF)
        else:
            self._ending.recall()
            await record.save()
            self._speaking.resume()
            self._hearing.resume(record.items)
            self._replying.resume()
        self._runs.resume()
        if self._ending.decided is not None:
            self._ending.tell_media()
        else:
            self._replying.ask()

    # --- the caller

    async def _decide(self, decisions: list[Decision], interim_at: float = 0.0, ended: Any = None) -> None:
        for decision in decisions:
            match decision:
                case Interrupt():
                    await self._interrupt(interim_at)
                case Prepare(text):
                    self._replying.speculate(text)
                case Answer(utterance, text):
                    await self._answer(Cause.SPEECH, text, utterance, ended)
                case Ignore(utterance):
                    self._record.meta.took = utterance
                    await self._record.save()
                case Fill():
                    await self._replying.fill()
                case AskAgain():
                    self._log("silence", {})
                    await self._hearing.ask_again()
                case Goodbye():
                    await self._hearing.give_up()

    async def _turn_ended(self, ended: TurnEnded) -> None:
        self._hearing.words()
        if ended.utterance <= self._record.meta.took:
            self._told_taken = -1  # Stt does not know yet
        elif self._ending.gone is None:
            decisions = self._turns.ended(now(), ended.utterance, ended.text)
            await self._decide(decisions, interim_at=ended.at, ended=ended)

    async def _answer(self, cause: Cause, text: str, utterance: int, ended: TurnEnded | None) -> None:
        record, meta = self._record, self._record.meta
        meta.turn += 1
        if utterance:
            meta.took = utterance
        at = ended.at if ended is not None and ended.at else wall()
        record.add(TurnBegan(meta.turn, cause, text, at, utterance))
        self._replying.begin(meta.turn)
        await record.save()
        self._legs.turn_began(meta.turn, at, ended.spoke_until if ended is not None else 0.0)
        self._ports.log.log_transcript(self._call, meta.turn, 0, Speaker.CALLER, text, at)
        self._replying.ask()

    async def _key(self, n: int, digit: str) -> None:
        pause_s = self._keys.press(n, digit)
        await self._decide(self._turns.key_pressed(now()))
        self.after(pause_s, Tick("keys", n))

    async def _read_keys(self) -> None:
        keys = self._keys.read()
        self._record.meta.noted = max(self._record.meta.noted, self._keys.last_n)
        self._log("keys", {"count": len(keys)})
        await self._answer(Cause.KEYS, phrases.KEYS_PRESSED.format(keys=keys), 0, None)
        self._speaking.note()

    async def _interrupt(self, interim_at: float) -> None:
        meta = self._record.meta
        self._replying.cancel()
        meta.interruptions += 1
        self._speaking.clear(interim_at)
        self.after(self._settings.cleared_s, Tick("cleared", meta.interruptions))
        self._log("interrupted", {"turn": meta.turn})
        await self._ending.take_back()

    # --- the agent

    async def _reply_over(self, over: ReplyEnded | ReplyFailed) -> None:
        self._replying.settle(over)
        if self._ending.gone is not None:
            await self._finish_if_done()
        else:
            await self._replying.over(over)

    async def _tool_result(self, result: ToolResult) -> None:
        turn = self._runs.finish(result)
        if turn is not None:
            await self._tool_settled(turn)

    def _hold(self) -> bool:
        pause_s = self._runs.held_for_s()
        if pause_s is None:
            return False
        self.after(pause_s, Tick("held"))
        return True

    async def _held(self) -> None:
        """A change waits for the session, which Redis did not take at once."""
        await self._record.save()
        if self._record.protected:
            self._runs.release()
        elif not self._hold():
            await self._tool_settled(self._runs.refuse_held())

    async def _tool_settled(self, turn: int) -> None:
        await self._record.save()
        if self._ending.gone is not None:
            await self._finish_if_done()
        else:
            await self._replying.tool_returned(turn)

    # --- what follows from every message

    def _tell_taken(self) -> None:
        """Stt may forget what the session holds; while Redis is away it keeps everything."""
        took = self._record.meta.took
        if self._attached and self._record.protected and took != self._told_taken:
            self._told_taken = took
            self._ports.stt.tell(Took(took))

    def _follow_agent(self) -> None:
        """What the agent is doing follows from the record; turn-taking is told."""
        if not self._attached:
            return
        if self._record.unsettled() and not self._speaking.clearing:
            state = Agent.SPEAKING
        elif self._replying.under_way:
            state = Agent.THINKING
        else:
            state = Agent.QUIET
        self._turns.agent_is(state, now())

    def _write_later(self) -> None:
        """What Redis did not take is written again soon: nothing else need happen on the call that would bring it."""
        if (
            self._attached
            and not self._record.protected
            and not self._writing_again
            and self._ended_s is None
        ):
            self._writing_again = True
            self.after(WRITE_AGAIN_S, Tick("unprotected"))

    def _arm(self) -> None:
        busy = self._ending.near or self._keys.waiting  # whoever is pressing keys is not silent
        due_s = self._turns.deadline_s() if self._attached and not busy else None
        if self._armed is not None and self._armed[0] != due_s:
            self.cancel(self._armed[1])
            self._armed = None
        if self._armed is None and due_s is not None:
            self._armed = (due_s, self.after(max(0.0, due_s - now()), Tick("silence")))

    # --- time

    async def _tick(self, tick: Tick) -> None:
        match tick:
            case Tick("silence"):
                self._armed = None
                await self._decide(self._turns.silent(now()))
            case Tick("too_long"):
                await self._interrupt(0.0)
                await self._speaking.say_turn(Cause.PROMPT, phrases.TOO_LONG)
                await self._ending.decide(End.COMPLETED, final=True)
            case Tick(hearing.LOST | hearing.BACK):
                await self._hearing.rang(tick, pause=self._turns.agent is Agent.QUIET)
            case Tick("held") if self._runs.holding:
                await self._held()
            case Tick("unprotected"):
                self._writing_again = False
                await self._record.save()
            case Tick("gone"):
                await self._finish()
            case Tick("keys", n) if self._keys.complete(n):
                await self._read_keys()
            case Tick("cleared", n) if n == self._record.meta.interruptions and self._speaking.clearing:
                count("clears_unanswered")
                self._speaking.cleared(0.0)
                self._replying.ask()

    # --- the end

    async def _caller_gone(self, gone: CallerGone) -> None:
        self._ending.gone = gone
        self._speaking.silent = True
        self._replying.cancel()
        self._log("caller_gone", {"why": gone.why})
        settings = self._settings
        self.after(settings.tool_timeout_s + settings.tool_settle_s + 1.0, Tick("gone"))
        await self._finish_if_done()

    async def _finish_if_done(self) -> None:
        """A tool that is running is waited for, and the tokens of a reply that was cut: both belong in the record."""
        if not self._runs.busy and not self._replying.usage_is_due:
            await self._finish()

    async def _finish(self) -> None:
        """Writes the end, and ends. While Redis is away the others are told that the call is over, and this actor lives
        on until the session has its end, which nothing later would bring.
        """
        self._speaking.drop_unsettled()
        written = await self._ending.write()
        if not written and self._last_writes:
            self.after(self._last_writes.pop(0), Tick("unwritten"))
            return
        if self._ended_s is None:
            self._ended_s = now()
            self._ending.log()
            self._ports.stream.tell(CallEnded(self._call, self._record.meta.ending))
        if written:
            self.stop()
        elif now() - self._ended_s < self._settings.outage_s:
            self.after(WRITE_AGAIN_S, Tick("unwritten"))
        else:
            count("sessions_unfinished")
            self.stop()

    def _log(self, kind: str, detail: dict[str, Any]) -> None:
        self._ports.log.log_call_event(self._call, kind, detail, wall())
