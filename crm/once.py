"""Changes happen once, and it is always known whether they did.

A change runs in one unit of work with the check of the call's epoch and its own stored result, under a key that is
the same whoever sends it again. So it is refused to a superseded CallActor, and answers the same the second time. A
key can be voided: whoever comes with it later is told that nothing was done, and nothing is.

Only what is stored is an answer. A process that could not reach the records, or does not take the arguments, knows
nothing of what another one did under the same key.
"""

import hashlib
from collections.abc import Awaitable, Callable
from typing import Any

from crm.ports import Work
from crm.records import Stored
from engine.messages import ToolRequest

Answer = dict[str, Any]

REFUSED = "refused: a newer epoch has the call"
OTHER = "refused: this key was used with other arguments"
VOID = "This was not done: there was no answer in time. It may be tried again, if the caller still wants it."
EARLIER = (
    "Not done, because it has turned out what became of what was asked before: see `earlier`. Tell the caller, and "
    "ask again only for what they still want."
)


def arguments_hash(tool: str, arguments: str) -> str:
    """What a key is bound to: the tool and the text of its arguments."""
    return hashlib.sha256(f"{tool}\0{arguments}".encode("utf-8", "surrogatepass")).hexdigest()


async def change(
    work: Work, request: ToolRequest, run: Callable[[Work], Awaitable[Answer]]
) -> tuple[Answer, bool]:
    """Makes a change in `work`, or answers what it answered before (then True).

    Keys in `request.unsettled` are settled first. If one of them was done after all, the change is not made: the caller
    was told that it is not certain, and may not want it twice.
    """
    if await work.take_epoch(request.call, request.epoch) > request.epoch:
        return {"error": REFUSED}, False
    hashed = arguments_hash(request.tool, request.arguments)
    stored = await work.stored(request.key)
    if stored is not None:
        return _again(stored, hashed), True
    done = await _done_earlier(work, request)
    answer: Answer = {"error": EARLIER, "earlier": done} if done else await run(work)
    await work.store(request.key, request.call, request.tool, Stored(hashed, answer))
    return answer, False


async def settle(work: Work, request: ToolRequest) -> tuple[Answer, bool]:
    """What became of a change, and whether that was known before; if nothing did, its key is void from now on. A
    superseded CallActor is not told.

    With a key that becomes void those in `request.unsettled` are settled: who is told that nothing was done takes that
    for an answer about all that they asked for.
    """
    if await work.take_epoch(request.call, request.epoch) > request.epoch:
        return {"error": REFUSED}, True
    stored = await work.stored(request.key)
    known = stored is not None
    if stored is None:
        done = await _done_earlier(work, request)
        answer: Answer = {"error": EARLIER, "earlier": done} if done else {"error": VOID}
        stored = Stored(None, answer)
        await work.store(request.key, request.call, "", stored)
    return _again(stored, arguments_hash(request.tool, request.arguments)), known


async def _done_earlier(work: Work, request: ToolRequest) -> list[Answer]:
    """Settles the keys of which it is not known what became; what was done under them."""
    done = []
    for key in request.unsettled:
        stored = await work.stored(key)
        if stored is None:
            await work.store(key, request.call, "", Stored(None, {"error": VOID}))
        elif stored.arguments_hash and "error" not in stored.result:
            done.append(dict(stored.result))
    return done


def _again(stored: Stored, hashed: str) -> Answer:
    if stored.arguments_hash not in (None, hashed):
        return {"error": OTHER}
    return dict(stored.result)
