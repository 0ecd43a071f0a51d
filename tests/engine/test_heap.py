"""The garbage collector, in a process of its own: it would be changed for all tests."""

import subprocess
import sys

PROCESS = """
import collections, gc
from engine.heap import set_aside

class Call:
    here = most = 0
    def __init__(self):
        self.itself = self
        Call.here += 1
        Call.most = max(Call.most, Call.here)
    def __del__(self):
        Call.here -= 1

furniture = [[] for _ in range(1_000_000)]
gc.collect()
{set_aside}
live = collections.deque(maxlen={live})
for _ in range(300_000):
    live.append(Call())
print(Call.most)
"""
LIVE = 20_000


def most_calls(set_aside: str) -> int:
    """How many objects were there at once, of which `LIVE` were in use."""
    script = PROCESS.format(set_aside=set_aside, live=LIVE)
    return int(subprocess.run([sys.executable, "-c", script], capture_output=True, check=True).stdout)


def test_what_calls_leave_is_collected_however_much_the_process_holds_for_good() -> None:
    assert most_calls("") > 200_000, "it is so without"
    assert most_calls("set_aside()") < 3 * LIVE
