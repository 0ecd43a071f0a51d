"""A reply that is thought of before the caller's turn is over, and that nothing hears until it is.

When a turn is expected to end, the model is asked as if it had ended: `think`. Of that request nothing is written,
nothing is spoken and no tool is run: what comes of it is held here. When the turn has ended, been written and taken,
the model is to be asked; if that is the very question that was asked already (`asked_already`), what was held is
released, in order, and is treated as if it came now. Any other question makes an end of it, as does a caller who goes
on: `drop`. So there is no list of what may have happened meanwhile: what the model should know of it is in the
question.

A host that dies meanwhile leaves no trace of it; its successor hears of the turn when it ends.
"""

from collections.abc import Callable

import msgspec

from engine.actor import Ref
from engine.messages import Cancel, ReplyEnded, ReplyFailed, Respond, Sentence, ToolCalls
from engine.telemetry import count

Told = Sentence | ToolCalls | ReplyEnded | ReplyFailed


class Speculating:
    """One call's speculation, of which at most one is under way.

    `cancelled` is told the request of one that is dropped before its reply was whole, `settle` the end of one that is
    dropped after that: it has cost as much as any.
    """

    def __init__(
        self, llm: Ref, cancelled: Callable[[int], None], settle: Callable[[ReplyEnded], None]
    ) -> None:
        self._llm = llm
        self._cancelled = cancelled
        self._settle = settle
        self._ask: Respond | None = None
        self._text = ""
        self._held: list[Told] = []
        self._free: list[Told] = []  # released, and not yet treated

    def think(self, text: str, ask: Respond) -> None:
        """Asks the model what it would be asked if the turn were over with that text."""
        if self._ask is not None and _same(ask, self._ask):
            return
        self.drop()
        count("speculations")
        self._ask, self._text = ask, text
        self._llm.tell(ask)

    def hold(self, told: Told) -> bool:
        """Whether this belongs to it, and is held. One that fails is none any more: the turn will ask anew."""
        if self._ask is None or told.request != self._ask.request:
            return False
        if isinstance(told, ReplyFailed):
            self._ask, self._held = None, []
            count("speculations_failed")
            return False
        self._held.append(told)
        return True

    def heard(self, text: str) -> None:
        """The caller's words so far: others than those that it answers make an end of it."""
        if self._ask is not None and text != self._text:
            self.drop()

    def asked_already(self, ask: Respond) -> int:
        """The request in which the model was asked just that, and whose answer is then free; 0 if there is none."""
        if self._ask is None or not _same(ask, self._ask):
            self.drop()
            return 0
        count("speculations_used")
        request = self._ask.request
        self._ask, self._held, self._free = None, [], self._held
        return request

    def released(self) -> list[Told]:
        """What has been held and is free now, once."""
        free, self._free = self._free, []
        return free

    def drop(self) -> None:
        """It answers nothing that the caller will have said."""
        ask, held = self._ask, self._held
        self._ask, self._held = None, []
        if ask is None:
            return
        count("speculations_dropped")
        if held and isinstance(held[-1], ReplyEnded):
            self._settle(held[-1])
        else:
            self._llm.tell(Cancel(ask.request))
            self._cancelled(ask.request)


def _same(one: Respond, other: Respond) -> bool:
    """Whether two requests ask the same."""
    return msgspec.structs.replace(one, request=other.request) == other
