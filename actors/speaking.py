"""What the agent says on a call: sentences into the record, then to Media; and what the caller heard of them."""

from actors.legs import Legs
from engine.actor import Ref
from engine.calllog import CallLog
from engine.callrows import Speaker
from engine.clock import wall
from engine.history import Cause, Said, TurnBegan
from engine.messages import Clear, Hush, Noted, Playback, Speak, SpeechPlayed
from engine.record import CallRecord
from engine.sentences import SentenceCutter


class Speaking:
    """One call's sentences.

    `silent`: nothing more is spoken, the caller is gone.
    `clearing`: the caller interrupted, and what of it was heard is not known yet.
    """

    def __init__(self, record: CallRecord, media: Ref, log: CallLog, legs: Legs) -> None:
        self.silent = False
        self.clearing = False
        self._interim_at = 0.0
        self._record = record
        self._media = media
        self._log = log
        self._legs = legs

    async def say(self, turn: int, texts: list[str], request: int = 0) -> None:
        """Sentences of a turn: written, then spoken. Raises `Fenced`."""
        index = self._record.next_index(turn)
        sentences = [Said(turn, index + place, text, request) for place, text in enumerate(texts)]
        for sentence in sentences:
            self._record.add(sentence)
        await self._record.save()
        for sentence in sentences:
            self.speak(sentence)

    async def say_turn(self, cause: Cause, text: str) -> None:
        """A turn in which the agent says something of its own. Raises `Fenced`."""
        meta = self._record.meta
        meta.turn += 1
        self._record.add(TurnBegan(meta.turn, cause, "", wall()))
        cutter = SentenceCutter()
        await self.say(meta.turn, cutter.feed(text) + cutter.flush())

    def speak(self, sentence: Said) -> None:
        """Hands a written sentence to Media, which ignores those in its ledger."""
        if not self.silent:
            self._media.tell(Speak(self._record.epoch, sentence.turn, sentence.index, sentence.text))

    def resume(self) -> None:
        """Speaks what a predecessor wrote and may not have spoken."""
        for sentence in self._record.unsettled():
            self.speak(sentence)

    def clear(self, interim_at: float) -> None:
        """Nothing more of this turn is heard. `interim_at`: wall time of the words that interrupted, 0: none did."""
        self.clearing = True
        self._interim_at = interim_at
        self._media.tell(Clear())
        self._media.tell(Hush(self._record.meta.turn))

    def cleared(self, at: float) -> None:
        """What was heard is known, or no longer waited for. `at`: wall time of Twilio's `clear`, 0: unknown."""
        if self.clearing:
            self.clearing = False
            if at and self._interim_at:
                self._legs.cleared(self._record.meta.turn, self._interim_at, at)

    async def played(self, played: SpeechPlayed, noted: int) -> None:
        """Playback's news: written, then Media's events up to the one of number `noted` are noted."""
        sentence = self._record.sentence(played.turn, played.index)
        if sentence is not None:
            self._record.heard(sentence, played)
            self._tell_log(sentence, played)
        meta = self._record.meta
        meta.noted = max(meta.noted, noted)
        await self._record.save()
        self.note()

    def note(self) -> None:
        """Tells Media what the session holds of its events."""
        if self._record.protected:
            self._media.tell(Noted(self._record.meta.noted))

    def drop_unsettled(self) -> None:
        """The call is over: what never reached Media, nobody will hear."""
        for sentence in self._record.unsettled():
            sentence.state = Playback.DROPPED
            self._record.changed(sentence)

    def log_again(self) -> None:
        """Logs what the session holds of a call that goes on: a predecessor's last rows may have been lost with it, or
        all of them, if Postgres is away. A row that is there is written as it was.
        """
        for item in self._record.items:
            if isinstance(item, Said):
                self._log_heard(item)
            elif isinstance(item, TurnBegan) and item.text:
                self._log.log_transcript(self._record.call, item.turn, 0, Speaker.CALLER, item.text, item.at)

    def _tell_log(self, sentence: Said, played: SpeechPlayed) -> None:
        if played.state is Playback.PLAYING:
            if played.turn == 1:
                self._legs.greeting(1, self._record.meta.answered_at, played.at)
            self._legs.playing(played)
        else:
            self._log_heard(sentence)

    def _log_heard(self, sentence: Said) -> None:
        if sentence.settled and sentence.heard():
            self._log.log_transcript(
                self._record.call,
                sentence.turn,
                sentence.index + 1,
                Speaker.AGENT,
                sentence.heard(),
                sentence.at,
                interrupted=sentence.state is Playback.DROPPED,
            )
