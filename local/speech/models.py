"""The real recogniser and voice, loaded once a process."""

from dataclasses import dataclass

from local.speech.extra import extra_needed
from local.speech.ports import ListenParams, Recogniser, SpeakParams, Voice

with extra_needed():
    from local.speech.moonshine import Moonshine, MoonshineRecogniser
    from local.speech.piper import Piper, PiperSpeaker


@dataclass(frozen=True, slots=True)
class Models:
    """Makes a recogniser or a voice for each socket over models that all sockets share."""

    moonshine: Moonshine
    piper: Piper

    def recogniser(self, params: ListenParams) -> Recogniser:
        """A recogniser for one listen socket."""
        return MoonshineRecogniser(self.moonshine, params.keyterms)

    def voice(self, params: SpeakParams) -> Voice:
        """A voice for one speak socket."""
        return PiperSpeaker(self.piper, params.model)


def load_models() -> Models:
    """Loads and warms both models: about a second, and 560 MB of memory."""
    return Models(Moonshine(), Piper())
