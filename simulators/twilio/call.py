"""One call, from ringing to its end: the documents that the app answers, run verb by verb."""

import asyncio
import time
from dataclasses import dataclass, field
from pathlib import Path

from simulators.twilio.fields import Identity, new_sid
from simulators.twilio.journal import CallEvent, Journal
from simulators.twilio.leg import Leg, StreamFailed, StreamIds
from simulators.twilio.line import Line, Person
from simulators.twilio.presence import Presence
from simulators.twilio.recording import Recording
from simulators.twilio.twiml import Connect, Dial, Hangup, Pause, Play, Redirect, Reject, Say, Verb, read
from simulators.twilio.webhook import WebhookFailed, Webhooks

MAX_DOCUMENTS = 50


@dataclass(frozen=True, slots=True)
class Next:
    """The document to fetch next, and the fields that its request has beyond the usual ones; or the document itself."""

    url: str
    fields: dict[str, str] = field(default_factory=dict)
    document: str = ""


class CallFailed(Exception):
    """The person's script or the call itself failed; the cause is chained."""


class SimCall:
    """A call under way. `await ended()` for its end; `events` for what happened."""

    def __init__(
        self,
        webhooks: Webhooks,
        identity: Identity,
        *,
        status_url: str | None,
        fallback_url: str | None,
        person: Person | None,
        action_on_hang_up: bool,
        max_s: float,
        keep_audio: bool,
        quiet_below: int,
        deaf: bool = False,
    ) -> None:
        self.sid = identity.call
        self.status = "ringing"
        self.journal = Journal()
        self.recording = Recording() if keep_audio else None
        self.line = Line(self.journal, self._hang_up, self.recording, quiet_below)
        self._webhooks = webhooks
        self._identity = identity
        self._status_url = status_url
        self._fallback_url = fallback_url
        self._action_on_hang_up = action_on_hang_up
        self._max_s = max_s
        self._deaf = deaf
        self._gone = asyncio.Event()  # the caller hung up
        self._elsewhere: Next | None = None  # where a redirect leads
        self._stir = asyncio.Event()  # either
        self._answered_at = 0.0
        self._presence = Presence(self.line, person, self._hang_up, self._fail)
        self._callbacks: list[asyncio.Task[None]] = []
        self._failure: Exception | None = None
        self._told = False
        self._task: asyncio.Task[None] | None = None

    # ---------------------------------------------------------------- for whoever dialled

    @property
    def events(self) -> list[CallEvent]:
        """All that happened so far (kinds: see `journal`)."""
        return self.journal.events

    @property
    def errors(self) -> list[CallEvent]:
        """What Twilio's debugger would show."""
        return self.journal.all("error")

    async def hang_up(self) -> None:
        """The caller puts the receiver down, also while it still rings."""
        self._hang_up()

    async def ended(self, timeout_s: float = 60.0) -> str:
        """Waits for the end and returns the call's last status.

        Raises `CallFailed` with what the person's script raised, and `TimeoutError` after `timeout_s`.
        """
        if self._task is None:
            raise RuntimeError("the call was never dialled: use SimTwilio.dial")
        done, _ = await asyncio.wait({self._task}, timeout=timeout_s)
        if not done:
            raise TimeoutError(f"call {self.sid} did not end in {timeout_s} s, at {self.events[-5:]}")
        await self._task  # raises what is a fault of this simulator
        self.raise_failure()
        return self.status

    def redirect(self, url: str, document: str = "") -> None:
        """The call goes on with the document at `url`, or with this one; a stream that it has gets `stop`.

        Twilio, "Call resource": update by `Url` or `Twiml`.
        """
        self.journal.note("redirected", url=url)
        self._elsewhere = Next(url, document=document)
        self._stir.set()
        if self.line.leg is not None:
            self.line.leg.stop()

    async def settled(self) -> None:
        """Waits for the end, whatever it is."""
        if self._task is not None:
            await asyncio.wait({self._task})

    async def abandon(self) -> None:
        """Cancels a call that won't end."""
        tasks = [task for task in (self._task, *self._callbacks) if task is not None and not task.done()]
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)

    def raise_failure(self) -> None:
        """Raises `CallFailed` if the call failed and nobody was told yet."""
        if self._failure is not None and not self._told:
            self._told = True
            last = [event for event in self.journal.events if event.kind != "stalled"][-8:]
            told = ", ".join(f"{event.kind} {event.detail}" for event in last)
            raise CallFailed(f"call {self.sid}: {self._failure!r}; last: {told}") from self._failure

    def record(self, path: Path | str) -> None:
        """Writes what both sides said: stereo WAV, the caller left, the agent right."""
        if self.recording is None:
            raise RuntimeError("the call was dialled with keep_audio=False")
        self.recording.write(path)

    def start(self, voice_url: str) -> None:
        """Begins to ring. `SimTwilio.dial` does this."""
        self._task = asyncio.create_task(self._run(voice_url), name=f"call {self.sid}")

    # ---------------------------------------------------------------- the call's life

    def _hang_up(self) -> None:
        self._gone.set()
        self._stir.set()
        if self.status == "ringing":  # the app is told at once, while its answer may still be on the way
            self.status = "canceled"
            self._callbacks.append(asyncio.create_task(self._tell_status(), name=f"status {self.sid}"))
        if self.line.leg is not None:
            self.line.leg.stop()

    async def _run(self, voice_url: str) -> None:
        try:
            async with asyncio.timeout(self._max_s):
                await self._follow(voice_url)
        except Exception as error:  # `max_s` is over, or this simulator is at fault: `ended` raises either
            self._fail(error)
        finally:
            self.status = {"ringing": "failed", "in-progress": "completed"}.get(self.status, self.status)
            self.journal.end(self.status)
            await self._presence.end()
        if self.status != "canceled":
            await self._tell_status()
        if self._callbacks:
            await asyncio.wait(self._callbacks)
        self.journal.note("ended", status=self.status)

    async def _follow(self, url: str) -> None:
        """Fetches documents and runs them until one has no successor."""
        following: Next | None = Next(url)
        for _ in range(MAX_DOCUMENTS):
            if following is None:
                return
            verbs = await self._fetch(following)
            following = None if verbs is None else await self._run_verbs(verbs)
            if self._elsewhere is not None and not self._gone.is_set():
                following, self._elsewhere = self._elsewhere, None
                self._stir.clear()
        raise RuntimeError(f"more than {MAX_DOCUMENTS} documents on one call: they go in a circle")

    async def _fetch(self, wanted: Next) -> list[Verb] | None:
        """The document, or None when there is none or nobody is left to hear it.

        A request that is under way when the caller hangs up still runs to its end. That the fallback URL also
        stands behind later documents, and not only the first, is unverified.
        """
        if wanted.document:
            return read(wanted.document.encode(), "")
        over = self._gone.is_set() and self.status == "in-progress"
        fields = self._identity.voice("completed" if over else self.status) | wanted.fields
        verbs = await self._webhooks.twiml(wanted.url, fields, self._fallback_url, self.journal)
        if self._gone.is_set():
            return None
        if verbs is None:  # the caller hears an error message, and the call ends
            self._answer()
        return verbs

    def _answer(self) -> None:
        if self.status != "ringing":
            return
        self.status = "in-progress"
        self._answered_at = time.monotonic()
        self.journal.note("answered")
        self._presence.begin()

    def _fail(self, error: Exception) -> None:
        self._failure = self._failure or error

    # ---------------------------------------------------------------- verbs

    async def _run_verbs(self, verbs: list[Verb]) -> Next | None:
        """Runs a document; returns what is asked for next, or None when the call ends."""
        if verbs and isinstance(verbs[0], Reject):
            self.journal.note("reject", reason=verbs[0].reason)
            self.status = "busy" if verbs[0].reason == "busy" else "no-answer"
            return None
        self._answer()
        for verb in verbs:
            if self._stir.is_set():
                return None
            match verb:
                case Connect():
                    following = await self._connect(verb)
                    if following is not None:
                        return following
                case Dial(number, action):
                    self.journal.note("dial", number=number)
                    if action is not None:
                        return Next(action, {"DialCallStatus": "completed", "DialCallSid": new_sid("CA")})
                case Redirect(target):
                    self.journal.note("redirect", url=target)
                    return Next(target)
                case Hangup() | Reject():
                    self.journal.note("hangup")
                    return None
                case Say(text):
                    self.journal.note("say", text=text)
                case Play(audio):
                    self.journal.note("play", url=audio)
                case Pause(length_s):
                    await self._pause(length_s)
        return None

    async def _pause(self, length_s: float) -> None:
        self.journal.note("pause", s=length_s)
        try:
            await asyncio.wait_for(self._stir.wait(), length_s)
        except TimeoutError:
            return  # nobody hung up meanwhile

    async def _connect(self, verb: Connect) -> Next | None:
        """Streams until the stream ends. None: go on with the verb after it, unless the caller is gone."""
        ids = StreamIds(new_sid("MZ"), self.sid, self._identity.account)
        leg = self.line.leg = Leg(ids, self.journal, deaf=self._deaf)
        error = ""
        try:
            signature = self._webhooks.sign(verb.url, {})
            await leg.run(
                verb.url, signature, verb.parameters, lambda: self._tell_stream(verb, ids, "started")
            )
        except StreamFailed as failed:
            error = f"{failed.code}: {failed}"
            self.journal.note("error", code=failed.code, why=str(failed))
            self.journal.note("stream_failed", why=error)
        finally:
            self.line.leg = None
        self._tell_stream(verb, ids, "error" if error else "stopped", error)
        if verb.action is None or (self._gone.is_set() and not self._action_on_hang_up):
            return None
        # Which stream fields Twilio sends to `action` is unverified: an app must not need them.
        return Next(verb.action, {"StreamSid": ids.stream} | ({"StreamError": error} if error else {}))

    # ---------------------------------------------------------------- what the app is told

    def _tell_stream(self, verb: Connect, ids: StreamIds, event: str, error: str = "") -> None:
        if verb.status_callback is None:
            return
        fields = self._identity.stream(ids.stream, verb.name, event, error)
        telling = self._tell(verb.status_callback, fields)
        self._callbacks.append(asyncio.create_task(telling, name=f"stream callback {self.sid}"))

    async def _tell_status(self) -> None:
        if self._status_url is None:
            return
        duration_s = int(time.monotonic() - self._answered_at) if self._answered_at else 0
        self.journal.note("status", status=self.status)
        await self._tell(self._status_url, self._identity.ended(self.status, duration_s))

    async def _tell(self, url: str, fields: dict[str, str]) -> None:
        """A callback: the answer is ignored, a failure is for the debugger only."""
        try:
            await self._webhooks.post(url, fields, self.journal)
        except WebhookFailed as failed:
            self.journal.note("error", code=failed.code, why=str(failed))
