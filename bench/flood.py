"""`python -m bench.flood` (`make flood`): what running calls notice of 500 webhooks and 500 sockets at once.

Some webhooks are past the capacity and some unsigned; no socket has a call: mute, with a bad token, with garbage, or
half-open. Each crowd comes while so many calls run, again and again; frames of the time until its last one is gone are
compared with those of a time of quiet.
"""

import argparse
import asyncio
import datetime as dt
import gc
import tempfile
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

import uvloop
from rich.console import Console
from rich.table import Table

from bench.__main__ import listening
from bench.crowd import Blow, crowd
from bench.load import Load, Seen, Window
from bench.measure import SETTLE_S, Bench
from bench.results import percentile
from bench.targets import ACCOUNT, AUTH_TOKEN, ENGINE, running
from launcher.ports import free_ports
from simulators.twilio import SimTwilio

CALLERS, UNSIGNED, SOCKETS = 250, 250, 500
ROOM = 30  # more calls than run are let in
BETWEEN_S = 3.0
ADDED_P99_MS = 40.0
BUSY = "lines are busy"


@dataclass
class Flood:
    """What was seen of one placement, in quiet and in the flood."""

    name: str
    calls: int
    quiet: Seen
    flooded: Seen
    blows: list[Blow]
    turned_away: int = 0  # callers of the bench's own, who dialled just then
    wrong: list[str] = field(default_factory=list)

    def added_ms(self, share: float) -> float:
        """By how much this percentile of frame delay is more than it was."""
        late, before = (
            percentile(seen.legs["frame to recogniser"], share) for seen in (self.flooded, self.quiet)
        )
        return late - before


def together(seen: list[Seen]) -> Seen:
    """Several windows as one."""
    whole = Seen(own_core=max(one.own_core for one in seen))
    for one in seen:
        for leg, values in one.legs.items():
            whole.legs.setdefault(leg, []).extend(values)
        whole.calls += one.calls
        whole.gaps += one.gaps
        whole.wrong += one.wrong
        whole.own_lag_ms += one.own_lag_ms
    return whole


async def flood(bench: Bench, name: str, calls: int, blows: int, quiet_s: float) -> Flood:
    """One placement, from its start to its end."""
    [port] = free_ports(1)
    today = dt.datetime.now(dt.UTC).date()
    monday = today + dt.timedelta(days=7 - today.weekday())
    with tempfile.TemporaryDirectory(prefix="flood-", ignore_cleanup_errors=True) as directory:
        context = running(name, bench.vendors, port, Path(directory), capacity=calls + ROOM)
        target = await asyncio.to_thread(context.__enter__)
        try:
            await asyncio.sleep(SETTLE_S)
            async with (
                crowd(target.url, AUTH_TOKEN, ACCOUNT) as visitors,
                SimTwilio(AUTH_TOKEN, ACCOUNT) as twilio,
                Load(target.url, twilio, bench.speech, bench.model, monday.isoformat()) as load,
            ):
                await load.grow(calls)
                quiet = await load.watch(quiet_s)
                struck = []
                windows = []
                for _ in range(blows):
                    await asyncio.sleep(BETWEEN_S)
                    struck.append(await visitors.comes(callers=CALLERS, unsigned=UNSIGNED, sockets=SOCKETS))
                    windows.append(Window(struck[-1].began, struck[-1].ended, 0.0))
                await load.finish()
                found = together([load.seen(window) for window in windows])
                wrong = [what for what in found.wrong if BUSY not in what]
                return Flood(
                    name, calls, load.seen(quiet), found, struck, len(found.wrong) - len(wrong), wrong
                )
        finally:
            await asyncio.to_thread(context.__exit__, None, None, None)


def show(console: Console, found: Flood) -> None:
    """What callers noticed, and what became of the crowd."""
    table = Table(title=f"{found.name}: {found.calls} calls, {len(found.blows)} floods")
    for column in ("frame to recogniser, ms", "p50", "p99", "worst", "frames", "gaps", "own lag p99"):
        table.add_column(column, justify="right")
    for what, seen in (("quiet", found.quiet), ("flood", found.flooded)):
        frames = seen.legs["frame to recogniser"]
        shares = (f"{percentile(frames, share):.1f}" for share in (0.5, 0.99, 1.0))
        lag = f"{percentile(seen.own_lag_ms, 0.99):.1f}"
        table.add_row(what, *shares, str(len(frames)), str(len(seen.gaps)), lag)
    console.print(table)
    outcomes: Counter[str] = Counter()
    for blow in found.blows:
        for kind, counts in blow.outcomes.items():
            outcomes.update({f"{kind}: {what}": count for what, count in counts.items()})
    for what, count in sorted(outcomes.items()):
        console.print(f"  {what}: {count}", highlight=False)
    answered = [ms for blow in found.blows for ms in blow.answered_ms]
    closed = [s for blow in found.blows for s in blow.closed_s]
    console.print(
        f"  webhooks answered in {percentile(answered, 0.5):.0f} ms p50, {percentile(answered, 0.99):.0f} p99, "
        f"{max(answered):.0f} worst; sockets gone after {max(closed):.2f} s at most",
        highlight=False,
    )
    console.print(f"  callers of the bench's own who dialled just then and were refused: {found.turned_away}")
    for what in (*found.flooded.gaps, *found.wrong):
        console.print(f"  {what}", highlight=False)
    added = found.added_ms(0.99)
    verdict = "ok" if added < ADDED_P99_MS else "missed"
    console.print(f"  added p99 of frame delay: {added:.1f} ms, {ADDED_P99_MS:.0f} are allowed: {verdict}")


async def _all(options: argparse.Namespace, console: Console) -> bool:
    ok = True
    async with listening(lambda text: console.print(text, highlight=False)) as bench:
        for name in options.placements:
            gc.collect()
            gc.freeze()
            bench.say(f"{name}: starts ...")
            found = await flood(bench, name, options.calls, options.blows, options.quiet_s)
            show(console, found)
            ok = ok and found.added_ms(0.99) < ADDED_P99_MS and not found.flooded.gaps and not found.wrong
    return ok


def main() -> None:
    """Ends with 1 if running calls were hurt."""
    parser = argparse.ArgumentParser(prog="bench.flood", description=__doc__)
    parser.add_argument("--calls", type=int, default=20, help="running meanwhile")
    parser.add_argument("--placements", nargs="+", choices=tuple(ENGINE), default=["split", "packed"])
    parser.add_argument("--blows", type=int, default=5)
    parser.add_argument("--quiet-s", type=float, default=20.0)
    console = Console(width=120)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        ok = runner.run(_all(parser.parse_args(), console))
    raise SystemExit(not ok)


if __name__ == "__main__":
    main()
