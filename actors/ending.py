"""How a call ends: what was decided, whether the caller is gone, and what is written of it."""

from engine.actor import Ref
from engine.calllog import CallLog
from engine.callrows import Outcome
from engine.clock import wall
from engine.messages import CallerGone, HangUp, Transfer, Usage
from engine.record import CallRecord

NEXT_HANG_UP, NEXT_TRANSFER, NEXT_FALLBACK = "hangup", "transfer", "fallback"
_NEXT = {Outcome.TRANSFERRED: NEXT_TRANSFER, Outcome.FAILED: NEXT_FALLBACK}
_DECIDED = {NEXT_TRANSFER: Outcome.TRANSFERRED, NEXT_FALLBACK: Outcome.FAILED}


class Ending:
    """One call's end. The session's `next` is written before Media is told: `stream-ended` reads it."""

    def __init__(self, record: CallRecord, media: Ref, log: CallLog, transfer_number: str) -> None:
        self.decided: Outcome | None = None
        self.final = False  # nothing that the caller says takes it back
        self.gone: CallerGone | None = None
        self._record = record
        self._media = media
        self._log = log
        self._transfer_number = transfer_number

    @property
    def near(self) -> bool:
        """Whether nobody is to be asked, or waited for, any more."""
        return self.decided is not None or self.gone is not None

    def recall(self) -> None:
        """A predecessor may have decided it."""
        if self._record.next:
            self.decided = _DECIDED.get(self._record.next, Outcome.COMPLETED)

    def intend(self, outcome: Outcome, *, final: bool = False) -> None:
        """The call is to end when the last words have been played: goes into the next write.

        One that has failed is put through to the fallback, if there is one.
        """
        self.decided, self.final = outcome, final
        self._record.next = _NEXT.get(outcome, NEXT_HANG_UP)

    async def decide(self, outcome: Outcome, *, final: bool = False) -> None:
        """As `intend`, written; Media is told. Raises `Fenced`."""
        self.intend(outcome, final=final)
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
        if self.decided is Outcome.TRANSFERRED:
            self._media.tell(Transfer(self._transfer_number))
        else:
            self._media.tell(HangUp(fallback=self.decided is Outcome.FAILED))

    async def write(self) -> bool:
        """The session gets its last entry; whether Redis has it. Raises `Fenced`."""
        meta = self._record.meta
        if self.gone is not None and self.decided is None:
            self.decided = Outcome.CALLER_HUNG_UP if self.gone.why == "stop" else Outcome.DROPPED
        meta.ended_at = meta.ended_at or wall()
        meta.outcome = self.decided or Outcome.FAILED
        await self._record.save()
        return self._record.protected

    def log(self) -> None:
        """The call log gets its last entry."""
        meta = self._record.meta
        self._log.finalize_call_log(
            self._record.call,
            Outcome(meta.outcome),
            meta.ended_at,
            turns=meta.turn,
            interruptions=meta.interruptions,
            tool_calls=meta.tool_runs,
            usage=Usage(meta.prompt_tokens, meta.cached_tokens, meta.completion_tokens),
        )
