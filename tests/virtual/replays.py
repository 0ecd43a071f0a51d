"""What tests of tapes share: the replay, and an engine with a piece taken out."""

from typing import Any

from actors.call import CallActor
from actors.replay import Difference, replay
from engine.clock import run_virtual
from engine.messages import Hush
from engine.tape import TapeLine


def again(tape: list[TapeLine], actor_class: type[CallActor] = CallActor) -> Difference | None:
    """Where the tape's replay in virtual time leaves it."""
    return run_virtual(replay(tape, actor_class))


class NoHush(CallActor):
    """The engine with `Hush` taken out."""

    async def started(self) -> None:
        await super().started()
        media = self._ports.media

        class Deaf:
            def tell(self, message: Any) -> None:
                if not isinstance(message, Hush):
                    media.tell(message)

        object.__setattr__(self._ports, "media", Deaf())
