"""What the doctor finds: one line each, with what to do, and never a key in it."""

import asyncio
import re
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from enum import Enum
from urllib.parse import unquote, urlsplit

from engine.settings import SECRETS, Settings

_URLS = ("database_url", "redis_url")
_SHORTEST_KEY = 8  # what is shorter is no key of a vendor's, and may be part of any word
# OpenAI says of a wrong key how it begins and ends.
_LIKE_A_KEY = re.compile(r"\bsk-[\w*.-]+")


class Verdict(Enum):
    """`UNTRIED`: another line says why."""

    OK = "ok"
    WARNING = "warning"
    WRONG = "wrong"
    UNTRIED = "not tried"


@dataclass(frozen=True)
class Finding:
    """One line: `part` names what was looked at, `todo` is one sentence, or "" where nothing has to be done."""

    part: str
    verdict: Verdict
    what: str
    todo: str = ""

    @property
    def is_wrong(self) -> bool:
        """Whether what builds on this can only fail."""
        return self.verdict is Verdict.WRONG


Check = Callable[[], Awaitable[Finding]]


def ok(part: str, what: str, todo: str = "") -> Finding:
    """Nothing has to be done."""
    return Finding(part, Verdict.OK, what, todo)


def warning(part: str, what: str, todo: str) -> Finding:
    """Calls work, but somebody may want this otherwise."""
    return Finding(part, Verdict.WARNING, what, todo)


def wrong(part: str, what: str, todo: str) -> Finding:
    """Calls fail."""
    return Finding(part, Verdict.WRONG, what, todo)


def complained(part: str, complaint: str) -> Finding:
    """Wrong, in words of ours elsewhere: what is the case, a colon, and what to do."""
    what, _, todo = complaint.rpartition(": ")
    return wrong(part, what, f"{todo[:1].upper()}{todo[1:].rstrip('.')}.")


def untried(part: str, why: str) -> Finding:
    """Not looked at."""
    return Finding(part, Verdict.UNTRIED, why)


async def within(limit_s: float, part: str, todo: str, check: Awaitable[Finding]) -> Finding:
    """What the check finds, or that it took too long, and what to do then."""
    try:
        async with asyncio.timeout(limit_s):
            return await check
    except TimeoutError:
        return wrong(part, f"no answer in {limit_s:g} s", todo)


class Secrets:
    """The keys and passwords of these settings, which nobody gets to read.

    A password is hidden where it stands in an address: it may be a word like any other, and to hide that would tell it.
    """

    def __init__(self, settings: Settings) -> None:
        keys = {getattr(settings, name) for name in SECRETS}
        passwords = {_password(getattr(settings, name)) for name in _URLS} - {""}
        passwords |= {unquote(password) for password in passwords}
        found = {key for key in keys if len(key) >= _SHORTEST_KEY} | {f":{word}@" for word in passwords}
        self._values = sorted(found, key=len, reverse=True)

    def hidden(self, finding: Finding) -> Finding:
        """The finding without them."""
        return replace(finding, what=self._hide(finding.what), todo=self._hide(finding.todo))

    def _hide(self, text: str) -> str:
        for value in self._values:
            text = text.replace(value, ":...@" if value.endswith("@") else "...")
        return _LIKE_A_KEY.sub("...", text)


def _password(url: str) -> str:
    try:
        return urlsplit(url).password or ""
    except ValueError:
        return ""
