"""The findings as a table, the address for Twilio, and what Twilio's errors mean here."""

from collections.abc import Sequence

from rich import box
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from doctor.findings import Finding, Verdict

_COLOURS = {
    Verdict.OK: "green",
    Verdict.WARNING: "yellow",
    Verdict.WRONG: "bold red",
    Verdict.UNTRIED: "dim",
}
TWILIOS_ERRORS = (
    (
        "11200",
        "the webhook was not answered as it should: see reached and webhook above, and 403 in make logs",
    ),
    (
        "12100",
        "the webhook was answered with no TwiML: its address leads to something else, see webhook above",
    ),
    (
        "31920",
        "the stream's upgrade was not answered 101: the tunnel or proxy must pass it, see media stream above",
    ),
)


def print_findings(findings: Sequence[Finding], console: Console) -> None:
    """One line each, then how many are wrong."""
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for heading in ("", "part", "what was found, and what to do"):
        table.add_column(heading, overflow="fold")
    for one in findings:
        verdict = f"[{_COLOURS[one.verdict]}]{one.verdict.value}[/]"
        what = escape(one.what) + (f". [bold]{escape(one.todo)}[/]" if one.todo else "")
        table.add_row(verdict, one.part, what)
    console.print(table)
    wrong = sum(one.verdict is Verdict.WRONG for one in findings)
    warnings = sum(one.verdict is Verdict.WARNING for one in findings)
    console.print(f"{wrong} wrong, {warnings} to look at." if wrong or warnings else "Nothing is wrong.")


def print_for_twilio(webhook: str, console: Console) -> None:
    """What to paste into Twilio's console, and where to look for what it shows. Nothing without an address."""
    if not webhook:
        return
    console.print(f"\nTwilio webhook (A call comes in): {webhook}", soft_wrap=True, highlight=False)
    console.print("What Twilio's console shows under Monitor, Errors:")
    for code, meaning in TWILIOS_ERRORS:
        console.print(f"  {code}  {meaning}", soft_wrap=True, highlight=False)
