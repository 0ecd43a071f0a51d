"""Whether the caller is heard, and what they are told of it: who is not heard is not asked whether they are there."""

from collections.abc import Callable

from actors.ending import Ending
from actors.speaking import Speaking
from engine import phrases
from engine.history import AnyItem, Cause, Said, TurnBegan
from engine.messages import SttLost, Tick
from engine.outcomes import End
from engine.settings import Settings

LOST, BACK = "deaf", "hearing again"  # names of its timers
AGAIN_S = 0.5  # until it is looked again whether there is a pause for saying so


class Hearing:
    """One call's ear. `after` sets a timer, which comes back to `rang`. What speaks raises `Fenced`."""

    def __init__(
        self, speaking: Speaking, ending: Ending, settings: Settings, after: Callable[[float, Tick], object]
    ) -> None:
        self._speaking = speaking
        self._ending = ending
        self._settings = settings
        self._after = after
        self._deaf = False
        self._told = False  # the caller knows
        self._n = 0  # counts what happens: timers from before are old

    async def lost(self, lost: SttLost) -> None:
        """Recognition is away: most often not for long."""
        self._deaf = True
        self._n += 1
        if lost.for_good:
            await self.give_up()
        else:
            self._after(self._settings.stt_deaf_s, Tick(LOST, self._n))

    def back(self) -> None:
        """Recognition is back, and is given what was said meanwhile."""
        told, self._told, self._deaf = self._told, False, False
        self._n += 1
        if told:
            self._after(self._settings.stt_caught_up_s, Tick(BACK, self._n))

    def resume(self, items: list[AnyItem]) -> None:
        """Tells the caller that they are heard again, if a predecessor had told them that they are not."""
        for item in reversed(items):
            if isinstance(item, Said):
                self._told = any(said.endswith(item.text) for said in (phrases.CANT_HEAR, phrases.STILL_DEAF))
                break
            if isinstance(item, TurnBegan) and item.cause is Cause.SPEECH:
                break
        if self._told:
            self._n += 1
            self._after(self._settings.stt_caught_up_s, Tick(BACK, self._n))

    def words(self) -> None:
        """The caller was heard."""
        if not self._deaf:
            self._n += 1

    async def rang(self, tick: Tick, *, pause: bool) -> None:
        """Says so in a pause: what is being said is heard well enough, and what is thought of may be the answer."""
        if tick.n != self._n or self._ending.near:
            return
        if not pause:
            self._after(AGAIN_S, tick)
            return
        self._told = self._deaf
        words = phrases.CANT_HEAR if self._deaf else phrases.HEARING_AGAIN
        await self._speaking.say_turn(Cause.PROMPT, words)

    async def ask_again(self) -> None:
        """Nothing was heard for long."""
        words = phrases.STILL_DEAF if self._deaf else phrases.ARE_YOU_THERE
        await self._speaking.say_turn(Cause.PROMPT, words)

    async def give_up(self) -> None:
        """Nothing was heard for too long: the caller is silent, or we are deaf, and somebody else should hear them."""
        if self._ending.near:
            return
        settings = self._settings
        if not self._deaf:
            words, ending = phrases.SILENT_GOODBYE, End.SILENT
        elif settings.transfer_number or settings.fallback_number:
            words = phrases.DEAF_DIALLING
            ending = End.TRANSFERRED if settings.transfer_number else End.FAILED
        else:
            words, ending = phrases.DEAF_GOODBYE, End.FAILED
        await self._speaking.say_turn(Cause.PROMPT, words)
        await self._ending.decide(ending, final=self._deaf)
