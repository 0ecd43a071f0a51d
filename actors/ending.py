"""How a call ends: what was decided, whether the caller is gone, and what is written of it."""

from collections.abc import Mapping

from engine.actor import Ref
from engine.calllog import CallLog
from engine.clock import wall
from engine.messages import CallerGone, HangUp, Transfer, Usage
from engine.outcomes import End, facts_of, outcome_of
from engine.record import CallRecord

NEXT_HANG_UP, NEXT_TRANSFER, NEXT_FALLBACK = "hangup", "transfer", "fallback"
_NEXT = {End.TRANSFERRED: NEXT_TRANSFER, End.FAILED: NEXT_FALLBACK}
_DECIDED = {NEXT_TRANSFER: End.TRANSFERRED, NEXT_FALLBACK: End.FAILED}


class Ending:
    """One call's end. The session's `next` is written before Media is told: `stream-ended` reads it."""

    def __init__(
        self,
        record: CallRecord,
        media: Ref,
        log: CallLog,
        transfer_number: str,
        outcomes: Mapping[str, str],
    ) -> None:
        """`outcomes`: what a tool's success makes of a call, by tool."""
        self.decided: End | None = None
        self.final = False  # nothing that the caller says takes it back
        self.gone: CallerGone | None = None
        self._record = record
        self._media = media
        self._log = log
        self._transfer_number = transfer_number
        self._outcomes = outcomes

    @property
    def near(self) -> bool:
        """Whether nobody is to be asked, or waited for, any more."""
        return self.decided is not None or self.gone is not None

    def recall(self) -> None:
        """A predecessor may have decided it."""
        if self._record.next:
            self.decided = _DECIDED.get(self._record.next, End.COMPLETED)

    def intend(self, ending: End, *, final: bool = False) -> None:
        """The call is to end when the last words have been played: goes into the next write.

        One that has failed is put through to the fallback, if there is one.
        """
        self.decided, self.final = ending, final
        self._record.next = _NEXT.get(ending, NEXT_HANG_UP)

    async def decide(self, ending: End, *, final: bool = False) -> None:
        """As `intend`, written; Media is told. Raises `Fenced`."""
        self.intend(ending, final=final)
        await self._record.save()
        self.tell_media()

    async def take_back(self) -> None:
        """The caller went on speaking: the call goes on. Raises `Fenced`."""
        if self.decided is not None and not self.final:
            self.decided = None
            self._record.next = ""
            await self._record.save()

    def tell_media(self) -> None:
        """Media ends the stream after the last words."""
        if self.decided is End.TRANSFERRED:
            self._media.tell(Transfer(self._transfer_number))
        else:
            self._media.tell(HangUp(fallback=self.decided is End.FAILED))

    async def write(self) -> bool:
        """The session gets its last entry; whether Redis has it. Raises `Fenced`."""
        meta = self._record.meta
        if self.gone is not None and self.decided is None:
            self.decided = End.CALLER_HUNG_UP if self.gone.why == "stop" else End.DROPPED
        meta.ended_at = meta.ended_at or wall()
        meta.ending = self.decided or End.FAILED
        await self._record.save()
        return self._record.protected

    def log(self) -> None:
        """The call log gets its last entry."""
        meta = self._record.meta
        ending = End(meta.ending)
        self._log.finalize_call_log(
            self._record.call,
            ending,
            meta.ended_at,
            outcome_of(facts_of(self._record.items, ending, self._outcomes)),
            turns=meta.turn,
            interruptions=meta.interruptions,
            tool_calls=meta.tool_runs,
            usage=Usage(meta.prompt_tokens, meta.cached_tokens, meta.completion_tokens),
        )
