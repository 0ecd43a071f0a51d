"""What tests of tapes share: the replay, and an engine with a piece taken out."""

from dataclasses import replace
from typing import Any

from actors.call import CallActor
from actors.parts import CallPorts
from actors.replay import Difference, replay
from engine.clock import run_virtual
from engine.messages import Hush, Start
from engine.settings import Settings
from engine.tape import TapeLine


def again(tape: list[TapeLine], actor_class: type[CallActor] = CallActor) -> Difference | None:
    """Where the tape's replay in virtual time leaves it."""
    return run_virtual(replay(tape, actor_class))


class NoHush(CallActor):
    """The engine with `Hush` taken out."""

    def __init__(self, start: Start, ports: CallPorts, settings: Settings) -> None:
        class Deaf:
            def tell(self, message: Any) -> None:
                if not isinstance(message, Hush):
                    ports.media.tell(message)

        super().__init__(start, replace(ports, media=Deaf()), settings)
