"""Where what Media and Stt tell goes while their CallActor may change under them."""

from typing import Any

from engine.actor import Ref


class Switch:
    """The Ref that Media and Stt know as their CallActor: nobody, one to come (held back), or one."""

    def __init__(self) -> None:
        self._ref: Ref | None = None
        self._held: list[Any] | None = None

    def tell(self, message: Any) -> None:
        if self._held is not None:
            self._held.append(message)
        elif self._ref is not None:
            self._ref.tell(message)

    def off(self) -> None:
        """Nobody: what is told is lost here, and kept by those who tell it."""
        self._ref, self._held = None, None

    def hold(self, ref: Ref) -> None:
        """`ref` is to be told, after its `Attached`."""
        self._ref, self._held = ref, []

    def through(self) -> None:
        """`Attached` has gone out: what was held follows it."""
        held, self._held = self._held or [], None
        for message in held:
            self.tell(message)
