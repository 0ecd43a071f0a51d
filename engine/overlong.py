"""Replies that no caller is meant to hear, and calls of tools that no tool takes: where a model's stream is cut.

A model that has gone astray, or does what somebody on the telephone talked it into, may write for ever. What is past
these limits is not read, so nobody holds it: neither the session nor the log nor a tape, nor the next request.
"""

import msgspec

from engine.messages import ModelDelta, ModelDone, Usage

CALLS_MOST = 16 * 1024  # bytes, all calls of one reply: a good one has a few hundred
TEXT_MOST = 16 * 1024  # characters of one reply: a quarter of an hour of speech
NAME_MOST = 64  # OpenAI: function names
OVERLONG = "overlong calls"  # the finish_reason of a stream that was cut in its calls
_A_CALL = 256  # what each weighs in itself: a thousand empty ones are too many, too


class Measure:
    """What one attempt at a reply holds so far."""

    def __init__(self) -> None:
        self._text = 0
        self._calls = 0
        self._begun: set[int] = set()

    def take(self, delta: ModelDelta) -> tuple[ModelDelta, ModelDone | None]:
        """The piece as it may be passed on, and the end of the stream if that is over a limit.

        Calls end as `OVERLONG`, without the text of the one that was too much; words as those whose tokens ran out.
        """
        self._text += len(delta.text)
        if self._text > TEXT_MOST:
            return msgspec.structs.replace(delta, text=""), ModelDone(delta.request, "length", Usage())
        if delta.tool_index >= 0:
            self._calls += _bytes(delta.tool_name) + _bytes(delta.tool_arguments)
            if delta.tool_index not in self._begun:
                self._begun.add(delta.tool_index)
                self._calls += _A_CALL
        if self._calls > CALLS_MOST:
            return _cut(delta), ModelDone(delta.request, OVERLONG, Usage())
        return delta, None


def _cut(delta: ModelDelta) -> ModelDelta:
    return msgspec.structs.replace(
        delta, tool_id="", tool_name=delta.tool_name[:NAME_MOST], tool_arguments=""
    )


def _bytes(text: str) -> int:
    return len(text.encode("utf-8", "surrogatepass"))
