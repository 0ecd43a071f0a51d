"""As many calls as hold: what ends the climb, and whose fault it was."""

from bench.climb import climb, steps_from
from bench.load import Seen, Window


class Pretended:
    """A load of which each number of calls is seen as told."""

    def __init__(self, seen: dict[int, Seen]) -> None:
        self.tried: list[int] = []
        self._seen = seen

    async def grow(self, calls: int) -> None:
        self.tried.append(calls)

    async def watch(self, seconds: float) -> Window:
        return Window(0.0, seconds, 0.5)

    def seen(self, _: Window) -> Seen:
        return self._seen[self.tried[-1]]


def seen(frame_ms: float, *, gaps: int = 0, lag_ms: float = 1.0) -> Seen:
    """A window in which all frames took so long."""
    frames = {"frame to recogniser": [frame_ms] * 10}
    return Seen(frames, 1, ["a hole"] * gaps, [], [lag_ms] * 10, 0.5)


async def climbed(**after: Seen) -> tuple[int, bool, list[int]]:
    """Calls that held, own fault, calls tried: 20 and 24 are good, 28 is as told."""
    load = Pretended({20: seen(5.0), 24: seen(99.0), **{int(k[1:]): v for k, v in after.items()}})
    found = await climb(load, steps_from(20, 4), 1.0)  # type: ignore[arg-type]
    return found.held, found.own_fault, load.tried


async def test_frames_that_are_late_end_it() -> None:
    assert await climbed(n28=seen(101.0)) == (24, False, [20, 24, 28])


async def test_one_gap_ends_it() -> None:
    assert await climbed(n28=seen(5.0, gaps=1)) == (24, False, [20, 24, 28])


async def test_no_frame_at_all_ends_it() -> None:
    nothing = Seen({"frame to recogniser": []}, 0, [], [], [1.0], 0.5)
    assert await climbed(n28=nothing) == (24, False, [20, 24, 28])


async def test_callers_who_were_late_themselves_prove_nothing_against_the_target() -> None:
    assert await climbed(n28=seen(300.0, lag_ms=200.0)) == (24, True, [20, 24, 28])


async def test_a_step_that_fails_once_is_looked_at_again() -> None:
    class Hiccup(Pretended):
        looks = 0

        def seen(self, window: Window) -> Seen:
            self.looks += 1
            return seen(5.0, gaps=1) if self.looks == 2 else super().seen(window)

    load = Hiccup({20: seen(5.0), 24: seen(5.0), 28: seen(101.0)})
    found = await climb(load, steps_from(20, 4), 1.0)  # type: ignore[arg-type]
    assert (found.held, load.tried) == (24, [20, 24, 28])
