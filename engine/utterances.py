"""What the caller said, utterance by utterance, from a recogniser's results. Sans-I/O.

Results come in spans (Deepgram, Listen v1): an interim is replaced by the next; a final ends its span, and the next
result starts after it. An utterance's text is all its finals joined, and then the last interim. It ends at
`speech_final`, or at UtteranceEnd when noise hid the silence. Every utterance is kept until it is taken.

Flux (Listen v2) has one span for each turn, and may expect its end: such an utterance is as open as any.
"""

from dataclasses import dataclass, field

from engine.messages import Final, Interim, SpeechStarted, TurnEnded, TurnResumed, Utterance

Told = SpeechStarted | Interim | Final | TurnEnded | TurnResumed


@dataclass
class _Open:
    finals: list[str] = field(default_factory=list)
    interim: str = ""
    ended: bool = False
    likely: bool = False  # to end
    heard_s: float = 0.0
    heard_at: float = 0.0
    spoke_until: float = 0.0

    @property
    def text(self) -> str:
        return " ".join(part for part in [*self.finals, self.interim] if part)


class Utterances:
    """The utterances of one call that are not yet taken; the last one is open until it ends."""

    def __init__(self) -> None:
        self._first = 1  # number of the first that is kept
        self._kept: list[_Open] = []
        self._heard_s: float | None = None
        self._adopted = False

    @property
    def _number(self) -> int:
        """The number of the open utterance, or of the next one."""
        ended = not self._kept or self._kept[-1].ended
        return self._first + len(self._kept) - (not ended)

    def _open(self) -> _Open:
        if not self._kept or self._kept[-1].ended:
            self._kept.append(_Open())
        return self._kept[-1]

    @property
    def pending(self) -> bool:
        """Whether words were heard of an utterance that has not ended."""
        return bool(self._kept and not self._kept[-1].ended and self._kept[-1].text)

    @property
    def unsettled(self) -> bool:
        """Whether the open utterance has words that no final has covered."""
        return self.pending and bool(self._kept[-1].interim)

    @property
    def heard_s(self) -> float:
        """When words were last heard."""
        return self._heard_s or 0.0

    # --- from the recogniser

    def voice(self) -> list[Told]:
        """Voice activity, perhaps noise."""
        return [SpeechStarted(self._number)]

    def heard(
        self, now_s: float, at: float, text: str, *, final: bool, last: bool, spoke_until: float
    ) -> list[Told]:
        """One result: `final` ends its span, `last` (`speech_final`) ends the utterance. Empty text is normal."""
        told: list[Told] = []
        text = text.strip()
        if text:
            utterance = self._open()
            utterance.heard_s, utterance.heard_at = now_s, at
            utterance.spoke_until = spoke_until
            self._heard_s = now_s
            if final:
                utterance.finals.append(text)
                utterance.interim = ""
                told.append(Final(self._number, utterance.text, at))
            else:
                utterance.interim = text
                told.append(Interim(self._number, utterance.text, at))
        elif final and self.pending:
            self._kept[-1].interim = ""  # the span turned out to hold nothing
        if last:
            told += self.over(at)
        return told

    def over(self, at: float) -> list[Told]:
        """The utterance is over, if one with words is open; its last interim counts as said."""
        if not self.pending:
            return []
        number, utterance = self._number, self._kept[-1]
        if utterance.interim:
            utterance.finals.append(utterance.interim)
            utterance.interim = ""
        utterance.ended = True
        return [TurnEnded(number, utterance.text, at=at, spoke_until=utterance.spoke_until)]

    def likely_over(self, now_s: float, at: float, text: str, *, spoke_until: float) -> list[Told]:
        """The utterance, of which `text` is the open span, is expected to end."""
        told = self.heard(now_s, at, text, final=False, last=False, spoke_until=spoke_until)
        if self.pending:
            utterance = self._kept[-1]
            utterance.likely = True
            told.append(TurnEnded(self._number, utterance.text, at, utterance.spoke_until, eager=True))
        return told

    def goes_on(self) -> list[Told]:
        """The utterance that was expected to end has not ended."""
        if not self.pending or not self._kept[-1].likely:
            return []
        self._kept[-1].likely = False
        return [TurnResumed(self._number)]

    # --- from the conversation

    def took(self, number: int) -> None:
        """Utterances up to `number` are in the session."""
        while self._kept and self._first <= number and (self._kept[0].ended or self._first < number):
            self._kept.pop(0)
            self._first += 1
        if not self._kept:
            self._first = max(self._first, number + 1)

    def adopt(self, next_number: int) -> None:
        """A CallActor knows all before `next_number`; what it doesn't know is numbered from there.

        The first one of this stream may come with the numbers of an earlier stream: it knows nothing of this one's.
        """
        if self._adopted:
            self.took(next_number - 1)
        self._adopted = True
        self._first = max(self._first, next_number) if self._kept else next_number

    def held(self, now_s: float) -> tuple[Utterance, ...]:
        """What is kept, in order."""
        return tuple(
            Utterance(self._first + place, kept.text, kept.ended, max(0.0, now_s - kept.heard_s) * 1000)
            for place, kept in enumerate(self._kept)
            if kept.text
        )
