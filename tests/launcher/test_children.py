"""A child that ends while somebody looks at it."""

import sys
import time
from pathlib import Path

from launcher.children import ChildProcess

UNTIL = "import os, sys, time\nwhile not os.path.exists(sys.argv[1]): time.sleep(0.01)"


def test_the_end_of_a_child_right_after_a_look_is_no_failure_for_who_waits_for_it(tmp_path: Path) -> None:
    end = tmp_path / "end"
    child = ChildProcess("child", [sys.executable, "-c", UNTIL, str(end)], tmp_path / "child.log")
    child.start()
    looked = False

    def ended() -> bool | None:
        nonlocal looked
        if looked:
            return None if child.running() else True
        looked = True  # it runs when it is looked at, and has ended before the look is over
        end.touch()
        while child.running():
            time.sleep(0.01)
        return None

    assert child.wait_for(ended, 10.0)
