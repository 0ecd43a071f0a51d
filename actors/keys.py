"""The keys that a caller presses, until they are read together as one turn."""


class Keys:
    """One call's keys; those pressed within `pause_s` belong together.

    Each has the number that Media gave it among its events; `last_n` is the last one's.
    """

    def __init__(self, pause_s: float) -> None:
        self._pause_s = pause_s
        self.last_n = 0
        self._unread = ""
        self._first_unread_n = 0  # 0: all have been read

    @property
    def waiting(self) -> bool:
        """Whether keys are to be read when their pause is over."""
        return bool(self._unread)

    def press(self, n: int, digit: str) -> float:
        """The caller pressed a key; how many seconds to wait for another one."""
        self._first_unread_n = self._first_unread_n or n
        self.last_n = n
        self._unread += digit
        return 0.0 if digit == "#" else self._pause_s

    def complete(self, n: int) -> bool:
        """Whether, when the wait after key `n` is over, there are keys to be read and `n` is the last."""
        return n == self.last_n and bool(self._unread)

    def read(self) -> str:
        """The keys pressed since the last reading."""
        keys, self._unread, self._first_unread_n = self._unread, "", 0
        return keys

    def may_note(self, n: int) -> int:
        """How far Media's events up to `n` may be noted: an unread key is not in the session."""
        return min(n, self._first_unread_n - 1) if self._first_unread_n else n
