"""A call in Redis: one hash, `call:{sid}`, written by the CallActor that holds the highest epoch.

A write names its epoch; a script refuses it when a newer one has been taken. A write has a deadline: past it the call
goes on unprotected, and what was not written goes with the next write. While Redis is known to be away nobody waits for
it (`engine/reach.py`). Writes are counted: one that finds fewer than were answered tells that Redis has lost some (it
was started without its data, or in its place one that lagged), and all is written again. Values are JSON.

    epoch          the highest epoch taken
    writes         how many writes there were, takes too
    info           CallInfo
    context        CallerContext, put there while it rings
    meta           Meta: stream, counters, timestamps, usage
    item:000001..  the history, an item each
    next           hangup | transfer | fallback | unsaid | "": what `stream-ended` is to answer
    broken_at      wall time at which the stream ended without `next`, and broken_times: how often
    token          the one-time token of its next stream, the last that was made, until that stream begins
    where          Whereabouts of a live call, and where_stream: the stream that they are of
    asked          Twilio has asked what comes after that stream

Beside them, `calls:slots`: the calls that count against the capacity, by the time at which each one's lease ends. A
call takes its slot when it rings, leased until its token is too old; the replica that has its stream renews it, and
gives it back. So a killed replica's slots free themselves, and a call that goes on elsewhere still has its own. Leases
are by Redis's clock: replicas on other machines have others. `gone:{sid}` is there for a while after Twilio has told
of a call's end, which may be before the call has a slot.

And `calls:asking`: calls whose stream is over, until Twilio has asked what comes next, or for `ASKING_S`. While one is
there, the app is not stopped: its caller may be about to be put through.
"""

import asyncio
import logging
import secrets
from collections.abc import Collection
from enum import Enum
from typing import NamedTuple

import msgspec

from engine import scripts
from engine.clock import outside
from engine.history import AnyItem
from engine.messages import CallerContext, CallInfo, Usage
from engine.redis_client import LOST, RedisClient, Script, SessionAway

log = logging.getLogger("engine.session")

READ_LIMIT_S = 2.0
LOOK_S = 0.25
LEASE_S = 10.0  # a killed replica's calls are taken up elsewhere in about a second, or never
ASKING_S = 5  # Twilio asks at once; with its retries, no later
SLOTS, ASKING = "calls:slots", "calls:asking"
# Set by the launcher while the app is being stopped, with a TTL: when running calls are to end, by Redis's clock.
DRAINING = "trunkline:draining"


class Written(Enum):
    """How a write went."""

    OK = "ok"
    FENCED = "fenced"
    AWAY = "away"
    LOST = "lost"  # not written: what was written before is gone, so all of it is to be written


class Order(NamedTuple):
    """Where a write stands among those of its call."""

    epoch: int
    number: int  # one more than that of the call's last write, whatever became of that
    since: int  # the last one that Redis said it had; 0: this one holds everything


class Meta(msgspec.Struct, omit_defaults=True):
    """What a session holds beside its history. Times are wall times; counters only grow."""

    stream: str = ""
    turn: int = 0
    request: int = 0
    took: int = 0
    noted: int = 0
    answered_at: float = 0.0
    ended_at: float = 0.0
    ending: str = ""
    prompt_tokens: int = 0
    cached_tokens: int = 0
    completion_tokens: int = 0
    model: str = ""
    interruptions: int = 0
    tool_runs: int = 0

    def count(self, usage: Usage) -> None:
        """Adds one reply's tokens."""
        self.prompt_tokens += usage.prompt
        self.cached_tokens += usage.cached
        self.completion_tokens += usage.completion


class Whereabouts(msgspec.Struct, frozen=True):
    """Where a live call runs: which process has its stream, which its CallActor.

    `state`: starting, running, searching (it has lost its CallActor), given up. `host` is a Ray actor's id.
    """

    call: str
    stream: str
    state: str
    epoch: int
    ingress_pid: int
    host: str = ""
    host_pid: int = 0


class Renewed(NamedTuple):
    """What a renewal of slots tells: how many seconds calls may still go on, if the app is being stopped; and those of
    them that Redis does not know to be live, because it was away, or has lost it.
    """

    left_s: float | None
    unlisted: list[str]


class Stored(msgspec.Struct):
    """A session as it was read; without its history (`items`) when it was only glanced at."""

    epoch: int
    info: CallInfo | None
    context: CallerContext | None
    meta: Meta
    items: dict[int, AnyItem]
    next: str
    broken_at: float
    writes: int = 0


class SessionStore(RedisClient):
    """All calls' sessions, over one Redis connection pool. Its own errors: `SessionAway` on reads and takes."""

    def __init__(
        self,
        url: str,
        ttl_s: int,
        write_ms: int,
        token_ttl_s: int,
        *,
        lease_s: float = LEASE_S,
        read_s: float = READ_LIMIT_S,
        look_s: float = LOOK_S,
    ) -> None:
        self._write_s = write_ms / 1000
        super().__init__(url, read_s=read_s, in_time_s=self._write_s, look_s=look_s)
        self._take = Script(self._redis, scripts.TAKE)
        self._write = Script(self._redis, scripts.WRITE)
        self._token = Script(self._redis, scripts.TOKEN)
        self._broke = Script(self._redis, scripts.BROKE)
        self._undecided = Script(self._redis, scripts.UNDECIDED)
        self._moved = Script(self._redis, scripts.MOVED)
        self._over = Script(self._redis, scripts.OVER)
        self._asked = Script(self._redis, scripts.ASKED)
        self._ring = Script(self._redis, scripts.RING)
        self._live = Script(self._redis, scripts.LIVE)
        self._renew = Script(self._redis, scripts.RENEW)
        self._taken = Script(self._redis, scripts.TAKEN)
        self._not_coming = Script(self._redis, scripts.NOT_COMING)
        self._hung_up = Script(self._redis, scripts.HUNG_UP)
        self._ttl_s = ttl_s
        self._token_ttl_s = token_ttl_s
        self.lease_s = lease_s

    # --- the conversation

    async def take(self, call: str, last_epoch: int) -> Stored:
        """Takes the next epoch of a call and reads its session."""
        epoch, flat = await self._answer(self._take, keys=[_key(call)], args=[last_epoch, self._ttl_s])
        fields = dict(zip(flat[::2], flat[1::2], strict=True))
        return _stored(int(epoch), fields)

    async def write(self, call: str, order: Order, fields: dict[str, bytes]) -> Written:
        """Writes fields, within the write deadline; while Redis is known to be away, fails at once."""
        if self._reach.away:
            return Written.AWAY
        args: list[bytes | str | int] = [*order, self._ttl_s]
        for name, value in fields.items():
            args += [name, value]
        try:
            async with asyncio.timeout(self._write_s):
                outcome = await outside(self._write(keys=[_key(call)], args=args))
        except LOST as error:
            log.warning("session of %s not written: %s", call, type(error).__name__)
            self._reach.missed(type(error).__name__)
            return Written.AWAY
        return Written(outcome.decode())

    # --- the webhooks

    async def ring(self, info: CallInfo, capacity: int) -> str:
        """A call rings: takes a slot for it, keeps what is known of it, and returns the stream's one-time token.

        Raises `NoSlot`. A call that has a slot already is not refused.
        """
        token = secrets.token_urlsafe(24)
        args: list[str | bytes | int] = [info.call, token, self._ttl_s, self._token_ttl_s]
        args += [msgspec.json.encode(info), capacity]
        keys = [SLOTS, _key(info.call), DRAINING, _gone(info.call)]
        refused = await self._answer(self._ring, keys=keys, args=args)
        if refused is not None:
            raise NoSlot(refused.decode())
        return token

    async def keep_context(self, call: str, context: CallerContext) -> None:
        """What is known of the caller, for the CallActor to find."""
        await self._keep(call, "context", msgspec.json.encode(context))

    async def redeem(self, token: str) -> str | None:
        """The call that a token was made for, once."""
        call = await self._answer(self._redis.getdel, f"token:{token}")
        return call.decode() if call else None

    async def read(self, call: str) -> Stored | None:
        """The session as it stands, or None."""
        fields = await self._answer(self._redis.hgetall, _key(call))
        return _stored(int(fields.get(b"epoch", 0)), fields) if fields else None

    async def glance(self, call: str) -> Stored | None:
        """The session but for its history, which webhooks don't need, and which may be what nobody can read."""
        names = [b"epoch", b"info", b"context", b"meta", b"next", b"broken_at"]
        values = await self._answer(self._redis.hmget, _key(call), names)
        fields = {name: value for name, value in zip(names, values, strict=True) if value is not None}
        return _stored(int(fields.get(b"epoch", 0)), fields) if fields else None

    async def broke(self, call: str, at: float, before: int) -> int:
        """A stream of a call ended at `at` and nothing was to come next; how often that has happened.

        `before` is how often it had when that stream was asked for: told again, it is not counted again.
        """
        args: list[bytes | int] = [msgspec.json.encode(at), before, self._ttl_s]
        return int(await self._answer(self._broke, keys=[_key(call)], args=args))

    async def new_token(self, call: str) -> str:
        """A one-time token for the call's next stream; its slot waits for that, whatever the capacity is. An older
        token that was not used is void: a webhook that is sent again is answered again, and only the last answer is
        followed.
        """
        token = secrets.token_urlsafe(24)
        args: list[str | int] = [call, token, self._ttl_s, self._token_ttl_s]
        await self._answer(self._token, keys=[SLOTS, _key(call)], args=args)
        return token

    async def gave_up(self, call: str, told: bool) -> None:
        """Nobody can run this call: `stream-ended` is to answer with the fallback; `told`: the caller knows why.

        If it has been decided what comes next, that is not changed: who asked for a person gets one.
        """
        args: list[bytes | int] = [b"fallback" if told else b"unsaid", self._ttl_s]
        await self._answer(self._undecided, keys=[_key(call)], args=args)

    async def _keep(self, call: str, name: str, value: bytes) -> None:
        """Puts one field; the session, perhaps a new one, has its whole time to live again."""
        async with self._redis.pipeline(transaction=True) as pipe:
            pipe.hset(_key(call), name, value)
            pipe.expire(_key(call), self._ttl_s)
            await self._answer(pipe.execute)

    # --- which calls are live, and their slots

    async def live(self, where: Whereabouts) -> None:
        """This call is live in this stream: its slot is leased, to be renewed."""
        args: list[str | bytes | float] = [where.call, where.stream, msgspec.json.encode(where)]
        args += [self.lease_s, self._ttl_s]
        await self._answer(self._live, keys=[SLOTS, _key(where.call)], args=args)

    async def moved(self, where: Whereabouts) -> None:
        """This live call's CallActor runs elsewhere, or nowhere."""
        args: list[str | bytes] = [where.stream, msgspec.json.encode(where)]
        await self._answer(self._moved, keys=[_key(where.call)], args=args)

    async def renew(self, calls: Collection[str]) -> Renewed:
        """These calls' slots are leased anew, and taken again where they were lost: a running call is not refused."""
        args: list[str | float] = [self.lease_s, self._ttl_s, *calls]
        left_s, *unlisted = await self._answer(self._renew, keys=[SLOTS, DRAINING], args=args)
        return Renewed(float(left_s) if left_s else None, [call.decode() for call in unlisted])

    async def over(self, call: str, stream: str) -> None:
        """This stream of the call is over. The slot is free, unless the call has gone on in a newer stream or waits
        for one.
        """
        args: list[str | int] = [stream, call, ASKING_S]
        await self._answer(self._over, keys=[SLOTS, _key(call), ASKING], args=args)

    async def asked(self, call: str) -> None:
        """Twilio has been told what comes after the call's stream, or has no question."""
        await self._answer(self._asked, keys=[ASKING, _key(call)], args=[call])

    async def unasked(self, call: str, stream: str) -> bool:
        """Whether the call has gone nowhere since this stream: Twilio has not asked, and there is no newer one."""
        names = ["info", "where_stream", "asked"]
        info, newest, asked = await self._answer(self._redis.hmget, _key(call), names)
        return info is not None and asked is None and newest in (None, stream.encode())

    async def not_coming(self, call: str, token: str) -> None:
        """No stream will come of this token: the slot that waits for it is free."""
        args: list[str | float] = [call, token, self.lease_s]
        await self._answer(self._not_coming, keys=[SLOTS, _key(call)], args=args)

    async def hung_up(self, call: str) -> None:
        """Twilio tells that the call has ended: no stream will come of it, and if it has still to ring, it takes no
        slot.
        """
        args: list[str | float] = [call, "", self.lease_s, self._token_ttl_s]
        await self._answer(self._hung_up, keys=[SLOTS, _key(call), _gone(call)], args=args)

    async def slots(self) -> list[str]:
        """The calls that have a slot, of all replicas."""
        return [call.decode() for call in await self._answer(self._taken, keys=[SLOTS])]

    async def whereabouts(self) -> list[Whereabouts]:
        """Where each live call runs; one that still rings runs nowhere."""
        async with self._redis.pipeline(transaction=False) as pipe:
            for call in await self.slots():
                pipe.hget(_key(call), "where")
            found = await self._answer(pipe.execute)
        return [msgspec.json.decode(where, type=Whereabouts) for where in found if where]


class SessionUnreadable(SessionAway):
    """What Redis has of a call is not what was written."""


class NoSlot(Exception):
    """This call is not taken; the message says why: "full", "draining", or "gone": it has ended already."""


def item_field(number: int) -> str:
    """The hash field of the history's item of that number."""
    return f"item:{number:06d}"


def _key(call: str) -> str:
    return f"call:{call}"


def _gone(call: str) -> str:
    return f"gone:{call}"


_ITEM = msgspec.json.Decoder(AnyItem)


def _stored(epoch: int, fields: dict[bytes, bytes]) -> Stored:
    """Raises `SessionUnreadable`."""
    try:
        return _decoded(epoch, fields)
    except ValueError as error:  # msgspec's too
        raise SessionUnreadable(f"a session can't be read: {error}") from error


def _decoded(epoch: int, fields: dict[bytes, bytes]) -> Stored:
    items = {
        int(name[5:]): _ITEM.decode(value)
        for name, value in sorted(fields.items())
        if name.startswith(b"item:")
    }
    info, context = fields.get(b"info"), fields.get(b"context")
    return Stored(
        epoch,
        msgspec.json.decode(info, type=CallInfo) if info else None,
        msgspec.json.decode(context, type=CallerContext) if context else None,
        msgspec.json.decode(fields.get(b"meta", b"{}"), type=Meta),
        items,
        fields.get(b"next", b"").decode(),
        msgspec.json.decode(fields.get(b"broken_at", b"0"), type=float),
        int(fields.get(b"writes", 0)),
    )
