"""How long to wait before a vendor is tried again."""

import random
from collections.abc import Sequence


def back_off_s(steps_s: Sequence[float], attempt: int) -> float:
    """The pause before attempt `attempt`, from 0: its step or the last one, a fifth more or less, so that calls which
    lost the vendor together do not come back together."""
    return steps_s[min(attempt, len(steps_s) - 1)] * random.uniform(0.8, 1.2)
