"""SttActor: what the caller says. Feeds a listen socket; keeps utterances until they are taken, and audio until it has
become words for good, so that no word is lost with a socket.

A socket that ends, takes nothing, or tells nothing though the caller speaks, is replaced, by the next vendor if the
first one's breaker is open; the new one is given what the old one had not made words of. While a fallback serves, the
first vendor is tried again between turns.

Told:  by Stream  CallerAudio, Adopt
       by Call    Took
Tells: Call       SpeechStarted, Interim, Final, TurnEnded, TurnResumed, SttLost, SttBack
       Stream     SttHeld
"""

from typing import Any

from actors.listenline import LOUD_LEAST, Ended, ListenLine, Opened, Socket, Stalled
from engine import audio
from engine.actor import Actor, Ref
from engine.clock import now, wall
from engine.kept_audio import KeptAudio
from engine.messages import Adopt, CallerAudio, Down, SttBack, SttHeld, SttLost, Tick, Took
from engine.quiet import Quiet
from engine.routes import Route, Routes
from engine.settings import Settings
from engine.supervision import Sockets
from engine.telemetry import count
from engine.utterances import Told, Utterances
from engine.vendors.deepgram import GapHeard, Heard, VendorLost, VoiceBegan
from engine.vendors.flux import EndLikely, WentOn
from engine.vendors.ways import Listening

WATCH_S = 0.5  # how often open utterances are looked after
SAME_WORDS = audio.bytes_of(200)  # how far apart two results may see the end of one word


class SttActor(Actor):
    """Recognition of one stream."""

    def __init__(self, routes: Routes[Listening], call: Ref, stream: Ref, settings: Settings) -> None:
        super().__init__()
        self._routes = routes
        self._call = call
        self._stream = stream
        self._settings = settings
        self._epoch = 0
        self._utterances = Utterances()
        self._kept = KeptAudio(settings.stt_kept_s * 1000)
        self._dropped = 0
        self._quiet = Quiet(settings.stt_endpointing_ms)
        self._heard_s = 0.0  # when the caller's last audio came
        self._numbers = 0
        self._next = routes.all[0]  # to be connected to
        self._line: ListenLine | None = None  # the one that is used, or is to be
        self._candidate: ListenLine | None = None  # to a better route, not open yet
        self._patience_s = settings.stt_silence_s
        self._sockets = Sockets()
        self._furthest = 0  # position up to which words have been told
        self._lost_s: float | None = None
        self._lost_why: SttLost | None = None
        self._carried = False  # the open utterance began on a socket that is gone
        self._interim_word = 0  # position at which the last interim's last word ends
        self._interim_words: list[tuple[str, int, int]] = []  # of the last interim: each, and its place
        self._over_word = 0  # position at which the last word ends that was taken as it stood
        self._asked_s: float | None = None

    async def started(self) -> None:
        self._line = self._connect(self._routes.best())
        self.after(WATCH_S, Tick("watch"))

    def tell(self, message: Any) -> None:
        """See `Ref.tell`. Audio has a queue of its own, bounded in milliseconds, and keeps no other's order."""
        if not isinstance(message, CallerAudio):
            super().tell(message)
        elif not self.over:
            self._queue(message.payload)

    async def receive(self, message: Any) -> None:
        match message:
            case (number, event):
                if self._line is not None and number == self._line.number:
                    self._event(self._line, event)
            case Took(utterance):
                self._utterances.took(utterance)
            case Adopt(epoch, next_utterance) if epoch >= self._epoch:
                self._epoch = epoch
                self._utterances.adopt(next_utterance)
                self._stream.tell(SttHeld(epoch, self._utterances.held(now()), self._quiet_ms()))
                if self._lost_why is not None:
                    self._call.tell(self._lost_why)
            case Tick("watch"):
                self._watch()
                self.after(WATCH_S, message)
            case Tick("reconnect"):
                if self._line is None:
                    self._line = self._connect(self._next if self._next.well else self._routes.best())
            case Opened():
                self._opened(message)
            case Ended():
                self._ended(message)
            case Down(job, reason) if job.startswith("listen"):
                raise RuntimeError(reason)

    # --- audio

    @property
    def heard_ms(self) -> float:
        """How much audio recognition was given, what it was given again too."""
        return self._kept.bytes_given * 1000 / audio.SAMPLE_RATE

    def _queue(self, payload: bytes) -> None:
        if not payload:
            return
        self._heard_s = self._loop.time()
        kept = self._kept
        kept.hear(payload, loud=self._quiet.hear(payload))
        if kept.dropped != self._dropped:
            count("stt_frames_dropped", kept.dropped - self._dropped)
            self._dropped = kept.dropped
        if self._quiet.may_wait(kept.waiting_bytes) and not self._utterances.pending:
            return
        if self._line is not None:
            self._line.wake()

    # --- words

    def _event(self, line: ListenLine, event: Any) -> None:
        if not isinstance(event, VoiceBegan):  # results are to follow
            line.answered()
            self._is_back(line)
        if self._gets_on(event) and not line.useful:
            line.useful = True
            line.route.worked()
        match event:
            case Heard():
                self._heard(event)
            case VoiceBegan():
                self._patience_s = self._settings.stt_silence_s
                self._tell(self._utterances.voice())
            case GapHeard():
                self._take_as_it_stands()
            case EndLikely():
                self._end_likely(event)
            case WentOn():
                self._tell(self._utterances.goes_on())

    def _gets_on(self, event: Any) -> bool:
        """Whether it tells of audio of which nothing was told before, be it that there are no words in it."""
        if not isinstance(event, Heard | EndLikely):
            return False
        position = self._kept.position(event.until_s)
        further, self._furthest = position > self._furthest, max(position, self._furthest)
        return further

    def _heard(self, heard: Heard) -> None:
        if heard.from_finalize:
            self._asked_s = None
        until, last_word, old = self._placed(heard)
        text = self._not_taken(heard) if heard.words else "" if old else heard.text
        if text:
            self._patience_s = self._settings.stt_silence_s
            self._interim_word = last_word
            self._interim_words = [] if heard.final else self._words_of(heard)
            self._asked_s = None  # the caller goes on
        told = self._utterances.heard(
            now(),
            wall(),
            text,
            final=heard.final,
            last=heard.speech_final or heard.from_finalize,
            spoke_until=self._wall_of(last_word),
        )
        if heard.final:
            self._kept.forget(until)
        if heard.speech_final or heard.from_finalize:
            self._carried = False
        self._tell(told)

    def _end_likely(self, likely: EndLikely) -> None:
        _, last_word, old = self._placed(likely)
        if not old:
            self._interim_word = last_word
            spoke_until = self._wall_of(last_word)
            self._tell(self._utterances.likely_over(now(), wall(), likely.text, spoke_until=spoke_until))

    def _placed(self, heard: Heard | EndLikely) -> tuple[int, int, bool]:
        """Where its audio and its last word end in the stream, and whether those words were taken already."""
        until, last_word = self._kept.position(heard.until_s), self._kept.position(heard.end_s)
        return until, last_word, bool(self._over_word) and last_word <= self._over_word + SAME_WORDS

    def _not_taken(self, heard: Heard) -> str:
        """Its words without those that were taken already, which are those that lie mostly before where they end."""
        if not self._over_word:
            return heard.text
        words = self._words_of(heard)
        new = [text for text, start, end in words if (start + end) / 2 > self._over_word]
        return heard.text if len(new) == len(words) else " ".join(new)

    def _words_of(self, heard: Heard) -> list[tuple[str, int, int]]:
        """Its words, and from where to where each is in the stream."""
        position = self._kept.position
        return [(word.text, position(word.start_s), position(word.end_s)) for word in heard.words]

    def _settle_what_is_gone(self) -> None:
        """The next socket hears only what is kept: words of an interim that began before that count as said.

        A turn may be longer: Flux makes no words final before its end.
        """
        gone = [word for word in self._interim_words if word[1] < self._kept.start]
        if not gone or not self._utterances.unsettled:
            return
        rest = self._interim_words = self._interim_words[len(gone) :]
        self._over_word = max(end for _, _, end in gone)
        self._kept.forget(self._over_word)
        for words, final in ((gone, True), (rest, False)):
            text = " ".join(text for text, _, _ in words)
            until = self._wall_of(words[-1][2] if words else self._over_word)
            self._tell(
                self._utterances.heard(now(), wall(), text, final=final, last=False, spoke_until=until)
            )

    def _wall_of(self, position: int) -> float:
        """The wall time at which that byte of the caller's audio came."""
        behind_s = (self._kept.end - position) / audio.SAMPLE_RATE
        return wall() - (now() - self._heard_s) - max(behind_s, 0.0)

    def _take_as_it_stands(self) -> None:
        """The open utterance is over, its interim counts as said: nothing that covers it is to be heard again."""
        if self._utterances.unsettled:
            self._over_word = self._interim_word
            self._kept.forget(self._interim_word)
        self._carried = False
        self._asked_s = None
        self._tell(self._utterances.over(wall()))

    def _watch(self) -> None:
        """Words must lead to an end of turn, whatever the vendor does."""
        if self._utterances.pending:
            self._watch_words()
        else:
            self._asked_s = None
            self._come_back()

    def _watch_words(self) -> None:
        settings, line = self._settings, self._line
        quiet_s = now() - max(self._utterances.heard_s, self._lost_s or 0.0)
        if line is None or line.socket is None or self._lost_s is not None:
            if quiet_s >= settings.stt_stale_s + settings.stt_finalize_s:
                self._take_as_it_stands()  # for a socket that may not come soon, nobody waits any longer
        elif self._carried and not self._utterances.unsettled and self._over_by_ear():
            self._take_as_it_stands()  # all words are final, and a new socket does not tell of a pause before its time
        elif self._asked_s is not None and now() - self._asked_s >= settings.stt_finalize_s:
            count("stt_turns_ended_by_clock")
            self._take_as_it_stands()
        elif self._asked_s is None and quiet_s >= line.socket.stale_s:
            self._asked_s = now()
            self.work(self._finalize(line.socket), "finalize")

    def _over_by_ear(self) -> bool:
        return self._kept.quiet and self._quiet.quiet_ms >= max(self._settings.stt_endpointing_ms, 500)

    async def _finalize(self, socket: Socket) -> None:
        try:
            await socket.finalize()
        except VendorLost:
            count("stt_finalize_failed")  # the reader of the same socket sees it end, and reconnects

    def _quiet_ms(self) -> float:
        heard_s = self._utterances.heard_s
        return (now() - heard_s) * 1000 if heard_s else 1e9

    def _tell(self, told: list[Told]) -> None:
        if self._epoch:
            for message in told:
                self._call.tell(message)

    # --- connections

    def _connect(self, route: Route[Listening]) -> ListenLine:
        self._numbers += 1
        line = ListenLine(self._numbers, route, self._kept, self, lambda: self._patience_s)
        line.task = self.work(line.run(), f"listen-{line.number}")
        return line

    def _opened(self, opened: Opened) -> None:
        candidate = self._candidate
        if candidate is not None and opened.number == candidate.number:
            # Nothing is lost: the new socket is given what the old one has not told for good.
            self._drop(self._line)
            self._line, self._candidate = candidate, None
            self._carried = self._utterances.pending
            count("stt_came_back")
        if self._line is None or opened.number != self._line.number:
            return
        self._line.socket, self._line.opened_s = opened.socket, now()
        self._settle_what_is_gone()
        self._kept.begin()
        opened.go.set()
        if self._kept.loud_waiting < LOUD_LEAST:
            self._is_back(self._line)

    def _is_back(self, line: ListenLine) -> None:
        """It has answered what it was given again, or nothing was that is worth an answer: open sockets may be dead."""
        if self._lost_s is not None:
            if self._epoch:
                self._call.tell(SttBack((now() - self._lost_s) * 1000, line.route.name))
            self._lost_s = self._lost_why = None

    def _ended(self, ended: Ended) -> None:
        if self._candidate is not None and ended.number == self._candidate.number:
            self._candidate.route.failed(
                str(ended.lost), for_good=ended.lost.for_good, at_once=ended.lost.refused
            )
            self._candidate = None
        elif self._line is not None and ended.number == self._line.number:
            self._disconnected(self._line, ended)

    def _disconnected(self, line: ListenLine, ended: Ended) -> None:
        count("stt_lost")
        lost = ended.lost
        stalled = isinstance(lost, Stalled)
        if stalled:
            self._patience_s = min(self._patience_s * 2, self._settings.stt_silence_most_s)
        lived_s = now() - line.opened_s if line.socket is not None else 0.0
        failed = self._sockets.lost(lived_s, useful=line.useful) or stalled
        if failed:
            line.route.failed(str(lost), for_good=lost.for_good, at_once=lost.refused)
        self._line = None
        self._carried = self._utterances.pending
        self._lost_s = self._lost_s if self._lost_s is not None else now()
        self._tell_lost(SttLost(str(lost), for_good=self._routes.hopeless))
        if self._routes.hopeless:
            return
        best = self._routes.best()
        self._next = self._routes.instead_of([line.route]) if failed and best is line.route else best
        pause_s = self._sockets.pause_s(elsewhere=self._next is not line.route and self._next.well)
        self.after(pause_s, Tick("reconnect"))

    def _tell_lost(self, lost: SttLost) -> None:
        told, self._lost_why = self._lost_why, lost
        if self._epoch and (told is None or lost.for_good):
            self._call.tell(lost)

    def _come_back(self) -> None:
        """Between turns: to a better vendor that is well, or may be."""
        if self._line is None or self._line.socket is None or self._candidate is not None:
            return
        if self._lost_s is not None or not self._kept.quiet:
            return  # what it was given again has yet to be answered, or the caller speaks
        better = self._routes.better_than(self._line.route)
        if better is not None:
            self._candidate = self._connect(better)

    def _drop(self, line: ListenLine | None) -> None:
        if line is not None and line.task is not None:
            line.task.cancel()
