"""The vocabulary of the system: every message that one actor tells another.

Messages are frozen, tagged `msgspec` structs. Their JSON is what a link carries and what a tape holds,
a line each. Times are seconds on the sender's monotonic clock unless the name says `_ms` (milliseconds)
or `_at` (seconds since the Unix epoch).
"""

from enum import StrEnum
from typing import Any, Union

import msgspec


class Message(msgspec.Struct, frozen=True, tag=True, omit_defaults=True):
    """Base of all messages; `type` in JSON is the class's name."""


class Playback(StrEnum):
    """Where a sentence of the agent's is on its way to the caller's ear."""

    QUEUED = "queued"
    PLAYING = "playing"
    PLAYED = "played"
    DROPPED = "dropped"


# ---------------------------------------------------------------- who is calling


class CallerContext(msgspec.Struct, frozen=True, omit_defaults=True):
    """What the business knows of the caller, and how to speak to them."""

    greeting: str
    prompt: str
    customer: dict[str, Any] | None = None


class CallInfo(msgspec.Struct, frozen=True, omit_defaults=True):
    """A call as the webhook learned of it. `caller` is E.164 or "anonymous"; `attested` is STIR level A."""

    call: str
    caller: str
    called: str
    attested: bool
    started_at: float


# ---------------------------------------------------------------- Media -> Call


class DtmfPressed(Message, frozen=True):
    """A key of the telephone: 0-9 * # A-D."""

    n: int
    digit: str


class SpeechPlayed(Message, frozen=True):
    """What the caller has heard of one sentence: told at its start, at its end, and when it is cut.

    `audio_ms` is None while synthesis is still under way. `at` is the wall time of the sentence's first frame;
    `asked_at` of its text going to synthesis, `audio_at` of its first audio coming back.
    """

    n: int
    turn: int
    index: int
    state: Playback
    played_ms: float
    audio_ms: float | None
    at: float
    asked_at: float = 0.0
    audio_at: float = 0.0


class Cleared(Message, frozen=True):
    """The answer to `Clear`, after a `SpeechPlayed` for each sentence that it cut; `at`: when `clear` was sent."""

    at: float


class CallerGone(Message, frozen=True):
    """The stream ended: `stop` (hung up or redirected) or `dropped` (no stop was seen)."""

    why: str


# ---------------------------------------------------------------- Stt -> Call


class SpeechStarted(Message, frozen=True):
    """Voice activity; fires on noise too."""

    utterance: int


class Interim(Message, frozen=True):
    """The whole utterance so far, its tail may change. `at`: wall time of the vendor's message."""

    utterance: int
    text: str
    at: float = 0.0


class Final(Message, frozen=True):
    """The whole utterance so far, none of it will change. `at`: wall time of the vendor's message."""

    utterance: int
    text: str
    at: float = 0.0


class TurnEnded(Message, frozen=True):
    """The caller finished an utterance; `eager`: perhaps, either it comes again without, or `TurnResumed` comes.

    `at`: wall time of the vendor's message; `spoke_until`: wall time at which the last word ended.
    """

    utterance: int
    text: str
    at: float = 0.0
    spoke_until: float = 0.0
    eager: bool = False


class TurnResumed(Message, frozen=True):
    """The caller goes on with an utterance of which an eager `TurnEnded` was told."""

    utterance: int


class SttLost(Message, frozen=True):
    """Recognition is away: the caller is not heard. `for_good`: nothing that this call can do will bring it back."""

    why: str
    for_good: bool = False


class SttBack(Message, frozen=True):
    """Recognition is back after `away_ms`, by the vendor `by`."""

    away_ms: float
    by: str = ""


# ---------------------------------------------------------------- Call -> media plane


class Took(Message, frozen=True):
    """This utterance and all before it are in the session: Stt may forget them."""

    utterance: int


class Speak(Message, frozen=True):
    """One sentence to synthesise and play, after those before it."""

    epoch: int
    turn: int
    index: int
    text: str


class Hush(Message, frozen=True):
    """Stop synthesis of this turn and all before it."""

    turn: int


class Clear(Message, frozen=True):
    """Stop playback now, and forget a `HangUp` or `Transfer` that waits for it.

    Media answers with `SpeechPlayed` for each sentence that it cut or dropped, then `Cleared`.
    """


class Pause(Message, frozen=True):
    """Hold playback where it is."""


class Resume(Message, frozen=True):
    """Go on with held playback."""


class HangUp(Message, frozen=True):
    """End the call when all that was spoken has been played.

    `fallback`: who called is put through to the fallback number, if there is one.
    """

    fallback: bool = False


class Transfer(Message, frozen=True):
    """Dial `number` when all that was spoken has been played."""

    number: str


class Noted(Message, frozen=True):
    """Media's events up to its own number `n` are in the session."""

    n: int


# ---------------------------------------------------------------- taking over a call


class LedgerEntry(msgspec.Struct, frozen=True):
    """One sentence in Media's ledger."""

    turn: int
    index: int
    text: str
    state: Playback
    played_ms: float
    audio_ms: float | None
    at: float


class Utterance(msgspec.Struct, frozen=True):
    """An utterance that Stt holds. `age_ms`: since its last interim or final."""

    utterance: int
    text: str
    ended: bool
    age_ms: float


class Attach(Message, frozen=True):
    """A CallActor took this epoch and wants the call's media; `next_utterance` is its first unknown one."""

    epoch: int
    next_utterance: int
    noted: int


class Adopt(Message, frozen=True):
    """The epoch to obey from now on."""

    epoch: int
    next_utterance: int
    noted: int


class MediaHeld(Message, frozen=True):
    """Media's answer to `Adopt`: ledger, unread keys, and milliseconds since playback ended."""

    epoch: int
    ledger: tuple[LedgerEntry, ...]
    dtmf: tuple[DtmfPressed, ...]
    quiet_ms: float


class SttHeld(Message, frozen=True):
    """Stt's answer to `Adopt`: utterances not yet taken, and milliseconds since the caller's last words."""

    epoch: int
    utterances: tuple[Utterance, ...]
    quiet_ms: float


class TtsHeld(Message, frozen=True):
    """Tts's answer to `Adopt`."""

    epoch: int


class Attached(Message, frozen=True):
    """All that the media plane holds for the CallActor that attached."""

    epoch: int
    stream: str
    utterances: tuple[Utterance, ...]
    ledger: tuple[LedgerEntry, ...]
    dtmf: tuple[DtmfPressed, ...]
    silence_ms: float


class Refused(Message, frozen=True):
    """A newer epoch has the call: stop silently."""

    epoch: int


class Start(Message, frozen=True):
    """Stream asks a host to run this call; `last_epoch` is the highest it has seen, `attempt` counts from 0."""

    info: CallInfo
    stream: str
    last_epoch: int
    attempt: int = 0


class CallEnded(Message, frozen=True):
    """The CallActor is done; its host has forgotten it."""

    call: str
    ending: str


# ---------------------------------------------------------------- Llm


class ToolCall(msgspec.Struct, frozen=True):
    """One call that the model made; `arguments` is its JSON text, unchecked."""

    id: str
    name: str
    arguments: str


class Usage(msgspec.Struct, frozen=True, omit_defaults=True):
    """Tokens of one reply. `prompt` includes `cached`. `estimated`: counted by us, the stream was cut."""

    prompt: int = 0
    cached: int = 0
    completion: int = 0
    estimated: bool = False

    def __add__(self, other: "Usage") -> "Usage":
        return Usage(
            self.prompt + other.prompt,
            self.cached + other.cached,
            self.completion + other.completion,
            self.estimated or other.estimated,
        )


class Respond(Message, frozen=True):
    """Ask the model. `messages` and `tools` are as OpenAI's chat completions take them.

    `maybe_whole`: what was said of the reply already may be all of it, so that silence is an answer. `avoid`: a route
    that was of no use to this reply.
    """

    turn: int
    request: int
    first_index: int
    messages: list[dict[str, Any]]
    tools: list[dict[str, Any]]
    maybe_whole: bool = False
    avoid: str = ""


class Cancel(Message, frozen=True):
    """Drop this request and its connection now."""

    request: int


class Sentence(Message, frozen=True):
    """One speakable sentence of a reply, in order."""

    request: int
    index: int
    text: str


class ToolCalls(Message, frozen=True):
    """The model wants these run; told once, after the reply's last sentence."""

    request: int
    calls: tuple[ToolCall, ...]


class Timings(msgspec.Struct, frozen=True, omit_defaults=True):
    """Wall times of one reply: request sent, first token, first whole sentence. 0: did not happen."""

    asked_at: float = 0.0
    first_token_at: float = 0.0
    first_sentence_at: float = 0.0


class AttemptFailed(Message, frozen=True):
    """An attempt at the reply failed, by that route; the sentences told so far stand, and another attempt follows."""

    request: int
    why: str
    route: str = ""


class ReplyEnded(Message, frozen=True):
    """The reply is whole: it said something or called tools. `fallback`: the route that answered, if not the first."""

    request: int
    usage: Usage
    timings: Timings = Timings()
    model: str = ""
    fallback: str = ""


class ReplyFailed(Message, frozen=True):
    """The reply ended early or was cancelled; sentences told so far stand."""

    request: int
    why: str
    usage: Usage = Usage()
    timings: Timings = Timings()


class ModelDelta(Message, frozen=True):
    """A decoded piece of the model's stream: text, or a fragment of the tool call at `tool_index`."""

    request: int
    text: str = ""
    tool_index: int = -1
    tool_id: str = ""
    tool_name: str = ""
    tool_arguments: str = ""


class Trouble(StrEnum):
    """What is wrong with a model, as far as it decides what to do."""

    PASSING = "passing"  # it may be over in a moment
    SLOW = "slow"  # silent for too long
    FOR_GOOD = "for good"  # until somebody mends it: a wrong key, a model that is no more
    UNFIT = "unfit"  # it won't have this request; others are no matter


class Others(StrEnum):
    """The other routes to a model: none, none that is well, some."""

    NONE = "none"
    RESTING = "resting"
    WELL = "well"


class Failure(msgspec.Struct, frozen=True, omit_defaults=True):
    """How an attempt failed. `wait_s`: how long the vendor asks to be left alone. `given_up`: all calls avoid that
    route from now."""

    trouble: Trouble = Trouble.PASSING
    route: str = ""
    wait_s: float = 0.0
    others: Others = Others.NONE
    given_up: bool = False


class ModelDone(Message, frozen=True):
    """The model's stream ended: `finish` is OpenAI's finish_reason, or "error" with `why`.

    `failure`: how it failed; of a stream that ended well, what to reckon with if it was of no use. `fallback`: the
    route that answered, if it was not the first.
    """

    request: int
    finish: str
    usage: Usage
    model: str = ""
    why: str = ""
    failure: Failure = Failure()
    fallback: str = ""


# ---------------------------------------------------------------- Tool


class ToolRequest(Message, frozen=True):
    """Run one tool. `key` is the same whenever the same call is sent again; `caller` is E.164 or "anonymous", and
    `attested` if the number is vouched for (STIR level A).

    `spoken`: sentences of the agent's of which the caller had heard at least the beginning when they said what the tool
    is run for, newest last; only for one that wants them. `unsettled`: the keys of earlier changes in this call of
    which it is unknown whether they were done.
    """

    call: str
    epoch: int
    tool: str
    arguments: str
    caller: str
    key: str
    attested: bool = False
    spoken: tuple[str, ...] = ()
    unsettled: tuple[str, ...] = ()


class ToolResult(Message, frozen=True):
    """`result` is JSON text for the model. `ok` false: it did not do what was asked, and says why; `unknown`: of a
    change that may have been made all the same. `settled`: those of the request's `unsettled` keys of which
    this result tells, or has made sure, what became of them.
    """

    key: str
    ok: bool
    result: str
    took_ms: float = 0.0
    pid: int = 0
    replayed: bool = False
    unknown: bool = False
    settled: tuple[str, ...] = ()


# ---------------------------------------------------------------- runtime


class Drained(Message, frozen=True):
    """The app is being stopped, and its calls have had their time to end."""


class Tick(Message, frozen=True):
    """A timer of one's own went off."""

    name: str
    n: int = 0


class Down(Message, frozen=True):
    """A child ended with an error."""

    child: str
    reason: str


# ---------------------------------------------------------------- on tapes alone


class TapedSettings(Message, frozen=True):
    """The settings that a conversation depends on, by name, and the tools that the model was offered."""

    values: dict[str, Any]
    tools: list[dict[str, Any]]
    plain_greeting: str
    plain_prompt: str


class SessionTaken(Message, frozen=True):
    """A take's outcome: the session as JSON (`engine.session.Stored`)."""

    stored: str


class SessionWritten(Message, frozen=True):
    """A write's outcome: ok | fenced | away."""

    outcome: str


# ---------------------------------------------------------------- media plane, in one process


class CallerAudio(Message, frozen=True):
    """mu-law of the caller's, usually 160 bytes."""

    payload: bytes


class SpeechAudio(Message, frozen=True):
    """mu-law of one sentence, any length, in order."""

    epoch: int
    turn: int
    index: int
    payload: bytes
    asked_at: float = 0.0
    audio_at: float = 0.0


class SpeechWhole(Message, frozen=True):
    """All audio of this sentence has been told."""

    epoch: int
    turn: int
    index: int


class MarkEchoed(Message, frozen=True):
    """Twilio has played all that was sent before this mark, or dropped it at a `clear`."""

    name: str


class PlayedOut(Message, frozen=True):
    """Media to Stream: the last words before `goodbye` were played."""

    goodbye: HangUp | Transfer


# Every message, as one type for decoders.
AnyMessage: Any = Union[tuple(Message.__subclasses__())]  # noqa: UP007
