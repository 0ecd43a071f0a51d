"""What fails, who notices, how often it may, how long one waits before the next try, and what happens at last.

A part that fails is started again from a state that is known to be good, by whoever is above it: most faults are chance
and don't come again. One that does would be met for ever, so each supervisor counts. Who has run for a while before it
failed has not failed in a row. Who is above the limit gives up, and tells the one above: the fault is theirs now. In
the end that is the caller, who hears one true sentence and is put through.

    what fails           noticed by                         tried again                       at last
    -------------------  ---------------------------------  --------------------------------  ---------------------
    a CallActor          its host, which tells the stream   at once, `tries` in a row; one    a sentence, then the
                                                            that ran `steady_s` starts anew   fallback number
    a CallHost dies      its replica's wire, at once        as its calls' CallActors, but     the same
    a CallHost hangs     heartbeats: `silent_s`,            `host_steady_s` is enough; one
                         engine/wire.py                     call may lose `hosts` in all
    no CallActor comes   the stream's timer, `search_s`     no                                the same
    a CallHost that      its replica's pool                 after `make_again_s`, for ever    readiness says so;
    can't be made                                                                             calls are put through
    Media, Stt or Tts    their stream, as their parent      no: the socket is closed, and     as below
    of a stream                                             Twilio asks what comes next
    a stream             Twilio, or silence                 a new one, `streams` in a call    as a CallActor
    a vendor's socket    its reader, or a timer             at once, then after `SOCKETS`     engine/routes.py takes
                                                                                              another vendor
    a ToolActor replica  Serve; a call's ToolPort, by the   the same key, each                a change is settled for
                         lost answer                        `TOOL_AGAIN_S`, until             TOOL_SETTLE_S; then it
                                                            TOOL_TIMEOUT_S                    is unknown, and the
                                                                                              model is told so
    Redis                a write that is late or refused    looks, each REDIS_LOOK_S, for     tools change nothing,
                                                            ever: engine/reach.py             and new calls are put
                                                                                              through
    Postgres             the call log, by a batch           after `log`, for ever; rows wait  new rows are dropped,
                                                            in a spool with a bound           and counted
    an ingress replica   Serve: its loop is held up         Serve starts another              new streams elsewhere
    HAProxy              Serve; launcher/understudy.py      both start another                the number's fallback

Ends are in order, too: an actor has five seconds to end, then it is cancelled (engine/actor.py); a host is closed, then
killed (engine/host.py).

What a caller may notice, or another machine or network may need otherwise, is a setting; `Supervision.by` reads them.
Constants are what a protocol says, how often something is looked at, and the order of a process's own ends.
"""

import os
import random
from dataclasses import dataclass

from engine.settings import Settings


@dataclass(frozen=True)
class BackOff:
    """Pauses between tries: each is twice the one before, up to the longest."""

    first_s: float
    most_s: float

    def pause_s(self, attempt: int) -> float:
        """The pause before attempt `attempt`, from 0; a fifth more or less, so that those who lost the same thing
        together do not come back together.
        """
        return min(self.first_s * 2.0 ** min(attempt, 32), self.most_s) * random.uniform(0.8, 1.2)


TOOL_AGAIN_S = 0.2  # a lost answer comes in a fifth of the time that a replica takes to be replaced
SOCKETS = BackOff(0.1, 2.0)  # of vendors, after the first new try
AT_ONCE_S = (
    0.05  # within which that comes: calls that lost the vendor together don't come back in one instant
)


SOCKET_STEADY_S = 2.0  # one that has been of use for so long has not failed in a row
SHORT_LIVED = 3  # so many in a row that were of use and soon ended are chance; one more, and it is the vendor


class Sockets:
    """Counts the sockets that one actor loses to vendors. Times are given, nothing is waited for.

    One that ends is no failure: a vendor may close any number at once. It is one if nothing came of it, or if it is
    one of many that did not live long.
    """

    def __init__(self) -> None:
        self._in_a_row = 0

    def lost(self, lived_s: float, *, useful: bool) -> bool:
        """One is lost that was open for `lived_s` (0: it never was); whether that counts against its vendor."""
        if useful and lived_s >= SOCKET_STEADY_S:
            self._in_a_row = 0
        self._in_a_row += 1
        return not useful or self._in_a_row > SHORT_LIVED

    def pause_s(self, *, elsewhere: bool) -> float:
        """The pause before the next one is opened; `elsewhere`: at a vendor that is well."""
        if self._in_a_row <= 1 or elsewhere:
            return random.uniform(0, AT_ONCE_S)
        return SOCKETS.pause_s(self._in_a_row - 2)


@dataclass(frozen=True)
class CallActors:
    """Of one stream."""

    tries: int  # that may fail in a row
    steady_s: float  # one that has run the call for so long has not failed in a row, whatever ends it
    host_steady_s: float  # the same for one that was lost with its host, which is seldom the call's doing
    hosts: int  # that may be lost in all: a call that ends its hosts, slowly, ends those of others too
    search_s: float  # from losing one, or the stream's start, to the next


class Losses:
    """Counts how often a stream has lost its CallActor. Times are given, nothing is waited for."""

    def __init__(self, policy: CallActors) -> None:
        self._policy = policy
        self._in_a_row = 0
        self._hosts = 0

    def lost(self, ran_s: float, *, with_host: bool) -> bool:
        """One is lost that had run the call for `ran_s` (0: it never did); whether another may be tried."""
        policy = self._policy
        self._hosts += with_host
        steady_s = policy.host_steady_s if with_host else policy.steady_s
        self._in_a_row = 0 if ran_s >= steady_s else self._in_a_row + 1
        return self._in_a_row < policy.tries and self._hosts < policy.hosts


@dataclass(frozen=True)
class Hosts:
    """Of one ingress replica."""

    start_s: float  # longest start, and longest wait of a call for one
    silent_s: float  # without an answer to heartbeats
    make_again_s: float
    resumed_s: float  # after a loss none is started, but for calls that wait: a start takes a core of what may be two
    empty_s: float  # a start costs a second, and the last call may still be writing its end
    outage_s: float  # for one that is given back to write what it has
    warm_least: int = (
        2  # so that the first call of an idle replica has a host to go to, should its own be lost at once
    )
    making_most: int = min(4, os.cpu_count() or 2)  # at once; each keeps a core busy for seconds


@dataclass(frozen=True)
class Supervision:
    """The whole policy."""

    calls: CallActors
    hosts: Hosts
    streams: int  # new ones of one call, after drops
    log: BackOff = BackOff(0.1, 2.0)

    @classmethod
    def by(cls, settings: Settings) -> "Supervision":
        """As the settings want it."""
        return cls(
            CallActors(
                settings.call_tries,
                settings.call_steady_s,
                settings.host_steady_s,
                settings.hosts_per_call,
                settings.call_search_s,
            ),
            Hosts(
                settings.host_start_s,
                settings.host_silent_s,
                settings.host_again_s,
                settings.host_rest_s,
                settings.host_empty_s,
                settings.outage_s,
            ),
            settings.call_streams,
        )
